/**
 * Measures one case in a process of its own, so that cases neither share
 * compiled code nor memory: `runCase.ts <subject file> <case> <settings> [contestants]`.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import { measure, type Settings } from "./measure.ts"
import type { Subject } from "./subject.ts"

const [file, name, settings, names] = process.argv.slice(2) as [string, string, string, string?]
const { default: subject } = (await import(file)) as { readonly default: Subject }
const chosen = subject.cases.find((one) => one.name === name)
if (chosen === undefined) throw new Error(`${file} has no case ${name}`)
const wanted = names === undefined ? undefined : (JSON.parse(names) as ReadonlyArray<string>)
const contestants = chosen.contestants.filter(({ name }) => wanted === undefined || wanted.includes(name))
const measured = await Effect.runPromise(
  Effect.provideService(
    measure({ ...chosen, contestants }, JSON.parse(settings) as Settings),
    Scope.Scope,
    // Never closed: pools of a hundred thousand keys take longer to close than to measure.
    Scope.makeUnsafe()
  )
)
process.send?.(measured, () => process.exit())
