/**
 * A scoped request workflow: a transaction runs several requests on one
 * borrowed connection while another fiber waits for it, and fails in the
 * middle. The connection is in an unknown state then, so its borrower
 * invalidates it; the waiting fiber is served by a new one.
 */
import { CachePool } from "@poolkit/pool"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { connect, serve } from "./support/keyValue.ts"

export const program = Effect.scoped(
  Effect.gen(function* () {
    const server = yield* serve
    const pool = yield* CachePool.make({ connect: () => connect(server.port), maxSize: 1 })

    const transfer = Effect.scoped(
      Effect.gen(function* () {
        const { connection, invalidate } = yield* pool.lease()
        return yield* Effect.gen(function* () {
          yield* connection.send("BEGIN")
          yield* connection.send("SET alice 50")
          yield* connection.send("GIVE bob 50") // the server does not know this command
          yield* connection.send("COMMIT")
        }).pipe(Effect.tapCause(() => invalidate))
      })
    )

    yield* pool.use((connection) => connection.send("SET alice 100"))
    const transferring = yield* Effect.forkChild(transfer, { startImmediately: true })
    const waiting = yield* Effect.forkChild(
      pool.use((connection) => connection.send("GET alice")),
      { startImmediately: true }
    )
    const { pending } = yield* pool.stats

    const failure = yield* Effect.flip(Fiber.join(transferring))
    const balance = yield* Fiber.join(waiting)
    const { created, closed } = yield* pool.stats
    const lines = [
      `while the transfer ran, ${pending} caller waited`,
      `the transfer failed: ${failure.message}`,
      `alice still has ${balance}; ${created} connections opened, ${closed} closed`
    ]
    yield* Effect.forEach(lines, (line) => Console.log(line))
    return lines
  })
)

if (import.meta.main) await Effect.runPromise(program)
