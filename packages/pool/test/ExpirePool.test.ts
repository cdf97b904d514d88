import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as CachePool from "../src/CachePool.ts"
import type { Any, ConnectionPool } from "../src/ConnectionPool.ts"
import * as ExpirePool from "../src/ExpirePool.ts"
import * as MapPool from "../src/MapPool.ts"
import * as NegotiatePool from "../src/NegotiatePool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import * as SingletonPool from "../src/SingletonPool.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import type { TestConnection, TestConnectError } from "../src/testing/TestConnector.ts"
import { evictions, inScope, over, settableClock } from "./support/kinds.ts"
import { borrow, borrowMany, cache, checkClosed, fiberCounter, once, settle, states, stats } from "./support/scene.ts"

type Options = ExpirePool.ExpirePoolOptions<TestConnection>
type Pool = ConnectionPool<void, TestConnection, TestConnectError>

/** A cache with expiry over a scripted peer. */
const expiring = (
  options: Options,
  of: Partial<CachePool.CachePoolOptions<TestConnection, TestConnectError, Scope.Scope>> = {},
  peer = TestConnector.makeUnsafe()
) => over((peer) => ExpirePool.make(CachePool.make({ ...peer.options, ...of }), options), peer)

/** A shared pool with expiry over a scripted peer. */
const expiringShared = (options: Options, peer = TestConnector.makeUnsafe()) =>
  over((peer) => ExpirePool.make(SharedPool.make({ ...peer.options, concurrency: 10 }), options), peer)

/** When a look was taken, from what the schedule is told. */
const looking = (schedule: Schedule.Schedule<unknown, ExpirePool.Look>) => {
  const looks: Array<readonly [now: number, evicted: number, nextDueIn: number | undefined]> = []
  return {
    looks,
    schedule: Schedule.tap(Schedule.passthrough(schedule), ({ input }) =>
      Effect.sync(() => {
        const { evicted, nextDueIn, now } = input
        looks.push([now, evicted, nextDueIn === undefined ? undefined : Duration.toMillis(nextDueIn)])
      })
    ) as Schedule.Schedule<unknown, ExpirePool.Look>
  }
}

/** How many guards and observers a pool has had installed and removed, and what it was asked. */
const spied = <P extends Any>(pool: P) => {
  const log: Array<string> = []
  const scoped = (name: string, effect: Effect.Effect<void, never, Scope.Scope>) =>
    Effect.acquireRelease(
      Effect.andThen(
        Effect.sync(() => void log.push(name)),
        effect
      ),
      () => Effect.sync(() => void log.push(`${name} ends`))
    )
  const spy: Any = {
    ...pool,
    guard: (keep) => scoped("guard", pool.guard(keep as never)),
    observe: (observer) => scoped("observe", pool.observe(observer)),
    retain: (keep) =>
      Effect.andThen(
        Effect.sync(() => void log.push("retain")),
        pool.retain(keep as never)
      ),
    pipe: pool.pipe
  }
  return { log, pool: spy as P }
}

describe("ExpirePool", () => {
  describe("make", () => {
    it.effect("E1 returns the very pool that it was given", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        assert.strictEqual(yield* ExpirePool.make(Effect.succeed(pool), { maxUses: 1 }), pool)
        assert.strictEqual(yield* Effect.succeed(pool).pipe(ExpirePool.make({ maxUses: 1 })), pool)
      })
    )

    it.effect("E1 works through retain, guard and observe only, and undoes them when its scope ends", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const { log, pool: spy } = spied(pool as Pool)
        const { close } = yield* inScope(ExpirePool.make(Effect.succeed(spy), { idleTimeToLive: "1 minute" }))
        yield* once(pool)
        yield* settle
        yield* close
        assert.deepStrictEqual(log.filter((line) => line !== "retain").toSorted(), [
          "guard",
          "guard ends",
          "observe",
          "observe ends"
        ])
        assert.isTrue(log.includes("retain"))
        yield* TestClock.adjust("1 hour")
        assert.strictEqual(yield* once(pool), "has 1")
      })
    )

    for (const [name, make] of [
      ["CachePool", (peer) => CachePool.make(peer.options)],
      ["SingletonPool", (peer) => SingletonPool.make(peer.options)],
      ["SharedPool", (peer) => SharedPool.make({ ...peer.options, concurrency: 1 })],
      [
        "NegotiatePool",
        (peer) =>
          NegotiatePool.makeMerged({
            ...peer.options,
            inspect: () => false,
            upgrade: (connect) => SharedPool.make({ connect, concurrency: 1 }),
            fallback: (connect) => CachePool.make({ connect })
          })
      ],
      ["ExpirePool", (peer) => ExpirePool.make(CachePool.make(peer.options), { maxUses: 1_000 })]
    ] as ReadonlyArray<
      readonly [string, (peer: TestConnector.TestConnector) => Effect.Effect<Pool, never, Scope.Scope>]
    >) {
      it.effect(`E1 over a ${name}: what has expired is closed and replaced`, () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* over((peer) => ExpirePool.make(make(peer), { idleTimeToLive: "1 minute" }))
          const reasons = yield* evictions(pool)
          yield* once(pool)
          yield* TestClock.adjust(59_999)
          assert.deepStrictEqual(peer.closed(), [])
          yield* TestClock.adjust(1)
          yield* settle
          assert.deepStrictEqual([peer.closed(), reasons], [[1], ["idle"]])
          assert.strictEqual(yield* once(pool), "has 2")
        })
      )
    }

    it.effect("E1 a layer provides the pool with expiry, and closes it", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        class Tag extends Context.Service<Tag, CachePool.CachePool<TestConnection, TestConnectError>>()("Tag") {
          static readonly layer: Layer.Layer<Tag> = ExpirePool.layer(this, CachePool.make(peer.options), {
            idleTimeToLive: "1 second"
          })
        }
        const seen = yield* Effect.provide(
          Tag.use((pool) =>
            Effect.gen(function* () {
              const first = yield* once(pool)
              yield* TestClock.adjust("1 second")
              return [first, yield* once(pool)]
            })
          ),
          Tag.layer
        )
        assert.deepStrictEqual(seen, ["has 1", "has 2"])
        assert.deepStrictEqual(peer.closed(), [1, 2])
      })
    )

    it.effect("E1 a failure to make the pool passes unchanged", () =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(
          ExpirePool.make(Effect.fail("no pool") as Effect.Effect<Pool, string>, { maxUses: 1 })
        )
        assert.deepStrictEqual(exit, Exit.fail("no pool"))
      })
    )

    for (const [option, value, message] of [
      ["idleTimeToLive", 0, "idleTimeToLive must be a duration longer than zero"],
      ["idleTimeToLive", NaN, "idleTimeToLive must be a duration longer than zero"],
      ["maxLifetime", -1, "maxLifetime must be a duration longer than zero"],
      ["maxLifetime", "soon", "maxLifetime must be a duration longer than zero"],
      ["maxUses", 0, "maxUses must be an integer of at least 1"],
      ["maxUses", 1.5, "maxUses must be an integer of at least 1"],
      ["jitter", -0.1, "jitter must be a number from 0 to 1"],
      ["jitter", 1.1, "jitter must be a number from 0 to 1"],
      ["jitter", NaN, "jitter must be a number from 0 to 1"],
      ["idleTimeToLive", undefined, "at least one of idleTimeToLive, maxLifetime, maxUses and keep must be given"]
    ] as const) {
      it.effect(`E1 ${option} ${String(value)} is a defect that names it, and no pool is made`, () =>
        Effect.gen(function* () {
          let made = 0
          const options = { ...(option === "jitter" ? { maxLifetime: 1_000 } : {}), [option]: value } as Options
          const pool = Effect.suspend(() => {
            made++
            return CachePool.make(TestConnector.makeUnsafe().options)
          })
          const exit = yield* Effect.exit(ExpirePool.make(pool, options))
          const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
          assert.isTrue(defect instanceof RangeError)
          assert.isTrue(String(defect).includes(`ExpirePool: ${message}`), String(defect))
          assert.strictEqual(made, 0)
        })
      )
    }
  })

  describe("idleTimeToLive", () => {
    it.effect("E1 counts from the last return, exactly, and evicts for the reason idle", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiring({ idleTimeToLive: "1 minute" })
        const reasons = yield* evictions(pool)
        yield* once(pool)
        yield* TestClock.adjust("40 seconds")
        const borrower = yield* borrow(pool)
        yield* TestClock.adjust("10 seconds")
        yield* borrower.leave
        yield* TestClock.adjust(59_999)
        assert.deepStrictEqual(peer.closed(), [])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual([peer.closed(), reasons], [[1], ["idle"]])
      })
    )

    it.effect("E2 I8 a used connection is never idle, however long it is used", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiring({ idleTimeToLive: "1 minute" })
        const borrower = yield* borrow(pool)
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual([peer.closed(), states(borrower)], [[], ["has 1"]])
        yield* borrower.leave
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
      })
    )

    it.effect("E1 each connection goes at its own time", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiring({ idleTimeToLive: "1 minute" })
        const borrowers = yield* borrowMany(pool, 3)
        const closed: Array<ReadonlyArray<number>> = []
        for (const borrower of borrowers) {
          yield* borrower.leave
          yield* TestClock.adjust("10 seconds")
        }
        // Returned at 0, 10 and 20 seconds; it is 30 now.
        yield* TestClock.adjust("20 seconds")
        for (let i = 0; i < 3; i++) {
          yield* TestClock.adjust(9_999)
          closed.push(peer.closed())
          yield* TestClock.adjust(1)
          closed.push(peer.closed())
        }
        assert.deepStrictEqual(closed, [[], [1], [1], [1, 2], [1, 2], [1, 2, 3]])
      })
    )

    it.effect("E1 A5 leaves those that stay in use alone, with lifo reuse", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiring({ idleTimeToLive: "10 seconds" })
        for (const borrower of yield* borrowMany(pool, 2)) yield* borrower.leave
        for (let i = 0; i < 20; i++) {
          yield* once(pool)
          yield* TestClock.adjust("1 second")
        }
        assert.deepStrictEqual(peer.closed(), [1])
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )
  })

  describe("maxLifetime", () => {
    it.effect("E1 an idle connection of that age closes for the reason lifetime", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiring({ maxLifetime: "5 minutes", jitter: 0 })
        const reasons = yield* evictions(pool)
        yield* once(pool)
        for (let i = 0; i < 4; i++) {
          yield* TestClock.adjust("1 minute")
          yield* once(pool)
        }
        yield* TestClock.adjust(59_999)
        assert.deepStrictEqual(peer.closed(), [])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual([peer.closed(), reasons, peer.attempts()], [[1], ["lifetime"], 1])
      })
    )

    it.effect("E2 a used one of that age is not closed under its borrower, but when it comes back", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiring({ maxLifetime: "5 minutes", jitter: 0 })
        const borrower = yield* borrow(pool)
        yield* TestClock.adjust("10 minutes")
        assert.deepStrictEqual([peer.closed(), borrower.connection().isOpen], [[], true])
        yield* borrower.leave
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("E1 jitter shortens lifetimes by at most its share, each connection's by another", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiring({ maxLifetime: "1000 seconds", jitter: 0.2 }, { maxSize: 40 })
        for (const borrower of yield* borrowMany(pool, 40)) yield* borrower.leave
        yield* TestClock.adjust("799 seconds")
        assert.deepStrictEqual(peer.closed(), [])
        const perSlice: Array<number> = []
        for (let i = 0; i < 4; i++) {
          const before = peer.closed().length
          yield* TestClock.adjust(i === 0 ? "51 seconds" : "50 seconds")
          perSlice.push(peer.closed().length - before)
        }
        assert.strictEqual(
          perSlice.reduce((a, b) => a + b),
          40
        )
        for (const count of perSlice) assert.isTrue(count >= 7 && count <= 13, perSlice.join())
      })
    )

    it.effect("E1 jitter is 10 % by default", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiring({ maxLifetime: "1000 seconds" }, { maxSize: 40 })
        for (const borrower of yield* borrowMany(pool, 40)) yield* borrower.leave
        yield* TestClock.adjust("899 seconds")
        assert.strictEqual(peer.closed().length, 0)
        yield* TestClock.adjust("51 seconds")
        const half = peer.closed().length
        assert.isTrue(half >= 15 && half <= 25, String(half))
        yield* TestClock.adjust("50 seconds")
        assert.strictEqual(peer.closed().length, 40)
      })
    )

    it.effect("E1 a connection's own lifetime does not change while it lives", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiring({ maxLifetime: "100 seconds", jitter: 0.5 }, { maxSize: 20 })
        const closedAt = new Map<number, number>()
        const borrowers = yield* borrowMany(pool, 20)
        for (const borrower of borrowers) yield* borrower.leave
        for (let second = 1; second <= 100; second++) {
          yield* TestClock.adjust("1 second")
          for (const id of peer.closed()) if (!closedAt.has(id)) closedAt.set(id, second)
        }
        const times = Array.from(closedAt.values())
        assert.strictEqual(times.length, 20)
        assert.isTrue(Math.min(...times) >= 50 && new Set(times).size >= 15, times.join())
      })
    )

    it.effect("E1 idle and lifetime at once: whichever comes first", () =>
      Effect.gen(function* () {
        const { pool } = yield* expiring({ idleTimeToLive: "90 seconds", maxLifetime: "100 seconds", jitter: 0 })
        const reasons = yield* evictions(pool)
        yield* once(pool)
        yield* TestClock.adjust("90 seconds")
        yield* once(pool)
        yield* TestClock.adjust("50 seconds")
        yield* once(pool)
        yield* TestClock.adjust("50 seconds")
        assert.deepStrictEqual(reasons, ["idle", "lifetime"])
      })
    )
  })

  describe("maxUses", () => {
    it.effect("E1 a connection that was lent so often closes on return for the reason uses", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiring({ maxUses: 3 })
        const reasons = yield* evictions(pool)
        const seen: Array<string> = []
        for (let i = 0; i < 7; i++) seen.push(yield* once(pool))
        assert.deepStrictEqual(seen, ["has 1", "has 1", "has 1", "has 2", "has 2", "has 2", "has 3"])
        assert.deepStrictEqual(
          [peer.closed(), reasons],
          [
            [1, 2],
            ["uses", "uses"]
          ]
        )
      })
    )

    it.effect("E2 a shared connection is lent no more often than that, even in a burst, and drains", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiringShared({ maxUses: 3 })
        const callers = yield* borrowMany(pool, 8)
        assert.deepStrictEqual(states(...callers), [
          "has 1",
          "has 1",
          "has 1",
          "has 2",
          "has 2",
          "has 2",
          "has 3",
          "has 3"
        ])
        assert.deepStrictEqual(peer.closed(), [])
        for (const caller of callers) yield* caller.leave
        assert.deepStrictEqual(peer.closed(), [1, 2])
      })
    )

    it.effect("E2 A6 callers of one burst that were given the same connection keep their order", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiringShared({ maxUses: 3 })
        const gate = yield* Effect.sync(() => TestConnector.delay(100))
        peer.script(gate, gate, gate)
        const callers = yield* borrowMany(pool, 8)
        const seen: Array<number> = []
        for (let i = 0; i < 3; i++) {
          yield* TestClock.adjust(100)
          seen.push(callers.findIndex((caller) => caller.state() === "waits"))
        }
        assert.deepStrictEqual(seen, [3, 6, -1])
      })
    )
  })

  describe("keep", () => {
    it.effect("E1 any predicate decides, with its own reason, on connection, info and time", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiring({
          keep: ({ id }, info, now) => (id === 2 ? "unhealthy" : now - info.createdAt < 10_000)
        })
        const reasons = yield* evictions(pool)
        for (const borrower of yield* borrowMany(pool, 2)) yield* borrower.leave
        assert.deepStrictEqual([peer.closed(), reasons], [[2], ["unhealthy"]])
        yield* TestClock.adjust("30 seconds")
        assert.deepStrictEqual(
          [peer.closed(), reasons],
          [
            [2, 1],
            ["unhealthy", "retain"]
          ]
        )
      })
    )

    it.effect("E1 is looked at every 30 seconds where no time is given", () =>
      Effect.gen(function* () {
        let stays = true
        const { peer, pool } = yield* expiring({ keep: () => stays })
        yield* once(pool)
        yield* settle
        stays = false
        yield* TestClock.adjust(29_999)
        assert.deepStrictEqual(peer.closed(), [])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("E1 one that throws evicts, and the fiber goes on", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiring({
          idleTimeToLive: "1 minute",
          keep: ({ id }, { uses }) => {
            if (id === 1 && uses > 0) throw new Error("broken")
            return true
          }
        })
        const reasons = yield* evictions(pool)
        for (const borrower of yield* borrowMany(pool, 2)) yield* borrower.leave
        assert.deepStrictEqual([peer.closed(), reasons], [[1], ["unhealthy"]])
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(peer.closed(), [1, 2])
      })
    )
  })

  describe("schedule", () => {
    it.effect("E1 decides when to look; its input says what the look found and when the next is due", () =>
      Effect.gen(function* () {
        const { looks, schedule } = looking(Schedule.spaced("25 seconds"))
        const { pool } = yield* expiring({ idleTimeToLive: "1 minute", schedule })
        yield* TestClock.adjust("5 seconds")
        yield* once(pool)
        yield* TestClock.adjust("75 seconds")
        assert.deepStrictEqual(looks, [
          [5_000, 0, 60_000],
          [30_000, 0, 35_000],
          [55_000, 0, 10_000],
          [80_000, 1, undefined]
        ])
      })
    )

    it.effect("E1 by default the fiber looks when the next connection is due, not at intervals", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const looks: Array<number> = []
        const { pool } = yield* cache({}, peer)
        const clock = yield* TestClock.testClockWith(Effect.succeed)
        const spy: Pool = {
          ...(pool as Pool),
          pipe: pool.pipe,
          retain: (keep) => {
            looks.push(clock.currentTimeMillisUnsafe())
            return pool.retain(keep)
          }
        }
        yield* ExpirePool.make(Effect.succeed(spy), {
          idleTimeToLive: "1 minute",
          maxLifetime: "100 seconds",
          jitter: 0
        })
        yield* once(pool)
        yield* TestClock.adjust("30 seconds")
        yield* once(pool)
        yield* TestClock.adjust("5 minutes")
        assert.deepStrictEqual(looks, [0, 60_000, 90_000])
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("E1 its interval can vary with what was found", () =>
      Effect.gen(function* () {
        const varying = Schedule.modifyDelay(
          Schedule.passthrough(Schedule.forever) as Schedule.Schedule<ExpirePool.Look, ExpirePool.Look>,
          ({ output }) => Effect.succeed(output.evicted > 0 ? Duration.seconds(1) : Duration.seconds(10))
        )
        const { looks, schedule } = looking(varying)
        const { pool } = yield* expiring({ keep: (_, info, now) => info.id % 2 === 0 || now < 10_000, schedule })
        for (const borrower of yield* borrowMany(pool, 2)) yield* borrower.leave
        yield* TestClock.adjust("25 seconds")
        assert.deepStrictEqual(
          looks.map(([now, evicted]) => [now, evicted]),
          [
            [0, 0],
            [10_000, 1],
            [11_000, 0],
            [21_000, 0]
          ]
        )
      })
    )

    it.effect("E2 between two looks the guard keeps what has expired from being lent", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiring({ idleTimeToLive: "1 minute", schedule: Schedule.spaced("1 hour") })
        const reasons = yield* evictions(pool)
        yield* once(pool)
        yield* TestClock.adjust(59_999)
        assert.strictEqual(yield* once(pool), "has 1")
        yield* TestClock.adjust(60_000)
        assert.deepStrictEqual(peer.closed(), [])
        assert.strictEqual(yield* once(pool), "has 2")
        assert.deepStrictEqual([peer.closed(), reasons], [[1], ["idle"]])
      })
    )

    it.effect("E2 a schedule that has ended closes nothing by itself, and still nothing expired is lent", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiring({
          idleTimeToLive: "1 minute",
          schedule: Schedule.upTo(Schedule.spaced("30 seconds"), { times: 1 })
        })
        yield* once(pool)
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(peer.closed(), [])
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )
  })

  describe("used connections", () => {
    it.effect("E2 a shared connection that has expired drains: its borrowers finish, newcomers get another one", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiringShared({ maxLifetime: "1 minute", jitter: 0 })
        const old = yield* borrowMany(pool, 2)
        yield* TestClock.adjust("1 minute")
        const young = yield* borrow(pool)
        assert.deepStrictEqual(states(...old, young), ["has 1", "has 1", "has 2"])
        yield* old[0]!.leave
        assert.deepStrictEqual(peer.closed(), [])
        yield* old[1]!.leave
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("E2 a connection that expires on its way to a waiter is not lent to it", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiring({ maxUses: 1 }, { maxSize: 1 })
        const [holder, waiter] = yield* borrowMany(pool, 2)
        yield* holder!.leave
        assert.deepStrictEqual([states(holder!, waiter!), peer.closed()], [["ok", "has 2"], [1]])
      })
    )

    it.effect("E2 a fresh connection of a connector that is already old is dead on arrival, not lent", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* expiring(
          { keep: ({ id }) => id > 1 },
          { maxSize: 1, backoff: Schedule.spaced("1 second") }
        )
        const caller = yield* borrow(pool)
        assert.deepStrictEqual([states(caller), peer.closed()], [["waits"], [1]])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(caller), ["has 2"])
      })
    )
  })

  describe("the fiber", () => {
    /** A pool with expiry on a clock whose sleepers are counted. */
    const timed = (
      options: Options,
      make: (peer: TestConnector.TestConnector) => Effect.Effect<Pool, never, Scope.Scope>
    ) =>
      Effect.gen(function* () {
        const clock = yield* settableClock
        const { peer, pool } = yield* clock.provide(over((peer) => ExpirePool.make(make(peer), options)))
        return { peer, pool, clock }
      })

    const caches = (peer: TestConnector.TestConnector) => CachePool.make(peer.options)

    it.effect("E3 A10 I10 sleeps without a timer while the pool is empty, before and after", () =>
      Effect.gen(function* () {
        const { clock, pool } = yield* timed({ idleTimeToLive: "1 minute" }, caches)
        yield* settle
        assert.strictEqual(clock.timers(), 0)
        yield* once(pool)
        // The pool's own timer for waits ends after 30 seconds.
        yield* TestClock.adjust(59_999)
        assert.strictEqual(clock.timers(), 1)
        yield* TestClock.adjust(1)
        yield* settle
        assert.deepStrictEqual([(yield* pool.stats).closed, clock.timers()], [1, 0])
        yield* TestClock.adjust("1 day")
        assert.strictEqual(clock.timers(), 0)
      })
    )

    it.effect("E3 A10 drops its timer at once when the last connection goes by other means", () =>
      Effect.gen(function* () {
        const { clock, pool } = yield* timed({ idleTimeToLive: "1 hour", schedule: Schedule.spaced("1 hour") }, caches)
        yield* once(pool)
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(clock.timers(), 1)
        yield* pool.retain(() => false)
        yield* settle
        assert.strictEqual(clock.timers(), 0)
      })
    )

    it.effect("E3 wakes again for connections that come after the pool was empty, as often as that happens", () =>
      Effect.gen(function* () {
        const { clock, peer, pool } = yield* timed({ idleTimeToLive: "10 seconds" }, caches)
        for (let round = 1; round <= 3; round++) {
          assert.strictEqual(yield* once(pool), `has ${round}`)
          yield* TestClock.adjust(9_999)
          assert.strictEqual(peer.live(), 1)
          yield* TestClock.adjust(1)
          yield* settle
          assert.deepStrictEqual([peer.live(), clock.timers()], [0, 0])
          yield* TestClock.adjust("1 hour")
        }
      })
    )

    it.effect("E3 A10 has one timer however many connections", () =>
      Effect.gen(function* () {
        const { clock, pool } = yield* timed({ idleTimeToLive: "1 minute", maxLifetime: "1 hour" }, caches)
        for (const borrower of yield* borrowMany(pool, 10)) yield* borrower.leave
        yield* settle
        // The pool's own timer for waits may be on its way out.
        yield* TestClock.adjust("40 seconds")
        yield* settle
        assert.strictEqual(clock.timers(), 1)
      })
    )

    it.effect("E3 counts connections that were open before it came", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ minSize: 2 })
        yield* ExpirePool.make(Effect.succeed(pool), { idleTimeToLive: "1 minute" })
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(peer.closed(), [1, 2])
      })
    )

    it.effect("E3 counts connections that minSize opens under a key before anybody could watch", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const pool = yield* MapPool.make({
          key: (target: string) => target,
          pool: () => CachePool.make({ ...peer.options, minSize: 2, maxSize: 2 })
        }).pipe(ExpirePool.make({ keep: ({ id }, info, now) => now - info.createdAt < (id === 1 ? 10_000 : 60_000) }))
        yield* settle
        yield* Effect.scoped(pool.get("a"))
        yield* settle
        assert.deepStrictEqual(peer.opened(), [1, 2])
        yield* TestClock.adjust("30 seconds")
        yield* settle
        // Replaced, because of minSize.
        assert.deepStrictEqual(peer.closed(), [1])
        yield* TestClock.adjust("60 seconds")
        yield* settle
        assert.deepStrictEqual(peer.closed().toSorted(), [1, 2, 3])
      })
    )

    it.effect("E3 adopted connections expire, too", () =>
      Effect.gen(function* () {
        const closed: Array<number> = []
        const peer = TestConnector.makeUnsafe()
        const pool = yield* ExpirePool.make(CachePool.make({ connect: peer.connect }), { idleTimeToLive: "1 minute" })
        yield* pool.adopt(
          { id: 100, isOpen: true },
          Effect.sync(() => closed.push(100))
        )
        yield* TestClock.adjust("1 minute")
        yield* settle
        assert.deepStrictEqual(closed, [100])
      })
    )

    it.effect("E3 A10 ends with the scope", () =>
      Effect.gen(function* () {
        yield* TestClock.adjust(1)
        const { counted, running } = fiberCounter()
        const peer = TestConnector.makeUnsafe()
        const { close, pool } = yield* counted(
          inScope(ExpirePool.make(CachePool.make(peer.options), { idleTimeToLive: "1 minute" }))
        )
        yield* once(pool)
        yield* settle
        assert.isTrue(running() > 0)
        yield* close
        yield* settle
        assert.strictEqual(running(), 0)
        yield* checkClosed(peer, pool)
      })
    )

    it.effect("A8 closing waits for nothing of it, even in the middle of a sleep", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const { close, pool } = yield* inScope(ExpirePool.make(CachePool.make(peer.options), { maxLifetime: "1 hour" }))
        yield* once(pool)
        const closing = yield* Effect.forkChild(close)
        yield* settle
        assert.isTrue(closing.pollUnsafe() !== undefined)
      })
    )

    it.effect("A8 a pool that was drained stays quiet", () =>
      Effect.gen(function* () {
        const { clock, pool } = yield* timed({ idleTimeToLive: "1 minute" }, caches)
        yield* once(pool)
        yield* pool.drain()
        yield* settle
        assert.strictEqual(clock.timers(), 0)
      })
    )

    it.effect("E3 expiry on expiry: both policies hold", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* over((peer) =>
          CachePool.make(peer.options).pipe(
            ExpirePool.make({ idleTimeToLive: "1 minute" }),
            ExpirePool.make({ maxUses: 2 })
          )
        )
        yield* once(pool)
        yield* once(pool)
        assert.deepStrictEqual(peer.closed(), [1])
        yield* once(pool)
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(peer.closed(), [1, 2])
      })
    )
  })

  describe("a clock that jumps", () => {
    const jumping = (options: Options) =>
      Effect.gen(function* () {
        const clock = yield* settableClock
        clock.jump(1_000_000_000)
        const { peer, pool } = yield* clock.provide(
          over((peer) => ExpirePool.make(CachePool.make(peer.options), options))
        )
        return { clock, peer, pool }
      })

    it.effect("E3 back expires nothing early", () =>
      Effect.gen(function* () {
        const { clock, peer, pool } = yield* jumping({ idleTimeToLive: "1 minute", maxLifetime: "1 hour", jitter: 0 })
        yield* once(pool)
        yield* TestClock.adjust("10 seconds")
        clock.jump(-500_000_000)
        yield* TestClock.adjust(49_999)
        assert.deepStrictEqual(peer.closed(), [])
        assert.strictEqual(yield* once(pool), "has 1")
      })
    )

    it.effect("E3 back expires nothing never: what is idle goes within its time from when that was noticed", () =>
      Effect.gen(function* () {
        const { clock, peer, pool } = yield* jumping({ idleTimeToLive: "1 minute" })
        yield* once(pool)
        yield* TestClock.adjust("30 seconds")
        clock.jump(-500_000_000)
        yield* TestClock.adjust("2 minutes")
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("E3 back expires nothing never: lifetimes end, too, with the guard alone", () =>
      Effect.gen(function* () {
        const { clock, pool } = yield* jumping({
          maxLifetime: "1 minute",
          jitter: 0,
          schedule: Schedule.upTo(Schedule.spaced("1 second"), { times: 0 })
        })
        yield* once(pool)
        clock.jump(-500_000_000)
        assert.strictEqual(yield* once(pool), "has 1")
        yield* TestClock.adjust(59_999)
        assert.strictEqual(yield* once(pool), "has 1")
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )

    it.effect("E3 back, and then on to where it was: at the latest when the clock says that the time is over", () =>
      Effect.gen(function* () {
        const { clock, peer, pool } = yield* jumping({ maxLifetime: "60 seconds", jitter: 0 })
        yield* once(pool)
        clock.jump(-40_000)
        yield* TestClock.adjust("100 seconds")
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("E3 back and forth for ever: still nothing lives for ever", () =>
      Effect.gen(function* () {
        const { clock, peer, pool } = yield* jumping({ maxLifetime: "60 seconds", jitter: 0 })
        yield* once(pool)
        for (let i = 0; i < 30; i++) {
          clock.jump(i % 2 === 0 ? -45_000 : 45_000)
          yield* TestClock.adjust("10 seconds")
        }
        assert.strictEqual(peer.closed()[0], 1)
      })
    )

    it.effect("E3 a connection opened after the jump has its full time", () =>
      Effect.gen(function* () {
        const { clock, peer, pool } = yield* jumping({ idleTimeToLive: "1 minute" })
        clock.jump(-500_000_000)
        yield* once(pool)
        yield* TestClock.adjust(59_999)
        assert.deepStrictEqual(peer.closed(), [])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )
  })
})
