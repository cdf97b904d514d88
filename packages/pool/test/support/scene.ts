/**
 * What the tests of the kinds share: a pool over a scripted peer, borrowers
 * that hold a connection until told to leave, and short words for outcomes.
 */
import { assert } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as CachePool from "../../src/CachePool.ts"
import type { ConnectionPool, Lease, PoolStats } from "../../src/ConnectionPool.ts"
import * as SingletonPool from "../../src/SingletonPool.ts"
import * as TestConnector from "../../src/testing/TestConnector.ts"

type Peer = TestConnector.TestConnector
type Conn = TestConnector.TestConnection
type ConnError = TestConnector.TestConnectError

/** Lets every fiber that can run do so, without moving the clock. */
export const settle: Effect.Effect<void> = Effect.repeat(Effect.yieldNow, { times: 11 })

/** Failed attempts are followed by the next after exactly one second. */
export const everySecond = Schedule.spaced("1 second")

type CacheOptions = Partial<CachePool.CachePoolOptions<Conn, ConnError, Scope.Scope>>
type SingletonOptions = Partial<SingletonPool.SingletonPoolOptions<Conn, ConnError, Scope.Scope>>

/** A cache over a scripted peer. After the test everything that was opened must have been closed. */
export const cache = (options: CacheOptions = {}, peer: Peer = TestConnector.makeUnsafe()) =>
  Effect.gen(function* () {
    const made: Array<ConnectionPool<void, unknown, unknown>> = []
    // Runs after the pool's own finalizer.
    yield* Effect.addFinalizer(() => Effect.forEach(made, (pool) => checkClosed(peer, pool)))
    const pool = yield* CachePool.make({ ...peer.options, ...options })
    made.push(pool)
    return { peer, pool }
  })

/** `cache` for a singleton. */
export const singleton = (options: SingletonOptions = {}, peer: Peer = TestConnector.makeUnsafe()) =>
  Effect.gen(function* () {
    const made: Array<ConnectionPool<void, unknown, unknown>> = []
    // Runs after the pool's own finalizer.
    yield* Effect.addFinalizer(() => Effect.forEach(made, (pool) => checkClosed(peer, pool)))
    const pool = yield* SingletonPool.make({ ...peer.options, ...options })
    made.push(pool)
    return { peer, pool }
  })

/** A closed pool: all that was opened is closed, once, and nobody listens. */
export const checkClosed = (peer: Peer, pool: ConnectionPool<void, unknown, unknown>): Effect.Effect<void> =>
  Effect.gen(function* () {
    const opened = peer.opened()
    assert.deepStrictEqual([...peer.closed()].sort(byNumber), opened.toSorted(byNumber), "opened and closed")
    assert.strictEqual(peer.watchers(), 0, "watchers")
    const { idle, used, connecting, closing, pending, borrowers, created, closed } = yield* pool.stats
    assert.deepStrictEqual([idle, used, connecting, closing, pending, borrowers], [0, 0, 0, 0, 0, 0], "levels")
    assert.strictEqual(closed, created, "closed and created")
  })

const byNumber = (a: number, b: number) => a - b

/** Stats with zeros for what is not said. */
export const stats = (said: Partial<PoolStats>): PoolStats => ({
  idle: 0,
  used: 0,
  connecting: 0,
  closing: 0,
  pending: 0,
  borrowers: 0,
  maxSize: 10,
  created: 0,
  closed: 0,
  reused: 0,
  failed: 0,
  timedOut: 0,
  ...said
})

/** An exit in a word or two, such as `WaitTimeout connect` or `TestConnectError 2`. */
export const describeExit = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isSuccess(exit)) return "ok"
  if (Cause.hasInterruptsOnly(exit.cause)) return "interrupted"
  const error = Cause.squash(exit.cause) as {
    readonly _tag?: string
    readonly attempt?: number
    readonly message?: string
    readonly reason?: { readonly _tag: string; readonly phase?: string }
  }
  if (Cause.hasDies(exit.cause)) return `die ${error.message ?? String(error)}`
  switch (error._tag) {
    case "PoolError":
      return error.reason!.phase === undefined ? error.reason!._tag : `${error.reason!._tag} ${error.reason!.phase}`
    case "TestConnectError":
      return `${error._tag} ${error.attempt}`
    default:
      return error._tag ?? String(error)
  }
}

export interface Borrower<C = Conn> {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  /** `waits`, `has 1`, or how it ended: `ok`, `Closed`, `TestConnectError 1`, … */
  readonly state: () => string
  readonly connection: () => C
  readonly lease: () => Lease<C>
  /** Ends the body and lets everything settle. */
  readonly leave: Effect.Effect<void>
  /** Ends the body; its fiber runs when the calling fiber yields. */
  readonly leaveUnsafe: () => void
  readonly interrupt: Effect.Effect<void>
}

export type Via = "use" | "get" | "lease"

/** A fiber that borrows and holds until it is told to leave; settles first. */
export const borrow = <C extends { readonly id: number }, E>(
  pool: ConnectionPool<void, C, E>,
  via: Via = "use"
): Effect.Effect<Borrower<C>> => Effect.tap(borrowLater(pool, via), () => settle)

/** `borrow` whose fiber has not run yet. */
export const borrowLater = <C extends { readonly id: number }, E>(
  pool: ConnectionPool<void, C, E>,
  via: Via = "use"
): Effect.Effect<Borrower<C>> =>
  Effect.gen(function* () {
    const gate = Deferred.makeUnsafe<void>()
    let lease: Lease<C> | undefined
    let connection: C | undefined
    const body = (c: C, l?: Lease<C>) =>
      Effect.suspend(() => {
        connection = c
        lease = l
        return Deferred.await(gate)
      })
    const borrowing =
      via === "use"
        ? pool.use(body)
        : via === "get"
          ? Effect.scoped(Effect.flatMap(pool.get(), (c) => body(c)))
          : Effect.scoped(Effect.flatMap(pool.lease(), (l) => body(l.connection, l)))
    const fiber = yield* Effect.forkChild(borrowing)
    const leaveUnsafe = () => {
      Deferred.doneUnsafe(gate, Exit.void)
    }
    return {
      fiber,
      state: () => {
        const exit = fiber.pollUnsafe()
        if (exit !== undefined) return describeExit(exit)
        return connection === undefined ? "waits" : `has ${connection.id}`
      },
      connection: () => {
        if (connection === undefined) throw new Error("the borrower has no connection")
        return connection
      },
      lease: () => {
        if (lease === undefined) throw new Error("the borrower has no lease")
        return lease
      },
      leaveUnsafe,
      leave: Effect.andThen(Effect.sync(leaveUnsafe), settle),
      interrupt: Effect.andThen(Fiber.interrupt(fiber), settle)
    }
  })

/** Several borrowers, one after the other. */
export const borrowMany = <C extends { readonly id: number }, E>(
  pool: ConnectionPool<void, C, E>,
  count: number
): Effect.Effect<Array<Borrower<C>>> => Effect.replicateEffect(borrow(pool), count)

export const states = (...borrowers: ReadonlyArray<Borrower<never> | Borrower>): Array<string> =>
  borrowers.map((borrower) => borrower.state())

/** Borrows once and returns at once; says which connection it was, or why there was none. */
export const once = <C extends { readonly id: number }, E>(pool: ConnectionPool<void, C, E>): Effect.Effect<string> =>
  Effect.map(Effect.exit(pool.use((connection) => Effect.succeed(connection.id))), (exit) =>
    Exit.isSuccess(exit) ? `has ${exit.value}` : describeExit(exit)
  )

/** Scripts the next attempts of a peer to wait; each of the results opens one gate and lets everything settle. */
export const gates = (peer: Peer, ...thens: ReadonlyArray<TestConnector.Behaviour>): Array<Effect.Effect<void>> =>
  thens.map((then) => {
    const gate = Deferred.makeUnsafe<void>()
    peer.script(TestConnector.gated(gate, then))
    return Effect.andThen(Deferred.succeed(gate, undefined), settle)
  })

/**
 * Counts the fibers that run in the context of what is made with `counted`; a
 * timer is one. Move the test's clock once before: its first sleeper starts
 * the fiber that would warn that nobody moves it.
 */
export const fiberCounter = () => {
  let running = 0
  return {
    running: () => running,
    counted: <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.provideService(effect, Metric.FiberRuntimeMetrics, {
        recordFiberStart: () => {
          running++
        },
        recordFiberEnd: () => {
          running--
        }
      })
  }
}
