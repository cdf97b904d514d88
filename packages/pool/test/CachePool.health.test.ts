import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as CachePool from "../src/CachePool.ts"
import type { ConnectionPool, EvictReason, Signals } from "../src/ConnectionPool.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import type { TestConnection } from "../src/testing/TestConnector.ts"
import { borrow, borrowMany, cache, everySecond, gates, once, settle, states, stats } from "./support/scene.ts"

/** Records `1 closed`: which connection was evicted, counted from 1, and why. */
const evictions = (pool: ConnectionPool<void, unknown, unknown>) =>
  Effect.gen(function* () {
    const ids: Array<number> = []
    const log: Array<string> = []
    yield* pool.observe({
      connected: (info) => {
        ids.push(info.id)
      },
      evicted: (info, reason) => {
        log.push(`${ids.indexOf(info.id) + 1} ${reason}`)
      }
    })
    return log
  })

/** `count` connections that were lent once and are idle now. */
const warm = (pool: CachePool.CachePool<TestConnection, unknown>, count: number) =>
  Effect.gen(function* () {
    const borrowers = yield* borrowMany(pool, count)
    const connections = borrowers.map((borrower) => borrower.connection())
    for (const borrower of borrowers) yield* borrower.leave
    return connections
  })

describe("CachePool", () => {
  describe("isOpen", () => {
    it.effect("A9 is asked as a method of the options, as connect, watch and validate are", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        class Options {
          readonly dead = new Set<number>()
          readonly connect = peer.connect
          isOpen(connection: TestConnector.TestConnection): boolean {
            return !this.dead.has(connection.id)
          }
        }
        const options = new Options()
        const pool = yield* CachePool.make(options)
        assert.strictEqual(yield* once(pool), "has 1")
        options.dead.add(1)
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )

    it.effect("A9 is checked at borrow: a connection found closed is evicted and another one lent", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const reasons = yield* evictions(pool)
        const [connection] = yield* warm(pool, 1)
        peer.killSilently(connection!)
        assert.strictEqual(yield* once(pool), "has 2")
        assert.deepStrictEqual(reasons, ["1 closed"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "kill 1", "close 1", "connect 2", "open 2"])
      })
    )

    it.effect("A9 C6 is checked at return: a connection found closed closes instead of returning", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const reasons = yield* evictions(pool)
        const borrower = yield* borrow(pool)
        peer.killSilently(borrower.connection())
        assert.deepStrictEqual(peer.closed(), [])
        yield* borrower.leave
        assert.deepStrictEqual(reasons, ["1 closed"])
        assert.deepStrictEqual(yield* pool.stats, stats({ created: 1, closed: 1 }))
      })
    )

    it.effect("A9 that throws at borrow evicts the connection as unhealthy and another one is lent", () =>
      Effect.gen(function* () {
        const broken = new Set<number>()
        const { pool } = yield* cache({
          isOpen: ({ id }) => {
            if (broken.has(id)) throw new Error("boom")
            return true
          }
        })
        const reasons = yield* evictions(pool)
        yield* warm(pool, 2)
        broken.add(2)
        assert.strictEqual(yield* once(pool), "has 1")
        assert.deepStrictEqual(reasons, ["2 unhealthy"])
      })
    )

    it.effect("A9 that throws at return evicts the connection as unhealthy and harms no borrower", () =>
      Effect.gen(function* () {
        const broken = new Set<number>()
        const { pool } = yield* cache({
          isOpen: ({ id }) => {
            if (broken.has(id)) throw new Error("boom")
            return true
          }
        })
        const reasons = yield* evictions(pool)
        const borrower = yield* borrow(pool)
        broken.add(1)
        yield* borrower.leave
        assert.deepStrictEqual(states(borrower), ["ok"])
        assert.deepStrictEqual(reasons, ["1 unhealthy"])
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )

    it.effect("a connection that is dead on arrival is nobody's error; the next attempt waits for the backoff", () =>
      Effect.gen(function* () {
        let opened = 0
        const { peer, pool } = yield* cache({ isOpen: () => ++opened > 1, backoff: everySecond })
        const reasons = yield* evictions(pool)
        const caller = yield* borrow(pool)
        assert.deepStrictEqual(states(caller), ["waits"])
        assert.deepStrictEqual(reasons, ["1 closed"])
        yield* TestClock.adjust(999)
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "close 1"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(caller), ["has 2"])
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, created: 2, closed: 1, failed: 1 }))
      })
    )
  })

  describe("watch", () => {
    it.effect("A9 listens from the opening of a connection until its eviction", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const [a, b] = yield* borrowMany(pool, 2)
        assert.strictEqual(peer.watchers(), 2)
        yield* a!.lease().invalidate
        yield* a!.leave
        assert.strictEqual(peer.watchers(), 1)
        yield* b!.leave
        assert.strictEqual(peer.watchers(), 1)
        yield* pool.drain()
        assert.strictEqual(peer.watchers(), 0)
      })
    )

    it.effect("A9 calls the disposer of a connection that was closed while it was told to be watched", () =>
      Effect.gen(function* () {
        let disposed = 0
        const { peer, pool } = yield* cache({
          watch: () => {
            Effect.runFork(pool.drain())
            return () => void disposed++
          }
        })
        assert.strictEqual(yield* once(pool), "Closed")
        assert.deepStrictEqual([peer.closed(), disposed], [[1], 1])
      })
    )

    it.effect("A9 calls each disposer once, before the connection closes", () =>
      Effect.gen(function* () {
        const log: Array<string> = []
        const { peer, pool } = yield* cache({
          watch: (connection) => () => {
            log.push(`unwatch ${connection.id}`)
          }
        })
        peer.onClose((connection) => Effect.sync(() => log.push(`close ${connection.id}`)))
        const borrower = yield* borrow(pool)
        yield* borrower.lease().invalidate
        yield* borrower.leave
        yield* pool.drain()
        assert.deepStrictEqual(log, ["unwatch 1", "close 1"])
      })
    )

    it.effect("A9 retire closes an idle connection at once, without waiting for a borrower", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const reasons = yield* evictions(pool)
        const [connection] = yield* warm(pool, 1)
        peer.kill(connection!)
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "kill 1", "close 1"])
        assert.deepStrictEqual(reasons, ["1 closed"])
        assert.deepStrictEqual(yield* pool.stats, stats({ created: 1, closed: 1 }))
      })
    )

    it.effect("A9 retire takes only its own connection out of the middle of the idle ones", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ order: "fifo" })
        const connections = yield* warm(pool, 3)
        peer.kill(connections[1]!)
        assert.deepStrictEqual(peer.closed(), [2])
        const borrowers = yield* borrowMany(pool, 2)
        assert.deepStrictEqual(states(...borrowers), ["has 1", "has 3"])
      })
    )

    it.effect("A9 C6 retire lets a borrower finish, then the connection closes instead of returning", () =>
      Effect.gen(function* () {
        const retire: Array<() => void> = []
        const { peer, pool } = yield* cache({
          watch: (_, signals) => {
            retire.push(signals.retire)
          }
        })
        const reasons = yield* evictions(pool)
        const borrower = yield* borrow(pool)
        retire[0]!()
        assert.deepStrictEqual([peer.closed(), states(borrower)], [[], ["has 1"]])
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 1, created: 1 }))
        yield* borrower.leave
        assert.deepStrictEqual(peer.closed(), [1])
        assert.deepStrictEqual(reasons, ["1 closed"])
      })
    )

    it.effect("A9 retire re-checks demand: the place of an idle connection that went goes to minSize at once", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ minSize: 1, maxSize: 2 })
        const [connection] = yield* warm(pool, 1)
        const closing = yield* Deferred.make<void>()
        peer.onClose(() => Deferred.await(closing))
        peer.kill(connection!)
        yield* settle
        const log = peer.log()
        Deferred.doneUnsafe(closing, Exit.void)
        // There was room for a second connection, so it need not wait until the close of the first has ended.
        assert.deepStrictEqual(log, ["connect 1", "open 1", "kill 1", "close 1", "connect 2", "open 2"])
      })
    )

    it.effect("A9 retire re-checks demand: a waiter whose connection retires during its validation gets another", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ validate: () => Effect.never, validateAfter: "1 second" })
        const [connection] = yield* warm(pool, 1)
        yield* TestClock.adjust("1 second")
        const caller = yield* borrow(pool)
        assert.deepStrictEqual(states(caller), ["waits"])
        peer.kill(connection!)
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(states(caller), ["has 2"])
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("A5 retire of a connection that has closed does nothing to its successor", () =>
      Effect.gen(function* () {
        const signals: Array<Signals> = []
        const { peer, pool } = yield* cache({
          maxSize: 1,
          watch: (_, each) => {
            signals.push(each)
          }
        })
        const borrower = yield* borrow(pool)
        yield* borrower.lease().invalidate
        yield* borrower.leave
        assert.strictEqual(yield* once(pool), "has 2")
        signals[0]!.retire()
        signals[0]!.capacityChanged()
        yield* settle
        assert.deepStrictEqual(peer.closed(), [1])
        assert.strictEqual(yield* once(pool), "has 2")
        signals[1]!.retire()
        assert.deepStrictEqual(peer.closed(), [1, 2])
      })
    )

    it.effect("A4 retire, invalidate, retain and release together close a connection once", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const borrower = yield* borrow(pool)
        const connection = borrower.connection()
        yield* borrower.lease().invalidate
        peer.kill(connection)
        peer.kill(connection)
        yield* pool.retain(() => false)
        borrower.lease().releaseUnsafe()
        peer.kill(connection)
        yield* pool.retain(() => false)
        yield* borrower.leave
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "kill 1", "close 1"])
        assert.deepStrictEqual(yield* pool.stats, stats({ created: 1, closed: 1 }))
      })
    )

    it.effect("retire while watch is being called: the connection is dead on arrival", () =>
      Effect.gen(function* () {
        let first = true
        const disposed: Array<number> = []
        const { peer, pool } = yield* cache({
          backoff: everySecond,
          watch: (connection, signals) => {
            if (first) signals.retire()
            first = false
            return () => {
              disposed.push(connection.id)
            }
          }
        })
        const caller = yield* borrow(pool)
        assert.deepStrictEqual(states(caller), ["waits"])
        assert.deepStrictEqual([peer.closed(), disposed], [[1], [1]])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(caller), ["has 2"])
      })
    )

    it.effect("that throws fails the attempt with the defect and closes the connection", () =>
      Effect.gen(function* () {
        let first = true
        const { peer, pool } = yield* cache({
          backoff: everySecond,
          watch: () => {
            if (!first) return
            first = false
            throw new Error("boom")
          }
        })
        const caller = yield* borrow(pool)
        assert.deepStrictEqual(states(caller), ["die boom"])
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "close 1"])
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )

    it.effect("a disposer that throws harms nobody", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({
          watch: () => () => {
            throw new Error("boom")
          }
        })
        const borrower = yield* borrow(pool)
        yield* borrower.lease().invalidate
        yield* borrower.leave
        assert.deepStrictEqual([states(borrower), peer.closed()], [["ok"], [1]])
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )
  })

  describe("validate", () => {
    it.effect("A9 runs when a connection was idle for validateAfter or longer, not a millisecond earlier", () =>
      Effect.gen(function* () {
        const validated: Array<number> = []
        const { pool } = yield* cache({
          validate: (connection) => Effect.sync(() => validated.push(connection.id)),
          validateAfter: "1 second"
        })
        yield* once(pool)
        yield* TestClock.adjust(999)
        yield* once(pool)
        assert.deepStrictEqual(validated, [])
        yield* TestClock.adjust(1_000)
        assert.strictEqual(yield* once(pool), "has 1")
        assert.deepStrictEqual(validated, [1])
      })
    )

    it.effect(
      "A9 judges idleness by the wall clock: after an hour's sleep of the machine a connection is validated",
      () =>
        Effect.gen(function* () {
          const validated: Array<number> = []
          const { pool } = yield* cache({
            validate: (connection) => Effect.sync(() => validated.push(connection.id)),
            validateAfter: "30 minutes"
          })
          yield* once(pool)
          yield* TestClock.adjust("1 hour")
          yield* once(pool)
          assert.deepStrictEqual(validated, [1])
        })
    )

    it.effect("A9 does not run for a fresh connection", () =>
      Effect.gen(function* () {
        const validated: Array<number> = []
        const { pool } = yield* cache({ validate: (connection) => Effect.sync(() => validated.push(connection.id)) })
        yield* once(pool)
        assert.deepStrictEqual(validated, [])
        yield* once(pool)
        assert.deepStrictEqual(validated, [1])
      })
    )

    it.effect("A9 does not run for a fresh connection that is passed on because its caller left", () =>
      Effect.gen(function* () {
        const validated: Array<number> = []
        const gate = yield* Deferred.make<void>()
        const { pool } = yield* cache(
          { maxSize: 1, validate: (connection) => Effect.sync(() => validated.push(connection.id)) },
          TestConnector.makeUnsafe(TestConnector.gated(gate))
        )
        const [first, second] = yield* borrowMany(pool, 2)
        Deferred.doneUnsafe(gate, Exit.void)
        assert.strictEqual((yield* pool.stats).used, 1)
        first!.fiber.interruptUnsafe()
        yield* settle
        assert.deepStrictEqual([states(first!, second!), validated], [["interrupted", "has 1"], []])
      })
    )

    it.effect("A9 runs for a connection that was opened in the background and has been idle", () =>
      Effect.gen(function* () {
        const validated: Array<number> = []
        const { pool } = yield* cache({
          minSize: 1,
          validate: (connection) => Effect.sync(() => validated.push(connection.id)),
          validateAfter: "1 second"
        })
        yield* TestClock.adjust("1 second")
        yield* once(pool)
        assert.deepStrictEqual(validated, [1])
      })
    )

    it.effect("A9 runs for a connection that is handed from borrower to waiter", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { pool } = yield* cache({ maxSize: 1, validate: () => Deferred.await(gate) })
        const [holder, waiter] = yield* borrowMany(pool, 2)
        yield* holder!.leave
        assert.deepStrictEqual(states(waiter!), ["waits"])
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, pending: 1, maxSize: 1, created: 1 }))
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(states(waiter!), ["has 1"])
      })
    )

    it.effect("A9 A6 validates one idle connection for one caller, however many are idle", () =>
      Effect.gen(function* () {
        const validated: Array<number> = []
        const gate = yield* Deferred.make<void>()
        const { pool } = yield* cache({
          validate: (connection) =>
            Effect.andThen(
              Effect.sync(() => validated.push(connection.id)),
              Deferred.await(gate)
            )
        })
        yield* warm(pool, 3)
        const caller = yield* borrow(pool)
        assert.deepStrictEqual(validated, [3])
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 2, used: 1, pending: 1, created: 3 }))
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(states(caller), ["has 3"])
      })
    )

    it.effect("A9 A4 a connection that is being validated is lent to nobody and counts as used", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { pool } = yield* cache({ maxSize: 1, validate: () => Deferred.await(gate) })
        yield* warm(pool, 1)
        const callers = yield* borrowMany(pool, 2)
        assert.deepStrictEqual(states(...callers), ["waits", "waits"])
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, pending: 2, maxSize: 1, created: 1 }))
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(states(...callers), ["has 1", "waits"])
      })
    )

    it.effect("A9 that fails evicts the connection as unhealthy and the next idle one is tried", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({
          validate: (connection) => (connection.id === 2 ? Effect.fail("broken") : Effect.void)
        })
        const reasons = yield* evictions(pool)
        yield* warm(pool, 2)
        assert.strictEqual(yield* once(pool), "has 1")
        assert.deepStrictEqual(reasons, ["2 unhealthy"])
        assert.strictEqual(peer.attempts(), 2)
      })
    )

    it.effect("A9 that fails for every idle connection lets the caller connect; its error reaches nobody", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ validate: () => Effect.fail("broken") })
        yield* warm(pool, 3)
        assert.strictEqual(yield* once(pool), "has 4")
        assert.deepStrictEqual(peer.closed(), [3, 2, 1])
        assert.strictEqual((yield* pool.stats).failed, 0)
      })
    )

    it.effect("A9 that fails keeps the caller's place in line", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { pool } = yield* cache({
          maxSize: 1,
          validate: () => Effect.andThen(Deferred.await(gate), Effect.fail("broken"))
        })
        yield* warm(pool, 1)
        const [first, second] = yield* borrowMany(pool, 2)
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(states(first!, second!), ["has 2", "waits"])
      })
    )

    it.effect("A9 that fails keeps the caller's place in line while the connection takes time to close", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({
          maxSize: 1,
          validate: () => Effect.andThen(Effect.sleep("1 second"), Effect.fail("broken"))
        })
        yield* warm(pool, 1)
        peer.onClose(({ id }) => (id === 1 ? Effect.sleep("1 second") : Effect.void))
        const [first, second] = yield* borrowMany(pool, 2)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual([states(first!, second!), peer.closed()], [["waits", "waits"], [1]])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(first!, second!), ["has 2", "waits"])
      })
    )

    it.effect("A9 that fails keeps the place of a caller that stands behind one which connects", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({
          maxSize: 2,
          validate: () => Effect.fail("broken")
        })
        const holder = yield* borrow(pool)
        const [, openThird] = gates(peer, TestConnector.hang, TestConnector.succeed)
        const [first, second, third] = yield* borrowMany(pool, 3)
        yield* holder.leave
        // Its validation failed; the place it left lets the second waiter connect.
        yield* openThird!
        assert.deepStrictEqual(states(first!, second!, third!), ["has 3", "waits", "waits"])
      })
    )

    for (const [how, validate] of [
      ["dies", () => Effect.die("boom")],
      [
        "throws",
        () => {
          throw new Error("boom")
        }
      ],
      ["interrupts itself", () => Effect.interrupt]
    ] as const) {
      it.effect(`A9 that ${how} evicts the connection as unhealthy`, () =>
        Effect.gen(function* () {
          const { pool } = yield* cache({ validate })
          const reasons = yield* evictions(pool)
          yield* warm(pool, 1)
          assert.strictEqual(yield* once(pool), "has 2")
          assert.deepStrictEqual(reasons, ["1 unhealthy"])
        })
      )
    }

    it.effect("A9 that takes longer than connectTimeout evicts the connection as unhealthy", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ validate: () => Effect.never })
        const reasons = yield* evictions(pool)
        yield* warm(pool, 1)
        const caller = yield* borrow(pool)
        yield* TestClock.adjust(9_999)
        assert.deepStrictEqual([states(caller), reasons], [["waits"], []])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual([states(caller), reasons], [["has 2"], ["1 unhealthy"]])
      })
    )

    it.effect("A9 is owned by the pool: it goes on when its caller leaves, and the connection is idle again", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const log: Array<string> = []
        const { pool } = yield* cache({
          validate: () => Effect.onExit(Deferred.await(gate), (exit) => Effect.sync(() => log.push(exit._tag)))
        })
        yield* warm(pool, 1)
        const caller = yield* borrow(pool)
        yield* caller.interrupt
        assert.deepStrictEqual([states(caller), log], [["interrupted"], []])
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(log, ["Success"])
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
      })
    )

    it.effect("A9 is owned by the pool: when its caller leaves, the connection goes to the next waiter", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { pool } = yield* cache({ maxSize: 1, validate: () => Deferred.await(gate) })
        yield* warm(pool, 1)
        const [first, second] = yield* borrowMany(pool, 2)
        yield* first!.interrupt
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual(states(first!, second!), ["interrupted", "has 1"])
      })
    )

    it.effect("A9 is owned by the pool: it runs in the context of make", () =>
      Effect.gen(function* () {
        const Tenant = Context.Reference<string>("test/validate/Tenant", { defaultValue: () => "nobody" })
        const seen: Array<string> = []
        const { pool } = yield* Effect.provideService(
          cache({ validate: () => Effect.map(Tenant, (tenant) => seen.push(tenant)) }),
          Tenant,
          "maker"
        )
        yield* warm(pool, 1)
        yield* Effect.provideService(once(pool), Tenant, "caller")
        assert.deepStrictEqual(seen, ["maker"])
      })
    )

    it.effect("A9 an idle connection that fails isOpen is not validated", () =>
      Effect.gen(function* () {
        const validated: Array<number> = []
        const { peer, pool } = yield* cache({
          validate: (connection) => Effect.sync(() => validated.push(connection.id))
        })
        const [connection] = yield* warm(pool, 1)
        peer.killSilently(connection!)
        yield* once(pool)
        assert.deepStrictEqual(validated, [])
      })
    )

    it.effect("A9 a connection that dies while it is validated is not lent, although the check succeeds", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { peer, pool } = yield* cache({ validate: () => Deferred.await(gate) })
        const [connection] = yield* warm(pool, 1)
        const caller = yield* borrow(pool)
        peer.killSilently(connection!)
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual([states(caller), peer.closed()], [["has 2"], [1]])
      })
    )
  })

  describe("retain", () => {
    it.effect("drops idle connections now and keeps those that the predicate accepts", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ order: "fifo" })
        const reasons = yield* evictions(pool)
        yield* warm(pool, 3)
        yield* pool.retain((connection) => connection.id !== 2)
        assert.deepStrictEqual([peer.closed(), reasons], [[2], ["2 retain"]])
        assert.deepStrictEqual(states(...(yield* borrowMany(pool, 2))), ["has 1", "has 3"])
      })
    )

    it.effect("C6 reaches a used connection, which closes when it is returned", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const reasons = yield* evictions(pool)
        const borrower = yield* borrow(pool)
        yield* pool.retain(() => false)
        assert.deepStrictEqual([peer.closed(), states(borrower)], [[], ["has 1"]])
        yield* borrower.leave
        assert.deepStrictEqual([peer.closed(), reasons], [[1], ["1 retain"]])
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )

    it.effect("reaches a connection that was handed over and not taken yet", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1 })
        const [holder, waiter] = yield* borrowMany(pool, 2)
        holder!.lease().releaseUnsafe()
        yield* pool.retain(() => false)
        yield* settle
        assert.deepStrictEqual([states(waiter!), peer.closed()], [["has 2"], [1]])
      })
    )

    it.effect("reaches a connection that is being validated", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const { peer, pool } = yield* cache({ validate: () => Deferred.await(gate) })
        yield* warm(pool, 1)
        const caller = yield* borrow(pool)
        yield* pool.retain(() => false)
        Deferred.doneUnsafe(gate, Exit.void)
        yield* settle
        assert.deepStrictEqual([states(caller), peer.closed()], [["has 2"], [1]])
      })
    )

    it.effect("does not reach a connection that is opened later", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const [open] = gates(peer, TestConnector.succeed)
        const caller = yield* borrow(pool)
        yield* pool.retain(() => false)
        yield* open!
        assert.deepStrictEqual(states(caller), ["has 1"])
        yield* caller.leave
        assert.deepStrictEqual(peer.closed(), [])
      })
    )

    it.effect("sees each connection with its facts and the pool's clock", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        yield* TestClock.adjust("1 second")
        const [a, b] = yield* borrowMany(pool, 2)
        yield* TestClock.adjust("1 second")
        yield* b!.leave
        yield* TestClock.adjust("1 second")
        const seen: Array<ReadonlyArray<unknown>> = []
        yield* pool.retain(({ id }, { createdAt, idleSince, uses, borrowers }, now) => {
          seen.push([id, createdAt, idleSince, uses, borrowers, now])
          return true
        })
        assert.deepStrictEqual(seen, [
          [1, 1_000, undefined, 1, 1, 3_000],
          [2, 1_000, 2_000, 1, 0, 3_000]
        ])
        yield* a!.leave
      })
    )

    for (const reason of ["idle", "lifetime", "uses"] as const satisfies ReadonlyArray<EvictReason>) {
      it.effect(`evicts with the reason ${reason} that the predicate gave`, () =>
        Effect.gen(function* () {
          const { pool } = yield* cache()
          const reasons = yield* evictions(pool)
          yield* warm(pool, 1)
          yield* pool.retain(() => reason)
          assert.deepStrictEqual(reasons, [`1 ${reason}`])
        })
      )
    }

    it.effect("evicts as unhealthy where the predicate throws, and judges the others", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const reasons = yield* evictions(pool)
        yield* warm(pool, 3)
        yield* pool.retain((connection) => {
          if (connection.id === 2) throw new Error("boom")
          return connection.id !== 3
        })
        assert.deepStrictEqual(reasons.toSorted(), ["2 unhealthy", "3 retain"])
        assert.strictEqual((yield* pool.stats).idle, 1)
      })
    )

    it.effect("rejecting everything at once makes the next borrow connect instead of spinning", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        yield* warm(pool, 5)
        yield* pool.retain(() => false)
        assert.strictEqual(yield* once(pool), "has 6")
        assert.strictEqual(peer.live(), 1)
      })
    )
  })

  describe("guard", () => {
    it.effect("rejects at borrow from now on", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const reasons = yield* evictions(pool)
        yield* warm(pool, 2)
        yield* pool.guard((connection) => connection.id !== 2)
        assert.deepStrictEqual(peer.closed(), [])
        assert.strictEqual(yield* once(pool), "has 1")
        assert.deepStrictEqual([peer.closed(), reasons], [[2], ["2 retain"]])
      })
    )

    it.effect("C6 rejects at return from now on: a used connection closes instead of returning", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const reasons = yield* evictions(pool)
        const borrower = yield* borrow(pool)
        yield* pool.guard((connection) => connection.id !== 1 || "lifetime")
        assert.deepStrictEqual(peer.closed(), [])
        yield* borrower.leave
        assert.deepStrictEqual([peer.closed(), reasons], [[1], ["1 lifetime"]])
      })
    )

    it.effect("reaches a connection that was handed over and not taken yet", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1 })
        const [holder, waiter] = yield* borrowMany(pool, 2)
        holder!.lease().releaseUnsafe()
        yield* pool.guard((connection) => connection.id !== 1)
        yield* settle
        assert.deepStrictEqual([states(waiter!), peer.closed()], [["has 2"], [1]])
      })
    )

    it.effect("rejects while its scope is open and not after", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        yield* warm(pool, 1)
        const scope = yield* Scope.make()
        yield* Scope.provide(
          pool.guard((connection) => connection.id !== 1),
          scope
        )
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(yield* once(pool), "has 1")
      })
    )

    it.effect("several guards must all accept; each leaves with its own scope, even if it is the same function", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        yield* warm(pool, 1)
        const keep = (connection: TestConnection) => connection.id !== 1
        const scope = yield* Scope.make()
        yield* pool.guard(() => true)
        yield* Scope.provide(pool.guard(keep), scope)
        const other = yield* Scope.make()
        yield* Scope.provide(pool.guard(keep), other)
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual(yield* once(pool), "has 2")
        yield* Scope.close(other, Exit.void)
        yield* pool.guard((connection) => connection.id !== 2)
        assert.strictEqual(yield* once(pool), "has 3")
      })
    )

    it.effect("that throws evicts as unhealthy", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const reasons = yield* evictions(pool)
        yield* warm(pool, 1)
        yield* pool.guard((connection) => {
          if (connection.id === 1) throw new Error("boom")
          return true
        })
        assert.strictEqual(yield* once(pool), "has 2")
        assert.deepStrictEqual(reasons, ["1 unhealthy"])
      })
    )

    it.effect("that rejects whatever is opened makes callers time out instead of opening in a loop", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ backoff: everySecond, waitTimeout: "3 seconds" })
        yield* pool.guard(() => false)
        const caller = yield* borrow(pool)
        yield* TestClock.adjust("3 seconds")
        assert.deepStrictEqual(states(caller), ["WaitTimeout wait"])
        assert.isTrue(peer.attempts() <= 4, `${peer.attempts()} attempts`)
        assert.strictEqual(peer.live(), 0)
      })
    )
  })
})
