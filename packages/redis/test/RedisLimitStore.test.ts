import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { assert, describe, it } from "@effect/vitest"
import { CachePool, ConnectionLimit } from "@poolkit/pool"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Redis from "effect/persistence/Redis"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { leakOracle } from "../../http/test/leakOracle.ts"
import { ask, redis } from "../../http/test/servers/redis.ts"
import { freePort, missing } from "../../http/test/servers/serverProcess.ts"
import { RedisLimitStore } from "../src/index.ts"
import { makeStoreRedis } from "../src/internal/storeRedis.ts"
import { eventually } from "./support/fleet.ts"

leakOracle()

type Options = RedisLimitStore.NodeRedisLimitStoreOptions

const quietly = Effect.provideService(References.MinimumLogLevel, "None")

const build = (options: Options, key = "db") =>
  quietly(
    Effect.scoped(
      Effect.provide(ConnectionLimit.makeStored({ key, max: 3 }), RedisLimitStore.layerStoreNodeRedis(options))
    )
  )

const messageOf = (options: Options, key?: string) =>
  Effect.map(Effect.flip(build(options, key)), ({ message }) => message)

/** A process: a limit with a store connection of its own, and a pool. */
const start = Effect.fnUntraced(function* (
  options: Options,
  limitOptions: Partial<ConnectionLimit.StoredLimitOptions> = {}
) {
  const services = yield* Layer.build(RedisLimitStore.layerStoreNodeRedis({ gracePeriod: 0, ...options }))
  const limit = yield* Effect.provide(
    ConnectionLimit.makeStored({ key: "db", max: 3, leaseTime: "30 seconds", ...limitOptions }),
    services
  )
  const pool = yield* CachePool.make({ connect: () => Effect.succeed({}), limit })
  return { limit, pool }
})

/** Holds `count` connections until its scope closes. */
const hold = (pool: CachePool.CachePool<object>, count: number): Effect.Effect<void, never, Scope.Scope> =>
  Effect.orDie(Effect.asVoid(Effect.replicateEffect(pool.get(), count, { concurrency: count })))

describe.skipIf(missing("redis-server"))("RedisLimitStore", () => {
  describe("a configuration that is wrong is one error when the layer is built", () => {
    it.live("nobody listens at the address", () =>
      Effect.gen(function* () {
        const port = yield* freePort
        assert.strictEqual(
          yield* messageOf({ url: `redis://user:s3cret@127.0.0.1:${port}/2` }),
          `Redis at redis://127.0.0.1:${port}/2, the store of connection limits: nothing listens there; ` +
            `check host, port and that Redis runs (connect ECONNREFUSED 127.0.0.1:${port})`
        )
      })
    )

    it.live("the password is wrong, or missing", () =>
      Effect.gen(function* () {
        const server = yield* redis({ password: "right" })
        const wrong = yield* messageOf({ url: `redis://:s3cret@127.0.0.1:${server.port}` })
        assert.match(wrong, /the user name or the password is wrong \(WRONGPASS/)
        assert.notMatch(wrong, /s3cret/)
        assert.match(yield* messageOf({ url: `redis://127.0.0.1:${server.port}` }), /Redis wants a password \(NOAUTH/)
        yield* build({ url: server.url })
      })
    )

    it.live("the key holds something of another type, which stays as it is", () =>
      Effect.gen(function* () {
        const server = yield* redis()
        yield* ask(server.port, "SET poolkit:limit:taken precious")
        assert.match(
          yield* messageOf({ url: server.url }, "taken"),
          /^connection limit "taken" \(Redis key "poolkit:limit:taken"\): the key holds something else; .*WRONGTYPE/
        )
        assert.strictEqual(yield* ask(server.port, "GET poolkit:limit:taken"), "$8\r\nprecious\r\n")
        yield* build({ url: server.url, prefix: "mine:" }, "taken")
      })
    )

    it.live("the key holds a hash of somebody else, which stays as it is", () =>
      Effect.gen(function* () {
        const server = yield* redis()
        yield* ask(server.port, "HSET poolkit:limit:taken name precious")
        assert.match(
          yield* messageOf({ url: server.url }, "taken"),
          /the key holds something else; .*WRONGTYPE a hash that is no connection limit/
        )
        const answers = yield* ask(server.port, "HLEN poolkit:limit:taken", "TTL poolkit:limit:taken")
        assert.strictEqual(answers, ":1\r\n:-1\r\n")
      })
    )

    it.live("the address is none", () =>
      Effect.gen(function* () {
        assert.match(yield* messageOf({ url: "local host" }), /^Redis at an address that is not a redis: URL, /)
      })
    )

    it.live("the grace period is none", () =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(build({ gracePeriod: Infinity }))
        const defect = Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : ""
        assert.match(defect, /^RangeError: RedisLimitStore: gracePeriod must be/)
      })
    )

    it.live("a Redis service that does not answer", () =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(
          Effect.scoped(Layer.build(RedisLimitStore.layerStoreRedis())).pipe(
            Effect.provideService(
              Redis.Redis,
              Redis.Redis.of({
                send: () => Effect.fail(new Redis.RedisError({ cause: new Error("nobody home") })),
                subscribe: () => Effect.never,
                eval: () => () => Effect.never,
                reserve: Effect.never
              })
            )
          )
        )
        assert.strictEqual(error.message, "Redis, the store of connection limits, does not answer: nobody home")
      })
    )
  })

  describe("exchanges", () => {
    it.live("are one command per interval, whatever the pools do", () =>
      Effect.gen(function* () {
        const server = yield* redis()
        yield* Effect.gen(function* () {
          const { limit, pool } = yield* start({ url: server.url }, { leaseTime: "600 millis" })
          yield* pool.use(() => Effect.void)
          yield* ask(server.port, "CONFIG RESETSTAT")
          const from = performance.now()
          yield* Effect.forever(pool.use(() => Effect.sleep(1))).pipe(Effect.timeoutOption("1500 millis"))
          const intervals = (performance.now() - from) / 200
          const calls = Number(/cmdstat_evalsha:calls=(\d+)/.exec(yield* ask(server.port, "INFO commandstats"))?.[1])
          assert.isTrue(calls >= 3 && calls <= intervals + 1, `${calls} commands in ${intervals} intervals`)
          assert.strictEqual((yield* limit.stats).lease, "held")
        }).pipe(Effect.scoped)
      })
    )

    it.live("a process that needs connections wakes one that has idle ones, without waiting for its turn", () =>
      Effect.gen(function* () {
        const server = yield* redis()
        yield* Effect.gen(function* () {
          const a = yield* start({ url: server.url })
          yield* Effect.scoped(hold(a.pool, 3))
          const b = yield* start({ url: server.url })
          const from = performance.now()
          yield* hold(b.pool, 1)
          assert.isBelow(performance.now() - from, 3_000)
          assert.deepStrictEqual((yield* b.limit.stats).fleet, { used: 3, processes: 2 })
        }).pipe(Effect.scoped)
      })
    )

    it.effect("a subscription that ends is made again after a second", () =>
      Effect.gen(function* () {
        let subscriptions = 0
        const service = Redis.Redis.of({
          send: () => Effect.succeed("PONG" as never),
          subscribe: () =>
            Effect.gen(function* () {
              subscriptions++
              const queue = yield* Queue.unbounded<Redis.RedisMessage, Redis.RedisError>()
              if (subscriptions < 3) Queue.failCauseUnsafe(queue, Cause.fail(new Redis.RedisError({ cause: "lost" })))
              else Queue.offerUnsafe(queue, { channel: "", message: "x me y" })
              return queue
            }),
          eval: () => () => Effect.never,
          reserve: Effect.never
        })
        const store = yield* makeStoreRedis({ prefix: "", gracePeriod: 0 }, "").pipe(
          Effect.provideService(Redis.Redis, service)
        )
        const woken = yield* Effect.forkChild(Stream.runHead(store.wakes("db", "me")))
        yield* TestClock.adjust("1999 millis")
        assert.deepStrictEqual([subscriptions, woken.pollUnsafe()], [2, undefined])
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(woken)
      })
    )

    it.effect(
      "a subscription that cannot be given up does not keep a program from ending, and ends when it is there",
      () =>
        Effect.gen(function* () {
          const gate = yield* Deferred.make<void>()
          const done: Array<string> = []
          const service = Redis.Redis.of({
            send: () => Effect.succeed("PONG" as never),
            subscribe: () =>
              Effect.acquireRelease(Effect.andThen(Deferred.await(gate), Queue.unbounded<Redis.RedisMessage>()), () =>
                Effect.sync(() => done.push("released"))
              ),
            eval: () => () => Effect.never,
            reserve: Effect.never
          })
          const store = yield* makeStoreRedis({ prefix: "", gracePeriod: 0 }, "").pipe(
            Effect.provideService(Redis.Redis, service)
          )
          const fiber = yield* Effect.forkChild(Stream.runDrain(store.wakes("db", "me")))
          yield* Effect.yieldNow
          yield* Fiber.interrupt(fiber)
          assert.deepStrictEqual(done, [])
          yield* Deferred.succeed(gate, undefined)
          yield* TestClock.adjust("1 seconds")
          assert.deepStrictEqual(done, ["released"])
        })
    )

    it.live("nothing is left of a process that ends in good order", () =>
      Effect.gen(function* () {
        const server = yield* redis()
        yield* Effect.scoped(
          Effect.gen(function* () {
            const { pool } = yield* start({ url: server.url })
            yield* pool.use(() => Effect.void)
            assert.strictEqual(yield* ask(server.port, "HLEN poolkit:limit:db"), ":3\r\n")
          })
        )
        assert.strictEqual(yield* ask(server.port, "HLEN poolkit:limit:db"), ":2\r\n")
        assert.match(yield* ask(server.port, "TTL poolkit:limit:db"), /^:86/)
      })
    )

    it.live("work for a user who may neither publish nor ask for information", () =>
      Effect.gen(function* () {
        const server = yield* redis()
        yield* ask(
          server.port,
          "ACL SETUSER app on >pw ~* resetchannels -@all +hello +auth +ping +client +script|load +evalsha +hset +hgetall +hdel +pexpire +time"
        )
        yield* Effect.gen(function* () {
          const url = `redis://app:pw@127.0.0.1:${server.port}`
          const a = yield* start({ url }, { leaseTime: "900 millis" })
          yield* Effect.scoped(hold(a.pool, 3))
          const b = yield* start({ url }, { leaseTime: "900 millis" })
          // It has somebody to wake, and must wait for the next exchange.
          yield* hold(b.pool, 1)
          const { failures, used } = yield* b.limit.stats
          assert.deepStrictEqual([used, failures], [1, 0])
        }).pipe(Effect.scoped, quietly)
      })
    )

    it.live("users who may ask for information and others share a limit without a new grace period each time", () =>
      Effect.gen(function* () {
        const server = yield* redis()
        yield* ask(server.port, "ACL SETUSER app on >pw ~* &* +@all -info")
        yield* Effect.gen(function* () {
          const grace = { gracePeriod: "300 millis" } as const
          const times = { leaseTime: "900 millis" } as const
          const one = yield* start({ url: `redis://app:pw@127.0.0.1:${server.port}`, ...grace }, times)
          const other = yield* start({ url: server.url, ...grace }, times)
          yield* hold(one.pool, 1)
          yield* hold(other.pool, 1)
          const until = yield* ask(server.port, "HGET poolkit:limit:db recoversUntil")
          yield* Effect.sleep(1_000)
          assert.strictEqual(yield* ask(server.port, "HGET poolkit:limit:db recoversUntil"), until)
          const waited = performance.now()
          yield* hold(one.pool, 1)
          assert.isBelow(performance.now() - waited, 250)
        }).pipe(Effect.scoped, quietly)
      })
    )
  })

  describe("gracePeriod", () => {
    it.live("nothing new is granted when Redis may have forgotten something, and what is held stays", () =>
      Effect.gen(function* () {
        const server = yield* redis()
        const lose: Record<string, string> = {
          "all is gone": "FLUSHALL",
          "it was written by another Redis": "HSET poolkit:limit:db run 0123"
        }
        for (const [what, command] of Object.entries(lose)) {
          yield* Effect.gen(function* () {
            const options = { url: server.url, gracePeriod: "900 millis" } as const
            const a = yield* start(options, { leaseTime: "900 millis" })
            yield* hold(a.pool, 2)
            yield* ask(server.port, command)
            const from = performance.now()
            const b = yield* start(options, { leaseTime: "900 millis" })
            yield* hold(b.pool, 1)
            assert.isAtLeast(performance.now() - from, 800, what)
            assert.isBelow(performance.now() - from, 2_000, what)
            const waiter = yield* Effect.forkScoped(hold(b.pool, 1))
            yield* Effect.sleep(700)
            assert.isUndefined(waiter.pollUnsafe())
            assert.deepStrictEqual([(yield* a.limit.stats).granted, (yield* a.limit.stats).used], [2, 2])
            yield* Fiber.interrupt(waiter)
          }).pipe(Effect.scoped)
        }
      })
    )
  })

  describe("recovery", () => {
    it.live("from connections that are cut, a Redis that is stopped, and one that starts again", () =>
      Effect.gen(function* () {
        const server = yield* redis()
        yield* Effect.gen(function* () {
          const { limit, pool } = yield* start({ url: server.url }, { leaseTime: "900 millis" })
          yield* pool.use(() => Effect.void)
          const stats = () => Effect.runSync(limit.stats)
          const describe = () => JSON.stringify(stats())
          yield* ask(server.port, "CLIENT KILL TYPE normal", "CLIENT KILL TYPE pubsub")
          yield* Effect.sleep(1_500)
          assert.deepStrictEqual([stats().lease, stats().used], ["held", 1], describe())
          yield* server.pause
          yield* eventually(3, () => stats().lease === "lost", describe)
          yield* eventually(1, () => stats().used === 0, describe)
          yield* server.resume
          yield* eventually(3, () => stats().lease === "held", describe)
          yield* server.restart
          const answered = () => stats().exchanges - stats().failures
          const before = answered()
          yield* pool.use(() => Effect.void)
          yield* eventually(3, () => stats().lease === "held" && answered() > before, describe)
        }).pipe(Effect.scoped, quietly)
      })
    )
  })

  it.live("a program that is interrupted while Redis hangs ends after a sixth of the lease", () =>
    Effect.gen(function* () {
      const server = yield* redis()
      const program = Effect.gen(function* () {
        const { pool } = yield* start({ url: server.url }, { leaseTime: "600 millis" })
        yield* pool.use(() => Effect.void)
        return yield* Effect.never
      })
      const fiber = yield* Effect.forkChild(quietly(Effect.scoped(program)))
      // A connection that is being opened could not be given up.
      const subscribed = Effect.map(ask(server.port, "PUBSUB CHANNELS"), (answer) => answer.startsWith("*1"))
      yield* Effect.repeat(subscribed, { until: (yes) => yes })
      yield* server.pause
      yield* Effect.sleep(500)
      const from = performance.now()
      yield* Fiber.interrupt(fiber)
      assert.isBelow(performance.now() - from, 1_000)
    })
  )

  it.live("works with a Redis client of the program's own", () =>
    Effect.gen(function* () {
      const server = yield* redis()
      const layer = Layer.provide(
        RedisLimitStore.layerStoreRedis({ gracePeriod: 0 }),
        NodeRedis.layer({ url: server.url })
      )
      const used = yield* ConnectionLimit.makeStored({ key: "db", max: 3 }).pipe(
        Effect.flatMap((limit) =>
          Effect.andThen(
            Effect.flatMap(CachePool.make({ connect: () => Effect.succeed(1), limit }), (pool) =>
              pool.use(() => Effect.void)
            ),
            limit.stats
          )
        ),
        Effect.scoped,
        Effect.provide(layer)
      )
      assert.strictEqual(used.used, 1)
    })
  )
})
