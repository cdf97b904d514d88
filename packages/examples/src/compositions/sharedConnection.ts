/**
 * One connection to one host, shared by all. The first callers wait for one
 * attempt; when the connection is lost, the next caller opens another one.
 */
import { SingletonPool } from "@poolkit/pool"
import * as Effect from "effect/Effect"
import { connect, serve } from "../support/keyValue.ts"

export const makePool = (port: number) =>
  SingletonPool.make({
    connect: () => connect(port),
    isOpen: (connection) => connection.isOpen(),
    watch: (connection, { retire }) => connection.onClose(retire)
  })

export const program = Effect.gen(function* () {
  const server = yield* serve
  const pool = yield* makePool(server.port)
  const query = pool.use((connection) => connection.send("GET key"))

  yield* Effect.replicateEffect(query, 200, { concurrency: "unbounded" })
  const shared = server.accepted()

  server.hangUp()
  yield* Effect.repeat(pool.stats, { until: ({ idle }) => idle === 0 })
  yield* Effect.replicateEffect(query, 200, { concurrency: "unbounded" })
  return { shared, afterRestart: server.accepted() - shared }
}).pipe(Effect.scoped)

if (import.meta.main) console.log(await Effect.runPromise(program))
