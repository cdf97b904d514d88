import { assert, describe, it } from "@effect/vitest"
import * as Http1Pool from "@poolkit/http/Http1Pool"
import type * as HttpConnection from "@poolkit/http/HttpConnection"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Net from "node:net"
import { bytes, get, pause } from "./http1.ts"
import { leakOracle } from "./leakOracle.ts"
import { answer, httpServer, nextTurn, rawServer, type Request, type Server, serveRequests, stall } from "./servers.ts"

const oracle = leakOracle()

const poolFor = (server: Server, options: Partial<Http1Pool.Http1PoolOptions> = {}) =>
  Effect.map(Http1Pool.make({ origin: server.origin, ...options }), oracle.pool)

const fetchText = (pool: Http1Pool.Http1Pool, request: HttpConnection.HttpRequest = get()) =>
  Effect.scoped(Effect.flatMap(HttpRequest.execute(pool, request), (response) => response.text))

const post = (body: HttpConnection.HttpRequest["body"] = "body"): HttpConnection.HttpRequest => ({
  method: "POST",
  path: "/",
  body
})

/** Keeps counting requests while it serves a connection as `serve` says. */
const counted = (serve: (request: Request, socket: Net.Socket) => void) =>
  Effect.suspend(() => {
    const seen: Array<string> = []
    return Effect.map(
      httpServer(oracle, (request, socket) => {
        seen.push(`${request.method} ${request.nth}`)
        serve(request, socket)
      }),
      (server) => ({ server, seen })
    )
  })

describe("HttpRequest", () => {
  describe("execute", () => {
    it.live("uses one connection for requests that follow each other", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, ({ path }, socket) => void socket.write(answer(path)))
        const pool = yield* poolFor(server)
        for (let i = 0; i < 50; i++) assert.strictEqual(yield* fetchText(pool, get(`/${i}`)), `/${i}`)
        assert.strictEqual(server.accepted(), 1)
        assert.deepInclude(yield* pool.stats, { created: 1, reused: 49, idle: 1, borrowers: 0 })
      })
    )

    it.live("needs no second connection for a request that follows at once on a body", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, async (_, socket) => {
          socket.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
          await pause(1)
          socket.write("cd")
        })
        const pool = yield* poolFor(server)
        yield* Effect.scoped(
          Effect.gen(function* () {
            // All in one scope: what gives the connection back is the end of the body.
            for (let i = 0; i < 20; i++) {
              const response = yield* HttpRequest.execute(pool, get())
              const text =
                i % 2 === 0 ? yield* response.text : yield* Stream.mkString(Stream.decodeText(response.stream))
              assert.strictEqual(text, "abcd")
            }
          })
        )
        assert.strictEqual(server.accepted(), 1)
      })
    )

    it.live("gives a connection back when a small answer has come, read or not", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, (_, socket) => void socket.write(answer("small")))
        const pool = yield* poolFor(server, { maxSize: 1 })
        const kept = yield* Effect.scoped(
          Effect.gen(function* () {
            const responses: Array<HttpConnection.HttpResponse> = []
            for (let i = 0; i < 5; i++) responses.push(yield* HttpRequest.execute(pool, get()))
            return responses
          })
        )
        assert.strictEqual(yield* kept[0]!.text, "small")
        assert.strictEqual(server.accepted(), 1)
      })
    )

    it.live("leaves nothing of finished exchanges in a scope that stays open", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, (_, socket) => {
          socket.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
        })
        const pool = yield* poolFor(server)
        const scope = yield* Scope.make()
        for (let i = 0; i < 3; i++) {
          const response = yield* Scope.provide(HttpRequest.execute(pool, get()), scope)
          assert.strictEqual(scope.state._tag, "Open")
          ;(yield* server.peer).write("cd")
          assert.strictEqual(yield* response.text, "abcd")
          assert.strictEqual(scope.state._tag, "Empty")
        }
      })
    )

    it.live("shares maxSize connections among many callers", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, ({ path }, socket) => void socket.write(answer(path)))
        const pool = yield* poolFor(server, { maxSize: 3 })
        const texts = yield* Effect.forEach(
          Array.from({ length: 100 }, (_, i) => `/${i}`),
          (path) => fetchText(pool, get(path)),
          { concurrency: 20 }
        )
        assert.deepStrictEqual(
          texts,
          Array.from({ length: 100 }, (_, i) => `/${i}`)
        )
        assert.isAtMost(server.accepted(), 3)
      })
    )

    it.live("passes a connection on after each way that a response can end", () =>
      Effect.gen(function* () {
        const chunk = "x".repeat(1_000)
        const server = yield* httpServer(oracle, async ({ path }, socket) => {
          if (path === "/next") return void socket.write(answer("next"))
          socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + chunk)
          await pause(5)
          socket.write(chunk)
        })
        const pool = yield* poolFor(server, { maxSize: 1, http1: { drainTimeout: "5 seconds" } })
        const ways: Record<string, Effect.Effect<unknown, unknown, Scope.Scope>> = {
          "never read": HttpRequest.execute(pool, get()),
          "half read": Effect.flatMap(HttpRequest.execute(pool, get()), (response) => Stream.runHead(response.stream)),
          discarded: Effect.flatMap(HttpRequest.execute(pool, get()), (response) => response.discard),
          "interrupted while waiting": Effect.timeoutOption(HttpRequest.execute(pool, get()), 1),
          "interrupted while reading": Effect.flatMap(HttpRequest.execute(pool, get()), (response) =>
            Effect.timeoutOption(response.text, 1)
          ),
          "failed by its user": Effect.flatMap(HttpRequest.execute(pool, get()), () => Effect.fail("user")),
          "died by its user": Effect.flatMap(HttpRequest.execute(pool, get()), () => Effect.die("user"))
        }
        for (const [name, way] of Object.entries(ways)) {
          yield* Effect.exit(Effect.scoped(way))
          assert.strictEqual(yield* fetchText(pool, get("/next")), "next", name)
          assert.deepInclude(yield* pool.stats, { used: 0, borrowers: 0, pending: 0 }, name)
        }
      })
    )

    it.live("lets garbage collection give a connection back", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, ({ nth }, socket) => {
          socket.write(nth === 1 ? "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nx" : answer("ok"))
        })
        const pool = yield* poolFor(server, { maxSize: 1 })
        const scope = yield* Scope.make()
        // The scope stays open; nobody keeps the response.
        yield* Effect.asVoid(Scope.provide(HttpRequest.execute(pool, get()), scope))
        assert.strictEqual((yield* pool.stats).used, 1)
        while ((yield* pool.stats).used > 0) {
          globalThis.gc!()
          yield* Effect.sleep(1)
        }
        yield* Scope.close(scope, Exit.void)
      })
    )

    it.live("interrupted at any instant loses neither connections nor callers", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, async ({ path }, socket) => {
          if (path === "/last") return void socket.write(answer("ok"))
          socket.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
          await pause(1)
          socket.write("cd")
        })
        const pool = yield* poolFor(server, { maxSize: 2 })
        for (const budget of [3, 4, 5, 7, 11, 64]) {
          for (let turns = 0; turns < 12; turns++) {
            const fibers = yield* Effect.forEach([1, 2, 3], () =>
              fetchText(pool).pipe(Effect.provideService(Scheduler.MaxOpsBeforeYield, budget), Effect.forkChild)
            )
            for (let turn = 0; turn < turns; turn++) yield* nextTurn
            yield* Fiber.interruptAll(fibers)
          }
        }
        assert.deepStrictEqual(
          yield* Effect.forEach([1, 2, 3], () => fetchText(pool, get("/last")), { concurrency: 3 }),
          ["ok", "ok", "ok"]
        )
        assert.deepInclude(yield* pool.stats, { used: 0, borrowers: 0, pending: 0 })
      })
    )
  })

  describe("a connection that turns out to be closed", () => {
    it.live("before anything was written costs no request of any kind", () =>
      Effect.gen(function* () {
        for (const request of [get(), post(), post(Stream.make(bytes(3)))]) {
          for (const end of ["destroy", "resetAndDestroy"] as const) {
            const { seen, server } = yield* counted((_, socket) => void socket.write(answer("ok")))
            const pool = yield* poolFor(server)
            yield* fetchText(pool)
            ;(yield* server.peer)[end]()
            stall(5)
            assert.strictEqual(yield* fetchText(pool, request), "ok")
            assert.deepStrictEqual(seen, ["GET 1", `${request.method} 1`])
            assert.strictEqual(server.accepted(), 2)
          }
        }
      })
    )

    it.live("and so are all others, costs no request either", () =>
      Effect.gen(function* () {
        const peers: Array<Net.Socket> = []
        const server = yield* rawServer(oracle, (socket) => {
          peers.push(socket)
          serveRequests(async (_, socket) => {
            await pause(5)
            socket.write(answer("ok"))
          })(socket)
        })
        const pool = yield* poolFor(server)
        yield* Effect.forEach([1, 2, 3, 4, 5], () => fetchText(pool), { concurrency: 5 })
        assert.strictEqual(peers.length, 5)
        for (const peer of peers) peer.destroy()
        stall(5)
        assert.strictEqual(yield* fetchText(pool, post()), "ok")
      })
    )

    it.live("never gives a request the bytes that came before it", () =>
      Effect.gen(function* () {
        const server = yield* httpServer(oracle, ({ path }, socket) => void socket.write(answer(path)))
        const pool = yield* poolFor(server)
        for (let i = 0; i < 10; i++) {
          yield* fetchText(pool, get("/first"))
          ;(yield* server.peer).write(answer("poison"))
          stall(60)
          assert.strictEqual(yield* fetchText(pool, get(`/${i}`)), `/${i}`)
        }
        assert.strictEqual(server.accepted(), 11)
      })
    )
  })

  describe("a request that may have been received", () => {
    const hangUp = (_: Request, socket: Net.Socket) => void socket.destroy()
    /** Answers the first request of each connection, and hangs up on the second. */
    const hangUpOnReuse = ({ nth }: Request, socket: Net.Socket) =>
      nth === 1 ? void socket.write(answer("ok")) : void socket.destroy()

    it.live("is sent again once if it was the first victim of a reused connection and is idempotent", () =>
      Effect.gen(function* () {
        for (const method of ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]) {
          const { seen, server } = yield* counted(hangUpOnReuse)
          const pool = yield* poolFor(server)
          yield* fetchText(pool)
          const body = method === "PUT" ? "body" : undefined
          yield* fetchText(pool, { method, path: "/", body })
          assert.deepStrictEqual(seen, ["GET 1", `${method} 2`, `${method} 1`])
        }
      })
    )

    it.live("is not sent again if it is not idempotent", () =>
      Effect.gen(function* () {
        for (const method of ["POST", "PATCH"]) {
          const { seen, server } = yield* counted(hangUpOnReuse)
          const pool = yield* poolFor(server)
          yield* fetchText(pool)
          const error = yield* Effect.flip(fetchText(pool, { method, path: "/", body: "x" }))
          assert.deepInclude(error, { _tag: "HttpError", sent: "maybe", responseStarted: false })
          assert.deepStrictEqual(seen, ["GET 1", `${method} 2`])
        }
      })
    )

    it.live("is not sent again if its body is a stream", () =>
      Effect.gen(function* () {
        const { seen, server } = yield* counted(hangUpOnReuse)
        const pool = yield* poolFor(server)
        yield* fetchText(pool)
        const error = yield* Effect.flip(fetchText(pool, { method: "PUT", path: "/", body: Stream.make(bytes(3)) }))
        assert.deepInclude(error, { _tag: "HttpError", sent: "maybe" })
        assert.deepStrictEqual(seen, ["GET 1", "PUT 2"])
      })
    )

    it.live("is not sent again if the connection was a fresh one", () =>
      Effect.gen(function* () {
        const { seen, server } = yield* counted(hangUp)
        const pool = yield* poolFor(server)
        const error = yield* Effect.flip(fetchText(pool))
        assert.deepInclude(error, { _tag: "HttpError", sent: "maybe", responseStarted: false })
        assert.deepStrictEqual(seen, ["GET 1"])
      })
    )

    it.live("is not sent again once a byte of an answer came", () =>
      Effect.gen(function* () {
        for (const part of ["H", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"]) {
          const { seen, server } = yield* counted(({ nth }, socket) => {
            if (nth === 1) socket.write(answer("ok"))
            else socket.end(part)
          })
          const pool = yield* poolFor(server)
          yield* fetchText(pool)
          const error = yield* Effect.flip(fetchText(pool))
          assert.deepInclude(error, { _tag: "HttpError", responseStarted: true })
          assert.deepStrictEqual(seen, ["GET 1", "GET 2"])
        }
      })
    )

    it.live("is not sent a third time", () =>
      Effect.gen(function* () {
        const { seen, server } = yield* counted(({ nth, path }, socket) => {
          if (nth === 1 && path === "/warm") setTimeout(() => socket.write(answer("ok")), 5)
          else socket.destroy()
        })
        const pool = yield* poolFor(server)
        yield* Effect.forEach([1, 2, 3], () => fetchText(pool, get("/warm")), { concurrency: 3 })
        seen.length = 0
        const error = yield* Effect.flip(fetchText(pool))
        assert.deepInclude(error, { _tag: "HttpError", sent: "maybe" })
        assert.deepStrictEqual(seen, ["GET 2", "GET 1"])
      })
    )

    it.live("is not sent again after a timeout or an invalid answer", () =>
      Effect.gen(function* () {
        for (const second of ["", "nonsense\r\n\r\n"]) {
          const { seen, server } = yield* counted(({ nth }, socket) => {
            socket.write(nth === 1 ? answer("ok") : second)
          })
          const pool = yield* poolFor(server, { http1: { headersTimeout: 50 } })
          yield* fetchText(pool)
          yield* Effect.flip(fetchText(pool))
          assert.deepStrictEqual(seen, ["GET 1", "GET 2"])
        }
      })
    )
  })

  describe("a server that hangs up on every connection", () => {
    it.live("is not asked for ever", () =>
      Effect.gen(function* () {
        const server = yield* rawServer(oracle, (socket) => socket.destroy())
        const pool = yield* poolFor(server)
        const error = yield* Effect.flip(fetchText(pool))
        assert.strictEqual(error._tag, "HttpError")
        assert.isAtMost(server.accepted(), 2)
      })
    )
  })

  describe("the end of a pool", () => {
    it.live("ends the exchanges on its connections", () =>
      Effect.gen(function* () {
        const asked = yield* Deferred.make<void>()
        const server = yield* httpServer(oracle, () => Deferred.doneUnsafe(asked, Exit.void))
        const scope = yield* Scope.make()
        const pool = yield* Scope.provide(poolFor(server), scope)
        const fiber = yield* Effect.forkChild(Effect.flip(fetchText(pool)))
        yield* Deferred.await(asked)
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* Fiber.join(fiber))._tag, "HttpError")
        assert.strictEqual((yield* Effect.flip(fetchText(pool)))._tag, "PoolError")
      })
    )
  })
})
