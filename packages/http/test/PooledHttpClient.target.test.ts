import { assert, describe, it } from "@effect/vitest"
import { HttpError } from "@poolkit/http/HttpError"
import * as PooledHttpClient from "@poolkit/http/PooledHttpClient"
import { SocketError } from "@poolkit/http/SocketError"
import * as Effect from "effect/Effect"
import { HttpClient, type HttpClientError, HttpClientRequest } from "effect/http"
import { mkdtempSync, rmSync } from "node:fs"
import * as Http from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { TLSSocket } from "node:tls"
import { certificates } from "./certificates.ts"
import { echo, type Echo, say } from "./dropIn/lab.ts"
import { withClient, withServer } from "./dropIn/pooled.ts"
import { originOf } from "../src/internal/clientTarget.ts"
import { leakOracle } from "./leakOracle.ts"
import { tlsServer } from "./servers.ts"

const oracle = leakOracle()

const text = (url: string) => Effect.flatMap(HttpClient.get(url), (response) => response.text)

/** The cause of the transport error that a request fails with. */
const causeOf = <R>(request: Effect.Effect<unknown, HttpClientError.HttpClientError, R>) =>
  Effect.map(Effect.flip(request), (error) => {
    assert.strictEqual(error.reason._tag, "TransportError")
    assert.strictEqual(error.cause, error.reason.cause)
    return error.reason.cause
  })

const at = (target: PooledHttpClient.Target) => Effect.provideService(PooledHttpClient.CurrentTarget, target)

describe("PooledHttpClient", () => {
  describe("upgrades", () => {
    it.live("speak HTTP/1.1 with servers that prefer HTTP/2, and trust whom the options say", () =>
      Effect.gen(function* () {
        const protocols: Array<unknown> = []
        const options = { ...certificates.server, ALPNProtocols: ["h2", "http/1.1"] }
        const { origin } = yield* tlsServer(oracle, options, (socket) => {
          protocols.push(socket.alpnProtocol)
          socket.resume().write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: tcp\r\n\r\n")
        })
        const request = HttpClientRequest.upgrade(HttpClientRequest.get(origin), "tcp")
        const connect = Effect.gen(function* () {
          const response = yield* HttpClient.execute(request)
          yield* Effect.scoped(Effect.flatMap(response.upgrade, (socket) => socket.reader))
        })
        const trust = { tls: { ca: certificates.ca } }
        yield* Effect.provide(connect, PooledHttpClient.layer(trust))
        // A target says it last.
        const distrust = PooledHttpClient.layer({ tls: { ca: certificates.unknownCa.cert } })
        yield* Effect.provide(connect, distrust).pipe(at({ tls: { ...trust.tls, alpn: ["h2"] } }))
        assert.deepStrictEqual(protocols, ["http/1.1", "http/1.1"])
        const cause = yield* causeOf(
          Effect.asVoid(HttpClient.execute(request)).pipe(Effect.provide(PooledHttpClient.layer()))
        )
        assert(cause instanceof SocketError && cause.reason._tag === "Tls")
      })
    )

    it.live("use no connection of the pool, and leave it usable", () =>
      withServer(oracle, "http/1.1", say("no", 403), { maxSizePerOrigin: 1 }, ({ pool, url }) =>
        Effect.gen(function* () {
          const response = yield* HttpClient.execute(HttpClientRequest.upgrade(HttpClientRequest.get(url), "tcp"))
          assert.strictEqual((yield* pool.stats).created, 0)
          assert.strictEqual(yield* text(url), "no")
          assert.strictEqual(yield* response.text, "no")
        })
      )
    )
  })

  describe("CurrentTarget", () => {
    it("remembers the origins of 1,000 servers for a target", () => {
      const target = { tenant: "a" }
      const nth = (n: number) => originOf(new URL(`http://server${n}.test/path`), target)
      const first = nth(0)
      for (let n = 1; n < 1000; n++) nth(n)
      assert.strictEqual(nth(0), first)
      nth(1000)
      assert.notStrictEqual(nth(0), first)
    })

    it.live("sends requests to an address other than the URL's, which the server still hears of", () =>
      withServer(oracle, "http/1.1", echo, {}, ({ pool, url }) =>
        Effect.gen(function* () {
          const response = yield* HttpClient.get("http://service.test/path").pipe(at({ address: new URL(url).host }))
          const { headers, path } = (yield* response.json) as unknown as Echo
          assert.deepStrictEqual([headers["host"], path], ["service.test", "/path"])
          assert.strictEqual(response.url, "http://service.test/path")
          assert.deepStrictEqual((yield* pool.keys).map(String), [`http://service.test via ${new URL(url).host}`])
        })
      )
    )

    it.live("sends requests through a Unix socket, upgrades too", () => {
      const folder = mkdtempSync(join(tmpdir(), "poolkit-"))
      const socketPath = join(folder, "server.sock")
      const server = Http.createServer((request, response) => response.end(`${request.headers.host} ${request.url}`))
      server.on("upgrade", (_, socket) => {
        socket.on("end", () => socket.end())
        socket.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: tcp\r\n\r\n")
      })
      oracle.server(server)
      return withClient(oracle, {}, () =>
        Effect.gen(function* () {
          yield* Effect.callback<void>((resume) => void server.listen(socketPath, () => resume(Effect.void)))
          const target = at({ socketPath })
          assert.strictEqual(yield* text("http://docker/v1/info").pipe(target), "docker /v1/info")
          const request = HttpClientRequest.upgrade(HttpClientRequest.post("http://docker/attach"), "tcp")
          const response = yield* HttpClient.execute(request).pipe(target)
          assert.strictEqual(response.status, 101)
          yield* Effect.scoped(Effect.flatMap(response.upgrade, (socket) => socket.reader))
        })
      ).pipe(Effect.ensuring(Effect.sync(() => rmSync(folder, { recursive: true }))))
    })

    it.live("keeps tenants apart", () =>
      withServer(oracle, "http/1.1", say("ok"), {}, ({ pool, url }) =>
        Effect.gen(function* () {
          const a = at({ tenant: "a" })
          const b = at({ tenant: "b" })
          for (let i = 0; i < 3; i++) for (const target of [a, b]) yield* text(url).pipe(target)
          // The same by content is the same by key.
          yield* text(url).pipe(at({ tenant: "a" }))
          yield* text(url)
          assert.deepInclude(yield* pool.stats, { created: 3, reused: 5 })
          assert.strictEqual((yield* pool.keys).length, 3)
        })
      )
    )

    it.live("speaks with the TLS identity of the target", () =>
      Effect.gen(function* () {
        const seen: Array<unknown> = []
        const server = Http.createServer((request, response) => {
          seen.push((request.socket as TLSSocket).getPeerCertificate().subject?.CN)
          response.end("ok")
        })
        const options = { ...certificates.server, ca: certificates.ca, requestCert: true, rejectUnauthorized: false }
        const { origin } = yield* tlsServer(oracle, options, (socket) => server.emit("connection", socket))
        yield* withClient(oracle, {}, () =>
          Effect.gen(function* () {
            yield* text(origin)
            yield* text(origin).pipe(at({ tls: { ...certificates.client, ca: certificates.ca } }))
            assert.deepStrictEqual(seen, [undefined, "client.test"])
          })
        )
      })
    )

    it.live("is a TransportError when the target is not valid, which is not quoted", () =>
      withClient(oracle, {}, () =>
        Effect.gen(function* () {
          const cause = yield* causeOf(HttpClient.get("http://127.0.0.1:1/").pipe(at({ address: "secret:x" })))
          assert(cause instanceof HttpError && cause.reason._tag === "InvalidRequest")
          assert.include(cause.message, "address")
          assert.notInclude(cause.message, "secret")
        })
      )
    )
  })
})
