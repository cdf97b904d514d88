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
      const args = [subjectFile(name).href, one.name, JSON.stringify(settings)]
      const { message } = yield* Effect.scoped(start<ReadonlyArray<Measured>>(runner, args))
      const result = { name: one.name, contestants: message }
      cases.push(result)
      onCase?.(result)
    }
    const seconds = Math.round((performance.now() - started) / 1000)
    return { subject: name, ...before, settings, seconds, cases }
  })
