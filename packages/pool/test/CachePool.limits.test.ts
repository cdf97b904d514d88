import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import * as TestConsole from "effect/testing/TestConsole"
import { die, fail, hang, succeed } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { borrow, borrowMany, cache, everySecond, gates, once, settle, states, stats } from "./support/scene.ts"

describe("CachePool", () => {
  describe("order", () => {
    const returnedInOrder = (order: "lifo" | "fifo" | undefined) =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ order })
        const borrowers = yield* borrowMany(pool, 3)
        for (const index of [1, 2, 0]) yield* borrowers[index]!.leave
        return states(...(yield* borrowMany(pool, 3)))
      })

    it.effect("C1 reuse is most-recent-first by default", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* returnedInOrder(undefined), ["has 1", "has 3", "has 2"])
      })
    )

    it.effect('C1 "lifo" lends the connection that was returned last', () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* returnedInOrder("lifo"), ["has 1", "has 3", "has 2"])
      })
    )

    it.effect('C1 "fifo" lends the connection that was returned first', () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* returnedInOrder("fifo"), ["has 2", "has 3", "has 1"])
      })
    )

    it.effect('C1 "fifo" spreads use over all connections, "lifo" uses few', () =>
      Effect.gen(function* () {
        for (const [order, used] of [
          ["fifo", ["has 1", "has 2", "has 3", "has 1", "has 2", "has 3"]],
          ["lifo", ["has 3", "has 3", "has 3", "has 3", "has 3", "has 3"]]
        ] as const) {
          const { pool } = yield* cache({ order })
          for (const borrower of yield* borrowMany(pool, 3)) yield* borrower.leave
          assert.deepStrictEqual(yield* Effect.replicateEffect(once(pool), 6), [...used])
        }
      })
    )
  })

  describe("maxSize", () => {
    it.effect("A3 C5 open and connecting connections never exceed it, at any step", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache(
          { maxSize: 3, backoff: everySecond },
          TestConnector.makeUnsafe(TestConnector.delay("1 second"))
        )
        let most = 0
        const look = () => {
          const { idle, used, connecting } = Effect.runSync(pool.stats)
          most = Math.max(most, idle + used + connecting)
        }
        yield* pool.observe({ connecting: look, connected: look, borrowed: look, returned: look, evicted: look })
        peer.script(fail, TestConnector.delay("2 seconds", fail))
        const borrowers = yield* borrowMany(pool, 20)
        for (let round = 0; round < 40; round++) {
          yield* TestClock.adjust("500 millis")
          assert.isTrue(peer.live() <= 3)
          const borrower = borrowers[round % 20]!
          if (borrower.state().startsWith("has") && round % 3 === 0) yield* borrower.lease().invalidate
          yield* round % 7 === 0 ? borrower.interrupt : borrower.leave
        }
        assert.strictEqual(most, 3)
      })
    )

    it.effect("A3 C5 counts attempts in flight", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 2 }, TestConnector.makeUnsafe(hang))
        yield* borrowMany(pool, 5)
        assert.deepStrictEqual(yield* pool.stats, stats({ connecting: 2, pending: 5, maxSize: 2 }))
        assert.strictEqual(peer.attempts(), 2)
      })
    )

    it.effect("A3 counts attempts whose callers have left", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1 }, TestConnector.makeUnsafe(hang))
        const first = yield* borrow(pool)
        yield* first.interrupt
        yield* borrow(pool)
        assert.deepStrictEqual(yield* pool.stats, stats({ connecting: 1, pending: 1, maxSize: 1 }))
        assert.strictEqual(peer.attempts(), 1)
      })
    )

    it.effect("A3 a place is not lost when attempts fail", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 2, backoff: everySecond })
        peer.script(fail, fail, fail)
        for (let round = 0; round < 3; round++) {
          yield* once(pool)
          yield* TestClock.adjust("1 second")
        }
        assert.deepStrictEqual(states(...(yield* borrowMany(pool, 3))), ["has 4", "has 5", "waits"])
      })
    )

    it.effect("defaults to 10", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const borrowers = yield* borrowMany(pool, 11)
        assert.deepStrictEqual(states(...borrowers.slice(9)), ["has 10", "waits"])
      })
    )
  })

  describe("closing", () => {
    it.effect("A4 every connection is idle, used or closing, and closed once, through its whole life", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1 })
        const seen: Array<string> = []
        const look = Effect.map(pool.stats, ({ idle, used, closing, created, closed }) => {
          seen.push(`${idle} idle, ${used} used, ${closing} closing, ${closed} closed`)
          assert.strictEqual(idle + used + closing + closed, created)
        })
        const closing = yield* Deferred.make<void>()
        peer.onClose(() => Deferred.await(closing))
        const borrower = yield* borrow(pool)
        yield* look
        yield* borrower.leave
        yield* look
        yield* pool.retain(() => false)
        yield* look
        Deferred.doneUnsafe(closing, Exit.void)
        yield* settle
        yield* look
        assert.deepStrictEqual(seen, [
          "0 idle, 1 used, 0 closing, 0 closed",
          "1 idle, 0 used, 0 closing, 0 closed",
          "0 idle, 0 used, 1 closing, 0 closed",
          "0 idle, 0 used, 0 closing, 1 closed"
        ])
      })
    )

    it.effect("A4 the place of a connection is free when its close has ended, not before", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1 })
        peer.onClose(() => Effect.sleep("2 seconds"))
        const [holder, waiter] = yield* borrowMany(pool, 2)
        yield* holder!.lease().invalidate
        yield* holder!.leave
        assert.deepStrictEqual(yield* pool.stats, stats({ closing: 1, pending: 1, maxSize: 1, created: 1 }))
        yield* TestClock.adjust(1_999)
        assert.deepStrictEqual([states(waiter!), peer.attempts()], [["waits"], 1])
        peer.onClose(() => Effect.void)
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(waiter!), ["has 2"])
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, maxSize: 1, created: 2, closed: 1 }))
      })
    )

    it.effect("A4 a close that hangs stops counting after closeTimeout, not a millisecond earlier", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1 })
        peer.onClose(({ id }) => (id === 1 ? Effect.never : Effect.void))
        const [holder, waiter] = yield* borrowMany(pool, 2)
        yield* holder!.lease().invalidate
        yield* holder!.leave
        assert.deepStrictEqual(states(holder!), ["ok"])
        yield* TestClock.adjust(4_999)
        assert.deepStrictEqual(states(waiter!), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(waiter!), ["has 2"])
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, maxSize: 1, created: 2, closed: 1 }))
      })
    )

    it.effect("A4 a close that ends after closeTimeout counts once", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ closeTimeout: "1 second" })
        peer.onClose(() => Effect.sleep("2 seconds"))
        yield* once(pool)
        yield* pool.retain(() => false)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* pool.stats, stats({ created: 1, closed: 1 }))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* pool.stats, stats({ created: 1, closed: 1 }))
      })
    )

    for (const [how, close] of [
      ["fails", () => Effect.fail("broken") as Effect.Effect<never>],
      ["dies", () => Effect.die(new Error("boom"))],
      [
        "throws",
        () => {
          throw new Error("boom")
        }
      ],
      ["interrupts itself", () => Effect.interrupt]
    ] as const) {
      it.effect(`A4 a close that ${how} harms nobody: borrower, waiter and place are as after any other`, () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* cache({ maxSize: 1 })
          peer.onClose(({ id }) => (id === 1 ? close() : Effect.void))
          const [holder, waiter] = yield* borrowMany(pool, 2)
          yield* holder!.lease().invalidate
          yield* holder!.leave
          assert.deepStrictEqual(states(holder!, waiter!), ["ok", "has 2"])
          assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, maxSize: 1, created: 2, closed: 1 }))
        })
      )
    }

    it.effect("A4 a close that fails is logged with its cause", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        peer.onClose(() => Effect.die(new Error("boom")))
        yield* once(pool)
        yield* pool.retain(() => false)
        const logged = (yield* TestConsole.logLines).map(String).join("\n")
        assert.isTrue(logged.includes("A connection's close failed"), logged)
        assert.isTrue(logged.includes("boom"), logged)
      })
    )

    it.effect("A4 the other finalizers of a connection run although one dies", () =>
      Effect.gen(function* () {
        const log: Array<string> = []
        const peer = TestConnector.makeUnsafe()
        const connect = () =>
          Effect.andThen(
            Effect.addFinalizer(() => Effect.sync(() => log.push("first"))),
            Effect.andThen(
              Effect.addFinalizer(() => Effect.die("boom")),
              Effect.andThen(
                Effect.addFinalizer(() => Effect.sync(() => log.push("last"))),
                peer.connect()
              )
            )
          )
        const { pool } = yield* cache({ connect }, peer)
        yield* once(pool)
        yield* pool.retain(() => false)
        assert.deepStrictEqual(log, ["last", "first"])
      })
    )

    it.effect("A4 a slow close does not hold up other connections", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 2 })
        peer.onClose(({ id }) => (id === 1 ? Effect.sleep("4 seconds") : Effect.void))
        const [a, b] = yield* borrowMany(pool, 2)
        yield* a!.lease().invalidate
        yield* a!.leave
        yield* b!.leave
        assert.strictEqual(yield* once(pool), "has 2")
        yield* TestClock.adjust("4 seconds")
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, maxSize: 2, created: 2, closed: 1, reused: 1 }))
      })
    )

    it.effect("A4 a close is not interrupted with the borrower whose return caused it", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        let closed = false
        peer.onClose(() =>
          Effect.andThen(
            Effect.sleep("1 second"),
            Effect.sync(() => {
              closed = true
            })
          )
        )
        const borrower = yield* borrow(pool)
        yield* borrower.lease().invalidate
        yield* borrower.interrupt
        yield* TestClock.adjust("1 second")
        assert.isTrue(closed)
      })
    )

    it.effect("A4 borrowing from inside a close does not deadlock", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 2 })
        const seen: Array<string> = []
        peer.onClose(({ id }) => (id === 1 ? Effect.map(once(pool), (outcome) => seen.push(outcome)) : Effect.void))
        const borrower = yield* borrow(pool)
        yield* borrower.lease().invalidate
        yield* borrower.leave
        yield* settle
        assert.deepStrictEqual(seen, ["has 2"])
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, maxSize: 2, created: 2, closed: 1 }))
      })
    )
  })

  describe("minSize", () => {
    it.effect("C5 that many connections are opened in the background when the pool is made", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ minSize: 2 })
        yield* settle
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "connect 2", "open 2"])
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 2, created: 2 }))
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )

    it.effect("C5 make does not wait for them", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ minSize: 2 }, TestConnector.makeUnsafe(hang))
        assert.deepStrictEqual(yield* pool.stats, stats({ connecting: 2 }))
      })
    )

    it.effect("C5 a connection that closes is replaced in the background", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ minSize: 2 })
        yield* pool.retain((connection) => connection.id !== 1)
        yield* settle
        assert.deepStrictEqual(peer.log(), [
          "connect 1",
          "open 1",
          "connect 2",
          "open 2",
          "close 1",
          "connect 3",
          "open 3"
        ])
        assert.strictEqual((yield* pool.stats).idle, 2)
      })
    )

    it.effect("C5 counts used connections, so a busy pool does not open more", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ minSize: 2 })
        yield* borrowMany(pool, 2)
        assert.strictEqual(peer.attempts(), 2)
      })
    )

    it.effect("C5 more connections than that are not closed", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ minSize: 1 })
        for (const borrower of yield* borrowMany(pool, 3)) yield* borrower.leave
        assert.deepStrictEqual([(yield* pool.stats).idle, peer.closed()], [3, []])
      })
    )

    it.effect("C5 a caller may take what the background opens, and it is opened once", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache(
          { minSize: 1, maxSize: 1 },
          TestConnector.makeUnsafe(TestConnector.delay("1 second"))
        )
        const caller = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(caller), ["has 1"])
        assert.strictEqual(peer.attempts(), 1)
      })
    )

    it.effect("C5 a peer that is down is tried under the backoff, one attempt at a time, never in a storm", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ minSize: 5, backoff: everySecond }, TestConnector.makeUnsafe(fail))
        yield* TestClock.adjust(999)
        assert.strictEqual(peer.attempts(), 1)
        yield* TestClock.adjust(1)
        assert.strictEqual(peer.attempts(), 2)
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(peer.attempts(), 12)
        assert.deepStrictEqual(yield* pool.stats, stats({ failed: 12 }))
      })
    )

    it.effect("C5 a peer that is back is found by the background, which then opens them all", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ minSize: 3, backoff: everySecond }, TestConnector.makeUnsafe(succeed))
        yield* settle
        peer.script(fail, fail)
        yield* pool.retain(() => false)
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* pool.stats).idle, 0)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 3, created: 6, closed: 3, failed: 2 }))
      })
    )

    it.effect("C5 connections that die as soon as they are open are replaced under the backoff, not in a storm", () =>
      Effect.gen(function* () {
        const { peer } = yield* cache({ minSize: 1, isOpen: () => false, backoff: everySecond })
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(peer.attempts(), 6)
        assert.strictEqual(peer.live(), 0)
      })
    )

    it.effect("C5 a schedule without pauses does not make a storm in the background", () =>
      Effect.gen(function* () {
        const { peer } = yield* cache({ minSize: 1, backoff: Schedule.forever }, TestConnector.makeUnsafe(fail))
        yield* TestClock.adjust("1 second")
        assert.isTrue(peer.attempts() <= 11, `${peer.attempts()} attempts in one second`)
      })
    )

    it.effect("C5 opens no more than maxConnecting at once", () =>
      Effect.gen(function* () {
        const { peer } = yield* cache({ minSize: 5, maxConnecting: 2 }, TestConnector.makeUnsafe(hang))
        yield* settle
        assert.strictEqual(peer.attempts(), 2)
      })
    )

    it.effect("C5 nothing is opened after demand has ended and the minimum is there", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ minSize: 2, maxSize: 5 })
        yield* Effect.forEach(Array.from({ length: 50 }), () => pool.use(() => Effect.yieldNow), {
          concurrency: "unbounded",
          discard: true
        })
        const attempts = peer.attempts()
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(peer.attempts(), attempts)
      })
    )
  })

  describe("maxIdle", () => {
    it.effect("C5 a connection above it closes on return, for the reason capacity", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxIdle: 2 })
        const reasons: Array<string> = []
        yield* pool.observe({
          evicted: (_, reason) => {
            reasons.push(reason)
          }
        })
        const borrowers = yield* borrowMany(pool, 4)
        for (const borrower of borrowers) yield* borrower.leave
        assert.deepStrictEqual(
          [peer.closed(), reasons],
          [
            [3, 4],
            ["capacity", "capacity"]
          ]
        )
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 2, created: 4, closed: 2 }))
      })
    )

    it.effect("C5 a returned connection goes to a waiter before it is counted", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxIdle: 0, maxSize: 1 })
        const [holder, waiter] = yield* borrowMany(pool, 2)
        yield* holder!.leave
        assert.deepStrictEqual([states(waiter!), peer.closed()], [["has 1"], []])
        yield* waiter!.leave
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("C5 0 keeps nothing: every use opens", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxIdle: 0 })
        assert.deepStrictEqual([yield* once(pool), yield* once(pool)], ["has 1", "has 2"])
        assert.deepStrictEqual(peer.closed(), [1, 2])
      })
    )

    it.effect("C5 holds for a connect that nobody needs any more", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxIdle: 0 })
        const [open] = gates(peer, succeed)
        const caller = yield* borrow(pool)
        yield* caller.interrupt
        yield* open!
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "close 1"])
      })
    )
  })

  describe("maxConnecting", () => {
    it.effect("C5 that many attempts are in flight at once; each that ends lets the next start", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxConnecting: 2 })
        const [openFirst, endSecond] = gates(peer, succeed, die("boom"))
        const callers = yield* borrowMany(pool, 5)
        assert.deepStrictEqual(yield* pool.stats, stats({ connecting: 2, pending: 5 }))
        peer.script(hang, hang)
        yield* openFirst!
        assert.strictEqual((yield* pool.stats).connecting, 2)
        assert.strictEqual(peer.attempts(), 3)
        yield* endSecond!
        assert.deepStrictEqual(states(...callers), ["has 1", "die boom", "waits", "waits", "waits"])
      })
    )

    it.effect("C5 callers beyond it wait in line and are served by returned connections", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxConnecting: 1 })
        const holder = yield* borrow(pool)
        peer.script(hang)
        const [a, b] = yield* borrowMany(pool, 2)
        yield* holder.leave
        yield* a!.leave
        assert.deepStrictEqual(states(a!, b!), ["ok", "has 1"])
      })
    )
  })

  describe("after a storm", () => {
    it.effect("A3 a burst of a thousand callers leaves the pool able to lend maxSize connections", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 8, maxPending: 100 })
        const outcomes = yield* Effect.forEach(
          Array.from({ length: 1_000 }),
          () => Effect.exit(pool.use(() => Effect.yieldNow)),
          { concurrency: "unbounded" }
        )
        assert.isTrue(outcomes.some((exit) => Exit.isFailure(exit)))
        assert.deepStrictEqual(
          states(...(yield* borrowMany(pool, 9))).map((state) => state.slice(0, 3)),
          ["has", "has", "has", "has", "has", "has", "has", "has", "wai"]
        )
        assert.isTrue(peer.live() <= 8)
      })
    )
  })
})
