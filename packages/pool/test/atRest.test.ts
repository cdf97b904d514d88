import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as TestClock from "effect/testing/TestClock"
import { fail, hang, succeed } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import {
  borrow,
  borrowMany,
  cache,
  everySecond,
  fiberCounter,
  gates,
  once,
  settle,
  singleton,
  states
} from "./support/scene.ts"

type Options = NonNullable<Parameters<typeof singleton>[0]>

for (const [name, make] of [
  ["CachePool", cache],
  ["SingletonPool", singleton]
] as const) {
  /** A pool whose fibers are counted; a timer is one. */
  const counting = (options: Options = {}, peer = TestConnector.makeUnsafe()) =>
    Effect.gen(function* () {
      yield* TestClock.adjust(1)
      const { counted, running } = fiberCounter()
      const { pool } = yield* counted(make(options, peer))
      return { peer, pool, running }
    })

  describe(name, () => {
    describe("at rest", () => {
      it.effect("A10 a pool that was never used runs nothing", () =>
        Effect.gen(function* () {
          const { peer, running } = yield* counting()
          yield* settle
          assert.deepStrictEqual([running(), peer.watchers()], [0, 0])
        })
      )

      it.effect("A10 nothing is left of a wait when its connection has closed again", () =>
        Effect.gen(function* () {
          const { peer, pool, running } = yield* counting()
          const [open] = gates(peer, succeed)
          const borrower = yield* borrow(pool)
          assert.isTrue(running() > 0, "an attempt and its deadline run")
          yield* open!
          yield* borrower.lease().invalidate
          yield* borrower.leave
          assert.deepStrictEqual([running(), peer.watchers()], [0, 0])
        })
      )

      it.effect("A10 nothing is left of a wait that was interrupted in an empty pool", () =>
        Effect.gen(function* () {
          const { pool, running } = yield* counting({ onAbandon: "cancel" }, TestConnector.makeUnsafe(hang))
          const borrower = yield* borrow(pool)
          assert.isTrue(running() > 0)
          yield* borrower.interrupt
          assert.strictEqual(running(), 0)
        })
      )

      it.effect("A10 nothing is left of a wait that timed out in an empty pool", () =>
        Effect.gen(function* () {
          const { pool, running } = yield* counting({ onAbandon: "cancel" }, TestConnector.makeUnsafe(hang))
          yield* borrow(pool)
          yield* TestClock.adjust("30 seconds")
          yield* settle
          assert.strictEqual(running(), 0)
        })
      )

      it.effect("A10 no backoff timer runs while nobody waits", () =>
        Effect.gen(function* () {
          const { pool, running } = yield* counting({ backoff: everySecond }, TestConnector.makeUnsafe(fail))
          yield* once(pool)
          yield* settle
          assert.strictEqual(running(), 0)
          const waiter = yield* borrow(pool)
          assert.isTrue(running() > 0)
          yield* waiter.interrupt
          assert.strictEqual(running(), 0)
        })
      )

      it.effect("A10 no timer is left of a connect that succeeded or failed in time", () =>
        Effect.gen(function* () {
          const { peer, pool, running } = yield* counting({ backoff: everySecond })
          const [end, open] = gates(peer, fail, succeed)
          yield* borrow(pool)
          yield* end!
          assert.strictEqual(running(), 0)
          const borrower = yield* borrow(pool)
          yield* TestClock.adjust("1 second")
          yield* open!
          yield* borrower.leave
          yield* pool.retain(() => false)
          assert.strictEqual(running(), 0)
        })
      )

      it.effect("A10 no timer is left of a close that ended in time", () =>
        Effect.gen(function* () {
          const { peer, pool, running } = yield* counting()
          const closing = yield* Deferred.make<void>()
          peer.onClose(() => Deferred.await(closing))
          yield* once(pool)
          yield* pool.retain(() => false)
          assert.isTrue(running() > 0)
          Deferred.doneUnsafe(closing, Exit.void)
          yield* settle
          assert.strictEqual(running(), 0)
        })
      )

      it.effect("A10 no timer is left of a validation that ended in time", () =>
        Effect.gen(function* () {
          const gate = yield* Deferred.make<void>()
          const { pool, running } = yield* counting({ validate: () => Deferred.await(gate) })
          yield* once(pool)
          const borrower = yield* borrow(pool)
          assert.isTrue(running() > 0)
          Deferred.doneUnsafe(gate, Exit.void)
          yield* settle
          yield* borrower.leave
          yield* pool.retain(() => false)
          assert.strictEqual(running(), 0)
        })
      )

      for (const [state, prepare] of [
        ["unused", () => Effect.void],
        ["idle", (pool) => once(pool)],
        ["used", (pool) => borrow(pool)],
        [
          "in the pause after a failure",
          (pool, peer) =>
            Effect.andThen(
              Effect.sync(() => peer.script(fail)),
              borrowMany(pool, 2)
            )
        ],
        [
          "connecting",
          (pool, peer) =>
            Effect.andThen(
              Effect.sync(() => peer.script(hang)),
              borrowMany(pool, 2)
            )
        ]
      ] as ReadonlyArray<
        readonly [
          string,
          (
            pool: Effect.Success<ReturnType<typeof singleton>>["pool"],
            peer: TestConnector.TestConnector
          ) => Effect.Effect<unknown>
        ]
      >) {
        it.effect(`A10 nothing runs after the close of a pool that was ${state}`, () =>
          Effect.gen(function* () {
            const { peer, pool, running } = yield* counting({ backoff: everySecond })
            yield* prepare(pool, peer)
            yield* pool.drain()
            yield* settle
            assert.deepStrictEqual([running(), peer.watchers()], [0, 0])
          })
        )
      }

      it.effect("A10 a drain that ended early leaves no deadline behind", () =>
        Effect.gen(function* () {
          const { pool, running } = yield* counting()
          const borrower = yield* borrow(pool)
          yield* Effect.forkChild(pool.drain({ deadline: "1 hour" }))
          yield* settle
          assert.isTrue(running() > 0)
          yield* borrower.leave
          assert.strictEqual(running(), 0)
        })
      )
    })
  })
}

describe("CachePool", () => {
  describe("at rest", () => {
    it.effect("A10 no timer runs for idle connections, however long", () =>
      Effect.gen(function* () {
        yield* TestClock.adjust(1)
        const { counted, running } = fiberCounter()
        const { pool } = yield* counted(cache())
        for (const borrower of yield* borrowMany(pool, 3)) yield* borrower.leave
        yield* TestClock.adjust("30 seconds")
        yield* settle
        assert.strictEqual(running(), 0)
        yield* TestClock.adjust("1 day")
        assert.strictEqual((yield* pool.stats).idle, 3)
      })
    )

    it.effect("A10 only the replenishing of minSize may run in an empty pool", () =>
      Effect.gen(function* () {
        yield* TestClock.adjust(1)
        const { counted, running } = fiberCounter()
        const { peer, pool } = yield* counted(
          cache({ minSize: 1, backoff: everySecond }, TestConnector.makeUnsafe(fail))
        )
        yield* settle
        assert.strictEqual(running(), 1)
        peer.script(succeed)
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.deepStrictEqual([running(), (yield* pool.stats).idle], [0, 1])
      })
    )

    it.effect("A10 thousands of waiters share one timer", () =>
      Effect.gen(function* () {
        yield* TestClock.adjust(1)
        const { counted, running } = fiberCounter()
        const { pool } = yield* counted(cache({ maxSize: 1 }))
        const holder = yield* borrow(pool)
        yield* Effect.forkChild(
          Effect.forEach(Array.from({ length: 2_000 }), () => once(pool), { concurrency: "unbounded", discard: true })
        )
        yield* settle
        assert.deepStrictEqual([(yield* pool.stats).pending, running()], [2_000, 1])
        assert.deepStrictEqual(states(holder), ["has 1"])
      })
    )
  })
})
