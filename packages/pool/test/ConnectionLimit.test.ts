import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Scheduler from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as CachePool from "../src/CachePool.ts"
import * as ConnectionLimit from "../src/ConnectionLimit.ts"
import * as SharedPool from "../src/SharedPool.ts"
import * as SingletonPool from "../src/SingletonPool.ts"
import { fail, hang, succeed } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import type { TestConnection, TestConnectError } from "../src/testing/TestConnector.ts"
import { evictions, inScope, over } from "./support/kinds.ts"
import { borrow, borrowLater, borrowMany, everySecond, gates, once, settle, states, stats } from "./support/scene.ts"

type CacheOptions = Partial<CachePool.CachePoolOptions<TestConnection, TestConnectError, Scope.Scope>>

/** Caches that share a limit, each over a peer of its own. */
const caches = (max: number, ...options: ReadonlyArray<CacheOptions>) =>
  Effect.gen(function* () {
    const limit = yield* ConnectionLimit.make({ max })
    const made = yield* Effect.forEach(options, (one) =>
      over((peer) => CachePool.make({ ...peer.options, limit, ...one }))
    )
    return { limit, pools: made.map(({ pool }) => pool), peers: made.map(({ peer }) => peer) }
  })

const two = (max: number, first: CacheOptions = {}, second: CacheOptions = {}) =>
  Effect.map(caches(max, first, second), ({ limit, peers, pools }) => ({
    limit,
    a: pools[0]!,
    b: pools[1]!,
    peerA: peers[0]!,
    peerB: peers[1]!
  }))

describe("ConnectionLimit", () => {
  describe("make", () => {
    for (const max of [0, -1, 1.5, NaN, undefined]) {
      it.effect(`max ${max} is a defect that names it`, () =>
        Effect.gen(function* () {
          const exit = yield* Effect.exit(ConnectionLimit.make({ max: max as number }))
          const defect = Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : ""
          assert.isTrue(defect.startsWith("RangeError: ConnectionLimit: max must be an integer of at least 1"), defect)
        })
      )
    }

    it.effect("Infinity limits nothing and still counts", () =>
      Effect.gen(function* () {
        const { a, limit } = yield* two(Infinity)
        yield* borrowMany(a, 5)
        assert.deepStrictEqual(yield* limit.stats, { max: Infinity, used: 5, waiting: 0 })
      })
    )

    it.effect("a layer provides one limit to several pools", () =>
      Effect.gen(function* () {
        class Tag extends Context.Service<Tag, ConnectionLimit.ConnectionLimit>()("Tag") {
          static readonly layer: Layer.Layer<Tag> = ConnectionLimit.layer(this, { max: 3 })
        }
        const peer = TestConnector.makeUnsafe()
        const used = yield* Effect.provide(
          Effect.gen(function* () {
            const limit = yield* Tag
            const first = yield* CachePool.make({ ...peer.options, limit: yield* Tag })
            const second = yield* CachePool.make({ ...peer.options, limit: yield* Tag })
            assert.deepStrictEqual([yield* once(first), yield* once(second)], ["has 1", "has 2"])
            return yield* limit.stats
          }),
          Tag.layer
        )
        assert.deepStrictEqual(used, { max: 3, used: 2, waiting: 0 })
      })
    )
  })

  describe("slots", () => {
    it.effect("A3 are taken from the start of a connect until the close has ended", () =>
      Effect.gen(function* () {
        const { a, limit, peerA } = yield* two(5)
        const used: Array<number> = []
        const note = Effect.map(limit.stats, (stats) => void used.push(stats.used))
        const closing = yield* Deferred.make<void>()
        peerA.onClose(() => Deferred.await(closing))
        const [open] = gates(peerA, succeed)
        yield* note
        const borrower = yield* borrow(a)
        yield* note
        yield* open!
        yield* note
        yield* borrower.lease().invalidate
        yield* borrower.leave
        yield* note
        Deferred.doneUnsafe(closing, Exit.void)
        yield* settle
        yield* note
        assert.deepStrictEqual(used, [0, 1, 1, 1, 0])
      })
    )

    it.effect("A3 or until closeTimeout has passed", () =>
      Effect.gen(function* () {
        const { a, limit, peerA } = yield* two(1, { closeTimeout: "2 seconds" })
        peerA.onClose(() => Effect.never)
        yield* a.use((_, lease) => lease.invalidate)
        yield* TestClock.adjust(1_999)
        assert.strictEqual((yield* limit.stats).used, 1)
        yield* TestClock.adjust(1)
        assert.strictEqual((yield* limit.stats).used, 0)
      })
    )

    it.effect("A3 a shared connection that can only drain keeps its slot, though not its place in maxSize", () =>
      Effect.gen(function* () {
        const limit = yield* ConnectionLimit.make({ max: 1 })
        const { peer, pool } = yield* over((peer) =>
          SharedPool.make({ ...peer.options, concurrency: 5, maxSize: 1, limit })
        )
        const old = yield* borrow(pool)
        yield* old.lease().invalidate
        const young = yield* borrow(pool)
        assert.deepStrictEqual([states(young), peer.attempts()], [["waits"], 1])
        yield* old.leave
        assert.deepStrictEqual(states(young), ["has 2"])
      })
    )

    it.effect("A3 a failed connect gives its slot back", () =>
      Effect.gen(function* () {
        const { a, b, limit, peerA } = yield* two(1, { backoff: everySecond })
        peerA.script(fail)
        yield* once(a)
        assert.strictEqual((yield* limit.stats).used, 0)
        assert.strictEqual(yield* once(b), "has 1")
      })
    )

    it.effect("A3 a connect that was cancelled gives its slot back when what it had opened is closed", () =>
      Effect.gen(function* () {
        const { a, b, limit, peerA } = yield* two(1, { onAbandon: "cancel" })
        const cleanUp = yield* Deferred.make<void>()
        peerA.script(() => Effect.onInterrupt(Effect.never, () => Deferred.await(cleanUp)))
        const gone = yield* borrow(a)
        yield* gone.interrupt
        const waiter = yield* borrow(b)
        assert.deepStrictEqual([states(waiter), (yield* limit.stats).used], [["waits"], 1])
        Deferred.doneUnsafe(cleanUp, Exit.void)
        yield* settle
        assert.deepStrictEqual(states(waiter), ["has 1"])
      })
    )

    it.effect("M4 connections of all pools together are never more than max, at any instant", () =>
      Effect.gen(function* () {
        const { limit, peers, pools } = yield* caches(4, {}, {}, {}, {}, {})
        let most = 0
        const look = () => {
          most = Math.max(
            most,
            peers.reduce((sum, peer) => sum + peer.live(), 0)
          )
        }
        for (const pool of pools)
          yield* pool.observe({ connected: look, connecting: look, evicted: look, closed: look })
        peers.forEach((peer, i) => peer.onClose(() => (i % 2 === 0 ? Effect.sleep(i * 10) : Effect.yieldNow)))
        for (let round = 0; round < 30; round++) {
          const borrowers = yield* Effect.forEach(pools, (pool, i) => borrowMany(pool, (round * (i + 3)) % 4))
          yield* TestClock.adjust(15)
          assert.isTrue((yield* limit.stats).used <= 4)
          for (const borrower of borrowers.flat()) borrower.leaveUnsafe()
          yield* settle
        }
        yield* TestClock.adjust("10 seconds")
        for (const peer of peers) peer.onClose(() => Effect.void)
        assert.strictEqual(most, 4)
        assert.deepStrictEqual([(yield* limit.stats).waiting, (yield* limit.stats).used <= 4], [0, true])
      })
    )

    it.effect("C8 adopted connections count", () =>
      Effect.gen(function* () {
        const { a, b, limit } = yield* two(1, { isOpen: () => true })
        yield* a.adopt({ id: 100, isOpen: true })
        assert.strictEqual((yield* limit.stats).used, 1)
        // It is idle, so it makes room.
        assert.deepStrictEqual([yield* once(b), (yield* limit.stats).used], ["has 1", 1])
      })
    )
  })

  describe("a pool that finds no slot", () => {
    it.effect("M4 has the least recently used idle connection of another pool closed, and only that one", () =>
      Effect.gen(function* () {
        const { limit, peers, pools } = yield* caches(4, {}, {}, {})
        const reasons = yield* Effect.forEach(pools, evictions)
        const first = yield* borrowMany(pools[0]!, 2)
        const second = yield* borrowMany(pools[1]!, 2)
        yield* first[0]!.leave
        yield* TestClock.adjust(1)
        yield* second[0]!.leave
        yield* TestClock.adjust(1)
        yield* second[1]!.leave
        yield* TestClock.adjust(1)
        yield* first[1]!.leave
        const victims: Array<string> = []
        for (let i = 0; i < 3; i++) {
          yield* borrow(pools[2]!)
          victims.push(peers.map((peer) => peer.closed().join()).join("|"))
        }
        assert.deepStrictEqual(victims, ["1||", "1|1|", "1|1,2|"])
        assert.deepStrictEqual(reasons, [["capacity"], ["capacity", "capacity"], []])
        assert.deepStrictEqual(yield* limit.stats, { max: 4, used: 4, waiting: 0 })
      })
    )

    it.effect("M4 A3 waits for that close to end: the server never sees more", () =>
      Effect.gen(function* () {
        const { a, b, peerA, peerB } = yield* two(1)
        peerA.onClose(() => Effect.sleep("1 second"))
        yield* once(a)
        const waiter = yield* borrow(b)
        yield* TestClock.adjust(999)
        assert.deepStrictEqual([states(waiter), peerB.attempts()], [["waits"], 0])
        yield* TestClock.adjust(1)
        yield* settle
        assert.deepStrictEqual(states(waiter), ["has 1"])
      })
    )

    it.effect("M4 waits where nothing is idle, and gets the place of the next connection that comes back", () =>
      Effect.gen(function* () {
        const { a, b, limit, peerA } = yield* two(2)
        const holders = yield* borrowMany(a, 2)
        const waiter = yield* borrow(b)
        assert.deepStrictEqual([states(waiter), (yield* limit.stats).waiting], [["waits"], 1])
        yield* holders[0]!.leave
        yield* settle
        assert.deepStrictEqual([states(waiter), peerA.closed()], [["has 1"], [1]])
        yield* holders[1]!.leave
        assert.deepStrictEqual([peerA.closed(), (yield* limit.stats).used], [[1], 2])
      })
    )

    it.effect("M4 even where that pool has waiters of its own, if it is above its share and the other below", () =>
      Effect.gen(function* () {
        const { a, b, peerA } = yield* two(2)
        const holders = yield* borrowMany(a, 2)
        const own = yield* borrow(a)
        const other = yield* borrow(b)
        yield* holders[0]!.leave
        yield* settle
        assert.deepStrictEqual([states(own, other), peerA.closed()], [["waits", "has 1"], [1]])
        yield* holders[1]!.leave
        assert.deepStrictEqual([states(own, other), peerA.closed()], [["has 2", "has 1"], [1]])
      })
    )

    it.effect("M4 a pool that is not above its share serves its own waiters", () =>
      Effect.gen(function* () {
        const { a, b, peerA } = yield* two(2)
        const [holder] = yield* borrowMany(a, 1)
        yield* borrow(b)
        const own = yield* borrow(a)
        const other = yield* borrow(b)
        yield* holder!.leave
        assert.deepStrictEqual([states(own, other), peerA.closed()], [["has 1", "waits"], []])
      })
    )

    it.effect(
      "M4 shares are whole connections: with an odd cap two busy pools do not take a place back and forth",
      () =>
        Effect.gen(function* () {
          const { a, b, peerA, peerB } = yield* two(3)
          const holders = [...(yield* borrowMany(a, 3)), ...(yield* borrowMany(a, 30))]
          const others = yield* borrowMany(b, 30)
          for (let i = 0; i < 20; i++) {
            for (const borrowers of [holders, others]) {
              const at = borrowers.findIndex((borrower) => borrower.state().startsWith("has"))
              if (at >= 0) yield* borrowers.splice(at, 1)[0]!.leave
              yield* settle
            }
          }
          // One change of hands, and then everybody keeps what it has.
          assert.deepStrictEqual([peerA.attempts(), peerB.attempts()], [3, 1])
        })
    )

    it.effect("M4 with more pools than slots every pool gets its turn", () =>
      Effect.gen(function* () {
        const { pools } = yield* caches(2, {}, {}, {}, {}, {})
        const served: Array<number> = []
        const callers = (yield* Effect.forEach(pools, (pool, i) =>
          Effect.map(borrowMany(pool, 3), (borrowers) => borrowers.map((borrower) => ({ borrower, i })))
        )).flat()
        for (let turn = 0; turn < 15; turn++) {
          const at = callers.findIndex(({ borrower }) => borrower.state().startsWith("has"))
          assert.isTrue(at >= 0, `nobody was served in turn ${turn}`)
          const [next] = callers.splice(at, 1)
          served.push(next!.i)
          yield* next!.borrower.leave
          yield* settle
        }
        // Callers of one pool came before all others; still nobody waits for more than two turns of each of them.
        assert.strictEqual(new Set(served.slice(0, 11)).size, 5, served.join())
      })
    )

    it.effect("M4 a waiter that its own pool's returned connection serves withdraws the request: nothing closes", () =>
      Effect.gen(function* () {
        const { limit, peers, pools } = yield* caches(2, {}, {})
        const [mine] = yield* borrowMany(pools[0]!, 1)
        const theirs = yield* borrow(pools[1]!)
        const waiter = yield* borrow(pools[0]!)
        assert.strictEqual((yield* limit.stats).waiting, 1)
        yield* mine!.leave
        assert.deepStrictEqual([states(waiter), (yield* limit.stats).waiting], [["has 1"], 0])
        yield* theirs.leave
        assert.deepStrictEqual(
          peers.map((peer) => peer.closed()),
          [[], []]
        )
      })
    )

    it.effect("A1 a waiter that leaves, or gives up, withdraws the request", () =>
      Effect.gen(function* () {
        const { a, b, limit, peerA } = yield* two(1, {}, { waitTimeout: "1 second" })
        const holder = yield* borrow(a)
        const interrupted = yield* borrow(b)
        const timedOut = yield* borrow(b)
        yield* interrupted.interrupt
        assert.strictEqual((yield* limit.stats).waiting, 1)
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.deepStrictEqual([states(timedOut), (yield* limit.stats).waiting], [["WaitTimeout wait"], 0])
        yield* holder.leave
        assert.deepStrictEqual(peerA.closed(), [])
      })
    )

    it.effect("A1 a slot that was freed for a waiter that left in the meantime is not lost", () =>
      Effect.gen(function* () {
        const { limit, peers, pools } = yield* caches(1, {}, {}, {})
        peers[0]!.onClose(() => Effect.sleep("1 second"))
        yield* once(pools[0]!)
        const gone = yield* borrow(pools[1]!)
        const next = yield* borrow(pools[2]!)
        yield* gone.interrupt
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.deepStrictEqual([states(next), yield* limit.stats], [["has 1"], { max: 1, used: 1, waiting: 0 }])
      })
    )

    it.effect("A6 slots go to the pools that want one in turn, and in a pool to the first in line", () =>
      Effect.gen(function* () {
        const { pools } = yield* caches(2, {}, {}, {})
        const holders = yield* borrowMany(pools[0]!, 2)
        const b = yield* borrowMany(pools[1]!, 2)
        const c = yield* borrowMany(pools[2]!, 2)
        const seen: Array<Array<string>> = []
        for (const holder of holders) {
          yield* holder.leave
          yield* settle
          seen.push(states(...b, ...c))
        }
        assert.deepStrictEqual(seen, [
          ["has 1", "waits", "waits", "waits"],
          ["has 1", "waits", "has 1", "waits"]
        ])
      })
    )

    it.effect("A6 connections that close for several pools make room for them in the order in which they asked", () =>
      Effect.gen(function* () {
        const { peers, pools } = yield* caches(2, {}, {}, {})
        const [first, second] = [Deferred.makeUnsafe<void>(), Deferred.makeUnsafe<void>()]
        peers[0]!.onClose((connection) => Deferred.await(connection.id === 1 ? first : second))
        for (const holder of yield* borrowMany(pools[0]!, 2)) yield* holder.leave
        const b = yield* borrow(pools[1]!)
        const c = yield* borrow(pools[2]!)
        yield* Deferred.succeed(first, undefined)
        yield* settle
        const seen = states(b, c)
        yield* Deferred.succeed(second, undefined)
        yield* settle
        assert.deepStrictEqual(
          [seen, states(b, c)],
          [
            ["has 1", "waits"],
            ["has 1", "has 1"]
          ]
        )
      })
    )

    it.effect("A6 a newcomer in another pool does not take a slot past those that wait for one", () =>
      Effect.gen(function* () {
        const { pools, peers } = yield* caches(1, {}, {}, {})
        const holder = yield* borrow(pools[0]!)
        const waiter = yield* borrow(pools[1]!)
        peers[0]!.onClose(() => Effect.sleep("1 second"))
        yield* holder.leave
        const newcomer = yield* borrow(pools[2]!)
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.deepStrictEqual(states(waiter, newcomer), ["has 1", "waits"])
      })
    )

    it.effect("C7 a pool in its pause after a failure claims no slot meanwhile", () =>
      Effect.gen(function* () {
        const { a, b, limit, peerA } = yield* two(1, { backoff: everySecond })
        peerA.script(fail)
        yield* once(a)
        const waiting = yield* borrow(a)
        assert.deepStrictEqual(yield* limit.stats, { max: 1, used: 0, waiting: 0 })
        const other = yield* borrow(b)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual([states(waiting, other), (yield* limit.stats).waiting], [["waits", "has 1"], 1])
        yield* other.leave
        yield* settle
        assert.deepStrictEqual(states(waiting), ["has 2"])
      })
    )

    it.effect("A8 nothing closes for the sake of a pool that drains", () =>
      Effect.gen(function* () {
        const limit = yield* ConnectionLimit.make({ max: 2 })
        const a = yield* over((peer) => CachePool.make({ ...peer.options, limit }))
        const b = yield* over((peer) => CachePool.make({ ...peer.options, limit }))
        const [mine] = yield* borrowMany(a.pool, 1)
        const theirs = yield* borrow(b.pool)
        const waiter = yield* borrow(a.pool)
        const draining = yield* Effect.forkChild(a.pool.drain({ deadline: "1 hour" }))
        yield* settle
        assert.deepStrictEqual([states(waiter), yield* limit.stats], [["Closed"], { max: 2, used: 2, waiting: 0 }])
        yield* theirs.leave
        assert.deepStrictEqual(b.peer.closed(), [])
        yield* mine!.leave
        assert.isTrue(draining.pollUnsafe() !== undefined)
      })
    )

    it.effect("A8 a pool that drains gives back all its slots, and wants none any more", () =>
      Effect.gen(function* () {
        const limit = yield* ConnectionLimit.make({ max: 2 })
        const peer = TestConnector.makeUnsafe()
        const a = yield* inScope(CachePool.make({ ...peer.options, limit }))
        const b = yield* inScope(CachePool.make({ ...peer.options, limit }))
        const holder = yield* borrow(a.pool)
        yield* once(a.pool)
        const waiters = yield* borrowMany(b.pool, 3)
        yield* a.close
        yield* settle
        assert.deepStrictEqual(states(...waiters), ["has 3", "has 4", "waits"])
        yield* b.close
        assert.deepStrictEqual(yield* limit.stats, { max: 2, used: 0, waiting: 0 })
        yield* holder.leave
        assert.strictEqual(peer.live(), 0)
      })
    )

    it.effect("A8 the waiters of a pool that drains do not hold up others that want a slot", () =>
      Effect.gen(function* () {
        const { pools } = yield* caches(1, {}, {}, {})
        const holder = yield* borrow(pools[0]!)
        const second = yield* borrow(pools[1]!)
        const third = yield* borrow(pools[2]!)
        yield* pools[1]!.drain()
        yield* holder.leave
        yield* settle
        assert.deepStrictEqual(states(second, third), ["Closed", "has 1"])
      })
    )

    it.effect("A7 the wait for a slot has the pool's deadline", () =>
      Effect.gen(function* () {
        const { a, b } = yield* two(1)
        yield* borrow(a)
        const waiter = yield* borrow(b)
        yield* TestClock.adjust(29_999)
        assert.deepStrictEqual(states(waiter), ["waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(waiter), ["WaitTimeout wait"])
      })
    )

    it.effect("M4 as many idle connections as there are callers make room, one for each, not all at once", () =>
      Effect.gen(function* () {
        const { a, b, peerA } = yield* two(5)
        for (const borrower of yield* borrowMany(a, 5)) yield* borrower.leave
        const callers = yield* borrowMany(b, 2)
        yield* settle
        assert.deepStrictEqual(
          [states(...callers), peerA.closed()],
          [
            ["has 1", "has 2"],
            [1, 2]
          ]
        )
      })
    )

    it.effect("M4 a caller that comes, leaves and comes again while a close is under way costs one connection", () =>
      Effect.gen(function* () {
        const { a, b, peerA } = yield* two(3)
        peerA.onClose(() => Effect.sleep("1 second"))
        for (const borrower of yield* borrowMany(a, 3)) yield* borrower.leave
        for (let i = 0; i < 3; i++) yield* (yield* borrow(b)).interrupt
        const caller = yield* borrow(b)
        yield* TestClock.adjust("1 second")
        yield* settle
        peerA.onClose(() => Effect.void)
        assert.deepStrictEqual([states(caller), peerA.closed()], [["has 1"], [1]])
      })
    )

    it.effect("M4 a close that is under way for a pool which has left serves another one: only one closes", () =>
      Effect.gen(function* () {
        const { peers, pools } = yield* caches(2, {}, {}, {})
        peers[0]!.onClose(() => Effect.sleep("1 second"))
        for (const borrower of yield* borrowMany(pools[0]!, 2)) yield* borrower.leave
        yield* (yield* borrow(pools[1]!)).interrupt
        const caller = yield* borrow(pools[2]!)
        yield* TestClock.adjust("1 second")
        yield* settle
        peers[0]!.onClose(() => Effect.void)
        assert.deepStrictEqual([states(caller), peers[0]!.closed()], [["has 1"], [1]])
      })
    )

    it.effect(
      "M4 nobody is forgotten: when a slot goes to the pool that it was closed for, the other one's turn comes",
      () =>
        Effect.gen(function* () {
          const { peers, pools } = yield* caches(2, {}, {}, {})
          const [first, second] = yield* borrowMany(pools[0]!, 2)
          peers[0]!.onClose(({ id }) => (id === 1 ? Effect.sleep("1 second") : Effect.void))
          yield* first!.leave
          const left = yield* borrow(pools[1]!)
          const other = yield* borrow(pools[2]!)
          yield* left.interrupt
          // One close is under way and one pool wants a slot, so this one stays idle.
          yield* second!.leave
          assert.strictEqual((yield* pools[0]!.stats).idle, 1)
          const again = yield* borrow(pools[1]!)
          yield* TestClock.adjust("1 second")
          yield* settle
          assert.deepStrictEqual(
            [states(again, other), peers[0]!.closed()],
            [
              ["has 1", "has 1"],
              [1, 2]
            ]
          )
        })
    )

    it.effect("A1 interruption at any instant loses no slot", () =>
      Effect.gen(function* () {
        for (const budget of [3, 5, 8, 2_048]) {
          for (let turns = 0; turns < 14; turns++) {
            const { a, b, limit } = yield* Effect.provideService(
              two(1, { onAbandon: "cancel" }, { onAbandon: "cancel" }),
              Scheduler.MaxOpsBeforeYield,
              budget
            )
            const holder = yield* borrow(a)
            const callers = yield* Effect.provideService(
              Effect.replicateEffect(borrowLater(b), 3),
              Scheduler.MaxOpsBeforeYield,
              budget
            )
            for (let i = 0; i < turns; i++) {
              if (i === 3) holder.leaveUnsafe()
              yield* Effect.yieldNow
            }
            for (const caller of callers.slice(0, 2)) caller.fiber.interruptUnsafe()
            holder.leaveUnsafe()
            for (let i = 0; i < 4; i++) yield* settle
            assert.deepStrictEqual(
              [callers[2]!.state().slice(0, 3), yield* limit.stats],
              ["has", { max: 1, used: 1, waiting: 0 }],
              `budget ${budget}, ${turns} turns`
            )
            yield* callers[2]!.leave
          }
        }
      })
    )
  })

  describe("minSize", () => {
    it.effect("C5 never takes another pool's place", () =>
      Effect.gen(function* () {
        const limit = yield* ConnectionLimit.make({ max: 2 })
        const a = yield* over((peer) => CachePool.make({ ...peer.options, limit }))
        for (const borrower of yield* borrowMany(a.pool, 2)) yield* borrower.leave
        const b = yield* over((peer) => CachePool.make({ ...peer.options, limit, minSize: 2 }))
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual([a.peer.closed(), b.peer.attempts()], [[], 0])
        assert.deepStrictEqual(yield* b.pool.stats, stats({}))
      })
    )

    it.effect("C5 is filled when a slot is free again", () =>
      Effect.gen(function* () {
        const limit = yield* ConnectionLimit.make({ max: 1 })
        const a = yield* over((peer) => CachePool.make({ ...peer.options, limit }))
        yield* once(a.pool)
        const b = yield* over((peer) => CachePool.make({ ...peer.options, limit, minSize: 1 }))
        yield* a.pool.retain(() => false)
        yield* settle
        assert.deepStrictEqual([(yield* b.pool.stats).idle, yield* limit.stats], [1, { max: 1, used: 1, waiting: 0 }])
      })
    )

    it.effect("C5 what it opened makes room for callers of another pool, like any idle connection", () =>
      Effect.gen(function* () {
        const limit = yield* ConnectionLimit.make({ max: 1 })
        const a = yield* over((peer) => CachePool.make({ ...peer.options, limit, minSize: 1 }))
        const b = yield* over((peer) => CachePool.make({ ...peer.options, limit }))
        yield* settle
        const caller = yield* borrow(b.pool)
        assert.deepStrictEqual([states(caller), a.peer.live()], [["has 1"], 0])
        yield* caller.leave
        assert.strictEqual((yield* limit.stats).used, 1)
      })
    )
  })

  describe("shared kinds", () => {
    const singles = (max: number) =>
      Effect.gen(function* () {
        const limit = yield* ConnectionLimit.make({ max })
        const a = yield* over((peer) => SingletonPool.make({ ...peer.options, limit }))
        const b = yield* over((peer) => SingletonPool.make({ ...peer.options, limit }))
        return { limit, a, b }
      })

    const multiplexed = (max: number, concurrency = 10) =>
      Effect.gen(function* () {
        const limit = yield* ConnectionLimit.make({ max })
        const a = yield* over((peer) => SharedPool.make({ ...peer.options, limit, concurrency }))
        const b = yield* over((peer) => SharedPool.make({ ...peer.options, limit, concurrency }))
        return { limit, a, b }
      })

    for (const [name, make] of [
      ["singletons", singles],
      ["shared pools", multiplexed]
    ] as ReadonlyArray<readonly [string, (max: number) => ReturnType<typeof singles>]>) {
      it.effect(`M4 ${name}: the idle connection of one makes room for the other`, () =>
        Effect.gen(function* () {
          const { a, b, limit } = yield* make(1)
          yield* once(a.pool)
          const callers = yield* borrowMany(b.pool, 2)
          assert.deepStrictEqual([states(...callers), a.peer.closed()], [["has 1", "has 1"], [1]])
          assert.deepStrictEqual(yield* limit.stats, { max: 1, used: 1, waiting: 0 })
        })
      )

      it.effect(`M4 ${name}: callers wait for a slot and share what comes of it`, () =>
        Effect.gen(function* () {
          const { a, b, limit } = yield* make(1)
          const holders = yield* borrowMany(a.pool, 2)
          const callers = yield* borrowMany(b.pool, 2)
          assert.deepStrictEqual([states(...callers), (yield* limit.stats).waiting], [["waits", "waits"], 1])
          yield* holders[0]!.leave
          assert.deepStrictEqual(states(...callers), ["waits", "waits"])
          yield* holders[1]!.leave
          yield* settle
          assert.deepStrictEqual([states(...callers), a.peer.closed()], [["has 1", "has 1"], [1]])
        })
      )

      it.effect(`M4 ${name}: a connection that always has a borrower is given up by draining it`, () =>
        Effect.gen(function* () {
          const { a, b } = yield* make(1)
          let holder = yield* borrow(a.pool)
          const waiter = yield* borrow(b.pool)
          for (let i = 0; i < 5; i++) {
            const next = yield* borrow(a.pool)
            yield* holder.leave
            yield* settle
            holder = next
          }
          assert.deepStrictEqual(states(waiter), ["has 1"])
          yield* waiter.leave
          yield* settle
          assert.deepStrictEqual(states(holder), ["has 2"])
        })
      )
    }

    it.effect(
      "M4 a shared pool that is above its share gives up a connection, the last borrower of which has left",
      () =>
        Effect.gen(function* () {
          const { a, b } = yield* multiplexed(2, 1)
          const holders = yield* borrowMany(a.pool, 2)
          const own = yield* borrow(a.pool)
          const other = yield* borrow(b.pool)
          yield* holders[0]!.leave
          yield* settle
          assert.deepStrictEqual([states(own, other), a.peer.closed()], [["waits", "has 1"], [1]])
        })
    )

    it.effect("M4 a shared pool that is not above its share keeps a connection that still has a borrower", () =>
      Effect.gen(function* () {
        const { a, b } = yield* multiplexed(2, 2)
        const [first] = yield* borrowMany(a.pool, 2)
        yield* borrowMany(b.pool, 2)
        const waiter = yield* borrow(b.pool)
        yield* first!.leave
        yield* settle
        assert.deepStrictEqual([states(waiter), yield* once(a.pool), a.peer.attempts()], [["waits"], "has 1", 1])
      })
    )

    it.effect("H2 a shared pool does not grow where that would take another pool's place for saturation alone", () =>
      Effect.gen(function* () {
        const limit = yield* ConnectionLimit.make({ max: 2 })
        const a = yield* over((peer) => CachePool.make({ ...peer.options, limit }))
        yield* once(a.pool)
        const b = yield* over((peer) => SharedPool.make({ ...peer.options, limit, concurrency: 4, saturation: 0.25 }))
        yield* borrow(b.pool)
        yield* settle
        assert.deepStrictEqual([a.peer.closed(), b.peer.attempts()], [[], 1])
      })
    )

    it.effect("A2 a cache and a shared pool under one limit", () =>
      Effect.gen(function* () {
        const limit = yield* ConnectionLimit.make({ max: 2 })
        const a = yield* over((peer) => CachePool.make({ ...peer.options, limit }))
        const b = yield* over((peer) => SharedPool.make({ ...peer.options, limit, concurrency: 2 }))
        b.peer.script(hang)
        const slow = yield* borrow(b.pool)
        const [first, second] = yield* borrowMany(a.pool, 2)
        assert.deepStrictEqual(states(slow, first!, second!), ["waits", "has 1", "waits"])
        yield* TestClock.adjust("10 seconds")
        yield* settle
        assert.deepStrictEqual(states(slow, first!, second!), ["WaitTimeout connect", "has 1", "has 2"])
      })
    )
  })
})
