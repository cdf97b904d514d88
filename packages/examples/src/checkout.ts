/**
 * A program that somebody might want to test: it reserves stock through a pool
 * and says what it does when no connection comes in time or one is lost.
 */
import type { ConnectionPool } from "@poolkit/pool"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"

export interface StockConnection {
  readonly reserve: (item: string) => Effect.Effect<string, ConnectionLost>
}

export class ConnectionLost extends Data.TaggedError("ConnectionLost") {}

export class Stock extends Context.Service<
  Stock,
  ConnectionPool.ConnectionPool<void, StockConnection, ConnectionLost>
>()("examples/checkout/Stock") {}

/** Reserves an item; tries once more on another connection if the first is lost. */
export const checkout = Effect.fn("checkout")(function* (item: string) {
  const stock = yield* Stock
  const reserve = stock.use((connection, lease) => Effect.tapError(connection.reserve(item), () => lease.invalidate))
  return yield* reserve.pipe(
    Effect.retry({ times: 1, while: (error) => error._tag === "ConnectionLost" }),
    Effect.catchReason("PoolError", "WaitTimeout", () => Effect.succeed("busy, please try again")),
    Effect.orDie
  )
})
