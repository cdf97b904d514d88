/**
 * What is measured: subjects, their cases, who takes part, and what is aimed for.
 */
import type * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"

/**
 * What one sample found, by name. The harness adds `time` and `cpu`, in
 * nanoseconds per operation, `ms`, and `rate`, in operations per second.
 */
export type Figures = Readonly<Record<string, number>>

/** Does so many operations; may return figures of its own, which go before those of the harness. */
export type Run = (operations: number) => Promise<Figures | void>

export interface Contestant {
  readonly name: string
  /** How it is set up, where that is not obvious. */
  readonly setup?: string
  /** Gets ready what is not measured. Everything closes with the scope. */
  readonly open: Effect.Effect<Run, unknown, Scope>
}

export interface Case {
  readonly name: string
  /** Where the case stands on the x axis of a plot. */
  readonly n?: number
  readonly contestants: ReadonlyArray<Contestant>
  /** Operations per sample. Default: as many as fill the sample's time. */
  readonly operations?: number
  /** Operations come in multiples of this, such as the number of borrowers. Default 1. */
  readonly batch?: number
  /** All contestants take their samples at once: for those that wait more than they work. */
  readonly together?: boolean
  /** Left out of quick runs. */
  readonly slow?: boolean
}

/** A contestant of a case. */
export type Entry = readonly [subjectCase: string, contestant: string]

export interface Target {
  readonly what: string
  readonly figure: string
  readonly of: Entry
  /** Where there are several, the best one of them. None: the figure itself is the target. */
  readonly against: ReadonlyArray<Entry>
  /** Default `"ratio"`. */
  readonly by?: "ratio" | "difference" | "value"
  /** Which way is better. Default `"lower"`. */
  readonly better?: "lower" | "higher"
  readonly must: number
  readonly aim: number
  readonly unit?: string
}

export interface Chart {
  readonly title: string
  /**
   * Bars: one panel per case. Lines: one line per contestant over the cases' `n`,
   * both axes logarithmic. Curves: one panel per case, one line per contestant
   * over the figures `figure`1, `figure`2, and so on.
   */
  readonly kind: "bars" | "lines" | "curves"
  readonly figure: string
  /** Of the figure times `scale`. */
  readonly unit: string
  readonly scale?: number
  /** Default: all cases. */
  readonly cases?: ReadonlyArray<string>
  /** Label of the x axis of lines and curves. */
  readonly x?: string
  /** A logarithmic axis for bars that differ by orders of magnitude. */
  readonly log?: boolean
}

/** A column of the table of results. */
export interface Column {
  readonly figure: string
  readonly title: string
  readonly scale?: number
  readonly digits?: number
}

export interface Subject {
  readonly title: string
  /** What one operation is, and how it was measured. Markdown. */
  readonly about: string
  readonly cases: ReadonlyArray<Case>
  /** Ratios in tables are to this contestant. */
  readonly baseline: string
  readonly columns: ReadonlyArray<Column>
  readonly targets: ReadonlyArray<Target>
  readonly charts: ReadonlyArray<Chart>
  /** Default 7. */
  readonly rounds?: number
  /** How many processes they are spread over. Default 1. */
  readonly processes?: number
  /** What one sample should take, in milliseconds. Default 80. */
  readonly sampleTime?: number
  /** CPU time before the first sample, in milliseconds. Default 300. */
  readonly warmUp?: number
  /**
   * The share of a sample that goes before each one, unmeasured. Default 0.
   * While others have their turn a client's memory goes cold, and so do its
   * connections: the first thousand requests then take four times as long.
   */
  readonly leadIn?: number
}
