import { assert, describe, it } from "@effect/vitest"
import * as Http1Connection from "@poolkit/http/Http1Connection"
import * as HttpConnection from "@poolkit/http/HttpConnection"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Deferred from "effect/Deferred"
import * as Exit from "effect/Exit"
import { stat } from "node:fs"
import * as Net from "node:net"
import { bytes, connectTo, get, pause, roundTrip, scripted, settled } from "./http1.ts"
import { leakOracle } from "./leakOracle.ts"
import { answer, httpServer, nextTurn, once, rawServer, stall } from "./servers.ts"

const oracle = leakOracle()

/** Where in a turn of the event loop a caller may ask for a request. */
const phases: Record<string, Effect.Effect<void>> = {
  timers: Effect.callback((resume) => void setTimeout(() => resume(Effect.void), 1)),
  poll: Effect.callback((resume) => stat(".", () => resume(Effect.void))),
  check: nextTurn,
  microtask: Effect.callback((resume) => queueMicrotask(() => resume(Effect.void)))
}

const poison = answer("poison")

describe("Http1Connection", () => {
  describe("isOpen", () => {
    it.live("is false when the server says or does something that forbids reuse", () =>
      Effect.gen(function* () {
        const ok = "content-length: 2\r\n\r\nok"
        const table: Record<string, ReadonlyArray<string>> = {
          "connection: close": [`HTTP/1.1 200 OK\r\nconnection: close\r\n${ok}`],
          "HTTP/1.0": [`HTTP/1.0 200 OK\r\n${ok}`],
          "a second response in the same packet": [`HTTP/1.1 200 OK\r\n${ok}HTTP/1.1 200 OK\r\n${ok}`],
          "bytes after the body": [`HTTP/1.1 200 OK\r\n${ok}!`],
          "a 204 with a body": ["HTTP/1.1 204 No Content\r\n\r\nok"],
          "a 204 with content-length": ["HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n"],
          "a hint below the margin": [`HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\n${ok}`]
        }
        for (const [name, parts] of Object.entries(table)) {
          const server = yield* scripted(oracle, parts)
          const { connection, socket } = yield* connectTo(server)
          const { text } = yield* roundTrip(connection)
          assert.strictEqual(text, parts[0]!.includes("204") ? "" : "ok", name)
          assert.isFalse(connection.isOpen(), name)
          assert.isTrue(socket.destroyed, name)
        }
      })
    )

    it.live("is false after a HEAD, whose answer some servers give a body", () =>
      Effect.gen(function* () {
        const server = yield* scripted(oracle, ["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"])
        const { connection } = yield* connectTo(server)
        const { headers, text } = yield* roundTrip(connection, { method: "HEAD", path: "/" })
        assert.deepStrictEqual([headers["content-length"], text], ["2", ""])
        assert.isFalse(connection.isOpen())
      })
    )

    it.live("is false after an answer that came before the request was complete", () =>
      Effect.gen(function* () {
        const server = yield* rawServer(oracle, (socket) => {
          socket.once("data", () => socket.write(answer("early")))
        })
        const { connection } = yield* connectTo(server)
        let interrupted = false
        const body = Stream.concat(
          Stream.make(bytes(10)),
          Stream.fromEffect(
            Effect.onInterrupt(Effect.never, () =>
              Effect.sync(() => {
                interrupted = true
              })
            )
          )
        )
        const { text } = yield* roundTrip(connection, { method: "POST", path: "/", body })
        assert.strictEqual(text, "early")
        assert.isFalse(connection.isOpen())
        yield* nextTurn
        assert.isTrue(interrupted)
      })
    )

    it.effect("is false from two seconds before the end of the server's hint", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, (_, socket) => {
          socket.write(answer("ok", "keep-alive: timeout=5, max=100\r\n"))
        })
        const { connection } = yield* connectTo(server)
        yield* roundTrip(connection)
        yield* TestClock.adjust(2_999)
        assert.isTrue(connection.isOpen())
        yield* TestClock.adjust(1)
        assert.isFalse(connection.isOpen())
      })
    )

    it.effect("is true again once an answer comes without a hint", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, ({ nth }, socket) => {
          socket.write(answer("ok", nth === 1 ? "keep-alive: timeout=5\r\n" : ""))
        })
        const { connection } = yield* connectTo(server, { keepAliveMargin: "1 second" })
        yield* roundTrip(connection)
        yield* TestClock.adjust(3_999)
        yield* roundTrip(connection)
        yield* TestClock.adjust("1 day")
        assert.isTrue(connection.isOpen())
      })
    )

    it.live("is false when something comes that nobody asked for", () =>
      Effect.gen(function* () {
        const timeout = "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n"
        for (const used of [true, false]) {
          const server = yield* httpServer(oracle, (_, socket) => void socket.write(answer("ok")))
          const { connection, socket } = yield* connectTo(server)
          if (used) yield* roundTrip(connection)
          assert.isTrue(connection.isOpen())
          const peer = yield* server.peer
          peer.write(timeout)
          yield* once(socket, "close")
          assert.isFalse(connection.isOpen())
          const error = yield* Effect.flip(roundTrip(connection))
          assert.deepInclude(error, { sent: "none", responseStarted: false })
        }
      })
    )
  })

  describe("watch", () => {
    it.live("tells when the server hangs up, and no more once disposed of", () =>
      Effect.gen(function* () {
        for (const used of [true, false]) {
          const server = yield* httpServer(oracle, (_, socket) => void socket.write(answer("ok")))
          const { connection, socket } = yield* connectTo(server)
          if (used) yield* roundTrip(connection)
          const listeners = () => socket.eventNames().reduce((sum, name) => sum + socket.listenerCount(name), 0)
          const before = listeners()
          const calls: Array<string> = []
          const signals = (name: string) => ({ retire: () => calls.push(name), capacityChanged: () => {} })
          const dispose = connection.watch(signals("disposed"))
          dispose()
          assert.strictEqual(listeners(), before)
          connection.watch(signals("live"))
          ;(yield* server.peer).end()
          yield* once(socket, "close")
          assert.include(calls, "live")
          assert.notInclude(calls, "disposed")
        }
      })
    )
  })

  describe("a turn of the event loop before a request", () => {
    // Everything that the kernel has taken in before the request is asked for must be seen before it is written.
    const surprises: Record<string, (peer: Net.Socket) => void> = {
      "an answer": (peer) => void peer.write(poison),
      "a byte": (peer) => void peer.write("x"),
      "a close": (peer) => void peer.destroy(),
      "a reset": (peer) => void peer.resetAndDestroy()
    }
    for (const [surprise, act] of Object.entries(surprises)) {
      for (const [phase, reach] of Object.entries(phases)) {
        it.live(`finds ${surprise} that came while the loop stood still, asked in the ${phase} phase`, () =>
          Effect.gen(function* () {
            for (const used of [true, false]) {
              let served = 0
              const server = yield* httpServer(oracle, (_, socket) => {
                served++
                socket.write(answer("ok"))
              })
              const { connection, socket } = yield* connectTo(server)
              const peer = yield* server.peer
              if (used) yield* roundTrip(connection)
              yield* reach
              act(peer)
              stall(60)
              const error = yield* Effect.flip(roundTrip(connection))
              assert.deepInclude(error, { sent: "none", responseStarted: false })
              assert.deepInclude(error.reason, { _tag: "ConnectionLost", code: "CLOSED_WHILE_IDLE" })
              assert.strictEqual(served, used ? 1 : 0)
              assert.isTrue(socket.destroyed)
            }
          })
        )
      }
    }

    it.live("takes no time to speak of", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, (_, socket) => void socket.write(answer("ok")))
        const { connection } = yield* connectTo(server)
        const started = performance.now()
        for (let i = 0; i < 100; i++) yield* roundTrip(connection)
        // An immediate that does not keep the loop going would cost half a second each.
        assert.isBelow(performance.now() - started, 1_000)
      })
    )
  })

  describe("interruption", () => {
    it.live("before the request is written leaves the connection as it was", () =>
      Effect.gen(function* () {
        const seen: Array<string> = []
        const server = yield* httpServer(oracle, ({ path }, socket) => {
          seen.push(path)
          socket.write(answer("ok"))
        })
        const { connection } = yield* connectTo(server)
        for (const path of ["/1", "/2"]) {
          const fiber = yield* Effect.forkChild(roundTrip(connection, get("/never")), { startImmediately: true })
          assert.isFalse(connection.isOpen())
          yield* Fiber.interrupt(fiber)
          assert.isTrue(connection.isOpen())
          yield* roundTrip(connection, get(path))
        }
        assert.deepStrictEqual(seen, ["/1", "/2"])
        assert.strictEqual(server.accepted(), 1)
      })
    )

    it.live("while the server thinks ends the connection at once", () =>
      Effect.gen(function* () {
        const asked = yield* Deferred.make<void>()
        const server = yield* httpServer(oracle, () => Deferred.doneUnsafe(asked, Exit.void))
        const { connection, socket } = yield* connectTo(server)
        const fiber = yield* Effect.forkChild(roundTrip(connection))
        yield* Deferred.await(asked)
        yield* Fiber.interrupt(fiber)
        assert.isTrue(socket.destroyed)
        assert.isFalse(connection.isOpen())
      })
    )

    it.live("at any instant leaves a connection that works or is closed", () =>
      Effect.gen(function* () {
        const outcomes = new Set<boolean>()
        const server = yield* httpServer(oracle, async ({ path }, socket) => {
          socket.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
          await pause(1)
          socket.write(path)
        })
        for (const used of [false, true]) {
          for (let turns = 0; turns < 25; turns++) {
            const { connection, socket } = yield* connectTo(server)
            if (used) yield* roundTrip(connection, get("/1"))
            const fiber = yield* Effect.forkChild(roundTrip(connection, get("/2")), { startImmediately: true })
            for (let turn = 0; turn < turns; turn++) yield* nextTurn
            yield* Fiber.interrupt(fiber)
            const written = socket.bytesWritten
            const open = yield* settled(connection, socket)
            assert.strictEqual(socket.bytesWritten, written)
            outcomes.add(open)
            if (open) assert.strictEqual((yield* roundTrip(connection, get("/3"))).text, "ab/3")
          }
        }
        assert.strictEqual(outcomes.size, 2)
      })
    )
  })

  describe("the end of its scope", () => {
    it.live("closes a socket that has no scope of its own", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, (_, socket) => void socket.write(answer("ok")))
        const socket = Net.connect(server.port, "127.0.0.1")
        yield* Effect.scoped(Effect.flatMap(Http1Connection.make(socket), (connection) => roundTrip(connection)))
        assert.isTrue(socket.destroyed)
      })
    )

    it.live("fails a request that waits for its answer", () =>
      Effect.gen(function* () {
        const asked = yield* Deferred.make<void>()
        const server = yield* httpServer(oracle, () => Deferred.doneUnsafe(asked, Exit.void))
        const scope = yield* Scope.make()
        const { connection } = yield* Scope.provide(connectTo(server), scope)
        const fiber = yield* Effect.forkChild(Effect.flip(roundTrip(connection)))
        yield* Deferred.await(asked)
        yield* Scope.close(scope, Exit.void)
        const error = yield* Fiber.join(fiber)
        assert.strictEqual(error.reason._tag, "ConnectionLost")
        assert.strictEqual(error.sent, "maybe")
      })
    )

    it.live("fails whoever reads a body", () =>
      Effect.gen(function* () {
        const server = yield* scripted(oracle, ["HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab"])
        const scope = yield* Scope.make()
        const { connection } = yield* Scope.provide(connectTo(server), scope)
        const response = yield* HttpConnection.request(connection, get())
        const fiber = yield* Effect.forkChild(Effect.flip(response.text), { startImmediately: true })
        yield* Scope.close(scope, Exit.void)
        const error = yield* Fiber.join(fiber)
        assert.deepInclude(error, { sent: "maybe", responseStarted: true })
      })
    )
  })

  it.live("never opens another connection", () =>
    Effect.gen(function* () {
      const server = yield* httpServer(oracle, (_, socket) => void socket.end(answer("ok", "connection: close\r\n")))
      const { connection } = yield* connectTo(server)
      yield* roundTrip(connection)
      for (let i = 0; i < 3; i++) {
        const error = yield* Effect.flip(roundTrip(connection))
        assert.deepInclude(error, { sent: "none" })
      }
      assert.strictEqual(server.accepted(), 1)
    })
  )
})
