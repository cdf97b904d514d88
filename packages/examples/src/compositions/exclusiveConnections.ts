/**
 * A pool of exclusive connections to one host. Each query has a connection to
 * itself; what comes back is used again, so 200 queries need 5 connections.
 */
import { CachePool } from "@poolkit/pool"
import * as Effect from "effect/Effect"
import { connect, serve } from "../support/keyValue.ts"

export const makePool = (port: number) =>
  CachePool.make({
    connect: () => connect(port),
    maxSize: 5,
    isOpen: (connection) => connection.isOpen(),
    watch: (connection, { retire }) => connection.onClose(retire)
  })

export const program = Effect.gen(function* () {
  const server = yield* serve
  const pool = yield* makePool(server.port)
  const query = pool.use((connection) => connection.send("GET key"))

  yield* Effect.replicateEffect(query, 200, { concurrency: 50 })
  const busy = server.accepted()

  // The server restarts: what was idle is gone, and nobody notices.
  server.hangUp()
  yield* Effect.repeat(pool.stats, { until: ({ idle }) => idle === 0 })
  const answer = yield* query
  return { busy, answer, afterRestart: server.accepted() - busy }
}).pipe(Effect.scoped)

if (import.meta.main) console.log(await Effect.runPromise(program))
