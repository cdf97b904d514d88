import { assert, describe, it } from "@effect/vitest"
import type * as Http2Connection from "@poolkit/http/Http2Connection"
import * as HttpConnection from "@poolkit/http/HttpConnection"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as SharedPool from "@poolkit/pool/SharedPool"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { ErrorCode } from "./fault/frames.ts"
import { get, pause } from "./http1.ts"
import {
  answer,
  connector,
  data,
  frameServer,
  goaway,
  head,
  http2Server,
  type Http2Server,
  onRequest,
  requestServer,
  rst,
  skipTo
} from "./http2.ts"
import { leakOracle } from "./leakOracle.ts"

const oracle = leakOracle()

type Options = Http2Connection.Http2Options & { readonly maxSize?: number }

const poolFor = (server: Http2Server, { maxSize = 1, ...options }: Options = {}) => {
  const connect = connector(server, options)
  return Effect.map(
    SharedPool.make({
      connect: () => Effect.map(connect(), ({ connection }) => connection),
      maxSize,
      concurrency: (connection) => connection.concurrency(),
      isOpen: (connection) => connection.isOpen(),
      watch: (connection, signals) => connection.watch(signals)
    }),
    oracle.pool
  )
}

type Pool = Effect.Success<ReturnType<typeof poolFor>>

const fetchText = (pool: Pool, request: HttpConnection.HttpRequest = get()) =>
  Effect.scoped(Effect.flatMap(HttpRequest.execute(pool, request), (response) => response.text))

const burst = (pool: Pool, count: number) =>
  Effect.forEach(
    Array.from({ length: count }, (_, i) => `/${i}`),
    (path) => Effect.map(fetchText(pool, get(path)), (text) => text === path),
    { concurrency: "unbounded" }
  )

describe("Http2Connection", () => {
  describe("in a pool", () => {
    for (const secure of [false, true]) {
      it.live(`carries a cold burst of 500 requests over one connection (${secure ? "TLS" : "plain"})`, () =>
        Effect.gen(function* () {
          const server = yield* requestServer(oracle, ({ path }, stream) => answer(stream, path), { secure })
          const pool = yield* poolFor(server)
          assert.isTrue((yield* burst(pool, 500)).every(Boolean))
          assert.strictEqual(server.accepted(), 1)
          assert.deepInclude(yield* pool.stats, { created: 1, borrowers: 0, idle: 1, used: 0 })
        })
      )
    }

    it.live("keeps the place of a request whose body is dropped until its rest is off the wire", () =>
      Effect.gen(function* () {
        const server = yield* http2Server(oracle, async (stream) => {
          stream.respond({ "content-length": 1_000 })
          stream.write("x".repeat(500))
          await pause(10)
          stream.end("x".repeat(500))
        })
        const pool = yield* poolFor(server, { maxConcurrentStreams: 1, drainTimeout: "5 seconds" })
        const drop = pool.use((connection) => Effect.scoped(HttpConnection.request(connection, get())))
        yield* Effect.all([drop, drop, drop], { concurrency: "unbounded" })
        assert.deepInclude(yield* pool.stats, { created: 1, borrowers: 0 })
      })
    )

    it.live("never has more streams open than the server allows", () =>
      Effect.gen(function* () {
        const seen = { open: 0, most: 0 }
        const server = yield* http2Server(
          oracle,
          (stream, headers) => {
            seen.most = Math.max(seen.most, ++seen.open)
            stream.on("close", () => seen.open--)
            setTimeout(() => answer(stream, headers[":path"]!), 2)
          },
          { settings: { maxConcurrentStreams: 8 } }
        )
        const pool = yield* poolFor(server)
        yield* fetchText(pool)
        assert.isTrue((yield* burst(pool, 200)).every(Boolean))
        assert.strictEqual(seen.most, 8)
        assert.strictEqual(server.accepted(), 1)
      })
    )

    it.live("waits while the server allows no stream, and goes on when it does", () =>
      Effect.gen(function* () {
        const server = yield* requestServer(oracle, ({ path }, stream) => answer(stream, path))
        const pool = yield* poolFor(server)
        yield* fetchText(pool)
        const session = yield* server.session
        const set = (maxConcurrentStreams: number) =>
          Effect.callback<void>((resume) => {
            session.settings({ maxConcurrentStreams }, () => resume(Effect.void))
          })
        yield* set(0)
        const waiting = yield* Effect.forkChild(burst(pool, 20), { startImmediately: true })
        yield* Effect.sleep(20)
        assert.strictEqual((yield* pool.stats).pending, 20)
        yield* set(4)
        assert.isTrue((yield* Fiber.join(waiting)).every(Boolean))
        assert.strictEqual(server.accepted(), 1)
      })
    )

    it.live("moves on to another connection when the server goes away", () =>
      Effect.gen(function* () {
        const server = yield* requestServer(oracle, ({ path }, stream) => {
          setTimeout(() => {
            if (path === "/3") stream.session?.close()
            answer(stream, path)
          }, 2)
        })
        const pool = yield* poolFor(server)
        for (let i = 0; i < 3; i++) {
          const texts = yield* burst(pool, 20)
          assert.isTrue(texts.every(Boolean))
        }
        assert.isAtMost(server.accepted(), 4)
        assert.isAtLeast(server.accepted(), 3)
      })
    )

    it.live("sends a refused request again, once, whatever its method", () =>
      Effect.gen(function* () {
        const seen: Array<number> = []
        const server = yield* frameServer(
          oracle,
          onRequest((id, { send }) => {
            seen.push(id)
            send(
              ...(seen.length === 1 || seen.length > 2
                ? [rst(id, ErrorCode.refusedStream)]
                : [head(id), data(id, "done", true)])
            )
          })
        )
        const pool = yield* poolFor(server)
        const post: HttpConnection.HttpRequest = { method: "POST", path: "/", body: "body" }
        assert.strictEqual(yield* fetchText(pool, post), "done")
        assert.strictEqual(seen.length, 2)
        const error = yield* Effect.flip(fetchText(pool, post))
        assert.strictEqual(error._tag, "HttpError")
        assert.strictEqual(seen.length, 4)
        assert.strictEqual(server.accepted(), 1)
      })
    )

    it.live("sends what a GOAWAY left out to another connection, and nothing twice", () =>
      Effect.gen(function* () {
        const seen: Array<string> = []
        const server = yield* frameServer(
          oracle,
          onRequest((id, { send }) => {
            const connection = server.accepted()
            seen.push(`${connection}:${id}`)
            if (connection > 1) return send(head(id), data(id, "second", true))
            if (id === 5) send(goaway(1), head(1), data(1, "first", true))
          })
        )
        const pool = yield* poolFor(server)
        const fiber = yield* Effect.forkChild(
          Effect.forEach([1, 2, 3], () => fetchText(pool, { method: "POST", path: "/", body: "x" }), {
            concurrency: "unbounded"
          }),
          { startImmediately: true }
        )
        assert.deepStrictEqual((yield* Fiber.join(fiber)).sort(), ["first", "second", "second"])
        assert.deepStrictEqual(seen, ["1:1", "1:3", "1:5", "2:1", "2:3"])
      })
    )

    it.live("does not send again what the server may have acted on", () =>
      Effect.gen(function* () {
        const seen = { requests: 0 }
        const server = yield* frameServer(
          oracle,
          onRequest((id, { send, socket }) => {
            seen.requests++
            if (seen.requests % 2 === 1) send(rst(id, ErrorCode.internalError))
            else socket.end()
          })
        )
        const pool = yield* poolFor(server)
        for (let i = 1; i <= 2; i++) {
          const error = yield* Effect.flip(fetchText(pool))
          assert.strictEqual(error._tag, "HttpError")
          assert.strictEqual(seen.requests, i)
        }
      })
    )

    it.live("opens another connection when ids run out or too many streams were reset, without a failure", () =>
      Effect.gen(function* () {
        const server = yield* requestServer(oracle, ({ path }, stream) => {
          if (path !== "/never") answer(stream, path)
        })
        const connect = connector(server, { maxResets: 5 })
        const pool = oracle.pool(
          yield* SharedPool.make({
            connect: () =>
              Effect.map(connect(), ({ connection, socket }) => {
                skipTo(socket, 2 ** 31 - 1 - 2 * 1_010)
                return connection
              }),
            maxSize: 1,
            concurrency: (connection) => connection.concurrency(),
            isOpen: (connection) => connection.isOpen(),
            watch: (connection, signals) => connection.watch(signals)
          })
        )
        for (let i = 0; i < 50; i++) assert.strictEqual(yield* fetchText(pool, get(`/${i}`)), `/${i}`)
        const afterIds = server.accepted()
        assert.isAtLeast(afterIds, 4)
        for (let i = 0; i < 20; i++) {
          const fiber = yield* Effect.forkChild(fetchText(pool, get("/never")), { startImmediately: true })
          yield* Effect.sleep(2)
          yield* Fiber.interrupt(fiber)
        }
        assert.isAtLeast(server.accepted() - afterIds, 3)
        assert.strictEqual(yield* fetchText(pool, get("/last")), "/last")
      })
    )

    it.live("gives its slots back when requests are interrupted at any moment", () =>
      Effect.gen(function* () {
        const server = yield* requestServer(
          oracle,
          async ({ path }, stream) => {
            await pause(Number(path.slice(1)) % 3)
            answer(stream, "x".repeat(1_000))
          },
          { settings: { maxConcurrentStreams: 10 } }
        )
        const pool = yield* poolFor(server, { maxResets: 10_000 })
        for (let round = 0; round < 20; round++) {
          const fibers = yield* Effect.forEach(Array.from({ length: 30 }), (_, i) =>
            Effect.forkChild(fetchText(pool, get(`/${i}`)), { startImmediately: i % 2 === 0 })
          )
          for (let i = 0; i < round % 5; i++) yield* Effect.sleep(1)
          yield* Fiber.interruptAll(fibers)
          assert.deepInclude(yield* pool.stats, { borrowers: 0, pending: 0 })
        }
        assert.strictEqual(yield* fetchText(pool), "x".repeat(1_000))
        assert.strictEqual(server.accepted(), 1)
      })
    )

    it.live("keeps a connection for a body that is being read, and frees it at its end", () =>
      Effect.gen(function* () {
        const server = yield* http2Server(oracle, (stream) => {
          stream.respond({})
          stream.write("a")
          setTimeout(() => stream.end("b"), 10)
        })
        const pool = yield* poolFor(server)
        const response = yield* HttpRequest.execute(pool, get())
        assert.strictEqual((yield* pool.stats).borrowers, 1)
        assert.strictEqual(yield* Stream.mkString(Stream.decodeText(response.stream)), "ab")
        assert.strictEqual((yield* pool.stats).borrowers, 0)
      })
    )
  })
})
