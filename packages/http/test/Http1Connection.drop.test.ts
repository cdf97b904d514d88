import { assert, describe, it } from "@effect/vitest"
import * as HttpConnection from "@poolkit/http/HttpConnection"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { bytes, connectTo, get, pause, roundTrip, scripted, settled } from "./http1.ts"
import { leakOracle } from "./leakOracle.ts"
import { answer, httpServer, rawServer } from "./servers.ts"

const oracle = leakOracle()

const head = (length: number) => `HTTP/1.1 200 OK\r\ncontent-length: ${length}\r\n\r\n`

/** For tests that must not depend on how busy the machine is. */
const patient = { drainTimeout: "5 seconds" } as const

/** Discards the body of a response and looks before its scope closes. */
const discarding = (connection: HttpConnection.HttpConnection, look: () => void) =>
  Effect.scoped(
    Effect.flatMap(HttpConnection.request(connection, get()), ({ discard }) =>
      Effect.andThen(discard, Effect.sync(look))
    )
  )

describe("Http1Connection", () => {
  describe("a dropped body", () => {
    it.live("whose rest is small is drained, and the connection is used again", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, async ({ nth }, socket) => {
          if (nth > 1) return void socket.write(answer("second"))
          socket.write(head(1_000) + "x".repeat(500))
          await pause(10)
          socket.write("x".repeat(500))
        })
        const { connection, socket } = yield* connectTo(server, patient)
        yield* discarding(connection, () => assert.isFalse(connection.isOpen()))
        // Its scope has waited for the rest.
        assert.isTrue(connection.isOpen())
        assert.isFalse(socket.destroyed)
        assert.strictEqual((yield* roundTrip(connection)).text, "second")
      })
    )

    it.live("that was slowed down is drained too", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, (_, socket) => {
          socket.write(head(110_000))
          socket.write(bytes(110_000))
        })
        const { connection, socket } = yield* connectTo(server, patient)
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* HttpConnection.request(connection, get())
            yield* Effect.sleep(20)
            assert.isFalse(connection.isOpen())
          })
        )
        assert.isTrue(yield* settled(connection, socket))
      })
    )

    it.live("that declares more than maxDrainBytes ends the connection at once", () =>
      Effect.gen(function* () {
        const server = yield* scripted(oracle, [head(65_537)])
        const { connection, socket } = yield* connectTo(server)
        yield* discarding(connection, () => assert.isTrue(socket.destroyed))
        const kept = yield* connectTo(yield* scripted(oracle, [head(65_536)]))
        yield* discarding(kept.connection, () => assert.isFalse(kept.socket.destroyed))
      })
    )

    it.live("that brings more than maxDrainBytes ends the connection", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, (_, socket) => {
          socket.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
          const chunk = `400\r\n${"x".repeat(1024)}\r\n`
          const interval = setInterval(() => socket.write(chunk), 1)
          socket.on("close", () => clearInterval(interval))
        })
        const { connection, socket } = yield* connectTo(server, { maxDrainBytes: 4_096, drainTimeout: "1 minute" })
        yield* discarding(connection, () => assert.isFalse(socket.destroyed))
        assert.isFalse(yield* settled(connection, socket))
      })
    )

    it.live("that is slower than drainTimeout ends the connection, whatever trickles in", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, (_, socket) => {
          socket.write(head(10_000))
          const interval = setInterval(() => socket.write("x"), 5)
          socket.on("close", () => clearInterval(interval))
        })
        const { connection, socket } = yield* connectTo(server)
        const started = performance.now()
        yield* Effect.scoped(HttpConnection.request(connection, get()))
        assert.isTrue(socket.destroyed)
        assert.isAtLeast(performance.now() - started, 90)
        assert.isBelow(performance.now() - started, 1_000)
      })
    )

    it.live("that is slower than drainTimeout ends the connection, whatever is sent meanwhile", () =>
      Effect.gen(function* () {
        const server = yield* rawServer(oracle, (socket) => {
          socket.resume().once("data", () => socket.write(head(10_000)))
        })
        const { connection, socket } = yield* connectTo(server)
        const body = Stream.fromEffectRepeat(Effect.delay(Effect.succeed(bytes(1)), 5))
        const started = performance.now()
        yield* Effect.scoped(HttpConnection.request(connection, { method: "POST", path: "/", body }))
        assert.isTrue(socket.destroyed)
        assert.isBelow(performance.now() - started, 1_000)
      })
    )

    it.live("is never drained where maxDrainBytes is 0", () =>
      Effect.gen(function* () {
        const server = yield* scripted(oracle, [head(1)])
        const { connection, socket } = yield* connectTo(server, { maxDrainBytes: 0 })
        yield* discarding(connection, () => assert.isTrue(socket.destroyed))
      })
    )

    it.live("is one whose stream was left early", () =>
      Effect.gen(function* () {
        const server = yield* scripted(oracle, [`${head(4)}ab`, "cd"])
        const { connection, socket } = yield* connectTo(server, patient)
        const response = yield* HttpConnection.request(connection, get())
        const first = yield* Stream.runHead(response.stream)
        assert.strictEqual(first._tag, "Some")
        assert.isTrue(yield* settled(connection, socket))
      })
    )

    it.live("is one whose reader was interrupted", () =>
      Effect.gen(function* () {
        for (const read of ["text", "stream"] as const) {
          const server = yield* scripted(oracle, [`${head(70_000)}ab`])
          const { connection, socket } = yield* connectTo(server)
          const response = yield* HttpConnection.request(connection, get())
          const reading: Effect.Effect<unknown, unknown> =
            read === "text" ? response.text : Stream.runDrain(response.stream)
          const fiber = yield* Effect.forkChild(reading, { startImmediately: true })
          yield* Fiber.interrupt(fiber)
          assert.isTrue(socket.destroyed)
          assert.isFalse(connection.isOpen())
        }
      })
    )

    it.live("is one whose response was forgotten", () =>
      Effect.gen(function* () {
        const server = yield* scripted(oracle, [head(70_000)])
        const { connection, socket } = yield* connectTo(server)
        yield* Effect.map(HttpConnection.request(connection, get()), (response) => response.status)
        while (!socket.destroyed) {
          globalThis.gc!()
          yield* Effect.sleep(1)
        }
      })
    )

    it.live("is not one that still has a reader", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, async (_, socket) => {
          socket.write(head(70_000))
          await pause(50)
          socket.write(bytes(70_000))
        })
        const { connection } = yield* connectTo(server)
        const fiber = yield* Effect.forkChild(
          Effect.scoped(Effect.flatMap(HttpConnection.request(connection, get()), (response) => response.bytes))
        )
        for (let i = 0; i < 3; i++) {
          globalThis.gc!()
          yield* Effect.sleep(1)
        }
        assert.strictEqual((yield* Fiber.join(fiber)).length, 70_000)
      })
    )
  })
})
