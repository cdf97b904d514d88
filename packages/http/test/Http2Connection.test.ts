import { assert, describe, it } from "@effect/vitest"
import * as Http2Connection from "@poolkit/http/Http2Connection"
import * as HttpConnection from "@poolkit/http/HttpConnection"
import * as SocketConnector from "@poolkit/http/SocketConnector"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import { execFile } from "node:child_process"
import { Socket } from "node:net"
import { promisify } from "node:util"
import { certificates } from "./certificates.ts"
import { get, roundTrip } from "./http1.ts"
import { answer, connectTo, http2Server, requestServer } from "./http2.ts"
import { leakOracle } from "./leakOracle.ts"
import { rawServer, tlsServer } from "./servers.ts"

const oracle = leakOracle()

const run = promisify(execFile)
const source = (module: string) => new URL(`../src/${module}.ts`, import.meta.url).href

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

    it.live("resumes its caller when node's HTTP/2 has returned, which must not be entered again", () =>
      Effect.gen(function* () {
        const server = yield* requestServer(oracle, (_, stream) => answer(stream, "ok"))
        const { connection } = yield* connectTo(server)
        const { stackTraceLimit } = Error
        Error.stackTraceLimit = 100
        yield* HttpConnection.request(connection, get())
        const { stack } = new Error("here")
        Error.stackTraceLimit = stackTraceLimit
        assert.include(stack, "Immediate")
        assert.notInclude(stack, "node:internal/http2")
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

  describe("make", () => {
    it.live("fails where ALPN did not agree on h2", () =>
      Effect.gen(function* () {
        for (const [offered, chosen] of [
          [["h2", "http/1.1"], "http/1.1"],
          [undefined, false]
        ] as const) {
          const server = yield* tlsServer(oracle, { ...certificates.server, ALPNProtocols: ["http/1.1"] }, () => {})
          const tcp = SocketConnector.tcp({ host: "127.0.0.1", port: server.port })
          const socket = yield* SocketConnector.tls(tcp, { ca: certificates.ca, alpn: offered })()
          assert.strictEqual(socket.alpnProtocol, chosen)
          const error = yield* Effect.flip(Http2Connection.make(socket))
          assert.strictEqual(error._tag, "SocketError")
          assert.deepInclude(error.reason, { _tag: "Tls", code: "ALPN_NOT_H2" })
        }
      })
    )

    it.live("fails where the socket is not open", () =>
      Effect.gen(function* () {
        const server = yield* rawServer(oracle, () => {})
        const socket = yield* SocketConnector.tcp({ host: "127.0.0.1", port: server.port })()
        socket.destroy()
        for (const closed of [socket, new Socket()]) {
          const error = yield* Effect.flip(Http2Connection.make(closed))
          assert.deepInclude(error.reason, { _tag: "Reset", code: "CLOSED" })
        }
      })
    )

    it.effect("dies on a bad option and names it", () =>
      Effect.gen(function* () {
        const bad: ReadonlyArray<readonly [string, Http2Connection.Http2Options]> = [
          ["maxConcurrentStreams", { maxConcurrentStreams: 0 }],
          ["headersTimeout", { headersTimeout: -1 }],
          ["bodyTimeout", { bodyTimeout: Number.NaN }],
          ["maxHeaderBytes", { maxHeaderBytes: 0 }],
          ["maxInformational", { maxInformational: 1.5 }],
          ["maxDrainBytes", { maxDrainBytes: -1 }],
          ["drainTimeout", { drainTimeout: -1 }],
          ["maxResets", { maxResets: 0 }],
          ["pingInterval", { pingInterval: 0 }],
          ["pingTimeout", { pingTimeout: 0 }],
          ["streamWindow", { streamWindow: 65_534 }],
          ["connectionWindow", { connectionWindow: 2 ** 31 }]
        ]
        for (const [name, options] of bad) {
          const exit = yield* Effect.exit(Effect.scoped(Http2Connection.make(new Socket(), options)))
          assert.isTrue(Exit.isFailure(exit))
          assert.include(String(Exit.isFailure(exit) ? Cause.squash(exit.cause) : ""), name)
        }
      })
    )
  })

  describe("an idle connection", () => {
    it.live("does not keep the process alive, and one with a request does", () =>
      Effect.gen(function* () {
        const server = yield* http2Server(oracle, (stream, headers) => {
          if (headers[":path"] === "/late") setTimeout(() => answer(stream, "late"), 100)
          else answer(stream, "now")
        })
        const script = `
          import * as Http2Connection from ${JSON.stringify(source("Http2Connection"))}
          import * as HttpConnection from ${JSON.stringify(source("HttpConnection"))}
          import * as Effect from ${JSON.stringify(import.meta.resolve("effect/Effect"))}
          import * as Net from "node:net"
          const socket = Net.connect(${server.port}, "127.0.0.1")
          socket.once("connect", () => Effect.runFork(Effect.scoped(Effect.gen(function* () {
            const connection = yield* Http2Connection.make(socket, { headersTimeout: Infinity, bodyTimeout: Infinity })
            for (const path of ["/", "/late"]) {
              const response = yield* HttpConnection.request(connection, { method: "GET", path })
              console.log(yield* response.text)
            }
            yield* Effect.callback(() => {})
          }))))`
        const output = yield* Effect.promise(() =>
          run(process.execPath, ["--input-type=module", "-e", script], { timeout: 20_000 })
        )
        assert.strictEqual(output.stdout, "now\nlate\n")
      })
    )
  })
})
