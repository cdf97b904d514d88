import { assert, describe, it } from "@effect/vitest"
import type * as HttpConnection from "@poolkit/http/HttpConnection"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { get, roundTrip } from "./http1.ts"
import { answer, connectTo, requestServer } from "./http2.ts"
import { leakOracle } from "./leakOracle.ts"

const oracle = leakOracle()

describe("Http2Connection", () => {
  describe("request", () => {
    for (const secure of [false, true]) {
      it.live(`gets status, headers and body over ${secure ? "TLS" : "a plain socket"}`, () =>
        Effect.gen(function* () {
          const server = yield* requestServer(
            oracle,
            (_, stream) =>
              answer(stream, "hello", { ":status": 203, "x-one": "1", "set-cookie": ["a", "b"], date: "now" }),
            { secure }
          )
          const { connection } = yield* connectTo(server)
          assert.strictEqual(connection.protocol, "h2")
          const { headers, status, text } = yield* roundTrip(connection)
          assert.strictEqual(status, 203)
          assert.strictEqual(text, "hello")
          assert.deepEqual(headers, { "x-one": "1", "set-cookie": ["a", "b"], "content-length": "5", date: "now" })
        })
      )
    }

    it.live("sends method, path, headers and any kind of body", () =>
      Effect.gen(function* () {
        const seen: Array<unknown> = []
        const server = yield* requestServer(oracle, ({ body, headers }, stream) => {
          seen.push([headers[":method"], headers["content-length"], body])
          answer(stream, "")
        })
        const { connection } = yield* connectTo(server)
        const send = (request: Partial<HttpConnection.HttpRequest>) =>
          roundTrip(connection, { method: "POST", path: "/", ...request })
        yield* send({ method: "GET" })
        yield* send({})
        yield* send({ body: "" })
        yield* send({ body: "text" })
        yield* send({ body: Buffer.from("bytes") })
        yield* send({ body: Stream.make(Buffer.from("ab"), new Uint8Array(0), Buffer.from("c")) })
        yield* send({ body: Stream.empty })
        yield* send({ body: Stream.make(Buffer.from("abc")), headers: { "Content-Length": "3" } })
        assert.deepStrictEqual(seen, [
          ["GET", undefined, ""],
          ["POST", "0", ""],
          ["POST", "0", ""],
          ["POST", "4", "text"],
          ["POST", "5", "bytes"],
          ["POST", undefined, "abc"],
          ["POST", undefined, ""],
          ["POST", "3", "abc"]
        ])
        assert.strictEqual(server.accepted(), 1)
      })
    )

    it.live("runs the stream of a body with the services of the caller", () =>
      Effect.gen(function* () {
        class Word extends Context.Service<Word, string>()("test/Word") {}
        const server = yield* requestServer(oracle, ({ body }, stream) => answer(stream, body))
        const { connection } = yield* connectTo(server)
        const body = Stream.fromEffect(
          Effect.map(Effect.serviceOption(Word), (word) => Buffer.from(JSON.stringify(word)))
        )
        const { text } = yield* Effect.provideService(
          roundTrip(connection, { method: "POST", path: "/", body }),
          Word,
          "word"
        )
        assert.include(text, "word")
      })
    )

    it.live("carries many requests at once on one connection", () =>
      Effect.gen(function* () {
        const server = yield* requestServer(oracle, ({ path }, stream) => answer(stream, path))
        const { connection } = yield* connectTo(server)
        const paths = Array.from({ length: 100 }, (_, i) => `/${i}`)
        const texts = yield* Effect.forEach(paths, (path) => roundTrip(connection, get(path)), {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(
          texts.map(({ text }) => text),
          paths
        )
        assert.strictEqual(server.accepted(), 1)
      })
    )
  })
})
