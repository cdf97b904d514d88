import { assert, describe, it } from "@effect/vitest"
import type { Http2Options } from "@poolkit/http/Http2Connection"
import type * as HttpConnection from "@poolkit/http/HttpConnection"
import { HttpError } from "@poolkit/http/HttpError"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as fc from "fast-check"
import type * as Http2 from "node:http2"
import { get, roundTrip } from "./http1.ts"
import { answer, connectTo, type Http2Server, type Received, requestServer } from "./http2.ts"
import { leakOracle } from "./leakOracle.ts"

const oracle = leakOracle()

type Headers = NonNullable<HttpConnection.HttpRequest["headers"]>

/** What the server got of one request, or why it was not sent. */
const sent = (request: HttpConnection.HttpRequest, options?: Http2Options, serverOptions?: Http2.ServerOptions) =>
  Effect.scoped(
    Effect.gen(function* () {
      const seen: Array<Received> = []
      const server: Http2Server = yield* requestServer(
        oracle,
        (received, stream) => {
          seen.push(received)
          answer(stream, "")
        },
        serverOptions
      )
      const { connection } = yield* connectTo(server, options)
      yield* roundTrip(connection, request)
      return { port: server.port, headers: seen[0]!.headers, count: seen.length }
    })
  )

const withHeaders = (headers: Headers): HttpConnection.HttpRequest => ({ ...get(), headers })

describe("Http2Connection", () => {
  describe("request headers", () => {
    it.live("arrive in lower case, without the white space around them, with all their values", () =>
      Effect.gen(function* () {
        const { headers } = yield* sent(
          withHeaders({
            "X-One": " \t1\t ",
            "x-two": ["a", "b"],
            "X-Two": "c",
            "x-empty": "",
            "x-none": [],
            "x-umlaut": "\xa0ä"
          })
        )
        assert.strictEqual(headers["x-one"], "1")
        assert.strictEqual(headers["x-two"], "a, b, c")
        assert.strictEqual(headers["x-empty"], "")
        assert.notProperty(headers, "x-none")
        assert.strictEqual(headers["x-umlaut"], "\xa0ä")
      })
    )

    it.live("name the server once, as the connection knows it or the request says", () =>
      Effect.gen(function* () {
        const plain = yield* sent(get())
        assert.strictEqual(plain.headers[":authority"], `127.0.0.1:${plain.port}`)
        assert.strictEqual(plain.headers[":scheme"], "http")
        assert.notProperty(plain.headers, "host")
        const named = yield* sent(get(), { authority: "example.test" })
        assert.strictEqual(named.headers[":authority"], "example.test")
        const overridden = yield* sent(withHeaders({ Host: "other.test:8080" }), { authority: "example.test" })
        assert.strictEqual(overridden.headers[":authority"], "other.test:8080")
        assert.notProperty(overridden.headers, "host")
      })
    )

    it.live("about the connection are left out or rejected", () =>
      Effect.gen(function* () {
        const { headers } = yield* sent(withHeaders({ Connection: "close", te: "trailers" }))
        assert.notProperty(headers, "connection")
        assert.strictEqual(headers["te"], "trailers")
        for (const header of [
          { "keep-alive": "timeout=5" },
          { "Transfer-Encoding": "chunked" },
          { upgrade: "websocket" },
          { "proxy-connection": "close" },
          { "http2-settings": "" },
          { expect: "100-continue" },
          { te: "gzip" },
          { host: ["a.test", "b.test"] },
          { host: "" },
          { host: "user@a.test" },
          { host: "a.test/path" },
          { "content-length": "two" },
          { "content-length": "-1" },
          { "content-length": ["0", "0"] },
          { ":path": "/other" },
          { "x-long": "x".repeat(66_000) }
        ]) {
          const error = yield* Effect.flip(sent(withHeaders(header as Headers)))
          assert.strictEqual(error._tag, "HttpError", JSON.stringify(header).slice(0, 50))
          if (error._tag === "HttpError") {
            assert.strictEqual(error.reason._tag, "InvalidRequest", JSON.stringify(header).slice(0, 50))
            assert.strictEqual(error.sent, "none")
          }
        }
      })
    )

    it.live("may be as large as node can send, whatever their number", () =>
      Effect.gen(function* () {
        const many = Object.fromEntries(Array.from({ length: 1_200 }, (_, i) => [`x-${i}`, "some value of it"]))
        const { headers } = yield* sent(
          withHeaders(many),
          {},
          {
            maxHeaderListPairs: 2_000,
            settings: { maxHeaderListSize: 100_000 }
          }
        )
        assert.strictEqual(headers["x-1199"], "some value of it")
      })
    )

    it.live("larger than the server takes are not sent", () =>
      Effect.gen(function* () {
        const server = yield* requestServer(oracle, (_, stream) => answer(stream, "ok"), {
          settings: { maxHeaderListSize: 1_000 }
        })
        const { connection } = yield* connectTo(server)
        yield* roundTrip(connection)
        const error = yield* Effect.flip(roundTrip(connection, withHeaders({ "x-long": "x".repeat(1_000) })))
        assert.strictEqual(error.reason._tag, "InvalidRequest")
        assert.strictEqual((yield* roundTrip(connection)).text, "ok")
      })
    )
  })

  describe("any request", () => {
    const piece = fc.oneof(
      fc.constantFrom(
        "\r",
        "\n",
        "\0",
        "\r\n",
        ":",
        " ",
        "\t",
        "\x7f",
        "\x80",
        // Node would send its low byte, an A.
        "Ł",
        "Ċ",
        "č",
        "😀",
        "/",
        "?",
        "#",
        "@",
        ","
      ),
      fc.stringMatching(/^[a-z]{0,4}$/),
      fc.string({ maxLength: 4 })
    )
    const hostile = fc.array(piece, { maxLength: 5 }).map((pieces) => pieces.join(""))
    const requests = fc.record({
      method: fc.oneof({ weight: 3, arbitrary: fc.constantFrom("GET", "POST", "DELETE", "get") }, hostile),
      path: fc.oneof(
        hostile.map((path) => `/${path}`),
        hostile
      ),
      name: fc.oneof(
        hostile.map((name) => `x${name}`),
        hostile,
        fc.constantFrom("__proto__", "cookie", "constructor")
      ),
      value: fc.oneof(hostile, fc.array(hostile, { maxLength: 3 }))
    })
    const isToken = (text: string) => /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(text)

    it.live("is not sent, or arrives as just what it is", () =>
      Effect.gen(function* () {
        const seen: Array<Received> = []
        const server = yield* requestServer(oracle, (received, stream) => {
          seen.push(received)
          answer(stream, "")
        })
        const { connection } = yield* connectTo(server)
        const counts = { sent: 0, rejected: 0 }
        const property = fc.asyncProperty(requests, async ({ method, name, path, value }) => {
          seen.length = 0
          // Not a literal: `__proto__` in one sets the prototype.
          const headers = Object.fromEntries([[name, value]])
          const exit = await Effect.runPromiseExit(roundTrip(connection, { method, path, headers }))
          assert.strictEqual(seen.length, Exit.isSuccess(exit) ? 1 : 0)
          assert.isTrue(connection.isOpen())
          if (Exit.isFailure(exit)) {
            counts.rejected++
            const error = Cause.squash(exit.cause)
            assert.instanceOf(error, HttpError)
            assert.strictEqual(error.reason._tag, "InvalidRequest")
            return
          }
          counts.sent++
          const got = seen[0]!.headers
          assert.isTrue(isToken(method) && isToken(name))
          assert.strictEqual(got[":method"], method)
          assert.strictEqual(got[":path"], path)
          const known = new Set([":method", ":path", ":scheme", ":authority", "content-length", name.toLowerCase()])
          for (const key of Object.keys(got)) assert.isTrue(known.has(key), key)
          assert.strictEqual(got[":authority"], `127.0.0.1:${server.port}`)
        })
        yield* Effect.promise(() => fc.assert(property, { numRuns: 1_000 }))
        assert.isAbove(counts.sent, 50)
        assert.isAbove(counts.rejected, 50)
      })
    )
  })

  describe("response headers", () => {
    it.live("may have any name, and come as they were sent", () =>
      Effect.gen(function* () {
        const server = yield* requestServer(oracle, (_, stream) =>
          answer(
            stream,
            "",
            Object.fromEntries([
              ["__proto__", "p"],
              ["constructor", "c"],
              ["x-many", ["a", "b"]],
              ["set-cookie", ["one"]]
            ])
          )
        )
        const { connection } = yield* connectTo(server)
        const { headers } = yield* roundTrip(connection)
        assert.strictEqual(headers["__proto__"], "p")
        assert.strictEqual(headers["constructor"], "c")
        assert.deepStrictEqual(headers["x-many"], ["a", "b"])
        assert.strictEqual(headers["set-cookie"], "one")
        assert.strictEqual(headers["x-none"], undefined)
      })
    )
  })
})
