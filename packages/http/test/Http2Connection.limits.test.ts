import { assert, describe, it } from "@effect/vitest"
import * as HttpConnection from "@poolkit/http/HttpConnection"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { encode } from "./fault/hpack.ts"
import { Flag, frame, FrameType, SettingId } from "./fault/frames.ts"
import { bytes, get, roundTrip } from "./http1.ts"
import {
  answer,
  connectTo,
  data,
  frameServer,
  head,
  http2Server,
  onRequest,
  requestServer,
  sessionOf,
  setting,
  settingsSeen,
  skipTo
} from "./http2.ts"
import { leakOracle } from "./leakOracle.ts"
import { stall } from "./servers.ts"

const oracle = leakOracle()

/** Starts a request and lets it be written. */
const start = (connection: HttpConnection.HttpConnection, request = get()) =>
  Effect.forkChild(roundTrip(connection, request), { startImmediately: true })

const informational = (id: number) => frame(FrameType.headers, Flag.endHeaders, id, encode([[":status", "103"]]))

describe("Http2Connection", () => {
  describe("concurrency", () => {
    it.live("is 100 until the server's SETTINGS have come, then the smaller of both limits", () =>
      Effect.gen(function* () {
        for (const [ours, theirs, expected] of [
          [undefined, 250, 250],
          [undefined, 5_000, 1_000],
          [20, 250, 20],
          [300, undefined, 300]
        ] as const) {
          const server = yield* http2Server(oracle, () => {}, {
            settings: theirs === undefined ? {} : { maxConcurrentStreams: theirs }
          })
          const { connection, socket } = yield* connectTo(server, { maxConcurrentStreams: ours })
          assert.strictEqual(connection.concurrency(), Math.min(ours ?? 100, 100))
          yield* settingsSeen(socket)
          assert.strictEqual(connection.concurrency(), expected)
        }
      })
    )

    it.live("follows the server while the connection is open, and tells of it", () =>
      Effect.gen(function* () {
        const server = yield* requestServer(oracle, (_, stream) => answer(stream, ""), {
          settings: { maxConcurrentStreams: 100 }
        })
        const { connection, socket } = yield* connectTo(server)
        const seen: Array<number> = []
        const unwatch = connection.watch({
          retire: () => void seen.push(-1),
          capacityChanged: () => void seen.push(connection.concurrency())
        })
        yield* settingsSeen(socket)
        const session = yield* server.session
        for (const maxConcurrentStreams of [7, 0, 9]) {
          session.settings({ maxConcurrentStreams })
          while (seen.at(-1) !== maxConcurrentStreams) yield* Effect.sleep(1)
          assert.isTrue(connection.isOpen())
        }
        assert.deepStrictEqual(seen, [7, 0, 9])
        unwatch()
        session.settings({ maxConcurrentStreams: 8 })
        yield* settingsSeen(socket)
        yield* roundTrip(connection)
        assert.deepStrictEqual(seen, [7, 0, 9])
      })
    )

    it.live("is never exceeded: one request more fails unsent, and its slot comes back with an end", () =>
      Effect.gen(function* () {
        const server = yield* http2Server(oracle, () => {})
        const { connection } = yield* connectTo(server, { maxConcurrentStreams: 2 })
        const first = yield* start(connection)
        yield* start(connection)
        const error = yield* Effect.flip(roundTrip(connection))
        assert.deepInclude(error.reason, { _tag: "ConnectionLost", code: "AT_CAPACITY" })
        assert.deepInclude(error, { sent: "none", responseStarted: false })
        assert.isTrue(connection.isOpen())
        yield* Fiber.interrupt(first)
        yield* start(connection)
      })
    )

    it.live("of 0 sends nothing", () =>
      Effect.gen(function* () {
        let requests = 0
        const server = yield* frameServer(
          oracle,
          onRequest(() => requests++),
          [[SettingId.maxConcurrentStreams, 0]]
        )
        const { connection, socket } = yield* connectTo(server)
        yield* settingsSeen(socket)
        assert.strictEqual((yield* Effect.flip(roundTrip(connection))).sent, "none")
        assert.isTrue(connection.isOpen())
        assert.strictEqual(requests, 0)
      })
    )

    it.live("that falls below what is under way lets it finish", () =>
      Effect.gen(function* () {
        const server = yield* frameServer(
          oracle,
          onRequest((_, { send }, index) => {
            if (index === 3)
              send(setting(SettingId.maxConcurrentStreams, 1), ...[1, 3, 5].map((id) => head(id, [], true)))
          })
        )
        const { connection } = yield* connectTo(server)
        const fibers = yield* Effect.forEach([1, 2, 3], () => start(connection))
        for (const fiber of fibers) assert.strictEqual((yield* Fiber.join(fiber)).status, 200)
        assert.strictEqual(connection.concurrency(), 1)
      })
    )
  })

  describe("headersTimeout", () => {
    it.live("fails the request and nothing else when no head comes", () =>
      Effect.gen(function* () {
        const server = yield* requestServer(oracle, ({ path }, stream) => {
          if (path !== "/never") answer(stream, "ok")
        })
        const { connection } = yield* connectTo(server, { headersTimeout: 50 })
        const error = yield* Effect.flip(roundTrip(connection, get("/never")))
        assert.deepInclude(error.reason, { _tag: "ResponseTimeout", phase: "headers" })
        assert.deepInclude(error, { sent: "maybe", responseStarted: false })
        assert.strictEqual((yield* roundTrip(connection)).text, "ok")
      })
    )

    it.live("ends a request that the server's limits keep within node", () =>
      Effect.gen(function* () {
        const server = yield* frameServer(oracle, () => {}, "none")
        const { connection } = yield* connectTo(server, { headersTimeout: 50 })
        const peer = yield* server.peer
        const first = yield* start(connection)
        peer.write(Buffer.concat([setting(SettingId.maxConcurrentStreams, 0)]))
        assert.strictEqual((yield* Effect.flip(Fiber.join(first))).reason._tag, "ResponseTimeout")
      })
    )

    it.live("does not run while the caller produces the body", () =>
      Effect.gen(function* () {
        const server = yield* requestServer(oracle, ({ body }, stream) => answer(stream, body))
        const { connection } = yield* connectTo(server, { headersTimeout: 40 })
        const body = Stream.fromEffect(Effect.delay(Effect.succeed(Buffer.from("slow")), 200))
        assert.strictEqual((yield* roundTrip(connection, { method: "POST", path: "/", body })).text, "slow")
      })
    )

    it.live("runs while the server takes nothing of the body", () =>
      Effect.gen(function* () {
        for (const body of [bytes(1_000_000), Stream.forever(Stream.make(bytes(10_000)))]) {
          const server = yield* http2Server(oracle, () => {})
          const { connection } = yield* connectTo(server, { headersTimeout: 50 })
          const error = yield* Effect.flip(roundTrip(connection, { method: "POST", path: "/", body }))
          assert.deepInclude(error.reason, { _tag: "ResponseTimeout", phase: "headers" })
        }
      })
    )

    it.live("starts again whenever the server takes some of the body", () =>
      Effect.gen(function* () {
        const server = yield* http2Server(oracle, (stream) => {
          let size = 0
          stream.on("data", (chunk: Buffer) => {
            size += chunk.length
            stream.pause()
            setTimeout(() => stream.resume(), 4)
          })
          stream.on("end", () => answer(stream, String(size)))
        })
        const { connection } = yield* connectTo(server, { headersTimeout: 500 })
        const started = performance.now()
        const request = { method: "POST", path: "/", body: bytes(4_000_000) }
        assert.strictEqual((yield* roundTrip(connection, request)).text, "4000000")
        assert.isAbove(performance.now() - started, 600)
      })
    )

    it.live("does not judge while the event loop has not read what came", () =>
      Effect.gen(function* () {
        const server = yield* frameServer(
          oracle,
          onRequest((id, { send }) => {
            send(head(id), data(id, "ok", true))
            stall(300)
          })
        )
        const { connection } = yield* connectTo(server, { headersTimeout: 200 })
        assert.strictEqual((yield* roundTrip(connection)).text, "ok")
      })
    )
  })

  describe("bodyTimeout", () => {
    it.live("fails the response and nothing else when its body stalls", () =>
      Effect.gen(function* () {
        const server = yield* http2Server(oracle, (stream, headers) => {
          stream.respond({})
          if (headers[":path"] === "/stall") stream.write("some")
          else stream.end("ok")
        })
        const { connection } = yield* connectTo(server, { bodyTimeout: 50 })
        const error = yield* Effect.flip(roundTrip(connection, get("/stall")))
        assert.deepInclude(error.reason, { _tag: "ResponseTimeout", phase: "body" })
        assert.isTrue(error.responseStarted)
        assert.strictEqual((yield* roundTrip(connection)).text, "ok")
      })
    )

    it.live("does not run while nobody reads", () =>
      Effect.gen(function* () {
        const server = yield* requestServer(oracle, (_, stream) => answer(stream, "x".repeat(1_000_000)))
        const { connection } = yield* connectTo(server, { bodyTimeout: 300 })
        const length = yield* Effect.scoped(
          Effect.gen(function* () {
            const response = yield* HttpConnection.request(connection, get())
            yield* Effect.sleep(700)
            return (yield* response.bytes).length
          })
        )
        assert.strictEqual(length, 1_000_000)
      })
    )
  })

  describe("a peer that floods", () => {
    it.live("with headers is cut off, and the connection goes on", () =>
      Effect.gen(function* () {
        const server = yield* requestServer(oracle, ({ path }, stream) =>
          answer(stream, "ok", path === "/flood" ? { "x-long": "x".repeat(5_000) } : {})
        )
        const { connection, socket } = yield* connectTo(server, { maxHeaderBytes: 4_000 })
        // Before the server knows the limit, then after.
        const codes: Array<unknown> = []
        for (let i = 0; i < 2; i++) {
          const error = yield* Effect.flip(roundTrip(connection, get("/flood")))
          assert.strictEqual(error.reason._tag, "InvalidResponse")
          if (error.reason._tag === "InvalidResponse") codes.push(error.reason.code)
          while (sessionOf(socket).pendingSettingsAck) yield* Effect.sleep(1)
        }
        assert.strictEqual((yield* roundTrip(connection)).text, "ok")
        assert.oneOf(codes[0], ["HEADERS_TOO_LARGE", "ENHANCE_YOUR_CALM"])
      })
    )

    it.live("with small headers is cut off too", () =>
      Effect.gen(function* () {
        const many = Object.fromEntries(Array.from({ length: 600 }, (_, i) => [`x-${i}`, ""]))
        const few = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`x-${i}`, ""]))
        const server = yield* requestServer(oracle, ({ path }, stream) =>
          answer(stream, "ok", path === "/many" ? many : few)
        )
        const { connection } = yield* connectTo(server)
        assert.strictEqual((yield* Effect.flip(roundTrip(connection, get("/many")))).reason._tag, "InvalidResponse")
        const { headers, text } = yield* roundTrip(connection, get("/few"))
        assert.strictEqual(text, "ok")
        assert.strictEqual(headers["x-299"], "")
      })
    )

    it.live("with informational responses is cut off, and the connection goes on", () =>
      Effect.gen(function* () {
        const server = yield* frameServer(
          oracle,
          onRequest((id, { send }, index) => {
            const count = index === 1 ? 10 : index === 2 ? 11 : 0
            send(...Array.from({ length: count }, () => informational(id)), head(id), data(id, "ok", true))
          })
        )
        const { connection } = yield* connectTo(server)
        assert.strictEqual((yield* roundTrip(connection)).text, "ok")
        const error = yield* Effect.flip(roundTrip(connection))
        assert.deepInclude(error.reason, { _tag: "InvalidResponse", code: "TOO_MANY_INFORMATIONAL" })
        assert.strictEqual((yield* roundTrip(connection)).text, "ok")
      })
    )
  })

  describe("maxResets", () => {
    it.live("retires the connection after so many streams that this side gave up", () =>
      Effect.gen(function* () {
        const server = yield* http2Server(oracle, () => {})
        const { connection } = yield* connectTo(server, { maxResets: 3 })
        let retired = 0
        connection.watch({ retire: () => void retired++, capacityChanged: () => {} })
        const kept = yield* start(connection)
        for (let i = 1; i <= 3; i++) {
          assert.isTrue(connection.isOpen())
          const fiber = yield* start(connection)
          yield* Effect.sleep(1)
          yield* Fiber.interrupt(fiber)
        }
        assert.isFalse(connection.isOpen())
        yield* Effect.sleep(5)
        assert.strictEqual(retired, 1)
        // Whoever holds a slot already may still use it.
        yield* start(connection)
        assert.isUndefined(kept.pollUnsafe())
      })
    )
  })

  describe("stream ids", () => {
    it.live("that run out retire the connection before a request fails", () =>
      Effect.gen(function* () {
        const server = yield* requestServer(oracle, (_, stream) => answer(stream, "ok"))
        const { connection, socket } = yield* connectTo(server)
        skipTo(socket, 2 ** 31 - 1 - 2 * 1_000)
        assert.strictEqual((yield* roundTrip(connection)).text, "ok")
        assert.isTrue(connection.isOpen())
        assert.strictEqual((yield* roundTrip(connection)).text, "ok")
        assert.isFalse(connection.isOpen())
        assert.strictEqual((yield* roundTrip(connection)).text, "ok")
      })
    )

    it.live("that have run out leave a request unsent", () =>
      Effect.gen(function* () {
        const server = yield* requestServer(oracle, (_, stream) => answer(stream, "ok"))
        const { connection, socket } = yield* connectTo(server)
        skipTo(socket, 2 ** 31 - 1)
        assert.strictEqual((yield* roundTrip(connection)).text, "ok")
        assert.isFalse(connection.isOpen())
        const error = yield* Effect.flip(roundTrip(connection))
        assert.deepInclude(error, { sent: "none", responseStarted: false })
        assert.deepInclude(error.reason, { _tag: "ConnectionLost", code: "ERR_HTTP2_OUT_OF_STREAMS" })
      })
    )
  })
})
