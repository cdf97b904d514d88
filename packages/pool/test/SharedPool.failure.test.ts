/**
 * What a failed attempt leaves to do for a shared pool that has other
 * connections: its callers stay in line, and nothing but the pause may keep
 * the next attempt back.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import type { Any } from "../src/ConnectionPool.ts"
import { delay, fail } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { shared } from "./support/kinds.ts"
import { borrow, everySecond, states, stats } from "./support/scene.ts"

/** A shared pool that lends each connection once, each of whose attempts leaves something that takes 4 seconds to clean up. */
const untidy = (given: { readonly stubborn?: boolean } = {}) => {
  const peer = TestConnector.makeUnsafe()
  const connect = () => {
    const attempt = Effect.andThen(
      Effect.addFinalizer(() => Effect.sleep("4 seconds")),
      peer.connect()
    )
    return given.stubborn ? Effect.uninterruptible(attempt) : attempt
  }
  return shared({ connect, concurrency: 1, backoff: everySecond, connectTimeout: "2 seconds" }, peer)
}

/** Drains a pool whose closes take their time; asked before anything is asserted, or a failed test would wait for ever. */
const finish = (pool: Any) =>
  Effect.gen(function* () {
    const draining = yield* Effect.forkChild(pool.drain())
    yield* TestClock.adjust("10 seconds")
    assert.isTrue(draining.pollUnsafe() !== undefined)
  })

describe("SharedPool", () => {
  describe("a failed attempt beside connections that lend", () => {
    it.effect("H2 C4 C7 the next one starts when the pause ends, although cleaning up takes longer", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* untidy()
        yield* borrow(pool)
        peer.script(delay("500 millis", fail))
        const waiter = yield* borrow(pool)
        yield* TestClock.adjust("500 millis")
        const failed = [states(waiter), yield* pool.stats]
        yield* TestClock.adjust(999)
        const before = peer.attempts()
        yield* TestClock.adjust(1)
        const after = [states(waiter), peer.attempts()]
        yield* finish(pool)
        assert.deepStrictEqual(failed, [
          ["waits"],
          stats({ used: 1, borrowers: 1, pending: 1, closing: 1, created: 1, failed: 1 })
        ])
        assert.deepStrictEqual([before, after], [2, [["has 3"], 3]])
      })
    )

    it.effect("H2 fails nobody while another attempt is under way, although no connection lends any more", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 1, backoff: everySecond })
        const first = yield* borrow(pool)
        peer.script(delay("1 second", fail), delay("2 seconds"))
        const waiters = yield* Effect.replicateEffect(borrow(pool), 2)
        peer.kill(first.connection())
        yield* TestClock.adjust("1 second")
        const afterFailure = states(...waiters)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(
          [afterFailure, states(...waiters)],
          [
            ["waits", "waits"],
            ["has 3", "has 4"]
          ]
        )
      })
    )

    it.effect(
      "H2 C4 C7 the next one starts when the pause ends, although one that timed out cannot be interrupted",
      () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* untidy({ stubborn: true })
          yield* borrow(pool)
          peer.script(delay("5 seconds"))
          const waiter = yield* borrow(pool)
          yield* TestClock.adjust("2 seconds")
          const timedOut = [states(waiter), (yield* pool.stats).failed, peer.attempts()]
          yield* TestClock.adjust("1 second")
          const after = [states(waiter), peer.attempts()]
          yield* finish(pool)
          assert.deepStrictEqual(timedOut, [["waits"], 1, 2])
          assert.deepStrictEqual(after, [["has 3"], 3])
        })
    )
  })
})
