import { assert, describe, it } from "@effect/vitest"
import type { Cause } from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import type { ConnectionPool } from "../src/ConnectionPool.ts"
import { delay, fail, hang, succeed } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { borrow, borrowMany, cache, everySecond, gates, once, states, stats } from "./support/scene.ts"

/** When attempts started, in milliseconds of the test's clock. */
const starts = (pool: ConnectionPool<void, unknown, unknown>) =>
  Effect.gen(function* () {
    const clock = yield* TestClock.testClockWith(Effect.succeed)
    const times: Array<number> = []
    yield* pool.observe({
      connecting: () => {
        times.push(clock.currentTimeMillisUnsafe())
      }
    })
    return times
  })

describe("CachePool", () => {
  describe("backoff", () => {
    it.effect("C7 after a failed attempt the next starts when it allows, whatever the number of waiters", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ backoff: everySecond }, TestConnector.makeUnsafe(fail))
        const times = yield* starts(pool)
        yield* once(pool)
        const callers = yield* borrowMany(pool, 100)
        yield* TestClock.adjust(999)
        assert.strictEqual(peer.attempts(), 1)
        yield* TestClock.adjust("4 seconds")
        assert.deepStrictEqual(times, [0, 1_000, 2_000, 3_000, 4_000])
        assert.deepStrictEqual(states(...callers.slice(0, 6)), [
          "TestConnectError 2",
          "TestConnectError 3",
          "TestConnectError 4",
          "TestConnectError 5",
          "waits",
          "waits"
        ])
      })
    )

    it.effect("C7 callers that arrive during the pause wait for its end and are not failed by the earlier error", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ backoff: everySecond })
        peer.script(fail)
        yield* once(pool)
        yield* TestClock.adjust(500)
        const late = yield* borrow(pool)
        assert.deepStrictEqual([states(late), peer.attempts()], [["waits"], 1])
        yield* TestClock.adjust(499)
        assert.deepStrictEqual(states(late), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(late), ["has 2"])
      })
    )

    it.effect("C7 callers in the pause wait within their waitTimeout, whose error carries the last failure", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ backoff: Schedule.spaced("1 minute") })
        peer.script(fail)
        yield* once(pool)
        const caller = yield* Effect.forkChild(Effect.flip(pool.use(() => Effect.void)))
        yield* TestClock.adjust(29_999)
        assert.isUndefined(caller.pollUnsafe())
        yield* TestClock.adjust(1)
        const exit = caller.pollUnsafe()
        assert.isTrue(exit?._tag === "Success")
        const error = exit?._tag === "Success" ? exit.value : undefined
        assert.strictEqual(error?._tag, "PoolError")
        const reason = error?._tag === "PoolError" ? error.reason : undefined
        assert.strictEqual(reason?._tag, "WaitTimeout")
        if (reason?._tag !== "WaitTimeout") return
        assert.strictEqual(reason.phase, "wait")
        assert.deepStrictEqual(
          reason.lastFailure?.reasons.map((failure) => failure._tag),
          ["Fail"]
        )
        assert.isTrue(error!.message.includes("the last attempt failed"), error!.message)
      })
    )

    it.effect("C7 a returned connection serves a caller in the pause", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ backoff: Schedule.spaced("1 minute") })
        const holder = yield* borrow(pool)
        peer.script(fail)
        yield* once(pool)
        const caller = yield* borrow(pool)
        yield* holder.leave
        assert.deepStrictEqual(states(caller), ["has 1"])
      })
    )

    it.effect("C7 a success resets it: the next failure waits as long as the first", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ backoff: Schedule.exponential("1 second"), minSize: 1, maxSize: 1 })
        const times = yield* starts(pool)
        peer.script(fail, fail, fail, succeed, fail, fail)
        yield* pool.retain(() => false)
        yield* TestClock.adjust("10 seconds")
        yield* pool.retain(() => false)
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(times, [0, 1_000, 3_000, 7_000, 10_000, 11_000, 13_000])
      })
    )

    it.effect("C7 a success ends the pause: callers connect at once then", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ backoff: Schedule.spaced("1 minute") })
        const [open, end] = gates(peer, succeed, fail)
        const [a, b] = yield* borrowMany(pool, 2)
        yield* end!
        const c = yield* borrow(pool)
        assert.deepStrictEqual(states(a!, b!, c), ["waits", "TestConnectError 2", "waits"])
        yield* open!
        assert.deepStrictEqual(states(a!, b!, c), ["has 1", "TestConnectError 2", "has 3"])
      })
    )

    it.effect("C7 while the peer fails one attempt at a time finds out whether it is back", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ backoff: everySecond })
        peer.script(fail, delay("3 seconds"))
        yield* once(pool)
        const callers = yield* borrowMany(pool, 4)
        yield* TestClock.adjust("3 seconds")
        assert.deepStrictEqual(yield* pool.stats, stats({ connecting: 1, pending: 4, failed: 1 }))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(...callers), ["has 2", "has 3", "has 4", "has 5"])
      })
    )

    it.effect("C7 attempts that were in flight when the pause began do not lengthen it", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ backoff: everySecond })
        const times = yield* starts(pool)
        peer.script(fail, delay(400, fail), delay(800, fail))
        const callers = yield* borrowMany(pool, 1)
        assert.deepStrictEqual(states(...callers), ["TestConnectError 1"])
        const late = yield* borrow(pool)
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual([times, states(late)], [[0, 1_000], ["TestConnectError 2"]])
      })
    )

    it.effect("C7 several attempts that fail together begin one pause", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ backoff: Schedule.exponential("1 second") })
        const times = yield* starts(pool)
        const ends = gates(peer, fail, fail, fail)
        const callers = yield* borrowMany(pool, 3)
        yield* Effect.all(ends)
        assert.deepStrictEqual(states(...callers), ["TestConnectError 1", "TestConnectError 2", "TestConnectError 3"])
        const late = yield* borrow(pool)
        yield* TestClock.adjust(999)
        assert.deepStrictEqual(states(late), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual([states(late), times], [["has 4"], [0, 0, 0, 1_000]])
      })
    )

    it.effect("C7 a schedule that ends starts again", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache(
          { backoff: Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 2 })), waitTimeout: "1 hour" },
          TestConnector.makeUnsafe(fail)
        )
        const times = yield* starts(pool)
        yield* borrowMany(pool, 20)
        yield* TestClock.adjust("1 minute")
        assert.isTrue(peer.attempts() > 10, "it goes on")
        const pauses = times.slice(1).map((time, index) => time - times[index]!)
        assert.isTrue(
          pauses.every((pause) => pause === 1_000 || pause === 2_000),
          pauses.join(" ")
        )
        assert.isTrue(pauses.lastIndexOf(1_000) > 2, pauses.join(" "))
      })
    )

    it.effect("C7 the schedule is told the cause of each failure", () =>
      Effect.gen(function* () {
        const inputs: Array<Cause<unknown>> = []
        const backoff = Schedule.spaced("1 second").pipe(
          Schedule.setInputType<Cause<unknown>>(),
          Schedule.tap(({ input }) => Effect.sync(() => inputs.push(input)))
        )
        const { peer, pool } = yield* cache({ backoff })
        peer.script(fail, hang)
        yield* once(pool)
        yield* borrow(pool)
        yield* TestClock.adjust("11 seconds")
        assert.deepStrictEqual(
          inputs.map((cause) => (cause.reasons[0] as { error: { _tag: string } }).error._tag),
          ["TestConnectError", "PoolError"]
        )
      })
    )

    it.effect("C7 a schedule that takes time to decide delays the next attempt", () =>
      Effect.gen(function* () {
        const backoff = Schedule.spaced("1 second").pipe(Schedule.tap(() => Effect.sleep("1 second")))
        const { peer, pool } = yield* cache({ backoff })
        peer.script(fail)
        yield* once(pool)
        const caller = yield* borrow(pool)
        yield* TestClock.adjust(1_999)
        assert.deepStrictEqual(states(caller), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(caller), ["has 2"])
      })
    )

    it.effect("C7 a success while the schedule still decides makes that decision void", () =>
      Effect.gen(function* () {
        const backoff = Schedule.exponential("1 second").pipe(Schedule.tap(() => Effect.sleep("1 second")))
        const { peer, pool } = yield* cache({ backoff })
        const times = yield* starts(pool)
        const [open, end] = gates(peer, succeed, fail)
        yield* borrowMany(pool, 2)
        yield* end!
        yield* TestClock.adjust(500)
        yield* open!
        yield* TestClock.adjust(1_500)
        peer.script(fail)
        yield* once(pool)
        yield* borrow(pool)
        yield* TestClock.adjust("10 seconds")
        // One second to decide and the schedule's first pause, not its second.
        assert.deepStrictEqual(times, [0, 0, 2_000, 4_000])
      })
    )

    it.effect("C7 a connect that timed out begins a pause, one that was cancelled does not", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ backoff: everySecond, onAbandon: "cancel" })
        peer.script(hang, hang)
        const first = yield* borrow(pool)
        yield* first.interrupt
        const second = yield* borrow(pool)
        assert.strictEqual(peer.attempts(), 2)
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(states(second), ["WaitTimeout connect"])
        const third = yield* borrow(pool)
        yield* TestClock.adjust(999)
        assert.deepStrictEqual(states(third), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(third), ["has 3"])
      })
    )

    it.effect("defaults to exponential from 100 ms to 5 s, jittered by a fifth", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ minSize: 1 }, TestConnector.makeUnsafe(fail))
        const times = yield* starts(pool)
        yield* TestClock.adjust("1 minute")
        const pauses = [times[0]!, ...times.slice(1).map((time, index) => time - times[index]!)]
        for (const [index, pause] of pauses.entries()) {
          const middle = Math.min(5_000, 100 * 2 ** index)
          assert.isTrue(pause >= middle * 0.8 - 1 && pause <= middle * 1.2 + 1, `pause ${index}: ${pause}`)
        }
        assert.isTrue(pauses.length > 10)
      }).pipe(Random.withSeed("backoff"))
    )

    it.effect("two pools back off independently", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const a = yield* cache({ backoff: everySecond })
        const b = yield* cache({ backoff: everySecond }, peer)
        a.peer.script(fail)
        assert.deepStrictEqual([yield* once(a.pool), yield* once(b.pool)], ["TestConnectError 1", "has 1"])
      })
    )

    it.effect("a pause of Infinity stops attempts for good; callers time out", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ backoff: Schedule.spaced(Duration.infinity) })
        peer.script(fail)
        yield* once(pool)
        const caller = yield* borrow(pool)
        yield* TestClock.adjust("30 seconds")
        assert.deepStrictEqual([states(caller), peer.attempts()], [["WaitTimeout wait"], 1])
      })
    )
  })
})
