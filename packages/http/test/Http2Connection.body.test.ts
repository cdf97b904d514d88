import { assert, describe, it } from "@effect/vitest"
import * as HttpConnection from "@poolkit/http/HttpConnection"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import { ErrorCode, FrameType } from "./fault/frames.ts"
import { bytes, get, pause, roundTrip } from "./http1.ts"
import { answer, connectTo, data, frameServer, head, http2Server, requestServer, rst } from "./http2.ts"
import { leakOracle } from "./leakOracle.ts"

const oracle = leakOracle()

const post = (body: HttpConnection.HttpRequest["body"], headers = {}): HttpConnection.HttpRequest => ({
  method: "POST",
  path: "/",
  headers,
  body
})

/** Counts what comes and tells how the request ended. */
const sink = Effect.suspend(() => {
  const ends: Array<{ readonly size: number; readonly whole: boolean }> = []
  return Effect.map(
    http2Server(oracle, (stream, headers) => {
      let size = 0
      let whole = false
      stream.on("data", (chunk: Buffer) => (size += chunk.length))
      stream.on("end", () => {
        whole = !stream.aborted
        if (whole) answer(stream, String(size))
      })
      stream.on("close", () => headers[":method"] === "POST" && ends.push({ size, whole }))
    }),
    (server) => ({ server, ends })
  )
})

describe("Http2Connection", () => {
  describe("request body", () => {
    it.live("of any size arrives whole", () =>
      Effect.gen(function* () {
        const { server } = yield* sink
        const { connection } = yield* connectTo(server)
        for (const size of [1, 65_535, 65_536, 65_537, 131_072, 3_000_000]) {
          assert.strictEqual((yield* roundTrip(connection, post(bytes(size)))).text, String(size))
          const chunks = Stream.fromIterable([bytes(size - 1), bytes(1)])
          assert.strictEqual((yield* roundTrip(connection, post(chunks))).text, String(size))
        }
      })
    )

    it.live("as a stream is pulled no faster than the server reads", () =>
      Effect.gen(function* () {
        let pulled = 0
        const server = yield* http2Server(oracle, () => {})
        const { connection } = yield* connectTo(server)
        const body = Stream.forever(
          Stream.fromEffect(
            Effect.sync(() => {
              pulled += 10_000
              return bytes(10_000)
            })
          )
        )
        yield* Effect.forkChild(roundTrip(connection, post(body)), { startImmediately: true })
        let before = -1
        while (pulled !== before) {
          before = pulled
          yield* Effect.sleep(50)
        }
        assert.isAbove(pulled, 0)
        assert.isBelow(pulled, 1_000_000)
      })
    )

    it.live("that fails ends its request, not as if it were whole, and nothing else", () =>
      Effect.gen(function* () {
        const { ends, server } = yield* sink
        const { connection } = yield* connectTo(server)
        for (const failing of [Stream.fail("boom"), Stream.die("boom")]) {
          const body: Stream.Stream<Uint8Array, string> = Stream.concat(Stream.make(bytes(10)), failing)
          const error = yield* Effect.flip(roundTrip(connection, post(body)))
          assert.deepInclude(error.reason, { _tag: "RequestBodyFailed", cause: "boom" })
        }
        while (ends.length < 2) yield* Effect.sleep(1)
        assert.isTrue(ends.every(({ whole }) => !whole))
        assert.strictEqual((yield* roundTrip(connection, post("abc"))).text, "3")
      })
    )

    it.live("that is not as long as content-length says fails and is not taken for whole", () =>
      Effect.gen(function* () {
        const { ends, server } = yield* sink
        const { connection } = yield* connectTo(server)
        for (const [length, body] of [
          ["9", Stream.make(bytes(10))],
          ["11", Stream.make(bytes(10))],
          ["0", Stream.make(bytes(1))],
          ["1", Stream.empty]
        ] as const) {
          const error = yield* Effect.flip(roundTrip(connection, post(body, { "content-length": length })))
          assert.strictEqual(error.reason._tag, "InvalidRequest")
        }
        for (const body of ["abc", bytes(3), undefined]) {
          const error = yield* Effect.flip(roundTrip(connection, post(body, { "content-length": "4" })))
          assert.strictEqual(error.reason._tag, "InvalidRequest")
          assert.strictEqual(error.sent, "none")
        }
        assert.strictEqual((yield* roundTrip(connection, post("abc"))).text, "3")
        assert.deepStrictEqual(
          ends.filter(({ whole }) => whole),
          [{ size: 3, whole: true }]
        )
      })
    )

    it.live("that is still being sent when the whole answer comes is given up", () =>
      Effect.gen(function* () {
        for (const endless of [true, false]) {
          const seen = { whole: false, closed: false, interrupted: false }
          const server = yield* http2Server(oracle, (stream) => {
            stream.resume().on("end", () => (seen.whole = stream.rstCode === 0))
            stream.on("close", () => (seen.closed = true))
            answer(stream, "enough", { ":status": 413 })
          })
          const { connection } = yield* connectTo(server)
          const body = endless ? Stream.forever(Stream.make(bytes(1_000))) : Stream.make(bytes(10))
          const { status, text } = yield* roundTrip(
            connection,
            post(
              Stream.ensuring(
                endless ? body : Stream.concat(body, Stream.never),
                Effect.sync(() => (seen.interrupted = true))
              )
            )
          )
          assert.deepStrictEqual([status, text], [413, "enough"])
          while (!seen.closed || !seen.interrupted) yield* Effect.sleep(1)
          assert.isFalse(seen.whole)
          assert.isTrue(connection.isOpen())
        }
      })
    )

    it.live("is interrupted when the server answers early and says that it wants no more", () =>
      Effect.gen(function* () {
        const server = yield* frameServer(oracle, ({ stream, type }, { send }) => {
          if (type === FrameType.data && stream === 1) send(head(1), data(1, "enough", true), rst(1, ErrorCode.noError))
        })
        const { connection } = yield* connectTo(server)
        const seen = { interrupted: false }
        const body = Stream.ensuring(
          Stream.concat(Stream.make(bytes(10)), Stream.never),
          Effect.sync(() => (seen.interrupted = true))
        )
        assert.strictEqual((yield* roundTrip(connection, post(body))).text, "enough")
        while (!seen.interrupted) yield* Effect.sleep(1)
        assert.isTrue(connection.isOpen())
      })
    )

    it.live("goes on while the answer comes", () =>
      Effect.gen(function* () {
        const server = yield* http2Server(oracle, (stream) => {
          stream.respond({})
          stream.pipe(stream)
        })
        const { connection } = yield* connectTo(server)
        const words = ["one", "two", "three"]
        const body = Stream.fromIterable(words).pipe(
          Stream.mapEffect((word) => Effect.delay(Effect.succeed(Buffer.from(word)), 5))
        )
        assert.strictEqual((yield* roundTrip(connection, post(body))).text, words.join(""))
      })
    )

    it.live("whose connection ends fails", () =>
      Effect.gen(function* () {
        const seen = { interrupted: false }
        const server = yield* http2Server(oracle, (stream) => {
          stream.once("data", () => stream.session?.destroy())
        })
        const { connection } = yield* connectTo(server)
        const body = Stream.ensuring(
          Stream.forever(Stream.make(bytes(1_000))),
          Effect.sync(() => (seen.interrupted = true))
        )
        const error = yield* Effect.flip(roundTrip(connection, post(body)))
        assert.strictEqual(error.reason._tag, "ConnectionLost")
        assert.strictEqual(error.sent, "maybe")
        while (!seen.interrupted) yield* Effect.sleep(1)
      })
    )
  })

  describe("response body", () => {
    it.live("is text, bytes, JSON or a stream", () =>
      Effect.gen(function* () {
        const json = '{"a":"ä"}'
        const server = yield* requestServer(oracle, (_, stream) => answer(stream, json))
        const { connection } = yield* connectTo(server)
        const response = HttpConnection.request(connection, get())
        assert.strictEqual(yield* Effect.flatMap(response, ({ text }) => text), json)
        assert.deepStrictEqual(yield* Effect.flatMap(response, ({ json }) => json), { a: "ä" })
        assert.deepStrictEqual(Buffer.from(yield* Effect.flatMap(response, ({ bytes }) => bytes)), Buffer.from(json))
        const chunks = Stream.unwrap(Effect.map(response, ({ stream }) => stream))
        assert.strictEqual(yield* Stream.mkString(Stream.decodeText(chunks)), json)
      })
    )

    it.live("may end with trailers, and may be none", () =>
      Effect.gen(function* () {
        const server = yield* http2Server(oracle, (stream, headers) => {
          const status = Number(headers[":path"]!.slice(1))
          if (status !== 200) {
            stream.respond({ ":status": status, "content-length": 10 }, { endStream: true })
            return
          }
          stream.respond({}, { waitForTrailers: true })
          stream.on("wantTrailers", () => stream.sendTrailers({ "x-sum": "1" }))
          stream.end("body")
        })
        const { connection } = yield* connectTo(server)
        assert.strictEqual((yield* roundTrip(connection, get("/200"))).text, "body")
        assert.strictEqual((yield* roundTrip(connection, get("/304"))).status, 304)
        const { status, text } = yield* roundTrip(connection, { method: "HEAD", path: "/206" })
        assert.deepStrictEqual([status, text], [206, ""])
      })
    )

    it.live("that nobody reads holds up itself alone", () =>
      Effect.gen(function* () {
        const size = 10_000_000
        let written = 0
        const server = yield* http2Server(oracle, (stream, headers) => {
          if (headers[":path"] !== "/large") return answer(stream, "x".repeat(1_000))
          const chunk = Buffer.alloc(50_000)
          stream.respond({ "content-length": size })
          const more = () => {
            while (written < size) {
              written += chunk.length
              if (!stream.write(chunk)) return void stream.once("drain", more)
            }
            stream.end()
          }
          more()
        })
        const { connection, socket } = yield* connectTo(server)
        const response = yield* HttpConnection.request(connection, get("/large"))
        yield* Effect.promise(() => pause(20))
        const answers = yield* Effect.forEach(Array.from({ length: 100 }), () => roundTrip(connection), {
          concurrency: "unbounded"
        })
        assert.isTrue(answers.every(({ text }) => text.length === 1_000))
        assert.isBelow(socket.bytesRead, 1_000_000)
        assert.isBelow(written, 2_000_000)
        assert.strictEqual((yield* response.bytes).length, size)
      })
    )

    it.live("can be read when the connection has been told to go away", () =>
      Effect.gen(function* () {
        const server = yield* http2Server(oracle, (stream) => {
          stream.respond({})
          stream.write("some ")
          stream.session!.close()
          setTimeout(() => stream.end("more"), 10)
        })
        const { connection } = yield* connectTo(server)
        const response = yield* Effect.exit(roundTrip(connection))
        assert.isTrue(Exit.isSuccess(response))
        assert.isFalse(connection.isOpen())
      })
    )
  })
})
