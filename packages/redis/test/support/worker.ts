/**
 * One process of a fleet: fibers that keep a pool of connections to the
 * counting server busy, under a limit in Redis. Ends with its standard input.
 */
import { NodeRuntime } from "@effect/platform-node"
import { CachePool, ConnectionLimit } from "@poolkit/pool"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import { RedisLimitStore } from "../../src/index.ts"
import type { WorkerOptions } from "./fleet.ts"

const options = JSON.parse(process.argv[2]!) as WorkerOptions

/** Its close has ended when the server has seen it. */
const connect: Effect.Effect<Net.Socket, Error, Scope.Scope> = Effect.acquireRelease(
  Effect.callback<Net.Socket, Error>((resume) => {
    const socket = Net.connect({ port: options.port, host: "127.0.0.1", noDelay: true })
    socket.once("connect", () => {
      socket.setEncoding("utf8").write(`${options.name}\n`)
      resume(Effect.succeed(socket))
    })
    socket.on("error", (error) => resume(Effect.fail(error)))
    return Effect.sync(() => socket.destroy())
  }),
  (socket) =>
    Effect.callback<void>((resume) => {
      if (socket.destroyed) return resume(Effect.void)
      socket.once("close", () => resume(Effect.void))
      socket.end().resume()
    })
)

const request = (socket: Net.Socket): Effect.Effect<void, Error> =>
  Effect.callback<void, Error>((resume) => {
    const lost = () => resume(Effect.fail(new Error("connection lost")))
    socket.once("data", () => {
      socket.off("close", lost)
      resume(Effect.void)
    })
    socket.once("close", lost)
    socket.write("go\n")
  })

const program = Effect.gen(function* () {
  const limit = yield* ConnectionLimit.makeStored({
    key: options.key,
    max: options.max,
    leaseTime: options.leaseTime,
    onStoreError: options.onStoreError
  })
  const pool = yield* CachePool.make({
    connect: () => connect,
    maxSize: 50,
    limit,
    waitTimeout: "60 seconds",
    watch: (socket, { retire }) => void socket.once("close", retire)
  })
  yield* Effect.forkScoped(
    Effect.forever(
      Effect.andThen(
        Effect.sleep(100),
        Effect.map(limit.stats, ({ lastError, ...stats }) => {
          process.stdout.write(`${JSON.stringify({ ...stats, error: lastError?.message })}\n`)
        })
      )
    )
  )
  const one = Effect.ignore(pool.use(request))
  yield* Effect.replicateEffect(Effect.forever(one), options.fibers, { concurrency: "unbounded", discard: true }).pipe(
    Effect.timeoutOption(options.busyFor ?? "1 day"),
    Effect.andThen(Effect.never)
  )
}).pipe(
  Effect.scoped,
  Effect.provide(RedisLimitStore.layerStoreNodeRedis({ url: options.redis, gracePeriod: options.gracePeriod }))
)

process.stdin.on("end", () => process.exit()).resume()
NodeRuntime.runMain(program)
