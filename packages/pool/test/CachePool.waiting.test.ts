import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import type { PoolError, WaitTimeout } from "../src/ConnectionPool.ts"
import type { Signals } from "../src/ConnectionPool.ts"
import * as Connector from "../src/Connector.ts"
import { fail, hang, succeed } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import {
  borrow,
  borrowLater,
  borrowMany,
  cache,
  everySecond,
  gates,
  once,
  settle,
  states,
  stats
} from "./support/scene.ts"

/** The reason a borrow failed with `WaitTimeout`. */
const timeoutOf = (fiber: Fiber.Fiber<unknown, unknown>) =>
  Effect.map(Effect.flip(Fiber.join(fiber)), (error) => {
    assert.strictEqual((error as PoolError)._tag, "PoolError")
    assert.strictEqual((error as PoolError).reason._tag, "WaitTimeout")
    return (error as PoolError).reason as WaitTimeout
  })

describe("CachePool", () => {
  describe("order of service", () => {
    it.effect("A6 waiters are served in arrival order", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        const [holder, a, b, c] = yield* borrowMany(pool, 4)
        const seen: Array<Array<string>> = []
        for (const next of [holder!, a!, b!, c!]) {
          yield* next.leave
          seen.push(states(a!, b!, c!))
        }
        assert.deepStrictEqual(seen, [
          ["has 1", "waits", "waits"],
          ["ok", "has 1", "waits"],
          ["ok", "ok", "has 1"],
          ["ok", "ok", "ok"]
        ])
      })
    )

    it.effect("A6 a newcomer does not take a connection past a waiter that was handed it and has not run", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        const holder = yield* borrow(pool)
        const waiter = yield* borrow(pool)
        holder.lease().releaseUnsafe()
        const newcomer = yield* borrow(pool)
        assert.deepStrictEqual(states(waiter, newcomer), ["has 1", "waits"])
      })
    )

    it.effect("A6 a borrower that returns and borrows again stands behind the waiters", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        const order: Array<string> = []
        const worker = (name: string) =>
          Effect.repeat(
            pool.use(() =>
              Effect.andThen(
                Effect.sync(() => order.push(name)),
                Effect.yieldNow
              )
            ),
            { times: 2 }
          )
        yield* Effect.all([worker("a"), worker("b"), worker("c")], { concurrency: 3 })
        assert.strictEqual(order.join(" "), "a b c a b c a b c")
      })
    )

    it.effect("A6 a newcomer does not take an idle connection while a waiter's is being validated", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { pool } = yield* cache({ maxSize: 2, validate: () => Deferred.await(gate) })
        const [one, two] = yield* borrowMany(pool, 2)
        yield* one!.leave
        yield* two!.leave
        const first = yield* borrow(pool)
        const second = yield* borrow(pool)
        const third = yield* borrow(pool)
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(states(first, second, third), ["has 2", "has 1", "waits"])
      })
    )

    it.effect("A6 a connection that was just opened goes to the head of the line, whoever started it", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const [, openSecond, openThird] = gates(peer, succeed, succeed, succeed)
        const [a, b, c] = yield* borrowMany(pool, 3)
        yield* openThird!
        assert.deepStrictEqual(states(a!, b!, c!), ["has 3", "waits", "waits"])
        yield* openSecond!
        assert.deepStrictEqual(states(a!, b!, c!), ["has 3", "has 2", "waits"])
      })
    )

    it.effect("A6 the head whose place is taken by another's connection gives that one its own attempt", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const [endFirst, openSecond] = gates(peer, fail, succeed)
        const [a, b] = yield* borrowMany(pool, 2)
        yield* openSecond!
        assert.deepStrictEqual(states(a!, b!), ["has 2", "waits"])
        yield* endFirst!
        assert.deepStrictEqual(states(a!, b!), ["has 2", "TestConnectError 1"])
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, created: 1, failed: 1 }))
      })
    )

    it.effect("A6 attempts keep their owners through several exchanges, and each error has one receiver", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const [endFirst, endSecond, openThird, openFourth] = gates(peer, fail, fail, succeed, succeed)
        const [a, b, c, d] = yield* borrowMany(pool, 4)
        yield* openThird!
        yield* openFourth!
        assert.deepStrictEqual(states(a!, b!, c!, d!), ["has 3", "has 4", "waits", "waits"])
        yield* endSecond!
        yield* endFirst!
        assert.deepStrictEqual(states(a!, b!, c!, d!).toSorted(), [
          "TestConnectError 1",
          "TestConnectError 2",
          "has 3",
          "has 4"
        ])
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 2, borrowers: 2, created: 2, failed: 2 }))
        assert.strictEqual(peer.attempts(), 4)
      })
    )

    it.effect("A6 an attempt whose owner was served by a returned connection has none, and its error no receiver", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 2, backoff: everySecond })
        const holder = yield* borrow(pool)
        const [end] = gates(peer, fail)
        const [a, b] = yield* borrowMany(pool, 2)
        yield* holder.leave
        assert.deepStrictEqual(states(a!, b!), ["has 1", "waits"])
        yield* end!
        assert.deepStrictEqual(states(a!, b!), ["has 1", "waits"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(a!, b!), ["has 1", "has 3"])
      })
    )

    it.effect("A6 returns in one turn wake as many waiters as there are connections", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 3 })
        const holders = yield* borrowMany(pool, 3)
        const waiters = yield* borrowMany(pool, 5)
        for (const holder of holders) holder.lease().releaseUnsafe()
        yield* settle
        assert.deepStrictEqual(states(...waiters), ["has 1", "has 2", "has 3", "waits", "waits"])
      })
    )

    it.effect("A6 closes in one turn let as many waiters connect as places became free", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 3 })
        const holders = yield* borrowMany(pool, 3)
        const waiters = yield* borrowMany(pool, 5)
        for (const holder of holders.slice(0, 2)) {
          peer.kill(holder.connection())
          holder.lease().releaseUnsafe()
        }
        yield* settle
        assert.deepStrictEqual(states(...waiters), ["has 4", "has 5", "waits", "waits", "waits"])
        assert.strictEqual(peer.attempts(), 5)
      })
    )

    it.effect("A6 a failure lets exactly one waiter connect", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1, backoff: everySecond })
        peer.script(fail, hang)
        const callers = yield* borrowMany(pool, 4)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(...callers), ["TestConnectError 1", "waits", "waits", "waits"])
        assert.deepStrictEqual(yield* pool.stats, stats({ connecting: 1, pending: 3, maxSize: 1, failed: 1 }))
      })
    )

    it.effect("A6 nobody waits while a connection is idle or there is room", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 3 })
        const borrowers = yield* borrowMany(pool, 9)
        for (const [index, borrower] of borrowers.entries()) {
          yield* index % 2 === 0 ? borrower.leave : borrower.interrupt
          const { idle, pending, used, connecting } = yield* pool.stats
          assert.isFalse(pending > 0 && (idle > 0 || used + connecting < 3), `after ${index}`)
        }
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 3, maxSize: 3, created: 3, reused: 6 }))
      })
    )

    it.effect("A6 1,000 waiters behind one connection are served in order without growing the stack", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        const holder = yield* borrow(pool)
        const order: Array<number> = []
        const waiters = yield* Effect.forkChild(
          Effect.forEach(
            Array.from({ length: 1_000 }, (_, index) => index),
            (index) => pool.use(() => Effect.sync(() => order.push(index))),
            { concurrency: "unbounded", discard: true }
          )
        )
        yield* settle
        yield* holder.leave
        yield* Fiber.join(waiters)
        assert.deepStrictEqual(
          order,
          Array.from({ length: 1_000 }, (_, index) => index)
        )
      })
    )
  })

  describe("letting the next waiter try", () => {
    it.effect("C4 a failed connect lets the next waiter try", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1, backoff: everySecond })
        peer.script(fail)
        const [a, b] = yield* borrowMany(pool, 2)
        assert.deepStrictEqual(states(a!, b!), ["TestConnectError 1", "waits"])
        yield* TestClock.adjust(999)
        assert.deepStrictEqual(states(b!), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(b!), ["has 2"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "fail 1", "connect 2", "open 2"])
      })
    )

    it.effect("C4 a connect that timed out lets the next waiter try", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1, backoff: everySecond })
        peer.script(hang)
        const [a, b] = yield* borrowMany(pool, 2)
        yield* TestClock.adjust("11 seconds")
        assert.deepStrictEqual(states(a!, b!), ["WaitTimeout connect", "has 2"])
      })
    )

    it.effect("C4 a connection found dead when it is returned lets the next waiter try", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1 })
        const [a, b] = yield* borrowMany(pool, 2)
        peer.killSilently(a!.connection())
        yield* a!.leave
        assert.deepStrictEqual(states(a!, b!), ["ok", "has 2"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "kill 1", "close 1", "connect 2", "open 2"])
      })
    )

    it.effect("C4 a dead idle connection lets its finder try the next one", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 2 })
        const [a, b] = yield* borrowMany(pool, 2)
        const second = b!.connection()
        yield* a!.leave
        yield* b!.leave
        peer.killSilently(second)
        assert.strictEqual(yield* once(pool), "has 1")
        assert.deepStrictEqual(peer.closed(), [2])
      })
    )

    it.effect("C4 dead idle connections only: the finder connects, however many they were", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 3 })
        const borrowers = yield* borrowMany(pool, 3)
        const connections = borrowers.map((borrower) => borrower.connection())
        for (const borrower of borrowers) yield* borrower.leave
        for (const connection of connections) peer.killSilently(connection)
        assert.strictEqual(yield* once(pool), "has 4")
        assert.deepStrictEqual(peer.closed(), [3, 2, 1])
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, maxSize: 3, created: 4, closed: 3 }))
      })
    )

    it.effect("C4 a connection that dies after it was handed over lets its waiter try again, first in line", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1 })
        const holder = yield* borrow(pool)
        const [a, b] = yield* borrowMany(pool, 2)
        const connection = holder.connection()
        holder.lease().releaseUnsafe()
        peer.killSilently(connection)
        yield* settle
        assert.deepStrictEqual(states(a!, b!), ["has 2", "waits"])
        assert.deepStrictEqual(yield* pool.stats, {
          ...stats({ used: 1, borrowers: 1, pending: 1, maxSize: 1, created: 2, closed: 1 })
        })
      })
    )

    it.effect("C4 A6 waiters whose connections died before they ran keep their order", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 2 })
        const holders = yield* borrowMany(pool, 2)
        const [openThird, openFourth] = gates(peer, succeed, succeed)
        const waiters = yield* borrowMany(pool, 3)
        for (const holder of holders) {
          peer.killSilently(holder.connection())
          holder.lease().releaseUnsafe()
        }
        yield* settle
        assert.strictEqual(peer.attempts(), 4)
        yield* openFourth!
        assert.deepStrictEqual(states(...waiters), ["has 4", "waits", "waits"])
        yield* openThird!
        assert.deepStrictEqual(states(...waiters), ["has 4", "has 3", "waits"])
      })
    )

    it.effect("C4 A6 waiters whose granted connections died before they ran keep their order", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 2 })
        const holders = yield* borrowMany(pool, 2)
        const [openThird, openFourth] = gates(peer, succeed, succeed)
        const waiters = yield* borrowMany(pool, 3)
        const connections = holders.map((holder) => holder.connection())
        for (const holder of holders) holder.lease().releaseUnsafe()
        // Both are granted now, and neither waiter has run.
        for (const connection of connections) peer.killSilently(connection)
        yield* settle
        assert.deepStrictEqual([states(...waiters), peer.attempts()], [["waits", "waits", "waits"], 4])
        yield* openFourth!
        assert.deepStrictEqual(states(...waiters), ["has 4", "waits", "waits"])
        yield* openThird!
        assert.deepStrictEqual(states(...waiters), ["has 4", "has 3", "waits"])
      })
    )

    it.effect("C4 an invalidation lets the next waiter try", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1 })
        const [a, b] = yield* borrowMany(pool, 2)
        yield* a!.lease().invalidate
        assert.deepStrictEqual(states(b!), ["waits"])
        yield* a!.leave
        assert.deepStrictEqual(states(a!, b!), ["ok", "has 2"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "close 1", "connect 2", "open 2"])
      })
    )

    it.effect("C4 a capacity change lets the next waiter try: a place became free when a close ended", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1 })
        const closing = yield* Deferred.make<void>()
        peer.onClose(() => Deferred.await(closing))
        const [a, b] = yield* borrowMany(pool, 2)
        peer.kill(a!.connection())
        yield* a!.leave
        assert.deepStrictEqual(states(b!), ["waits"])
        Deferred.doneUnsafe(closing, Exit.void)
        yield* settle
        assert.deepStrictEqual(states(b!), ["has 2"])
      })
    )

    it.effect("C4 a capacity change of an exclusive connection never makes the pool exceed its limits", () =>
      Effect.gen(function* () {
        const signals: Array<Signals> = []
        const { peer, pool } = yield* cache({
          maxSize: 1,
          watch: (_, each) => {
            signals.push(each)
          }
        })
        const [, waiter] = yield* borrowMany(pool, 2)
        signals[0]!.capacityChanged()
        yield* settle
        assert.deepStrictEqual(states(waiter!), ["waits"])
        assert.strictEqual(peer.attempts(), 1)
      })
    )
  })

  describe("waitTimeout", () => {
    it.effect("A7 ends a wait in line, phase wait, one millisecond not before", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        yield* borrow(pool)
        const waiter = yield* borrow(pool)
        yield* TestClock.adjust(29_999)
        assert.deepStrictEqual(states(waiter), ["waits"])
        yield* TestClock.adjust(1)
        const reason = yield* timeoutOf(waiter.fiber)
        assert.strictEqual(reason.phase, "wait")
        assert.strictEqual(Duration.toMillis(reason.after), 30_000)
        assert.isUndefined(reason.lastFailure)
        assert.deepStrictEqual(
          reason.stats,
          stats({ used: 1, borrowers: 1, pending: 1, maxSize: 1, created: 1, timedOut: 1 })
        )
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, maxSize: 1, created: 1, timedOut: 1 }))
      })
    )

    it.effect("A7 ends a wait for a connect, phase connect; the attempt goes on and becomes idle", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ waitTimeout: "2 seconds" })
        const [open] = gates(peer, succeed)
        const caller = yield* borrow(pool)
        yield* TestClock.adjust(1_999)
        assert.deepStrictEqual(states(caller), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(caller), ["WaitTimeout connect"])
        assert.deepStrictEqual(yield* pool.stats, stats({ connecting: 1, timedOut: 1 }))
        yield* open!
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1, timedOut: 1 }))
      })
    )

    it.effect("A7 ends a wait for a validation, phase validate; the validation goes on", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { pool } = yield* cache({ waitTimeout: "2 seconds", validate: () => Deferred.await(gate) })
        yield* once(pool)
        const caller = yield* borrow(pool)
        yield* TestClock.adjust(1_999)
        assert.deepStrictEqual(states(caller), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(caller), ["WaitTimeout validate"])
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1, timedOut: 1 }))
      })
    )

    it.effect("A7 is one budget for waiting and then connecting", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1, connectTimeout: "1 minute" })
        const holder = yield* borrow(pool)
        const waiter = yield* borrow(pool)
        yield* TestClock.adjust("20 seconds")
        peer.script(hang)
        yield* holder.lease().invalidate
        yield* holder.leave
        assert.strictEqual((yield* pool.stats).connecting, 1)
        yield* TestClock.adjust(9_999)
        assert.deepStrictEqual(states(waiter), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(waiter), ["WaitTimeout connect"])
      })
    )

    it.effect("A7 is one budget for waiting and then validating", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1, connectTimeout: "1 minute", validate: () => Effect.never })
        const holder = yield* borrow(pool)
        const waiter = yield* borrow(pool)
        yield* TestClock.adjust("20 seconds")
        yield* holder.leave
        yield* TestClock.adjust(9_999)
        assert.deepStrictEqual(states(waiter), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(waiter), ["WaitTimeout validate"])
      })
    )

    it.effect("A7 is one budget for waiting, then validating, then connecting", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({
          maxSize: 1,
          waitTimeout: "3 seconds",
          validate: () => Effect.delay(Effect.fail("broken"), "1 second")
        })
        const holder = yield* borrow(pool)
        const waiter = yield* borrow(pool)
        peer.script(hang)
        yield* TestClock.adjust("1 second")
        yield* holder.leave
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "close 1", "connect 2"])
        yield* TestClock.adjust(999)
        assert.deepStrictEqual(states(waiter), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(waiter), ["WaitTimeout connect"])
      })
    )

    it.effect("A7 is enough when each phase takes its time within it", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({
          maxSize: 1,
          waitTimeout: "3 seconds",
          validate: () => Effect.delay(Effect.fail("broken"), "1 second")
        })
        const holder = yield* borrow(pool)
        const waiter = yield* borrow(pool)
        peer.script(TestConnector.delay(999))
        yield* TestClock.adjust("1 second")
        yield* holder.leave
        yield* TestClock.adjust(1_998)
        assert.deepStrictEqual(states(waiter), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(waiter), ["has 2"])
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(states(waiter), ["has 2"])
      })
    )

    it.effect("A7 ends each wait at its own time", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        const holder = yield* borrow(pool)
        const waiters = [yield* borrow(pool)]
        yield* TestClock.adjust("10 seconds")
        waiters.push(yield* borrow(pool))
        yield* TestClock.adjust("10 seconds")
        waiters.push(yield* borrow(pool))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(states(...waiters), ["WaitTimeout wait", "waits", "waits"])
        yield* TestClock.adjust(9_999)
        assert.deepStrictEqual(states(...waiters), ["WaitTimeout wait", "waits", "waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(...waiters), ["WaitTimeout wait", "WaitTimeout wait", "waits"])
        yield* TestClock.adjust(9_999)
        yield* holder.leave
        assert.deepStrictEqual(states(...waiters), ["WaitTimeout wait", "WaitTimeout wait", "has 1"])
      })
    )

    it.effect("A7 ends a wait that began after the line was empty for a while", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        const holder = yield* borrow(pool)
        const first = yield* borrow(pool)
        yield* first.interrupt
        yield* TestClock.adjust("29 seconds")
        const second = yield* borrow(pool)
        yield* TestClock.adjust(29_999)
        assert.deepStrictEqual(states(holder, second), ["has 1", "waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(holder, second), ["has 1", "WaitTimeout wait"])
      })
    )

    it.effect("A7 a connection returned in the millisecond of the deadline is not lost", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        const timed = pool.use(() => Effect.sleep("30 seconds"))
        const holder = yield* Effect.forkChild(timed)
        const waiter = yield* borrow(pool)
        yield* TestClock.adjust("30 seconds")
        yield* settle
        assert.isTrue(holder.pollUnsafe() !== undefined)
        assert.isTrue(["WaitTimeout wait", "has 1"].includes(waiter.state()), waiter.state())
        yield* waiter.leave
        const { idle, timedOut } = yield* pool.stats
        assert.deepStrictEqual([idle, timedOut], [1, waiter.state() === "ok" ? 0 : 1])
      })
    )

    it.effect("A7 a waiter whose connection died before it ran keeps its deadline", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1 })
        const holder = yield* borrow(pool)
        const waiter = yield* borrow(pool)
        yield* TestClock.adjust("29 seconds")
        peer.script(hang)
        const connection = holder.connection()
        holder.lease().releaseUnsafe()
        peer.killSilently(connection)
        yield* settle
        assert.strictEqual((yield* pool.stats).connecting, 1)
        yield* TestClock.adjust(999)
        assert.deepStrictEqual(states(waiter), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(waiter), ["WaitTimeout connect"])
      })
    )

    it.effect("A7 a waiter whose connection died before it ran is not timed out late behind others", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1 })
        const holder = yield* borrow(pool)
        const first = yield* borrow(pool)
        yield* TestClock.adjust("10 seconds")
        const second = yield* borrow(pool)
        yield* TestClock.adjust("19 seconds")
        peer.script(hang)
        const connection = holder.connection()
        holder.lease().releaseUnsafe()
        peer.killSilently(connection)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(first, second), ["WaitTimeout connect", "waits"])
        yield* TestClock.adjust("10 seconds")
        assert.notDeepInclude(states(second), "waits")
      })
    )

    it.effect("A7 a wait that ended does not end the body that it led to", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        const holder = yield* borrow(pool)
        const waiter = yield* borrow(pool)
        yield* TestClock.adjust("29 seconds")
        yield* holder.leave
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(states(waiter), ["has 1"])
      })
    )

    it.effect("A7 turns a borrower that waits for itself into an error", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        const fiber = yield* Effect.forkChild(pool.use(() => pool.use(() => Effect.void)))
        yield* TestClock.adjust("30 seconds")
        assert.strictEqual((yield* timeoutOf(fiber)).phase, "wait")
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, maxSize: 1, created: 1, timedOut: 1 }))
      })
    )

    it.effect("A7 carries the failure of the latest attempt", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1, waitTimeout: "1 second", backoff: everySecond })
        peer.script(fail)
        yield* once(pool)
        const waiter = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        const reason = yield* timeoutOf(waiter.fiber)
        assert.isTrue(reason.lastFailure !== undefined)
        assert.strictEqual((Cause.squash(reason.lastFailure!) as Error).message, "attempt 1 was told to fail")
      })
    )

    it.effect("A7 carries no failure once an attempt has succeeded", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1, backoff: everySecond })
        peer.script(fail)
        yield* once(pool)
        yield* TestClock.adjust("1 second")
        yield* borrow(pool)
        const waiter = yield* borrow(pool)
        yield* TestClock.adjust("30 seconds")
        assert.isUndefined((yield* timeoutOf(waiter.fiber)).lastFailure)
      })
    )

    it.effect("A7 measures time that nobody can set: a wall clock that jumps neither ends a wait nor extends it", () =>
      Effect.gen(function* () {
        const inner = yield* Clock.clockWith(Effect.succeed)
        let skew = 0
        const skewed: Clock.Clock = {
          currentTimeMillisUnsafe: () => inner.currentTimeMillisUnsafe() + skew,
          currentTimeMillis: Effect.sync(() => inner.currentTimeMillisUnsafe() + skew),
          currentTimeNanosUnsafe: () => inner.currentTimeNanosUnsafe() + BigInt(skew) * 1_000_000n,
          currentTimeNanos: Effect.sync(() => inner.currentTimeNanosUnsafe() + BigInt(skew) * 1_000_000n),
          monotonicTimeNanosUnsafe: () => inner.monotonicTimeNanosUnsafe(),
          monotonicTimeNanos: inner.monotonicTimeNanos,
          sleep: (duration) => inner.sleep(duration)
        }
        const { pool } = yield* Effect.provideService(cache({ maxSize: 1 }), Clock.Clock, skewed)
        yield* borrow(pool)
        const waiter = yield* borrow(pool)
        yield* TestClock.adjust("10 seconds")
        skew = 3_600_000
        const other = yield* borrow(pool)
        yield* TestClock.adjust("10 seconds")
        skew = -3_600_000
        yield* TestClock.adjust(9_999)
        assert.deepStrictEqual(states(waiter, other), ["waits", "waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(waiter, other), ["WaitTimeout wait", "waits"])
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(states(waiter, other), ["WaitTimeout wait", "WaitTimeout wait"])
      })
    )

    it.effect("Infinity means to wait for ever", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1, waitTimeout: Infinity })
        const holder = yield* borrow(pool)
        const waiter = yield* borrow(pool)
        yield* TestClock.adjust("1000 days")
        assert.deepStrictEqual(states(waiter), ["waits"])
        yield* holder.leave
        assert.deepStrictEqual(states(waiter), ["has 1"])
      })
    )
  })

  // The cases of HikariCP's connection timeout contract.
  describe("one deadline over everything", () => {
    it.effect("A7 the peer never answers: an error at the deadline", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ waitTimeout: 2_800 }, TestConnector.makeUnsafe(hang))
        const caller = yield* borrow(pool)
        yield* TestClock.adjust(2_799)
        assert.deepStrictEqual(states(caller), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(caller), ["WaitTimeout connect"])
      })
    )

    it.effect("A7 the peer answers late but in time: a connection", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ waitTimeout: 2_800 }, TestConnector.makeUnsafe(TestConnector.delay(300)))
        const caller = yield* borrow(pool)
        yield* TestClock.adjust(300)
        assert.deepStrictEqual(states(caller), ["has 1"])
      })
    )

    it.effect("A7 a connection comes back while the peer does not answer: that connection", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ waitTimeout: 2_800 })
        yield* Effect.forkChild(pool.use(() => Effect.sleep(800)))
        yield* settle
        peer.script(hang)
        const caller = yield* borrow(pool)
        yield* TestClock.adjust(799)
        assert.deepStrictEqual(states(caller), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(caller), ["has 1"])
      })
    )

    it.effect("A7 the peer refuses at once and is back before the deadline: a waiter gets a connection", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ waitTimeout: 2_800, backoff: everySecond })
        peer.script(fail, fail)
        yield* once(pool)
        const callers = yield* borrowMany(pool, 2)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(...callers), ["TestConnectError 2", "waits"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(...callers), ["TestConnectError 2", "has 3"])
      })
    )

    it.effect("A7 the peer is down and nothing is tried before the deadline: an error that says why", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ waitTimeout: 900, backoff: everySecond })
        peer.script(fail)
        yield* once(pool)
        const caller = yield* borrow(pool)
        yield* TestClock.adjust(899)
        assert.deepStrictEqual(states(caller), ["waits"])
        yield* TestClock.adjust(1)
        const reason = yield* timeoutOf(caller.fiber)
        assert.deepStrictEqual([reason.phase, reason.lastFailure === undefined], ["wait", false])
      })
    )
  })

  describe("maxPending", () => {
    it.effect("A7 bounds the line: beyond it QueueFull at once", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1, maxPending: 2 })
        const borrowers = yield* borrowMany(pool, 4)
        assert.deepStrictEqual(states(...borrowers), ["has 1", "waits", "waits", "QueueFull"])
        const error = yield* Effect.flip(pool.use(() => Effect.void))
        assert.isTrue(error._tag === "PoolError" && error.reason._tag === "QueueFull" && error.reason.maxPending === 2)
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, pending: 2, maxSize: 1, created: 1 }))
        assert.strictEqual(peer.attempts(), 1)
      })
    )

    it.effect("A7 counts callers whose own connect is in flight", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxPending: 2 }, TestConnector.makeUnsafe(hang))
        assert.deepStrictEqual(states(...(yield* borrowMany(pool, 3))), ["waits", "waits", "QueueFull"])
      })
    )

    it.effect("A7 gives a place in line free when a waiter leaves", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1, maxPending: 1 })
        const [, first] = yield* borrowMany(pool, 2)
        yield* first!.interrupt
        const second = yield* borrow(pool)
        assert.deepStrictEqual(states(first!, second), ["interrupted", "waits"])
      })
    )

    it.effect("A7 0 means that nobody waits; an idle connection is still lent", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxPending: 0, minSize: 1 })
        assert.strictEqual(yield* once(pool), "has 1")
        const holder = yield* borrow(pool)
        assert.deepStrictEqual([holder.state(), yield* once(pool)], ["has 1", "QueueFull"])
        assert.strictEqual(peer.attempts(), 1)
      })
    )
  })

  describe("a limit below the cache", () => {
    it.effect("A6 a caller whose connect waits for a limit is served by a returned connection", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const connect = Connector.limitConnecting(peer.connect, 1)
        const { pool } = yield* cache({ connect }, peer)
        const holder = yield* borrow(pool)
        peer.script(hang)
        const [a, b] = yield* borrowMany(pool, 2)
        assert.strictEqual(peer.attempts(), 2)
        yield* holder.leave
        assert.deepStrictEqual(states(a!, b!), ["has 1", "waits"])
        yield* a!.leave
        assert.deepStrictEqual(states(b!), ["has 1"])
      })
    )

    it.effect("A6 512 workers behind a limit of 64 make progress by reuse", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const open = { now: 0, most: 0 }
        const { pool } = yield* cache({ maxSize: 64 }, peer)
        yield* Effect.forEach(
          Array.from({ length: 512 }),
          () =>
            Effect.repeat(
              pool.use(() =>
                Effect.andThen(
                  Effect.sync(() => {
                    open.most = Math.max(open.most, ++open.now)
                  }),
                  Effect.ensuring(
                    Effect.yieldNow,
                    Effect.sync(() => {
                      open.now--
                    })
                  )
                )
              ),
              { times: 3 }
            ),
          { concurrency: "unbounded", discard: true }
        )
        assert.deepStrictEqual([open.now, open.most, peer.attempts()], [0, 64, 64])
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 64, maxSize: 64, created: 64, reused: 2_048 - 64 }))
      })
    )
  })

  describe("handing over", () => {
    it.effect("A1 a waiter that was never started is served as any other", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        const holder = yield* borrow(pool)
        const waiter = yield* borrowLater(pool)
        yield* holder.leave
        assert.deepStrictEqual(states(waiter), ["has 1"])
      })
    )
  })
})
