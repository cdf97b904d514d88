/**
 * Measures one case in a process of its own, so that cases neither share
 * compiled code nor memory: `runCase.ts <subject file> <case> <settings>`.
 */
import * as Effect from "effect/Effect"
import { measure, type Settings } from "./measure.ts"
import type { Subject } from "./subject.ts"

const [file, name, settings] = process.argv.slice(2) as [string, string, string]
const { default: subject } = (await import(file)) as { readonly default: Subject }
const chosen = subject.cases.find((one) => one.name === name)
if (chosen === undefined) throw new Error(`${file} has no case ${name}`)
process.send?.(await Effect.runPromise(measure(chosen, JSON.parse(settings) as Settings)))
process.disconnect?.()
