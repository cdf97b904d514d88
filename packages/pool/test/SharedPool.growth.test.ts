import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import { delay, fail, hang, succeed } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { admitting, shared } from "./support/kinds.ts"
import {
  borrow,
  borrowLater,
  borrowMany,
  describeExit,
  everySecond,
  gates,
  once,
  settle,
  states,
  stats
} from "./support/scene.ts"

/** How many of a list of words there are of each. */
const tally = (words: ReadonlyArray<string>): Record<string, number> => {
  const counts: Record<string, number> = {}
  for (const word of words) counts[word] = (counts[word] ?? 0) + 1
  return counts
}

describe("SharedPool", () => {
  describe("a cold pool", () => {
    it.effect("H2 S1 makes one connect however many callers, and all share the connection", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared()
        const [open] = gates(peer, succeed)
        const callers = yield* borrowMany(pool, 100)
        assert.deepStrictEqual(yield* pool.stats, stats({ connecting: 1, pending: 100 }))
        yield* open!
        assert.deepStrictEqual(tally(states(...callers)), { "has 1": 100 })
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 100, created: 1, reused: 99 }))
      })
    )

    it.effect("H2 makes one connect where the connector ends at once", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared()
        assert.strictEqual(yield* once(pool), "has 1")
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
      })
    )

    it.effect("H3 S1 all callers get the very same failure, and the next call starts afresh", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ backoff: everySecond })
        const [end] = gates(peer, fail)
        const fibers = yield* Effect.replicateEffect(Effect.forkChild(pool.use(() => Effect.void)), 5)
        yield* settle
        yield* end!
        const exits = fibers.map((fiber) => fiber.pollUnsafe()!)
        assert.deepStrictEqual(tally(exits.map(describeExit)), { "TestConnectError 1": 5 })
        const errors = new Set(exits.map((exit) => (Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined)))
        assert.strictEqual(errors.size, 1)
        const next = yield* borrow(pool)
        yield* TestClock.adjust(999)
        assert.deepStrictEqual(states(next), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(next), ["has 2"])
      })
    )

    it.effect("H3 S1 a caller that comes after the failure does not get it", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ backoff: everySecond })
        const [end] = gates(peer, fail)
        const first = yield* borrow(pool)
        yield* end!
        const second = yield* borrow(pool)
        assert.deepStrictEqual(states(first, second), ["TestConnectError 1", "waits"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(second), ["has 2"])
      })
    )

    it.effect("H2 C7 while the peer fails, one attempt at a time finds out whether it is back", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ backoff: everySecond, concurrency: 1 }, TestConnector.makeUnsafe(fail))
        for (let i = 0; i < 5; i++) {
          yield* borrowMany(pool, 20)
          yield* TestClock.adjust("1 second")
        }
        assert.strictEqual(peer.attempts(), 6)
      })
    )

    it.effect("H2 a pool that has become empty is cold again: one connect, whatever it knew of capacity", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 2 })
        yield* once(pool)
        yield* pool.retain(() => false)
        const [open] = gates(peer, succeed)
        yield* borrowMany(pool, 8)
        assert.strictEqual((yield* pool.stats).connecting, 1)
        yield* open!
        assert.strictEqual((yield* pool.stats).used, 4)
      })
    )

    it.effect("A2 an attempt has a deadline, at which its callers fail", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ connectTimeout: "2 seconds" }, TestConnector.makeUnsafe(hang))
        const callers = yield* borrowMany(pool, 3)
        yield* TestClock.adjust(1_999)
        assert.deepStrictEqual(states(...callers), ["waits", "waits", "waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(tally(states(...callers)), { "WaitTimeout connect": 3 })
        assert.deepStrictEqual(peer.log(), ["connect 1", "cancel 1"])
      })
    )
  })

  describe("growth", () => {
    it.effect("H2 by known capacity: as many more connects as the callers that are left over need", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 10 })
        const opens = gates(peer, succeed, succeed, succeed)
        const callers = yield* borrowMany(pool, 25)
        assert.strictEqual(peer.attempts(), 1)
        yield* opens[0]!
        assert.deepStrictEqual(yield* pool.stats, {
          ...stats({ used: 1, connecting: 2, pending: 15, borrowers: 10, created: 1, reused: 9 })
        })
        yield* opens[1]!
        yield* opens[2]!
        assert.deepStrictEqual(tally(states(...callers)), { "has 1": 10, "has 2": 10, "has 3": 5 })
        assert.strictEqual(peer.attempts(), 3)
      })
    )

    it.effect("H2 up to maxSize; the others wait for slots, in order", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 2, maxSize: 3 })
        const callers = yield* borrowMany(pool, 9)
        assert.deepStrictEqual(states(...callers.slice(6)), ["waits", "waits", "waits"])
        assert.strictEqual(peer.attempts(), 3)
        yield* callers[0]!.leave
        yield* callers[3]!.leave
        assert.deepStrictEqual(states(...callers.slice(6)), ["has 1", "has 2", "waits"])
      })
    )

    it.effect("H2 not while a connection has a free slot", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 3 })
        yield* borrowMany(pool, 3)
        assert.strictEqual(peer.attempts(), 1)
        yield* borrow(pool)
        assert.strictEqual(peer.attempts(), 2)
      })
    )

    it.effect("H2 no more connects than maxConnecting at once", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 1, maxConnecting: 2 })
        const opens = gates(peer, succeed, succeed, succeed, succeed)
        const callers = yield* borrowMany(pool, 4)
        yield* opens[0]!
        assert.strictEqual((yield* pool.stats).connecting, 2)
        yield* opens[1]!
        assert.deepStrictEqual([(yield* pool.stats).connecting, peer.attempts()], [2, 4])
        yield* opens[2]!
        yield* opens[3]!
        assert.deepStrictEqual(states(...callers), ["has 1", "has 2", "has 3", "has 4"])
      })
    )

    it.effect("H2 a slot that is free before the connect ends serves its caller; the connection becomes idle", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 1 })
        const holder = yield* borrow(pool)
        const [open] = gates(peer, succeed)
        const waiter = yield* borrow(pool)
        yield* holder.leave
        assert.deepStrictEqual(states(waiter), ["has 1"])
        yield* open!
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, idle: 1, borrowers: 1, created: 2, reused: 1 }))
      })
    )

    it.effect("H2 a failed connect of a pool that has connections is nobody's error: callers wait for a slot", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 1, backoff: everySecond })
        const holder = yield* borrow(pool)
        peer.script(fail)
        const [first, second] = yield* borrowMany(pool, 2)
        assert.deepStrictEqual(states(first!, second!), ["waits", "waits"])
        yield* holder.leave
        assert.deepStrictEqual(states(first!, second!), ["has 1", "waits"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(first!, second!), ["has 1", "has 3"])
      })
    )

    it.effect("H2 A7 where growth keeps failing the wait ends with the last failure", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 1, backoff: Schedule.spaced("1 minute") })
        yield* borrow(pool)
        peer.script(fail)
        const caller = yield* Effect.forkChild(Effect.flip(pool.use(() => Effect.void)))
        yield* TestClock.adjust("30 seconds")
        const exit = caller.pollUnsafe()!
        const error = Exit.isSuccess(exit) ? exit.value : undefined
        assert.isTrue(error?._tag === "PoolError" && error.reason._tag === "WaitTimeout")
        if (error?._tag !== "PoolError" || error.reason._tag !== "WaitTimeout") return
        assert.deepStrictEqual(
          [error.reason.phase, error.reason.lastFailure?.reasons.map(({ _tag }) => _tag)],
          ["wait", ["Fail"]]
        )
      })
    )

    it.effect("H2 the last connection that goes while a connect fails takes the callers with it", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 1, backoff: everySecond })
        const holder = yield* borrow(pool)
        const [end] = gates(peer, fail)
        const waiter = yield* borrow(pool)
        yield* holder.lease().invalidate
        yield* end!
        assert.deepStrictEqual(states(holder, waiter), ["has 1", "TestConnectError 2"])
      })
    )

    it.effect("H2 A2 with onAbandon cancel, attempts that nobody needs any more are cancelled", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 2, onAbandon: "cancel" })
        yield* borrowMany(pool, 2)
        peer.script(hang, hang, hang)
        const callers = yield* borrowMany(pool, 5)
        assert.strictEqual((yield* pool.stats).connecting, 3)
        yield* callers[0]!.interrupt
        assert.strictEqual((yield* pool.stats).connecting, 2)
        yield* callers[4]!.interrupt
        yield* callers[1]!.interrupt
        assert.strictEqual((yield* pool.stats).connecting, 1)
        yield* callers[2]!.interrupt
        yield* callers[3]!.interrupt
        assert.deepStrictEqual(
          peer.log().filter((line) => line.startsWith("cancel")),
          ["cancel 4", "cancel 3", "cancel 2"]
        )
        assert.strictEqual((yield* pool.stats).connecting, 0)
      })
    )

    it.effect("H2 A2 by default an attempt whose callers have left goes on for later demand", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared()
        const [open] = gates(peer, succeed)
        const callers = yield* borrowMany(pool, 3)
        for (const caller of callers) yield* caller.interrupt
        yield* open!
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
        assert.deepStrictEqual([yield* once(pool), peer.attempts()], ["has 1", 1])
      })
    )

    it.effect("H2 a cold pool that admits one each does not open more than one where nobody is left to serve", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 1 })
        const [open] = gates(peer, succeed)
        const [first, second] = yield* borrowMany(pool, 2)
        yield* second!.interrupt
        yield* open!
        assert.deepStrictEqual([states(first!), peer.attempts()], [["has 1"], 1])
      })
    )

    it.effect("H2 a peer that admits nobody yet is not stormed: one connect at a time", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const capacity = admitting(peer, 0)
        const { pool } = yield* shared({ ...capacity.options, backoff: everySecond }, peer)
        const [open] = gates(peer, succeed)
        const callers = yield* borrowMany(pool, 20)
        yield* open!
        assert.strictEqual(peer.attempts(), 1)
        capacity.set(1, 20)
        yield* settle
        assert.deepStrictEqual(tally(states(...callers)), { "has 1": 20 })
      })
    )
  })

  describe("saturation", () => {
    it.effect("H2 below 1: another connection opens before the last slot is taken, in the background", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 10, saturation: 0.7 })
        yield* borrowMany(pool, 6)
        assert.strictEqual(peer.attempts(), 1)
        const [open] = gates(peer, succeed)
        const seventh = yield* borrow(pool)
        assert.deepStrictEqual([states(seventh), peer.attempts()], [["has 1"], 2])
        yield* open!
        assert.deepStrictEqual(yield* pool.stats, {
          ...stats({ used: 1, idle: 1, borrowers: 7, created: 2, reused: 6 })
        })
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )

    for (const via of ["use", "get", "lease"] as const) {
      it.effect(`H2 below 1: it makes no difference how callers borrow (${via})`, () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* shared({ concurrency: 10, saturation: 0.3, maxSize: 2 })
          const seen: Array<number> = []
          for (let i = 0; i < 4; i++) {
            yield* borrow(pool, via)
            seen.push(peer.attempts())
          }
          assert.deepStrictEqual(seen, [1, 1, 2, 2])
        })
      )
    }

    it.effect("H2 counts from every connection: as long as one is below it, none opens", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 4, saturation: 0.5, maxSize: 3 })
        const seen: Array<number> = []
        for (let i = 0; i < 8; i++) {
          yield* borrow(pool)
          seen.push(peer.attempts())
        }
        assert.deepStrictEqual(seen, [1, 2, 2, 3, 3, 3, 3, 3])
      })
    )

    it.effect("H2 never beyond maxSize", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 2, saturation: 0.1, maxSize: 2 })
        const callers = yield* borrowMany(pool, 5)
        assert.deepStrictEqual([peer.attempts(), callers[4]!.state()], [2, "waits"])
      })
    )

    it.effect("H2 the default waits until a caller finds no slot", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 2 })
        yield* borrowMany(pool, 2)
        assert.strictEqual(peer.attempts(), 1)
      })
    )

    it.effect(
      "H2 a background connect that fails is nobody's error, and is not repeated before the backoff allows",
      () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* shared({ concurrency: 4, saturation: 0.5, backoff: everySecond })
          peer.script(succeed, fail)
          const borrowers = yield* borrowMany(pool, 3)
          assert.deepStrictEqual(states(...borrowers), ["has 1", "has 1", "has 1"])
          yield* TestClock.adjust(999)
          assert.strictEqual(peer.attempts(), 2)
          yield* TestClock.adjust(1)
          assert.strictEqual(peer.attempts(), 3)
        })
    )

    it.effect("H2 an idle pool opens nothing, however low it is", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 1, saturation: 0.01 })
        const borrower = yield* borrow(pool)
        assert.strictEqual(peer.attempts(), 2)
        yield* borrower.leave
        yield* TestClock.adjust("1 hour")
        assert.strictEqual(peer.attempts(), 2)
      })
    )
  })

  describe("which connection", () => {
    it.effect("H2 the least loaded one", () =>
      Effect.gen(function* () {
        const { pool } = yield* shared({ concurrency: 3, maxSize: 2 })
        const borrowers = yield* borrowMany(pool, 6)
        assert.deepStrictEqual(states(...borrowers), ["has 1", "has 1", "has 1", "has 2", "has 2", "has 2"])
        yield* borrowers[0]!.leave
        yield* borrowers[3]!.leave
        yield* borrowers[4]!.leave
        const more = yield* borrowMany(pool, 3)
        // Loads are 2 and 1; then 2 and 2; then 3 and 2.
        assert.deepStrictEqual(states(...more).toSorted(), ["has 1", "has 2", "has 2"])
        assert.strictEqual(more[0]!.state(), "has 2")
      })
    )

    it.effect("H2 spreads callers evenly over connections", () =>
      Effect.gen(function* () {
        const { pool } = yield* shared({ concurrency: 4, maxSize: 3 })
        const first = yield* borrowMany(pool, 12)
        for (const borrower of first) yield* borrower.leave
        const second = yield* borrowMany(pool, 6)
        assert.deepStrictEqual(tally(states(...second)), { "has 1": 2, "has 2": 2, "has 3": 2 })
      })
    )

    it.effect("H2 a connection that is on its way out is not a candidate, however little loaded", () =>
      Effect.gen(function* () {
        const { pool } = yield* shared({ concurrency: 2, maxSize: 2 })
        const borrowers = yield* borrowMany(pool, 3)
        yield* borrowers[2]!.lease().invalidate
        yield* borrowers[0]!.leave
        const next = yield* borrow(pool)
        assert.deepStrictEqual(states(...borrowers, next), ["ok", "has 1", "has 2", "has 1"])
      })
    )
  })

  describe("the line", () => {
    it.effect("A6 waiters are served in the order in which they came, over many connections", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 2, maxSize: 2 })
        const gate = gates(peer, succeed)[0]!
        const callers = yield* borrowMany(pool, 8)
        yield* gate
        assert.deepStrictEqual(tally(states(...callers.slice(0, 4))), { "has 1": 2, "has 2": 2 })
        for (let i = 0; i < 4; i++) {
          yield* callers[i]!.leave
          assert.strictEqual(callers[4 + i]!.state().slice(0, 3), "has")
          if (i < 3) assert.strictEqual(callers[5 + i]!.state(), "waits")
        }
      })
    )

    it.effect("A6 a slot goes to the first in line, not to a newcomer of the same turn", () =>
      Effect.gen(function* () {
        const { pool } = yield* shared({ concurrency: 1, maxSize: 1 })
        const [holder, waiter] = yield* borrowMany(pool, 2)
        holder!.lease().releaseUnsafe()
        const newcomer = yield* borrow(pool)
        assert.deepStrictEqual(states(waiter!, newcomer), ["has 1", "waits"])
      })
    )

    it.effect("A6 callers whose connection is gone before they run keep their order", () =>
      Effect.gen(function* () {
        let looks = 0
        const peer = TestConnector.makeUnsafe()
        const { pool } = yield* shared(
          {
            concurrency: ({ id }) => (id === 1 ? 3 : 1),
            maxSize: 1,
            backoff: everySecond,
            // Fit when it is opened, and not when the callers that were given it look.
            isOpen: ({ id }) => id !== 1 || looks++ === 0
          },
          peer
        )
        const [open] = gates(peer, succeed)
        const callers = yield* borrowMany(pool, 3)
        yield* open!
        assert.deepStrictEqual(states(...callers), ["has 2", "waits", "waits"])
        yield* callers[0]!.leave
        assert.deepStrictEqual(states(...callers), ["ok", "has 2", "waits"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "connect 2", "open 2", "close 1"])
      })
    )

    it.effect("A7 maxPending bounds the line, attempts in flight or not", () =>
      Effect.gen(function* () {
        const { pool } = yield* shared({ maxPending: 2 }, TestConnector.makeUnsafe(hang))
        const callers = yield* borrowMany(pool, 3)
        assert.deepStrictEqual(states(...callers), ["waits", "waits", "QueueFull"])
      })
    )

    it.effect("A7 the wait for a slot has a limit, and says so", () =>
      Effect.gen(function* () {
        const { pool } = yield* shared({ concurrency: 1, maxSize: 1, waitTimeout: "3 seconds" })
        yield* borrow(pool)
        const waiter = yield* borrow(pool)
        yield* TestClock.adjust(2_999)
        assert.deepStrictEqual(states(waiter), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(waiter), ["WaitTimeout wait"])
        assert.strictEqual((yield* pool.stats).timedOut, 1)
      })
    )

    it.effect("A7 a caller that comes late into an attempt has its own full budget", () =>
      Effect.gen(function* () {
        const { pool } = yield* shared({ waitTimeout: "3 seconds" }, TestConnector.makeUnsafe(delay("4 seconds")))
        const early = yield* borrow(pool)
        yield* TestClock.adjust("2 seconds")
        const late = yield* borrow(pool)
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(states(early, late), ["WaitTimeout connect", "has 1"])
      })
    )

    it.effect("A6 500 callers that leave one by one make room for 500 others", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 100, maxSize: 5 })
        const first = yield* Effect.replicateEffect(borrowLater(pool), 500)
        yield* settle
        assert.strictEqual((yield* pool.stats).borrowers, 500)
        const second = yield* Effect.replicateEffect(borrowLater(pool), 500)
        yield* settle
        for (const borrower of first) borrower.leaveUnsafe()
        yield* Effect.replicateEffect(settle, 5)
        assert.deepStrictEqual(tally(second.map((borrower) => borrower.state().slice(0, 3))), { has: 500 })
        assert.deepStrictEqual([peer.attempts(), (yield* pool.stats).borrowers], [5, 500])
      })
    )

    it.effect("A3 lendable and connecting are never more than maxSize, whatever fails, leaves and comes", () =>
      Effect.gen(function* () {
        const behaviours = [succeed, fail, delay(700), delay(1_500, fail), succeed]
        let next = 0
        const peer = TestConnector.makeUnsafe((attempt) => behaviours[next++ % behaviours.length]!(attempt))
        const { pool } = yield* shared({ concurrency: ({ id }) => id % 3, maxSize: 3, backoff: everySecond }, peer)
        let most = 0
        for (let step = 0; step < 60; step++) {
          const borrowers = yield* borrowMany(pool, 3)
          if (step % 4 === 0) yield* pool.retain((_, info) => info.id % 2 === 0)
          if (step % 5 === 0) yield* borrowers[0]!.interrupt
          yield* TestClock.adjust(300)
          const { connecting, idle, used } = yield* pool.stats
          most = Math.max(most, connecting + idle + used)
          for (const borrower of borrowers) borrower.leaveUnsafe()
        }
        assert.strictEqual(most, 3)
      })
    )
  })
})
