import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { hang, succeed } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { admitting, shared, type SharedOptions } from "./support/kinds.ts"
import { borrow, borrowMany, everySecond, gates, once, settle, states, stats } from "./support/scene.ts"

/** A pool of one connection, unless `options` say otherwise, and what each connection admits. */
const changing = (initial: number, options: SharedOptions = {}) =>
  Effect.gen(function* () {
    const peer = TestConnector.makeUnsafe()
    const capacity = admitting(peer, initial)
    const { pool } = yield* shared({ maxSize: 1, backoff: everySecond, ...capacity.options, ...options }, peer)
    return { peer, pool, capacity }
  })

describe("SharedPool", () => {
  describe("concurrency", () => {
    it.effect("H1 a number: every connection admits so many borrowers, the next one needs another connection", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 2, maxSize: 2 })
        const borrowers = yield* borrowMany(pool, 5)
        assert.deepStrictEqual(states(...borrowers), ["has 1", "has 1", "has 2", "has 2", "waits"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "connect 2", "open 2"])
        assert.deepStrictEqual(
          yield* pool.stats,
          stats({ used: 2, pending: 1, borrowers: 4, maxSize: 2, created: 2, reused: 2 })
        )
      })
    )

    it.effect("H1 read from the connection: each admits what it says", () =>
      Effect.gen(function* () {
        const { pool } = yield* shared({ concurrency: ({ id }) => (id === 1 ? 1 : 3), maxSize: 2 })
        const borrowers = yield* borrowMany(pool, 5)
        assert.deepStrictEqual(states(...borrowers), ["has 1", "has 2", "has 2", "has 2", "waits"])
      })
    )

    it.effect("H1 Infinity: one connection admits everybody", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: Infinity })
        const borrowers = yield* borrowMany(pool, 50)
        assert.strictEqual(new Set(states(...borrowers)).size, 1)
        assert.strictEqual(peer.attempts(), 1)
      })
    )

    it.effect("H1 the caller that opened a connection has a slot of it, too", () =>
      Effect.gen(function* () {
        const { pool } = yield* changing(1)
        const borrowers = yield* borrowMany(pool, 2)
        assert.deepStrictEqual(states(...borrowers), ["has 1", "waits"])
        yield* borrowers[0]!.leave
        assert.deepStrictEqual(states(...borrowers), ["ok", "has 1"])
      })
    )

    it.effect("H1 raised while open: the signal admits as many waiters as fit, in order", () =>
      Effect.gen(function* () {
        const { pool, capacity } = yield* changing(1)
        const borrowers = yield* borrowMany(pool, 5)
        capacity.set(1, 3)
        yield* settle
        assert.deepStrictEqual(states(...borrowers), ["has 1", "has 1", "has 1", "waits", "waits"])
        capacity.set(1, 4)
        yield* settle
        assert.deepStrictEqual(states(...borrowers), ["has 1", "has 1", "has 1", "has 1", "waits"])
      })
    )

    it.effect("H1 lowered below what is in use: nobody is disturbed, and nobody admitted until it is less", () =>
      Effect.gen(function* () {
        const { peer, pool, capacity } = yield* changing(4)
        const holders = yield* borrowMany(pool, 4)
        capacity.set(1, 2)
        const waiter = yield* borrow(pool)
        const seen: Array<string> = []
        for (const holder of holders) {
          yield* holder.leave
          seen.push(waiter.state())
        }
        assert.deepStrictEqual(seen, ["waits", "waits", "has 1", "has 1"])
        assert.deepStrictEqual(states(...holders), ["ok", "ok", "ok", "ok"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
      })
    )

    it.effect("H1 lowered to 0: returns admit nobody, a raise does", () =>
      Effect.gen(function* () {
        const { pool, capacity } = yield* changing(2)
        const holders = yield* borrowMany(pool, 2)
        capacity.set(1, 0)
        const waiters = yield* borrowMany(pool, 2)
        for (const holder of holders) yield* holder.leave
        assert.deepStrictEqual(states(...waiters), ["waits", "waits"])
        capacity.set(1, 1)
        yield* settle
        assert.deepStrictEqual(states(...waiters), ["has 1", "waits"])
      })
    )

    it.effect("H1 0 from the start: nobody is admitted, not even the caller that it was opened for", () =>
      Effect.gen(function* () {
        const { pool, capacity } = yield* changing(0)
        const callers = yield* borrowMany(pool, 2)
        assert.deepStrictEqual(states(...callers), ["waits", "waits"])
        capacity.set(1, 1)
        yield* settle
        assert.deepStrictEqual(states(...callers), ["has 1", "waits"])
      })
    )

    it.effect("H1 0 for ever: the wait ends with an error", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* changing(0)
        const caller = yield* borrow(pool)
        yield* TestClock.adjust(29_999)
        assert.deepStrictEqual(states(caller), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(caller), ["WaitTimeout wait"])
        assert.strictEqual(peer.attempts(), 1)
      })
    )

    it.effect("H1 a connection that admits nobody is idle, not used, when its last borrower has left", () =>
      Effect.gen(function* () {
        const { pool, capacity } = yield* changing(1)
        const holder = yield* borrow(pool)
        capacity.set(1, 0)
        yield* borrow(pool)
        yield* holder.leave
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, pending: 1, maxSize: 1, created: 1 }))
      })
    )

    it.effect(
      "H1 A4 a connection that admits nobody closes at once when its peer hangs up, although callers wait",
      () =>
        Effect.gen(function* () {
          const { peer, pool, capacity } = yield* changing(1)
          const holder = yield* borrow(pool)
          const connection = holder.connection()
          capacity.set(1, 0)
          const waiter = yield* borrow(pool)
          yield* holder.leave
          peer.kill(connection)
          yield* settle
          assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "kill 1", "close 1", "connect 2", "open 2"])
          assert.deepStrictEqual(states(waiter), ["has 2"])
        })
    )

    it.effect("H1 A4 a connection that admits nobody from the start can be evicted", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* changing(0, { concurrency: ({ id }) => id - 1 })
        const caller = yield* borrow(pool)
        assert.deepStrictEqual(states(caller), ["waits"])
        yield* pool.retain(() => false)
        yield* settle
        assert.deepStrictEqual(peer.closed(), [1])
        assert.deepStrictEqual(states(caller), ["has 2"])
      })
    )

    it.effect("H1 a change that nobody announced is seen at the next borrow and at the next return", () =>
      Effect.gen(function* () {
        const { pool, capacity } = yield* changing(1)
        const [holder, waiter] = yield* borrowMany(pool, 2)
        capacity.silently(1, 3)
        assert.deepStrictEqual(states(waiter!), ["waits"])
        const late = yield* borrow(pool)
        assert.deepStrictEqual(states(holder!, waiter!, late), ["has 1", "has 1", "has 1"])
        capacity.silently(1, 1)
        const last = yield* borrow(pool)
        yield* holder!.leave
        assert.deepStrictEqual(states(waiter!, late, last), ["has 1", "has 1", "waits"])
      })
    )

    it.effect("H1 a raise reaches waiters although an attempt of theirs is in flight", () =>
      Effect.gen(function* () {
        const { peer, pool, capacity } = yield* changing(1, { maxSize: 2 })
        yield* borrow(pool)
        const [open] = gates(peer, succeed)
        const waiters = yield* borrowMany(pool, 2)
        capacity.set(1, 2)
        yield* settle
        assert.deepStrictEqual(states(...waiters), ["has 1", "waits"])
        yield* open!
        assert.deepStrictEqual(states(...waiters), ["has 1", "has 2"])
      })
    )

    it.effect("H1 a slot belongs to a connection: what is returned to an old one frees nothing on the new one", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* changing(2)
        const old = yield* borrowMany(pool, 2)
        yield* old[0]!.lease().invalidate
        const young = yield* borrowMany(pool, 3)
        assert.deepStrictEqual(states(...young), ["has 2", "has 2", "waits"])
        for (const borrower of old) yield* borrower.leave
        assert.deepStrictEqual(states(...young), ["has 2", "has 2", "waits"])
        assert.deepStrictEqual(peer.closed(), [1])
        yield* young[0]!.leave
        assert.deepStrictEqual(states(...young), ["ok", "has 2", "has 2"])
      })
    )

    it.effect("H1 A5 a loan that ended twice frees one slot", () =>
      Effect.gen(function* () {
        const { pool } = yield* changing(2)
        const holders = yield* borrowMany(pool, 2)
        const waiters = yield* borrowMany(pool, 2)
        yield* holders[0]!.lease().release
        yield* holders[0]!.lease().release
        holders[0]!.lease().releaseUnsafe()
        yield* holders[0]!.leave
        assert.deepStrictEqual(states(...waiters), ["has 1", "waits"])
        assert.strictEqual((yield* pool.stats).borrowers, 2)
      })
    )

    it.effect("H1 A5 a signal of a connection that is closed changes nothing", () =>
      Effect.gen(function* () {
        const { pool, capacity } = yield* changing(1)
        const holder = yield* borrow(pool)
        yield* holder.lease().invalidate
        yield* holder.leave
        const [young, waiter] = yield* borrowMany(pool, 2)
        capacity.set(1, 10)
        capacity.signals(1).retire()
        yield* settle
        assert.deepStrictEqual(states(young!, waiter!), ["has 2", "waits"])
      })
    )

    it.effect("H1 a capacity of one connection says nothing about another", () =>
      Effect.gen(function* () {
        const { pool, capacity } = yield* changing(1, { maxSize: 2 })
        const borrowers = yield* borrowMany(pool, 4)
        capacity.set(2, 2)
        yield* settle
        assert.deepStrictEqual(states(...borrowers), ["has 1", "has 2", "has 2", "waits"])
      })
    )

    it.effect("H1 a function that throws admits nobody and harms nobody", () =>
      Effect.gen(function* () {
        let broken = false
        const { pool } = yield* shared({
          maxSize: 1,
          concurrency: () => {
            if (broken) throw new Error("no settings yet")
            return 2
          }
        })
        const holder = yield* borrow(pool)
        broken = true
        const caller = yield* borrow(pool)
        yield* holder.leave
        assert.deepStrictEqual(states(holder, caller), ["ok", "waits"])
        broken = false
        const next = yield* borrow(pool)
        assert.deepStrictEqual(states(caller, next), ["has 1", "has 1"])
      })
    )

    it.effect("H1 A6 a slot that a raise made goes to the first in line, not to a newcomer of the same turn", () =>
      Effect.gen(function* () {
        const { peer, pool, capacity } = yield* changing(1, { maxSize: 2 })
        yield* borrow(pool)
        peer.script(hang)
        const waiter = yield* borrow(pool)
        capacity.set(1, 2)
        const newcomer = yield* borrow(pool)
        assert.deepStrictEqual(states(waiter, newcomer), ["has 1", "waits"])
      })
    )

    it.effect("H1 a connection of a raised capacity is shared by the calls to come", () =>
      Effect.gen(function* () {
        const { peer, pool, capacity } = yield* changing(1, { maxSize: 5 })
        yield* borrow(pool)
        capacity.set(1, 3)
        assert.deepStrictEqual([yield* once(pool), yield* once(pool)], ["has 1", "has 1"])
        assert.strictEqual(peer.attempts(), 1)
      })
    )
  })
})
