/**
 * Medians and their spread.
 */
import { median, quantileSorted } from "simple-statistics"

/** The median of several rounds, and the middle half of them. */
export interface Summary {
  readonly median: number
  readonly low: number
  readonly high: number
}

export const summarize = (values: ReadonlyArray<number>): Summary => {
  const sorted = [...values].sort((a, b) => a - b)
  return { median: median(sorted), low: quantileSorted(sorted, 0.25), high: quantileSorted(sorted, 0.75) }
}

/**
 * Compares round by round, because what slows a machine down slows down the
 * neighbours in a round alike.
 */
export const compare = (
  values: ReadonlyArray<number>,
  others: ReadonlyArray<number>,
  how: (value: number, other: number) => number
): Summary => summarize(values.flatMap((value, round) => (round < others.length ? [how(value, others[round]!)] : [])))

export const ratio = (values: ReadonlyArray<number>, others: ReadonlyArray<number>): Summary =>
  compare(values, others, (value, other) => value / other)
