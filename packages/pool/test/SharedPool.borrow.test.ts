import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as ExpirePool from "../src/ExpirePool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import { delay, fail, hang, succeed } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { evictions, eventsOf, inScope, shared, type SharedOptions } from "./support/kinds.ts"
import {
  borrow,
  borrowLater,
  borrowMany,
  checkClosed,
  everySecond,
  fiberCounter,
  gates,
  once,
  settle,
  states,
  stats
} from "./support/scene.ts"

/** Ways to make a connection unfit while it is lent. */
const endings = [
  ["its peer hangs up", (peer, borrower) => Effect.sync(() => peer.kill(borrower.connection()))],
  ["it is found closed", (peer, borrower) => Effect.sync(() => peer.killSilently(borrower.connection()))],
  ["a borrower invalidates it", (_, borrower) => borrower.lease().invalidate],
  ["retain rejects it", (_, borrower, pool) => pool.retain(({ id }) => id !== borrower.connection().id)]
] as ReadonlyArray<
  readonly [
    string,
    (
      peer: TestConnector.TestConnector,
      borrower: Effect.Success<ReturnType<typeof borrow<TestConnector.TestConnection, unknown>>>,
      pool: SharedPool.SharedPool<TestConnector.TestConnection, unknown>
    ) => Effect.Effect<void>
  ]
>

describe("SharedPool", () => {
  describe("a connection that must not be lent again", () => {
    for (const [what, end] of endings) {
      it.effect(`H3 S3 ${what}: callers get a new one, its borrowers finish on it, and it closes after the last`, () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* shared({ maxSize: 1 })
          const old = yield* borrowMany(pool, 2)
          yield* end(peer, old[0]!, pool)
          const young = yield* borrow(pool)
          assert.deepStrictEqual(states(...old, young), ["has 1", "has 1", "has 2"])
          yield* old[0]!.leave
          assert.deepStrictEqual(peer.closed(), [])
          yield* old[1]!.leave
          assert.deepStrictEqual([peer.closed(), states(...old, young)], [[1], ["ok", "ok", "has 2"]])
        })
      )
    }

    it.effect(
      "H3 A4 one of whose borrowers has left is still used: it is not idle, and not closed under the others",
      () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* shared()
          const [first, second] = yield* borrowMany(pool, 2)
          yield* first!.leave
          assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, created: 1, reused: 1 }))
          assert.isUndefined(second!.lease().info.idleSince)
          yield* pool.retain(() => false)
          assert.deepStrictEqual(peer.closed(), [])
          yield* second!.leave
          assert.deepStrictEqual(peer.closed(), [1])
        })
    )

    it.effect("H3 A3 it no longer counts for maxSize once it can only drain", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ maxSize: 1, concurrency: 2 })
        const old = yield* borrowMany(pool, 2)
        yield* old[0]!.lease().invalidate
        const young = yield* borrowMany(pool, 2)
        assert.deepStrictEqual(states(...young), ["has 2", "has 2"])
        assert.deepStrictEqual(
          yield* pool.stats,
          stats({ used: 1, closing: 1, borrowers: 4, maxSize: 1, created: 2, reused: 2 })
        )
        assert.strictEqual(peer.live(), 2)
      })
    )

    it.effect("H3 A9 waiters are served by a new connection as soon as the only one drains", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ maxSize: 1, concurrency: 1 })
        const [holder, waiter] = yield* borrowMany(pool, 2)
        peer.kill(holder!.connection())
        yield* settle
        assert.deepStrictEqual(states(holder!, waiter!), ["has 1", "has 2"])
      })
    )

    it.effect("H3 A9 an idle one that its peer hangs up closes at once", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared()
        const borrower = yield* borrow(pool)
        const connection = borrower.connection()
        yield* borrower.leave
        const reasons = yield* evictions(pool)
        peer.kill(connection)
        yield* settle
        assert.deepStrictEqual([reasons, peer.closed(), peer.watchers()], [["closed"], [1], 0])
        assert.deepStrictEqual(yield* pool.stats, stats({ created: 1, closed: 1 }))
      })
    )

    it.effect("H3 A4 reasons: the first one stays, and each connection is evicted and closed once", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared()
        const events = yield* eventsOf(pool)
        const borrowers = yield* borrowMany(pool, 2)
        yield* borrowers[0]!.lease().invalidate
        peer.kill(borrowers[0]!.connection())
        yield* borrowers[1]!.lease().invalidate
        yield* pool.retain(() => "lifetime")
        for (const borrower of borrowers) yield* borrower.leave
        assert.deepStrictEqual(
          events.filter((event) => event.startsWith("evicted") || event.startsWith("closed")),
          ["evicted 1 invalidated", "closed 1"]
        )
      })
    )

    it.effect("H3 S4 A5 a stale lease cannot touch the connection that came after its own", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ maxSize: 1 })
        const [first, second] = yield* borrowMany(pool, 2)
        yield* first!.lease().invalidate
        const young = yield* borrow(pool)
        yield* second!.lease().invalidate
        yield* first!.lease().release
        yield* first!.lease().invalidate
        assert.strictEqual(yield* once(pool), "has 2")
        yield* second!.leave
        assert.deepStrictEqual([peer.closed(), states(young)], [[1], ["has 2"]])
      })
    )

    it.effect("H3 S4 what an attempt that timed out still opens is closed, and nobody gets it", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const { pool } = yield* shared(
          { connect: () => Effect.uninterruptible(peer.connect()), connectTimeout: "1 second", backoff: everySecond },
          peer
        )
        peer.script(delay("3 seconds"))
        const early = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        const late = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(early, late), ["WaitTimeout connect", "has 2"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(peer.log().slice(-2), ["open 1", "close 1"])
        assert.deepStrictEqual(states(late), ["has 2"])
      })
    )

    it.effect("H3 A6 I9 one that is on its way to callers when it is rejected is not lent to any of them", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 1, maxSize: 1 })
        const [holder, waiter] = yield* borrowMany(pool, 2)
        holder!.lease().releaseUnsafe()
        yield* pool.retain(() => false)
        yield* settle
        assert.deepStrictEqual([states(waiter!), peer.closed()], [["has 2"], [1]])
      })
    )

    it.effect(
      "A6 callers that were granted connections in one turn keep their order where some of these are used up in it",
      () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* shared({ concurrency: 2, maxSize: 3 })
          yield* ExpirePool.make(Effect.succeed(pool), { maxUses: 1 })
          peer.script(succeed, delay(10))
          yield* once(pool)
          const order: Array<number> = []
          for (let caller = 1; caller <= 5; caller++) {
            const body = Effect.andThen(
              Effect.sync(() => order.push(caller)),
              Effect.never
            )
            yield* Effect.forkChild(pool.use(() => body))
          }
          yield* TestClock.adjust(30)
          yield* settle
          assert.deepStrictEqual(order, [1, 2, 3, 4, 5])
        })
    )
  })

  describe("interruption", () => {
    it.effect("H3 S2 of any caller, the first included, affects only that caller", () =>
      Effect.gen(function* () {
        for (const victim of [0, 1, 2]) {
          const { peer, pool } = yield* shared()
          const [open] = gates(peer, succeed)
          const callers = yield* borrowMany(pool, 3)
          yield* callers[victim]!.interrupt
          yield* open!
          assert.deepStrictEqual(
            states(...callers),
            callers.map((_, i) => (i === victim ? "interrupted" : "has 1"))
          )
          assert.strictEqual(peer.attempts(), 1)
        }
      })
    )

    it.effect(
      "H3 S2 of all callers: with onAbandon cancel the attempt is cancelled, and the next call starts afresh",
      () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* shared({ onAbandon: "cancel" })
          peer.script(hang)
          const callers = yield* borrowMany(pool, 3)
          for (const caller of callers) yield* caller.interrupt
          assert.deepStrictEqual(peer.log(), ["connect 1", "cancel 1"])
          assert.strictEqual(yield* once(pool), "has 2")
        })
    )

    it.effect("A1 of a caller that was granted a slot and does not know it yet: the slot goes to the next", () =>
      Effect.gen(function* () {
        const { pool } = yield* shared({ concurrency: 1, maxSize: 1 })
        const [holder, first, second] = yield* borrowMany(pool, 3)
        holder!.lease().releaseUnsafe()
        first!.fiber.interruptUnsafe()
        yield* settle
        assert.deepStrictEqual(states(first!, second!), ["interrupted", "has 1"])
        assert.strictEqual((yield* pool.stats).borrowers, 1)
      })
    )

    it.effect("A1 of all callers of a burst that were granted slots leaves an idle connection", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared()
        const gate = Deferred.makeUnsafe<void>()
        peer.script(TestConnector.gated(gate))
        const callers = yield* borrowMany(pool, 5)
        Deferred.doneUnsafe(gate, Exit.void)
        for (const caller of callers) caller.fiber.interruptUnsafe()
        yield* settle
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
        assert.strictEqual(yield* once(pool), "has 1")
      })
    )

    it.effect("A1 at any instant loses no slot, no connection and no wake-up", () =>
      Effect.gen(function* () {
        for (const budget of [3, 4, 5, 7, 11, 16]) {
          for (let turns = 0; turns < 14; turns++) {
            const { peer, pool } = yield* Effect.provideService(
              shared({ concurrency: 2, maxSize: 1 }),
              Scheduler.MaxOpsBeforeYield,
              budget
            )
            const holder = yield* borrow(pool)
            const callers = yield* Effect.provideService(
              Effect.replicateEffect(borrowLater(pool, turns % 2 === 0 ? "use" : "lease"), 4),
              Scheduler.MaxOpsBeforeYield,
              budget
            )
            for (let i = 0; i < turns; i++) {
              if (i === 4) holder.leaveUnsafe()
              yield* Effect.yieldNow
            }
            for (const caller of callers.slice(0, 3)) caller.fiber.interruptUnsafe()
            holder.leaveUnsafe()
            yield* settle
            yield* settle
            assert.strictEqual(callers[3]!.state(), "has 1", `budget ${budget}, ${turns} turns`)
            assert.strictEqual((yield* pool.stats).borrowers, 1)
            yield* callers[3]!.leave
            assert.deepStrictEqual([(yield* pool.stats).idle, peer.attempts()], [1, 1])
          }
        }
      })
    )
  })

  describe("health", () => {
    it.effect("A9 isOpen is asked at borrow: one that closed unnoticed is not lent", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared()
        const borrower = yield* borrow(pool)
        const connection = borrower.connection()
        yield* borrower.leave
        peer.killSilently(connection)
        assert.strictEqual(yield* once(pool), "has 2")
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("A9 validate runs once for all callers of an idle connection, who then share it", () =>
      Effect.gen(function* () {
        let validations = 0
        const gate = yield* Deferred.make<void>()
        const { peer, pool } = yield* shared({
          validate: () =>
            Effect.suspend(() => {
              validations++
              return Deferred.await(gate)
            })
        })
        yield* once(pool)
        const callers = yield* borrowMany(pool, 5)
        assert.deepStrictEqual([states(...callers), validations], [["waits", "waits", "waits", "waits", "waits"], 1])
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(states(...callers), ["has 1", "has 1", "has 1", "has 1", "has 1"])
        assert.deepStrictEqual([validations, peer.attempts()], [1, 1])
      })
    )

    it.effect("A9 A4 a connection that has just been validated is not validated again under its borrowers", () =>
      Effect.gen(function* () {
        let validations = 0
        const gate = yield* Deferred.make<void>()
        const { pool } = yield* shared({
          maxSize: 1,
          validate: () =>
            Effect.suspend(() => {
              validations++
              return validations === 1 ? Deferred.await(gate) : Effect.never
            })
        })
        yield* once(pool)
        const first = yield* borrow(pool)
        // The others call in the turn in which the first one learns that it has the connection.
        const others = yield* Effect.replicateEffect(borrowLater(pool), 3)
        Deferred.doneUnsafe(gate, Exit.void)
        others.push(...(yield* Effect.replicateEffect(borrowLater(pool), 3)))
        yield* settle
        assert.deepStrictEqual(states(first, ...others), Array(7).fill("has 1"))
        assert.strictEqual(validations, 1)
      })
    )

    it.effect("A9 a connection that others use is not validated", () =>
      Effect.gen(function* () {
        let validations = 0
        const { pool } = yield* shared({ validate: () => Effect.sync(() => void validations++) })
        yield* borrowMany(pool, 3)
        assert.strictEqual(validations, 0)
      })
    )

    it.effect("A9 a failed validation keeps everybody's place: a new connection serves them in order", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { peer, pool } = yield* shared({
          concurrency: 2,
          maxSize: 1,
          validate: () => Effect.andThen(Deferred.await(gate), Effect.fail("stale"))
        })
        yield* once(pool)
        const callers = yield* borrowMany(pool, 3)
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(states(...callers), ["has 2", "has 2", "waits"])
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("A9 A7 validating is part of the budget, and the error says so", () =>
      Effect.gen(function* () {
        const { pool } = yield* shared({ maxSize: 1, waitTimeout: "2 seconds", validate: () => Effect.never })
        yield* once(pool)
        const caller = yield* borrow(pool)
        yield* TestClock.adjust(1_999)
        assert.deepStrictEqual(states(caller), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(caller), ["WaitTimeout validate"])
      })
    )

    it.effect(
      "A9 a connection that its peer hangs up while it is validated is closed, its callers get another one",
      () =>
        Effect.gen(function* () {
          let validations = 0
          const peer = TestConnector.makeUnsafe()
          const { pool } = yield* shared(
            {
              maxSize: 1,
              validate: () => (validations++ === 0 ? Effect.never : Effect.void),
              connectTimeout: "1 minute"
            },
            peer
          )
          const first = yield* borrow(pool)
          const connection = first.connection()
          yield* first.leave
          const caller = yield* borrow(pool)
          peer.kill(connection)
          yield* settle
          assert.deepStrictEqual(states(caller), ["has 2"])
          yield* TestClock.adjust("1 minute")
          assert.deepStrictEqual(peer.closed(), [1])
        })
    )

    it.effect("A9 a validation whose callers have left ends with an idle connection", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { pool } = yield* shared({ validate: () => Deferred.await(gate) })
        yield* once(pool)
        const caller = yield* borrow(pool)
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, pending: 1, created: 1 }))
        yield* caller.interrupt
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
      })
    )

    it.effect("A9 guard reaches idle connections at borrow and used ones at return", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 2, maxSize: 2 })
        const borrowers = yield* borrowMany(pool, 3)
        yield* borrowers[2]!.leave
        const scope = yield* Scope.make()
        yield* Scope.provide(
          pool.guard(() => false),
          scope
        )
        yield* borrowers[0]!.leave
        assert.deepStrictEqual([peer.closed(), states(...borrowers)], [[], ["ok", "has 1", "ok"]])
        yield* borrowers[1]!.leave
        assert.deepStrictEqual(peer.closed(), [1])
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )
  })

  describe("drain", () => {
    it.effect("A8 waiters fail with Closed, attempts are cancelled, idle connections close", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 1, maxSize: 3 })
        const [, idle] = yield* borrowMany(pool, 2)
        yield* idle!.leave
        yield* borrow(pool)
        peer.script(hang)
        const waiters = yield* borrowMany(pool, 2)
        yield* Effect.forkChild(pool.drain({ deadline: "1 minute" }))
        yield* settle
        assert.deepStrictEqual(states(...waiters), ["Closed", "Closed"])
        assert.deepStrictEqual([peer.log().at(-1), yield* once(pool)], ["cancel 3", "Closed"])
      })
    )

    it.effect("A8 borrowers of a shared connection finish until the deadline, then it closes under them, once", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared()
        const borrowers = yield* borrowMany(pool, 3)
        const drained = yield* Effect.forkChild(pool.drain({ deadline: "5 seconds" }))
        yield* TestClock.adjust(4_999)
        assert.deepStrictEqual([peer.closed(), drained.pollUnsafe()], [[], undefined])
        yield* borrowers[0]!.leave
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(peer.closed(), [1])
        assert.isTrue(drained.pollUnsafe() !== undefined)
        assert.deepStrictEqual(states(...borrowers), ["ok", "has 1", "has 1"])
        for (const borrower of borrowers.slice(1)) yield* borrower.leave
        assert.deepStrictEqual(yield* pool.stats, stats({ created: 1, closed: 1, reused: 2 }))
      })
    )

    it.effect("A8 ends as soon as the last borrower has left", () =>
      Effect.gen(function* () {
        const { pool } = yield* shared()
        const borrowers = yield* borrowMany(pool, 2)
        const drained = yield* Effect.forkChild(pool.drain({ deadline: "1 hour" }))
        yield* settle
        yield* borrowers[0]!.leave
        assert.isUndefined(drained.pollUnsafe())
        yield* borrowers[1]!.leave
        assert.isTrue(drained.pollUnsafe() !== undefined)
      })
    )

    it.effect("A8 closing the scope closes connections under borrowers, whose bodies go on", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const { pool, close } = yield* inScope(SharedPool.make({ ...peer.options, concurrency: 10 }))
        const borrowers = yield* borrowMany(pool, 2)
        yield* close
        assert.deepStrictEqual([peer.closed(), states(...borrowers)], [[1], ["has 1", "has 1"]])
        for (const borrower of borrowers) yield* borrower.leave
        assert.deepStrictEqual(states(...borrowers), ["ok", "ok"])
        yield* checkClosed(peer, pool)
      })
    )

    it.effect("A8 a scope that closes while its caller waits ends the wait", () =>
      Effect.gen(function* () {
        const { pool } = yield* shared({ concurrency: 1, maxSize: 1 })
        yield* borrow(pool)
        const scope = yield* Scope.make()
        const waiter = yield* Effect.forkChild(Scope.provide(pool.get(), scope))
        yield* settle
        yield* Scope.close(scope, Exit.void)
        yield* settle
        assert.isTrue(waiter.pollUnsafe() !== undefined)
        assert.strictEqual((yield* pool.stats).pending, 0)
        yield* Fiber.interrupt(waiter)
      })
    )
  })

  describe("at rest", () => {
    /** A pool whose fibers are counted; a timer is one. */
    const counting = (options: SharedOptions = {}, peer = TestConnector.makeUnsafe()) =>
      Effect.gen(function* () {
        yield* TestClock.adjust(1)
        const { counted, running } = fiberCounter()
        const { pool } = yield* counted(shared(options, peer))
        return { peer, pool, running }
      })

    it.effect("A10 nothing runs in a pool that was never used, or that has become empty", () =>
      Effect.gen(function* () {
        const { peer, pool, running } = yield* counting({ saturation: 0.5, concurrency: 2 })
        assert.strictEqual(running(), 0)
        const [open] = gates(peer, succeed)
        const borrowers = yield* borrowMany(pool, 3)
        assert.isTrue(running() > 0)
        yield* open!
        for (const borrower of borrowers) yield* borrower.leave
        yield* pool.retain(() => false)
        assert.deepStrictEqual([running(), peer.watchers()], [0, 0])
      })
    )

    it.effect("A10 nothing runs for an empty pool in the pause after a failure", () =>
      Effect.gen(function* () {
        const { peer, pool, running } = yield* counting({ backoff: everySecond })
        peer.script(fail)
        yield* once(pool)
        yield* settle
        assert.strictEqual(running(), 0)
      })
    )

    it.effect("A10 no timer is left for growth that saturation called for, once the load has gone", () =>
      Effect.gen(function* () {
        const { peer, pool, running } = yield* counting({ concurrency: 2, saturation: 0.5, backoff: everySecond })
        peer.script(succeed, fail)
        const borrower = yield* borrow(pool)
        assert.isTrue(running() > 0)
        yield* borrower.leave
        yield* pool.retain(() => false)
        assert.strictEqual(running(), 0)
      })
    )

    it.effect("A10 nothing runs after close", () =>
      Effect.gen(function* () {
        const { pool, running } = yield* counting({ concurrency: 1, maxSize: 2 })
        yield* borrowMany(pool, 4)
        yield* pool.drain()
        yield* settle
        assert.strictEqual(running(), 0)
      })
    )
  })

  describe("events", () => {
    it.effect("tell of every loan and wait, in order", () =>
      Effect.gen(function* () {
        const { pool } = yield* shared({ concurrency: 2, maxSize: 1 })
        const events = yield* eventsOf(pool)
        const borrowers = yield* borrowMany(pool, 3)
        for (const borrower of borrowers) yield* borrower.leave
        yield* pool.drain()
        assert.deepStrictEqual(events, [
          "waitStarted",
          "connecting 1",
          "connected 1",
          "waitEnded served",
          "borrowed 1",
          "borrowed 1",
          "waitStarted",
          "returned 1",
          "waitEnded served",
          "borrowed 1",
          "returned 1",
          "returned 1",
          "evicted 1 drain",
          "closed 1"
        ])
      })
    )
  })
})
