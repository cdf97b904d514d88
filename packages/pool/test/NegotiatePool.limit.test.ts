/**
 * A limit that both sides of a negotiation share: a connection changes sides
 * without a slot more.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Scheduler from "effect/Scheduler"
import * as TestClock from "effect/testing/TestClock"
import * as CachePool from "../src/CachePool.ts"
import * as ConnectionLimit from "../src/ConnectionLimit.ts"
import * as MapPool from "../src/MapPool.ts"
import * as NegotiatePool from "../src/NegotiatePool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import * as SingletonPool from "../src/SingletonPool.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import type { TestConnection } from "../src/testing/TestConnector.ts"
import { inScope, over } from "./support/kinds.ts"
import { borrow, borrowLater, borrowMany, gates, once, settle, states } from "./support/scene.ts"

interface Given {
  readonly max: number
  readonly upgrades: (connection: TestConnection) => boolean
  readonly upgrade?: "shared" | "singleton"
}

/** A negotiation under a limit, and how many connections of its peer were open at most. */
const limited = (given: Given, peer = TestConnector.makeUnsafe()) =>
  Effect.gen(function* () {
    const limit = yield* ConnectionLimit.make({ max: given.max })
    const { isOpen, watch } = peer.options
    const common = { isOpen, watch, limit }
    const { pool } = yield* over(
      () =>
        NegotiatePool.makeMerged({
          connect: peer.connect,
          inspect: given.upgrades,
          upgrade: (connect) =>
            given.upgrade === "singleton"
              ? SingletonPool.make({ ...common, connect })
              : SharedPool.make({ ...common, connect, concurrency: 100, maxSize: 1 }),
          fallback: (connect) => CachePool.make({ ...common, connect })
        }),
      peer
    )
    let most = 0
    yield* pool.observe({
      connected: () => {
        most = Math.max(most, peer.live())
      }
    })
    return { limit, peer, pool, most: () => most }
  })

const never = () => false

describe("NegotiatePool", () => {
  describe("limit", () => {
    for (const upgrade of ["shared", "singleton"] as const) {
      for (const max of [1, 2, 3]) {
        it.effect(`N2 N3 M4 a cold burst to a fallback under ${max} (${upgrade}): one probe, and ${max} in all`, () =>
          Effect.gen(function* () {
            const { limit, most, peer, pool } = yield* limited({ max, upgrade, upgrades: never })
            const [open] = gates(peer, TestConnector.succeed)
            const callers = yield* borrowMany(pool, 6)
            assert.deepStrictEqual([peer.attempts(), (yield* limit.stats).used], [1, 1])
            yield* open!
            const served = callers.filter((caller) => caller.state().startsWith("has"))
            assert.deepStrictEqual(
              [served.length, most(), peer.closed(), (yield* limit.stats).used],
              [max, max, [], max]
            )
            // The probe's connection went to the first in line; nobody lost a place.
            assert.deepStrictEqual(
              states(...callers.slice(0, max)),
              Array.from({ length: max }, (_, i) => `has ${i + 1}`)
            )
            for (const caller of callers) yield* caller.leave
            assert.deepStrictEqual([states(...callers), peer.attempts()], [Array.from({ length: 6 }, () => "ok"), max])
          })
        )
      }
    }

    it.effect("N2 M4 a connection that contradicts the outcome changes sides under 1, there and back", () =>
      Effect.gen(function* () {
        const { limit, most, peer, pool } = yield* limited({ max: 1, upgrades: ({ id }) => id % 2 === 0 })
        for (let id = 1; id <= 6; id++) {
          const caller = yield* borrow(pool)
          assert.deepStrictEqual([states(caller), yield* limit.stats], [[`has ${id}`], { max: 1, used: 1, waiting: 0 }])
          yield* caller.lease().invalidate
          yield* caller.leave
          assert.strictEqual((yield* limit.stats).used, 0)
        }
        assert.deepStrictEqual([most(), peer.closed()], [1, [1, 2, 3, 4, 5, 6]])
      })
    )

    it.effect("M4 a pool that waits for the slot does not get it while the connection changes sides", () =>
      Effect.gen(function* () {
        const { limit, most, peer, pool } = yield* limited({ max: 1, upgrades: never })
        const other = yield* over((peer) => CachePool.make({ ...peer.options, limit }))
        const [open] = gates(peer, TestConnector.succeed)
        const caller = yield* borrow(pool)
        const competitor = yield* borrow(other.pool)
        assert.deepStrictEqual([states(caller, competitor), (yield* limit.stats).waiting], [["waits", "waits"], 1])
        yield* open!
        assert.deepStrictEqual([states(caller, competitor), other.peer.attempts()], [["has 1", "waits"], 0])
        // It comes back to a pool that nobody waits at, so its place goes to the one that waits.
        yield* caller.leave
        assert.deepStrictEqual([states(competitor), peer.closed(), most()], [["has 1"], [1], 1])
        yield* competitor.leave
        assert.deepStrictEqual([yield* once(pool), other.peer.closed()], ["has 2", [1]])
      })
    )

    it.effect("N2 M4 cold fallback keys at the cap keep the connection of their probe, and count it once", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe(TestConnector.delay(5))
        const { isOpen, watch } = peer.options
        const { pool: map } = yield* over(
          () =>
            MapPool.make({
              key: (key: string) => key,
              maxSize: 5,
              pool: (_, { limit }) =>
                NegotiatePool.makeMerged({
                  connect: peer.connect,
                  inspect: never,
                  upgrade: (connect) => SharedPool.make({ connect, isOpen, watch, limit, concurrency: 10, maxSize: 1 }),
                  fallback: (connect) => CachePool.make({ connect, isOpen, watch, limit })
                })
            }),
          peer
        )
        let most = 0
        const count = Effect.map(map.stats, ({ closing, connecting, idle, used }) => {
          most = Math.max(most, idle + used + connecting + closing)
        })
        const look = () => void Effect.runSync(count)
        yield* map.observe({ connecting: look, connected: look, borrowed: look })
        const order: Array<number> = []
        const calls = Effect.forEach(
          Array.from({ length: 100 }, (_, n) => n),
          (n) =>
            map.use(`key ${n}`, () =>
              Effect.andThen(
                Effect.sleep(10),
                Effect.sync(() => order.push(n))
              )
            ),
          { concurrency: "unbounded" }
        )
        const fiber = yield* Effect.forkChild(calls)
        for (let i = 0; i < 1_000 && fiber.pollUnsafe() === undefined; i++) yield* TestClock.adjust(5)
        assert.deepStrictEqual([peer.attempts(), most], [100, 5])
        assert.deepStrictEqual(
          order,
          order.toSorted((a, b) => a - b)
        )
      })
    )

    it.effect("N2 what callers leave over that changed sides goes to another pool of the limit", () =>
      Effect.gen(function* () {
        const { limit, peer, pool } = yield* limited({ max: 2, upgrades: never })
        const other = yield* over((peer) => CachePool.make({ ...peer.options, limit }))
        const [open, openSecond] = gates(peer, TestConnector.succeed, TestConnector.succeed)
        const callers = yield* borrowMany(pool, 2)
        const holder = yield* borrow(other.pool)
        const competitor = yield* borrow(other.pool)
        assert.deepStrictEqual(states(...callers, holder, competitor), ["waits", "waits", "has 1", "waits"])
        // Nobody is there any more when the probe ends.
        for (const caller of callers) yield* caller.interrupt
        yield* open!
        assert.deepStrictEqual([states(competitor), peer.closed()], [["has 2"], [1]])
        yield* openSecond!
        assert.strictEqual((yield* limit.stats).used, 2)
      })
    )

    it.effect("N2 A3 a connection that nobody takes after all counts until it has closed", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const limit = yield* ConnectionLimit.make({ max: 1 })
        const used = Effect.map(limit.stats, (stats) => stats.used)
        const slowClose = Deferred.makeUnsafe<void>()
        const slowConnect = Deferred.makeUnsafe<void>()
        const { close, pool } = yield* inScope(
          NegotiatePool.makeMerged({
            connect: () => Effect.tap(peer.connect(), () => Effect.addFinalizer(() => Deferred.await(slowClose))),
            inspect: never,
            upgrade: (connect) => SharedPool.make({ connect, limit, concurrency: 10, connectTimeout: 50 }),
            // Takes its time before it asks for the connection.
            fallback: (connect) =>
              CachePool.make({ connect: () => Effect.andThen(Deferred.await(slowConnect), connect()), limit })
          })
        )
        const caller = yield* borrow(pool)
        assert.deepStrictEqual([states(caller), peer.live(), yield* used], [["waits"], 1, 1])
        yield* TestClock.adjust(50)
        // One connection is closing, and for another one the fallback is on its way.
        assert.deepStrictEqual([states(caller), peer.live(), yield* used], [["WaitTimeout connect"], 1, 2])
        yield* Deferred.succeed(slowClose, undefined)
        yield* settle
        assert.deepStrictEqual([peer.live(), yield* used], [0, 1])
        yield* close
        assert.strictEqual(yield* used, 0)
      })
    )

    it.effect(
      "N2 a fallback that keeps nothing idle has the probe's connection for as long as its caller is on the way",
      () =>
        Effect.gen(function* () {
          for (const stays of [true, false]) {
            const peer = TestConnector.makeUnsafe()
            const [open] = gates(peer, TestConnector.succeed)
            const { pool } = yield* over(
              () =>
                NegotiatePool.makeMerged({
                  connect: peer.connect,
                  inspect: never,
                  upgrade: (connect) => SharedPool.make({ connect, concurrency: 10 }),
                  fallback: (connect) => CachePool.make({ connect, maxIdle: 0 })
                }),
              peer
            )
            const caller = yield* borrow(pool)
            if (!stays) yield* caller.interrupt
            yield* open!
            assert.deepStrictEqual(
              [states(caller), peer.attempts(), peer.closed()],
              stays ? [["has 1"], 1, []] : [["interrupted"], 1, [1]]
            )
            yield* caller.leave
            assert.deepStrictEqual(peer.closed(), [1])
          }
        })
    )

    it.effect("N4 A1 callers interrupted at any instant of a probe under 1 leave a slot, or an idle connection", () =>
      Effect.gen(function* () {
        for (const upgrades of [never, () => true]) {
          for (const budget of [3, 5, 8, 2_048]) {
            for (let turns = 0; turns < 14; turns++) {
              const where = `${upgrades === never ? "fallback" : "upgrade"}, ${budget}, ${turns}`
              const { limit, most, pool } = yield* Effect.provideService(
                limited({ max: 1, upgrades }),
                Scheduler.MaxOpsBeforeYield,
                budget
              )
              const first = yield* Effect.provideService(borrowLater(pool), Scheduler.MaxOpsBeforeYield, budget)
              const second = yield* Effect.provideService(borrowLater(pool), Scheduler.MaxOpsBeforeYield, budget)
              for (let i = 0; i < turns; i++) yield* Effect.yieldNow
              yield* first.interrupt
              // Yielding at every third operation takes many turns.
              yield* Effect.repeat(settle, { times: 12 })
              assert.deepStrictEqual([states(second), (yield* limit.stats).used], [["has 1"], 1], where)
              yield* second.interrupt
              assert.deepStrictEqual([yield* once(pool), most(), (yield* limit.stats).used], ["has 1", 1, 1], where)
            }
          }
        }
      })
    )
  })
})
