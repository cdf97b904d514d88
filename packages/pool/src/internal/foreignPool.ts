/**
 * `InnerPool` for a pool that is not of this package: what can be known of it
 * through the contract.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { ConnectionPool } from "../ConnectionPool.ts"
import { type InnerPool, innerPool } from "./innerPool.ts"

export const innerPoolOf = (
  pool: ConnectionPool<void, unknown, unknown>
): Effect.Effect<InnerPool, never, Scope.Scope> => {
  const own = innerPool(pool)
  return own === undefined ? observed(pool) : Effect.succeed(own)
}

const observed = (pool: ConnectionPool<void, unknown, unknown>): Effect.Effect<InnerPool, never, Scope.Scope> =>
  Effect.flatMap(Effect.context<never>(), (context) =>
    Effect.flatMap(pool.stats, (stats) => {
      let lendable = stats.idle + stats.used
      let idle = stats.idle
      const count = (open: number, unused: number) => {
        lendable += open
        idle += unused
      }
      const run = Effect.runForkWith(context)
      const self: InnerPool = {
        // Borrowing is the only way to make it connect.
        openOne: () => {
          const fiber = run(Effect.exit(pool.use(() => Effect.void)))
          return Effect.callback((resume) => {
            fiber.addObserver((exit) => resume(Exit.isSuccess(exit) ? exit : Effect.succeed(exit)))
          })
        },
        lendable: () => lendable,
        idle: () => idle,
        canLend: () => idle > 0,
        isWaking: () => false,
        stopAsking: () => {},
        keepWhile: () => {},
        arrived: () => {}
      }
      const observe = pool.observe({
        connected: () => count(1, 1),
        evicted: (info) => count(-1, info.borrowers === 0 ? -1 : 0),
        borrowed: (info) => count(0, info.borrowers === 1 ? -1 : 0),
        returned: (info) => count(0, info.borrowers === 0 ? 1 : 0)
      })
      return Effect.as(observe, self)
    })
  )
