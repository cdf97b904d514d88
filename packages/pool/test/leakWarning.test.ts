import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as TestConsole from "effect/testing/TestConsole"
import { fail, hang } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { borrow, borrowMany, cache, fiberCounter, once, singleton, states, stats, type Via } from "./support/scene.ts"

/** The warnings logged so far. */
const warnings = Effect.map(TestConsole.logLines, (lines) =>
  lines.map(String).filter((line) => line.includes("has been on loan"))
)

for (const [name, make] of [
  ["CachePool", cache],
  ["SingletonPool", singleton]
] as const) {
  describe(name, () => {
    describe("leakWarning", () => {
      it.effect("warns once about a loan that is older, not a millisecond earlier, and leaves the loan alone", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make({ leakWarning: "2 seconds" })
          const borrower = yield* borrow(pool)
          yield* TestClock.adjust(1_999)
          assert.deepStrictEqual(yield* warnings, [])
          yield* TestClock.adjust(1)
          assert.strictEqual((yield* warnings).length, 1)
          yield* TestClock.adjust("1 hour")
          assert.strictEqual((yield* warnings).length, 1)
          assert.deepStrictEqual([states(borrower), peer.closed()], [["has 1"], []])
          assert.isTrue(borrower.connection().isOpen)
        })
      )

      it.effect("says which connection, how long, how full the pool is and where it was taken", () =>
        Effect.gen(function* () {
          const { pool } = yield* make({ leakWarning: "2 seconds" })
          const borrower = yield* borrow(pool)
          yield* TestClock.adjust("2 seconds")
          const [warning] = yield* warnings
          const { maxSize } = yield* pool.stats
          const start = `Connection ${borrower.lease().info.id} has been on loan for more than 2s (1 of ${maxSize} used).`
          assert.isTrue(warning!.includes(start), warning)
          assert.isTrue((yield* TestConsole.logLines).some((line) => String(line).includes("WARN")))
          assert.isTrue(warning!.includes("scene.ts"), warning)
        })
      )

      it.effect("does not warn about loans that end in time", () =>
        Effect.gen(function* () {
          const { pool } = yield* make({ leakWarning: "2 seconds" })
          for (let round = 0; round < 5; round++) {
            const borrower = yield* borrow(pool)
            yield* TestClock.adjust(1_999)
            yield* borrower.leave
          }
          yield* TestClock.adjust("1 minute")
          assert.deepStrictEqual(yield* warnings, [])
        })
      )

      it.effect("counts from the loan, not from the call: time in line is not on loan", () =>
        Effect.gen(function* () {
          const { pool } = yield* make(
            { leakWarning: "2 seconds" },
            TestConnector.makeUnsafe(TestConnector.delay("5 seconds"))
          )
          yield* borrow(pool)
          yield* TestClock.adjust(6_999)
          assert.deepStrictEqual(yield* warnings, [])
          yield* TestClock.adjust(1)
          assert.strictEqual((yield* warnings).length, 1)
        })
      )

      it.effect("warns about each of several loans at its own time", () =>
        Effect.gen(function* () {
          const { pool } = yield* make({ leakWarning: "2 seconds" })
          yield* borrow(pool)
          yield* TestClock.adjust("1 second")
          const second = yield* borrow(pool)
          yield* TestClock.adjust("500 millis")
          yield* borrow(pool)
          yield* second.leave
          yield* TestClock.adjust(499)
          assert.strictEqual((yield* warnings).length, 0)
          yield* TestClock.adjust(1)
          assert.strictEqual((yield* warnings).length, 1)
          yield* TestClock.adjust(1_499)
          assert.strictEqual((yield* warnings).length, 1)
          yield* TestClock.adjust(1)
          assert.strictEqual((yield* warnings).length, 2)
        })
      )

      it.effect("an early release ends the loan", () =>
        Effect.gen(function* () {
          const { pool } = yield* make({ leakWarning: "2 seconds" })
          const borrower = yield* borrow(pool, "lease")
          yield* borrower.lease().release
          yield* TestClock.adjust("1 minute")
          assert.deepStrictEqual(yield* warnings, [])
        })
      )

      it.effect("callers that never got a connection are not warned about", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make({ leakWarning: "2 seconds", onAbandon: "cancel", waitTimeout: "1 second" })
          peer.script(fail, hang, hang)
          yield* once(pool)
          const interrupted = yield* borrow(pool)
          yield* interrupted.interrupt
          const timedOut = yield* borrow(pool)
          yield* TestClock.adjust("1 minute")
          assert.deepStrictEqual(
            [states(timedOut).map((state) => state.slice(0, 11)), yield* warnings],
            [["WaitTimeout"], []]
          )
        })
      )

      it.effect("is off by default", () =>
        Effect.gen(function* () {
          const { pool } = yield* make()
          yield* borrow(pool)
          yield* TestClock.adjust("1000 days")
          assert.deepStrictEqual(yield* warnings, [])
        })
      )

      it.effect("A10 leaves no timer behind when the last loan has ended", () =>
        Effect.gen(function* () {
          yield* TestClock.adjust(1)
          const { counted, running } = fiberCounter()
          const { pool } = yield* counted(make({ leakWarning: "2 seconds" }))
          yield* once(pool)
          yield* TestClock.adjust("1 minute")
          const borrower = yield* borrow(pool)
          assert.strictEqual(running(), 1)
          yield* borrower.leave
          assert.strictEqual(running(), 0)
        })
      )

      it.effect("A10 no timer is left after the close, although a loan outlives the pool", () =>
        Effect.gen(function* () {
          yield* TestClock.adjust(1)
          const { counted, running } = fiberCounter()
          const { pool } = yield* counted(make({ leakWarning: "2 seconds" }))
          const borrower = yield* borrow(pool)
          yield* pool.drain()
          assert.deepStrictEqual([states(borrower), running()], [["has 1"], 0])
        })
      )

      for (const via of ["use", "get", "lease"] as const satisfies ReadonlyArray<Via>) {
        it.effect(`covers ${via}, and nothing else changes`, () =>
          Effect.gen(function* () {
            const { pool } = yield* make({ leakWarning: "2 seconds" })
            const borrower = yield* borrow(pool, via)
            yield* TestClock.adjust("2 seconds")
            assert.strictEqual((yield* warnings).length, 1)
            yield* borrower.leave
            const { borrowers, idle } = yield* pool.stats
            assert.deepStrictEqual([idle, borrowers], [1, 0])
          })
        )
      }
    })
  })
}

describe("CachePool", () => {
  describe("leakWarning", () => {
    it.effect("covers takeIdle; none is not a loan", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ leakWarning: "2 seconds" })
        yield* pool.takeIdle
        yield* once(pool)
        yield* pool.takeIdle
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual((yield* warnings).length, 1)
      })
    )

    it.effect("goes on for other loans when takeIdle found nothing fit after a validation", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({
          leakWarning: "2 seconds",
          validate: () => Effect.andThen(Effect.sleep("1 second"), Effect.fail("broken"))
        })
        yield* once(pool)
        const taking = yield* Effect.forkChild(Effect.scoped(Effect.andThen(pool.takeIdle, Effect.never)))
        yield* TestClock.adjust("1 second")
        const borrower = yield* borrow(pool)
        assert.deepStrictEqual(states(borrower), ["has 2"])
        yield* TestClock.adjust("1 minute")
        assert.strictEqual((yield* warnings).length, 1)
        assert.isUndefined(taking.pollUnsafe())
      })
    )

    it.effect("a connection closed under its borrower by drain is still on loan", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ leakWarning: "2 seconds" })
        const [borrower] = yield* borrowMany(pool, 1)
        yield* pool.drain()
        assert.deepStrictEqual(states(borrower!), ["has 1"])
        assert.deepStrictEqual(yield* pool.stats, stats({ created: 1, closed: 1 }))
      })
    )
  })
})
