/**
 * How a pool opens a connection, and policies that wrap one connector into
 * another.
 *
 * @since 0.1.0
 */
import type { TimeoutError } from "effect/Cause"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"

/**
 * Opens a new connection to `target`. Closing the `Scope` it may require
 * closes the connection.
 *
 * **Details**
 *
 * A pool's `get` is a connector too, which is how kinds stack.
 *
 * @category models
 * @since 0.1.0
 */
export type Connector<in Target, out Conn, out E = never, out R = never> = (target: Target) => Effect.Effect<Conn, E, R>

/**
 * Where a pool collects what {@link annotate} attaches to the connection that
 * is being opened. Outside a pool annotations go nowhere.
 *
 * @category annotations
 * @since 0.1.0
 */
export const Annotations: Context.Reference<Map<string, unknown> | undefined> = Context.Reference<
  Map<string, unknown> | undefined
>("@poolkit/pool/Connector/Annotations", { defaultValue: () => undefined })

/**
 * Attaches facts to each connection that `connect` opens, such as its
 * address. They appear in `ConnectionInfo.annotations`.
 *
 * @category policies
 * @since 0.1.0
 */
export const annotate: {
  <Target, Conn>(
    facts: (connection: Conn, target: Target) => Readonly<Record<string, unknown>>
  ): <T extends Target, C extends Conn, E, R>(connect: Connector<T, C, E, R>) => Connector<T, C, E, R>
  <Target, Conn, E, R>(
    connect: Connector<Target, Conn, E, R>,
    facts: (connection: Conn, target: Target) => Readonly<Record<string, unknown>>
  ): Connector<Target, Conn, E, R>
} = dual(
  2,
  <Target, Conn, E, R>(
    connect: Connector<Target, Conn, E, R>,
    facts: (connection: Conn, target: Target) => Readonly<Record<string, unknown>>
  ): Connector<Target, Conn, E, R> =>
    (target) =>
      Effect.tap(connect(target), (connection) =>
        Effect.map(Annotations, (annotations) => {
          if (annotations === undefined) return
          for (const [key, value] of Object.entries(facts(connection, target))) annotations.set(key, value)
        })
      )
)

/**
 * Fails an attempt with `TimeoutError` when it takes longer than `duration`.
 *
 * **When to use**
 *
 * Use for a deadline on a part of a connector; the whole attempt already has
 * the pool's `connectTimeout`.
 *
 * @category policies
 * @since 0.1.0
 */
export const timeout: {
  (
    duration: Duration.Input
  ): <Target, Conn, E, R>(
    connect: Connector<Target, Conn, E, R>
  ) => Connector<Target, Conn, E | TimeoutError, R | Scope.Scope>
  <Target, Conn, E, R>(
    connect: Connector<Target, Conn, E, R>,
    duration: Duration.Input
  ): Connector<Target, Conn, E | TimeoutError, R | Scope.Scope>
} = dual(
  2,
  <Target, Conn, E, R>(
    connect: Connector<Target, Conn, E, R>,
    duration: Duration.Input
  ): Connector<Target, Conn, E | TimeoutError, R | Scope.Scope> =>
    (target) =>
      inOwnScope(Effect.timeout(connect(target), duration))
)

/**
 * Tries again on failure, as often as `schedule` says. What a failed try had
 * opened is closed before the next one starts.
 *
 * **Gotchas**
 *
 * Pools already space failed attempts with their `backoff` and let the next
 * waiter try; use this only where one caller must not see a passing failure.
 *
 * @category policies
 * @since 0.1.0
 */
export const retry: {
  <E, ES, RS>(
    schedule: Schedule.Schedule<unknown, NoInfer<E>, ES, RS>
  ): <Target, Conn, R>(connect: Connector<Target, Conn, E, R>) => Connector<Target, Conn, E | ES, R | RS | Scope.Scope>
  <Target, Conn, E, R, ES, RS>(
    connect: Connector<Target, Conn, E, R>,
    schedule: Schedule.Schedule<unknown, NoInfer<E>, ES, RS>
  ): Connector<Target, Conn, E | ES, R | RS | Scope.Scope>
} = dual(
  2,
  <Target, Conn, E, R, ES, RS>(
    connect: Connector<Target, Conn, E, R>,
    schedule: Schedule.Schedule<unknown, NoInfer<E>, ES, RS>
  ): Connector<Target, Conn, E | ES, R | RS | Scope.Scope> =>
    (target) =>
      Effect.retry(inOwnScope(Effect.suspend(() => connect(target))), schedule)
)

/**
 * Lets at most `permits` attempts of this connector run at once, over all the
 * pools that were given the result. The others wait, first come first served,
 * within their attempt's `connectTimeout`.
 *
 * @category policies
 * @since 0.1.0
 */
export const limitConnecting: {
  (permits: number): <Target, Conn, E, R>(connect: Connector<Target, Conn, E, R>) => Connector<Target, Conn, E, R>
  <Target, Conn, E, R>(connect: Connector<Target, Conn, E, R>, permits: number): Connector<Target, Conn, E, R>
} = dual(
  2,
  <Target, Conn, E, R>(connect: Connector<Target, Conn, E, R>, permits: number): Connector<Target, Conn, E, R> => {
    if (!Number.isInteger(permits) || permits < 1) {
      throw new RangeError(`Connector.limitConnecting: permits must be an integer of at least 1, got ${permits}`)
    }
    const semaphore = Semaphore.makeUnsafe(permits)
    return (target) => semaphore.withPermits(1)(connect(target))
  }
)

/**
 * Runs one try in a scope of its own, which closes at once when the try fails
 * and lives on in the caller's scope when it succeeds. Without it the leftovers
 * of every failed try would stay open until the whole attempt ends.
 */
const inOwnScope = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.flatMap(Effect.scope, (parent) => {
      const scope = Scope.forkUnsafe(parent)
      return Effect.onExit(restore(Scope.provide(self, scope)), (exit) =>
        exit._tag === "Success" ? Effect.void : Scope.close(scope, exit)
      )
    })
  )
