import { assert, describe, it } from "@effect/vitest"
import * as Http1Pool from "@poolkit/http/Http1Pool"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { mkdtempSync } from "node:fs"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { certificates } from "./certificates.ts"
import { get } from "./http1.ts"
import { leakOracle } from "./leakOracle.ts"
import { answer, httpServer, nextTurn, rawServer, serveRequests, tlsServer } from "./servers.ts"

const oracle = leakOracle()

const make = (options: Http1Pool.Http1PoolOptions) => Effect.map(Http1Pool.make(options), oracle.pool)

const fetchText = (pool: Http1Pool.Http1Pool, path = "/") =>
  Effect.scoped(Effect.flatMap(HttpRequest.execute(pool, get(path)), (response) => response.text))

describe("Http1Pool", () => {
  describe("make", () => {
    it.live("speaks TLS for https: and counts connections as the server does", () =>
      Effect.gen(function* () {
        const hosts: Array<string | undefined> = []
        const server = yield* tlsServer(
          oracle,
          { ...certificates.server, ALPNProtocols: ["h2", "http/1.1"] },
          serveRequests(({ headers }, socket) => {
            hosts.push(headers["host"])
            socket.write(answer("secret"))
          })
        )
        const pool = yield* make({ origin: `https://localhost:${server.port}`, tls: { ca: certificates.ca } })
        for (let i = 0; i < 10; i++) assert.strictEqual(yield* fetchText(pool), "secret")
        assert.strictEqual(server.accepted(), 1)
        assert.deepInclude(yield* pool.stats, { created: 1, reused: 9, failed: 0 })
        assert.strictEqual(hosts[0], `localhost:${server.port}`)
      })
    )

    it.live("pools nothing that failed its handshake", () =>
      Effect.gen(function* () {
        const { expired, otherName, unknownCa } = certificates
        for (const identity of [unknownCa, otherName, expired]) {
          const server = yield* tlsServer(oracle, identity, (socket) => socket.resume())
          const pool = yield* make({ origin: `https://localhost:${server.port}`, tls: { ca: certificates.ca } })
          const error = yield* Effect.flip(fetchText(pool))
          assert.strictEqual(error._tag, "SocketError")
          assert.strictEqual(error.reason._tag, "Tls")
          assert.deepInclude(yield* pool.stats, { created: 0, failed: 1, idle: 0, connecting: 0, used: 0 })
        }
      })
    )

    it.live("passes TLS options by reference", () =>
      Effect.gen(function* () {
        const server = yield* tlsServer(oracle, certificates.server, (socket) => socket.resume())
        let calls = 0
        const checkServerIdentity = () => {
          calls++
          return new Error("not pinned")
        }
        const tls = { ca: certificates.ca, checkServerIdentity }
        const pool = yield* make({ origin: `https://127.0.0.1:${server.port}`, tls })
        assert.strictEqual((yield* Effect.flip(fetchText(pool)))._tag, "SocketError")
        assert.strictEqual(calls, 1)
      })
    )

    it.live("connects to a Unix socket, with the origin as host", () =>
      Effect.gen(function* () {
        const socketPath = join(mkdtempSync(join(tmpdir(), "poolkit-")), "socket")
        const server = Net.createServer(
          serveRequests(({ headers }, socket) => void socket.write(answer(headers["host"]!)))
        )
        oracle.server(server)
        yield* Effect.callback<void>((resume) => void server.listen(socketPath, () => resume(Effect.void)))
        const pool = yield* make({ origin: "http://service.test", socketPath })
        assert.strictEqual(yield* fetchText(pool), "service.test")
      })
    )

    it.effect("does not lend a connection that the server is about to close", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(
          oracle,
          (_, socket) => void socket.write(answer("ok", "keep-alive: timeout=5\r\n"))
        )
        const pool = yield* make({ origin: server.origin })
        yield* fetchText(pool)
        yield* TestClock.adjust(2_999)
        yield* fetchText(pool)
        assert.strictEqual(server.accepted(), 1)
        yield* TestClock.adjust(3_000)
        yield* fetchText(pool)
        assert.strictEqual(server.accepted(), 2)
      })
    )

    it.live("notices at once that an idle connection was closed", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, (_, socket) => void socket.write(answer("ok")))
        const pool = yield* make({ origin: server.origin })
        yield* fetchText(pool)
        assert.strictEqual((yield* pool.stats).idle, 1)
        ;(yield* server.peer).end()
        while ((yield* pool.stats).idle > 0) yield* nextTurn
        assert.deepInclude(yield* pool.stats, { created: 1, used: 0 })
      })
    )

    it.effect("has one deadline for a connection, whose error says where it hung", () =>
      Effect.gen(function* () {
        const server = yield* rawServer(oracle, (socket) => socket.resume())
        const pool = yield* make({ origin: `https://127.0.0.1:${server.port}` })
        const fiber = yield* Effect.forkChild(Effect.flip(fetchText(pool)))
        yield* server.peer
        yield* TestClock.adjust(9_999)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        const error = yield* Fiber.join(fiber)
        assert.strictEqual(error._tag, "SocketError")
        assert.deepInclude(error.reason, { _tag: "Timeout", phase: "tls" })
      })
    )

    it.live("takes the options of a cache and of a connection", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, () => {})
        const pool = yield* make({
          origin: server.origin,
          maxSize: 1,
          maxPending: 2,
          http1: { headersTimeout: 30, authority: "a.test" }
        })
        const errors = yield* Effect.forEach([1, 2, 3], () => Effect.flip(fetchText(pool)), { concurrency: 3 })
        assert.deepStrictEqual(errors.map((error) => error.reason._tag).toSorted(), [
          "QueueFull",
          "ResponseTimeout",
          "ResponseTimeout"
        ])
        assert.isTrue(errors.some((error) => error.message.startsWith("GET a.test: ")))
      })
    )

    it.effect("rejects bad options of a connection before there is one", () =>
      Effect.gen(function* () {
        const options = { origin: "http://a.test", http1: { maxHeaderBytes: -1 } }
        const exit = yield* Effect.exit(Effect.scoped(Http1Pool.make(options)))
        assert.include(String(exit), "Http1Connection: maxHeaderBytes must be an integer of at least 1, got -1")
      })
    )

    it.effect("rejects what is not an origin, without quoting it", () =>
      Effect.gen(function* () {
        for (const origin of [
          "nonsense",
          "ftp://a.test",
          "http://a.test/path",
          "http://me:hunter2@a.test",
          "http://a.test/?hunter2"
        ]) {
          const exit = yield* Effect.exit(Effect.scoped(Http1Pool.make({ origin })))
          assert.include(String(exit), "Origin: the URL must")
          assert.notInclude(String(exit), "hunter2")
        }
      })
    )
  })

  describe("layer", () => {
    it.live("provides a pool that ends with it", () =>
      Effect.gen(function* () {
        class Api extends Context.Service<Api, Http1Pool.Http1Pool>()("test/Api") {}
        const server = yield* httpServer(oracle, (_, socket) => void socket.write(answer("ok")))
        const pool = yield* Effect.gen(function* () {
          const api = oracle.pool(yield* Api)
          assert.strictEqual(yield* fetchText(api), "ok")
          return api
        }).pipe(Effect.provide(Http1Pool.layer(Api, { origin: server.origin })))
        assert.strictEqual((yield* Effect.flip(fetchText(pool)))._tag, "PoolError")
      })
    )
  })
})
