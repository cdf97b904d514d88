import { assert, describe, it } from "@effect/vitest"
import type { Cause } from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import * as TestClock from "effect/testing/TestClock"
import type { ConnectionPool, Signals } from "../src/ConnectionPool.ts"
import * as SingletonPool from "../src/SingletonPool.ts"
import { delay, die, fail, hang, succeed } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import type { TestConnection } from "../src/testing/TestConnector.ts"
import {
  type Borrower,
  borrow,
  borrowLater,
  borrowMany,
  describeExit,
  everySecond,
  gates,
  once,
  settle,
  singleton,
  states,
  stats,
  type Via
} from "./support/scene.ts"

const single = (said: Parameters<typeof stats>[0]) => stats({ maxSize: 1, ...said })

const ways: ReadonlyArray<Via> = ["use", "get", "lease"]

describe("SingletonPool", () => {
  describe("sharing", () => {
    it.effect("opens nothing before somebody borrows", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        yield* settle
        assert.deepStrictEqual(peer.log(), [])
        assert.deepStrictEqual(yield* pool.stats, single({}))
      })
    )

    it.effect("S1 concurrent callers join the first one's attempt and get the same connection", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const [open] = gates(peer, succeed)
        const callers = yield* borrowMany(pool, 8)
        assert.deepStrictEqual(yield* pool.stats, single({ connecting: 1, pending: 8 }))
        yield* open!
        assert.deepStrictEqual(states(...callers), Array(8).fill("has 1"))
        assert.strictEqual(new Set(callers.map((caller) => caller.connection())).size, 1)
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
        assert.deepStrictEqual(yield* pool.stats, single({ used: 1, borrowers: 8, created: 1, reused: 7 }))
      })
    )

    it.effect("S1 callers that come later get the connection without an attempt", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const first = yield* borrow(pool)
        const second = yield* borrow(pool)
        yield* first.leave
        yield* second.leave
        assert.deepStrictEqual([states(first, second), yield* once(pool)], [["ok", "ok"], "has 1"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
        assert.deepStrictEqual(yield* pool.stats, single({ idle: 1, created: 1, reused: 2 }))
      })
    )

    it.effect("S1 callers by use, get and lease share one attempt", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const [open] = gates(peer, succeed)
        const callers = [yield* borrow(pool, "use"), yield* borrow(pool, "get"), yield* borrow(pool, "lease")]
        yield* open!
        assert.deepStrictEqual(states(...callers), ["has 1", "has 1", "has 1"])
        assert.strictEqual(peer.attempts(), 1)
      })
    )

    it.effect("S1 a thousand callers make one connection", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton({}, TestConnector.makeUnsafe(delay("1 second")))
        const all = yield* Effect.forkChild(
          Effect.forEach(Array.from({ length: 1_000 }), () => once(pool), { concurrency: "unbounded" })
        )
        yield* TestClock.adjust("1 second")
        const exit = all.pollUnsafe()
        assert.deepStrictEqual(exit, Exit.succeed(Array(1_000).fill("has 1")))
        assert.strictEqual(peer.attempts(), 1)
      })
    )

    it.effect("stays open, idle, when the last borrower leaves", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        yield* once(pool)
        yield* TestClock.adjust("1 day")
        assert.deepStrictEqual(peer.closed(), [])
        assert.deepStrictEqual(yield* pool.stats, single({ idle: 1, created: 1 }))
      })
    )

    it.effect("counts each borrower of the connection", () =>
      Effect.gen(function* () {
        const { pool } = yield* singleton()
        const borrowers = yield* borrowMany(pool, 3)
        const { info } = borrowers[0]!.lease()
        assert.deepStrictEqual([info.borrowers, info.uses, info.idleSince], [3, 3, undefined])
        yield* borrowers[1]!.leave
        assert.deepStrictEqual([info.borrowers, info.uses, info.idleSince], [2, 3, undefined])
        yield* borrowers[0]!.leave
        yield* TestClock.adjust("1 second")
        yield* borrowers[2]!.leave
        assert.deepStrictEqual([info.borrowers, info.uses, info.idleSince], [0, 3, 1_000])
      })
    )
  })

  describe("failing", () => {
    it.effect("S1 concurrent callers get the same failure, with the same Cause", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const [end] = gates(peer, fail)
        const callers = yield* borrowMany(pool, 3)
        yield* end!
        assert.deepStrictEqual(states(...callers), Array(3).fill("TestConnectError 1"))
        const errors = callers.map((caller) => Option.getOrThrow(Exit.getCause(caller.fiber.pollUnsafe()!)).reasons)
        const failures = errors.map((reasons) => (reasons[0] as { readonly error: unknown }).error)
        assert.strictEqual(new Set(failures).size, 1)
        assert.deepStrictEqual(yield* pool.stats, single({ failed: 1 }))
      })
    )

    it.effect("S1 concurrent callers get the same defect", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const [end] = gates(peer, die(new Error("boom")))
        const callers = yield* borrowMany(pool, 3)
        yield* end!
        assert.deepStrictEqual(states(...callers), Array(3).fill("die boom"))
      })
    )

    it.effect("S1 a failure clears the attempt: the next call starts afresh, after the backoff", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton({ backoff: everySecond })
        peer.script(fail)
        assert.strictEqual(yield* once(pool), "TestConnectError 1")
        const next = yield* borrow(pool)
        yield* TestClock.adjust(999)
        assert.deepStrictEqual([states(next), peer.attempts()], [["waits"], 1])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(next), ["has 2"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "fail 1", "connect 2", "open 2"])
      })
    )

    it.effect("S1 C7 callers that arrive during the pause share the next attempt", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton({ backoff: everySecond })
        peer.script(fail, fail)
        yield* once(pool)
        const callers = yield* borrowMany(pool, 3)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(...callers), Array(3).fill("TestConnectError 2"))
        assert.strictEqual(peer.attempts(), 2)
      })
    )

    it.effect("S1 a connector that throws fails its callers instead of hanging", () =>
      Effect.gen(function* () {
        let calls = 0
        const pool = yield* SingletonPool.make({
          connect: (): Effect.Effect<string> => {
            if (calls++ === 0) throw new Error("no such host")
            return Effect.succeed("open")
          },
          backoff: everySecond
        })
        const exit = yield* Effect.exit(pool.use(Effect.succeed))
        assert.strictEqual(describeExit(exit), "die no such host")
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* pool.use(Effect.succeed), "open")
      })
    )

    it.effect("S1 a connector that interrupts itself fails its callers instead of hanging", () =>
      Effect.gen(function* () {
        const { pool } = yield* singleton(
          {},
          TestConnector.makeUnsafe(() => Effect.interrupt)
        )
        assert.strictEqual(yield* once(pool), "interrupted")
        assert.deepStrictEqual(yield* pool.stats, single({ failed: 1 }))
      })
    )

    it.effect("a connection that is dead on arrival is nobody's error; all its callers get the next one", () =>
      Effect.gen(function* () {
        let opened = 0
        const { peer, pool } = yield* singleton({ isOpen: () => ++opened > 1, backoff: everySecond })
        const callers = yield* borrowMany(pool, 2)
        assert.deepStrictEqual([states(...callers), peer.closed()], [["waits", "waits"], [1]])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(...callers), ["has 2", "has 2"])
      })
    )
  })

  describe("interruption", () => {
    for (const via of ways) {
      it.effect(`S2 interrupting the first caller by ${via} affects only that caller`, () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* singleton()
          const [open] = gates(peer, succeed)
          const [first, second, third] = [yield* borrow(pool, via), yield* borrow(pool), yield* borrow(pool)]
          yield* first.interrupt
          assert.deepStrictEqual(yield* pool.stats, single({ connecting: 1, pending: 2 }))
          yield* open!
          assert.deepStrictEqual(states(first, second, third), ["interrupted", "has 1", "has 1"])
          assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
        })
      )

      it.effect(`S2 interrupting a later caller by ${via} affects only that caller`, () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* singleton()
          const [open] = gates(peer, succeed)
          const [first, second, third] = [yield* borrow(pool), yield* borrow(pool, via), yield* borrow(pool)]
          yield* second.interrupt
          yield* open!
          assert.deepStrictEqual(states(first, second, third), ["has 1", "interrupted", "has 1"])
          assert.strictEqual(peer.attempts(), 1)
        })
      )

      it.effect(`A1 interrupting ${via} while it holds returns only its own loan`, () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* singleton()
          const [first, second] = [yield* borrow(pool, via), yield* borrow(pool)]
          yield* first.interrupt
          assert.deepStrictEqual(yield* pool.stats, single({ used: 1, borrowers: 1, created: 1, reused: 1 }))
          yield* second.leave
          assert.deepStrictEqual(yield* pool.stats, single({ idle: 1, created: 1, reused: 1 }))
          assert.deepStrictEqual(peer.closed(), [])
        })
      )

      it.effect(`A1 interrupting ${via} in the turn in which its connection opens loses nothing`, () =>
        Effect.gen(function* () {
          const gate = yield* Deferred.make<void>()
          const { peer, pool } = yield* singleton({}, TestConnector.makeUnsafe(TestConnector.gated(gate)))
          const callers = [yield* borrow(pool, via), yield* borrow(pool, via)]
          Deferred.doneUnsafe(gate, Exit.void)
          callers[0]!.fiber.interruptUnsafe()
          yield* settle
          assert.strictEqual(callers[1]!.state(), "has 1")
          yield* callers[1]!.leave
          yield* callers[0]!.interrupt
          assert.deepStrictEqual((yield* pool.stats).borrowers, 0)
          assert.deepStrictEqual((yield* pool.stats).idle, 1)
          assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
        })
      )

      it.effect(`A1 interrupting ${via} before its first step takes nothing`, () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* singleton()
          const borrower = yield* borrowLater(pool, via)
          borrower.fiber.interruptUnsafe()
          yield* settle
          assert.deepStrictEqual(yield* pool.stats, single({}))
          assert.strictEqual(peer.attempts(), 0)
        })
      )
    }

    it.effect("S2 interrupting all callers leaves the attempt to the next one", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const [open] = gates(peer, succeed)
        for (const caller of yield* borrowMany(pool, 3)) yield* caller.interrupt
        assert.deepStrictEqual(yield* pool.stats, single({ connecting: 1 }))
        const next = yield* borrow(pool)
        yield* open!
        assert.deepStrictEqual(states(next), ["has 1"])
        assert.strictEqual(peer.attempts(), 1)
      })
    )

    it.effect("A2 an attempt whose callers have all left goes on, and its connection becomes idle", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const [open] = gates(peer, succeed)
        for (const caller of yield* borrowMany(pool, 2)) yield* caller.interrupt
        yield* open!
        assert.deepStrictEqual(yield* pool.stats, single({ idle: 1, created: 1 }))
        assert.strictEqual(yield* once(pool), "has 1")
      })
    )

    it.effect("A2 an attempt whose callers have all left may fail without harm", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton({ backoff: everySecond })
        const [end] = gates(peer, fail)
        const caller = yield* borrow(pool)
        yield* caller.interrupt
        yield* end!
        assert.deepStrictEqual(yield* pool.stats, single({ failed: 1 }))
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )

    it.effect('A2 "cancel" cancels an attempt when the last of its callers has left, not before', () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton({ onAbandon: "cancel" })
        peer.script(hang)
        const [first, second] = yield* borrowMany(pool, 2)
        yield* first!.interrupt
        assert.deepStrictEqual(peer.log(), ["connect 1"])
        yield* second!.interrupt
        assert.deepStrictEqual(peer.log(), ["connect 1", "cancel 1"])
        assert.deepStrictEqual(yield* pool.stats, single({}))
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )

    for (const via of ["get", "lease"] as const) {
      it.effect(`A1 a scope that closes while ${via} waits ends the wait`, () =>
        Effect.gen(function* () {
          const { pool } = yield* singleton({}, TestConnector.makeUnsafe(hang))
          const scope = yield* Scope.make()
          const waiting = yield* Effect.forkChild(
            Scope.provide(via === "get" ? Effect.asVoid(pool.get()) : Effect.asVoid(pool.lease()), scope)
          )
          yield* settle
          yield* Scope.close(scope, Exit.void)
          yield* settle
          const exit = waiting.pollUnsafe()
          assert.strictEqual(exit === undefined ? "waits" : describeExit(exit), "interrupted")
          assert.strictEqual((yield* pool.stats).pending, 0)
        })
      )
    }

    it.effect("A1 interrupting get while it waits gives up its place although its scope stays open", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton({ onAbandon: "cancel" }, TestConnector.makeUnsafe(hang))
        const scope = yield* Scope.make()
        const waiting = yield* Effect.forkChild(Scope.provide(pool.get(), scope))
        yield* settle
        waiting.interruptUnsafe()
        yield* settle
        assert.deepStrictEqual(yield* pool.stats, single({}))
        assert.deepStrictEqual(peer.log(), ["connect 1", "cancel 1"])
      })
    )

    it.effect("A1 takes nothing for a scope that has closed", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        yield* once(pool)
        const scope = yield* Scope.make()
        yield* Scope.close(scope, Exit.void)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(Scope.provide(pool.get(), scope))))
        assert.deepStrictEqual(yield* pool.stats, single({ idle: 1, created: 1 }))
        assert.strictEqual(peer.attempts(), 1)
      })
    )
  })

  describe("generations", () => {
    type Pool = ConnectionPool<void, TestConnection, unknown>
    type End = (scene: {
      readonly peer: TestConnector.TestConnector
      readonly pool: Pool
      readonly borrower: Borrower
      readonly signals: Signals
    }) => Effect.Effect<unknown, never, Scope.Scope>

    const ends: ReadonlyArray<readonly [string, End]> = [
      ["closes", ({ borrower, peer }) => Effect.sync(() => peer.killSilently(borrower.connection()))],
      ["retires", ({ signals }) => Effect.sync(() => signals.retire())],
      ["is invalidated", ({ borrower }) => borrower.lease().invalidate],
      ["is not retained", ({ pool }) => pool.retain(() => false)],
      ["is rejected by a guard", ({ pool }) => pool.guard(({ id }) => id !== 1)]
    ]

    for (const [how, end] of ends) {
      it.effect(`S3 when the connection ${how} the next call makes a new one while old borrowers finish`, () =>
        Effect.gen(function* () {
          const signals: Array<Signals> = []
          const { peer, pool } = yield* singleton({
            watch: (_, each) => {
              signals.push(each)
            }
          })
          const [a, b] = yield* borrowMany(pool, 2)
          yield* end({ peer, pool, borrower: a!, signals: signals[0]! })
          const c = yield* borrow(pool)
          assert.deepStrictEqual(states(a!, b!, c), ["has 1", "has 1", "has 2"])
          assert.deepStrictEqual(peer.closed(), [])
          assert.deepStrictEqual(
            yield* pool.stats,
            single({ used: 1, closing: 1, borrowers: 3, created: 2, reused: 1 })
          )
          yield* a!.leave
          assert.deepStrictEqual(peer.closed(), [])
          yield* b!.leave
          assert.deepStrictEqual(peer.closed(), [1])
          assert.deepStrictEqual(states(c), ["has 2"])
          assert.strictEqual(yield* once(pool), "has 2")
        })
      )

      it.effect(`S3 when the connection ${how} and nobody else borrows, it closes after its last borrower`, () =>
        Effect.gen(function* () {
          const signals: Array<Signals> = []
          const { peer, pool } = yield* singleton({
            watch: (_, each) => {
              signals.push(each)
            }
          })
          const [a, b] = yield* borrowMany(pool, 2)
          yield* end({ peer, pool, borrower: a!, signals: signals[0]! })
          yield* a!.leave
          assert.deepStrictEqual(peer.closed(), [])
          yield* b!.leave
          assert.deepStrictEqual(peer.closed(), [1])
          assert.deepStrictEqual(yield* pool.stats, single({ created: 1, closed: 1, reused: 1 }))
        })
      )
    }

    it.effect("S3 an idle connection that retires closes at once", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const borrower = yield* borrow(pool)
        const connection = borrower.connection()
        yield* borrower.leave
        peer.kill(connection)
        assert.deepStrictEqual(peer.closed(), [1])
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )

    it.effect("S3 an idle connection that is not retained closes at once", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        yield* once(pool)
        yield* pool.retain(() => false)
        assert.deepStrictEqual(peer.closed(), [1])
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )

    it.effect("S3 an idle connection that is found closed is replaced when somebody borrows", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const borrower = yield* borrow(pool)
        const connection = borrower.connection()
        yield* borrower.leave
        peer.killSilently(connection)
        assert.strictEqual(yield* once(pool), "has 2")
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "kill 1", "close 1", "connect 2", "open 2"])
      })
    )

    it.effect("S3 a connection found closed at return closes", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const borrower = yield* borrow(pool)
        peer.killSilently(borrower.connection())
        yield* borrower.leave
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("A3 S3 the new connection does not wait for the old one's close: a draining one does not count", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        peer.onClose(({ id }) => (id === 1 ? Effect.sleep("1 second") : Effect.void))
        const first = yield* borrow(pool)
        yield* first.lease().invalidate
        const second = yield* borrow(pool)
        yield* first.leave
        assert.deepStrictEqual(states(second), ["has 2"])
        assert.deepStrictEqual(yield* pool.stats, single({ used: 1, closing: 1, borrowers: 1, created: 2 }))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* pool.stats, single({ used: 1, borrowers: 1, created: 2, closed: 1 }))
      })
    )

    it.effect("S3 many generations may drain at once, each closes after its own last borrower", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const borrowers: Array<Borrower> = []
        for (let generation = 0; generation < 3; generation++) {
          const borrower = yield* borrow(pool)
          yield* borrower.lease().invalidate
          borrowers.push(borrower)
        }
        assert.deepStrictEqual(states(...borrowers), ["has 1", "has 2", "has 3"])
        yield* borrowers[1]!.leave
        yield* borrowers[2]!.leave
        yield* borrowers[0]!.leave
        assert.deepStrictEqual(peer.closed(), [2, 3, 1])
      })
    )

    it.effect("S4 a lease of an earlier generation cannot clear a later one", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const [a, b] = yield* borrowMany(pool, 2)
        yield* a!.lease().invalidate
        const c = yield* borrow(pool)
        yield* b!.lease().invalidate
        yield* a!.leave
        yield* b!.leave
        assert.deepStrictEqual([states(c), peer.closed()], [["has 2"], [1]])
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )

    it.effect("S4 a lease of an earlier generation cannot clear an attempt of a later one", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const [a, b] = yield* borrowMany(pool, 2)
        const [open] = gates(peer, succeed)
        yield* a!.lease().invalidate
        const c = yield* borrow(pool)
        yield* b!.lease().invalidate
        yield* b!.leave
        yield* a!.leave
        assert.deepStrictEqual([states(c), peer.attempts()], [["waits"], 2])
        yield* open!
        assert.deepStrictEqual(states(c), ["has 2"])
      })
    )

    it.effect("S4 a closed signal of an earlier generation cannot clear a later one", () =>
      Effect.gen(function* () {
        const signals: Array<Signals> = []
        const { pool } = yield* singleton({
          watch: (_, each) => {
            signals.push(each)
          }
        })
        const a = yield* borrow(pool)
        yield* a.lease().invalidate
        const b = yield* borrow(pool)
        signals[0]!.retire()
        yield* a.leave
        signals[0]!.retire()
        assert.deepStrictEqual([states(b), yield* once(pool)], [["has 2"], "has 2"])
      })
    )

    it.effect("S4 an attempt that timed out cannot complete a later one", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const gate = yield* Deferred.make<void>()
        peer.script(TestConnector.gated(gate), hang)
        const connect = () => (peer.attempts() === 0 ? Effect.uninterruptible(peer.connect()) : peer.connect())
        const { pool } = yield* singleton({ connect, connectTimeout: "1 second", backoff: everySecond }, peer)
        const first = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(first), ["WaitTimeout connect"])
        const second = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(peer.log(), ["connect 1", "connect 2"])
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(states(second), ["waits"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "connect 2", "open 1", "close 1"])
      })
    )

    it.effect("S4 an attempt that timed out cannot fail a later one", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const gate = yield* Deferred.make<void>()
        peer.script(TestConnector.gated(gate, fail), delay(500))
        const connect = () => (peer.attempts() === 0 ? Effect.uninterruptible(peer.connect()) : peer.connect())
        const { pool } = yield* singleton({ connect, connectTimeout: "1 second", backoff: everySecond }, peer)
        yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        const second = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(states(second), ["waits"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(second), ["has 2"])
        assert.strictEqual((yield* pool.stats).failed, 1)
      })
    )

    it.effect("S4 an attempt that was cancelled cannot complete a later one", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const gate = yield* Deferred.make<void>()
        peer.script(TestConnector.gated(gate), hang)
        const connect = () => (peer.attempts() === 0 ? Effect.uninterruptible(peer.connect()) : peer.connect())
        const { pool } = yield* singleton({ connect, onAbandon: "cancel" }, peer)
        const first = yield* borrow(pool)
        yield* first.interrupt
        const second = yield* borrow(pool)
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(states(second), ["waits"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "connect 2", "open 1", "close 1"])
      })
    )

    it.effect("S4 a caller of a failed attempt that is interrupted later does not disturb the next attempt", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton({ backoff: everySecond })
        peer.script(fail)
        const scope = yield* Scope.make()
        const failed = yield* Effect.exit(Scope.provide(pool.get(), scope))
        assert.strictEqual(describeExit(failed), "TestConnectError 1")
        const [, open] = [yield* borrow(pool), ...gates(peer, succeed)]
        yield* TestClock.adjust("1 second")
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* pool.stats).pending, 1)
        yield* open!
        assert.strictEqual((yield* pool.stats).used, 1)
      })
    )
  })

  describe("lease", () => {
    it.effect("A5 releasing twice ends one loan", () =>
      Effect.gen(function* () {
        const { pool } = yield* singleton()
        const [a, b] = yield* borrowMany(pool, 2)
        yield* a!.lease().release
        a!.lease().releaseUnsafe()
        yield* a!.leave
        assert.deepStrictEqual([states(a!, b!), (yield* pool.stats).borrowers], [["ok", "has 1"], 1])
      })
    )

    it.effect("A5 a lease that was released cannot invalidate the connection for the others", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const [a, b] = yield* borrowMany(pool, 2)
        yield* a!.lease().release
        yield* a!.lease().invalidate
        yield* b!.leave
        assert.deepStrictEqual([yield* once(pool), peer.closed()], ["has 1", []])
      })
    )
  })

  describe("context", () => {
    const Tenant = Context.Reference<string>("test/SingletonPool/Tenant", { defaultValue: () => "nobody" })

    it.effect("A2 connect runs in the context that make captured, without a span of its caller", () =>
      Effect.gen(function* () {
        const seen: Array<string> = []
        const pool = yield* Effect.provideService(
          SingletonPool.make({
            connect: () =>
              Effect.flatMap(Tenant, (tenant) =>
                Effect.map(Effect.serviceOption(Tracer.ParentSpan), (span) => seen.push(`${tenant} ${span._tag}`))
              )
          }),
          Tenant,
          "maker"
        )
        yield* pool.use(() => Effect.void).pipe(Effect.provideService(Tenant, "caller"), Effect.withSpan("caller"))
        assert.deepStrictEqual(seen, ["maker None"])
      })
    )
  })

  describe("time", () => {
    it.effect("A2 connectTimeout ends the attempt for all its callers", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton({}, TestConnector.makeUnsafe(hang))
        const callers = yield* borrowMany(pool, 2)
        yield* TestClock.adjust(9_999)
        assert.deepStrictEqual(states(...callers), ["waits", "waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(...callers), ["WaitTimeout connect", "WaitTimeout connect"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "cancel 1"])
        assert.deepStrictEqual(yield* pool.stats, single({ failed: 1 }))
      })
    )

    it.effect("A7 waitTimeout ends each caller's wait at its own time, phase connect; the attempt goes on", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton({ waitTimeout: "2 seconds" })
        const [open] = gates(peer, succeed)
        const first = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        const second = yield* borrow(pool)
        yield* TestClock.adjust(999)
        assert.deepStrictEqual(states(first, second), ["waits", "waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(first, second), ["WaitTimeout connect", "waits"])
        yield* open!
        assert.deepStrictEqual(states(first, second), ["WaitTimeout connect", "has 1"])
        assert.deepStrictEqual(yield* pool.stats, single({ used: 1, borrowers: 1, created: 1, timedOut: 1 }))
      })
    )

    it.effect("A7 waitTimeout ends a wait in the pause, phase wait, and says why", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton({ waitTimeout: "500 millis", backoff: everySecond })
        peer.script(fail)
        yield* once(pool)
        const caller = yield* Effect.forkChild(Effect.flip(pool.use(() => Effect.void)))
        yield* TestClock.adjust(500)
        const error = yield* Fiber.join(caller)
        assert.isTrue(error._tag === "PoolError" && error.reason._tag === "WaitTimeout")
        if (error._tag !== "PoolError" || error.reason._tag !== "WaitTimeout") return
        assert.strictEqual(error.reason.phase, "wait")
        assert.isTrue(error.reason.lastFailure !== undefined)
        assert.deepStrictEqual(error.reason.stats, single({ pending: 1, failed: 1, timedOut: 1 }))
      })
    )

    it.effect("A7 waitTimeout is one budget for the pause and the attempt after it", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton({ waitTimeout: "3 seconds", backoff: everySecond })
        peer.script(fail, hang)
        yield* once(pool)
        const caller = yield* borrow(pool)
        yield* TestClock.adjust(2_999)
        assert.deepStrictEqual([states(caller), peer.attempts()], [["waits"], 2])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(caller), ["WaitTimeout connect"])
      })
    )

    it.effect("A7 a wait that ended does not end the body that it led to", () =>
      Effect.gen(function* () {
        const { pool } = yield* singleton({}, TestConnector.makeUnsafe(delay("5 seconds")))
        const caller = yield* borrow(pool)
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(states(caller), ["has 1"])
      })
    )

    it.effect("A7 maxPending bounds the callers that wait: beyond it QueueFull at once", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton({ maxPending: 2 })
        const [open] = gates(peer, succeed)
        const callers = yield* borrowMany(pool, 3)
        assert.deepStrictEqual(states(...callers), ["waits", "waits", "QueueFull"])
        yield* open!
        const later = yield* borrowMany(pool, 3)
        assert.deepStrictEqual(states(...later), ["has 1", "has 1", "has 1"])
      })
    )
  })

  describe("validate", () => {
    it.effect("A9 runs once for all callers when the connection was idle for validateAfter or longer", () =>
      Effect.gen(function* () {
        const validated: Array<number> = []
        const { pool } = yield* singleton({
          validate: (connection) =>
            Effect.andThen(
              Effect.sync(() => validated.push(connection.id)),
              Effect.sleep("1 second")
            ),
          validateAfter: "1 minute"
        })
        yield* once(pool)
        yield* TestClock.adjust(59_999)
        yield* once(pool)
        assert.deepStrictEqual(validated, [])
        yield* TestClock.adjust("1 minute")
        const callers = yield* borrowMany(pool, 3)
        assert.deepStrictEqual([states(...callers), validated], [["waits", "waits", "waits"], [1]])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(...callers), ["has 1", "has 1", "has 1"])
      })
    )

    it.effect("A9 does not run while somebody uses the connection", () =>
      Effect.gen(function* () {
        const validated: Array<number> = []
        const { pool } = yield* singleton({
          validate: (connection) => Effect.sync(() => validated.push(connection.id))
        })
        yield* borrow(pool)
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual([yield* once(pool), validated], ["has 1", []])
      })
    )

    it.effect("A9 that fails makes the callers share a new connection", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton({
          validate: () => Effect.andThen(Effect.sleep("1 second"), Effect.fail("broken"))
        })
        yield* once(pool)
        const callers = yield* borrowMany(pool, 2)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(...callers), ["has 2", "has 2"])
        assert.deepStrictEqual(peer.closed(), [1])
        assert.strictEqual((yield* pool.stats).failed, 0)
      })
    )

    it.effect("A9 that fails at once makes the caller get a new connection", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton({ validate: () => Effect.fail("broken") })
        yield* once(pool)
        assert.strictEqual(yield* once(pool), "has 2")
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("A9 that hangs counts against waitTimeout, phase validate, and ends at connectTimeout", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton({ validate: () => Effect.never, waitTimeout: "2 seconds" })
        yield* once(pool)
        const first = yield* borrow(pool)
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(states(first), ["WaitTimeout validate"])
        yield* TestClock.adjust(7_999)
        assert.deepStrictEqual(peer.closed(), [])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(peer.closed(), [1])
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )

    it.effect("A9 is owned by the pool: it goes on when its callers leave", () =>
      Effect.gen(function* () {
        const { pool } = yield* singleton({ validate: () => Effect.sleep("1 second") })
        yield* once(pool)
        for (const caller of yield* borrowMany(pool, 2)) yield* caller.interrupt
        assert.deepStrictEqual(yield* pool.stats, single({ used: 1, created: 1 }))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* pool.stats, single({ idle: 1, created: 1 }))
      })
    )

    it.effect("A9 a connection that retires while it is validated is not lent", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton({ validate: () => Effect.sleep("1 second") })
        const borrower = yield* borrow(pool)
        const connection = borrower.connection()
        yield* borrower.leave
        const caller = yield* borrow(pool)
        peer.kill(connection)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual([states(caller), peer.closed()], [["has 2"], [1]])
      })
    )

    it.effect("S1 callers that shared an attempt share its connection, whichever of them runs first", () =>
      Effect.gen(function* () {
        const validated: Array<number> = []
        const { peer, pool } = yield* singleton({
          validate: (connection) => Effect.sync(() => validated.push(connection.id))
        })
        const [open] = gates(peer, succeed)
        const all = yield* Effect.forkChild(
          Effect.forEach(Array.from({ length: 5 }), () => once(pool), { concurrency: "unbounded" })
        )
        yield* settle
        yield* open!
        assert.deepStrictEqual(all.pollUnsafe(), Exit.succeed(Array(5).fill("has 1")))
        // Opening it a moment ago was its check.
        assert.deepStrictEqual(validated, [])
      })
    )
  })

  describe("stacking", () => {
    it.effect("a singleton over another pool's get lends that pool's connection", () =>
      Effect.gen(function* () {
        const { peer, pool: inner } = yield* singleton()
        const outer = yield* SingletonPool.make({ connect: inner.get })
        const borrowers = [yield* borrow(outer), yield* borrow(outer)]
        assert.deepStrictEqual(states(...borrowers), ["has 1", "has 1"])
        assert.strictEqual((yield* inner.stats).borrowers, 1)
        yield* outer.retain(() => false)
        for (const borrower of borrowers) yield* borrower.leave
        assert.deepStrictEqual([(yield* inner.stats).borrowers, peer.closed()], [0, []])
      })
    )
  })

  describe("backoff", () => {
    it.effect("C7 is told causes and resets after a success", () =>
      Effect.gen(function* () {
        const causes: Array<Cause<unknown>> = []
        const { peer, pool } = yield* singleton({ backoff: everySecond })
        yield* pool.observe({
          connectFailed: (_, cause) => {
            causes.push(cause)
          }
        })
        peer.script(fail, succeed, fail)
        yield* once(pool)
        yield* TestClock.adjust("1 second")
        yield* once(pool)
        yield* pool.retain(() => false)
        assert.strictEqual(yield* once(pool), "TestConnectError 3")
        assert.strictEqual(causes.length, 2)
        const next = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(next), ["has 4"])
      })
    )
  })
})
