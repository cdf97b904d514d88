import { assert, describe, it } from "@effect/vitest"
import * as HttpPool from "@poolkit/http/HttpPool"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Origin from "@poolkit/http/Origin"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { certificates } from "./certificates.ts"
import { start } from "./httpPool.ts"
import { leakOracle } from "./leakOracle.ts"

const oracle = leakOracle()

const text = (...args: Parameters<typeof HttpPool.fetch>) =>
  Effect.scoped(Effect.flatMap(HttpPool.fetch(...args), (response) => response.text))

const watched = Effect.map(HttpPool.HttpPool, oracle.pool)

describe("HttpPool", () => {
  describe("fetch", () => {
    it.live("sends requests to any origin over the program's pool", () =>
      Effect.gen(function* () {
        const one = yield* start(oracle, { kind: "http" })
        const two = yield* start(oracle, { kind: "h2" })
        yield* Effect.gen(function* () {
          const pool = yield* watched
          assert.strictEqual(yield* text(`http://127.0.0.1:${one.port}/a/../b c?d=é#fragment`), "1.1 /b%20c?d=%C3%A9")
          assert.strictEqual(yield* text(`http://127.0.0.1:${one.port}`), "1.1 /")
          assert.strictEqual(yield* text(new URL(`https://127.0.0.1:${two.port}/x`)), "2.0 /x")
          assert.deepInclude(yield* pool.stats, { created: 2, idle: 2 })
        }).pipe(Effect.provide(HttpPool.layer({ tls: { ca: certificates.ca } })))
      })
    )

    it.live("takes a method, headers and a body", () =>
      Effect.gen(function* () {
        const server = yield* start(oracle, {
          kind: "http",
          handler: async (request, response) => {
            let body = ""
            for await (const chunk of request) body += chunk
            response.end(`${request.method} ${request.headers["x-a"]} ${body}`)
          }
        })
        const url = `http://127.0.0.1:${server.port}/`
        const bytes = Stream.make(new TextEncoder().encode("streamed"))
        yield* Effect.gen(function* () {
          yield* watched
          assert.strictEqual(yield* text(url, { method: "PUT", headers: { "x-a": "1" }, body: "text" }), "PUT 1 text")
          assert.strictEqual(yield* text(url, { method: "POST", body: bytes }), "POST undefined streamed")
        }).pipe(Effect.provide(HttpPool.layer()))
      })
    )

    it.effect("fails with one line where the URL is no good, and says nothing of what is in it", () =>
      Effect.gen(function* () {
        yield* watched
        for (const url of ["hunter2", "/hunter2", "ftp://hunter2/", "http://a:hunter2@b.test/", "http://hunter2:0/"]) {
          const error = yield* Effect.flip(text(url, { method: "POST" }))
          assert.strictEqual(error._tag, "HttpError")
          assert.match(
            error.message,
            /^POST \(no origin\): the request is not valid: Origin: [^\n]+; nothing was sent$/
          )
          assert.notInclude(String(error), "hunter2")
        }
      }).pipe(Effect.provide(HttpPool.layer()))
    )

    it.live("leaves nothing behind when the layer is gone, and its pool is closed", () =>
      Effect.gen(function* () {
        const server = yield* start(oracle, { kind: "http" })
        const url = String(server.origin)
        const pool = yield* Effect.gen(function* () {
          yield* text(url)
          return yield* watched
        }).pipe(Effect.provide(HttpPool.layer()))
        assert.deepInclude(yield* pool.stats, { idle: 0, created: 1, closed: 1 })
        const error = yield* Effect.flip(
          Effect.scoped(HttpRequest.execute(pool, Origin.make(url), { method: "GET", path: "/" }))
        )
        assert.strictEqual(error._tag, "PoolError")
      })
    )
  })
})
