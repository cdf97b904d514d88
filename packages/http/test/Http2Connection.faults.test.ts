import { assert, describe, it } from "@effect/vitest"
import * as HttpConnection from "@poolkit/http/HttpConnection"
import type { HttpError, HttpErrorReason } from "@poolkit/http/HttpError"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import { ErrorCode, frame, FrameType, maxStreamId } from "./fault/frames.ts"
import { get, pause, roundTrip } from "./http1.ts"
import { connectTo, data, type FramePeer, frameServer, goaway, head, onRequest, rst } from "./http2.ts"
import { leakOracle } from "./leakOracle.ts"

const oracle = leakOracle()

const length = (n: number) => [["content-length", String(n)]] as const

/** A request whose body is read after a while. */
const roundTripLate = (connection: HttpConnection.HttpConnection, millis: number) =>
  Effect.scoped(
    Effect.flatMap(HttpConnection.request(connection, get()), (response) => Effect.delay(response.text, millis))
  )

type Outcome = Result.Result<{ readonly text: string }, HttpError>
const text = (outcome: Outcome): string => Result.getOrThrow(outcome).text
const failure = (outcome: Outcome): HttpError => Result.getOrThrow(Result.flip(outcome))

describe("Http2Connection", () => {
  describe("a response that is not whole", () => {
    /** Node 22 does not tell that it gave up on a connection; the PING that it does not send is what ends it. */
    const violation: readonly [reason: HttpErrorReason["_tag"], code: string] = process.version.startsWith("v22.")
      ? ["ConnectionLost", "PING_TIMEOUT"]
      : ["InvalidResponse", "ERR_HTTP2_ERROR"]
    type Fault = readonly [
      answer: (id: number, peer: FramePeer) => void,
      reason: HttpErrorReason["_tag"],
      code: string,
      started: boolean,
      goesOn: boolean
    ]
    const table: Record<string, Fault> = {
      "a reset before the head": [
        (id, { send }) => send(rst(id, ErrorCode.cancel)),
        "ConnectionLost",
        "CANCEL",
        false,
        true
      ],
      "a reset without error before the head": [
        (id, { send }) => send(rst(id, ErrorCode.noError)),
        "ConnectionLost",
        "NO_ERROR",
        false,
        true
      ],
      "an internal error before the head": [
        (id, { send }) => send(rst(id, ErrorCode.internalError)),
        "ConnectionLost",
        "INTERNAL_ERROR",
        false,
        true
      ],
      "a reset within the body": [
        (id, { send }) => send(head(id), data(id, "hello"), rst(id, ErrorCode.cancel)),
        "ConnectionLost",
        "CANCEL",
        true,
        true
      ],
      "a reset without error within a body of known length": [
        (id, { send }) => send(head(id, length(10)), data(id, "hello"), rst(id, ErrorCode.noError)),
        "InvalidResponse",
        "CONTENT_LENGTH_MISMATCH",
        true,
        true
      ],
      "a refusal after the head": [
        (id, { send }) => send(head(id), data(id, "hello"), rst(id, ErrorCode.refusedStream)),
        "ConnectionLost",
        "REFUSED_STREAM",
        true,
        true
      ],
      "a refusal after an informational response": [
        (id, { send }) =>
          send(
            frame(FrameType.headers, 4, id, Buffer.from([0, 7, ...Buffer.from(":status"), 3, ...Buffer.from("103")])),
            rst(id, ErrorCode.refusedStream)
          ),
        "ConnectionLost",
        "REFUSED_STREAM",
        true,
        true
      ],
      "a body shorter than declared": [
        (id, { send }) => send(head(id, length(10)), data(id, "hello", true)),
        "InvalidResponse",
        "PROTOCOL_ERROR",
        true,
        true
      ],
      "a head that ends the stream and declares a body": [
        (id, { send }) => send(head(id, length(10), true)),
        "InvalidResponse",
        "PROTOCOL_ERROR",
        false,
        true
      ],
      "an end of the connection before the head": [
        (_, { socket }) => socket.end(),
        "ConnectionLost",
        "CLOSED",
        false,
        false
      ],
      "an end of the connection within the body": [
        (id, { send, socket }) => {
          send(head(id), data(id, "hello"))
          socket.end()
        },
        "ConnectionLost",
        "CLOSED",
        true,
        false
      ],
      "an end of the connection within a body of known length": [
        (id, { send, socket }) => {
          send(head(id, length(10)), data(id, "hello"))
          socket.end()
        },
        "ConnectionLost",
        "CLOSED",
        true,
        false
      ],
      "a TCP reset before the head": [
        (_, { socket }) => socket.resetAndDestroy(),
        "ConnectionLost",
        "CLOSED",
        false,
        false
      ],
      "no HTTP/2 at all": [
        (_, { socket }) => void socket.write("HTTP/1.1 400 Bad Request\r\n\r\n"),
        ...violation,
        false,
        false
      ],
      "a frame that is too large": [
        (id, { send }) => send(head(id), frame(FrameType.data, 0, id, Buffer.alloc(20_000))),
        ...violation,
        true,
        false
      ],
      "a pushed response": [
        (id, { send }) => send(frame(FrameType.pushPromise, 4, id, Buffer.from([0, 0, 0, 2, 0x82]))),
        "InvalidResponse",
        "ERR_HTTP2_ERROR",
        false,
        false
      ]
    }
    for (const [name, [respond, reason, code, started, goesOn]] of Object.entries(table)) {
      it.live(`fails: ${name}`, () =>
        Effect.gen(function* () {
          const server = yield* frameServer(
            oracle,
            onRequest((id, peer, index) => (index === 1 ? respond(id, peer) : peer.send(head(id, [], true))))
          )
          const { connection } = yield* connectTo(server, { pingInterval: 200, pingTimeout: 200 })
          const error = yield* Effect.flip(roundTrip(connection))
          assert.deepInclude(error.reason, { _tag: reason, code })
          assert.deepInclude(error, { sent: "maybe", responseStarted: started })
          assert.strictEqual(connection.isOpen(), goesOn)
          if (goesOn) assert.strictEqual((yield* roundTrip(connection)).status, 200)
        })
      )
    }

    it.live("fails when the rest of it is reset while nobody reads", () =>
      Effect.gen(function* () {
        const chunk = "x".repeat(16_000)
        const server = yield* frameServer(
          oracle,
          onRequest(async (id, { send }) => {
            send(head(id), ...Array.from({ length: 10 }, () => data(id, chunk)))
            await pause(20)
            send(rst(id, ErrorCode.cancel))
          })
        )
        const { connection } = yield* connectTo(server)
        const error = yield* Effect.flip(roundTripLate(connection, 60))
        assert.deepInclude(error.reason, { _tag: "ConnectionLost", code: "CANCEL" })
      })
    )
  })

  describe("a refused request", () => {
    it.live("is one also where the connection ends right after", () =>
      Effect.gen(function* () {
        const server = yield* frameServer(
          oracle,
          onRequest((id, { send, socket }) => {
            send(goaway(maxStreamId), rst(id, ErrorCode.refusedStream))
            socket.end()
          })
        )
        const { connection } = yield* connectTo(server)
        const error = yield* Effect.flip(roundTrip(connection))
        assert.deepInclude(error.reason, { _tag: "RequestRefused", code: "REFUSED_STREAM" })
        assert.strictEqual(error.sent, "none")
      })
    )

    it.live("was not acted on, and the connection goes on", () =>
      Effect.gen(function* () {
        const server = yield* frameServer(
          oracle,
          onRequest((id, { send }, index) => send(index === 1 ? rst(id, ErrorCode.refusedStream) : head(id, [], true)))
        )
        const { connection } = yield* connectTo(server)
        const error = yield* Effect.flip(roundTrip(connection))
        assert.deepInclude(error.reason, { _tag: "RequestRefused", code: "REFUSED_STREAM" })
        assert.deepInclude(error, { sent: "none", responseStarted: false })
        assert.isTrue(connection.isOpen())
        assert.strictEqual((yield* roundTrip(connection)).status, 200)
      })
    )
  })

  describe("GOAWAY", () => {
    /** Answers once `requests` have come. */
    const afterBoth = (answer: (peer: FramePeer) => void) =>
      frameServer(
        oracle,
        onRequest((_, peer, index) => {
          if (index === 2) answer(peer)
        })
      )
    const both = (server: Effect.Success<ReturnType<typeof afterBoth>>) =>
      Effect.gen(function* () {
        const { connection, socket } = yield* connectTo(server)
        const first = yield* Effect.forkChild(Effect.result(roundTrip(connection)), { startImmediately: true })
        const second = yield* Effect.forkChild(Effect.result(roundTrip(connection)), { startImmediately: true })
        return { connection, socket, first: yield* Fiber.join(first), second: yield* Fiber.join(second) }
      })

    it.live("lets finish what it accepts and refuses the rest", () =>
      Effect.gen(function* () {
        const server = yield* afterBoth(({ send }) => send(goaway(1), head(1), data(1, "one", true)))
        const { connection, first, second } = yield* both(server)
        assert.strictEqual(text(first), "one")
        const error = failure(second)
        assert.deepInclude(error.reason, { _tag: "RequestRefused", code: "GOAWAY" })
        assert.deepInclude(error, { sent: "none", responseStarted: false })
        assert.isFalse(connection.isOpen())
      })
    )

    it.live("may come in two steps", () =>
      Effect.gen(function* () {
        const server = yield* afterBoth(async ({ send }) => {
          send(goaway(maxStreamId))
          await pause(10)
          send(goaway(1), head(1), data(1, "one", true))
        })
        const { first, second } = yield* both(server)
        assert.strictEqual(text(first), "one")
        assert.deepInclude(failure(second), { sent: "none" })
      })
    )

    it.live("with an error tells by id what was not acted on", () =>
      Effect.gen(function* () {
        for (const [code, ...before] of [
          [ErrorCode.enhanceYourCalm],
          [ErrorCode.refusedStream],
          [ErrorCode.enhanceYourCalm, goaway(maxStreamId)]
        ] as const) {
          const server = yield* afterBoth(({ send }) => send(...before, goaway(1, code)))
          const { connection, first, second } = yield* both(server)
          assert.deepInclude(failure(first), { sent: "maybe" })
          assert.strictEqual(failure(first).reason._tag, "ConnectionLost")
          assert.deepInclude(failure(second), { sent: "none" })
          assert.strictEqual(failure(second).reason._tag, "RequestRefused")
          assert.isFalse(connection.isOpen())
        }
      })
    )

    it.live("retires the connection, and a request after it is not sent", () =>
      Effect.gen(function* () {
        const server = yield* frameServer(
          oracle,
          onRequest(async (id, { send }) => {
            send(head(id), goaway(maxStreamId))
            await pause(100)
            send(data(id, "late", true))
          })
        )
        const { connection } = yield* connectTo(server)
        const signals: Array<string> = []
        connection.watch({
          retire: () => void signals.push("retire"),
          capacityChanged: () => void signals.push("capacityChanged")
        })
        const first = yield* Effect.forkChild(roundTrip(connection), { startImmediately: true })
        while (signals.at(-1) !== "retire") yield* Effect.sleep(1)
        assert.isUndefined(first.pollUnsafe())
        const error = yield* Effect.flip(roundTrip(connection))
        assert.strictEqual(error.reason._tag, "ConnectionLost")
        assert.deepInclude(error, { sent: "none", responseStarted: false })
        assert.strictEqual((yield* Fiber.join(first)).text, "late")
        yield* oracle.clientsClosed
        assert.strictEqual(signals.filter((signal) => signal === "retire").length, 1)
      })
    )
  })
})
