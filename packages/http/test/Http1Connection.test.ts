import { assert, describe, it } from "@effect/vitest"
import * as HttpConnection from "@poolkit/http/HttpConnection"
import type { HttpError } from "@poolkit/http/HttpError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { bytes, connectTo, get, pause, roundTrip, scripted } from "./http1.ts"
import { leakOracle } from "./leakOracle.ts"
import { answer, httpServer, type Request } from "./servers.ts"

const oracle = leakOracle()

describe("Http1Connection", () => {
  describe("request", () => {
    it.live("gets status, headers and body", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, (_, socket) => {
          socket.write(
            "HTTP/1.1 203 Fine\r\nX-One: 1\r\nset-cookie: a\r\nset-cookie: b\r\ncontent-length: 5\r\n\r\nhello"
          )
        })
        const { connection } = yield* connectTo(server)
        const { headers, status, text } = yield* roundTrip(connection)
        assert.strictEqual(status, 203)
        assert.strictEqual(text, "hello")
        assert.deepStrictEqual(headers, { "x-one": "1", "set-cookie": ["a", "b"], "content-length": "5" })
        assert.strictEqual(connection.protocol, "http/1.1")
      })
    )

    it.live("sends method, path, headers and the authority as host", () =>
      Effect.gen(function* () {
        const seen: Array<Request> = []
        const server = yield* httpServer(oracle, (request, socket) => {
          seen.push(request)
          socket.write(answer(""))
        })
        const { connection } = yield* connectTo(server)
        yield* roundTrip(connection, { method: "DELETE", path: "/a?b=c", headers: { "x-two": ["1", "2"], X: "y" } })
        yield* roundTrip(connection, { method: "GET", path: "/", headers: { HOST: "other.test" } })
        assert.deepInclude(seen[0], { method: "DELETE", path: "/a?b=c" })
        assert.include(seen[0]!.head, "\r\nx-two: 1\r\nx-two: 2\r\nX: y")
        assert.strictEqual(seen[0]!.headers["host"], `127.0.0.1:${server.port}`)
        assert.strictEqual(seen[1]!.headers["host"], "other.test")
        assert.strictEqual(seen[1]!.head.match(/host:/gi)!.length, 1)
      })
    )

    it.live("sends bodies of every sort", () =>
      Effect.gen(function* () {
        const seen: Array<readonly [string | undefined, string | undefined, string]> = []
        const server = yield* httpServer(oracle, ({ body, headers }, socket) => {
          seen.push([headers["content-length"], headers["transfer-encoding"], body])
          socket.write(answer(""))
        })
        const { connection } = yield* connectTo(server)
        const encoder = new TextEncoder()
        const stream = Stream.fromIterable(["ab", "c"]).pipe(Stream.map((text) => encoder.encode(text)))
        const bodies: ReadonlyArray<Partial<HttpConnection.HttpRequest>> = [
          {},
          { body: "" },
          { body: "text" },
          { body: encoder.encode("bytes") },
          { body: stream },
          { body: Stream.empty },
          { body: stream, headers: { "content-length": "3" } }
        ]
        for (const body of bodies) yield* roundTrip(connection, { method: "POST", path: "/", ...body })
        assert.deepStrictEqual(seen, [
          ["0", undefined, ""],
          ["0", undefined, ""],
          ["4", undefined, "text"],
          ["5", undefined, "bytes"],
          [undefined, "chunked", "abc"],
          ["0", undefined, ""],
          ["3", undefined, "abc"]
        ])
        assert.strictEqual(server.accepted(), 1)
      })
    )

    it.live("runs the stream of a body with the services of the caller", () =>
      Effect.gen(function* () {
        class Word extends Context.Service<Word, string>()("test/Word") {}
        const server = yield* httpServer(oracle, ({ body }, socket) => void socket.write(answer(body)))
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

    it.live("takes one request at a time", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, (_, socket) => void setImmediate(() => socket.write(answer("one"))))
        const { connection } = yield* connectTo(server)
        const first = yield* Effect.forkChild(roundTrip(connection))
        yield* Effect.yieldNow
        assert.isFalse(connection.isOpen())
        const error = yield* Effect.flip(roundTrip(connection))
        assert.strictEqual(error.reason._tag, "InvalidRequest")
        assert.strictEqual(error.sent, "none")
        assert.strictEqual((yield* Fiber.join(first)).text, "one")
      })
    )

    it.live("gives the connection back before the reader sees the end", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, async (_, socket) => {
          socket.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
          await pause(5)
          socket.write("cd")
        })
        const { connection } = yield* connectTo(server)
        const response = yield* HttpConnection.request(connection, get())
        assert.isFalse(connection.isOpen())
        assert.strictEqual(yield* response.text, "abcd")
        assert.isTrue(connection.isOpen())
      })
    )

    it.live("accepts a body that ends with the connection", () =>
      Effect.gen(function* () {
        const server = yield* scripted(oracle, ["HTTP/1.1 200 OK\r\n\r\nab", "cd"], "end")
        const { connection } = yield* connectTo(server)
        assert.strictEqual((yield* roundTrip(connection)).text, "abcd")
        assert.isFalse(connection.isOpen())
      })
    )

    it.live("accepts informational responses", () =>
      Effect.gen(function* () {
        const hint = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"
        const server = yield* scripted(oracle, [hint, hint, answer("ok")])
        const { connection } = yield* connectTo(server)
        const { status, text } = yield* roundTrip(connection)
        assert.deepStrictEqual([status, text], [200, "ok"])
        assert.isTrue(connection.isOpen())
      })
    )
  })

  describe("response body", () => {
    const served = (text: string) => Effect.flatMap(scripted(oracle, [answer(text)]), connectTo)

    it.live("is text, bytes, JSON or a stream", () =>
      Effect.gen(function* () {
        const json = '{"a":"ä"}'
        for (const read of ["text", "json", "bytes", "stream"] as const) {
          const { connection } = yield* served(json)
          const response = yield* HttpConnection.request(connection, get())
          if (read === "text") assert.strictEqual(yield* response.text, json)
          if (read === "json") assert.deepStrictEqual(yield* response.json, { a: "ä" })
          if (read === "bytes") assert.deepStrictEqual(Buffer.from(yield* response.bytes), Buffer.from(json))
          if (read === "stream") {
            assert.strictEqual(yield* Stream.mkString(Stream.decodeText(response.stream)), json)
          }
        }
      })
    )

    it.live("can be read once", () =>
      Effect.gen(function* () {
        const { connection } = yield* served("once")
        const response = yield* HttpConnection.request(connection, get())
        assert.strictEqual(yield* response.text, "once")
        for (const again of [response.text, Stream.runDrain(response.stream)]) {
          const error = yield* Effect.flip(again as Effect.Effect<unknown, HttpError>)
          assert.deepInclude(error.reason, { _tag: "BodyUnavailable", why: "read" })
        }
      })
    )

    it.live("that is not JSON fails with InvalidJson", () =>
      Effect.gen(function* () {
        const { connection } = yield* served("{")
        const response = yield* HttpConnection.request(connection, get())
        assert.strictEqual((yield* Effect.flip(response.json)).reason._tag, "InvalidJson")
        assert.isTrue(connection.isOpen())
      })
    )

    it.live("that was dropped cannot be read", () =>
      Effect.gen(function* () {
        const { connection } = yield* served("gone")
        const response = yield* Effect.scoped(HttpConnection.request(connection, get()))
        yield* response.discard
        const error = yield* Effect.flip(response.text)
        assert.deepInclude(error.reason, { _tag: "BodyUnavailable", why: "dropped" })
      })
    )

    it.live("that is dropped fails whoever waits for more of it", () =>
      Effect.gen(function* () {
        const server = yield* scripted(oracle, ["HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab"])
        const { connection } = yield* connectTo(server)
        const response = yield* HttpConnection.request(connection, get())
        const fiber = yield* Effect.forkChild(Effect.flip(response.text), { startImmediately: true })
        yield* response.discard
        assert.deepInclude((yield* Fiber.join(fiber)).reason, { _tag: "BodyUnavailable", why: "dropped" })
      })
    )

    it.live("slows the server down while nobody reads", () =>
      Effect.gen(function* () {
        const size = 64 * 1024 * 1024
        let written = 0
        const server = yield* httpServer(oracle, (_, socket) => {
          const chunk = bytes(64 * 1024)
          socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${size}\r\n\r\n`)
          const more = () => {
            while (written < size && !socket.destroyed) {
              written += chunk.length
              if (!socket.write(chunk)) return void socket.once("drain", more)
            }
          }
          more()
        })
        const { connection, socket } = yield* connectTo(server)
        const response = yield* HttpConnection.request(connection, get())
        let before = -1
        while (written !== before) {
          before = written
          yield* Effect.sleep(50)
        }
        // What the kernel buffers is out of our hands; what this process holds is not.
        assert.isBelow(written, size / 2)
        assert.isBelow(socket.bytesRead, 1024 * 1024)
        const read = yield* Stream.runFold(
          response.stream,
          () => 0,
          (sum, chunk) => sum + chunk.length
        )
        assert.strictEqual(read, size)
        assert.isTrue(connection.isOpen())
      })
    )
  })
})
