/**
 * A negotiation whose scope closes: both sides begin at once.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as CachePool from "../src/CachePool.ts"
import * as ConnectionLimit from "../src/ConnectionLimit.ts"
import * as NegotiatePool from "../src/NegotiatePool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import { hang } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { inScope } from "./support/kinds.ts"
import { borrow, borrowMany, describeExit, once, settle, states } from "./support/scene.ts"

const drainDeadline = "10 seconds"

/** A negotiation in a scope of its own, whose second connection is for the upgrade side. */
const scoped = (peer: TestConnector.TestConnector, minSize = 0) => {
  const { isOpen, watch } = peer.options
  return inScope(
    NegotiatePool.makeMerged({
      connect: peer.connect,
      inspect: ({ id }) => id === 2,
      upgrade: (connect) => SharedPool.make({ connect, isOpen, watch, concurrency: 10, drainDeadline }),
      fallback: (connect) => CachePool.make({ connect, isOpen, watch, minSize, drainDeadline })
    })
  )
}

describe("NegotiatePool", () => {
  describe("closing the scope", () => {
    it.effect("A8 while the fallback's borrowers finish nobody is lent an upgraded connection", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const { close, pool } = yield* scoped(peer)
        const onFallback = yield* borrow(pool)
        const onUpgrade = yield* borrow(pool)
        assert.deepStrictEqual(states(onFallback, onUpgrade), ["has 1", "has 2"])
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("5 seconds")
        const newcomer = yield* once(pool)
        yield* onFallback.leave
        yield* onUpgrade.leave
        yield* TestClock.adjust("20 seconds")
        assert.deepStrictEqual([newcomer, closing.pollUnsafe() !== undefined, peer.live()], ["Closed", true, 0])
      })
    )

    it.effect("A8 from the moment a drain begins neither side lends, whichever closes first", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const { pool } = yield* scoped(peer)
        const [first, second] = [yield* borrow(pool), yield* borrow(pool)]
        assert.deepStrictEqual(states(first, second), ["has 1", "has 2"])
        yield* first.leave
        yield* second.leave
        const seen: Array<string> = []
        yield* pool.observe({
          evicted: () => {
            const calls = [pool.use(() => Effect.void), Effect.scoped(pool.get()), Effect.scoped(pool.lease())]
            for (const call of calls) seen.push(describeExit(Effect.runSyncExit(call)))
          }
        })
        yield* pool.drain()
        assert.deepStrictEqual(seen, Array(6).fill("Closed"))
      })
    )

    it.effect("A8 the deadlines of both sides run at the same time", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const { close, pool } = yield* scoped(peer)
        yield* borrow(pool)
        yield* borrow(pool)
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust(9_999)
        const before = peer.live()
        yield* TestClock.adjust(1)
        yield* settle
        const after = [peer.live(), closing.pollUnsafe() !== undefined]
        yield* TestClock.adjust("20 seconds")
        assert.deepStrictEqual([before, after], [2, [0, true]])
      })
    )

    it.effect("A8 the end of a probe that the fallback's minimum began makes the upgrade side open nothing", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        peer.script(hang)
        const { close, pool } = yield* scoped(peer, 1)
        const waiter = yield* borrow(pool)
        yield* Effect.forkChild(close)
        yield* settle
        assert.deepStrictEqual([states(waiter), peer.log()], [["Closed"], ["connect 1", "cancel 1"]])
      })
    )

    it.effect("A8 no side takes the slot of a shared limit that the other one gives back", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const limit = yield* ConnectionLimit.make({ max: 2 })
        const pool = yield* NegotiatePool.makeMerged({
          connect: peer.connect,
          inspect: ({ id }) => id !== 2,
          upgrade: (connect) => SharedPool.make({ connect, limit, concurrency: 1 }),
          fallback: (connect) => CachePool.make({ connect, limit })
        })
        const holders = yield* borrowMany(pool, 2)
        const waiter = yield* borrow(pool)
        assert.deepStrictEqual(states(...holders, waiter), ["has 1", "has 2", "waits"])
        yield* pool.drain()
        yield* settle
        assert.deepStrictEqual([states(waiter), peer.attempts(), peer.live()], [["Closed"], 2, 0])
      })
    )
  })
})
