import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import * as TestClock from "effect/testing/TestClock"
import * as CachePool from "../src/CachePool.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { borrow, borrowMany, cache, everySecond, gates, once, settle, states, stats } from "./support/scene.ts"

const Tenant: Context.Reference<string> = Context.Reference<string>("test/Tenant", { defaultValue: () => "nobody" })

/** A peer whose first attempt waits for `gate` and heeds no interruption. */
const stubborn = () => {
  const peer = TestConnector.makeUnsafe()
  const gate = Deferred.makeUnsafe<void>()
  peer.script(TestConnector.gated(gate))
  const connect = () => (peer.attempts() === 0 ? Effect.uninterruptible(peer.connect()) : peer.connect())
  return { gate, peer, connect }
}

describe("CachePool", () => {
  describe("connect", () => {
    it.effect("is not called before somebody borrows", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        yield* settle
        assert.deepStrictEqual(peer.log(), [])
        assert.deepStrictEqual(yield* pool.stats, stats({}))
      })
    )

    it.effect("is called without a target", () =>
      Effect.gen(function* () {
        const targets: Array<unknown> = []
        const pool = yield* CachePool.make({
          connect: (...args: ReadonlyArray<unknown>) => Effect.sync(() => targets.push(args[0]))
        })
        yield* pool.use(() => Effect.void)
        assert.deepStrictEqual(targets, [undefined])
      })
    )

    it.effect("A2 runs in the context that make captured, not in the caller's", () =>
      Effect.gen(function* () {
        const seen: Array<string> = []
        const pool = yield* Effect.provideService(
          CachePool.make({ connect: () => Effect.map(Tenant, (tenant) => seen.push(tenant)) }),
          Tenant,
          "maker"
        )
        yield* Effect.provideService(
          pool.use(() => Effect.void),
          Tenant,
          "caller"
        )
        assert.deepStrictEqual(seen, ["maker"])
      })
    )

    it.effect("A2 does not run under the span of its caller, nor of make", () =>
      Effect.gen(function* () {
        const parents: Array<string> = []
        const parent = Effect.map(Effect.serviceOption(Tracer.ParentSpan), (span) => parents.push(span._tag))
        const pool = yield* Effect.withSpan(CachePool.make({ connect: () => parent }), "make")
        yield* Effect.withSpan(
          pool.use(() => Effect.void),
          "caller"
        )
        assert.deepStrictEqual(parents, ["None"])
      })
    )

    it.effect("A2 goes on when its caller leaves, and its connection becomes idle", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const [open] = gates(peer, TestConnector.succeed)
        const caller = yield* borrow(pool)
        yield* caller.interrupt
        assert.deepStrictEqual(states(caller), ["interrupted"])
        assert.deepStrictEqual(yield* pool.stats, stats({ connecting: 1 }))
        yield* open!
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
        assert.strictEqual(yield* once(pool), "has 1")
      })
    )

    it.effect("A2 goes on when its caller leaves, and its connection goes to the next waiter", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1 })
        const [open] = gates(peer, TestConnector.succeed)
        const first = yield* borrow(pool)
        const second = yield* borrow(pool)
        yield* first.interrupt
        assert.deepStrictEqual(states(first, second), ["interrupted", "waits"])
        yield* open!
        assert.deepStrictEqual(states(first, second), ["interrupted", "has 1"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
      })
    )

    it.effect("A2 goes on when its caller leaves, and its failure is nobody's error", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1, backoff: everySecond })
        const [end] = gates(peer, TestConnector.fail)
        const first = yield* borrow(pool)
        const second = yield* borrow(pool)
        yield* first.interrupt
        yield* end!
        assert.deepStrictEqual(states(first, second), ["interrupted", "waits"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(first, second), ["interrupted", "has 2"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "fail 1", "connect 2", "open 2"])
      })
    )

    it.effect("A2 belongs to the pool: it lives on when the fiber and scope of its caller have ended", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const [open] = gates(peer, TestConnector.succeed)
        const caller = yield* Effect.forkChild(Effect.scoped(Effect.timeoutOption(pool.get(), "1 second")))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(caller.pollUnsafe(), Exit.succeed(Option.none()))
        assert.strictEqual((yield* pool.stats).connecting, 1)
        yield* open!
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
        assert.strictEqual((yield* pool.stats).idle, 1)
      })
    )
  })

  describe("connectTimeout", () => {
    it.effect("A2 ends an attempt at its deadline with WaitTimeout of the phase connect", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        peer.script(TestConnector.hang)
        const caller = yield* borrow(pool)
        yield* TestClock.adjust(9_999)
        assert.deepStrictEqual(states(caller), ["waits"])
        assert.deepStrictEqual(yield* pool.stats, stats({ connecting: 1, pending: 1 }))
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(caller), ["WaitTimeout connect"])
        assert.deepStrictEqual(yield* pool.stats, stats({ failed: 1 }))
        assert.deepStrictEqual(peer.log(), ["connect 1", "cancel 1"])
      })
    )

    it.effect("A2 also ends an attempt that nobody waits for any more", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ connectTimeout: "2 seconds" })
        peer.script(TestConnector.hang)
        const caller = yield* borrow(pool)
        yield* caller.interrupt
        yield* TestClock.adjust(1_999)
        assert.strictEqual((yield* pool.stats).connecting, 1)
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(yield* pool.stats, stats({ failed: 1 }))
      })
    )

    it.effect("A5 what an attempt opens after its deadline is closed and served to nobody", () =>
      Effect.gen(function* () {
        const { gate, peer, connect } = stubborn()
        const { pool } = yield* cache({ connect, connectTimeout: "2 seconds", backoff: everySecond }, peer)
        peer.script(TestConnector.hang)
        const first = yield* borrow(pool)
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(states(first), ["WaitTimeout connect"])
        const second = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(peer.log(), ["connect 1", "connect 2"])
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(states(second), ["waits"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "connect 2", "open 1", "close 1"])
        assert.deepStrictEqual(yield* pool.stats, stats({ connecting: 1, pending: 1, failed: 1 }))
      })
    )

    it.effect("an attempt that heeds no interruption keeps its place for closeTimeout at most", () =>
      Effect.gen(function* () {
        const { gate, peer, connect } = stubborn()
        const { pool } = yield* cache({ connect, maxSize: 1, connectTimeout: "2 seconds", backoff: everySecond }, peer)
        const first = yield* borrow(pool)
        yield* TestClock.adjust("2 seconds")
        const second = yield* borrow(pool)
        yield* TestClock.adjust(4_999)
        assert.deepStrictEqual(states(first, second), ["WaitTimeout connect", "waits"])
        assert.deepStrictEqual(yield* pool.stats, stats({ closing: 1, pending: 1, maxSize: 1, failed: 1 }))
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(second), ["has 2"])
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(peer.log(), ["connect 1", "connect 2", "open 2", "open 1", "close 1"])
      })
    )

    it.effect("Infinity means no deadline", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ connectTimeout: Infinity, waitTimeout: Infinity })
        const [open] = gates(peer, TestConnector.succeed)
        const caller = yield* borrow(pool)
        yield* TestClock.adjust("1000 days")
        assert.deepStrictEqual(states(caller), ["waits"])
        yield* open!
        assert.deepStrictEqual(states(caller), ["has 1"])
      })
    )
  })

  describe("onAbandon", () => {
    it.effect('A2 "cancel" interrupts a connect whose callers have left and closes what it had opened', () =>
      Effect.gen(function* () {
        const closed: Array<string> = []
        const pool = yield* CachePool.make({
          connect: () =>
            Effect.andThen(
              Effect.acquireRelease(Effect.void, () => Effect.sync(() => closed.push("socket"))),
              Effect.onInterrupt(Effect.never, () => Effect.sync(() => closed.push("handshake")))
            ),
          onAbandon: "cancel"
        })
        const caller = yield* Effect.forkChild(pool.use(() => Effect.void))
        yield* settle
        assert.strictEqual((yield* pool.stats).connecting, 1)
        caller.interruptUnsafe()
        yield* settle
        assert.deepStrictEqual(closed, ["handshake", "socket"])
        assert.deepStrictEqual(yield* pool.stats, stats({}))
      })
    )

    it.effect('A2 "cancel" passes the connect to a waiter that has none instead of cancelling it', () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1, onAbandon: "cancel" })
        const [end] = gates(peer, TestConnector.fail)
        const first = yield* borrow(pool)
        const second = yield* borrow(pool)
        yield* first.interrupt
        assert.strictEqual((yield* pool.stats).connecting, 1)
        yield* end!
        assert.deepStrictEqual(states(first, second), ["interrupted", "TestConnectError 1"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "fail 1"])
      })
    )

    it.effect('A2 "cancel" cancels the connect of a caller that was served by a returned connection', () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ onAbandon: "cancel" })
        const holder = yield* borrow(pool)
        peer.script(TestConnector.hang)
        const caller = yield* borrow(pool)
        assert.strictEqual((yield* pool.stats).connecting, 1)
        yield* holder.leave
        assert.deepStrictEqual(states(caller), ["has 1"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "connect 2", "cancel 2"])
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, created: 1, reused: 1 }))
      })
    )

    it.effect('A2 "cancel" cancels the connect of a caller that timed out', () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ onAbandon: "cancel", waitTimeout: "1 second" })
        peer.script(TestConnector.hang)
        const caller = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(caller), ["WaitTimeout connect"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "cancel 1"])
        assert.deepStrictEqual(yield* pool.stats, stats({ timedOut: 1 }))
      })
    )

    it.effect('A2 "cancel" counts no failure, so no backoff delays the next caller', () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ onAbandon: "cancel" })
        peer.script(TestConnector.hang)
        const caller = yield* borrow(pool)
        yield* caller.interrupt
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )

    it.effect('A5 "cancel" closes what a connect that heeds no interruption opens later', () =>
      Effect.gen(function* () {
        const { gate, peer, connect } = stubborn()
        const { pool } = yield* cache({ connect, onAbandon: "cancel" }, peer)
        const caller = yield* borrow(pool)
        yield* caller.interrupt
        assert.deepStrictEqual(yield* pool.stats, stats({ closing: 1 }))
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "close 1"])
        assert.deepStrictEqual(yield* pool.stats, stats({}))
      })
    )
  })

  describe("racing", () => {
    it.effect("C2 with nothing idle and room the caller starts a connect", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 2 })
        yield* borrow(pool)
        const second = yield* borrow(pool)
        assert.deepStrictEqual(states(second), ["has 2"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "connect 2", "open 2"])
      })
    )

    it.effect("C2 without room the caller starts no connect", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1 })
        yield* borrow(pool)
        const second = yield* borrow(pool)
        assert.deepStrictEqual(states(second), ["waits"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
      })
    )

    it.effect("C2 a caller that connects is served by a connection that is returned first", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const holder = yield* borrow(pool)
        const [open] = gates(peer, TestConnector.succeed)
        const caller = yield* borrow(pool)
        assert.deepStrictEqual(states(caller), ["waits"])
        yield* holder.leave
        assert.deepStrictEqual(states(caller), ["has 1"])
        yield* open!
        assert.deepStrictEqual(states(caller), ["has 1"])
      })
    )

    it.effect("C2 a caller that connects is served by its connect when that comes first", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const holder = yield* borrow(pool)
        const [open] = gates(peer, TestConnector.succeed)
        const caller = yield* borrow(pool)
        yield* open!
        assert.deepStrictEqual(states(caller), ["has 2"])
        yield* holder.leave
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, used: 1, borrowers: 1, created: 2 }))
      })
    )

    it.effect("C2 a connect that nobody needs any more becomes idle", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const holder = yield* borrow(pool)
        const [open] = gates(peer, TestConnector.succeed)
        const caller = yield* borrow(pool)
        yield* holder.leave
        yield* open!
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, used: 1, borrowers: 1, created: 2, reused: 1 }))
        yield* caller.leave
        assert.deepStrictEqual(peer.closed(), [])
        assert.strictEqual((yield* pool.stats).idle, 2)
      })
    )

    it.effect("C2 a connect that nobody needs any more serves the next waiter", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 2 })
        const holder = yield* borrow(pool)
        const [open] = gates(peer, TestConnector.succeed)
        const first = yield* borrow(pool)
        const second = yield* borrow(pool)
        yield* holder.leave
        assert.deepStrictEqual(states(first, second), ["has 1", "waits"])
        yield* open!
        assert.deepStrictEqual(states(first, second), ["has 1", "has 2"])
        assert.strictEqual(peer.attempts(), 2)
      })
    )

    it.effect("C2 a connect that nobody needs any more may fail without harm", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const holder = yield* borrow(pool)
        const [end] = gates(peer, TestConnector.fail)
        const caller = yield* borrow(pool)
        yield* holder.leave
        yield* end!
        assert.deepStrictEqual(states(holder, caller), ["ok", "has 1"])
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, created: 1, reused: 1, failed: 1 }))
      })
    )
  })

  describe("failing", () => {
    it.effect("C3 a connect error reaches only the caller that owns the attempt", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 3 })
        const [, endSecond] = gates(peer, TestConnector.succeed, TestConnector.fail, TestConnector.succeed)
        const callers = yield* borrowMany(pool, 3)
        yield* endSecond!
        assert.deepStrictEqual(states(...callers), ["waits", "TestConnectError 2", "waits"])
      })
    )

    it.effect("C3 callers that wait without an attempt do not see the error of another's", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1, backoff: everySecond })
        const [end] = gates(peer, TestConnector.fail)
        const callers = yield* borrowMany(pool, 3)
        yield* end!
        assert.deepStrictEqual(states(...callers), ["TestConnectError 1", "waits", "waits"])
      })
    )

    it.effect("C3 an error comes to its caller although a connection is about to be returned", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const holder = yield* borrow(pool)
        const [end] = gates(peer, TestConnector.fail)
        const caller = yield* borrow(pool)
        yield* end!
        assert.deepStrictEqual(states(caller), ["TestConnectError 2"])
        yield* holder.leave
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1, failed: 1 }))
      })
    )

    it.effect("a connector that throws fails its caller with that defect instead of hanging", () =>
      Effect.gen(function* () {
        let calls = 0
        const pool = yield* CachePool.make({
          connect: (): Effect.Effect<string> => {
            if (calls++ === 0) throw new Error("no such host")
            return Effect.succeed("open")
          },
          backoff: everySecond
        })
        const exit = yield* Effect.exit(pool.use(Effect.succeed))
        assert.isTrue(Exit.isFailure(exit) && Exit.hasDies(exit))
        assert.deepStrictEqual(yield* pool.stats, stats({ failed: 1 }))
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* pool.use(Effect.succeed), "open")
      })
    )

    it.effect("what an attempt had opened before it failed is closed", () =>
      Effect.gen(function* () {
        const log: Array<string> = []
        const pool = yield* CachePool.make({
          connect: () =>
            Effect.andThen(
              Effect.acquireRelease(
                Effect.sync(() => log.push("socket")),
                () => Effect.sync(() => log.push("close"))
              ),
              Effect.fail("handshake")
            )
        })
        assert.strictEqual(yield* Effect.flip(pool.use(() => Effect.void)), "handshake")
        assert.deepStrictEqual(log, ["socket", "close"])
        assert.deepStrictEqual(yield* pool.stats, stats({ failed: 1 }))
      })
    )

    it.effect("an attempt that interrupts itself fails its caller instead of hanging", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        peer.script(() => Effect.interrupt)
        const exit = yield* Effect.exit(pool.use(() => Effect.void))
        assert.isTrue(Exit.isFailure(exit))
        assert.deepStrictEqual(yield* pool.stats, stats({ failed: 1 }))
      })
    )
  })
})
