/**
 * Contestants that do one thing over and over, in fibers or in async functions.
 */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import type { Contestant } from "./subject.ts"
import { inFibers, inPromises } from "./work.ts"

export interface Options {
  /** Fibers or async functions that do it at once. Default 1. */
  readonly borrowers?: number
  readonly setup?: string
}

/** Runs an effect over and over; it is made anew each time, as programs do. */
export const effects = <E, E2>(
  name: string,
  make: Effect.Effect<() => Effect.Effect<unknown, E>, E2, Scope>,
  { borrowers = 1, ...setup }: Options = {}
): Contestant => ({
  name,
  ...setup,
  open: Effect.map(make, (one) => (operations) => Effect.runPromise(inFibers(borrowers, operations, one)))
})

/** Calls an async function over and over. */
export const promises = <E>(
  name: string,
  make: Effect.Effect<() => Promise<unknown>, E, Scope>,
  { borrowers = 1, ...setup }: Options = {}
): Contestant => ({
  name,
  ...setup,
  open: Effect.map(make, (one) => (operations) => inPromises(borrowers, operations, one))
})
