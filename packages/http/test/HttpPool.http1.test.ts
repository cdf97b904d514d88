import { assert, describe, it } from "@effect/vitest"
import * as HttpPool from "@poolkit/http/HttpPool"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Origin from "@poolkit/http/Origin"
import * as Effect from "effect/Effect"
import { certificates } from "./certificates.ts"
import { get } from "./http1.ts"
import { leakOracle } from "./leakOracle.ts"
import { answer, httpServer, serveRequests, tlsServer } from "./servers.ts"

const oracle = leakOracle()

const make = (options?: HttpPool.HttpPoolOptions) => Effect.map(HttpPool.make(options), oracle.pool)

const fetchText = (pool: HttpPool.HttpConnections, origin: Origin.Origin, path = "/") =>
  Effect.scoped(Effect.flatMap(HttpRequest.execute(pool, origin, get(path)), (response) => response.text))

describe("HttpPool over HTTP/1.1", () => {
  it.live("opens at most maxSizePerOrigin connections for a cold burst", () =>
    Effect.gen(function* () {
      const server = yield* httpServer(oracle, ({ path }, socket) => void socket.write(answer(path)))
      const pool = yield* make({ maxSizePerOrigin: 6 })
      const origin = Origin.make(server.origin)
      const paths = Array.from({ length: 500 }, (_, i) => `/${i}`)
      const texts = yield* Effect.forEach(paths, (path) => fetchText(pool, origin, path), { concurrency: "unbounded" })
      assert.deepStrictEqual(texts, paths)
      assert.strictEqual(server.accepted(), 6)
      assert.deepInclude(yield* pool.statsOf(Origin.make(server.origin)), { created: 6, idle: 6, used: 0 })
    })
  )

  it.live("probes once and then fans out over TLS", () =>
    Effect.gen(function* () {
      const server = yield* tlsServer(
        oracle,
        { ...certificates.server, ALPNProtocols: ["http/1.1"] },
        serveRequests(({ headers }, socket) => void socket.write(answer(headers["host"]!)))
      )
      const pool = yield* make({ maxSizePerOrigin: 4, tls: { ca: certificates.ca } })
      const origin = Origin.make(`https://localhost:${server.port}`)
      const texts = yield* Effect.forEach(Array.from({ length: 100 }), () => fetchText(pool, origin), {
        concurrency: "unbounded"
      })
      assert.deepStrictEqual(new Set(texts), new Set([`localhost:${server.port}`]))
      assert.strictEqual(server.accepted(), 4)
    })
  )
})
