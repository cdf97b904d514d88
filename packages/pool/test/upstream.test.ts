/**
 * The tests of the pools that these kinds descend from, re-created by
 * behaviour. Each title begins with the name of the upstream test.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as TestClock from "effect/testing/TestClock"
import * as Connector from "../src/Connector.ts"
import { fail, gated, hang, succeed } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import {
  borrow,
  borrowMany,
  cache,
  everySecond,
  gates,
  once,
  settle,
  singleton,
  states,
  stats
} from "./support/scene.ts"

describe("hyper-util client::pool::cache", () => {
  it.effect("test_makes_svc_when_empty: an empty cache connects", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* cache()
      assert.strictEqual(yield* once(pool), "has 1")
      assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
    })
  )

  it.effect("test_reuses_after_idle: a second call reuses the idle connection; one connection ever", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* cache()
      assert.deepStrictEqual([yield* once(pool), yield* once(pool)], ["has 1", "has 1"])
      assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
    })
  )

  it.effect("test_waiters_woken_in_fifo_order: each return serves the oldest of three, the others stay pending", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* cache()
      const holders = yield* borrowMany(pool, 3)
      peer.script(hang, hang, hang)
      const waiters = yield* borrowMany(pool, 3)
      const seen: Array<Array<string>> = []
      for (const holder of holders) {
        yield* holder.leave
        seen.push(states(...waiters))
      }
      assert.deepStrictEqual(seen, [
        ["has 1", "waits", "waits"],
        ["has 1", "has 2", "waits"],
        ["has 1", "has 2", "has 3"]
      ])
    })
  )

  it.effect("dropped_racing_future_cancels_waiter: a caller that left does not block reuse by the next one", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* cache()
      const holder = yield* borrow(pool)
      peer.script(hang, hang)
      const left = yield* borrow(pool)
      yield* left.interrupt
      const next = yield* borrow(pool)
      yield* holder.leave
      assert.deepStrictEqual(states(left, next), ["interrupted", "has 1"])
    })
  )

  it.effect("clone_readiness_reserves_idle_service: two callers never claim the same idle connection", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* cache()
      yield* once(pool)
      // Both run in the same turn.
      const ids = yield* Effect.all(
        [1, 2].map(() => pool.use((connection) => Effect.as(Effect.yieldNow, connection.id))),
        { concurrency: 2 }
      )
      assert.deepStrictEqual(ids, [1, 2])
      assert.strictEqual(peer.attempts(), 2)
    })
  )

  it.effect("dropped_ready_slot_returns_idle_service: a granted connection whose caller left is idle again", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* cache({ maxSize: 1 })
      const [holder, waiter] = yield* borrowMany(pool, 2)
      holder!.lease().releaseUnsafe()
      waiter!.fiber.interruptUnsafe()
      yield* settle
      assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, maxSize: 1, created: 1 }))
      assert.strictEqual(yield* once(pool), "has 1")
      assert.strictEqual(peer.attempts(), 1)
    })
  )

  it.effect("retain_checks_ready_slot: retain reaches a granted connection; its caller gets a new one", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* cache({ maxSize: 1 })
      const [holder, waiter] = yield* borrowMany(pool, 2)
      holder!.lease().releaseUnsafe()
      yield* pool.retain(() => false)
      yield* settle
      assert.deepStrictEqual([states(waiter!), peer.closed()], [["has 2"], [1]])
      assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "close 1", "connect 2", "open 2"])
    })
  )

  it.effect("idle_return_wakes_pending_poll_ready: a caller held up by a connect limit is served by a return", () =>
    Effect.gen(function* () {
      const peer = TestConnector.makeUnsafe()
      const { pool } = yield* cache({ connect: Connector.limitConnecting(peer.connect, 1) }, peer)
      const holder = yield* borrow(pool)
      peer.script(hang)
      const connecting = yield* borrow(pool)
      const limited = yield* borrow(pool)
      assert.strictEqual(peer.attempts(), 2)
      yield* holder.leave
      assert.deepStrictEqual(states(connecting, limited), ["has 1", "waits"])
      yield* connecting.leave
      assert.deepStrictEqual(states(connecting, limited), ["ok", "has 1"])
    })
  )
})

describe("hyper-util client::pool::singleton", () => {
  it.effect("first_call_drives_subsequent_wait: two calls, one connect, both succeed", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* singleton()
      const [open] = gates(peer, succeed)
      const callers = yield* borrowMany(pool, 2)
      yield* open!
      assert.deepStrictEqual(states(...callers), ["has 1", "has 1"])
      assert.strictEqual(peer.attempts(), 1)
    })
  )

  it.effect("made_state_returns_immediately: the second call does not connect", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* singleton()
      assert.deepStrictEqual([yield* once(pool), yield* once(pool)], ["has 1", "has 1"])
      assert.strictEqual(peer.attempts(), 1)
    })
  )

  it.effect("cached_service_poll_ready_error_clears_singleton: a dead connection is replaced at the next call", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* singleton()
      const borrower = yield* borrow(pool)
      const connection = borrower.connection()
      yield* borrower.leave
      peer.killSilently(connection)
      assert.strictEqual(yield* once(pool), "has 2")
      assert.strictEqual(yield* once(pool), "has 2")
    })
  )

  it.effect("cancel_waiter_does_not_affect_others", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* singleton()
      const [open] = gates(peer, succeed)
      const [driver, waiter] = yield* borrowMany(pool, 2)
      yield* waiter!.interrupt
      yield* open!
      assert.deepStrictEqual(states(driver!, waiter!), ["has 1", "interrupted"])
      assert.strictEqual(peer.attempts(), 1)
    })
  )

  it.effect("maker_error_is_shared_with_waiters: all three get the very same error", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* singleton()
      const [end] = gates(peer, fail)
      const errors: Array<unknown> = []
      const calls = yield* Effect.forkChild(
        Effect.forEach([1, 2, 3], () => Effect.map(Effect.flip(pool.get()), (error) => errors.push(error)), {
          concurrency: 3,
          discard: true
        })
      )
      yield* settle
      yield* end!
      assert.deepStrictEqual(calls.pollUnsafe(), Exit.void)
      assert.deepStrictEqual([errors.length, new Set(errors).size], [3, 1])
    })
  )

  it.effect("cancel_driver_hands_off_to_waiter: the attempt goes on for the waiter", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* singleton({ onAbandon: "cancel" })
      const [open] = gates(peer, succeed)
      const [driver, waiter] = yield* borrowMany(pool, 2)
      yield* driver!.interrupt
      yield* open!
      assert.deepStrictEqual(states(driver!, waiter!), ["interrupted", "has 1"])
      assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
    })
  )

  it.effect("cancel_driver_promotes_parked_waiter: with eight parked waiters all eight are served", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* singleton({ onAbandon: "cancel" })
      const [open] = gates(peer, succeed)
      const [driver, ...waiters] = yield* borrowMany(pool, 9)
      driver!.fiber.interruptUnsafe()
      yield* settle
      yield* open!
      assert.deepStrictEqual(states(...waiters), Array(8).fill("has 1"))
      assert.strictEqual(peer.attempts(), 1)
    })
  )

  it.effect("cancel_all_waiters_clears_singleton: nothing is left of the attempt", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* singleton({ onAbandon: "cancel" })
      peer.script(hang)
      for (const caller of yield* borrowMany(pool, 3)) yield* caller.interrupt
      assert.deepStrictEqual(yield* pool.stats, stats({ maxSize: 1 }))
      assert.deepStrictEqual(peer.log(), ["connect 1", "cancel 1"])
      assert.strictEqual(yield* once(pool), "has 2")
    })
  )

  it.effect("cancel_non_driver_waiter_does_not_block_others", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* singleton()
      const [open] = gates(peer, succeed)
      const callers = yield* borrowMany(pool, 4)
      yield* callers[1]!.interrupt
      yield* callers[2]!.interrupt
      yield* open!
      assert.deepStrictEqual(states(...callers), ["has 1", "interrupted", "interrupted", "has 1"])
    })
  )

  it.effect(
    "D1 (defect upstream) a second stale handle of a dead connection does not clear its healthy successor",
    () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const [a, b] = yield* borrowMany(pool, 2)
        peer.kill(a!.connection())
        yield* a!.lease().invalidate
        yield* a!.leave
        assert.strictEqual(yield* once(pool), "has 2")
        yield* b!.lease().invalidate
        yield* b!.leave
        assert.strictEqual(yield* once(pool), "has 2")
        assert.deepStrictEqual(peer.closed(), [1])
      })
  )

  it.effect("D2 (defect upstream) a stale handle does not reset the attempt of its successor", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* singleton()
      const [a, b] = yield* borrowMany(pool, 2)
      peer.kill(a!.connection())
      yield* a!.leave
      const [open] = gates(peer, succeed)
      const callers = yield* borrowMany(pool, 2)
      yield* b!.lease().invalidate
      yield* b!.leave
      yield* open!
      assert.deepStrictEqual(states(...callers), ["has 2", "has 2"])
      assert.deepStrictEqual(
        peer.log().filter((line) => line.startsWith("connect")),
        ["connect 1", "connect 2"]
      )
    })
  )

  it.effect("D3 (defect upstream) dropping a call of a failed batch does not cancel the next batch's attempt", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* singleton({ onAbandon: "cancel", backoff: everySecond })
      const [end, open] = gates(peer, fail, succeed)
      const first = yield* borrowMany(pool, 3)
      yield* end!
      const second = yield* borrowMany(pool, 2)
      yield* TestClock.adjust("1 second")
      for (const call of first) call.fiber.interruptUnsafe()
      yield* settle
      yield* open!
      assert.deepStrictEqual(states(...first, ...second), [
        "TestConnectError 1",
        "TestConnectError 1",
        "TestConnectError 1",
        "has 2",
        "has 2"
      ])
    })
  )
})

describe("hyper-util client::legacy::pool", () => {
  it.effect("test_pool_checkout_smoke: what is returned comes back", () =>
    Effect.gen(function* () {
      const { pool } = yield* cache()
      const borrower = yield* borrow(pool)
      const connection = borrower.connection()
      yield* borrower.leave
      assert.isTrue(yield* pool.use((again) => Effect.succeed(again === connection)))
    })
  )

  it.effect("test_pool_max_idle_per_host: three returned, two kept", () =>
    Effect.gen(function* () {
      const { pool } = yield* cache({ maxIdle: 2 })
      for (const borrower of yield* borrowMany(pool, 3)) yield* borrower.leave
      assert.deepStrictEqual(yield* pool.stats, stats({ idle: 2, created: 3, closed: 1 }))
    })
  )

  it.effect("test_pool_checkout_task_unparked: a return wakes a parked caller", () =>
    Effect.gen(function* () {
      const { pool } = yield* cache({ maxSize: 1 })
      const [holder, parked] = yield* borrowMany(pool, 2)
      yield* holder!.leave
      assert.deepStrictEqual(states(parked!), ["has 1"])
    })
  )

  it.effect("test_pool_checkout_drop_cleans_up_waiters: the line is 2, then 1, then empty", () =>
    Effect.gen(function* () {
      const { pool } = yield* cache({ maxSize: 1 })
      yield* borrow(pool)
      const waiters = yield* borrowMany(pool, 2)
      const lengths = [(yield* pool.stats).pending]
      for (const waiter of waiters) {
        yield* waiter.interrupt
        lengths.push((yield* pool.stats).pending)
      }
      assert.deepStrictEqual(lengths, [2, 1, 0])
    })
  )

  it.effect("pooled_drop_if_closed_doesnt_reinsert: a closed connection does not come back", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* cache()
      const borrower = yield* borrow(pool)
      peer.killSilently(borrower.connection())
      yield* borrower.leave
      assert.deepStrictEqual(yield* pool.stats, stats({ created: 1, closed: 1 }))
    })
  )

  it.effect("connect_call_is_lazy: an effect that is not run opens nothing", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* cache()
      const effects = [pool.use(() => Effect.void), pool.get(), pool.lease(), pool.takeIdle]
      yield* settle
      assert.deepStrictEqual([effects.length, peer.attempts()], [4, 0])
    })
  )

  it.effect("connection_poisoning: three requests on one connection, poison, then the next one", () =>
    Effect.gen(function* () {
      const { pool } = yield* cache()
      const seen: Array<string> = []
      for (let request = 0; request < 3; request++) seen.push(yield* once(pool))
      yield* pool.use((_, lease) => lease.invalidate)
      seen.push(yield* once(pool), yield* once(pool))
      assert.deepStrictEqual(seen, ["has 1", "has 1", "has 1", "has 2", "has 2"])
    })
  )
})

describe("specters ConnectionPool", () => {
  it.effect("get_h1 and put_h1: last in, first out; nothing idle is none", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* cache()
      yield* pool.adopt({ id: 100, isOpen: true })
      yield* pool.adopt({ id: 200, isOpen: true })
      const taken: Array<string> = []
      for (let i = 0; i < 3; i++) {
        yield* Effect.map(pool.takeIdle, (option) =>
          taken.push(option._tag === "Some" ? `has ${option.value.id}` : "none")
        )
      }
      assert.deepStrictEqual([taken, peer.attempts()], [["has 200", "has 100", "none"], 0])
    })
  )

  it.effect("put_h1 at the cap evicts the oldest", () =>
    Effect.gen(function* () {
      const { pool } = yield* cache({ maxSize: 2 })
      const closed: Array<number> = []
      for (const id of [100, 200, 300]) {
        yield* pool.adopt(
          { id, isOpen: true },
          Effect.sync(() => closed.push(id))
        )
      }
      assert.deepStrictEqual(closed, [100])
    })
  )
})

describe("puddle", () => {
  it.effect("TestPoolAcquireContextCanceledDuringCreate: construction goes on and its result becomes idle", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const { pool } = yield* cache({}, TestConnector.makeUnsafe(gated(gate)))
      const caller = yield* borrow(pool)
      yield* caller.interrupt
      Deferred.doneUnsafe(gate, Exit.void)
      yield* settle
      assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
    })
  )

  it.effect("TestSignalIsSentWhenResourceFailedToCreate: the next waiter tries", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* cache({ maxSize: 1, backoff: everySecond })
      const [end] = gates(peer, fail)
      const [first, second] = yield* borrowMany(pool, 2)
      yield* end!
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(states(first!, second!), ["TestConnectError 1", "has 2"])
    })
  )
})
