/**
 * What fibers and async functions do in samples: the same thing, each in its own idiom.
 */
import * as Effect from "effect/Effect"

/** What a borrower does while it holds a connection. */
export type Hold = "nothing" | "microtask" | "tick" | "1 ms"

const resolved = Promise.resolve()

const wait: Record<Exclude<Hold, "nothing">, (done: () => void) => unknown> = {
  // Node's `queueMicrotask` costs more than the pools do.
  microtask: (done) => resolved.then(done),
  tick: (done) => setImmediate(done),
  "1 ms": (done) => setTimeout(done, 1)
}

export const holdEffect = (hold: Hold): Effect.Effect<void> => {
  if (hold === "nothing") return Effect.void
  const start = wait[hold]
  return Effect.callback<void>((resume) => void start(() => resume(Effect.void)))
}

export const holdPromise = (hold: Hold): (() => Promise<void> | void) => {
  if (hold === "nothing") return () => {}
  if (hold === "microtask") return () => resolved
  const start = wait[hold]
  return () => new Promise<void>((resolve) => start(resolve))
}

/** Does the same so many times, one after the other. */
export const repeat = <E, R>(times: number, body: () => Effect.Effect<unknown, E, R>): Effect.Effect<void, E, R> =>
  Effect.suspend(() => {
    let left = times
    return Effect.whileLoop({ while: () => left > 0, body, step: () => void left-- })
  })

/** Spreads operations over so many fibers that run at once. */
export const inFibers = <E, R>(
  fibers: number,
  operations: number,
  body: () => Effect.Effect<unknown, E, R>
): Effect.Effect<void, E, R> => {
  const one = repeat(Math.ceil(operations / fibers), body)
  return fibers === 1
    ? one
    : Effect.forEach(Array.from({ length: fibers }), () => one, { concurrency: "unbounded", discard: true })
}

/** Spreads operations over so many async functions that run at once. */
export const inPromises = async (
  concurrency: number,
  operations: number,
  body: () => Promise<unknown>
): Promise<void> => {
  const one = async () => {
    for (let left = Math.ceil(operations / concurrency); left > 0; left--) await body()
  }
  await Promise.all(Array.from({ length: concurrency }, one))
}
