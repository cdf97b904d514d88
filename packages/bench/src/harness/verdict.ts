/**
 * Judges results by the targets of their subject.
 */
import type { Measured } from "./measure.ts"
import type { Result } from "./result.ts"
import { compare, type Summary, summarize } from "./statistics.ts"
import type { Entry, Subject, Target } from "./subject.ts"

export interface Judged {
  readonly target: Target
  readonly found: Summary
  /** Who it was compared with. */
  readonly against: string | undefined
  readonly verdict: "aim" | "must" | "missed"
}

export const find = (result: Result, [caseName, contestant]: Entry): Measured | undefined =>
  result.cases.find((one) => one.name === caseName)?.contestants.find((one) => one.contestant === contestant)

export const valuesOf = (measured: Measured, figure: string): ReadonlyArray<number> =>
  measured.rounds.flatMap((round) => (round[figure] === undefined ? [] : [round[figure]]))

/** Targets whose cases were not measured are left out. */
export const judge = (subject: Subject, result: Result): ReadonlyArray<Judged> =>
  subject.targets.flatMap((target) => {
    const { aim, against, better = "lower", by = "ratio", figure, must, of } = target
    const measured = find(result, of)
    const rivals = against.flatMap((entry) => find(result, entry) ?? [])
    if (measured === undefined || (against.length > 0 && rivals.length === 0)) return []
    const values = valuesOf(measured, figure)
    const rival = best(rivals, figure, better)
    const found =
      rival === undefined
        ? summarize(values)
        : compare(values, valuesOf(rival, figure), by === "difference" ? (a, b) => a - b : (a, b) => a / b)
    const reaches = (bound: number) => (better === "lower" ? found.median <= bound : found.median >= bound)
    return [
      {
        target,
        found,
        against: rival?.contestant,
        verdict: reaches(aim) ? "aim" : reaches(must) ? "must" : "missed"
      }
    ]
  })

const best = (rivals: ReadonlyArray<Measured>, figure: string, better: "lower" | "higher"): Measured | undefined => {
  const sorted = rivals.toSorted(
    (a, b) => summarize(valuesOf(a, figure)).median - summarize(valuesOf(b, figure)).median
  )
  return better === "lower" ? sorted[0] : sorted.at(-1)
}
