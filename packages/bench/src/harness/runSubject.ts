/**
 * Measures a subject, case by case.
 */
import * as Effect from "effect/Effect"
import { type Measured, measure, type Settings } from "./measure.ts"
import { type CaseResult, machine, type Result, versions } from "./result.ts"
import type { Subject } from "./subject.ts"
import { loadSubject, subjectFile } from "./subjects.ts"

export interface RunOptions {
  readonly quick: boolean
  readonly onCase?: (result: CaseResult) => void
}

/** Measures one case, or some contestants of it. */
export const runCase = (
  subject: string,
  name: string,
  settings: Settings,
  contestants?: ReadonlyArray<string>,
  profiled?: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<Measured>, Error> =>
  Effect.gen(function* () {
    const { cases } = yield* Effect.promise(() => loadSubject(subject))
    const chosen = cases.find((one) => one.name === name)
    if (chosen === undefined) return yield* Effect.die(new Error(`${subject} has no case ${name}`))
    const all = chosen.contestants.map(({ name }) => name)
    return yield* measure(subjectFile(subject), chosen, contestants ?? all, settings, profiled)
  })

/** Contestants of a case whose speed is a target. */
const aimedFor = ({ targets }: Subject, name: string): ReadonlyArray<string> =>
  targets.flatMap(({ figure, of }) => (of[0] === name && (figure === "time" || figure === "rate") ? [of[1]] : []))

export const runSubject = (name: string, { onCase, quick }: RunOptions): Effect.Effect<Result, Error> =>
  Effect.gen(function* () {
    const subject = yield* Effect.promise(() => loadSubject(name))
    const settings: Settings = quick
      ? { rounds: 3, processes: 1, sampleTime: 40, warmUp: 200, leadIn: 0 }
      : {
          rounds: subject.rounds ?? 7,
          processes: subject.processes ?? 1,
          sampleTime: subject.sampleTime ?? 80,
          warmUp: subject.warmUp ?? 300,
          leadIn: subject.leadIn ?? 0
        }
    const before = { date: new Date().toISOString(), machine: machine(), versions: versions() }
    const started = performance.now()
    const cases: Array<CaseResult> = []
    for (const one of subject.cases) {
      if (quick && one.slow === true) continue
      const profiled = quick ? [] : aimedFor(subject, one.name)
      const result = { name: one.name, contestants: yield* runCase(name, one.name, settings, undefined, profiled) }
      cases.push(result)
      onCase?.(result)
    }
    const seconds = Math.round((performance.now() - started) / 1000)
    return { subject: name, ...before, settings, seconds, cases }
  })
