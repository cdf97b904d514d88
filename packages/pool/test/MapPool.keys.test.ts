import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Scheduler from "effect/Scheduler"
import * as TestClock from "effect/testing/TestClock"
import * as CachePool from "../src/CachePool.ts"
import * as MapPool from "../src/MapPool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import * as SingletonPool from "../src/SingletonPool.ts"
import { fail, hang, succeed } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import type { TestConnection, TestConnectError } from "../src/testing/TestConnector.ts"
import { at, eventsOf, inScope, keyed, over, settableClock } from "./support/kinds.ts"
import {
  borrow,
  borrowLater,
  borrowMany,
  checkClosed,
  everySecond,
  gates,
  once,
  settle,
  states,
  stats
} from "./support/scene.ts"

describe("MapPool", () => {
  describe("key and pool", () => {
    it.effect("M1 a pool for each key: targets of one key share, others do not", () =>
      Effect.gen(function* () {
        const { builds, owners, peer, pool } = yield* keyed({ key: (target) => target.slice(0, 1) })
        const seen: Array<string> = []
        for (const target of ["a1", "a2", "b1", "a3", "b2"]) seen.push(yield* once(at(pool, target)))
        assert.deepStrictEqual(seen, ["has 1", "has 1", "has 2", "has 1", "has 2"])
        assert.deepStrictEqual([builds, owners(), peer.attempts()], [["a", "b"], ["a", "b"], 2])
        assert.deepStrictEqual(yield* pool.keys, ["a", "b"])
      })
    )

    it.effect("M1 keys are compared by structure", () =>
      Effect.gen(function* () {
        class Origin extends Data.Class<{ readonly host: string; readonly port: number }> {}
        const peer = TestConnector.makeUnsafe()
        const built: Array<Origin> = []
        const { pool } = yield* over(
          () =>
            MapPool.make({
              key: (url: URL) => new Origin({ host: url.hostname, port: Number(url.port) }),
              pool: (origin) => {
                built.push(origin)
                return CachePool.make(peer.options)
              }
            }),
          peer
        )
        const seen: Array<string> = []
        for (const url of ["http://a:1/x", "http://a:1/y", "http://a:2/x"])
          seen.push(yield* once(at(pool, new URL(url))))
        assert.deepStrictEqual(seen, ["has 1", "has 1", "has 2"])
        assert.strictEqual(built.length, 2)
        assert.strictEqual((yield* pool.statsOf(new Origin({ host: "a", port: 1 })))?.created, 1)
      })
    )

    for (const [name, make, expected] of [
      ["caches", (peer) => CachePool.make(peer.options), ["has 1", "has 3", "has 2"]],
      ["singletons", (peer) => SingletonPool.make(peer.options), ["has 1", "has 1", "has 2"]],
      ["shared pools", (peer) => SharedPool.make({ ...peer.options, concurrency: 5 }), ["has 1", "has 1", "has 2"]]
    ] as ReadonlyArray<
      readonly [
        string,
        (
          peer: TestConnector.TestConnector
        ) => ReturnType<typeof SingletonPool.make<TestConnection, TestConnectError, never>>,
        ReadonlyArray<string>
      ]
    >) {
      it.effect(`M1 of ${name}`, () =>
        Effect.gen(function* () {
          const { pool } = yield* over((peer) => MapPool.make({ key: (key: string) => key, pool: () => make(peer) }))
          const first = yield* borrow(at(pool, "a"))
          const other = yield* borrow(at(pool, "b"))
          const second = yield* borrow(at(pool, "a"))
          assert.deepStrictEqual(states(first, second, other), expected)
        })
      )
    }

    it.effect("M1 one build per key however many callers, who wait for it in order", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { builds, pool } = yield* keyed({}, { maxSize: 2 }, TestConnector.makeUnsafe(), (build) =>
          Effect.andThen(Deferred.await(gate), build)
        )
        const callers = yield* borrowMany(at(pool, "a"), 3)
        assert.deepStrictEqual([states(...callers), builds], [["waits", "waits", "waits"], ["a"]])
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual([states(...callers), builds], [["has 1", "has 2", "waits"], ["a"]])
      })
    )

    it.effect("M1 one build of one key does not hold up another key", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed({}, {}, TestConnector.makeUnsafe(), (build, key) =>
          key === "slow" ? Effect.never : build
        )
        const slow = yield* borrow(at(pool, "slow"))
        const quick = yield* borrow(at(pool, "quick"))
        assert.deepStrictEqual(states(slow, quick), ["waits", "has 1"])
        yield* slow.interrupt
      })
    )

    it.effect("M1 A1 the caller that began the build may leave: it goes on for the others", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { builds, pool } = yield* keyed({}, {}, TestConnector.makeUnsafe(), (build) =>
          Effect.andThen(Deferred.await(gate), build)
        )
        const [first, second] = yield* borrowMany(at(pool, "a"), 2)
        yield* first!.interrupt
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual([states(first!, second!), builds], [["interrupted", "has 1"], ["a"]])
      })
    )

    it.effect("M1 A1 all callers may leave: what was built serves the next one", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { builds, pool } = yield* keyed({}, {}, TestConnector.makeUnsafe(), (build) =>
          Effect.andThen(Deferred.await(gate), build)
        )
        for (const caller of yield* borrowMany(at(pool, "a"), 2)) yield* caller.interrupt
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual([yield* once(at(pool, "a")), builds], ["has 1", ["a"]])
      })
    )

    it.effect("M1 a build that dies is every caller's defect, and the next call builds again", () =>
      Effect.gen(function* () {
        let broken = true
        const gate = yield* Deferred.make<void>()
        const { builds, pool } = yield* keyed({}, {}, TestConnector.makeUnsafe(), (build) =>
          broken ? Effect.andThen(Deferred.await(gate), Effect.die(new Error("no such host"))) : build
        )
        const callers = yield* borrowMany(at(pool, "a"), 2)
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(states(...callers), ["die no such host", "die no such host"])
        assert.deepStrictEqual(yield* pool.keys, [])
        broken = false
        assert.deepStrictEqual([yield* once(at(pool, "a")), builds], ["has 1", ["a", "a"]])
      })
    )

    it.effect("M1 a function that throws, for the key or for the pool, is the caller's defect and harms nobody", () =>
      Effect.gen(function* () {
        const { pool } = yield* over((peer) =>
          MapPool.make({
            key: (target: string) => {
              if (target === "bad key") throw new Error("bad key")
              return target
            },
            pool: (key) => {
              if (key === "bad pool") throw new Error("bad pool")
              return CachePool.make(peer.options)
            }
          })
        )
        assert.strictEqual(yield* once(at(pool, "bad key")), "die bad key")
        assert.strictEqual(yield* once(at(pool, "bad pool")), "die bad pool")
        assert.strictEqual(yield* once(at(pool, "good")), "has 1")
        assert.deepStrictEqual(yield* pool.keys, ["good"])
      })
    )

    it.effect("M1 what the builder needs comes from where the map was made", () =>
      Effect.gen(function* () {
        class Host extends Context.Service<Host, string>()("Host") {}
        const peer = TestConnector.makeUnsafe()
        const seen: Array<string> = []
        const { pool } = yield* over(
          () =>
            Effect.provideService(
              MapPool.make({
                key: (key: string) => key,
                pool: () =>
                  Effect.flatMap(Host, (host) => {
                    seen.push(host)
                    return CachePool.make(peer.options)
                  })
              }),
              Host,
              "made"
            ),
          peer
        )
        yield* Effect.provideService(once(at(pool, "a")), Host, "called")
        assert.deepStrictEqual(seen, ["made"])
      })
    )

    it.effect("M1 A2 errors of the connector reach the caller of their key only, unchanged", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed()
        peer.script(fail)
        assert.deepStrictEqual(
          [yield* once(at(pool, "a")), yield* once(at(pool, "b"))],
          ["TestConnectError 1", "has 2"]
        )
      })
    )

    it.effect("M1 get and lease lend for the current scope", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed()
        const got = yield* borrow(at(pool, "a"), "get")
        const leased = yield* borrow(at(pool, "a"), "lease")
        assert.deepStrictEqual(states(got, leased), ["has 1", "has 2"])
        yield* leased.lease().invalidate
        yield* got.leave
        yield* leased.leave
        assert.deepStrictEqual((yield* pool.statsOf("a"))?.idle, 1)
      })
    )

    it.effect("a layer provides the map and closes all of it", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        class Tag extends Context.Service<Tag, MapPool.MapPool<string, string, TestConnection, TestConnectError>>()(
          "Tag"
        ) {
          static readonly layer: Layer.Layer<Tag> = MapPool.layer(this, {
            key: (key: string) => key,
            pool: () => CachePool.make(peer.options)
          })
        }
        const seen = yield* Effect.provide(
          Tag.use((pool) => Effect.all([once(at(pool, "a")), once(at(pool, "b"))])),
          Tag.layer
        )
        assert.deepStrictEqual(
          [seen, peer.closed().toSorted()],
          [
            ["has 1", "has 2"],
            [1, 2]
          ]
        )
      })
    )

    for (const [option, value] of [
      ["maxKeys", 0],
      ["maxKeys", 1.5],
      ["maxSize", 0],
      ["maxSize", NaN],
      ["idleTimeToLive", -1],
      ["idleTimeToLive", NaN]
    ] as const) {
      it.effect(`${option} ${value} is a defect that names it`, () =>
        Effect.gen(function* () {
          const exit = yield* Effect.exit(
            Effect.scoped(
              MapPool.make({
                key: (key: string) => key,
                pool: () => CachePool.make(TestConnector.makeUnsafe().options),
                [option]: value
              })
            )
          )
          const defect = Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : ""
          assert.isTrue(defect.startsWith(`RangeError: MapPool: ${option} must be`), defect)
        })
      )
    }
  })

  describe("idleTimeToLive", () => {
    it.effect("M2 a key that had no connection and no borrower for 60 seconds is removed, and its pool closed", () =>
      Effect.gen(function* () {
        const { pool, peer } = yield* keyed()
        const events = yield* eventsOf(pool)
        const borrower = yield* borrow(at(pool, "a"))
        yield* TestClock.adjust("10 seconds")
        yield* borrower.lease().invalidate
        yield* borrower.leave
        assert.deepStrictEqual(peer.closed(), [1])
        yield* TestClock.adjust(59_999)
        assert.deepStrictEqual(yield* pool.keys, ["a"])
        yield* TestClock.adjust(1)
        yield* settle
        assert.deepStrictEqual(yield* pool.keys, [])
        assert.deepStrictEqual(events.slice(-1), ["keyRemoved a"])
        assert.isUndefined(yield* pool.statsOf("a"))
      })
    )

    it.effect("M2 the next caller of a removed key gets a new pool", () =>
      Effect.gen(function* () {
        const { builds, pool } = yield* keyed({ idleTimeToLive: "1 second" })
        yield* at(pool, "a").use((_, lease) => lease.invalidate)
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.deepStrictEqual([yield* pool.keys, builds], [[], ["a"]])
        assert.deepStrictEqual([yield* once(at(pool, "a")), builds], ["has 2", ["a", "a"]])
      })
    )

    it.effect("M2 a key with an idle connection stays, however long nobody comes", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed()
        yield* once(at(pool, "a"))
        yield* TestClock.adjust("1 day")
        assert.deepStrictEqual(yield* pool.keys, ["a"])
        yield* pool.retain(() => false)
        yield* TestClock.adjust(59_999)
        assert.deepStrictEqual(yield* pool.keys, ["a"])
        yield* TestClock.adjust(1)
        yield* settle
        assert.deepStrictEqual(yield* pool.keys, [])
      })
    )

    it.effect("M2 a key in use is never removed: a borrower, even of a connection that is on its way out", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed()
        const borrower = yield* borrow(at(pool, "a"))
        yield* borrower.lease().invalidate
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual([yield* pool.keys, states(borrower)], [["a"], ["has 1"]])
      })
    )

    it.effect("M2 a key in use is never removed: a caller that waits, for a connect or for the pause to end", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed(
          {},
          { waitTimeout: "1 hour", connectTimeout: "1 hour", backoff: everySecond }
        )
        peer.script(hang)
        const waiter = yield* borrow(at(pool, "a"))
        yield* TestClock.adjust(3_599_999)
        assert.deepStrictEqual([yield* pool.keys, states(waiter)], [["a"], ["waits"]])
        yield* TestClock.adjust(1)
        yield* TestClock.adjust("61 seconds")
        yield* settle
        assert.deepStrictEqual([yield* pool.keys, states(waiter)], [[], ["WaitTimeout connect"]])
      })
    )

    it.effect("M2 a key is not removed while an attempt without a caller is in flight", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed({ idleTimeToLive: "1 second" }, { connectTimeout: "1 minute" })
        const [open] = gates(peer, succeed)
        const caller = yield* borrow(at(pool, "a"))
        yield* caller.interrupt
        yield* TestClock.adjust("5 seconds")
        yield* settle
        assert.deepStrictEqual(yield* pool.keys, ["a"])
        yield* open!
        assert.strictEqual(yield* once(at(pool, "a")), "has 1")
      })
    )

    it.effect("M2 a key whose connects only failed is removed, too", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed({}, {}, TestConnector.makeUnsafe(fail))
        yield* once(at(pool, "a"))
        yield* TestClock.adjust(59_999)
        assert.deepStrictEqual(yield* pool.keys, ["a"])
        yield* TestClock.adjust(1)
        yield* settle
        assert.deepStrictEqual(yield* pool.keys, [])
      })
    )

    it.effect("M2 every use of an empty key starts its time again", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed({}, { backoff: everySecond }, TestConnector.makeUnsafe(fail))
        for (let i = 0; i < 5; i++) {
          yield* borrow(at(pool, "a"))
          yield* TestClock.adjust("40 seconds")
          assert.deepStrictEqual(yield* pool.keys, ["a"])
        }
        yield* TestClock.adjust("60 seconds")
        yield* settle
        assert.deepStrictEqual(yield* pool.keys, [])
      })
    )

    it.effect("M2 each key has its own time, and one sweep serves all", () =>
      Effect.gen(function* () {
        const clock = yield* settableClock
        const { pool } = yield* clock.provide(keyed())
        const drop = (key: string) => at(pool, key).use((_, lease) => lease.invalidate)
        for (const key of ["a", "b", "c"]) {
          yield* drop(key)
          yield* TestClock.adjust("10 seconds")
        }
        // The caches' own timers for waits are gone with their connections.
        assert.strictEqual(clock.timers(), 1)
        const seen: Array<string> = []
        for (let i = 0; i < 3; i++) {
          yield* TestClock.adjust(i === 0 ? 29_999 : 9_999)
          seen.push((yield* pool.keys).join(""))
          yield* TestClock.adjust(1)
          yield* settle
          seen.push((yield* pool.keys).join(""))
        }
        assert.deepStrictEqual(seen, ["abc", "bc", "bc", "c", "c", ""])
        assert.strictEqual(clock.timers(), 0)
      })
    )

    it.effect("M2 A10 nothing runs for a map without keys, before, and after all were removed or swept", () =>
      Effect.gen(function* () {
        const clock = yield* settableClock
        const { pool } = yield* clock.provide(keyed({ maxKeys: 2 }))
        assert.strictEqual(clock.timers(), 0)
        for (const key of ["a", "b", "c"]) yield* once(at(pool, key))
        yield* pool.remove("b")
        yield* pool.remove("c")
        yield* settle
        assert.deepStrictEqual([yield* pool.keys, clock.timers()], [[], 0])
      })
    )

    it.effect("M2 A10 keys that have connections need no timer of the map's", () =>
      Effect.gen(function* () {
        const clock = yield* settableClock
        const { pool } = yield* clock.provide(keyed())
        yield* at(pool, "a").use((_, lease) => lease.invalidate)
        yield* once(at(pool, "b"))
        yield* TestClock.adjust("5 minutes")
        yield* settle
        assert.deepStrictEqual([yield* pool.keys, clock.timers()], [["b"], 0])
      })
    )

    it.effect("M2 a time of 0 removes a key as soon as it is empty and unused", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed({ idleTimeToLive: 0 })
        const borrower = yield* borrow(at(pool, "a"))
        yield* borrower.lease().invalidate
        assert.deepStrictEqual(yield* pool.keys, ["a"])
        yield* borrower.leave
        yield* TestClock.adjust(0)
        yield* settle
        assert.deepStrictEqual(yield* pool.keys, [])
      })
    )

    it.effect("M2 a caller that comes in the turn of the sweep is never turned away", () =>
      Effect.gen(function* () {
        for (const budget of [3, 5, 8, 2_048]) {
          for (let turns = 0; turns < 12; turns++) {
            const { pool } = yield* Effect.provideService(
              keyed({ idleTimeToLive: "1 second" }),
              Scheduler.MaxOpsBeforeYield,
              budget
            )
            yield* at(pool, "a").use((_, lease) => lease.invalidate)
            yield* TestClock.adjust(999)
            const sweep = yield* Effect.forkChild(TestClock.adjust(1))
            for (let i = 0; i < turns; i++) yield* Effect.yieldNow
            const caller = yield* Effect.provideService(borrowLater(at(pool, "a")), Scheduler.MaxOpsBeforeYield, budget)
            yield* Fiber.join(sweep)
            yield* settle
            yield* settle
            assert.strictEqual(caller.state(), "has 2", `budget ${budget}, ${turns} turns`)
            yield* caller.leave
          }
        }
      })
    )

    it.effect("M2 a caller that comes while a pool's stats are read is not removed with its key", () =>
      Effect.gen(function* () {
        const { pool } = yield* over((peer) =>
          MapPool.make({
            key: (key: string) => key,
            maxKeys: 1,
            pool: () =>
              Effect.map(
                CachePool.make(peer.options),
                ({ drain, get, guard, lease, observe, pipe, retain, stats, use }) => ({
                  drain,
                  get,
                  guard,
                  lease,
                  observe,
                  pipe,
                  retain,
                  use,
                  // What they say is old by the time it is heard.
                  stats: Effect.tap(stats, () => Effect.sleep(1))
                })
              )
          })
        )
        const first = yield* borrow(at(pool, "a"), "get")
        yield* TestClock.adjust(1)
        yield* settle
        yield* first.leave
        const other = yield* borrow(at(pool, "b"))
        const again = yield* borrow(at(pool, "a"), "get")
        yield* TestClock.adjust(1)
        yield* settle
        assert.deepStrictEqual(states(other, again), ["TooManyKeys", "has 1"])
        assert.isTrue(again.connection().isOpen)
        yield* again.leave
        const draining = yield* Effect.forkChild(pool.drain())
        for (let i = 0; i < 5; i++) yield* TestClock.adjust(1)
        yield* Fiber.join(draining)
        // The stats of a drained map are sums of what was kept, and need no time.
        assert.strictEqual((yield* pool.stats).closed, 1)
      })
    )

    it.effect("M2 a connection that was there before the map could watch counts", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const { pool } = yield* over(
          () =>
            MapPool.make({
              key: (key: string) => key,
              pool: () =>
                Effect.tap(CachePool.make(peer.options), (pool) =>
                  Effect.asVoid(pool.use((connection) => Effect.succeed(connection.id)))
                ).pipe(Effect.orDie)
            }),
          peer
        )
        assert.strictEqual(yield* once(at(pool, "a")), "has 1")
        yield* TestClock.adjust("90 seconds")
        assert.deepStrictEqual(yield* pool.keys, ["a"])
        yield* pool.retain(() => false)
        yield* TestClock.adjust(59_999)
        assert.deepStrictEqual(yield* pool.keys, ["a"])
        yield* TestClock.adjust(1)
        yield* settle
        assert.deepStrictEqual(yield* pool.keys, [])
      })
    )

    it.effect("M2 A1 callers interrupted at any instant leave nothing that would keep their key alive", () =>
      Effect.gen(function* () {
        for (const budget of [3, 5, 8, 2_048]) {
          for (let turns = 0; turns < 14; turns++) {
            const { peer, pool } = yield* Effect.provideService(
              keyed({}, { onAbandon: "cancel" }),
              Scheduler.MaxOpsBeforeYield,
              budget
            )
            const callers = yield* Effect.provideService(
              Effect.forEach(["use", "get", "lease"] as const, (via) => borrowLater(at(pool, "a"), via)),
              Scheduler.MaxOpsBeforeYield,
              budget
            )
            for (let i = 0; i < turns; i++) yield* Effect.yieldNow
            for (const caller of callers) caller.fiber.interruptUnsafe()
            yield* settle
            yield* settle
            assert.deepStrictEqual(states(...callers), ["interrupted", "interrupted", "interrupted"])
            yield* pool.retain(() => false)
            yield* TestClock.adjust("61 seconds")
            yield* settle
            assert.deepStrictEqual([yield* pool.keys, peer.live()], [[], 0], `budget ${budget}, ${turns} turns`)
          }
        }
      })
    )

    it.effect("M2 borrowing leaves the pool of a key where it is: a thousand loans, one build, one removal", () =>
      Effect.gen(function* () {
        const { builds, pool } = yield* keyed()
        for (let i = 0; i < 1_000; i++) yield* at(pool, "a").use(() => Effect.void)
        assert.deepStrictEqual([builds, (yield* pool.stats).reused], [["a"], 999])
        yield* pool.remove("a")
        assert.deepStrictEqual(yield* pool.keys, [])
      })
    )
  })

  describe("maxKeys", () => {
    it.effect("M3 at the limit the least recently used key without borrowers makes room", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed({ maxKeys: 3 })
        for (const key of ["a", "b", "c", "a"]) yield* once(at(pool, key))
        assert.strictEqual(yield* once(at(pool, "d")), "has 4")
        yield* settle
        assert.deepStrictEqual([yield* pool.keys, peer.closed()], [["a", "c", "d"], [2]])
      })
    )

    it.effect("M3 a key counts as used when get and lease borrow from it, too", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed({ maxKeys: 3 })
        for (const key of ["a", "b", "c"]) yield* once(at(pool, key))
        yield* Effect.scoped(pool.get("a"))
        yield* Effect.scoped(pool.lease("b"))
        yield* once(at(pool, "d"))
        assert.deepStrictEqual(yield* pool.keys, ["a", "b", "d"])
      })
    )

    it.effect("M3 a key with a borrower does not make room, however long ago it was called", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed({ maxKeys: 2 })
        const holder = yield* borrow(at(pool, "a"))
        yield* once(at(pool, "b"))
        yield* once(at(pool, "c"))
        assert.deepStrictEqual([yield* pool.keys, states(holder)], [["a", "c"], ["has 1"]])
      })
    )

    it.effect("M3 nor does one whose borrower came by get, whose call has ended", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed({ maxKeys: 1 })
        const holder = yield* borrow(at(pool, "a"), "get")
        assert.deepStrictEqual([yield* once(at(pool, "b")), states(holder)], ["TooManyKeys", ["has 1"]])
      })
    )

    it.effect("M3 nor does one with callers in line", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed({ maxKeys: 1 })
        peer.script(hang)
        const waiter = yield* borrow(at(pool, "a"))
        assert.deepStrictEqual([yield* once(at(pool, "b")), states(waiter)], ["TooManyKeys", ["waits"]])
      })
    )

    it.effect("M3 none can make room: TooManyKeys, which says how many there are", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed({ maxKeys: 2 })
        const holders = [yield* borrow(at(pool, "a")), yield* borrow(at(pool, "b"))]
        const error = yield* Effect.flip(at(pool, "c").use(() => Effect.void))
        assert.isTrue(error._tag === "PoolError" && error.reason._tag === "TooManyKeys")
        assert.strictEqual(error._tag === "PoolError" && error.reason._tag === "TooManyKeys" && error.reason.maxKeys, 2)
        assert.isTrue(error.message.includes("maxKeys (2)"), error.message)
        yield* holders[0]!.leave
        assert.strictEqual(yield* once(at(pool, "c")), "has 3")
        assert.deepStrictEqual(yield* pool.keys, ["b", "c"])
      })
    )

    it.effect("M3 a known key is served at the limit", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed({ maxKeys: 1 })
        yield* borrow(at(pool, "a"))
        assert.strictEqual(yield* once(at(pool, "a")), "has 2")
      })
    )

    it.effect("M3 many new keys in one turn: never more than maxKeys at any instant", () =>
      Effect.gen(function* () {
        for (const budget of [3, 7, 2_048]) {
          let count = 0
          let most = 0
          const { pool } = yield* Effect.provideService(keyed({ maxKeys: 5 }), Scheduler.MaxOpsBeforeYield, budget)
          yield* pool.observe({
            keyAdded: () => {
              most = Math.max(most, ++count)
            },
            keyRemoved: () => {
              count--
            }
          })
          const exits = yield* Effect.provideService(
            Effect.forEach(
              Array.from({ length: 40 }, (_, i) => `key ${i}`),
              (key) => once(at(pool, key)),
              { concurrency: "unbounded" }
            ),
            Scheduler.MaxOpsBeforeYield,
            budget
          )
          assert.isTrue(exits.every((exit) => exit.startsWith("has") || exit === "TooManyKeys"))
          assert.isTrue(most <= 5, `${most} keys`)
          assert.strictEqual((yield* pool.keys).length, count)
          yield* settle
        }
      })
    )

    it.effect("M3 a hundred keys one after the other through a map of three", () =>
      Effect.gen(function* () {
        const { builds, peer, pool } = yield* keyed({ maxKeys: 3 })
        for (let i = 0; i < 100; i++) assert.strictEqual(yield* once(at(pool, `key ${i}`)), `has ${i + 1}`)
        yield* settle
        assert.deepStrictEqual([builds.length, peer.live(), (yield* pool.keys).length], [100, 3, 3])
        assert.deepStrictEqual((yield* pool.stats).created, 100)
      })
    )

    it.effect("M3 the caller of a new key does not wait for the close of the key that made room", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed({ maxKeys: 1 })
        peer.onClose(() => Effect.sleep("1 second"))
        yield* once(at(pool, "a"))
        const caller = yield* borrow(at(pool, "b"))
        assert.deepStrictEqual(states(caller), ["has 2"])
        yield* TestClock.adjust("1 second")
        yield* caller.leave
        const closing = yield* Effect.forkChild(pool.drain())
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(closing)
      })
    )
  })

  describe("all keys", () => {
    it.effect("M5 stats are the sum of all keys, and counters outlive keys", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed({}, { maxSize: 2 })
        yield* once(at(pool, "a"))
        yield* once(at(pool, "a"))
        yield* borrow(at(pool, "b"))
        assert.deepStrictEqual(
          yield* pool.stats,
          stats({ idle: 1, used: 1, borrowers: 1, maxSize: 4, created: 2, reused: 1 })
        )
        assert.deepStrictEqual(yield* pool.statsOf("a"), stats({ idle: 1, maxSize: 2, created: 1, reused: 1 }))
        assert.isUndefined(yield* pool.statsOf("c"))
        yield* pool.remove("a")
        assert.deepStrictEqual(
          yield* pool.stats,
          stats({ used: 1, borrowers: 1, maxSize: 2, created: 2, closed: 1, reused: 1 })
        )
      })
    )

    it.effect("M5 counters never go back, and closes that take long show, while a key goes", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed()
        peer.onClose(() => Effect.sleep("2 seconds"))
        yield* once(at(pool, "a"))
        const removing = yield* Effect.forkChild(pool.remove("a"))
        yield* settle
        const { closing, created, closed } = yield* pool.stats
        assert.deepStrictEqual({ closing, created, closed }, { closing: 1, created: 1, closed: 0 })
        yield* TestClock.adjust("2 seconds")
        yield* Fiber.join(removing)
        assert.deepStrictEqual(yield* pool.stats, stats({ maxSize: 0, created: 1, closed: 1 }))
      })
    )

    it.effect("M5 retain acts on the connections of all keys, idle and used", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed()
        const holder = yield* borrow(at(pool, "a"))
        yield* once(at(pool, "b"))
        yield* pool.retain(() => false)
        assert.deepStrictEqual(peer.closed(), [2])
        yield* holder.leave
        assert.deepStrictEqual(peer.closed(), [2, 1])
      })
    )

    it.effect("M5 guard holds for all keys and for those that come later, while its scope is open", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed({}, { backoff: everySecond })
        yield* once(at(pool, "a"))
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* pool.guard(({ id }) => id !== 1 && id !== 3)
            assert.strictEqual(yield* once(at(pool, "a")), "has 2")
            // The first connection of a key that came later: dead on arrival.
            const later = yield* borrow(at(pool, "b"))
            assert.deepStrictEqual(states(later), ["waits"])
            yield* TestClock.adjust("1 second")
            assert.deepStrictEqual(states(later), ["has 4"])
            yield* later.leave
          })
        )
        assert.strictEqual(yield* once(at(pool, "b")), "has 4")
        yield* pool.retain(() => false)
        assert.strictEqual(yield* once(at(pool, "b")), "has 5")
      })
    )

    it.effect("M5 a guard that has ended holds for no key, not even for one that comes later", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed()
        yield* once(at(pool, "a"))
        yield* Effect.scoped(pool.guard(() => false))
        assert.deepStrictEqual([yield* once(at(pool, "a")), yield* once(at(pool, "b"))], ["has 1", "has 2"])
      })
    )

    it.effect("M5 observe reports from all keys, also those that come later, until its scope closes", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed()
        yield* once(at(pool, "a"))
        const log = yield* Effect.scoped(
          Effect.gen(function* () {
            const log = yield* eventsOf(pool)
            yield* once(at(pool, "a"))
            yield* once(at(pool, "b"))
            yield* pool.remove("b")
            return log
          })
        )
        yield* once(at(pool, "a"))
        yield* once(at(pool, "c"))
        assert.deepStrictEqual(log, [
          "borrowed 1",
          "returned 1",
          "keyAdded b",
          "waitStarted",
          "connecting 2",
          "connected 2",
          "waitEnded served",
          "borrowed 2",
          "returned 2",
          "keyRemoved b",
          "evicted 2 drain",
          "closed 2"
        ])
      })
    )

    it.effect("M5 remove closes one key's pool and leaves the others; the next caller gets a new pool", () =>
      Effect.gen(function* () {
        const { builds, peer, pool } = yield* keyed()
        yield* once(at(pool, "a"))
        yield* once(at(pool, "b"))
        yield* pool.remove("a")
        assert.deepStrictEqual([yield* pool.keys, peer.closed()], [["b"], [1]])
        assert.strictEqual(yield* once(at(pool, "a")), "has 3")
        assert.deepStrictEqual(builds, ["a", "b", "a"])
      })
    )

    it.effect("M5 remove ends when the pool is closed", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed()
        peer.onClose(() => Effect.sleep("2 seconds"))
        yield* once(at(pool, "a"))
        const removing = yield* Effect.forkChild(pool.remove("a"))
        yield* TestClock.adjust(1_999)
        assert.isUndefined(removing.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.isTrue(removing.pollUnsafe() !== undefined)
      })
    )

    it.effect("M5 remove of a key in use fails its waiters and closes under its borrowers, whose bodies go on", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed({}, { maxSize: 1 })
        const [holder, waiter] = yield* borrowMany(at(pool, "a"), 2)
        yield* pool.remove("a")
        yield* settle
        assert.deepStrictEqual([states(holder!, waiter!), peer.closed()], [["has 1", "Closed"], [1]])
        assert.strictEqual(yield* once(at(pool, "a")), "has 2")
        yield* holder!.leave
        assert.strictEqual(holder!.state(), "ok")
      })
    )

    it.effect("M5 remove of an unknown key does nothing, twice or at once is fine", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed()
        yield* pool.remove("a")
        yield* once(at(pool, "a"))
        yield* Effect.all([pool.remove("a"), pool.remove("a"), pool.remove("a")], { concurrency: 3 })
        assert.deepStrictEqual([yield* pool.keys, peer.closed()], [[], [1]])
      })
    )

    it.effect(
      "M5 remove of a key that is being built leaves nothing of it, and its callers get the key's next pool",
      () =>
        Effect.gen(function* () {
          const gate = yield* Deferred.make<void>()
          const { peer, pool } = yield* keyed({}, { minSize: 1 }, TestConnector.makeUnsafe(), (build) =>
            Effect.andThen(Deferred.await(gate), build)
          )
          const callers = yield* borrowMany(at(pool, "a"), 2)
          const removing = yield* Effect.forkChild(pool.remove("a"))
          yield* settle
          Deferred.doneUnsafe(gate, Exit.void)
          yield* settle
          yield* settle
          assert.isTrue(removing.pollUnsafe() !== undefined)
          assert.isTrue(
            callers.every((caller) => caller.state() !== "waits"),
            states(...callers).join()
          )
          for (const caller of callers) yield* caller.leave
          yield* pool.remove("a")
          assert.deepStrictEqual([yield* pool.keys, peer.live()], [[], 0])
        })
    )

    it.effect("M5 A8 drain fails waiters and newcomers of all keys and closes all", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed({}, { maxSize: 1 })
        const [holder, waiter] = yield* borrowMany(at(pool, "a"), 2)
        yield* once(at(pool, "b"))
        const draining = yield* Effect.forkChild(pool.drain({ deadline: "10 seconds" }))
        yield* settle
        assert.deepStrictEqual(
          [yield* once(at(pool, "a")), yield* once(at(pool, "b")), yield* once(at(pool, "new"))],
          ["Closed", "Closed", "Closed"]
        )
        assert.deepStrictEqual([states(holder!, waiter!), peer.closed()], [["has 1", "Closed"], [2]])
        yield* TestClock.adjust(9_999)
        assert.isUndefined(draining.pollUnsafe())
        yield* TestClock.adjust(1)
        yield* settle
        assert.isTrue(draining.pollUnsafe() !== undefined)
        assert.deepStrictEqual([peer.closed(), yield* pool.keys], [[2, 1], []])
      })
    )

    it.effect("M5 drains in parallel", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed()
        peer.onClose(() => Effect.sleep("2 seconds"))
        for (const key of ["a", "b", "c", "d"]) yield* once(at(pool, key))
        const draining = yield* Effect.forkChild(pool.drain())
        yield* TestClock.adjust(1_999)
        assert.isUndefined(draining.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.isTrue(draining.pollUnsafe() !== undefined)
      })
    )

    it.effect("M5 A8 drain waits for the closes of keys that were removed before", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed({ maxKeys: 1 })
        peer.onClose(({ id }) => (id === 1 ? Effect.sleep("2 seconds") : Effect.void))
        yield* once(at(pool, "a"))
        yield* once(at(pool, "b"))
        yield* settle
        const draining = yield* Effect.forkChild(pool.drain())
        yield* TestClock.adjust(1_999)
        assert.deepStrictEqual([draining.pollUnsafe(), peer.closed()], [undefined, [1, 2]])
        yield* TestClock.adjust(1)
        assert.isTrue(draining.pollUnsafe() !== undefined)
      })
    )

    it.effect("M5 A8 closing the scope waits for the closes of keys that were removed before", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const { close, pool } = yield* inScope(
          MapPool.make({ key: (key: string) => key, pool: () => CachePool.make(peer.options), maxKeys: 1 })
        )
        peer.onClose(({ id }) => (id === 1 ? Effect.sleep("2 seconds") : Effect.void))
        yield* once(at(pool, "a"))
        yield* once(at(pool, "b"))
        yield* settle
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust(1_999)
        assert.isUndefined(closing.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.isTrue(closing.pollUnsafe() !== undefined)
        yield* checkClosed(peer, at(pool, "a"))
      })
    )

    it.effect(
      "M5 A8 a build that never ends does not keep the map from closing, and its callers fail with Closed",
      () =>
        Effect.gen(function* () {
          const peer = TestConnector.makeUnsafe()
          let ended = false
          const { close, pool } = yield* inScope(
            MapPool.make({
              key: (key: string) => key,
              pool: (): Effect.Effect<CachePool.CachePool<TestConnection, TestConnectError>> =>
                Effect.onInterrupt(Effect.never, () => Effect.sync(() => void (ended = true)))
            })
          )
          const caller = yield* borrow(at(pool, "a"))
          const closing = yield* Effect.forkChild(close)
          yield* settle
          yield* settle
          assert.deepStrictEqual([states(caller), closing.pollUnsafe() !== undefined, ended], [["Closed"], true, true])
          assert.strictEqual(peer.attempts(), 0)
        })
    )

    it.effect("M5 A8 what is built after the drain began is closed, too", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { peer, pool } = yield* keyed({}, { minSize: 2 }, TestConnector.makeUnsafe(), (build) =>
          Effect.uninterruptible(Effect.andThen(Deferred.await(gate), build))
        )
        const caller = yield* borrow(at(pool, "a"))
        const draining = yield* Effect.forkChild(pool.drain())
        yield* settle
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        yield* settle
        assert.deepStrictEqual(
          [states(caller), draining.pollUnsafe() !== undefined, peer.live()],
          [["Closed"], true, 0]
        )
      })
    )

    it.effect("M5 A8 draining twice, at once or later, is fine, and each ends when all is closed", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed()
        peer.onClose(() => Effect.sleep("2 seconds"))
        yield* once(at(pool, "a"))
        const first = yield* Effect.forkChild(pool.drain())
        yield* TestClock.adjust("1 second")
        const second = yield* Effect.forkChild(pool.drain())
        yield* TestClock.adjust(999)
        assert.deepStrictEqual([first.pollUnsafe(), second.pollUnsafe()], [undefined, undefined])
        yield* TestClock.adjust(1)
        assert.isTrue(first.pollUnsafe() !== undefined && second.pollUnsafe() !== undefined)
        yield* pool.drain()
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("M5 A10 nothing of a drained map runs", () =>
      Effect.gen(function* () {
        const clock = yield* settableClock
        const { pool } = yield* clock.provide(keyed())
        yield* at(pool, "a").use((_, lease) => lease.invalidate)
        yield* once(at(pool, "b"))
        assert.isTrue(clock.timers() > 0)
        yield* pool.drain()
        yield* settle
        assert.strictEqual(clock.timers(), 0)
      })
    )
  })
})
