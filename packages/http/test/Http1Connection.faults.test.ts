import { assert, describe, it } from "@effect/vitest"
import * as HttpConnection from "@poolkit/http/HttpConnection"
import type { HttpError } from "@poolkit/http/HttpError"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as fc from "fast-check"
import { bytes, connectTo, get, pause, roundTrip, scripted } from "./http1.ts"
import { leakOracle } from "./leakOracle.ts"
import { answer, httpServer, nextTurn, once, rawServer, type Request, stall } from "./servers.ts"

const oracle = leakOracle()

describe("Http1Connection", () => {
  describe("a response that breaks the protocol", () => {
    const head = "HTTP/1.1 200 OK\r\n"
    const table: Record<string, readonly [script: ReadonlyArray<string>, reason: string, end?: "end" | "reset"]> = {
      "a body shorter than declared": [[`${head}content-length: 5\r\n\r\nabc`], "ConnectionLost", "end"],
      "a body cut short by a reset": [[`${head}content-length: 5\r\n\r\nabc`], "ConnectionLost", "reset"],
      "a truncated chunked body": [[`${head}transfer-encoding: chunked\r\n\r\n5\r\nab`], "ConnectionLost", "end"],
      "a chunked body without its last chunk": [
        [`${head}transfer-encoding: chunked\r\n\r\n2\r\nab\r\n`],
        "ConnectionLost",
        "end"
      ],
      "a truncated body after connection: close": [
        [`${head}connection: close\r\ncontent-length: 5\r\n\r\nabc`],
        "InvalidResponse",
        "end"
      ],
      "a chunk size that is no number": [[`${head}transfer-encoding: chunked\r\n\r\nzz\r\nab`], "InvalidResponse"],
      "transfer-encoding and content-length": [
        [`${head}transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nab\r\n0\r\n\r\n`],
        "InvalidResponse"
      ],
      "two lengths": [[`${head}content-length: 2\r\ncontent-length: 3\r\n\r\nabc`], "InvalidResponse"],
      "a negative length": [[`${head}content-length: -1\r\n\r\n`], "InvalidResponse"],
      "a bare line feed": [[`HTTP/1.1 200 OK\ncontent-length: 0\r\n\r\n`], "InvalidResponse"],
      "a folded header": [[`${head}a: b\r\n c\r\ncontent-length: 0\r\n\r\n`], "InvalidResponse"],
      "a header without a colon": [[`${head}nonsense\r\n\r\n`], "InvalidResponse"],
      "no HTTP at all": [["SSH-2.0-OpenSSH_9.6\r\n"], "InvalidResponse"],
      "a switch of protocols": [
        ["HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"],
        "InvalidResponse"
      ],
      "an unasked 100 Continue": [["HTTP/1.1 100 Continue\r\n\r\n", answer("ok")], "InvalidResponse"],
      "a flood of headers": [
        [head, ...Array.from({ length: 20 }, (_, i) => `x-${i}: ${"x".repeat(1_000)}\r\n`)],
        "InvalidResponse"
      ],
      "one endless header": [[head, "x: ", ...Array.from({ length: 20 }, () => "x".repeat(1_000))], "InvalidResponse"],
      "a flood of informational responses": [
        [...Array.from({ length: 11 }, () => "HTTP/1.1 103 Early Hints\r\n\r\n"), answer("ok")],
        "InvalidResponse"
      ],
      "an end before any byte": [[], "ConnectionLost", "end"],
      "a reset before any byte": [[], "ConnectionLost", "reset"],
      "an end within the head": [[`${head}content-le`], "ConnectionLost", "end"]
    }
    for (const [name, [script, reason, end]] of Object.entries(table)) {
      it.live(`fails and ends the connection: ${name}`, () =>
        Effect.gen(function* () {
          const server = yield* scripted(oracle, script, end)
          const { connection, socket } = yield* connectTo(server)
          const error = yield* Effect.flip(roundTrip(connection))
          assert.strictEqual(error.reason._tag, reason)
          assert.strictEqual(error.sent, "maybe")
          assert.strictEqual(error.responseStarted, script.length > 0)
          assert.isFalse(connection.isOpen())
          assert.isTrue(socket.destroyed)
          assert.isTrue(error.message.startsWith(`GET 127.0.0.1:${server.port}: `))
          assert.notInclude(error.message, "\n")
        })
      )
    }

    it.live("fails a reader who asks after the connection has ended", () =>
      Effect.gen(function* () {
        for (const read of ["bytes", "stream"] as const) {
          const server = yield* scripted(oracle, ["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc"], "end")
          const { connection, socket } = yield* connectTo(server)
          const response = yield* HttpConnection.request(connection, get())
          if (!socket.destroyed) yield* once(socket, "close")
          yield* nextTurn
          const reading: Effect.Effect<unknown, HttpError> =
            read === "bytes" ? response.bytes : Stream.runDrain(response.stream)
          assert.strictEqual((yield* Effect.flip(reading)).reason._tag, "ConnectionLost")
        }
      })
    )

    it.live("is bounded by maxHeaderBytes and maxInformational", () =>
      Effect.gen(function* () {
        const hint = "HTTP/1.1 103 Early Hints\r\n\r\n"
        const table = [
          { script: [hint, answer("ok")], options: { maxInformational: 0 }, code: "TOO_MANY_INFORMATIONAL" },
          {
            script: [answer("", `x: ${"x".repeat(50)}\r\n`)],
            options: { maxHeaderBytes: 50 },
            code: "UND_ERR_HEADERS_OVERFLOW"
          }
        ]
        for (const { code, options, script } of table) {
          const { connection } = yield* connectTo(yield* scripted(oracle, script), options)
          assert.deepInclude((yield* Effect.flip(roundTrip(connection))).reason, { code })
          const roomy = yield* connectTo(yield* scripted(oracle, script))
          assert.strictEqual((yield* roundTrip(roomy.connection)).status, 200)
        }
      })
    )

    it("rejects bad options by name", () => {
      const table: ReadonlyArray<readonly [object, string]> = [
        [{ maxHeaderBytes: 0 }, "Http1Connection: maxHeaderBytes must be an integer of at least 1, got 0"],
        [{ maxDrainBytes: 1.5 }, "Http1Connection: maxDrainBytes must be an integer of at least 0, got 1.5"],
        [{ headersTimeout: "soon" }, "Http1Connection: headersTimeout must be a duration of zero or longer, got soon"],
        [{ bodyTimeout: Number.NaN }, "Http1Connection: bodyTimeout must be a duration of zero or longer, got NaN"]
      ]
      return Effect.gen(function* () {
        const server = yield* rawServer(oracle, (socket) => socket.resume())
        for (const [options, message] of table) {
          const exit = yield* Effect.exit(Effect.scoped(connectTo(server, options)))
          assert.include(String(exit), message)
        }
      }).pipe(Effect.runPromise)
    })
  })

  describe("headersTimeout", () => {
    it.live("cuts a server that hangs", () =>
      Effect.gen(function* () {
        const hint = "HTTP/1.1 103 Early Hints\r\n\r\n"
        for (const script of [[], ["HTTP/1.1 200 OK\r\nx-"], [hint]]) {
          const server = yield* scripted(oracle, script)
          const { connection, socket } = yield* connectTo(server, { headersTimeout: 50 })
          const started = performance.now()
          const error = yield* Effect.flip(roundTrip(connection))
          assert.deepInclude(error.reason, { _tag: "ResponseTimeout", phase: "headers" })
          assert.include(error.message, "no response headers after 50ms")
          assert.isAtLeast(performance.now() - started, 48)
          assert.isBelow(performance.now() - started, 1_000)
          assert.isTrue(socket.destroyed)
        }
      })
    )

    it.live("is not made longer by a server that drips", () =>
      Effect.gen(function* () {
        for (const drop of ["HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 200 OK\r\nx-drip: x"]) {
          const server = yield* httpServer(oracle, (_, socket) => {
            let next = drop
            const interval = setInterval(() => {
              socket.write(next)
              if (!drop.endsWith("\r\n")) next = "x"
            }, 10)
            socket.on("close", () => clearInterval(interval))
          })
          const { connection } = yield* connectTo(server, { headersTimeout: 50, maxInformational: 1_000 })
          const started = performance.now()
          const error = yield* Effect.flip(roundTrip(connection))
          assert.deepInclude(error.reason, { _tag: "ResponseTimeout", phase: "headers" })
          assert.isBelow(performance.now() - started, 1_000)
        }
      })
    )

    it.live("cuts a server that takes no more of the request", () =>
      Effect.gen(function* () {
        const server = yield* rawServer(oracle, (socket) => {
          socket.pause()
          // It notices the end of the connection only when it reads again.
          setTimeout(() => socket.resume(), 400)
        })
        const { connection } = yield* connectTo(server, { headersTimeout: 100 })
        const body = Stream.forever(Stream.make(bytes(256 * 1024)))
        const error = yield* Effect.flip(roundTrip(connection, { method: "POST", path: "/", body }))
        assert.deepInclude(error.reason, { _tag: "ResponseTimeout", phase: "headers" })
      })
    )

    it.live("does not run while the caller produces the request", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, ({ body }, socket) => void socket.write(answer(body)))
        const { connection } = yield* connectTo(server, { headersTimeout: 150 })
        const body = Stream.concat(
          Stream.make(bytes(1)),
          Stream.fromEffect(Effect.delay(Effect.succeed(bytes(1)), 400))
        )
        assert.strictEqual((yield* roundTrip(connection, { method: "POST", path: "/", body })).text, "xx")
      })
    )

    it.live("is not shortened by a keep-alive hint", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, async ({ nth }, socket) => {
          if (nth === 2) await pause(150)
          socket.write(answer("ok", "keep-alive: timeout=1\r\n"))
        })
        const { connection } = yield* connectTo(server, { keepAliveMargin: 950 })
        yield* roundTrip(connection)
        assert.strictEqual((yield* roundTrip(connection)).text, "ok")
      })
    )

    it.live("spares an answer that came while the event loop stood still", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, (_, socket) => {
          socket.write(answer("ok"))
          stall(60)
        })
        const { connection } = yield* connectTo(server, { headersTimeout: 20 })
        assert.strictEqual((yield* roundTrip(connection)).text, "ok")
      })
    )
  })

  describe("bodyTimeout", () => {
    it.live("cuts a server that hangs in mid-body", () =>
      Effect.gen(function* () {
        const server = yield* scripted(oracle, ["HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab"])
        const { connection, socket } = yield* connectTo(server, { bodyTimeout: 50 })
        const error = yield* Effect.flip(roundTrip(connection))
        assert.deepInclude(error.reason, { _tag: "ResponseTimeout", phase: "body" })
        assert.isTrue(error.responseStarted)
        assert.isTrue(socket.destroyed)
      })
    )

    it.live("starts again with every byte", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, async (_, socket) => {
          socket.write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")
          for (let i = 0; i < 10; i++) {
            await pause(20)
            socket.write("x")
          }
        })
        const { connection } = yield* connectTo(server, { bodyTimeout: 100 })
        assert.strictEqual((yield* roundTrip(connection)).text, "x".repeat(10))
      })
    )

    it.live("does not run while the caller is slow to read", () =>
      Effect.gen(function* () {
        const size = 4 * 1024 * 1024
        const server = yield* httpServer(oracle, (_, socket) => {
          socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${size}\r\n\r\n`)
          socket.write(bytes(size))
        })
        const { connection } = yield* connectTo(server, { bodyTimeout: 100 })
        const response = yield* HttpConnection.request(connection, get())
        yield* Effect.sleep(300)
        assert.strictEqual((yield* response.bytes).length, size)
      })
    )
  })

  describe("a request body", () => {
    it.live("whose stream fails ends the exchange", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, (_, socket) => void socket.write(answer("")))
        const { connection, socket } = yield* connectTo(server)
        const failures: ReadonlyArray<Stream.Stream<never, Error>> = [
          Stream.fail(new Error("broken")),
          Stream.die("broken")
        ]
        for (const failing of failures) {
          const body = Stream.concat(Stream.make(bytes(1)), failing)
          const error = yield* Effect.flip(roundTrip(connection, { method: "POST", path: "/", body }))
          if (failing === failures[0]) {
            assert.strictEqual(error.reason._tag, "RequestBodyFailed")
            assert.strictEqual(String(error.reason.cause), "Error: broken")
          }
          assert.isTrue(socket.destroyed)
        }
      })
    )

    it.live("must be as long as declared", () =>
      Effect.gen(function* () {
        for (const length of ["1", "3"]) {
          for (const body of ["ab", Stream.make(Buffer.from("ab"))]) {
            const server = yield* httpServer(oracle, (_, socket) => void socket.write(answer("")))
            const { connection } = yield* connectTo(server)
            const headers = { "content-length": length }
            const error = yield* Effect.flip(roundTrip(connection, { method: "POST", path: "/", headers, body }))
            assert.strictEqual(error.reason._tag, "InvalidRequest")
            // Bytes of a known length are compared before anything is written.
            assert.strictEqual(error.sent, typeof body === "string" ? "none" : "maybe")
            assert.strictEqual(connection.isOpen(), typeof body === "string")
          }
        }
      })
    )
  })

  describe("injection", () => {
    const rejected: Record<string, Partial<HttpConnection.HttpRequest>> = {
      "a line break in a header": { headers: { a: "b\r\nc: d" } },
      "a line feed in a header": { headers: { a: "b\nc: d" } },
      "a NUL in a header": { headers: { a: "b\0" } },
      "a line break in one of several values": { headers: { a: ["b", "c\r\nd: e"] } },
      "a line break in a header's name": { headers: { "a\r\nb": "c" } },
      "a space in a header's name": { headers: { "a b": "c" } },
      "a line break in the host": { headers: { host: "a\r\nb: c" } },
      "two hosts": { headers: { host: "a", Host: "b" } },
      "two lengths": { headers: { "content-length": ["1", "2"] } },
      "a length that is none": { headers: { "content-length": "1, 2" } },
      "a transfer-encoding": { headers: { "transfer-encoding": "chunked" } },
      "an upgrade": { headers: { upgrade: "websocket" } },
      "an expectation": { headers: { expect: "100-continue" } },
      "a line break in the path": { path: "/ HTTP/1.1\r\na: b" },
      "a space in the path": { path: "/a b" },
      "a path that does not start with a slash": { path: "a" },
      "a line break in the method": { method: "GET / HTTP/1.1\r\na: b" },
      "an empty method": { method: "" },
      "a tunnel": { method: "CONNECT", path: "a.test:443" }
    }
    for (const [name, part] of Object.entries(rejected)) {
      it.live(`is rejected before a byte is written: ${name}`, () =>
        Effect.gen(function* () {
          const server = yield* httpServer(oracle, (_, socket) => void socket.write(answer("ok")))
          const { connection, socket } = yield* connectTo(server)
          const error = yield* Effect.flip(roundTrip(connection, { ...get(), ...part }))
          assert.strictEqual(error.reason._tag, "InvalidRequest")
          assert.deepInclude(error, { sent: "none", responseStarted: false })
          if (part.method === "CONNECT") assert.include(error.message, "CONNECT is not supported")
          assert.strictEqual(socket.bytesWritten, 0)
          assert.strictEqual((yield* roundTrip(connection)).text, "ok")
        })
      )
    }

    it.live("any header, path and method is rejected or arrives as one request with nothing else", () =>
      Effect.gen(function* () {
        const seen: Array<Request> = []
        const server = yield* httpServer(oracle, (request, socket) => {
          seen.push(request)
          socket.write(answer("ok"))
        })
        const text = fc.oneof(
          fc.string({
            unit: fc.constantFrom("\r", "\n", "\0", " ", ":", "a", "/", "\t", "é", "\u{1f600}"),
            maxLength: 12
          }),
          fc.string({ maxLength: 12 })
        )
        const methods = fc.oneof(fc.constantFrom("GET", "POST", "OPTIONS", "PURGE"), text)
        const property = fc.asyncProperty(text, text, text, methods, async (name, value, path, method) => {
          seen.length = 0
          const request = {
            method,
            path: `/${path}`,
            headers: { [name === "" ? "x" : `x-${name}`]: value }
          }
          const program = Effect.scoped(
            Effect.flatMap(connectTo(server, { headersTimeout: 500 }), ({ connection, socket }) =>
              Effect.map(Effect.result(roundTrip(connection, request)), (result) => ({
                result,
                written: socket.bytesWritten
              }))
            )
          )
          const { result, written } = await Effect.runPromise(program)
          if (result._tag === "Failure") {
            assert.strictEqual(result.failure.reason._tag, "InvalidRequest")
            assert.strictEqual(written, 0)
          } else {
            assert.strictEqual(seen.length, 1)
            const { head, method, path } = seen[0]!
            assert.deepStrictEqual(
              [method, path],
              [request.method, Buffer.from(request.path, "latin1").toString("latin1")]
            )
            const names = head
              .split("\r\n")
              .slice(1)
              .map((line) => line.slice(0, line.indexOf(":")).toLowerCase())
            const expected = ["host", "connection", ...Object.keys(request.headers).map((name) => name.toLowerCase())]
            assert.deepStrictEqual(names.filter((name) => name !== "content-length").toSorted(), expected.toSorted())
          }
        })
        yield* Effect.promise(() => fc.assert(property, { numRuns: 300 }))
      })
    )
  })
})
