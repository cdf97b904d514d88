/**
 * Keys that are about to be removed when somebody comes, over pools whose
 * answers take time: a pool of the user's own may ask another process.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as CachePool from "../src/CachePool.ts"
import type { ConnectionPool } from "../src/ConnectionPool.ts"
import * as MapPool from "../src/MapPool.ts"
import { hang } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import type { TestConnection, TestConnectError } from "../src/testing/TestConnector.ts"
import { at, keyed, over } from "./support/kinds.ts"
import { borrow, borrowLater, settle, states } from "./support/scene.ts"

type Pool = ConnectionPool<void, TestConnection, TestConnectError>

/** A pool that is slow to lend and slow to say how it is; what it says is old by the time it is heard. */
const slow = ({ drain, get, guard, lease, observe, pipe, retain, stats, use }: Pool): Pool => ({
  drain,
  guard,
  lease,
  observe,
  pipe,
  retain,
  use,
  get: () => Effect.andThen(Effect.sleep(1), get()),
  stats: Effect.tap(stats, () => Effect.sleep(2))
})

const slowMap = (options: { readonly maxKeys?: number; readonly idleTimeToLive?: Duration.Input }) =>
  over((peer) =>
    MapPool.make({
      ...options,
      key: (key: string) => key,
      pool: () => Effect.map(CachePool.make(peer.options), slow) as Effect.Effect<Pool, never, Scope.Scope>
    })
  )

/** Lets a pool whose stats take time close before the test ends. */
const finish = (pool: MapPool.MapPool<string, string, TestConnection, TestConnectError>) =>
  Effect.gen(function* () {
    const draining = yield* Effect.forkChild(pool.drain())
    yield* TestClock.adjust("1 second")
    yield* settle
    assert.isTrue(draining.pollUnsafe() !== undefined)
  })

/** The test's clock, and how often somebody began to sleep by it. */
const countingClock = Effect.map(Clock.clockWith(Effect.succeed), (clock) => {
  let sleeps = 0
  const counting: Clock.Clock = {
    currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
    currentTimeMillis: clock.currentTimeMillis,
    currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
    currentTimeNanos: clock.currentTimeNanos,
    monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
    monotonicTimeNanos: clock.monotonicTimeNanos,
    sleep: (duration) =>
      Effect.suspend(() => {
        // Whoever sleeps for ever shorter times would never let the test end.
        if (++sleeps > 1_000) return Effect.never
        return clock.sleep(duration)
      })
  }
  return {
    sleeps: () => sleeps,
    provide: <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.provideService(effect, Clock.Clock, counting)
  }
})

describe("MapPool", () => {
  describe("removal", () => {
    it.effect("M3 a key whose caller is on its way does not make room, though its loan does not show yet", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* slowMap({ maxKeys: 1 })
        const first = yield* borrow(at(pool, "a"), "get")
        yield* TestClock.adjust(5)
        yield* first.leave
        // It is served after 1 ms; the stats that were read when the other key came say, after 2 ms, that nobody is there.
        const onItsWay = yield* borrowLater(at(pool, "a"), "get")
        yield* settle
        const other = yield* borrowLater(at(pool, "b"))
        yield* TestClock.adjust(5)
        yield* settle
        const seen = [states(onItsWay, other), yield* pool.keys, peer.closed()]
        yield* onItsWay.leave
        yield* finish(pool)
        assert.deepStrictEqual(seen, [["has 1", "TooManyKeys"], ["a"], []])
      })
    )

    it.effect("M2 a caller whose fiber yields on its way to the pool of a key that is removed gets the next one", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed()
        for (let budget = 3; budget < 40; budget++) {
          yield* pool.use("a", () => Effect.void)
          const call = pool.use("a", () => Effect.succeed("served"))
          const caller = yield* Effect.forkChild(
            Effect.provideService(Effect.exit(call), Scheduler.MaxOpsBeforeYield, budget),
            { startImmediately: true }
          )
          yield* pool.remove("a")
          assert.deepStrictEqual(yield* Fiber.join(caller), Exit.succeed("served"), `budget ${budget}`)
        }
      })
    )

    it.effect("M5 from the moment a drain begins no key lends, whichever closes first", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed()
        for (const key of ["a", "b", "c"]) yield* pool.use(key, () => Effect.void)
        const seen: Array<Exit.Exit<unknown, unknown>> = []
        const ask = (call: Effect.Effect<unknown, unknown, Scope.Scope>) => {
          seen.push(Effect.runSyncExit(Effect.scoped(call)))
        }
        yield* pool.observe({
          evicted: () => {
            for (const key of ["a", "b", "c"]) ask(Effect.flip(pool.get(key)))
            for (const key of ["a", "b", "c"]) ask(Effect.flip(pool.use(key, () => Effect.void)))
          }
        })
        yield* pool.drain()
        assert.strictEqual(seen.length, 18)
        for (const exit of seen) assert.isTrue(Exit.isSuccess(exit), String(exit))
      })
    )

    it.effect("M2 a drain ends the sweep that it came upon", () =>
      Effect.gen(function* () {
        let asked = 0
        // What is given up takes its time to close.
        const connect = () =>
          Effect.andThen(
            Effect.addFinalizer(() => Effect.sleep("5 seconds")),
            Effect.never
          )
        const pool = yield* MapPool.make({
          idleTimeToLive: "1 second",
          key: (key: string) => key,
          pool: () =>
            Effect.map(CachePool.make({ connect, connectTimeout: "20 seconds" }), (pool) => {
              const { stats, ...rest } = slow(pool as Pool)
              return { ...rest, stats: Effect.tap(stats, () => Effect.sync(() => asked++)) } as Pool
            })
        })
        const leaving = yield* borrow(at(pool, "a"))
        yield* TestClock.adjust(10)
        yield* settle
        yield* leaving.interrupt
        yield* TestClock.adjust("1 second")
        const draining = yield* Effect.forkChild(pool.drain())
        yield* TestClock.adjust(10)
        const before = asked
        yield* TestClock.adjust("1 second")
        assert.strictEqual(asked, before)
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.join(draining)
      })
    )

    it.effect("M2 a key whose caller came while the sweep read its stats is not removed", () =>
      Effect.gen(function* () {
        const { pool } = yield* slowMap({ idleTimeToLive: "1 second" })
        yield* Effect.forkChild(at(pool, "a").use((_, lease) => lease.invalidate))
        // The pool is built when its stats have been heard; then its time runs.
        yield* TestClock.adjust(2)
        yield* settle
        yield* TestClock.adjust("1 second")
        const caller = yield* borrow(at(pool, "a"), "get")
        yield* TestClock.adjust(5)
        yield* settle
        const seen = [states(caller), yield* pool.keys]
        yield* caller.leave
        yield* finish(pool)
        assert.deepStrictEqual(seen, [["has 2"], ["a"]])
      })
    )

    it.effect(
      "M2 A10 a key whose attempt nobody waits for is not looked at again and again, even where the time is 0",
      () =>
        Effect.gen(function* () {
          const clock = yield* countingClock
          const { pool } = yield* clock.provide(
            keyed({ idleTimeToLive: 0 }, { connectTimeout: "20 seconds" }, TestConnector.makeUnsafe(hang))
          )
          const leaving = yield* borrow(at(pool, "a"))
          yield* leaving.interrupt
          yield* TestClock.adjust("10 seconds")
          assert.deepStrictEqual(yield* pool.keys, ["a"])
          assert.isBelow(clock.sleeps(), 200)
        })
    )

    it.effect("M2 A10 a key that is waited on is not looked at again and again, even where the time is 0", () =>
      Effect.gen(function* () {
        const clock = yield* countingClock
        const { pool } = yield* clock.provide(
          keyed(
            { idleTimeToLive: 0 },
            { onAbandon: "cancel", connectTimeout: "20 seconds" },
            TestConnector.makeUnsafe(hang)
          )
        )
        const waiting = yield* borrow(at(pool, "a"))
        // Another key that empties makes the map look.
        const leaving = yield* borrow(at(pool, "b"))
        yield* leaving.interrupt
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(states(waiting), ["waits"])
        assert.isBelow(clock.sleeps(), 20)
      })
    )
  })
})
