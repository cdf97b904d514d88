import { assert, describe, it } from "@effect/vitest"
import * as HttpPool from "@poolkit/http/HttpPool"
import * as Origin from "@poolkit/http/Origin"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { burst, fetchText, gated, makePool, start, until } from "./httpPool.ts"
import { leakOracle } from "./leakOracle.ts"
import { manyOrigins } from "./manyOrigins.ts"

const oracle = leakOracle()

/** Origins that differ in their tenant, all at one server. */
const tenants = (url: Origin.Origin, n: number) =>
  Array.from({ length: n }, (_, i) => Origin.make({ url: String(url), tenant: `${i}` }))

/** Collects why connections went, and whose they were. */
const evictions = (pool: HttpPool.HttpConnections, origins: ReadonlyArray<Origin.Origin>) => {
  const seen: Array<string> = []
  return Effect.as(
    pool.observe({
      evicted: ({ annotations }, reason) =>
        seen.push(`${origins.indexOf(annotations.get("origin") as never)} ${reason}`)
    }),
    seen
  )
}

describe("HttpPool", () => {
  describe("maxSize", () => {
    it.live("holds for 300 origins together, however many connections they had in turn", () =>
      manyOrigins(oracle, { origins: 300, maxSize: 10, maxKeys: 25, concurrency: 20 })
    )

    for (const kind of ["http", "both", "h2"] as const) {
      it.effect(`closes the least recently used idle connection of another origin (${kind})`, () =>
        Effect.gen(function* () {
          const server = yield* start(oracle, { kind })
          const origins = tenants(server.origin, 4)
          const pool = yield* makePool(oracle, { maxSize: 2, protocols: kind === "h2" ? "http2" : "auto" })
          const evicted = yield* evictions(pool, origins)
          for (const i of [0, 1, 0, 2]) {
            yield* fetchText(pool, origins[i]!)
            yield* TestClock.adjust(1)
          }
          assert.deepStrictEqual(evicted, ["1 capacity"])
          yield* fetchText(pool, origins[3]!)
          assert.deepStrictEqual(evicted, ["1 capacity", "0 capacity"])
          assert.deepInclude(yield* pool.stats, { idle: 2, created: 4, closed: 2 })
          // Over TLS a server learns of an end later than of the next beginning.
          if (kind === "http") assert.strictEqual(server.maxOpen(), 2)
        })
      )
    }
  })

  describe("maxKeys", () => {
    it.live("forgets the least recently used origin that is not in use", () =>
      Effect.gen(function* () {
        const { asked, open, server } = yield* gated(oracle, "http")
        const origins = tenants(server.origin, 3)
        const pool = yield* makePool(oracle, { maxKeys: 2 })
        const busy = yield* Effect.forEach([0, 1], (i) => Effect.forkChild(fetchText(pool, origins[i]!)))
        yield* asked(2)
        const error = yield* Effect.flip(fetchText(pool, origins[2]!))
        assert.strictEqual(error._tag === "PoolError" && error.reason._tag, "TooManyKeys")
        yield* open
        yield* Effect.forEach(busy, (fiber) => Fiber.join(fiber))
        yield* fetchText(pool, origins[2]!)
        assert.deepStrictEqual(yield* pool.keys, [origins[1]!, origins[2]!])
      })
    )
  })

  describe("maxPending", () => {
    it.live("refuses at once whoever would make the line of an origin longer", () =>
      Effect.gen(function* () {
        for (const kind of ["http", "h2"] as const) {
          const { asked, open, server } = yield* gated(oracle, kind)
          const pool = yield* makePool(oracle, {
            maxSizePerOrigin: 1,
            maxPending: 2,
            http2: { maxConcurrentStreams: 1 }
          })
          const first = yield* Effect.forkChild(fetchText(pool, server.origin))
          yield* asked(1)
          const others = yield* Effect.forEach([1, 2, 3], () =>
            Effect.forkChild(Effect.exit(fetchText(pool, server.origin)))
          )
          const refused = yield* Fiber.join(others[2]!)
          assert.include(String(refused), "QueueFull")
          yield* open
          assert.strictEqual(yield* Fiber.join(first), "late")
          for (const fiber of others.slice(0, 2)) assert.isTrue(Exit.isSuccess(yield* Fiber.join(fiber)))
        }
      })
    )
  })

  describe("maxPending and maxSize", () => {
    it.live("have bounds if nothing is said: 1,000 in line and 256 connections", () =>
      Effect.gen(function* () {
        const { asked, open, server } = yield* gated(oracle, "h2")
        const pool = yield* makePool(oracle, { http2: { maxConcurrentStreams: 1 } })
        const first = yield* Effect.forkChild(fetchText(pool, server.origin))
        yield* asked(1)
        const waiters = yield* Effect.forEach(Array.from({ length: 1000 }), () =>
          Effect.forkChild(fetchText(pool, server.origin))
        )
        yield* until(Effect.map(pool.stats, ({ pending }) => pending >= 1000))
        assert.deepInclude(yield* pool.stats, { pending: 1000, maxSize: 256 })
        assert.include(String(yield* Effect.exit(fetchText(pool, server.origin))), "QueueFull")
        yield* Fiber.interruptAll(waiters)
        yield* open
        assert.strictEqual(yield* Fiber.join(first), "late")
      })
    )
  })

  describe("stats", () => {
    it.live("are there for each origin and for all", () =>
      Effect.gen(function* () {
        const one = yield* start(oracle, { kind: "http" })
        const two = yield* start(oracle, { kind: "h2" })
        const pool = yield* makePool(oracle, { maxSizePerOrigin: 3 })
        const protocols: Array<string> = []
        yield* pool.observe({
          connected: ({ annotations }) =>
            protocols.push(`${String(annotations.get("origin"))} ${String(annotations.get("protocol"))}`)
        })
        yield* burst(pool, one.origin, 10)
        yield* burst(pool, two.origin, 10)
        assert.deepInclude(yield* pool.statsOf(Origin.make(String(one.origin))), { idle: 3, created: 3, reused: 7 })
        assert.deepInclude(yield* pool.statsOf(two.origin), { idle: 1, created: 1, reused: 9 })
        assert.isUndefined(yield* pool.statsOf(Origin.make("http://unknown.test")))
        assert.deepInclude(yield* pool.stats, { idle: 4, created: 4, reused: 16, maxSize: 256 })
        const http1 = `${String(one.origin)} http/1.1`
        assert.deepStrictEqual(protocols, [http1, http1, http1, `${String(two.origin)} h2`])
      })
    )
  })

  describe("expiry", () => {
    it.effect("closes idle connections after 30 seconds, and forgets the origin a minute later", () =>
      Effect.gen(function* () {
        const server = yield* start(oracle, { kind: "both" })
        const pool = yield* makePool(oracle)
        const evicted = yield* evictions(pool, [server.origin])
        yield* fetchText(pool, server.origin)
        yield* TestClock.adjust(29_999)
        assert.strictEqual((yield* pool.stats).idle, 1)
        yield* TestClock.adjust(1)
        assert.deepInclude(yield* pool.stats, { idle: 0, closed: 1 })
        yield* TestClock.adjust(59_999)
        assert.lengthOf(yield* pool.keys, 1)
        yield* TestClock.adjust(1)
        assert.lengthOf(yield* pool.keys, 0)
        assert.deepStrictEqual(evicted, ["0 idle"])
      })
    )

    it.effect("closes a connection that is in use all the time after 9 to 10 minutes", () =>
      Effect.gen(function* () {
        const server = yield* start(oracle, { kind: "both" })
        const pool = yield* makePool(oracle)
        const evicted = yield* evictions(pool, [server.origin])
        for (let seconds = 0; seconds < 540; seconds += 20) {
          yield* fetchText(pool, server.origin)
          yield* TestClock.adjust("20 seconds")
        }
        assert.strictEqual(server.accepted(), 1)
        for (let seconds = 540; seconds < 620; seconds += 20) {
          yield* fetchText(pool, server.origin)
          yield* TestClock.adjust("20 seconds")
        }
        assert.strictEqual(server.accepted(), 2)
        assert.deepStrictEqual(evicted, ["0 lifetime"])
      })
    )

    it.effect("can be turned off", () =>
      Effect.gen(function* () {
        const server = yield* start(oracle, { kind: "both" })
        const pool = yield* makePool(oracle, { idleTimeToLive: Infinity, maxLifetime: Infinity })
        yield* fetchText(pool, server.origin)
        yield* TestClock.adjust("10 days")
        yield* fetchText(pool, server.origin)
        assert.strictEqual(server.accepted(), 1)
      })
    )
  })

  describe("options", () => {
    it.effect("are checked when the pool is made, with one line that names what is wrong", () =>
      Effect.gen(function* () {
        const bad: ReadonlyArray<readonly [HttpPool.HttpPoolOptions, string]> = [
          [{ maxSize: 0 }, "maxSize"],
          [{ maxKeys: 0.5 }, "maxKeys"],
          [{ maxSizePerOrigin: 0 }, "maxSizePerOrigin"],
          [{ maxSharedPerOrigin: -1 }, "maxSharedPerOrigin"],
          [{ maxPending: -1 }, "maxPending"],
          [{ waitTimeout: -1 }, "waitTimeout"],
          [{ connectTimeout: Number.NaN }, "connectTimeout"],
          [{ closeTimeout: -1 }, "closeTimeout"],
          [{ idleTimeToLive: -1 }, "idleTimeToLive"],
          [{ maxLifetime: 0 }, "maxLifetime"],
          [{ leakWarning: -1 }, "leakWarning"],
          [{ protocols: "h2" as never }, "protocols"],
          [{ onAbandon: "leave" as never }, "onAbandon"],
          [{ http1: { maxHeaderBytes: 0 } }, "maxHeaderBytes"],
          [{ http2: { maxConcurrentStreams: 0 } }, "maxConcurrentStreams"],
          [{ tls: { minVersion: "hunter2" as never } }, "tls.minVersion"]
        ]
        for (const [options, name] of bad) {
          const exit = yield* Effect.exit(Effect.scoped(HttpPool.make(options)))
          assert.include(String(exit), name)
          assert.include(String(exit), "RangeError")
        }
      })
    )
  })
})
