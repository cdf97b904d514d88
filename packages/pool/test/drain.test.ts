import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as CachePool from "../src/CachePool.ts"
import * as SingletonPool from "../src/SingletonPool.ts"
import { delay, hang, succeed } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import {
  borrow,
  borrowMany,
  cache,
  checkClosed,
  everySecond,
  fiberCounter,
  gates,
  once,
  settle,
  singleton,
  states,
  stats
} from "./support/scene.ts"

type Options = NonNullable<Parameters<typeof singleton>[0]>

const kinds = [
  { name: "CachePool", maxSize: 10, make: cache, plain: CachePool.make },
  { name: "SingletonPool", maxSize: 1, make: singleton, plain: SingletonPool.make }
] as const

/** A pool in a scope of its own, with what closes that scope. */
const inScope = (kind: (typeof kinds)[number], options: Options = {}, peer = TestConnector.makeUnsafe()) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const pool = yield* Scope.provide(kind.plain({ ...peer.options, ...options }), scope)
    return { peer, pool, close: Scope.close(scope, Exit.void) }
  })

for (const kind of kinds) {
  const { make, maxSize, name } = kind

  describe(name, () => {
    describe("drain", () => {
      it.effect("A8 closes idle connections at once", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          yield* once(pool)
          yield* pool.drain()
          assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "close 1"])
          assert.deepStrictEqual(yield* pool.stats, stats({ maxSize, created: 1, closed: 1 }))
        })
      )

      it.effect("A8 evicts for the reason drain", () =>
        Effect.gen(function* () {
          const { pool } = yield* make()
          const log: Array<string> = []
          yield* pool.observe({
            evicted: (_, reason) => {
              log.push(reason)
            }
          })
          yield* once(pool)
          yield* pool.drain()
          assert.deepStrictEqual(log, ["drain"])
        })
      )

      it.effect("A8 new calls fail with Closed, by every way to borrow", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          yield* pool.drain()
          const borrowers = [yield* borrow(pool, "use"), yield* borrow(pool, "get"), yield* borrow(pool, "lease")]
          assert.deepStrictEqual(states(...borrowers), ["Closed", "Closed", "Closed"])
          assert.strictEqual(peer.attempts(), 0)
        })
      )

      it.effect("A8 new calls fail with Closed while borrowers still finish", () =>
        Effect.gen(function* () {
          const { pool } = yield* make()
          const holder = yield* borrow(pool)
          yield* Effect.forkChild(pool.drain({ deadline: "1 minute" }))
          yield* settle
          assert.deepStrictEqual([states(holder), yield* once(pool)], [["has 1"], "Closed"])
        })
      )

      it.effect("A8 callers that wait for a connect fail with Closed and the connect is cancelled", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make({}, TestConnector.makeUnsafe(hang))
          const callers = yield* borrowMany(pool, 2)
          yield* pool.drain()
          yield* settle
          assert.deepStrictEqual(states(...callers), ["Closed", "Closed"])
          assert.isTrue(peer.log().includes("cancel 1"))
          assert.deepStrictEqual(yield* pool.stats, stats({ maxSize }))
        })
      )

      it.effect("A8 callers in the pause after a failure fail with Closed", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make({ backoff: everySecond })
          peer.script(TestConnector.fail)
          yield* once(pool)
          const caller = yield* borrow(pool)
          yield* pool.drain()
          yield* TestClock.adjust("1 minute")
          assert.deepStrictEqual([states(caller), peer.attempts()], [["Closed"], 1])
        })
      )

      it.effect("A8 callers that wait for a validation fail with Closed and the connection is closed", () =>
        Effect.gen(function* () {
          let validating = 0
          const validate = () =>
            Effect.ensuring(
              Effect.suspend(() => {
                validating++
                return Effect.never
              }),
              Effect.sync(() => validating--)
            )
          const { peer, pool } = yield* make({ validate })
          yield* once(pool)
          const caller = yield* borrow(pool)
          assert.deepStrictEqual([states(caller), validating], [["waits"], 1])
          yield* pool.drain({ deadline: "1 hour" })
          yield* settle
          assert.deepStrictEqual([states(caller), peer.closed(), validating], [["Closed"], [1], 0])
        })
      )

      it.effect("A8 the connection of a connect that cannot be cancelled is closed, and drain waits for that", () =>
        Effect.gen(function* () {
          const peer = TestConnector.makeUnsafe(delay("2 seconds"))
          const { pool } = yield* make({ connect: () => Effect.uninterruptible(peer.connect()) }, peer)
          const caller = yield* borrow(pool)
          const drained = yield* Effect.forkChild(pool.drain())
          yield* TestClock.adjust(1_999)
          assert.deepStrictEqual([states(caller), drained.pollUnsafe()], [["Closed"], undefined])
          yield* TestClock.adjust(1)
          assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "close 1"])
          assert.isTrue(drained.pollUnsafe() !== undefined)
        })
      )

      it.effect("A8 borrowers may finish until the deadline, and drain ends when the last has", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          const holder = yield* borrow(pool)
          const drained = yield* Effect.forkChild(pool.drain({ deadline: "10 seconds" }))
          yield* TestClock.adjust(9_999)
          assert.deepStrictEqual([peer.closed(), drained.pollUnsafe()], [[], undefined])
          assert.isTrue(holder.connection().isOpen)
          yield* holder.leave
          assert.deepStrictEqual([states(holder), peer.closed()], [["ok"], [1]])
          assert.isTrue(drained.pollUnsafe() !== undefined)
        })
      )

      it.effect("A8 at the deadline connections close under their borrowers, whose bodies go on", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          const holder = yield* borrow(pool)
          const drained = yield* Effect.forkChild(pool.drain({ deadline: "10 seconds" }))
          yield* TestClock.adjust(9_999)
          assert.deepStrictEqual(peer.closed(), [])
          yield* TestClock.adjust(1)
          assert.deepStrictEqual(peer.closed(), [1])
          assert.isTrue(drained.pollUnsafe() !== undefined)
          assert.deepStrictEqual(states(holder), ["has 1"])
          assert.isFalse(holder.connection().isOpen)
          yield* holder.leave
          assert.deepStrictEqual(states(holder), ["ok"])
          assert.deepStrictEqual(yield* pool.stats, stats({ maxSize, created: 1, closed: 1 }))
        })
      )

      it.effect("A8 user code is never interrupted", () =>
        Effect.gen(function* () {
          const { pool } = yield* make()
          const log: Array<string> = []
          const body = yield* Effect.forkChild(
            pool.use(() =>
              Effect.sleep("1 minute").pipe(
                Effect.andThen(Effect.sync(() => log.push("done"))),
                Effect.onInterrupt(() => Effect.sync(() => log.push("interrupted")))
              )
            )
          )
          yield* settle
          yield* pool.drain()
          yield* TestClock.adjust("1 minute")
          yield* Fiber.join(body)
          assert.deepStrictEqual(log, ["done"])
        })
      )

      it.effect("A8 without a deadline borrowers' connections close at once, by the default of drainDeadline", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          const holder = yield* borrow(pool)
          yield* pool.drain()
          assert.deepStrictEqual([states(holder), peer.closed()], [["has 1"], [1]])
        })
      )

      it.effect("A8 without a deadline drainDeadline holds", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make({ drainDeadline: "3 seconds" })
          yield* borrow(pool)
          const drained = yield* Effect.forkChild(pool.drain())
          yield* TestClock.adjust(2_999)
          assert.deepStrictEqual([peer.closed(), drained.pollUnsafe()], [[], undefined])
          yield* TestClock.adjust(1)
          assert.deepStrictEqual(peer.closed(), [1])
        })
      )

      it.effect("A8 a deadline of Infinity waits for borrowers for ever", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          const holder = yield* borrow(pool)
          const drained = yield* Effect.forkChild(pool.drain({ deadline: Infinity }))
          yield* TestClock.adjust("1000 days")
          assert.deepStrictEqual([peer.closed(), drained.pollUnsafe()], [[], undefined])
          yield* holder.leave
          assert.deepStrictEqual(peer.closed(), [1])
          assert.isTrue(drained.pollUnsafe() !== undefined)
        })
      )

      it.effect("A8 drains twice, one after the other", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          yield* once(pool)
          yield* pool.drain()
          yield* pool.drain()
          assert.deepStrictEqual(peer.closed(), [1])
        })
      )

      it.effect("A8 A10 leaves no timer where it was closed before", () =>
        Effect.gen(function* () {
          const { counted, running } = fiberCounter()
          yield* TestClock.adjust(0)
          const { pool } = yield* counted(make())
          yield* pool.drain()
          yield* pool.drain({ deadline: "1 hour" })
          yield* settle
          assert.strictEqual(running(), 0)
        })
      )

      it.effect("A8 A10 leaves no timer where all there is closes at once", () =>
        Effect.gen(function* () {
          const { counted, running } = fiberCounter()
          yield* TestClock.adjust(0)
          const { peer, pool } = yield* counted(make())
          yield* once(pool)
          yield* pool.drain({ deadline: "1 hour" })
          yield* settle
          assert.deepStrictEqual([peer.closed(), running()], [[1], 0])
        })
      )

      it.effect("A8 A10 leaves no timer where borrowers return before the deadline", () =>
        Effect.gen(function* () {
          const { counted, running } = fiberCounter()
          yield* TestClock.adjust(0)
          const { pool } = yield* counted(make())
          const borrower = yield* borrow(pool)
          const draining = yield* Effect.forkChild(pool.drain({ deadline: "1 hour" }))
          yield* settle
          const before = running()
          yield* borrower.leave
          assert.isTrue(draining.pollUnsafe() !== undefined)
          assert.deepStrictEqual([before, running()], [1, 0])
        })
      )

      it.effect("A8 drains twice at once: both wait for the end", () =>
        Effect.gen(function* () {
          const { pool } = yield* make()
          const holder = yield* borrow(pool)
          const drained = [
            yield* Effect.forkChild(pool.drain({ deadline: "1 minute" })),
            yield* Effect.forkChild(pool.drain({ deadline: "1 minute" }))
          ]
          yield* settle
          assert.deepStrictEqual(
            drained.map((fiber) => fiber.pollUnsafe()),
            [undefined, undefined]
          )
          yield* holder.leave
          assert.deepStrictEqual(
            drained.map((fiber) => fiber.pollUnsafe()),
            [Exit.void, Exit.void]
          )
        })
      )

      it.effect("A8 a second drain may bring the deadline forward", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          yield* borrow(pool)
          const first = yield* Effect.forkChild(pool.drain({ deadline: "1 minute" }))
          yield* settle
          const second = yield* Effect.forkChild(pool.drain({ deadline: "1 second" }))
          yield* TestClock.adjust(999)
          assert.deepStrictEqual(peer.closed(), [])
          yield* TestClock.adjust(1)
          assert.deepStrictEqual(peer.closed(), [1])
          assert.deepStrictEqual([first.pollUnsafe(), second.pollUnsafe()], [Exit.void, Exit.void])
        })
      )

      it.effect("A8 a second drain cannot put the deadline off", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          yield* borrow(pool)
          yield* Effect.forkChild(pool.drain({ deadline: "1 second" }))
          yield* settle
          yield* Effect.forkChild(pool.drain({ deadline: "1 minute" }))
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual(peer.closed(), [1])
        })
      )

      it.effect("A8 goes on when its caller is interrupted", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          yield* borrow(pool)
          const drained = yield* Effect.forkChild(pool.drain({ deadline: "1 second" }))
          yield* settle
          yield* Fiber.interrupt(drained)
          assert.strictEqual(yield* once(pool), "Closed")
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual(peer.closed(), [1])
        })
      )

      it.effect("A8 ends when every close has ended", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          peer.onClose(() => Effect.sleep("2 seconds"))
          yield* once(pool)
          const drained = yield* Effect.forkChild(pool.drain())
          yield* TestClock.adjust(1_999)
          assert.isUndefined(drained.pollUnsafe())
          assert.deepStrictEqual(yield* pool.stats, stats({ closing: 1, maxSize, created: 1 }))
          yield* TestClock.adjust(1)
          assert.isTrue(drained.pollUnsafe() !== undefined)
        })
      )

      it.effect("A4 A8 a close that hangs holds it up for closeTimeout at most", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          peer.onClose(() => Effect.never)
          yield* once(pool)
          const drained = yield* Effect.forkChild(pool.drain())
          yield* TestClock.adjust(4_999)
          assert.isUndefined(drained.pollUnsafe())
          yield* TestClock.adjust(1)
          assert.isTrue(drained.pollUnsafe() !== undefined)
        })
      )

      it.effect("A8 inside a borrower's own body does not deadlock", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          const value = yield* pool.use(() => Effect.as(pool.drain(), "done"))
          assert.deepStrictEqual([value, peer.closed()], ["done", [1]])
        })
      )

      it.effect("A8 inside a borrower's own body with a deadline closes that connection at the deadline", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          const body = yield* Effect.forkChild(pool.use(() => pool.drain({ deadline: "1 second" })))
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual([body.pollUnsafe(), peer.closed()], [Exit.void, [1]])
        })
      )

      it.effect("A8 borrowing from inside a close that drain began fails with Closed", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          const seen: Array<string> = []
          peer.onClose(() => Effect.map(once(pool), (outcome) => seen.push(outcome)))
          yield* once(pool)
          yield* pool.drain()
          assert.deepStrictEqual(seen, ["Closed"])
        })
      )

      it.effect("A8 a connection that was invalidated before closes once", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          const log: Array<string> = []
          yield* pool.observe({
            evicted: (_, reason) => {
              log.push(reason)
            }
          })
          const holder = yield* borrow(pool)
          yield* holder.lease().invalidate
          yield* Effect.forkChild(pool.drain({ deadline: "1 minute" }))
          yield* settle
          yield* holder.leave
          assert.deepStrictEqual([peer.closed(), log], [[1], ["invalidated"]])
        })
      )

      it.effect("A8 nothing sleeps: an empty pool and an idle one end without the clock", () =>
        Effect.gen(function* () {
          const { pool } = yield* make()
          yield* once(pool)
          const drained = yield* Effect.forkChild(pool.drain())
          yield* settle
          assert.deepStrictEqual(drained.pollUnsafe(), Exit.void)
        })
      )

      it.effect("A8 the closed pool makes nothing", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make({ backoff: everySecond })
          yield* once(pool)
          yield* pool.drain()
          yield* once(pool)
          yield* pool.retain(() => false)
          yield* TestClock.adjust("1 hour")
          assert.strictEqual(peer.attempts(), 1)
        })
      )
    })

    describe("scope", () => {
      it.effect("A8 closing it closes everything, without the clock, while a borrower outside still holds", () =>
        Effect.gen(function* () {
          const { close, peer, pool } = yield* inScope(kind)
          const holder = yield* borrow(pool)
          yield* close
          assert.deepStrictEqual([states(holder), peer.closed()], [["has 1"], [1]])
          yield* holder.leave
          yield* checkClosed(peer, pool)
        })
      )

      it.effect("A8 closing it lets borrowers outside its structure finish until drainDeadline", () =>
        Effect.gen(function* () {
          const { close, peer, pool } = yield* inScope(kind, { drainDeadline: "5 seconds" })
          const holder = yield* borrow(pool)
          const closed = yield* Effect.forkChild(close)
          yield* TestClock.adjust(4_999)
          assert.deepStrictEqual([peer.closed(), closed.pollUnsafe()], [[], undefined])
          yield* TestClock.adjust(1)
          assert.deepStrictEqual([peer.closed(), closed.pollUnsafe()], [[1], Exit.void])
          assert.deepStrictEqual(states(holder), ["has 1"])
        })
      )

      it.effect("A8 closing it fails waiters and newcomers with Closed", () =>
        Effect.gen(function* () {
          const { close, peer, pool } = yield* inScope(kind, {}, TestConnector.makeUnsafe(hang))
          const waiter = yield* borrow(pool)
          yield* close
          yield* settle
          assert.deepStrictEqual([states(waiter), yield* once(pool)], [["Closed"], "Closed"])
          assert.strictEqual(peer.attempts(), 1)
        })
      )

      it.effect("A8 closing it after drain is fine, and drain after closing it", () =>
        Effect.gen(function* () {
          const { close, peer, pool } = yield* inScope(kind)
          yield* once(pool)
          yield* pool.drain()
          yield* close
          yield* pool.drain()
          assert.deepStrictEqual(peer.closed(), [1])
        })
      )

      it.effect("A8 borrowers in the same scope return before the pool closes", () =>
        Effect.gen(function* () {
          const peer = TestConnector.makeUnsafe()
          const log: Array<string> = []
          yield* Effect.scoped(
            Effect.gen(function* () {
              const pool = yield* kind.plain(peer.options)
              yield* pool.observe({
                returned: () => {
                  log.push("returned")
                },
                closed: () => {
                  log.push("closed")
                }
              })
              yield* pool.get()
            })
          )
          assert.deepStrictEqual([log, peer.closed()], [["returned"], [1]])
        })
      )

      it.effect("A8 a borrower that returns after the pool has closed brings nothing back", () =>
        Effect.gen(function* () {
          const { close, peer, pool } = yield* inScope(kind)
          const holder = yield* borrow(pool, "lease")
          yield* close
          yield* holder.lease().invalidate
          yield* holder.lease().release
          yield* holder.leave
          assert.deepStrictEqual([yield* once(pool), peer.closed()], ["Closed", [1]])
          yield* checkClosed(peer, pool)
        })
      )

      it.effect("A8 interrupting the fiber that made the pool closes it", () =>
        Effect.gen(function* () {
          const peer = TestConnector.makeUnsafe()
          const fiber = yield* Effect.forkChild(
            Effect.scoped(Effect.flatMap(kind.plain(peer.options), (pool) => Effect.andThen(once(pool), Effect.never)))
          )
          yield* settle
          assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
          yield* Fiber.interrupt(fiber)
          assert.deepStrictEqual(peer.closed(), [1])
        })
      )
    })
  })
}

describe("CachePool", () => {
  describe("drain", () => {
    it.effect("A8 callers in line without an attempt fail with Closed", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        const callers = yield* borrowMany(pool, 3)
        yield* Effect.forkChild(pool.drain({ deadline: "1 minute" }))
        yield* settle
        assert.deepStrictEqual(states(...callers), ["has 1", "Closed", "Closed"])
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, maxSize: 1, created: 1 }))
        yield* callers[0]!.leave
      })
    )

    it.effect("A8 a caller that was handed a connection and has not run fails with Closed; the connection closes", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1 })
        const [holder, waiter] = yield* borrowMany(pool, 2)
        holder!.lease().releaseUnsafe()
        yield* Effect.forkChild(pool.drain({ deadline: "1 minute" }), { startImmediately: true })
        yield* settle
        assert.deepStrictEqual([states(waiter!), peer.closed()], [["Closed"], [1]])
      })
    )

    it.effect("A8 ends only when the clean-up of every attempt has ended", () =>
      Effect.gen(function* () {
        const closed: Array<number> = []
        let attempts = 0
        const pool = yield* CachePool.make({
          connect: () => {
            const id = ++attempts
            // The clean-up of the first takes no time, that of the second two seconds.
            const close = Effect.andThen(
              id === 1 ? Effect.void : Effect.sleep("2 seconds"),
              Effect.sync(() => closed.push(id))
            )
            return Effect.andThen(
              Effect.acquireRelease(Effect.void, () => close),
              Effect.never
            )
          }
        })
        yield* Effect.forkChild(pool.use(() => Effect.void))
        yield* Effect.forkChild(pool.use(() => Effect.void))
        yield* settle
        const drained = yield* Effect.forkChild(pool.drain())
        yield* TestClock.adjust(1_999)
        assert.deepStrictEqual([closed, drained.pollUnsafe()], [[1], undefined])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual([closed, drained.pollUnsafe()], [[1, 2], Exit.void])
      })
    )

    it.effect("A8 of many connections in every state closes each once", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({
          maxSize: 6,
          validate: () => Effect.never,
          validateAfter: "1 second"
        })
        // Made in this order: 1 used, 2 invalidated, 3 closing, 4 idle and about to be validated, 5 connecting.
        const borrowers = yield* borrowMany(pool, 4)
        yield* borrowers[3]!.leave
        yield* TestClock.adjust("1 second")
        const validating = yield* borrow(pool)
        peer.script(hang)
        const connecting = yield* borrow(pool)
        yield* borrowers[1]!.lease().invalidate
        peer.onClose(({ id }) => (id === 3 ? Effect.sleep("1 second") : Effect.void))
        peer.kill(borrowers[2]!.connection())
        yield* borrowers[2]!.leave
        const drained = yield* Effect.forkChild(pool.drain())
        yield* settle
        assert.deepStrictEqual(states(validating, connecting), ["Closed", "Closed"])
        assert.deepStrictEqual(peer.closed().toSorted(), [1, 2, 3, 4])
        assert.isUndefined(drained.pollUnsafe())
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(drained.pollUnsafe(), Exit.void)
        yield* checkClosed(peer, pool)
      })
    )

    it.effect("A8 stops keeping minSize", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ minSize: 2, backoff: everySecond })
        yield* settle
        yield* pool.drain()
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual([peer.attempts(), peer.live()], [2, 0])
      })
    )

    it.effect("A8 a connect that opens in the same turn is closed", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const [open] = gates(peer, succeed)
        const caller = yield* borrow(pool)
        yield* Effect.all([open!, pool.drain()], { concurrency: 2 })
        assert.strictEqual(peer.live(), 0)
        assert.isTrue(["Closed", "has 1"].includes(caller.state()), caller.state())
      })
    )
  })
})

describe("SingletonPool", () => {
  describe("drain", () => {
    it.effect("A8 closes the connection after the last of its borrowers within the deadline", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const [a, b] = yield* borrowMany(pool, 2)
        yield* Effect.forkChild(pool.drain({ deadline: "1 minute" }))
        yield* settle
        yield* a!.leave
        assert.deepStrictEqual(peer.closed(), [])
        yield* b!.leave
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("A8 closes retired connections of earlier generations too", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const old = yield* borrow(pool)
        yield* old.lease().invalidate
        const current = yield* borrow(pool)
        assert.deepStrictEqual(states(old, current), ["has 1", "has 2"])
        yield* pool.drain()
        assert.deepStrictEqual(peer.closed().toSorted(), [1, 2])
      })
    )

    it.effect("A8 when the first of those who share an attempt drains the pool at once, the others get Closed", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton()
        const [open] = gates(peer, succeed)
        const first = yield* Effect.forkChild(pool.use(() => pool.drain()))
        yield* settle
        const others = yield* borrowMany(pool, 2)
        yield* open!
        assert.deepStrictEqual([first.pollUnsafe(), states(...others)], [Exit.void, ["Closed", "Closed"]])
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "close 1"])
      })
    )

    it.effect("A8 a caller that shares an attempt that opens in the same turn gets Closed or the connection", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { peer, pool } = yield* singleton({}, TestConnector.makeUnsafe(TestConnector.gated(gate)))
        const callers = yield* borrowMany(pool, 3)
        Deferred.doneUnsafe(gate, Exit.void)
        yield* pool.drain()
        yield* settle
        for (const state of states(...callers)) assert.isTrue(["Closed", "has 1"].includes(state), state)
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "close 1"])
      })
    )
  })
})
