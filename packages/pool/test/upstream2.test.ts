/**
 * The tests of the pools that the newer kinds descend from, re-created by
 * behaviour. Each title begins with the name of the upstream test, or with the
 * number of the defect upstream that it keeps out.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import * as CachePool from "../src/CachePool.ts"
import * as ConnectionLimit from "../src/ConnectionLimit.ts"
import * as ExpirePool from "../src/ExpirePool.ts"
import * as MapPool from "../src/MapPool.ts"
import * as NegotiatePool from "../src/NegotiatePool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import * as SingletonPool from "../src/SingletonPool.ts"
import { fail, hang, succeed } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { admitting, at, eventsOf, keyed, over, settableClock, shared } from "./support/kinds.ts"
import { borrow, borrowLater, borrowMany, cache, gates, once, settle, states, stats } from "./support/scene.ts"

const negotiated = (upgrades: () => boolean, peer = TestConnector.makeUnsafe()) =>
  over(
    () =>
      NegotiatePool.make({
        connect: peer.connect,
        inspect: upgrades,
        upgrade: (connect) => SingletonPool.make({ connect, isOpen: ({ isOpen }) => isOpen }),
        fallback: (connect) => CachePool.make({ connect, maxSize: 4, isOpen: ({ isOpen }) => isOpen })
      }),
    peer
  )

describe("hyper-util client::pool::negotiate", () => {
  it.effect("not_negotiated_falls_back_to_left", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* negotiated(() => false)
      assert.strictEqual(
        yield* pool.use(({ _tag, connection }) => Effect.succeed(`${_tag} ${connection.id}`)),
        "Fallback 1"
      )
      assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
    })
  )

  it.effect("negotiated_uses_right", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* negotiated(() => true)
      assert.strictEqual(
        yield* pool.use(({ _tag, connection }) => Effect.succeed(`${_tag} ${connection.id}`)),
        "Upgraded 1"
      )
      assert.deepStrictEqual(peer.log(), ["connect 1", "open 1"])
    })
  )

  it.effect(
    "N1 (defect upstream) I3 I15 four cold calls to an upgraded peer make one connect and leave no orphan",
    () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated(() => true)
        const [open] = gates(peer, succeed)
        const tags: Array<string> = []
        for (let i = 0; i < 4; i++) {
          yield* Effect.forkChild(pool.use(({ _tag }) => Effect.sync(() => void tags.push(_tag))))
        }
        yield* settle
        yield* open!
        assert.deepStrictEqual([tags, peer.log()], [Array(4).fill("Upgraded"), ["connect 1", "open 1"]])
        assert.deepStrictEqual((yield* pool.stats).idle, 1)
      })
  )

  it.effect(
    "I4 (defect upstream) the internal sentinel never reaches a caller, not even of an upgrade that failed",
    () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const { pool } = yield* negotiated(() => true, peer)
        peer.script(fail)
        const error = yield* Effect.flip(pool.use(() => Effect.void))
        assert.strictEqual(error._tag, "TestConnectError")
      })
  )

  it.effect("I15 a cold burst to a peer of unknown protocol makes one probe", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* negotiated(() => false)
      const [open] = gates(peer, succeed)
      for (let i = 0; i < 20; i++) yield* Effect.forkChild(pool.use(() => Effect.never))
      yield* settle
      assert.strictEqual(peer.attempts(), 1)
      yield* open!
      assert.strictEqual(peer.attempts(), 4)
    })
  )
})

describe("hyper-util client::pool::map", () => {
  it.effect("smoke: get or create by key, retain, clear", () =>
    Effect.gen(function* () {
      const { builds, peer, pool } = yield* keyed()
      for (const key of ["a", "b", "a"]) yield* once(at(pool, key))
      assert.deepStrictEqual(
        [builds, yield* pool.keys],
        [
          ["a", "b"],
          ["a", "b"]
        ]
      )
      yield* pool.remove("a")
      assert.deepStrictEqual([yield* pool.keys, peer.closed()], [["b"], [1]])
      for (const key of yield* pool.keys) yield* pool.remove(key)
      assert.deepStrictEqual([yield* pool.keys, peer.live()], [[], 0])
    })
  )

  it.effect("(defect upstream) keys do not grow without bound: those without connections go, maxKeys is a bound", () =>
    Effect.gen(function* () {
      const { pool } = yield* keyed({ maxKeys: 10, idleTimeToLive: "1 minute" })
      for (let i = 0; i < 50; i++) yield* at(pool, `key ${i}`).use((_, lease) => lease.invalidate)
      assert.strictEqual((yield* pool.keys).length, 10)
      yield* TestClock.adjust("1 minute")
      yield* settle
      assert.deepStrictEqual(yield* pool.keys, [])
    })
  )
})

describe("hyper-util legacy client pool", () => {
  const expiring = (idleTimeToLive: string, options = {}) =>
    over((peer) =>
      ExpirePool.make(CachePool.make({ ...peer.options, ...options }), { idleTimeToLive: idleTimeToLive as "1 second" })
    )

  it.effect("test_pool_checkout_returns_none_if_expired: what has expired is not lent; the caller connects", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* expiring("10 millis")
      yield* once(pool)
      yield* TestClock.adjust(9)
      assert.strictEqual(yield* once(pool), "has 1")
      yield* TestClock.adjust(10)
      assert.deepStrictEqual([yield* once(pool), peer.attempts()], ["has 2", 2])
    })
  )

  it.effect("test_pool_checkout_removes_expired: all three that expired are gone, and their key", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* over((peer) =>
        MapPool.make({
          key: (key: string) => key,
          pool: () => ExpirePool.make(CachePool.make(peer.options), { idleTimeToLive: "10 seconds" }),
          idleTimeToLive: "1 second"
        })
      )
      for (const borrower of yield* borrowMany(at(pool, "a"), 3)) yield* borrower.leave
      assert.strictEqual((yield* pool.statsOf("a"))?.idle, 3)
      yield* TestClock.adjust("10 seconds")
      yield* settle
      assert.deepStrictEqual([peer.closed().toSorted(), yield* pool.keys], [[1, 2, 3], ["a"]])
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.deepStrictEqual(yield* pool.keys, [])
    })
  )

  it.effect("test_pool_max_idle_per_host: three returned to each of two keys, two kept of each", () =>
    Effect.gen(function* () {
      const { pool } = yield* keyed({}, { maxIdle: 2 })
      for (const key of ["a", "b"]) {
        for (const borrower of yield* borrowMany(at(pool, key), 3)) yield* borrower.leave
      }
      assert.deepStrictEqual([(yield* pool.statsOf("a"))?.idle, (yield* pool.statsOf("b"))?.idle], [2, 2])
    })
  )

  it.effect("test_pool_timer_removes_expired_realtime: what is idle goes by itself, exactly when it is due", () =>
    Effect.gen(function* () {
      const { pool } = yield* expiring("10 millis")
      for (const borrower of yield* borrowMany(pool, 3)) yield* borrower.leave
      yield* TestClock.adjust(9)
      assert.strictEqual((yield* pool.stats).idle, 3)
      yield* TestClock.adjust(1)
      yield* settle
      assert.deepStrictEqual(yield* pool.stats, stats({ created: 3, closed: 3 }))
    })
  )

  it.effect(
    "test_pool_timer_removes_expired_faketime: with a floor of 90 ms between looks, not at 30 ms, gone at 100 ms",
    () =>
      Effect.gen(function* () {
        const { pool } = yield* over((peer) =>
          ExpirePool.make(CachePool.make(peer.options), {
            idleTimeToLive: "10 millis",
            schedule: Schedule.spaced("90 millis")
          })
        )
        for (const borrower of yield* borrowMany(pool, 3)) yield* borrower.leave
        yield* TestClock.adjust(30)
        assert.strictEqual((yield* pool.stats).idle, 3)
        yield* TestClock.adjust(70)
        yield* settle
        assert.strictEqual((yield* pool.stats).idle, 0)
      })
  )

  it.effect("I10 (#4100, defect upstream) the idle task stops while the pool is empty", () =>
    Effect.gen(function* () {
      const clock = yield* settableClock
      const { pool } = yield* clock.provide(expiring("1 minute"))
      yield* once(pool)
      yield* TestClock.adjust("1 minute")
      yield* settle
      assert.strictEqual(clock.timers(), 0)
    })
  )

  it.effect("alpn_h2: three requests at once, one connection for all, and the fourth uses it again", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* negotiated(() => true)
      const [open] = gates(peer, succeed)
      let done = 0
      const request = pool.use(() => Effect.sync(() => void done++))
      for (let i = 0; i < 3; i++) yield* Effect.forkChild(request)
      yield* settle
      yield* open!
      yield* request
      assert.deepStrictEqual([done, peer.attempts(), peer.live()], [4, 1, 1])
    })
  )

  it.effect("drop_client_closes_idle_connections: of all keys", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* keyed()
      for (const key of ["a", "b", "c"]) yield* once(at(pool, key))
      yield* pool.drain()
      assert.deepStrictEqual(peer.closed().toSorted(), [1, 2, 3])
    })
  )

  it.effect("socket_disconnect_closes_idle_conn: under a key, and the key's next caller connects", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* keyed()
      const borrower = yield* borrow(at(pool, "a"))
      const connection = borrower.connection()
      yield* borrower.leave
      peer.kill(connection)
      yield* settle
      assert.deepStrictEqual([peer.closed(), yield* once(at(pool, "a"))], [[1], "has 2"])
    })
  )

  it.effect("client_keep_alive_0: two requests to one key, one connect", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* keyed()
      assert.deepStrictEqual([yield* once(at(pool, "a")), yield* once(at(pool, "a"))], ["has 1", "has 1"])
      assert.strictEqual(peer.attempts(), 1)
    })
  )

  it.effect("connect_call_is_lazy: an effect that is not run adds no key and opens nothing", () =>
    Effect.gen(function* () {
      const { builds, pool } = yield* keyed()
      const effects = [pool.use("a", () => Effect.void), pool.get("a"), pool.lease("a")]
      yield* settle
      assert.deepStrictEqual([effects.length, builds, yield* pool.keys], [3, [], []])
    })
  )

  it.effect("test_connection_error_propagation_pr184: the real cause arrives through map, negotiation and pool", () =>
    Effect.gen(function* () {
      class Refused extends Data.TaggedError("Refused")<{ readonly port: number }> {}
      const refused = new Refused({ port: 443 })
      const { pool } = yield* over((peer) =>
        MapPool.make({
          key: (key: string) => key,
          pool: () =>
            NegotiatePool.makeMerged({
              connect: () => Effect.andThen(Effect.fail(refused), peer.connect()),
              inspect: () => true,
              upgrade: (connect) => SingletonPool.make({ connect }),
              fallback: (connect) => CachePool.make({ connect })
            })
        })
      )
      assert.strictEqual(yield* Effect.flip(pool.use("a", () => Effect.void)), refused)
    })
  )
})

/** Counterparts: idle expiry is ExpirePool, slots are SharedPool, hosts are MapPool, caps are maxSize and limits. */
describe("specters ConnectionPool", () => {
  /** What identifies a pool of connections: a change of fingerprint is another pool. */
  class PoolKey extends Data.Class<{
    readonly host: string
    readonly port: number
    readonly https: boolean
    readonly fingerprint: string
  }> {}

  it.effect("test_pool_key_equality: equal keys share, another fingerprint does not", () =>
    Effect.gen(function* () {
      const { pool } = yield* over((peer) =>
        MapPool.make({ key: (key: PoolKey) => key, pool: () => CachePool.make(peer.options) })
      )
      const key = (fingerprint: string) => new PoolKey({ host: "a", port: 443, https: true, fingerprint })
      const seen: Array<string> = []
      for (const fingerprint of ["x", "x", "y"]) seen.push(yield* once(at(pool, key(fingerprint))))
      assert.deepStrictEqual(seen, ["has 1", "has 1", "has 2"])
    })
  )

  it.effect("get_h1: last in, first out, never what has been idle too long, and none instead of a connect", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* over((peer) =>
        ExpirePool.make(CachePool.make(peer.options), {
          idleTimeToLive: "30 seconds",
          schedule: Schedule.spaced("1 hour")
        })
      )
      const take = Effect.scoped(
        Effect.map(pool.takeIdle, (taken) => (taken._tag === "Some" ? taken.value.id : undefined))
      )
      for (const borrower of yield* borrowMany(pool, 2)) yield* borrower.leave
      assert.strictEqual(yield* take, 2)
      yield* TestClock.adjust(29_999)
      assert.strictEqual(yield* take, 2)
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* take, 2)
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(yield* take, undefined)
      assert.deepStrictEqual([peer.closed().toSorted(), peer.attempts()], [[1, 2], 2])
    })
  )

  it.effect("put_h1: at the cap the oldest goes, with a cap of 0 nothing is kept", () =>
    Effect.gen(function* () {
      for (const [maxIdle, kept] of [
        [2, [2, 3]],
        [0, []]
      ] as const) {
        const peer = TestConnector.makeUnsafe()
        const { pool } = yield* cache({ maxSize: Math.max(1, maxIdle), maxIdle }, peer)
        const closed: Array<number> = []
        for (const id of [1, 2, 3]) {
          yield* pool.adopt(
            { id, isOpen: true },
            Effect.sync(() => closed.push(id))
          )
        }
        assert.deepStrictEqual(
          [1, 2, 3].filter((id) => !closed.includes(id)),
          [...kept]
        )
      }
    })
  )

  it.effect("test_pool_entry_multiplexing: acquire is one stream, release is none", () =>
    Effect.gen(function* () {
      const { pool } = yield* shared()
      const borrower = yield* borrow(pool)
      assert.strictEqual((yield* pool.stats).borrowers, 1)
      yield* borrower.leave
      assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1 }))
    })
  )

  it.effect("test_pool_entry_max_streams: a third stream of two is refused", () =>
    Effect.gen(function* () {
      const { pool } = yield* shared({ concurrency: 2, maxSize: 1, maxPending: 1 })
      const holders = yield* borrowMany(pool, 2)
      const third = yield* borrow(pool)
      assert.deepStrictEqual(states(...holders, third), ["has 1", "has 1", "waits"])
      assert.strictEqual(yield* once(pool), "QueueFull")
    })
  )

  it.effect("I11 (defect upstream) the creator counts as a stream, too: never one more than allowed", () =>
    Effect.gen(function* () {
      const { pool } = yield* shared({ concurrency: 2, maxSize: 1 })
      yield* borrowMany(pool, 3)
      assert.deepStrictEqual([(yield* pool.stats).borrowers, (yield* pool.stats).pending], [2, 1])
    })
  )

  it.effect(
    "I11 (defect upstream) streams of an old connection are released against it, not against its successor",
    () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const capacity = admitting(peer, 2)
        const { pool } = yield* shared({ ...capacity.options, maxSize: 1 }, peer)
        const old = yield* borrowMany(pool, 2)
        peer.kill(old[0]!.connection())
        const young = yield* borrowMany(pool, 3)
        for (const borrower of old) yield* borrower.leave
        assert.deepStrictEqual(states(...young), ["has 2", "has 2", "waits"])
      })
  )

  it.effect("test_pool_entry_invalidation: an invalid entry is not used again", () =>
    Effect.gen(function* () {
      const { pool } = yield* shared()
      yield* pool.use((_, lease) => lease.invalidate)
      assert.strictEqual(yield* once(pool), "has 2")
    })
  )

  it.effect("test_pool_entry_expiration: idle for exactly the time is expired", () =>
    Effect.gen(function* () {
      const { pool } = yield* over((peer) =>
        ExpirePool.make(SharedPool.make({ ...peer.options, concurrency: 100 }), { idleTimeToLive: "30 seconds" })
      )
      yield* once(pool)
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(yield* once(pool), "has 2")
    })
  )

  it.effect("(defect upstream) a connection with long streams is not expired under them", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* over((peer) =>
        ExpirePool.make(SharedPool.make({ ...peer.options, concurrency: 100 }), { idleTimeToLive: "30 seconds" })
      )
      const stream = yield* borrow(pool)
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual([states(stream), peer.closed(), yield* once(pool)], [["has 1"], [], "has 1"])
    })
  )

  it.effect("test_connection_pool_http11: an exclusive connection is not shared", () =>
    Effect.gen(function* () {
      const { pool } = yield* cache()
      const borrowers = yield* borrowMany(pool, 2)
      assert.deepStrictEqual(states(...borrowers), ["has 1", "has 2"])
    })
  )

  it.effect("test_connection_pool_http2_multiplexing: get_or_create twice, one connection", () =>
    Effect.gen(function* () {
      const { pool } = yield* shared()
      const borrowers = yield* borrowMany(pool, 2)
      assert.deepStrictEqual(states(...borrowers), ["has 1", "has 1"])
      assert.deepStrictEqual(yield* pool.stats, stats({ used: 1, borrowers: 2, created: 1, reused: 1 }))
    })
  )

  it.effect("test_connection_pool_release: the entry remains", () =>
    Effect.gen(function* () {
      const { pool } = yield* shared()
      const borrower = yield* borrow(pool)
      yield* borrower.lease().release
      yield* borrower.lease().release
      assert.deepStrictEqual([(yield* pool.stats).idle, (yield* pool.stats).borrowers], [1, 0])
    })
  )

  it.effect("test_connection_pool_invalidation: invalidate, then nothing is left", () =>
    Effect.gen(function* () {
      const { pool } = yield* shared()
      yield* pool.use((_, lease) => lease.invalidate)
      assert.deepStrictEqual(yield* pool.stats, stats({ created: 1, closed: 1 }))
    })
  )

  it.effect("cleanup: retain by hand drops what has been idle too long, of all hosts, and empty hosts go", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* keyed({ idleTimeToLive: "1 second" })
      yield* once(at(pool, "a"))
      yield* TestClock.adjust("20 seconds")
      yield* once(at(pool, "b"))
      yield* TestClock.adjust("10 seconds")
      yield* pool.retain((_, { idleSince }, now) => idleSince === undefined || now - idleSince < 30_000)
      assert.deepStrictEqual(peer.closed(), [1])
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.deepStrictEqual(yield* pool.keys, ["b"])
    })
  )

  it.effect("spawn_cleanup_task: a look at once and then at each interval, until its scope closes", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* cache()
      for (const borrower of yield* borrowMany(pool, 2)) yield* borrower.leave
      yield* TestClock.adjust("1 minute")
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* ExpirePool.make(Effect.succeed(pool), {
            idleTimeToLive: "30 seconds",
            schedule: Schedule.spaced("10 seconds")
          })
          yield* settle
          assert.deepStrictEqual(peer.closed(), [1, 2])
          yield* once(pool)
          yield* TestClock.adjust("29 seconds")
          assert.deepStrictEqual(peer.closed(), [1, 2])
        })
      )
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(peer.closed(), [1, 2])
    })
  )

  it.effect("stats: connections, streams and idle ones over all hosts", () =>
    Effect.gen(function* () {
      const { pool } = yield* over((peer) =>
        MapPool.make({ key: (key: string) => key, pool: () => SharedPool.make({ ...peer.options, concurrency: 10 }) })
      )
      yield* borrowMany(at(pool, "a"), 3)
      yield* borrow(at(pool, "b"))
      yield* once(at(pool, "c"))
      const { borrowers, created, idle, used } = yield* pool.stats
      assert.deepStrictEqual({ borrowers, created, idle, used }, { borrowers: 4, created: 3, idle: 1, used: 2 })
    })
  )

  it.effect("h1_max_connections_per_origin: waits at the cap, per host, for so long", () =>
    Effect.gen(function* () {
      const { pool } = yield* keyed({}, { maxSize: 6, waitTimeout: "5 seconds" })
      const a = yield* borrowMany(at(pool, "a"), 7)
      const b = yield* borrow(at(pool, "b"))
      assert.deepStrictEqual([a[6]!.state(), b.state()], ["waits", "has 7"])
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(a[6]!.state(), "WaitTimeout wait")
    })
  )

  it.effect("(defect upstream) cold concurrent misses make one connection per host, not one each", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* over((peer) =>
        MapPool.make({ key: (key: string) => key, pool: () => SingletonPool.make(peer.options) })
      )
      const opens = gates(peer, succeed, succeed)
      for (const key of ["a", "b", "a", "b", "a"]) yield* borrow(at(pool, key))
      assert.strictEqual(peer.attempts(), 2)
      for (const open of opens) yield* open
      assert.strictEqual(peer.live(), 2)
    })
  )

  it.effect("origin_fair_queue_rotates_ready_origins_before_same_origin_reuse: a1, a2, b1 are served a1, b1, a2", () =>
    Effect.gen(function* () {
      const { pool } = yield* keyed({ maxSize: 1 })
      const order: Array<string> = []
      const call = (key: string, name: string) =>
        Effect.forkChild(
          pool.use(key, () =>
            Effect.andThen(
              Effect.sync(() => order.push(name)),
              Effect.sleep(1)
            )
          )
        )
      yield* call("a", "a1")
      yield* call("a", "a2")
      yield* call("b", "b1")
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(order, ["a1", "b1", "a2"])
    })
  )

  it.effect("origin-fair order within an origin is first in, first out", () =>
    Effect.gen(function* () {
      const { pool } = yield* keyed({ maxSize: 2 })
      const order: Array<string> = []
      const call = (key: string, name: string) =>
        Effect.forkChild(
          pool.use(key, () =>
            Effect.andThen(
              Effect.sync(() => order.push(name)),
              Effect.sleep(1)
            )
          )
        )
      for (const i of [1, 2, 3, 4]) yield* call("a", `a${i}`)
      for (const i of [1, 2]) yield* call("b", `b${i}`)
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(
        order.filter((name) => name.startsWith("a")),
        ["a1", "a2", "a3", "a4"]
      )
      assert.deepStrictEqual(
        order.filter((name) => name.startsWith("b")),
        ["b1", "b2"]
      )
    })
  )

  it.effect("dispatcher: a caller that left is skipped", () =>
    Effect.gen(function* () {
      const { pool } = yield* keyed({ maxSize: 1 })
      const holder = yield* borrow(at(pool, "a"))
      const left = yield* borrow(at(pool, "b"))
      const next = yield* borrow(at(pool, "c"))
      yield* left.interrupt
      yield* holder.leave
      yield* settle
      assert.deepStrictEqual(states(left, next), ["interrupted", "has 2"])
    })
  )

  it.effect("evict closed or draining after GOAWAY: streams finish, the next one gets a new connection", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* shared()
      const streams = yield* borrowMany(pool, 3)
      peer.kill(streams[0]!.connection())
      const next = yield* borrow(pool)
      for (const stream of streams) yield* stream.leave
      assert.deepStrictEqual([states(next), peer.closed()], [["has 2"], [1]])
    })
  )

  it.effect("8 concurrent streams on one connection", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* shared()
      const streams = yield* Effect.replicateEffect(borrowLater(pool), 8)
      yield* settle
      assert.deepStrictEqual([new Set(states(...streams)).size, peer.attempts()], [1, 1])
    })
  )
})

describe("restate h2 pool", () => {
  it.effect("creates_connection_on_demand", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* shared()
      yield* settle
      assert.strictEqual(peer.attempts(), 0)
      yield* once(pool)
      assert.strictEqual(peer.attempts(), 1)
    })
  )

  it.effect("scales_up_without_cap: as many connections as the streams need", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* shared({ concurrency: 2, maxSize: 1_000 })
      yield* borrowMany(pool, 9)
      assert.strictEqual(peer.attempts(), 5)
    })
  )

  it.effect("clones_share_connections: two users of one pool", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* shared()
      const users = [pool, pool]
      const borrowers = yield* Effect.forEach(users, (user) => borrow(user))
      assert.deepStrictEqual([states(...borrowers), peer.attempts()], [["has 1", "has 1"], 1])
    })
  )

  it.effect("back_pressure_under_concurrent_cold_start: 200 callers, 10 streams each, 20 connections", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* shared({ concurrency: 10, maxSize: 100 })
      const [open] = gates(peer, succeed)
      const callers = yield* Effect.replicateEffect(borrowLater(pool), 200)
      yield* settle
      yield* open!
      yield* settle
      assert.isTrue(callers.every((caller) => caller.state().startsWith("has")))
      assert.strictEqual(peer.attempts(), 20)
    })
  )

  it.effect("evict is not drain: one connection goes, the pool goes on", () =>
    Effect.gen(function* () {
      const { pool } = yield* shared()
      yield* once(pool)
      yield* pool.retain(() => false)
      assert.strictEqual(yield* once(pool), "has 2")
    })
  )
})

describe("smithy-rs connection pool", () => {
  it.effect("max_connections_limits_concurrency, and cap_bound_request_waits_then_proceeds", () =>
    Effect.gen(function* () {
      const { pool } = yield* keyed({ maxSize: 2 })
      const a = yield* borrow(at(pool, "a"))
      const b = yield* borrow(at(pool, "b"))
      const c = yield* borrow(at(pool, "c"))
      assert.deepStrictEqual(states(a, b, c), ["has 1", "has 2", "waits"])
      yield* a.leave
      yield* settle
      assert.deepStrictEqual(states(c), ["has 3"])
    })
  )

  it.effect("reuse_does_not_consume_permits", () =>
    Effect.gen(function* () {
      const limit = yield* ConnectionLimit.make({ max: 1 })
      const { pool } = yield* cache({ limit })
      for (let i = 0; i < 5; i++) yield* once(pool)
      assert.deepStrictEqual(yield* limit.stats, { max: 1, used: 1, waiting: 0 })
    })
  )

  it.effect("global_and_per_host_compose", () =>
    Effect.gen(function* () {
      const { pool } = yield* keyed({ maxSize: 3 }, { maxSize: 2 })
      const a = yield* borrowMany(at(pool, "a"), 3)
      const b = yield* borrowMany(at(pool, "b"), 2)
      assert.deepStrictEqual(states(...a, ...b), ["has 1", "has 2", "waits", "has 3", "waits"])
    })
  )

  it.effect("per_host_cap_isolates_hosts", () =>
    Effect.gen(function* () {
      const { pool } = yield* keyed({}, { maxSize: 1 })
      yield* borrow(at(pool, "a"))
      assert.strictEqual(yield* once(at(pool, "b")), "has 2")
    })
  )

  it.effect(
    "I5 (#297 and the reason it was abandoned for) a waiter at the cap is woken by an idle return of its own",
    () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed({ maxSize: 2 })
        const holders = yield* borrowMany(at(pool, "a"), 2)
        const waiter = yield* borrow(at(pool, "a"))
        yield* holders[0]!.leave
        assert.deepStrictEqual([states(waiter), peer.attempts()], [["has 1"], 2])
      })
  )

  it.effect("I5 a waiter at the cap is woken by capacity that another key freed", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* keyed({ maxSize: 1 })
      const holder = yield* borrow(at(pool, "a"))
      const waiter = yield* borrow(at(pool, "b"))
      peer.kill(holder.connection())
      yield* holder.leave
      yield* settle
      assert.deepStrictEqual(states(waiter), ["has 2"])
    })
  )

  it.effect("active_connection_survives_idle_timeout", () =>
    Effect.gen(function* () {
      const { pool } = yield* over((peer) =>
        ExpirePool.make(CachePool.make(peer.options), { idleTimeToLive: "1 second" })
      )
      const holder = yield* borrow(pool)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([states(holder), holder.connection().isOpen], [["has 1"], true])
    })
  )

  it.effect("h1_entry_survives_eviction_during_in_flight: a key in use is neither swept nor made room with", () =>
    Effect.gen(function* () {
      const { pool } = yield* keyed({ maxKeys: 2, idleTimeToLive: "1 second" })
      const holder = yield* borrow(at(pool, "a"))
      yield* pool.retain(() => false)
      for (const key of ["b", "c", "d"]) yield* once(at(pool, key))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([states(holder), (yield* pool.keys).includes("a")], [["has 1"], true])
    })
  )

  it.effect("stats_active_tracks_in_flight, stats_pruned_after_eviction", () =>
    Effect.gen(function* () {
      const { pool } = yield* keyed()
      const holder = yield* borrow(at(pool, "a"))
      assert.deepStrictEqual((yield* pool.stats).used, 1)
      yield* holder.leave
      yield* pool.retain(() => false)
      const { idle, used, created, closed } = yield* pool.stats
      assert.deepStrictEqual({ idle, used, created, closed }, { idle: 0, used: 0, created: 1, closed: 1 })
    })
  )

  it.effect("listener_lifecycle_created_reused_closed, conn_id_is_stable_and_monotonic", () =>
    Effect.gen(function* () {
      const { pool } = yield* keyed()
      const events = yield* eventsOf(pool)
      const ids: Array<number> = []
      for (const key of ["a", "a", "b"]) yield* pool.use(key, (_, { info }) => Effect.sync(() => ids.push(info.id)))
      yield* pool.drain()
      assert.isTrue(ids[0] === ids[1] && ids[1]! < ids[2]!)
      assert.deepStrictEqual(
        events.filter((event) => /^(connected|borrowed|evicted|closed)/.test(event)),
        [
          "connected 1",
          "borrowed 1",
          "borrowed 1",
          "connected 2",
          "borrowed 2",
          "evicted 1 drain",
          "closed 1",
          "evicted 2 drain",
          "closed 2"
        ]
      )
    })
  )

  it.effect("h2_goaway_triggers_new_connection: through map and negotiation", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* over((peer) =>
        MapPool.make({
          key: (key: string) => key,
          pool: () =>
            NegotiatePool.makeMerged({
              connect: peer.connect,
              inspect: () => true,
              upgrade: (connect) => SharedPool.make({ ...peer.options, connect, concurrency: 10 }),
              fallback: (connect) => CachePool.make({ ...peer.options, connect })
            })
        })
      )
      const stream = yield* borrow(at(pool, "a"))
      peer.kill(stream.connection())
      const next = yield* borrow(at(pool, "a"))
      assert.deepStrictEqual(states(stream, next), ["has 1", "has 2"])
      yield* stream.leave
      assert.deepStrictEqual(peer.closed(), [1])
    })
  )
})

/** Invariants from defects upstream, where they apply to these kinds and no test above has them. */
describe("invariants of the port", () => {
  it.effect("I1 a stale handle of one generation never clears the next, under a key", () =>
    Effect.gen(function* () {
      const { pool } = yield* over((peer) =>
        MapPool.make({ key: (key: string) => key, pool: () => SingletonPool.make(peer.options) })
      )
      const stale = yield* borrowMany(at(pool, "a"), 2)
      yield* stale[0]!.lease().invalidate
      yield* borrow(at(pool, "a"))
      yield* stale[1]!.lease().invalidate
      assert.strictEqual(yield* once(at(pool, "a")), "has 2")
    })
  )

  it.effect("I2 an old attempt that ends late never touches the pool of a key that was removed and came again", () =>
    Effect.gen(function* () {
      const peer = TestConnector.makeUnsafe()
      const gate = yield* Deferred.make<void>()
      const { pool } = yield* over(
        () =>
          MapPool.make({
            key: (key: string) => key,
            pool: () => SingletonPool.make({ connect: () => Effect.uninterruptible(peer.connect()) })
          }),
        peer
      )
      peer.script(TestConnector.gated(gate), succeed)
      const old = yield* borrow(at(pool, "a"))
      yield* Effect.forkChild(pool.remove("a"))
      yield* settle
      const young = yield* borrow(at(pool, "a"))
      Deferred.doneUnsafe(gate, Exit.void)
      yield* settle
      assert.deepStrictEqual(
        [states(old, young), peer.log().slice(-2)],
        [
          ["Closed", "has 2"],
          ["open 1", "close 1"]
        ]
      )
    })
  )

  it.effect("I6 a newcomer does not take an idle slot past a queued waiter", () =>
    Effect.gen(function* () {
      const { pool } = yield* shared({ concurrency: 1, maxSize: 1 })
      const [holder, waiter] = yield* borrowMany(pool, 2)
      holder!.lease().releaseUnsafe()
      const newcomer = yield* borrow(pool)
      assert.deepStrictEqual(states(waiter!, newcomer), ["has 1", "waits"])
    })
  )

  it.effect("I7 a connection has one reason to close, and gives its slot back once", () =>
    Effect.gen(function* () {
      const limit = yield* ConnectionLimit.make({ max: 5 })
      const { peer, pool } = yield* shared({ limit })
      const reasons: Array<string> = []
      yield* pool.observe({ evicted: (_, reason) => void reasons.push(reason) })
      const borrowers = yield* borrowMany(pool, 2)
      yield* borrowers[0]!.lease().invalidate
      peer.kill(borrowers[0]!.connection())
      yield* pool.retain(() => "idle")
      for (const borrower of borrowers) yield* borrower.leave
      yield* pool.drain()
      assert.deepStrictEqual([reasons, yield* limit.stats], [["invalidated"], { max: 5, used: 0, waiting: 0 }])
    })
  )

  it.effect("I8 I9 retain reaches used connections and closes them on return only", () =>
    Effect.gen(function* () {
      const { peer, pool } = yield* keyed()
      const holder = yield* borrow(at(pool, "a"))
      yield* pool.retain(() => false)
      assert.deepStrictEqual(peer.closed(), [])
      yield* holder.leave
      assert.deepStrictEqual(peer.closed(), [1])
    })
  )

  it.effect("I14 a stack that closes while callers wait anywhere in it: all fail typed, none hang", () =>
    Effect.gen(function* () {
      const peer = TestConnector.makeUnsafe(hang)
      const { pool } = yield* over(
        () =>
          MapPool.make({
            key: (key: string) => key,
            maxSize: 2,
            pool: (_, { limit }) =>
              NegotiatePool.makeMerged({
                connect: peer.connect,
                inspect: () => false,
                upgrade: (connect) => SharedPool.make({ connect, concurrency: 10, limit }),
                fallback: (connect) => CachePool.make({ connect, limit })
              })
          }).pipe(ExpirePool.make({ idleTimeToLive: "1 minute" })),
        peer
      )
      peer.script(succeed)
      const holder = yield* borrow(at(pool, "a"))
      const waiters = [
        yield* borrow(at(pool, "a")),
        yield* borrow(at(pool, "b")),
        yield* borrow(at(pool, "c")),
        yield* borrow(at(pool, "c"))
      ]
      assert.deepStrictEqual(states(holder, ...waiters), ["has 1", "waits", "waits", "waits", "waits"])
      yield* pool.drain()
      yield* settle
      assert.deepStrictEqual(states(...waiters), ["Closed", "Closed", "Closed", "Closed"])
      yield* holder.leave
    })
  )
})
