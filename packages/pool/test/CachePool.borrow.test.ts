import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { TestConnectError } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import {
  borrow,
  borrowLater,
  borrowMany,
  cache,
  describeExit,
  once,
  settle,
  states,
  stats,
  type Via
} from "./support/scene.ts"

const ways: ReadonlyArray<Via> = ["use", "get", "lease"]

describe("CachePool", () => {
  describe("use", () => {
    it.effect("passes the connection and its lease to the body and returns the body's value", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const value = yield* pool.use((connection, lease) =>
          Effect.succeed([connection.id, lease.connection === connection, lease.info.uses])
        )
        assert.deepStrictEqual(value, [1, true, 1])
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
      })
    )

    it.effect("returns the connection when the body succeeds, and the next use borrows it again", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        assert.deepStrictEqual([yield* once(pool), yield* once(pool)], ["has 1", "has 1"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1, reused: 1 }))
      })
    )

    it.effect("returns the connection when the body fails and passes its error on unchanged", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const error = { _tag: "BodyError" }
        const exit = yield* Effect.exit(pool.use(() => Effect.fail(error)))
        assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) === error)
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
        assert.strictEqual(yield* once(pool), "has 1")
      })
    )

    it.effect("returns the connection when the body dies and passes its defect on unchanged", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const defect = new Error("boom")
        const exit = yield* Effect.exit(pool.use(() => Effect.die(defect)))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause) && Cause.squash(exit.cause) === defect)
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
        assert.strictEqual(yield* once(pool), "has 1")
      })
    )

    it.effect("returns the connection when the body function throws, whether it waited or not", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const defect = new Error("boom")
        const throws = Effect.exit(
          pool.use((): Effect.Effect<never> => {
            throw defect
          })
        )
        for (const exit of [yield* throws, yield* throws]) {
          assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) === defect)
        }
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1, reused: 1 }))
      })
    )

    it.effect("returns the connection when the body is interrupted", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const borrower = yield* borrow(pool)
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, created: 1 }))
        yield* borrower.interrupt
        assert.strictEqual(borrower.state(), "interrupted")
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
        assert.strictEqual(yield* once(pool), "has 1")
      })
    )

    it.effect("borrows anew each time the same effect runs", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const borrowing = pool.use((connection) => Effect.delay(Effect.succeed(connection.id), "1 second"))
        const both = yield* Effect.forkChild(Effect.all([borrowing, borrowing], { concurrency: 2 }))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* Fiber.join(both), [1, 2])
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 2, created: 2 }))
      })
    )

    it.effect("lends two connections to a body that borrows inside a body", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const ids = yield* pool.use((outer) => pool.use((inner) => Effect.succeed([outer.id, inner.id])))
        assert.deepStrictEqual(ids, [1, 2])
        assert.strictEqual(peer.live(), 2)
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 2, created: 2 }))
      })
    )
  })

  describe("get", () => {
    it.effect("borrows until the scope closes", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const scope = yield* Scope.make()
        const connection = yield* Scope.provide(pool.get(), scope)
        assert.strictEqual(connection.id, 1)
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, created: 1 }))
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
      })
    )

    it.effect("returns the connection whatever the scope closes with", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        for (const exit of [Exit.void, Exit.fail("no"), Exit.die("boom"), Exit.interrupt()]) {
          const scope = yield* Scope.make()
          const connection = yield* Scope.provide(pool.get(), scope)
          assert.strictEqual(connection.id, 1)
          yield* Scope.close(scope, exit)
        }
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1, reused: 3 }))
      })
    )

    it.effect("lends as many connections to one scope as it asks for", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const ids = yield* Effect.scoped(
          Effect.map(Effect.all([pool.get(), pool.get()]), (connections) => connections.map(({ id }) => id))
        )
        assert.deepStrictEqual(ids, [1, 2])
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 2, created: 2 }))
      })
    )

    it.effect("A1 takes nothing for a scope that has closed", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        yield* once(pool)
        const scope = yield* Scope.make()
        yield* Scope.close(scope, Exit.void)
        const exit = yield* Effect.exit(Scope.provide(pool.get(), scope))
        assert.isTrue(Exit.isFailure(exit))
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
        assert.strictEqual(peer.attempts(), 1)
      })
    )

    for (const via of ["get", "lease"] as const) {
      it.effect(`A1 a scope that closes while ${via} is in line ends the wait and gives up the place`, () =>
        Effect.gen(function* () {
          const { pool } = yield* cache({ maxSize: 1 })
          const holder = yield* borrow(pool)
          const scope = yield* Scope.make()
          const waiting = yield* Effect.forkChild(
            Scope.provide(via === "get" ? Effect.asVoid(pool.get()) : Effect.asVoid(pool.lease()), scope)
          )
          yield* settle
          const next = yield* borrow(pool)
          yield* Scope.close(scope, Exit.void)
          yield* settle
          const exit = waiting.pollUnsafe()
          assert.strictEqual(exit === undefined ? "waits" : describeExit(exit), "interrupted")
          yield* holder.leave
          assert.deepStrictEqual(states(next), ["has 1"])
          yield* next.leave
          assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, maxSize: 1, created: 1, reused: 1 }))
        })
      )
    }
  })

  describe("lease", () => {
    it.effect("has the connection and live facts about it", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        yield* once(pool)
        const lease = yield* pool.lease()
        assert.strictEqual(lease.connection.id, 1)
        assert.isTrue(lease.info.id > 0)
        assert.deepStrictEqual([lease.info.uses, lease.info.borrowers, lease.info.idleSince], [2, 1, undefined])
        yield* lease.release
        assert.deepStrictEqual([lease.info.uses, lease.info.borrowers, lease.info.idleSince], [2, 0, 0])
      })
    )

    it.effect("returns the connection early with release, and its scope's end changes nothing then", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const scope = yield* Scope.make()
        const lease = yield* Scope.provide(pool.lease(), scope)
        yield* lease.release
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
        const next = yield* borrow(pool)
        assert.strictEqual(next.state(), "has 1")
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, created: 1, reused: 1 }))
      })
    )

    it.effect("returns the connection early with releaseUnsafe from a callback", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const borrower = yield* borrow(pool)
        const { releaseUnsafe } = borrower.lease()
        releaseUnsafe()
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
        assert.strictEqual(borrower.state(), "has 1")
      })
    )

    it.effect("A5 releasing twice returns the connection once", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        const first = yield* borrow(pool)
        yield* first.lease().release
        const second = yield* borrow(pool)
        const third = yield* borrow(pool)
        yield* first.lease().release
        first.lease().releaseUnsafe()
        yield* first.leave
        assert.deepStrictEqual(states(first, second, third), ["ok", "has 1", "waits"])
        assert.deepStrictEqual(
          yield* pool.stats,
          stats({ used: 1, borrowers: 1, pending: 1, maxSize: 1, created: 1, reused: 1 })
        )
      })
    )

    it.effect("A5 a lease that was released cannot invalidate its connection's next loan", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const first = yield* borrow(pool, "lease")
        yield* first.leave
        const second = yield* borrow(pool)
        yield* first.lease().invalidate
        yield* second.leave
        assert.strictEqual(yield* once(pool), "has 1")
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
      })
    )

    it.effect("A5 a lease that was released cannot invalidate its connection while it is idle", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const first = yield* borrow(pool, "lease")
        yield* first.lease().release
        yield* first.lease().invalidate
        assert.deepStrictEqual(peer.closed(), [])
        assert.strictEqual(yield* once(pool), "has 1")
      })
    )

    it.effect("A5 a lease affects only its own pool", () =>
      Effect.gen(function* () {
        const a = yield* cache()
        const b = yield* cache()
        const inA = yield* borrow(a.pool)
        const inB = yield* borrow(b.pool)
        yield* inA.lease().invalidate
        yield* inA.lease().release
        assert.deepStrictEqual([a.peer.closed(), b.peer.closed()], [[1], []])
        assert.deepStrictEqual(yield* b.pool.stats, stats({ used: 1, borrowers: 1, created: 1 }))
        yield* inB.leave
        assert.strictEqual(yield* once(b.pool), "has 1")
      })
    )

    it.effect("C6 invalidate closes the connection when its borrower returns it, not before", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const borrower = yield* borrow(pool)
        yield* borrower.lease().invalidate
        assert.deepStrictEqual(peer.closed(), [])
        assert.isTrue(borrower.connection().isOpen)
        yield* borrower.leave
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "close 1"])
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )

    it.effect("invalidate twice, then release twice, closes once", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const borrower = yield* borrow(pool)
        yield* borrower.lease().invalidate
        yield* borrower.lease().invalidate
        yield* borrower.lease().release
        yield* borrower.lease().release
        yield* borrower.leave
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "close 1"])
        assert.deepStrictEqual(yield* pool.stats, stats({ created: 1, closed: 1 }))
      })
    )
  })

  describe("interruption", () => {
    for (const via of ways) {
      it.effect(`A1 interrupting ${via} in line loses neither the connection nor the wake-up`, () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* cache({ maxSize: 1 })
          const holder = yield* borrow(pool)
          const first = yield* borrow(pool, via)
          const second = yield* borrow(pool, via)
          yield* first.interrupt
          assert.deepStrictEqual(states(holder, first, second), ["has 1", "interrupted", "waits"])
          assert.strictEqual((yield* pool.stats).pending, 1)
          yield* holder.leave
          assert.deepStrictEqual(states(holder, first, second), ["ok", "interrupted", "has 1"])
          yield* second.leave
          assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, maxSize: 1, created: 1, reused: 1 }))
          assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
        })
      )

      it.effect(
        `A1 interrupting ${via} between hand-over and its first step passes the connection to the next waiter`,
        () =>
          Effect.gen(function* () {
            const { pool } = yield* cache({ maxSize: 1 })
            const holder = yield* borrow(pool, "lease")
            const first = yield* borrow(pool, via)
            const second = yield* borrow(pool, via)
            // No step lies between these two: the first waiter was granted the connection and has not run.
            holder.lease().releaseUnsafe()
            assert.strictEqual((yield* pool.stats).used, 1)
            first.fiber.interruptUnsafe()
            yield* settle
            assert.deepStrictEqual(states(first, second), ["interrupted", "has 1"])
            yield* second.leave
            assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, maxSize: 1, created: 1, reused: 1 }))
          })
      )

      it.effect(
        `A1 interrupting ${via} between hand-over and its first step makes the connection idle if nobody waits`,
        () =>
          Effect.gen(function* () {
            const { pool } = yield* cache({ maxSize: 1 })
            const holder = yield* borrow(pool, "lease")
            const first = yield* borrow(pool, via)
            holder.lease().releaseUnsafe()
            assert.strictEqual((yield* pool.stats).used, 1)
            first.fiber.interruptUnsafe()
            yield* settle
            assert.deepStrictEqual(states(first), ["interrupted"])
            assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, maxSize: 1, created: 1 }))
            assert.strictEqual(yield* once(pool), "has 1")
          })
      )

      it.effect(`A1 interrupting ${via} between its connection's opening and its first step keeps the connection`, () =>
        Effect.gen(function* () {
          const gate = yield* Deferred.make<void>()
          const { peer, pool } = yield* cache({}, TestConnector.makeUnsafe(TestConnector.gated(gate)))
          const borrower = yield* borrow(pool, via)
          Deferred.doneUnsafe(gate, Exit.void)
          assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, created: 1 }))
          borrower.fiber.interruptUnsafe()
          yield* settle
          assert.deepStrictEqual(states(borrower), ["interrupted"])
          assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
          assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
        })
      )

      it.effect(`A1 interrupting ${via} while it connects returns at once and loses no place`, () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* cache({ maxSize: 1, onAbandon: "cancel" })
          peer.script(TestConnector.hang)
          const borrower = yield* borrow(pool, via)
          assert.deepStrictEqual(yield* pool.stats, stats({ connecting: 1, pending: 1, maxSize: 1 }))
          yield* borrower.interrupt
          assert.deepStrictEqual(states(borrower), ["interrupted"])
          assert.deepStrictEqual(yield* pool.stats, stats({ maxSize: 1 }))
          assert.strictEqual(yield* once(pool), "has 2")
        })
      )

      it.effect(`A1 interrupting ${via} between its attempt's failure and its first step loses nothing`, () =>
        Effect.gen(function* () {
          const gate = yield* Deferred.make<void>()
          const { pool, peer } = yield* cache({ maxSize: 1 })
          peer.script(TestConnector.gated(gate, TestConnector.fail))
          const borrower = yield* borrow(pool, via)
          Deferred.doneUnsafe(gate, Exit.void)
          assert.deepStrictEqual(yield* pool.stats, stats({ maxSize: 1, failed: 1 }))
          borrower.fiber.interruptUnsafe()
          yield* settle
          assert.deepStrictEqual(states(borrower), ["interrupted"])
          assert.deepStrictEqual(yield* pool.stats, stats({ maxSize: 1, failed: 1 }))
        })
      )

      it.effect(`A1 interrupting ${via} before its first step takes nothing`, () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* cache()
          const borrower = yield* borrowLater(pool, via)
          borrower.fiber.interruptUnsafe()
          yield* settle
          assert.deepStrictEqual(states(borrower), ["interrupted"])
          assert.deepStrictEqual(yield* pool.stats, stats({}))
          assert.strictEqual(peer.attempts(), 0)
        })
      )
    }

    for (const via of ["get", "lease"] as const) {
      it.effect(`A1 interrupting ${via} in line gives up its place although its scope stays open`, () =>
        Effect.gen(function* () {
          const { pool } = yield* cache({ maxSize: 1 })
          const scope = yield* Scope.make()
          const holder = yield* borrow(pool)
          const waiting = yield* Effect.forkChild(
            Scope.provide(via === "get" ? Effect.asVoid(pool.get()) : Effect.asVoid(pool.lease()), scope)
          )
          yield* settle
          const next = yield* borrow(pool)
          waiting.interruptUnsafe()
          yield* settle
          assert.strictEqual((yield* pool.stats).pending, 1)
          yield* holder.leave
          assert.deepStrictEqual(states(next), ["has 1"])
          yield* next.leave
          assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, maxSize: 1, created: 1, reused: 1 }))
        })
      )

      it.effect(
        `A1 interrupting ${via} between hand-over and its first step returns although its scope stays open`,
        () =>
          Effect.gen(function* () {
            const { pool } = yield* cache({ maxSize: 1 })
            const scope = yield* Scope.make()
            const holder = yield* borrow(pool)
            const waiting = yield* Effect.forkChild(
              Scope.provide(via === "get" ? Effect.asVoid(pool.get()) : Effect.asVoid(pool.lease()), scope)
            )
            yield* settle
            holder.lease().releaseUnsafe()
            waiting.interruptUnsafe()
            yield* settle
            assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, maxSize: 1, created: 1 }))
            assert.strictEqual(yield* once(pool), "has 1")
          })
      )
    }

    it.effect("A1 interrupting every second of ten waiters serves the other five in order", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        const holder = yield* borrow(pool)
        const waiters = yield* borrowMany(pool, 10)
        for (const waiter of waiters.filter((_, index) => index % 2 === 0)) waiter.fiber.interruptUnsafe()
        yield* settle
        const served: Array<number> = []
        yield* holder.leave
        for (let round = 0; round < 5; round++) {
          const index = waiters.findIndex((waiter) => waiter.state().startsWith("has"))
          served.push(index)
          yield* waiters[index]!.leave
        }
        assert.deepStrictEqual(served, [1, 3, 5, 7, 9])
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, maxSize: 1, created: 1, reused: 5 }))
      })
    )

    it.effect("A1 a body whose fiber is interrupted in an uninterruptible region keeps the connection to its end", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const gate = yield* Deferred.make<void>()
        const fiber = yield* Effect.forkChild(pool.use(() => Effect.uninterruptible(Deferred.await(gate))))
        yield* settle
        fiber.interruptUnsafe()
        yield* settle
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, created: 1 }))
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
      })
    )
  })

  describe("errors", () => {
    it.effect("the connector's own error passes unwrapped", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        peer.script(TestConnector.fail)
        const error = yield* Effect.flip(pool.use(() => Effect.void))
        assert.isTrue(error instanceof TestConnectError)
        assert.strictEqual(error.message, "attempt 1 was told to fail")
      })
    )

    it.effect("the connector's defect passes unwrapped", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const defect = new Error("boom")
        peer.script(TestConnector.die(defect))
        const exit = yield* Effect.exit(pool.use(() => Effect.void))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause) && Cause.squash(exit.cause) === defect)
        assert.deepStrictEqual(yield* pool.stats, stats({ failed: 1 }))
      })
    )
  })
})
