import { assert, describe, it } from "@effect/vitest"
import * as HttpConnection from "@poolkit/http/HttpConnection"
import type { HttpError } from "@poolkit/http/HttpError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ServerHttp2Stream } from "node:http2"
import { bytes, get, pause, roundTrip } from "./http1.ts"
import { answer, connectTo, http2Server, requestServer, sessionOf } from "./http2.ts"
import { leakOracle } from "./leakOracle.ts"
import { once } from "./servers.ts"

const oracle = leakOracle()

/** For tests that must not depend on how busy the machine is. */
const patient = { drainTimeout: "5 seconds" } as const

/** Answers with a declared length and sends less; tells how each stream ended. */
const halting = (declared: number | undefined, sent: number) =>
  Effect.suspend(() => {
    const ends: Array<number> = []
    return Effect.map(
      http2Server(oracle, (stream, headers) => {
        stream.on("close", () => ends.push(stream.rstCode))
        if (headers[":path"] === "/ok") return answer(stream, "ok")
        stream.respond(declared === undefined ? {} : { "content-length": declared })
        stream.write(Buffer.alloc(sent, "x"))
      }),
      (server) => ({ server, ends })
    )
  })

const CANCEL = 8

describe("Http2Connection", () => {
  describe("a dropped body", () => {
    it.live("whose rest is small is drained without a reset", () =>
      Effect.gen(function* () {
        const ends: Array<number> = []
        const server = yield* http2Server(oracle, async (stream) => {
          stream.on("close", () => ends.push(stream.rstCode))
          stream.respond({ "content-length": 1_000 })
          stream.write("x".repeat(500))
          await pause(10)
          stream.end("x".repeat(500))
        })
        const { connection } = yield* connectTo(server, patient)
        yield* Effect.scoped(HttpConnection.request(connection, get()))
        while (ends.length === 0) yield* Effect.sleep(1)
        assert.deepStrictEqual(ends, [0])
      })
    )

    it.live("that is larger than maxDrainBytes is reset at once, and the connection goes on", () =>
      Effect.gen(function* () {
        for (const [declared, sent, options] of [
          [65_537, 0, {}],
          [undefined, 300_000, {}],
          [1, 0, { maxDrainBytes: 0 }]
        ] as const) {
          const { ends, server } = yield* halting(declared, sent)
          const { connection, socket } = yield* connectTo(server, { ...options, drainTimeout: "1 minute" })
          yield* Effect.scoped(HttpConnection.request(connection, get("/")))
          while (ends.length === 0) yield* Effect.sleep(1)
          assert.deepStrictEqual(ends, [CANCEL])
          assert.isFalse(socket.destroyed)
          assert.strictEqual((yield* roundTrip(connection, get("/ok"))).text, "ok")
        }
      })
    )

    it.live("that is slower than drainTimeout is reset", () =>
      Effect.gen(function* () {
        const { ends, server } = yield* halting(1_000, 10)
        const { connection } = yield* connectTo(server)
        const started = performance.now()
        yield* Effect.scoped(HttpConnection.request(connection, get("/")))
        while (ends.length === 0) yield* Effect.sleep(1)
        assert.deepStrictEqual(ends, [CANCEL])
        assert.isAtLeast(performance.now() - started, 90)
        assert.strictEqual((yield* roundTrip(connection, get("/ok"))).text, "ok")
      })
    )

    it.live("that was slowed down is drained too", () =>
      Effect.gen(function* () {
        const ends: Array<number> = []
        const server = yield* http2Server(oracle, (stream) => {
          stream.on("close", () => ends.push(stream.rstCode))
          answer(stream, "x".repeat(110_000))
        })
        const { connection } = yield* connectTo(server, { ...patient, maxDrainBytes: 110_000 })
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* HttpConnection.request(connection, get())
            yield* Effect.sleep(20)
          })
        )
        while (ends.length === 0) yield* Effect.sleep(1)
        assert.deepStrictEqual(ends, [0])
      })
    )

    it.live("gives back its share of the connection's window", () =>
      Effect.gen(function* () {
        const large = "x".repeat(200_000)
        // node's server never forgets what it had queued for a stream that was reset, and refuses more at 10 MB.
        const options = { maxSessionMemory: 1_000 }
        const server = yield* requestServer(oracle, (_, stream) => answer(stream, large), options)
        const { connection } = yield* connectTo(server, { connectionWindow: 65_535, maxResets: 1_000 })
        for (let i = 0; i < 20; i++) {
          yield* Effect.forEach([1, 2, 3], () => Effect.scoped(HttpConnection.request(connection, get())), {
            concurrency: "unbounded"
          })
        }
        assert.strictEqual((yield* roundTrip(connection)).text.length, large.length)
      })
    )

    it.live("is one whose stream was left early, or whose reader was interrupted", () =>
      Effect.gen(function* () {
        for (const how of ["left", "text", "stream"] as const) {
          const { ends, server } = yield* halting(70_000, 10)
          const { connection } = yield* connectTo(server)
          const response = yield* HttpConnection.request(connection, get("/"))
          if (how === "left") yield* Stream.runHead(response.stream)
          else {
            const reading: Effect.Effect<unknown, unknown> =
              how === "text" ? response.text : Stream.runDrain(response.stream)
            yield* Fiber.interrupt(yield* Effect.forkChild(reading, { startImmediately: true }))
          }
          while (ends.length === 0) yield* Effect.sleep(1)
          assert.deepStrictEqual(ends, [CANCEL])
        }
      })
    )

    it.live("is one whose response was forgotten, which gives its slot back", () =>
      Effect.gen(function* () {
        const { ends, server } = yield* halting(70_000, 10)
        const { connection } = yield* connectTo(server)
        const seen = { over: false }
        const forget = Effect.suspend(() =>
          Effect.map(
            connection.send(get("/"), Context.empty(), () => (seen.over = true)).response,
            ({ status }) => status
          )
        )
        assert.strictEqual(yield* forget, 200)
        while (!seen.over) {
          globalThis.gc!()
          yield* Effect.sleep(1)
        }
        while (ends.length === 0) yield* Effect.sleep(1)
        assert.deepStrictEqual(ends, [CANCEL])
      })
    )
  })

  describe("cancel", () => {
    const silent = Effect.suspend(() => {
      const streams: Array<ServerHttp2Stream> = []
      return Effect.map(
        http2Server(oracle, (stream, headers) => {
          streams.push(stream)
          if (headers[":path"] === "/ok") answer(stream, "ok")
        }),
        (server) => ({ server, streams })
      )
    })

    it.live("resets the stream before its answer, and calls onEnd once", () =>
      Effect.gen(function* () {
        const { server, streams } = yield* silent
        const { connection } = yield* connectTo(server)
        let ends = 0
        const exchange = connection.send(get("/"), Context.empty(), () => ends++)
        while (streams.length === 0) yield* Effect.sleep(1)
        exchange.cancel()
        assert.strictEqual(ends, 1)
        exchange.cancel()
        while (!streams[0]!.closed) yield* Effect.sleep(1)
        assert.strictEqual(streams[0]!.rstCode, CANCEL)
        assert.strictEqual((yield* roundTrip(connection, get("/ok"))).text, "ok")
        assert.strictEqual(ends, 1)
      })
    )

    it.live("at once after the start leaves nothing at the server", () =>
      Effect.gen(function* () {
        const { server, streams } = yield* silent
        const { connection } = yield* connectTo(server)
        for (let i = 0; i < 20; i++) connection.send(get("/"), Context.empty()).cancel()
        assert.strictEqual((yield* roundTrip(connection, get("/ok"))).text, "ok")
        assert.isTrue(streams.slice(0, -1).every((stream) => stream.closed))
      })
    )

    it.live("interrupts the stream of the body", () =>
      Effect.gen(function* () {
        const { server } = yield* silent
        const { connection } = yield* connectTo(server)
        const seen = { closed: false }
        const body = Stream.ensuring(
          Stream.concat(Stream.make(bytes(10)), Stream.never),
          Effect.sync(() => (seen.closed = true))
        )
        const exchange = connection.send({ method: "POST", path: "/", body }, Context.empty())
        yield* Effect.sleep(10)
        exchange.cancel()
        while (!seen.closed) yield* Effect.sleep(1)
      })
    )
  })

  describe("the scope", () => {
    it.live("ends connection and socket at once and fails what is under way", () =>
      Effect.gen(function* () {
        const server = yield* http2Server(oracle, (stream, headers) => {
          if (headers[":path"] !== "/body") return
          stream.respond({})
          stream.write("some")
        })
        const scope = yield* Scope.make()
        const { connection, socket } = yield* Scope.provide(connectTo(server), scope)
        const seen = { retired: 0 }
        connection.watch({ retire: () => void seen.retired++, capacityChanged: () => {} })
        const response = yield* HttpConnection.request(connection, get("/body"))
        const fork = (effect: Effect.Effect<unknown, HttpError>) =>
          Effect.forkChild(Effect.flip(effect), { startImmediately: true })
        const reading = yield* fork(response.text)
        const waiting = yield* fork(roundTrip(connection))
        yield* Scope.close(scope, Exit.void)
        assert.isTrue(socket.destroyed)
        assert.isFalse(connection.isOpen())
        for (const fiber of [reading, waiting]) {
          assert.deepInclude((yield* Fiber.join(fiber)).reason, { _tag: "ConnectionLost", code: "CLOSED" })
        }
        assert.strictEqual((yield* Effect.flip(roundTrip(connection))).sent, "none")
        while (seen.retired === 0) yield* Effect.sleep(1)
        yield* oracle.clientsClosed
        assert.strictEqual(seen.retired, 1)
      })
    )

    it.live("does not wait for a server that reads nothing", () =>
      Effect.gen(function* () {
        const server = yield* http2Server(oracle, () => {})
        const scope = yield* Scope.make()
        const { connection, socket } = yield* Scope.provide(connectTo(server), scope)
        const session = yield* server.session
        const waiting = yield* Effect.forkChild(
          Effect.flip(roundTrip(connection, { method: "POST", path: "/", body: bytes(10_000_000) })),
          { startImmediately: true }
        )
        yield* Effect.sleep(10)
        yield* Scope.close(scope, Exit.void)
        assert.isTrue(socket.destroyed)
        assert.strictEqual((yield* Fiber.join(waiting)).reason._tag, "ConnectionLost")
        while (!session.destroyed) yield* Effect.sleep(1)
      })
    )

    it.live("leaves the session and the socket without listeners, however many requests there were", () =>
      Effect.gen(function* () {
        const server = yield* requestServer(oracle, ({ path }, stream) => answer(stream, path))
        const scope = yield* Scope.make()
        const { connection, socket } = yield* Scope.provide(connectTo(server), scope)
        const session = sessionOf(socket)
        const names = ["close", "goaway", "remoteSettings", "ping", "error", "frameError"]
        const counts = (emitter: NodeJS.EventEmitter) => names.map((name) => emitter.listenerCount(name))
        const before = [counts(session), counts(socket)]
        yield* Effect.forEach(Array.from({ length: 100 }), () => roundTrip(connection), { concurrency: "unbounded" })
        assert.deepStrictEqual([counts(session), counts(socket)], before)
        const closed = once(socket, "close")
        yield* Scope.close(scope, Exit.void)
        yield* closed
        // That of errors stays for life, and so does what node has on a socket.
        assert.deepStrictEqual(counts(session), [0, 0, 0, 0, 1, 0])
        assert.isAtMost(socket.listenerCount("close"), 2)
      })
    )
  })
})
