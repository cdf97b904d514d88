/**
 * What laws are written in: a pool over a scripted peer, borrowers that hold
 * until they are told to leave, and assertions that need no test runner.
 *
 * Nothing here waits for what a broken pool does not do.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Fiber } from "effect/Fiber"
import type { Scope } from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import type { ConnectionPool, Lease } from "../../ConnectionPool.ts"
import type { TestConnector } from "../../testing/TestConnector.ts"

export interface Scene {
  readonly peer: TestConnector
  readonly pool: ConnectionPool<void, unknown, unknown>
  readonly maxSize: number
  /** Closes the scope in which the pool was made. */
  readonly close: Effect.Effect<void>
}

/** Names of laws, each with what it does in a scene of its own. */
export type Laws = ReadonlyArray<readonly [name: string, law: (scene: Scene) => Effect.Effect<void, unknown, Scope>]>

/** Lets every fiber that can run do so. Many turns, for stacks of pools. */
export const settle: Effect.Effect<void> = Effect.repeat(Effect.yieldNow, { times: 40 })

export const advance = (duration: Duration.Input): Effect.Effect<void> =>
  Effect.andThen(TestClock.adjust(duration), settle)

/** How a fiber ended, which it must do at once, or within an hour of the law's clock. */
export const settled = <A, E>(
  forked: Effect.Effect<Fiber<A, E>>,
  within: "none" | "hour" = "none",
  what = "a call"
): Effect.Effect<Exit.Exit<A, E>> =>
  Effect.gen(function* () {
    const fiber = yield* forked
    yield* settle
    // Steps, because what ends one wait may begin another.
    for (let left = within === "hour" ? 60 : 0; left > 0 && fiber.pollUnsafe() === undefined; left--) {
      yield* advance("1 minute")
    }
    const exit = fiber.pollUnsafe()
    return exit ?? broken(`${what} did not end`)
  })

export const succeeded = <A, E>(exit: Exit.Exit<A, E>, what: string): Effect.Effect<A> =>
  Exit.isSuccess(exit) ? Effect.succeed(exit.value) : broken(`${what} failed: ${Cause.pretty(exit.cause)}`)

/** Borrows and returns at once; the connection's id. */
export const borrowOnce = (pool: ConnectionPool<void, unknown, unknown>): Effect.Effect<number> =>
  Effect.flatMap(
    settled(Effect.forkChild(pool.use((_, lease) => Effect.succeed(lease.info.id))), "hour", "a borrow"),
    (exit) => succeeded(exit, "a borrow")
  )

export interface Borrower {
  readonly fiber: Fiber<unknown, unknown>
  /** Whether it was lent a connection and its body has not ended. */
  readonly holds: () => boolean
  /** Its latest loan. */
  readonly lease: () => Lease<unknown>
  /** Empty while it waits or holds; then `success`, the tag of an error or its reason, or `interrupted`. */
  readonly outcome: () => string
  readonly leave: Effect.Effect<void>
  readonly interrupt: Effect.Effect<void>
}

/** A fiber that borrows and holds until it is told to leave. */
export const borrow = (pool: ConnectionPool<void, unknown, unknown>): Effect.Effect<Borrower> =>
  Effect.gen(function* () {
    const gate = Deferred.makeUnsafe<void>()
    let lease: Lease<unknown> | undefined
    const fiber = yield* Effect.forkChild(
      pool.use((_, lent) => {
        lease = lent
        return Deferred.await(gate)
      })
    )
    yield* settle
    return {
      fiber,
      holds: () => lease !== undefined && fiber.pollUnsafe() === undefined,
      lease: () => lease ?? broken("a borrower was not lent a connection"),
      outcome: () => {
        const exit = fiber.pollUnsafe()
        return exit === undefined ? "" : outcomeOf(exit)
      },
      leave: Effect.suspend(() => {
        Deferred.doneUnsafe(gate, Exit.void)
        return settle
      }),
      interrupt: Effect.suspend(() => {
        fiber.interruptUnsafe()
        return settle
      })
    }
  })

export const nobodyBorrows = (pool: ConnectionPool<void, unknown, unknown>): Effect.Effect<void> =>
  Effect.flatMap(Effect.andThen(settle, pool.stats), ({ borrowers, used }) =>
    Effect.sync(() => equal([borrowers, used], [0, 0], "borrowers and used connections after a return"))
  )

export const outcomeOf = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isSuccess(exit)) return "success"
  if (Cause.hasInterruptsOnly(exit.cause)) return "interrupted"
  const error = Cause.squash(exit.cause) as { readonly _tag?: string; readonly reason?: { readonly _tag: string } }
  return error.reason?._tag ?? error._tag ?? String(error)
}

export const sorted = (ids: ReadonlyArray<number>): Array<number> => [...ids].sort((a, b) => a - b)

const broken = (message: string): never => {
  throw new Error(`law broken: ${message}`)
}

export const truth = (holds: boolean, message: string): void => {
  if (!holds) broken(message)
}

const show = (value: unknown): string => (value === undefined ? "undefined" : JSON.stringify(value))

export const equal = (actual: unknown, expected: unknown, what: string): void =>
  truth(show(actual) === show(expected), `${what}: expected ${show(expected)}, got ${show(actual)}`)
