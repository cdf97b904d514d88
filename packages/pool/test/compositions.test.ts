/**
 * The compositions that the kinds were made for, up to the general-purpose
 * pool: expiry over a map of negotiations between a shared pool and a cache,
 * with a limit over all of it.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import * as CachePool from "../src/CachePool.ts"
import * as ConnectionPool from "../src/ConnectionPool.ts"
import * as Connector from "../src/Connector.ts"
import * as ExpirePool from "../src/ExpirePool.ts"
import * as MapPool from "../src/MapPool.ts"
import * as NegotiatePool from "../src/NegotiatePool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import * as SingletonPool from "../src/SingletonPool.ts"
import { fail, hang, succeed } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { at, evictions, inScope, keyed, over, settableClock, shared } from "./support/kinds.ts"
import { borrow, borrowLater, borrowMany, cache, fiberCounter, gates, once, settle, states } from "./support/scene.ts"
import { type Http, httpPool, manyKeys } from "./support/general.ts"

describe("compositions", () => {
  describe("of hyper's design", () => {
    it.effect("a pool of exclusive connections to one host", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const both = yield* borrowMany(pool, 2)
        assert.deepStrictEqual(states(...both), ["has 1", "has 2"])
        for (const borrower of both) yield* borrower.leave
        assert.deepStrictEqual([yield* once(pool), peer.attempts()], ["has 2", 2])
      })
    )

    it.effect("one shared connection to one host", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* over((peer) => SingletonPool.make(peer.options))
        yield* borrowMany(pool, 20)
        assert.strictEqual(peer.attempts(), 1)
      })
    )

    it.effect("adding expiration: lifetime 300 seconds, a look every 30", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* over((peer) =>
          CachePool.make(peer.options).pipe(
            ExpirePool.make({ maxLifetime: "300 seconds", jitter: 0, schedule: Schedule.spaced("30 seconds") })
          )
        )
        const reasons = yield* evictions(pool)
        yield* TestClock.adjust("10 seconds")
        yield* once(pool)
        // Opened at 10 seconds: seen at 10, 40, … 310.
        yield* TestClock.adjust("299 seconds")
        assert.deepStrictEqual(peer.closed(), [])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual([peer.closed(), reasons], [[1], ["lifetime"]])
      })
    )

    it.effect("a limit of concurrent connects, over all hosts", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const connect = Connector.limitConnecting(peer.connect, 2)
        const { pool } = yield* over(
          () => MapPool.make({ key: (key: string) => key, pool: () => CachePool.make({ connect }) }),
          peer
        )
        const opens = gates(peer, succeed, succeed, succeed)
        const callers = yield* Effect.forEach(["a", "b", "c"], (key) => borrow(at(pool, key)))
        assert.strictEqual(peer.attempts(), 2)
        yield* opens[0]!
        assert.strictEqual(peer.attempts(), 3)
        yield* opens[1]!
        yield* opens[2]!
        assert.deepStrictEqual(states(...callers), ["has 1", "has 2", "has 3"])
      })
    )

    it.effect("maximum connections, over all hosts", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed({ maxSize: 2 })
        for (const key of ["a", "b", "c", "d"]) yield* once(at(pool, key))
        assert.deepStrictEqual([peer.attempts(), peer.live()], [4, 2])
      })
    )

    it.effect("evict whenever I want", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed()
        for (const key of ["a", "b"]) yield* once(at(pool, key))
        yield* pool.retain(({ id }) => id === 1)
        assert.deepStrictEqual(peer.closed(), [2])
      })
    )
  })

  describe("the general-purpose pool", () => {
    it.effect("each host gets what it speaks: one connection where it multiplexes, some where it does not", () =>
      Effect.gen(function* () {
        const { hosts, pool } = yield* httpPool()
        const h2 = yield* borrowMany(at(pool, "h2.example"), 10)
        const h1 = yield* borrowMany(at(pool, "h1.example"), 10)
        assert.deepStrictEqual([hosts.opened("h2.example"), hosts.opened("h1.example")], [1, 6])
        assert.deepStrictEqual([...h2, ...h1].filter((caller) => caller.state() === "waits").length, 4)
      })
    )

    it.effect("H2 N3 a cold burst of 500 on a host that multiplexes makes 1 connect", () =>
      Effect.gen(function* () {
        const { hosts, pool } = yield* httpPool()
        const open = hosts.gate()
        const callers = yield* Effect.replicateEffect(borrowLater(at(pool, "h2.example")), 500)
        yield* settle
        assert.strictEqual(hosts.attempts("h2.example"), 1)
        yield* open
        yield* settle
        assert.strictEqual(callers.filter((caller) => caller.state().startsWith("has")).length, 500)
        assert.strictEqual(hosts.attempts("h2.example"), 1)
      })
    )

    it.effect("H2 a cold burst of 500 on a shared pool makes 1 connect", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* shared({ concurrency: 1_000 })
        const [open] = gates(peer, succeed)
        yield* Effect.replicateEffect(borrowLater(pool), 500)
        yield* settle
        assert.strictEqual(peer.attempts(), 1)
        yield* open!
        assert.deepStrictEqual([peer.attempts(), (yield* pool.stats).borrowers], [1, 500])
      })
    )

    it.effect("N3 a cold burst of 500 on a host that does not: one probe, at most its limit, and all are served", () =>
      Effect.gen(function* () {
        const { hosts, pool } = yield* httpPool()
        const open = hosts.gate()
        const callers = yield* Effect.replicateEffect(borrowLater(at(pool, "h1.example")), 500)
        yield* settle
        assert.strictEqual(hosts.attempts("h1.example"), 1)
        yield* open
        yield* settle
        assert.deepStrictEqual([hosts.attempts("h1.example"), hosts.live()], [6, 6])
        for (const caller of callers) caller.leaveUnsafe()
        for (let i = 0; i < 60; i++) yield* settle
        assert.strictEqual(callers.filter((caller) => caller.state() === "ok").length, 500)
        assert.strictEqual(hosts.attempts("h1.example"), 6)
      })
    )

    it.effect("M4 the cap holds over all hosts and kinds, and idle connections of other hosts make room", () =>
      Effect.gen(function* () {
        const { hosts, pool } = yield* httpPool({ maxSize: 5 })
        for (let i = 0; i < 40; i++) {
          const host = `${i % 3 === 0 ? "h2" : "h1"}-${i % 8}.example`
          const callers = yield* borrowMany(at(pool, host), 2)
          for (const caller of callers) {
            assert.isTrue(caller.state().startsWith("has"), `${host}: ${caller.state()}`)
            yield* caller.leave
          }
        }
        assert.deepStrictEqual(hosts.most(), 5)
      })
    )

    it.effect("E2 connections expire by idle time and lifetime, on all hosts, and keys go after them", () =>
      Effect.gen(function* () {
        const { hosts, pool } = yield* httpPool()
        const reasons = yield* evictions(pool)
        for (const host of ["h1.example", "h2.example"]) yield* once(at(pool, host))
        const long = yield* borrow(at(pool, "h2.example"))
        yield* TestClock.adjust("90 seconds")
        yield* settle
        assert.deepStrictEqual([reasons, hosts.live()], [["idle"], 1])
        yield* TestClock.adjust("210 seconds")
        const young = yield* borrow(at(pool, "h2.example"))
        assert.notStrictEqual(long.state(), young.state())
        yield* long.leave
        assert.deepStrictEqual(reasons, ["idle", "lifetime"])
        yield* young.leave
        yield* TestClock.adjust("90 seconds")
        yield* settle
        yield* TestClock.adjust("60 seconds")
        yield* settle
        assert.deepStrictEqual([yield* pool.keys, hosts.live()], [[], 0])
      })
    )

    it.effect("A10 nothing runs when it is empty, and nothing after it is closed", () =>
      Effect.gen(function* () {
        const clock = yield* settableClock
        const { pool } = yield* clock.provide(httpPool())
        assert.strictEqual(clock.timers(), 0)
        for (const host of ["h1.example", "h2.example"]) yield* once(at(pool, host))
        yield* TestClock.adjust("10 minutes")
        yield* settle
        assert.deepStrictEqual([yield* pool.keys, clock.timers()], [[], 0])
        yield* once(at(pool, "h1.example"))
        yield* pool.drain()
        yield* settle
        assert.strictEqual(clock.timers(), 0)
      })
    )

    it.effect("A10 no fiber is left after close, whatever was going on", () =>
      Effect.gen(function* () {
        yield* TestClock.adjust(1)
        const { counted, running } = fiberCounter()
        const scene = yield* counted(inScope(Effect.map(httpPool({ maxSize: 4 }), ({ pool }) => pool)))
        const callers = yield* Effect.forEach(["h1-1", "h1-1", "h2-1", "h1-2", "h2-2", "h1-3"], (host) =>
          borrow(at(scene.pool, host))
        )
        yield* scene.close
        yield* settle
        assert.strictEqual(running(), 0)
        for (const caller of callers) yield* caller.leave
      })
    )

    it.effect("a host whose connects hang or fail does not hold up the others", () =>
      Effect.gen(function* () {
        const { hosts, pool } = yield* httpPool({ maxSize: 3 })
        hosts.behave("h1-bad.example", fail)
        hosts.behave("h2-bad.example", hang)
        const bad = yield* borrow(at(pool, "h1-bad.example"))
        const slow = yield* borrow(at(pool, "h2-bad.example"))
        const good = yield* borrowMany(at(pool, "h1.example"), 2)
        assert.deepStrictEqual(
          [[bad.state(), slow.state()], good.map((caller) => caller.state().startsWith("has"))],
          [
            ["TestConnectError 1", "waits"],
            [true, true]
          ]
        )
        yield* TestClock.adjust("10 seconds")
        yield* settle
        assert.strictEqual(slow.state(), "WaitTimeout connect")
      })
    )

    it.effect("as a layer, with an error type that says all", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const stack = MapPool.make({
          key: (url: URL) => url.host,
          pool: (_, { limit }) =>
            NegotiatePool.makeMerged({
              connect: peer.connect,
              inspect: () => true,
              upgrade: (connect) => SharedPool.make({ connect, concurrency: 10, limit }),
              fallback: (connect) => CachePool.make({ connect, limit })
            })
        }).pipe(ExpirePool.make({ idleTimeToLive: "90 seconds", maxLifetime: "300 seconds" }))
        class Pool extends Context.Service<Pool, Effect.Success<typeof stack>>()("Pool") {
          static readonly layer = Layer.effect(this, stack)
        }
        const program = Effect.catchTag(
          Pool.use((pool) => pool.use(new URL("http://a"), ({ id }) => Effect.succeed(id))),
          "PoolError",
          () => Effect.succeed(0)
        )
        assert.deepStrictEqual(
          [yield* Effect.provide(program, Pool.layer), peer.log()],
          [1, ["connect 1", "open 1", "close 1"]]
        )
      })
    )

    it.effect("map over the whole of it", () =>
      Effect.gen(function* () {
        const { pool } = yield* httpPool()
        const mapped = ConnectionPool.map(pool, (connection: Http) => `${connection.protocol} to ${connection.host}`)
        const seen = yield* Effect.forEach(["h1.example", "h2.example"], (host) =>
          mapped.use(host, (name, lease) => Effect.succeed([name, lease.connection]))
        )
        assert.deepStrictEqual(seen, [
          ["http/1.1 to h1.example", "http/1.1 to h1.example"],
          ["h2 to h2.example", "h2 to h2.example"]
        ])
      })
    )

    it.effect(
      "1,000 keys through a cap of 20 connections and 50 keys: the cap holds, no key starves, nothing is left",
      () => manyKeys({ keys: 1_000, maxSize: 20, maxKeys: 50, concurrency: 40 })
    )
  })
})
