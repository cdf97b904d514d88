import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import type { CachePool } from "../src/CachePool.ts"
import * as ConnectionLimit from "../src/ConnectionLimit.ts"
import { hang } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { borrow, borrowMany, cache, describeExit, gates, once, settle, states, stats } from "./support/scene.ts"

/** An open connection that did not come from the pool's connector; its id is `id`. */
const outside = (id: number) => {
  const closes: Array<number> = []
  return {
    connection: { id, isOpen: true },
    close: Effect.sync(() => closes.push(id)),
    closes
  }
}

/** Tries `takeIdle` and returns at once: `has 1`, `none` or the error. */
const tryIdle = <C extends { readonly id: number }, E>(pool: CachePool<C, E>) =>
  Effect.map(
    Effect.exit(
      Effect.scoped(
        Effect.map(
          pool.takeIdle,
          Option.map((connection) => connection.id)
        )
      )
    ),
    (exit) =>
      Exit.isFailure(exit)
        ? describeExit(exit)
        : Option.match(exit.value, { onNone: () => "none", onSome: (id) => `has ${id}` })
  )

describe("CachePool", () => {
  describe("adopt", () => {
    it.effect("C8 puts an open connection into the pool, which lends it", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const { close, closes, connection } = outside(100)
        yield* pool.adopt(connection, close)
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
        assert.strictEqual(yield* once(pool), "has 100")
        assert.deepStrictEqual([peer.attempts(), closes], [0, []])
      })
    )

    it.effect("C8 hands it to the first waiter", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxConnecting: 1 }, TestConnector.makeUnsafe(hang))
        const callers = yield* borrowMany(pool, 3)
        yield* callers[0]!.interrupt
        yield* pool.adopt(outside(100).connection)
        yield* settle
        assert.deepStrictEqual(states(...callers), ["interrupted", "has 100", "waits"])
      })
    )

    it.effect("C8 hands it to a caller whose connect is in flight, if there is room", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 2 }, TestConnector.makeUnsafe(hang))
        const caller = yield* borrow(pool)
        const { connection } = outside(100)
        yield* pool.adopt(connection)
        yield* settle
        assert.deepStrictEqual(states(caller), ["has 100"])
      })
    )

    it.effect("C8 closes it with the given effect, once, when its time has come", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const { close, closes, connection } = outside(100)
        yield* pool.adopt(connection, close)
        const borrower = yield* borrow(pool)
        yield* borrower.lease().invalidate
        yield* borrower.leave
        yield* pool.drain()
        assert.deepStrictEqual(closes, [100])
        assert.deepStrictEqual(yield* pool.stats, stats({ created: 1, closed: 1 }))
      })
    )

    it.effect("C8 is closed with the pool", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const { close, closes, connection } = outside(100)
        yield* pool.adopt(connection, close)
        yield* pool.drain()
        assert.deepStrictEqual(closes, [100])
      })
    )

    it.effect("C8 needs no close effect", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        yield* pool.adopt(outside(100).connection)
        yield* pool.retain(() => false)
        assert.deepStrictEqual(yield* pool.stats, stats({ created: 1, closed: 1 }))
      })
    )

    it.effect("C8 at capacity the least recently used idle connection makes room", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 2 })
        const reasons: Array<string> = []
        yield* pool.observe({
          evicted: (_, reason) => {
            reasons.push(reason)
          }
        })
        for (const borrower of yield* borrowMany(pool, 2)) yield* borrower.leave
        const { close, closes, connection } = outside(100)
        yield* pool.adopt(connection, close)
        assert.deepStrictEqual([peer.closed(), closes, reasons], [[1], [], ["capacity"]])
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 2, maxSize: 2, created: 3, closed: 1 }))
        assert.strictEqual(yield* once(pool), "has 100")
      })
    )

    it.effect("C8 at capacity with nothing idle it is closed at once", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        yield* borrow(pool)
        const { close, closes, connection } = outside(100)
        yield* pool.adopt(connection, close)
        assert.deepStrictEqual(closes, [100])
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, maxSize: 1, created: 2, closed: 1 }))
      })
    )

    it.effect("C8 at capacity because of a connect in flight it is closed at once", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 }, TestConnector.makeUnsafe(hang))
        const caller = yield* borrow(pool)
        const { close, closes, connection } = outside(100)
        yield* pool.adopt(connection, close)
        assert.deepStrictEqual([closes, states(caller)], [[100], ["waits"]])
      })
    )

    it.effect("C8 a place that a closing connection still holds is not given to it (A4)", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1 })
        const closing = yield* Deferred.make<void>()
        peer.onClose(() => Deferred.await(closing))
        yield* once(pool)
        yield* pool.retain(() => false)
        const { close, closes, connection } = outside(100)
        yield* pool.adopt(connection, close)
        const { idle, closing: stillClosing } = yield* pool.stats
        Deferred.doneUnsafe(closing, Exit.void)
        assert.deepStrictEqual([closes, idle, stillClosing], [[100], 0, 1])
      })
    )

    it.effect("C8 a closed pool closes it at once", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        yield* pool.drain()
        const { close, closes, connection } = outside(100)
        yield* pool.adopt(connection, close)
        assert.deepStrictEqual(closes, [100])
        assert.deepStrictEqual(yield* pool.stats, stats({ created: 1, closed: 1 }))
      })
    )

    it.effect("C8 a draining pool closes it at once and waits for that close", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const holder = yield* borrow(pool)
        const drained = yield* Effect.forkChild(pool.drain({ deadline: "10 seconds" }))
        yield* settle
        const { close, closes, connection } = outside(100)
        yield* pool.adopt(connection, Effect.andThen(Effect.sleep("2 seconds"), close))
        yield* TestClock.adjust("1 second")
        yield* holder.leave
        assert.isUndefined(drained.pollUnsafe())
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(closes, [100])
        assert.isTrue(drained.pollUnsafe() !== undefined)
      })
    )

    it.effect("C8 a connection that is dead on arrival is closed and never lent", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const { close, closes } = outside(100)
        yield* pool.adopt({ id: 100, isOpen: false }, close)
        assert.deepStrictEqual(closes, [100])
        assert.strictEqual(yield* once(pool), "has 1")
        assert.strictEqual(peer.attempts(), 1)
      })
    )

    it.effect("C8 is watched and guarded as any other", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const a = outside(100)
        const b = outside(200)
        yield* pool.adopt(a.connection, a.close)
        assert.strictEqual(peer.watchers(), 1)
        peer.kill(a.connection)
        assert.deepStrictEqual(a.closes, [100])
        yield* pool.guard((connection) => connection.id !== 200)
        yield* pool.adopt(b.connection, b.close)
        assert.deepStrictEqual(b.closes, [200])
      })
    )

    it.effect("C8 a close that dies harms nobody", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        yield* pool.adopt(outside(100).connection, Effect.die("boom"))
        yield* pool.retain(() => false)
        assert.deepStrictEqual(yield* pool.stats, stats({ created: 1, closed: 1 }))
      })
    )

    it.effect("C8 above maxIdle it closes like a returned one", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxIdle: 0 })
        const { close, closes, connection } = outside(100)
        yield* pool.adopt(connection, close)
        assert.deepStrictEqual(closes, [100])
      })
    )

    it.effect(
      "C8 M4 at a full shared limit the least recently used idle connection of any of its pools makes room",
      () =>
        Effect.gen(function* () {
          const limit = yield* ConnectionLimit.make({ max: 2 })
          const used = Effect.map(limit.stats, (stats) => stats.used)
          const a = yield* cache({ limit })
          const b = yield* cache({ limit })
          yield* once(a.pool)
          yield* TestClock.adjust(1)
          yield* b.pool.adopt(outside(100).connection)
          assert.deepStrictEqual([yield* used, a.peer.closed()], [2, []])
          yield* TestClock.adjust(1)
          yield* b.pool.adopt(outside(200).connection)
          assert.deepStrictEqual([yield* used, a.peer.closed(), (yield* b.pool.stats).idle], [2, [1], 2])
          const holders = yield* borrowMany(b.pool, 2)
          const { close, closes, connection } = outside(300)
          yield* b.pool.adopt(connection, close)
          assert.deepStrictEqual([states(...holders), yield* used, closes], [["has 200", "has 100"], 2, [300]])
        })
    )

    it.effect("C8 M4 at a full shared limit with nothing idle not even a waiter gets it", () =>
      Effect.gen(function* () {
        const limit = yield* ConnectionLimit.make({ max: 1 })
        const a = yield* cache({ limit })
        const b = yield* cache({ limit })
        const holder = yield* borrow(a.pool)
        const waiter = yield* borrow(b.pool)
        const { close, closes, connection } = outside(100)
        yield* b.pool.adopt(connection, close)
        assert.deepStrictEqual([states(holder, waiter), closes], [["has 1", "waits"], [100]])
        assert.deepStrictEqual(yield* limit.stats, { max: 1, used: 1, waiting: 1 })
      })
    )

    it.effect("C8 is told to observers as connected", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const log: Array<string> = []
        yield* pool.observe({
          connected: (info, elapsed) => {
            log.push(`connected ${info.createdAt} ${elapsed}`)
          }
        })
        yield* TestClock.adjust("1 second")
        yield* pool.adopt(outside(100).connection)
        assert.deepStrictEqual(log, ["connected 1000 0"])
      })
    )
  })

  describe("takeIdle", () => {
    it.effect("C8 is none where nothing is idle, and never connects", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        assert.strictEqual(yield* tryIdle(pool), "none")
        assert.strictEqual(peer.attempts(), 0)
        assert.deepStrictEqual(yield* pool.stats, stats({}))
      })
    )

    it.effect("C8 borrows an idle connection for the current scope", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        yield* once(pool)
        const scope = yield* Scope.make()
        const taken = yield* Scope.provide(pool.takeIdle, scope)
        assert.deepStrictEqual(
          Option.map(taken, (connection) => connection.id),
          Option.some(1)
        )
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, created: 1, reused: 1 }))
        assert.strictEqual(yield* tryIdle(pool), "none")
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1, reused: 1 }))
      })
    )

    it.effect("C8 is none while a connection is in use or connecting", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        yield* borrow(pool)
        peer.script(hang)
        yield* borrow(pool)
        assert.strictEqual(yield* tryIdle(pool), "none")
        assert.strictEqual(peer.attempts(), 2)
      })
    )

    it.effect("C8 takes the connection that a borrower would get", () =>
      Effect.gen(function* () {
        for (const [order, expected] of [
          ["lifo", "has 2"],
          ["fifo", "has 1"]
        ] as const) {
          const { pool } = yield* cache({ order })
          for (const borrower of yield* borrowMany(pool, 2)) yield* borrower.leave
          assert.strictEqual(yield* tryIdle(pool), expected)
        }
      })
    )

    it.effect("C8 does not pass callers in line (A6)", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        const [holder, waiter] = yield* borrowMany(pool, 2)
        holder!.lease().releaseUnsafe()
        assert.strictEqual(yield* tryIdle(pool), "none")
        yield* settle
        assert.deepStrictEqual(states(waiter!), ["has 1"])
      })
    )

    it.effect("C8 does not pass a caller whose connection is being validated, although another one is idle", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { pool } = yield* cache({ validate: () => Deferred.await(gate) })
        for (const borrower of yield* borrowMany(pool, 2)) yield* borrower.leave
        const waiter = yield* borrow(pool)
        assert.strictEqual((yield* pool.stats).idle, 1)
        const taking = yield* Effect.forkChild(tryIdle(pool))
        yield* settle
        assert.deepStrictEqual(taking.pollUnsafe(), Exit.succeed("none"))
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(states(waiter), ["has 2"])
      })
    )

    it.effect("C8 skips idle connections that are closed", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const borrowers = yield* borrowMany(pool, 2)
        const dead = borrowers[1]!.connection()
        for (const borrower of borrowers) yield* borrower.leave
        peer.killSilently(dead)
        assert.strictEqual(yield* tryIdle(pool), "has 1")
        assert.deepStrictEqual(peer.closed(), [2])
      })
    )

    it.effect("C8 is none where all that is idle is closed", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const borrower = yield* borrow(pool)
        const dead = borrower.connection()
        yield* borrower.leave
        peer.killSilently(dead)
        assert.strictEqual(yield* tryIdle(pool), "none")
        assert.strictEqual(peer.attempts(), 1)
      })
    )

    it.effect("C8 A9 validates, tries the next one after a failure, and is none after the last", () =>
      Effect.gen(function* () {
        const broken = new Set([2])
        const { peer, pool } = yield* cache({
          validate: (connection) => (broken.has(connection.id) ? Effect.fail("broken") : Effect.void)
        })
        for (const borrower of yield* borrowMany(pool, 2)) yield* borrower.leave
        assert.strictEqual(yield* tryIdle(pool), "has 1")
        broken.add(1)
        assert.strictEqual(yield* tryIdle(pool), "none")
        assert.deepStrictEqual([peer.closed(), peer.attempts()], [[2, 1], 2])
        assert.deepStrictEqual(yield* pool.stats, stats({ created: 2, closed: 2, reused: 1 }))
      })
    )

    it.effect("C8 A9 a validation that takes time and fails makes it none, without a connect", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({
          validate: () => Effect.andThen(Effect.sleep("1 second"), Effect.fail("broken"))
        })
        yield* once(pool)
        const taking = yield* Effect.forkChild(tryIdle(pool))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(taking.pollUnsafe(), Exit.succeed("none"))
        assert.strictEqual(peer.attempts(), 1)
      })
    )

    it.effect("C8 A9 a connection that retires during its validation makes it none, without a connect", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ validate: () => Effect.sleep("1 second") })
        const borrower = yield* borrow(pool)
        const connection = borrower.connection()
        yield* borrower.leave
        const taking = yield* Effect.forkChild(tryIdle(pool))
        yield* settle
        peer.kill(connection)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(taking.pollUnsafe(), Exit.succeed("none"))
        assert.strictEqual(peer.attempts(), 1)
      })
    )

    it.effect("C8 does not connect although others wait behind it", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({
          validate: () => Effect.andThen(Effect.sleep("1 second"), Effect.fail("broken"))
        })
        yield* once(pool)
        const taking = yield* Effect.forkChild(tryIdle(pool))
        yield* settle
        const [end] = gates(peer, TestConnector.fail)
        const behind = yield* borrow(pool)
        assert.strictEqual(peer.attempts(), 2)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(taking.pollUnsafe(), Exit.succeed("none"))
        yield* end!
        assert.deepStrictEqual(states(behind), ["TestConnectError 2"])
      })
    )

    it.effect("C8 A1 interrupting it during a validation loses nothing", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ validate: () => Effect.sleep("1 second") })
        yield* once(pool)
        const taking = yield* Effect.forkChild(tryIdle(pool))
        yield* settle
        taking.interruptUnsafe()
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
      })
    )

    it.effect("C8 A8 fails with Closed once the pool drains", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        yield* once(pool)
        yield* pool.drain()
        assert.strictEqual(yield* tryIdle(pool), "Closed")
      })
    )

    it.effect("C8 with maxPending 0 still borrows what is idle", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxPending: 0, minSize: 1 })
        assert.strictEqual(yield* tryIdle(pool), "has 1")
      })
    )
  })
})
