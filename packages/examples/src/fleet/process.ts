/**
 * One process of the fleet. It shares a budget of connections with the others
 * and keeps 30 fibers busy, or none, as its standard input says.
 *
 * Arguments: its name, the address of Redis, the port of the database, the budget.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { CachePool, ConnectionLimit } from "@poolkit/pool"
import { RedisLimitStore } from "@poolkit/redis"
import * as Effect from "effect/Effect"
import { connect, query } from "./database.ts"

const [name, redis, port, budget] = process.argv.slice(2) as [string, string, string, string]

const program = Effect.gen(function* () {
  const limit = yield* ConnectionLimit.makeStored({ key: "database", max: Number(budget), leaseTime: "1 second" })
  const pool = yield* CachePool.make({
    connect: () => connect(Number(port), name),
    maxSize: 30,
    limit,
    watch: (socket, { retire }) => void socket.once("close", retire)
  })

  let busy = true
  process.stdin.setEncoding("utf8").on("data", (word: string) => (busy = word.trim() === "busy"))
  // It does not outlive the program that started it.
  process.stdin.once("end", () => process.exit())

  const work = Effect.suspend(() => (busy ? Effect.ignore(pool.use(query)) : Effect.sleep("20 millis")))
  yield* Effect.replicateEffect(Effect.forever(work), 30, { concurrency: "unbounded", discard: true })
}).pipe(
  Effect.scoped,
  // No other process can know of leases yet, so there is nothing to wait for. Leave `gracePeriod` out elsewhere.
  Effect.provide(RedisLimitStore.layerStoreNodeRedis({ url: redis, gracePeriod: 0 }))
)

NodeRuntime.runMain(program)
