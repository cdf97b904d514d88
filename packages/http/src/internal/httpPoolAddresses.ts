/** The pool of an origin that has several addresses, each of which has its time to answer. */
import * as BalancePool from "@poolkit/pool/BalancePool"
import type { ConnectionLimit } from "@poolkit/pool/ConnectionLimit"
import { type ConnectionPool, PoolError, WaitTimeout } from "@poolkit/pool/ConnectionPool"
import type { Connector } from "@poolkit/pool/Connector"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Stream } from "effect/Stream"
import type { HttpConnection } from "../HttpConnection.ts"

interface Options<E, R, EP, RP> {
  readonly addresses: Stream<ReadonlyArray<string>, unknown>
  readonly connect: Connector<string, HttpConnection, E, R>
  /** Milliseconds; `Infinity` where the connector has a deadline of its own. */
  readonly connectTimeout: number
  readonly closeTimeout: Duration.Input | undefined
  readonly limit: ConnectionLimit
  readonly pool: (
    connect: Connector<void, HttpConnection, E, Scope.Scope>,
    limit: ConnectionLimit
  ) => Effect.Effect<ConnectionPool<void, HttpConnection, EP>, never, RP>
}

/** Where no address answers in time, callers get what a pool's own deadline ends with. */
export const spreadOver = <E, R, EP, RP>(options: Options<E, R, EP, RP>) =>
  Effect.suspend(() => {
    let pool: ConnectionPool<void, HttpConnection, EP> | undefined
    const duration = Duration.millis(options.connectTimeout)
    const tooLate = Effect.flatMap(
      Effect.suspend(() => pool!.stats),
      (stats) =>
        Effect.fail(
          new PoolError({
            reason: new WaitTimeout({ phase: "connect", after: duration, stats, lastFailure: undefined })
          })
        )
    )
    return BalancePool.make({
      addresses: options.addresses,
      connect: (address: string) =>
        options.connectTimeout === Infinity
          ? options.connect(address)
          : Effect.timeoutOrElse(options.connect(address), { duration, orElse: () => tooLate }),
      // Not this one, whose error callers do not expect.
      connectTimeout: Infinity,
      closeTimeout: options.closeTimeout,
      limit: options.limit,
      pool: (connect, { limit }) =>
        Effect.tap(options.pool(connect as Connector<void, HttpConnection, E, Scope.Scope>, limit), (made) =>
          Effect.sync(() => {
            pool = made
          })
        )
    })
  })
