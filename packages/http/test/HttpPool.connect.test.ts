import { assert, describe, it } from "@effect/vitest"
import type { HttpConnection, HttpResponse } from "@poolkit/http/HttpConnection"
import * as HttpPool from "@poolkit/http/HttpPool"
import * as Origin from "@poolkit/http/Origin"
import type { Signals } from "@poolkit/pool/ConnectionPool"
import * as Connector from "@poolkit/pool/Connector"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { burst, emptied, fetchText, start } from "./httpPool.ts"
import { leakOracle } from "./leakOracle.ts"

const oracle = leakOracle()

class NoQuic extends Data.TaggedError("NoQuic") {}

/** A network of its own: sessions that carry as many requests as they say, and answer after a second. */
const makeNetwork = (concurrency: number) => {
  const sessions: Array<{ active: number; most: number; open: boolean; allowed: number; signals: Set<Signals> }> = []
  const open: Effect.Effect<HttpConnection, never, Scope.Scope> = Effect.acquireRelease(
    Effect.sync(() => {
      const session = { active: 0, most: 0, open: true, allowed: concurrency, signals: new Set<Signals>() }
      sessions.push(session)
      return session
    }),
    (session) =>
      Effect.sync(() => {
        session.open = false
      })
  ).pipe(
    Effect.map((session) => ({
      protocol: "h3",
      concurrency: () => session.allowed,
      isOpen: () => session.open,
      watch: (signals) => {
        session.signals.add(signals)
        return () => session.signals.delete(signals)
      },
      send: ({ path }, context, onEnd) => {
        session.most = Math.max(session.most, ++session.active)
        const fiber = Effect.runForkWith(context)(Effect.sleep("1 second"))
        fiber.addObserver(() => {
          session.active--
          onEnd?.()
        })
        return {
          response: Effect.as(Fiber.await(fiber), textResponse(`h3 ${path}`)),
          cancel: () => fiber.interruptUnsafe()
        }
      }
    }))
  )
  return { sessions, open }
}

const textResponse = (text: string): HttpResponse => {
  const bytes = new TextEncoder().encode(text)
  return {
    status: 200,
    headers: {},
    stream: Stream.make(bytes),
    bytes: Effect.succeed(bytes),
    text: Effect.succeed(text),
    json: Effect.succeed(text),
    discard: Effect.void
  }
}

const origin = Origin.make("https://quic.test")

describe("HttpPool", () => {
  describe("connect", () => {
    it.effect("may open connections of any protocol, which are shared as far as they say", () =>
      Effect.gen(function* () {
        const network = makeNetwork(25)
        const pool = yield* HttpPool.make({ connect: () => network.open, maxSharedPerOrigin: 4 })
        oracle.pool(pool)
        const texts = yield* Effect.forkChild(burst(pool, origin, 200))
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(
          yield* Fiber.join(texts),
          Array.from({ length: 200 }, (_, i) => `h3 /${i}`)
        )
        assert.deepStrictEqual(
          network.sessions.map(({ most }) => most),
          [25, 25, 25, 25]
        )
        assert.deepInclude(yield* pool.statsOf(origin), { idle: 4, created: 4 })
      })
    )

    it.effect("is asked once for a cold burst, and again when a connection retires", () =>
      Effect.gen(function* () {
        const network = makeNetwork(1000)
        const pool = oracle.pool(yield* HttpPool.make({ connect: () => network.open }))
        const texts = yield* Effect.forkChild(burst(pool, origin, 500))
        yield* TestClock.adjust("500 millis")
        assert.lengthOf(network.sessions, 1)
        for (const signals of network.sessions[0]!.signals) signals.retire()
        const later = yield* Effect.forkChild(fetchText(pool, origin))
        yield* TestClock.adjust("500 millis")
        assert.lengthOf(yield* Fiber.join(texts), 500)
        yield* TestClock.adjust("500 millis")
        assert.strictEqual(yield* Fiber.join(later), "h3 /")
        assert.deepStrictEqual(
          network.sessions.map(({ most, open }) => ({ most, open })),
          [
            { most: 500, open: false },
            { most: 1, open: true }
          ]
        )
      })
    )

    it.effect("follows a connection that changes how much it takes", () =>
      Effect.gen(function* () {
        const network = makeNetwork(10)
        const pool = oracle.pool(yield* HttpPool.make({ connect: () => network.open }))
        const texts = yield* Effect.forkChild(burst(pool, origin, 30))
        yield* TestClock.adjust("500 millis")
        const session = network.sessions[0]!
        session.allowed = 20
        for (const signals of session.signals) signals.capacityChanged()
        yield* TestClock.adjust("2 seconds")
        assert.lengthOf(yield* Fiber.join(texts), 30)
        assert.strictEqual(session.most, 20)
        assert.lengthOf(network.sessions, 1)
      })
    )

    it.live("may fall back on the pool's own connector, origin by origin", () =>
      Effect.gen(function* () {
        const server = yield* start(oracle, { kind: "http" })
        const network = makeNetwork(10)
        const tcp = HttpPool.connector()
        const pool = oracle.pool(
          yield* HttpPool.make({ connect: (origin) => (origin.scheme === "https" ? network.open : tcp(origin)) })
        )
        assert.strictEqual(yield* fetchText(pool, server.origin), "1.1 /")
        assert.strictEqual(yield* fetchText(pool, origin), "h3 /")
        assert.strictEqual(server.accepted(), 1)
        assert.lengthOf(network.sessions, 1)
      })
    )

    it.effect("may fail in its own way, need services, and be wrapped in policies", () =>
      Effect.gen(function* () {
        class Quic extends Context.Service<Quic, { readonly enabled: boolean }>()("test/Quic") {}
        let attempts = 0
        const connect = (): Effect.Effect<HttpConnection, NoQuic, Quic> =>
          Effect.flatMap(Quic, ({ enabled }) => {
            attempts++
            return enabled ? Effect.never : Effect.fail(new NoQuic())
          })
        const pool = yield* HttpPool.make({ connect: Connector.timeout(connect, "1 second") }).pipe(
          Effect.provideService(Quic, { enabled: false })
        )
        const error = yield* Effect.flip(fetchText(oracle.pool(pool), origin))
        assert.strictEqual(error._tag, "NoQuic")
        assert.strictEqual(attempts, 1)
      })
    )

    it.effect("has connectTimeout for each attempt", () =>
      Effect.gen(function* () {
        const pool = oracle.pool(yield* HttpPool.make({ connect: () => Effect.never, connectTimeout: "3 seconds" }))
        const fiber = yield* Effect.forkChild(Effect.flip(fetchText(pool, origin)))
        yield* TestClock.adjust(2_999)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual((yield* Fiber.join(fiber))._tag, "PoolError")
        yield* emptied(pool)
      })
    )
  })
})
