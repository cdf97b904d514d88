import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { Http2ServerResponse } from "node:http2"
import { blackhole } from "./blackhole.ts"
import { burst, echoes, emptied, fetchText, type Kind, makePool, start, until } from "./httpPool.ts"
import { leakOracle } from "./leakOracle.ts"
import * as Origin from "@poolkit/http/Origin"
import type { HttpPoolOptions } from "@poolkit/http/HttpPool"

const oracle = leakOracle()

describe("HttpPool", () => {
  describe("a cold burst of 500 requests", () => {
    const cases: ReadonlyArray<readonly [Kind, "1.1" | "2.0", number, HttpPoolOptions]> = [
      ["http", "1.1", 6, {}],
      ["https", "1.1", 6, {}],
      ["https", "1.1", 6, { protocols: "http1" }],
      ["h2", "2.0", 1, {}],
      ["h2", "2.0", 1, { protocols: "http2" }],
      ["h2c", "2.0", 1, { protocols: "http2" }]
    ]
    for (const [kind, version, connections, options] of cases) {
      const asked = options.protocols === undefined ? "" : `, asked for ${options.protocols}`
      it.live(`opens ${connections} connections to ${kind}${asked}`, () =>
        Effect.gen(function* () {
          const server = yield* start(oracle, { kind })
          const pool = yield* makePool(oracle, { maxSizePerOrigin: 6, ...options })
          assert.deepStrictEqual(yield* burst(pool, server.origin, 500), echoes(version, 500))
          assert.strictEqual(server.accepted(), connections)
          assert.deepInclude(yield* pool.statsOf(server.origin), { created: connections, idle: connections, failed: 0 })
        })
      )
    }

    it.live("begins with one probe only where there is something to find out", () =>
      Effect.gen(function* () {
        const cases = [
          ["http", "auto", 6],
          // The probe, and the attempt that takes over what it opened.
          ["https", "auto", 2],
          ["https", "http1", 6],
          ["h2", "http2", 1]
        ] as const
        for (const [kind, protocols, first] of cases) {
          const server = yield* start(oracle, { kind })
          const pool = yield* makePool(oracle, { maxSizePerOrigin: 6, protocols })
          let attempts = 0
          let atFirst: number | undefined
          yield* pool.observe({
            connecting: () => void attempts++,
            connected: () => void (atFirst ??= attempts)
          })
          yield* burst(pool, server.origin, 20)
          assert.strictEqual(atFirst, first, `${kind} ${protocols}`)
        }
      })
    )

    it.live("respects a server that allows 7 streams at a time", () =>
      Effect.gen(function* () {
        let streams = 0
        let most = 0
        const server = yield* start(oracle, {
          kind: "h2",
          maxConcurrentStreams: 7,
          handler: (request, response) => {
            most = Math.max(most, ++streams)
            setImmediate(() => {
              streams--
              response.end(`${request.httpVersion} ${request.url}`)
            })
          }
        })
        const pool = yield* makePool(oracle)
        assert.deepStrictEqual(yield* burst(pool, server.origin, 500), echoes("2.0", 500))
        assert.isAtMost(most, 7)
        assert.strictEqual(server.accepted(), 1)
      })
    )

    it.live("shares as many HTTP/2 connections as it is told", () =>
      Effect.gen(function* () {
        const server = yield* start(oracle, { kind: "h2", maxConcurrentStreams: 10 })
        const pool = yield* makePool(oracle, { maxSharedPerOrigin: 3 })
        yield* fetchText(pool, server.origin)
        assert.deepStrictEqual(yield* burst(pool, server.origin, 500), echoes("2.0", 500))
        assert.strictEqual(server.accepted(), 3)
      })
    )
  })

  describe("a server that ends its connections in good order", () => {
    it.live("costs no request over HTTP/2, though it goes away under load", () =>
      Effect.gen(function* () {
        let served = 0
        const server = yield* start(oracle, {
          kind: "h2",
          handler: (request, response) => {
            // Announces that it goes away, and answers what it has got already.
            if (++served % 50 === 0) (response as unknown as Http2ServerResponse).stream.session?.close()
            response.end(`${request.httpVersion} ${request.url}`)
          }
        })
        const pool = yield* makePool(oracle)
        const texts = yield* Effect.forEach(
          Array.from({ length: 1000 }, (_, i) => `/${i}`),
          (path) => fetchText(pool, server.origin, { method: "POST", path }),
          { concurrency: 20 }
        )
        assert.deepStrictEqual(texts, echoes("2.0", 1000))
        assert.strictEqual(served, 1000)
        assert.isAtLeast(server.accepted(), 10)
      })
    )

    it.live("costs no request over HTTP/1.1, where every answer is the last", () =>
      Effect.gen(function* () {
        let served = 0
        const server = yield* start(oracle, {
          kind: "http",
          handler: (request, response) => {
            served++
            response.setHeader("connection", "close").end(`${request.httpVersion} ${request.url}`)
          }
        })
        const pool = yield* makePool(oracle)
        const texts = yield* Effect.forEach(
          Array.from({ length: 200 }, (_, i) => `/${i}`),
          (path) => fetchText(pool, server.origin, { method: "POST", path }),
          { concurrency: 20 }
        )
        assert.deepStrictEqual(texts, echoes("1.1", 200))
        assert.strictEqual(served, 200)
        assert.strictEqual(server.accepted(), 200)
        assert.isAtMost(server.maxOpen(), 10)
      })
    )
  })

  describe("connectTimeout", () => {
    it.live("says which step was slow, not merely that no connection came", () =>
      Effect.gen(function* () {
        const { port } = yield* blackhole
        const pool = yield* makePool(oracle, { connectTimeout: 100 })
        for (const scheme of ["http", "https"]) {
          const error = yield* Effect.flip(fetchText(pool, Origin.make(`${scheme}://127.0.0.1:${port}`)))
          assert.strictEqual(error._tag, "SocketError")
          assert.deepInclude(error.reason, { _tag: "Timeout", phase: "connect" })
        }
      })
    )
  })

  describe("what a server speaks", () => {
    it.live("is remembered, and no probe precedes the second burst", () =>
      Effect.gen(function* () {
        const server = yield* start(oracle, { kind: "h2" })
        const pool = yield* makePool(oracle)
        yield* burst(pool, server.origin, 10)
        yield* burst(pool, server.origin, 10)
        assert.strictEqual(server.accepted(), 1)
      })
    )

    it.live("may change when it restarts, in either direction and again", () =>
      Effect.gen(function* () {
        const first = yield* start(oracle, { kind: "h2" })
        const { origin, port } = first
        const pool = yield* makePool(oracle, { maxSizePerOrigin: 3 })
        assert.deepStrictEqual(yield* burst(pool, origin, 20), echoes("2.0", 20))
        yield* Effect.andThen(first.stop, emptied(pool))
        for (const kind of ["https", "h2", "https"] as const) {
          const server = yield* start(oracle, { kind, port })
          assert.deepStrictEqual(yield* burst(pool, origin, 20), echoes(kind === "h2" ? "2.0" : "1.1", 20))
          // What is remembered costs as many attempts as HTTP/1.1 may have; one of them stays.
          assert.isAtMost(server.accepted(), 3)
          yield* until(Effect.map(pool.stats, ({ idle }) => idle === (kind === "h2" ? 1 : server.accepted())))
          yield* Effect.andThen(server.stop, emptied(pool))
        }
        assert.lengthOf(yield* pool.keys, 1)
      })
    )

    it.live("can be narrowed down for one origin by its alpn", () =>
      Effect.gen(function* () {
        const server = yield* start(oracle, { kind: "both" })
        const pool = yield* makePool(oracle)
        const url = String(server.origin)
        const narrowed = Origin.make({ url, tls: { alpn: ["http/1.1"] } })
        const none = Origin.make({ url, tls: { alpn: [] } })
        assert.strictEqual(yield* fetchText(pool, server.origin), "2.0 /")
        assert.strictEqual(yield* fetchText(pool, narrowed), "1.1 /")
        assert.strictEqual(yield* fetchText(pool, none), "1.1 /")
        assert.deepStrictEqual(
          server.handshakes.map(({ alpn }) => alpn),
          ["h2", "http/1.1", false]
        )
      })
    )

    it.live("is asked for as the origin says, whatever the pool does for others", () =>
      Effect.gen(function* () {
        const server = yield* start(oracle, { kind: "both" })
        const url = String(server.origin)
        const http1 = yield* makePool(oracle, { protocols: "http1" })
        const http2 = yield* makePool(oracle, { protocols: "http2" })
        const [only1, only2] = ["http/1.1", "h2"].map((name) => Origin.make({ url, tls: { alpn: [name] } }))
        assert.deepStrictEqual(yield* burst(http1, only2!, 20), echoes("2.0", 20))
        assert.strictEqual(server.accepted(), 1)
        assert.deepStrictEqual(yield* burst(http2, only1!, 20), echoes("1.1", 20))
        assert.strictEqual(yield* fetchText(http1, server.origin), "1.1 /")
        assert.strictEqual(yield* fetchText(http2, server.origin), "2.0 /")
      })
    )

    it.live("must be HTTP/2 if only that was asked for", () =>
      Effect.gen(function* () {
        const server = yield* start(oracle, { kind: "https", alpn: false })
        const pool = yield* makePool(oracle, { protocols: "http2" })
        const error = yield* Effect.flip(fetchText(pool, server.origin))
        assert.strictEqual(error._tag, "SocketError")
        assert.strictEqual(error.reason._tag, "Tls")
        assert.deepInclude(yield* pool.stats, { created: 0, idle: 0, used: 0 })
      })
    )
  })
})
