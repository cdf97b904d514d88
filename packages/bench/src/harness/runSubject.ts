/**
 * Measures a subject, one process per case.
 */
import * as Effect from "effect/Effect"
import { start } from "./children.ts"
import type { Measured, Settings } from "./measure.ts"
import { type CaseResult, machine, type Result, versions } from "./result.ts"
import { loadSubject, subjectFile } from "./subjects.ts"

export interface RunOptions {
  readonly quick: boolean
  readonly onCase?: (result: CaseResult) => void
}

const runner = new URL("./runCase.ts", import.meta.url)

/** Measures one case, or some contestants of it. */
export const runCase = (
  subject: string,
  name: string,
  settings: Settings,
  contestants?: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<Measured>, Error> => {
  const args = [subjectFile(subject).href, name, JSON.stringify(settings)]
  if (contestants !== undefined) args.push(JSON.stringify(contestants))
  return Effect.map(Effect.scoped(start<ReadonlyArray<Measured>>(runner, args)), ({ message }) => message)
}

export const runSubject = (name: string, { onCase, quick }: RunOptions): Effect.Effect<Result, Error> =>
  Effect.gen(function* () {
    const subject = yield* Effect.promise(() => loadSubject(name))
    const settings: Settings = quick
      ? { rounds: 3, sampleTime: 40 }
      : { rounds: subject.rounds ?? 7, sampleTime: subject.sampleTime ?? 150 }
    const before = { date: new Date().toISOString(), machine: machine(), versions: versions() }
    const started = performance.now()
    const cases: Array<CaseResult> = []
    for (const one of subject.cases) {
      if (quick && one.slow === true) continue
      const result = { name: one.name, contestants: yield* runCase(name, one.name, settings) }
      cases.push(result)
      onCase?.(result)
    }
    const seconds = Math.round((performance.now() - started) / 1000)
    return { subject: name, ...before, settings, seconds, cases }
  })
