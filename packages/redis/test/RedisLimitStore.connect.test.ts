/** What `layerStoreNodeRedis` does where there is no Redis, where it hangs, and where it goes away. */
import { assert, describe, it } from "@effect/vitest"
import { ConnectionLimit } from "@poolkit/pool"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import { leakOracle } from "../../http/test/leakOracle.ts"
import { redis } from "../../http/test/servers/redis.ts"
import { missing } from "../../http/test/servers/serverProcess.ts"
import { RedisLimitStore } from "../src/index.ts"
import { eventually, proxy } from "./support/fleet.ts"

leakOracle()

const quietly = Effect.provideService(References.MinimumLogLevel, "None")

/** A process: a limit with a store connection of its own. Gives its stats. */
const limit = Effect.fnUntraced(function* (
  options: RedisLimitStore.NodeRedisLimitStoreOptions,
  limitOptions: Partial<ConnectionLimit.StoredLimitOptions> = {}
) {
  const services = yield* Layer.build(RedisLimitStore.layerStoreNodeRedis({ gracePeriod: 0, ...options }))
  const made = yield* Effect.provide(
    ConnectionLimit.makeStored({ key: "db", max: 3, leaseTime: "600 millis", ...limitOptions }),
    services
  )
  return () => Effect.runSync(made.stats)
})

/** A server that is no Redis. */
const listen = (serve: (socket: Net.Socket) => void): Effect.Effect<number, never, Scope.Scope> =>
  Effect.gen(function* () {
    const sockets = new Set<Net.Socket>()
    const server = Net.createServer((socket) => {
      sockets.add(socket.on("error", () => {}))
      serve(socket)
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          for (const socket of sockets) socket.destroy()
        })
    )
    return (server.address() as Net.AddressInfo).port
  })

/** How long it takes to interrupt `program`; milliseconds. */
const timeToEnd = <A, E>(program: Effect.Effect<A, E>, ready: Effect.Effect<unknown>): Effect.Effect<number> =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(quietly(program))
    yield* ready
    const from = performance.now()
    yield* Fiber.interrupt(fiber)
    return performance.now() - from
  })

describe.skipIf(missing("redis-server"))("RedisLimitStore", () => {
  describe("layerStoreNodeRedis", () => {
    for (const [what, serve, message] of [
      ["is silent", () => {}, /no answer within 200ms/],
      ["greets", (socket) => void socket.write("220 ready\r\n"), /no answer within 200ms/],
      ["answers one thing only", (socket) => void socket.write("+OK\r\n".repeat(9)), /no answer within 200ms/],
      ["hangs up", (socket) => void socket.end(), /it hung up; check that it is a Redis, and whether it wants TLS/],
      ["speaks HTTP", (socket) => void socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"), /it hung up/]
    ] as ReadonlyArray<readonly [string, (socket: Net.Socket) => void, RegExp]>) {
      it.live(`a server that ${what} is an error within connectTimeout`, () =>
        Effect.gen(function* () {
          const port = yield* listen(serve)
          const from = performance.now()
          const url = `redis://127.0.0.1:${port}`
          const error = yield* Effect.flip(quietly(Effect.scoped(limit({ url, connectTimeout: "200 millis" }))))
          assert.isBelow(performance.now() - from, 1_000)
          assert.match(error.message, message)
          assert.isTrue(error.message.startsWith(`Redis at ${url}, the store of connection limits: `), error.message)
        })
      )
    }

    for (const url of [
      "localhost:6379",
      "user:s3cret@localhost:6379",
      "http://:s3cret@localhost/",
      "redis://:s3cret@localhost/x"
    ]) {
      it.live(`${url} is an error that does not show what may be a password`, () =>
        Effect.gen(function* () {
          const { message } = yield* Effect.flip(quietly(Effect.scoped(limit({ url }))))
          assert.notMatch(message, /s3cret/)
          assert.match(message, /use redis:\/\/user:password@host:port\/database|Invalid pathname/)
        })
      )
    }

    it.live("a program that is interrupted while it connects to a Redis that hangs ends at once", () =>
      Effect.gen(function* () {
        const server = yield* redis()
        yield* server.pause
        const url = server.url
        assert.isBelow(yield* timeToEnd(Effect.scoped(limit({ url })), Effect.sleep(200)), 500)
      })
    )

    for (const how of ["hangs", "is gone"] as const) {
      it.live(`a program whose Redis ${how} while it subscribes ends after a sixth of the lease`, () =>
        Effect.gen(function* () {
          const server = yield* redis()
          const gate = yield* proxy(server.port)
          let made = false
          const program = Effect.gen(function* () {
            yield* limit({ url: `redis://127.0.0.1:${gate.port}` })
            if (how === "hangs") gate.pause()
            else gate.cut()
            made = true
            return yield* Effect.never
          })
          const ready = Effect.andThen(
            eventually(
              5,
              () => made,
              () => "not made"
            ),
            Effect.sleep(300)
          )
          assert.isBelow(yield* timeToEnd(Effect.scoped(program), ready), 1_000)
        })
      )
    }

    it.live("while Redis is away both connections are tried again at least every half second", () =>
      Effect.gen(function* () {
        const server = yield* redis()
        const gate = yield* proxy(server.port)
        yield* Effect.gen(function* () {
          yield* limit({ url: `redis://127.0.0.1:${gate.port}` }, { leaseTime: "30 seconds" })
          yield* eventually(
            5,
            () => gate.attempts().length === 2,
            () => "not connected"
          )
          gate.cut()
          yield* Effect.sleep(3_000)
          const attempts = gate.attempts()
          assert.isAtLeast(attempts.length, 2 + 2 * 5)
          const gaps = attempts.slice(2).map((at, i) => at - attempts[i]!)
          // Every other one is of the same connection; the first is the time before the cut.
          assert.isBelow(Math.max(...gaps.slice(2)), 900)
        }).pipe(Effect.scoped, quietly)
      })
    )

    it.live("a Redis that vanished without a word, and is there for whoever comes, costs no lease", () =>
      Effect.gen(function* () {
        const server = yield* redis()
        const gate = yield* proxy(server.port)
        yield* Effect.gen(function* () {
          const stats = yield* limit({ url: `redis://127.0.0.1:${gate.port}` }, { leaseTime: "3 seconds" })
          gate.freeze()
          const seen = new Set<unknown>()
          yield* eventually(
            5,
            () => {
              seen.add(stats().lease)
              return stats().failures > 0 && stats().lease === "held"
            },
            () => JSON.stringify(stats())
          )
          assert.deepStrictEqual([...seen], ["held", "failing"])
        }).pipe(Effect.scoped, quietly)
      })
    )

    it.live("stats and one line in the log say why Redis is away", () =>
      Effect.gen(function* () {
        const server = yield* redis()
        const logs: Array<string> = []
        const logger = Logger.make<unknown, void>(({ message }) => void logs.push(String([message].flat()[0])))
        yield* Effect.gen(function* () {
          const stats = yield* limit({ url: server.url }, { leaseTime: "6 seconds" })
          yield* server.kill
          yield* Effect.sleep(1_000)
          yield* eventually(
            4,
            () => stats().failures > 1,
            () => JSON.stringify(stats())
          )
          assert.match(stats().lastError?.message ?? "", /nothing listens there; check host.*ECONNREFUSED/)
        }).pipe(Effect.scoped, Effect.provide(Logger.layer([logger])))
        assert.deepStrictEqual(logs, [`connection limit "db": an exchange with the store failed`])
      })
    )
  })
})
