/**
 * A limit that both sides of a negotiation share: a connection changes sides
 * without a slot more.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Scheduler from "effect/Scheduler"
import * as CachePool from "../src/CachePool.ts"
import * as ConnectionLimit from "../src/ConnectionLimit.ts"
import * as NegotiatePool from "../src/NegotiatePool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import * as SingletonPool from "../src/SingletonPool.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import type { TestConnection } from "../src/testing/TestConnector.ts"
import { over } from "./support/kinds.ts"
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
          limit,
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
              yield* Effect.repeat(settle, { times: 5 })
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
