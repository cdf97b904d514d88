import { assert, describe, it } from "@effect/vitest"
import { HttpError } from "@poolkit/http/HttpError"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { leakOracle } from "../leakOracle.ts"
import { fetch, get, http2Pool, post, times } from "./client.ts"
import { ErrorCode } from "./frames.ts"
import { gracefulCloses } from "./http2Goaway.ts"
import { data, ended, fin, goaway, head, type Http2Scenario, ok, rst, until } from "./http2Script.ts"
import { useFaultServer } from "./suite.ts"

const oracle = leakOracle()
const server = useFaultServer<Http2Scenario>("HTTP/2 goaway", "./http2Server.ts")

const refused = [rst(ErrorCode.refusedStream)]
const range = (n: number) => Array.from({ length: n }, (_, i) => i)

describe("HttpRequest over HTTP/2", () => {
  describe("GOAWAY", () => {
    it.live("0 to 5 ms around a reuse costs no request, and none runs twice", () => gracefulCloses(oracle, server, 120))

    it.live("lets what is under way finish, while new requests take a new connection", () =>
      Effect.gen(function* () {
        const target = yield* server.listen({
          requests: {
            long: [ended, head(), data("half"), goaway("this"), until({ signal: "go" }), data("{path}", { end: true })]
          }
        })
        const pool = yield* http2Pool(oracle, target)
        const long = yield* Effect.forkChild(fetch(pool, get("/long/1")), { startImmediately: true })
        yield* target.until("request", 1)
        for (const i of range(3)) assert.strictEqual((yield* fetch(pool, get(`/new/${i}`))).text, `/new/${i}`)
        target.signal("go")
        assert.strictEqual((yield* Fiber.join(long)).text, "half/long/1")
        yield* target.until("close", 1)
        assert.strictEqual(target.count("open"), 2)
        assert.deepInclude(yield* pool.stats, { created: 2, idle: 1, used: 0 })
      })
    )

    it.live("while it is idle retires the connection without an error", () =>
      Effect.gen(function* () {
        const target = yield* server.listen({
          connections: [{ start: [until({ signal: "go" }), goaway("max"), goaway("none"), fin] }, {}]
        })
        const pool = yield* http2Pool(oracle, target)
        yield* fetch(pool, get("/before"))
        target.signal("go")
        yield* target.until("close", 1)
        assert.strictEqual((yield* fetch(pool, post("/after"))).text, "/after")
        assert.deepInclude(yield* pool.stats, { created: 2, closed: 1, idle: 1, failed: 0 })
      })
    )

    it.live("before any stream sends the request to another connection, once", () =>
      Effect.gen(function* () {
        const away = { start: [goaway("none"), fin] }
        const once = yield* server.listen({ connections: [away, {}] })
        assert.strictEqual((yield* fetch(yield* http2Pool(oracle, once), post("/1"))).text, "/1")
        const always = yield* server.listen({ connections: [away] })
        const error = yield* Effect.flip(fetch(yield* http2Pool(oracle, always), post("/1")))
        assert.instanceOf(error, HttpError)
        assert.deepInclude(error, { sent: "none", responseStarted: false })
        yield* always.sync
        assert.isAtMost(always.count("open"), 2)
        assert.strictEqual(always.count("request"), 0)
      })
    )

    it.live("on every connection costs at most two connections per request", () =>
      Effect.gen(function* () {
        const target = yield* server.listen({
          connections: [{ start: [until({ streams: 1 }), goaway("none"), fin] }],
          requests: { "*": [until({ signal: "never" })] }
        })
        const pool = yield* http2Pool(oracle, target)
        const started = performance.now()
        const errors = yield* Effect.forEach(range(20), (i) => Effect.flip(fetch(pool, get(`/${i}`))), {
          concurrency: "unbounded"
        })
        assert.isBelow(performance.now() - started, 3_000)
        for (const error of errors) assert.deepInclude(error, { _tag: "HttpError", sent: "none" })
        yield* target.sync
        // They share them.
        assert.isAtMost(target.count("open"), 7)
      })
    )
  })

  describe("REFUSED_STREAM", () => {
    it.live("once sends any request again, with its whole body", () =>
      Effect.gen(function* () {
        const target = yield* server.listen({ once: { "/1": refused, "/2": [ended, ...refused] } })
        const pool = yield* http2Pool(oracle, target)
        const body = "x".repeat(100_000)
        for (const path of ["/1", "/2"]) {
          assert.strictEqual((yield* fetch(pool, post(path, body))).text, path)
          yield* target.sync
          assert.strictEqual(times(target, path), 2)
        }
        assert.strictEqual(target.facts("end").at(-1)?.bytes, body.length)
        assert.strictEqual(target.count("open"), 1)
      })
    )

    it.live("does not send a stream again that may have been taken from", () =>
      Effect.gen(function* () {
        const target = yield* server.listen({ once: { "/1": refused } })
        const pool = yield* http2Pool(oracle, target)
        const error = yield* Effect.flip(fetch(pool, post("/1", Stream.make(new Uint8Array(10)))))
        assert.deepInclude(error, { _tag: "HttpError", sent: "none" })
        yield* target.sync
        assert.strictEqual(times(target, "/1"), 1)
      })
    )

    it.live("for ever is bounded, and no matter to other requests", () =>
      Effect.gen(function* () {
        const target = yield* server.listen({ requests: { no: refused, yes: ok } })
        const pool = yield* http2Pool(oracle, target)
        const started = performance.now()
        const results = yield* Effect.forEach(
          range(200),
          (i) => Effect.result(fetch(pool, get(i % 2 === 0 ? `/no/${i}` : `/yes/${i}`))),
          { concurrency: 50 }
        )
        assert.isBelow(performance.now() - started, 3_000)
        results.forEach((result, i) => {
          if (result._tag === "Success") assert.strictEqual(result.success.text, `/yes/${i}`)
          else assert.deepInclude(result.failure, { _tag: "HttpError", sent: "none" })
          assert.strictEqual(result._tag, i % 2 === 0 ? "Failure" : "Success")
        })
        yield* target.sync
        assert.strictEqual(target.count("request"), 100 * 2 + 100)
        assert.isAtMost(target.count("open"), 2)
      })
    )
  })
})
