import { assert, describe, it } from "@effect/vitest"
import * as ConnectionPool from "@poolkit/pool/ConnectionPool"
import { HttpError } from "@poolkit/http/HttpError"
import * as HttpPool from "@poolkit/http/HttpPool"
import * as PooledHttpClient from "@poolkit/http/PooledHttpClient"
import { SocketError } from "@poolkit/http/SocketError"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { HttpBody, HttpClient, type HttpClientError, HttpClientRequest } from "effect/http"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { Readable } from "node:stream"
import { inspect } from "node:util"
import { certificates } from "./certificates.ts"
import { echo, type Handler, say } from "./dropIn/lab.ts"
import { atRest, withClient, withServer } from "./dropIn/pooled.ts"
import { leakOracle } from "./leakOracle.ts"
import { answer, httpServer, tlsServer } from "./servers.ts"

const oracle = leakOracle()

const text = (url: string) => Effect.flatMap(HttpClient.get(url), (response) => response.text)

/** The cause of the transport error that a request fails with. */
const causeOf = <R>(request: Effect.Effect<unknown, HttpClientError.HttpClientError, R>) =>
  Effect.map(Effect.flip(request), (error) => {
    assert.strictEqual(error.reason._tag, "TransportError")
    assert.strictEqual(error.cause, error.reason.cause)
    return error.reason.cause
  })

/** Answers when the test says so. */
const held = () => {
  const gate = Promise.withResolvers<void>()
  const handler: Handler = async (request, response) => {
    await gate.promise
    say("ok")(request, response)
  }
  return { handler, open: Effect.sync(() => gate.resolve()) }
}

describe("PooledHttpClient", () => {
  describe("a raw stream of Node", () => {
    it.live("that fails while its request waits in line fails the request, not the process", () => {
      const { handler, open } = held()
      return withServer(oracle, "http/1.1", handler, { maxSizePerOrigin: 1 }, ({ pool, url }) =>
        Effect.gen(function* () {
          const first = yield* Effect.forkChild(text(url))
          while ((yield* pool.stats).used === 0) yield* Effect.sleep(1)
          const body = new Readable({ read() {} })
          const second = yield* Effect.forkChild(Effect.flip(HttpClient.post(url, { body: HttpBody.raw(body) })))
          while ((yield* pool.stats).pending === 0) yield* Effect.sleep(1)
          body.destroy(new Error("disk"))
          yield* Effect.sleep(1)
          yield* open
          assert.strictEqual(yield* Fiber.join(first), "ok")
          assert.include(inspect(yield* Fiber.join(second)), "Error: disk")
        })
      )
    })
  })

  describe("pooling", () => {
    for (const protocol of ["http/1.1", "h2"] as const) {
      it.live(`uses one connection for requests that follow each other over ${protocol}`, () =>
        withServer(oracle, protocol, echo, {}, ({ pool, url }) =>
          Effect.gen(function* () {
            for (let i = 0; i < 20; i++) yield* text(`${url}/${i}`)
            assert.deepInclude(yield* pool.stats, { created: 1, reused: 19, idle: 1, borrowers: 0 })
          })
        )
      )
    }

    it.live(
      "shares one connection among concurrent requests over HTTP/2, and has up to maxSizePerOrigin over HTTP/1.1",
      () =>
        Effect.gen(function* () {
          const burst = (url: string) =>
            Effect.forEach(Array.from({ length: 40 }), () => text(url), { concurrency: 40 })
          yield* withServer(oracle, "h2", say("x"), { maxSizePerOrigin: 3 }, ({ pool, url }) =>
            Effect.gen(function* () {
              yield* burst(url)
              assert.strictEqual((yield* pool.stats).created, 1)
            })
          )
          yield* withServer(oracle, "http/1.1", say("x"), { maxSizePerOrigin: 3 }, ({ pool, url }) =>
            Effect.gen(function* () {
              yield* burst(url)
              assert.strictEqual((yield* pool.stats).created, 3)
            })
          )
        })
    )

    it.live("sends a request again whose idle connection turned out to be closed, unless its body was taken", () => {
      const seen: Array<string> = []
      return Effect.gen(function* () {
        const server = yield* httpServer(oracle, ({ index, method, nth }, socket) => {
          seen.push(`${method} ${index}.${nth}`)
          // The second request on a connection is read, and the connection reset.
          if (nth === 2) socket.resetAndDestroy()
          else socket.write(answer("ok"))
        })
        yield* withClient(oracle, {}, () =>
          Effect.gen(function* () {
            assert.strictEqual(yield* text(server.origin), "ok")
            assert.strictEqual(yield* text(server.origin), "ok")
            assert.deepStrictEqual(seen, ["GET 1.1", "GET 2.2", "GET 3.1"])
            const body = HttpBody.stream(Stream.succeed(Buffer.from("x")))
            const cause = yield* causeOf(HttpClient.put(server.origin, { body }))
            assert(cause instanceof HttpError && cause.reason._tag === "ConnectionLost")
            assert.deepStrictEqual(seen.slice(3), ["PUT 4.2"])
          })
        )
      })
    })
  })

  describe("errors", () => {
    it.live("has the pool's report as the cause when the line is full, or the wait too long", () => {
      const { handler, open } = held()
      const options = { maxSizePerOrigin: 1, maxPending: 1, waitTimeout: "50 millis" } as const
      return withServer(oracle, "http/1.1", handler, options, ({ pool, url }) =>
        Effect.gen(function* () {
          const first = yield* Effect.forkChild(text(url))
          while ((yield* pool.stats).used === 0) yield* Effect.sleep(1)
          const second = yield* Effect.forkChild(causeOf(HttpClient.get(url)))
          while ((yield* pool.stats).pending === 0) yield* Effect.sleep(1)

          const full = yield* causeOf(HttpClient.get(url))
          assert(full instanceof ConnectionPool.PoolError && full.reason._tag === "QueueFull")
          assert.strictEqual(full.reason.maxPending, 1)

          const late = yield* Fiber.join(second)
          assert(late instanceof ConnectionPool.PoolError && late.reason._tag === "WaitTimeout")
          assert.strictEqual(late.reason.phase, "wait")
          assert.deepInclude(late.reason.stats, { used: 1 })

          yield* open
          assert.strictEqual(yield* Fiber.join(first), "ok")
          yield* atRest(pool)
        })
      )
    })

    it.live("lets retryTransient retry what the pool could not serve", () => {
      const { handler, open } = held()
      return withServer(oracle, "http/1.1", handler, { maxSizePerOrigin: 1, maxPending: 1 }, ({ pool, url }) =>
        Effect.gen(function* () {
          const first = yield* Effect.forkChild(text(url))
          while ((yield* pool.stats).used === 0) yield* Effect.sleep(1)
          const second = yield* Effect.forkChild(text(url))
          while ((yield* pool.stats).pending === 0) yield* Effect.sleep(1)
          const client = HttpClient.retryTransient(yield* HttpClient.HttpClient, { schedule: Schedule.spaced(5) })
          const patient = yield* Effect.forkChild(client.get(url))
          yield* Effect.sleep(10)
          yield* open
          assert.strictEqual((yield* Fiber.join(patient)).status, 200)
          yield* Fiber.joinAll([first, second])
        })
      )
    })

    it.live("has the socket's error as the cause when there is no connection", () =>
      withClient(oracle, {}, () =>
        Effect.gen(function* () {
          const dns = yield* causeOf(HttpClient.get("http://nobody.invalid/"))
          assert(dns instanceof SocketError)
          assert.strictEqual(dns.reason._tag, "Dns")
          const server = yield* tlsServer(oracle, certificates.expired, () => {})
          const tls = yield* causeOf(HttpClient.get(server.origin))
          assert(tls instanceof SocketError)
          assert.strictEqual(tls.reason._tag, "Tls")
        })
      )
    )

    it.live("has the exchange's error as the cause when a request, its body or the response fails", () =>
      withServer(
        oracle,
        "http/1.1",
        (_, response) => response.cut(),
        {},
        ({ url }) =>
          Effect.gen(function* () {
            const reasons: Array<string> = []
            const broken = HttpBody.stream(Stream.fail("spoiled"))
            for (const request of [
              HttpClientRequest.post(url, { headers: { upgrade: "h2c", "bad header": "x" } }),
              HttpClientRequest.post(url, { headers: { "bad header": "x" } }),
              HttpClientRequest.post(url, { body: HttpBody.raw(1) }),
              HttpClientRequest.get("ftp://127.0.0.1/"),
              HttpClientRequest.post(url, { body: broken }),
              HttpClientRequest.post(url)
            ]) {
              const cause = yield* causeOf(HttpClient.execute(request))
              assert(cause instanceof HttpError)
              reasons.push(cause.reason._tag)
            }
            assert.deepStrictEqual(reasons, [
              "InvalidRequest",
              "InvalidRequest",
              "InvalidRequest",
              "InvalidRequest",
              "RequestBodyFailed",
              "ConnectionLost"
            ])
          })
      )
    )

    it.live("has the exchange's error as the cause of what a body fails with", () =>
      withServer(
        oracle,
        "http/1.1",
        async (_, response) => {
          response.head(200, { "content-length": "10" })
          response.write("some")
          await new Promise((resolve) => setTimeout(resolve, 2))
          response.cut()
        },
        {},
        ({ url }) =>
          Effect.gen(function* () {
            const error = yield* Effect.flip(text(url))
            assert.strictEqual(error.reason._tag, "DecodeError")
            assert(error.cause instanceof HttpError && error.cause.reason._tag === "ConnectionLost")
          })
      )
    )

    it.live("fails requests with Closed when the pool is gone", () =>
      Effect.gen(function* () {
        const client = yield* Effect.scoped(Effect.map(HttpPool.make(), (pool) => PooledHttpClient.make(pool)))
        const cause = yield* causeOf(client.get("http://127.0.0.1:1/"))
        assert(cause instanceof ConnectionPool.PoolError && cause.reason._tag === "Closed")
      })
    )
  })

  describe("layer", () => {
    it.live("has a pool of its own, made as told, which closes with it", () =>
      withServer(oracle, "http/1.1", say("ok"), {}, ({ pool, url }) =>
        Effect.gen(function* () {
          yield* Effect.provide(text(url), PooledHttpClient.layer({ maxSizePerOrigin: 1 }))
          assert.strictEqual((yield* pool.stats).created, 0)
          yield* oracle.clientsClosed
        })
      )
    )

    it.live("rejects bad options where it is built", () =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(
          Effect.provide(text("http://127.0.0.1:1/"), PooledHttpClient.layer({ maxSizePerOrigin: 0 }))
        )
        assert.include(String(exit), "maxSizePerOrigin")
      })
    )
  })

  describe("layerNoPool", () => {
    it.live("uses the program's pool, which shows what is going on", () =>
      withServer(oracle, "http/1.1", say("ok"), {}, ({ url }) =>
        Effect.gen(function* () {
          assert.strictEqual(yield* text(url), "ok")
          const pool = yield* HttpPool.HttpPool
          assert.deepInclude(yield* pool.stats, { created: 1, idle: 1 })
        }).pipe(Effect.provide(PooledHttpClient.layerNoPool().pipe(Layer.provideMerge(HttpPool.layer()))))
      )
    )

    it.live("can be built over several pools in one program", () =>
      withServer(oracle, "http/1.1", say("ok"), {}, ({ url }) =>
        Effect.gen(function* () {
          const over = (maxSizePerOrigin: number) =>
            Effect.gen(function* () {
              yield* text(url)
              return (yield* (yield* HttpPool.HttpPool).stats).maxSize
            }).pipe(
              Effect.provide(
                PooledHttpClient.layerNoPool().pipe(Layer.provideMerge(HttpPool.layer({ maxSize: maxSizePerOrigin })))
              )
            )
          assert.deepStrictEqual(yield* Effect.all([over(3), over(5)]), [3, 5])
        })
      )
    )
  })
})
