/**
 * Two kinds, and a choice between them by what a connection turned out to be.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { type ConnectionPool, map } from "./ConnectionPool.ts"
import type { Connector } from "./Connector.ts"
import { Negotiation } from "./internal/negotiation.ts"
import { innerPoolOf } from "./internal/foreignPool.ts"
import { makePart, TwoSides } from "./internal/twoSides.ts"

/**
 * A connection, and which side it came from.
 *
 * @category models
 * @since 0.1.0
 */
export type Negotiated<F, U> =
  | { readonly _tag: "Fallback"; readonly connection: F }
  | { readonly _tag: "Upgraded"; readonly connection: U }

/**
 * Options of a negotiation.
 *
 * @category options
 * @since 0.1.0
 */
export interface NegotiatePoolOptions<B, E, R, F, EF, RF, U, EU, RU> {
  /** Opens a connection of which nobody knows yet what it is. */
  readonly connect: Connector<void, B, E, R>
  /** Whether the upgrade side is to have the connection. */
  readonly inspect: (connection: B) => boolean
  /** Builds the pool for connections that `inspect` accepts; a shared kind. */
  readonly upgrade: (
    connect: Connector<void, B, E, Scope.Scope>
  ) => Effect.Effect<ConnectionPool<void, U, EU>, never, RU>
  /** Builds the pool for all others. */
  readonly fallback: (
    connect: Connector<void, B, E, Scope.Scope>
  ) => Effect.Effect<ConnectionPool<void, F, EF>, never, RF>
}

/**
 * Makes a pool that lends connections of either side, tagged with the side.
 *
 * **Details**
 *
 * While a connection of the upgrade side is open, calls share it and nothing is
 * opened. Otherwise the fallback side lends what it has, or a connection is
 * opened and goes to the side that `inspect` picks. A cold burst makes one probe
 * for all: the callers wait for it in order, then share the upgrade or fan out
 * on the fallback. The outcome is remembered until a connection contradicts it.
 * Errors of either side pass unchanged.
 *
 * **Gotchas**
 *
 * The wait for the probe and the wait on the side that it picks count together
 * against the `waitTimeout` of each side. A pool that is not of this package
 * counts from when it is asked.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <B, E, R, F, EF, RF, U, EU, RU>(
  options: NegotiatePoolOptions<B, E, R, F, EF, RF, U, EU, RU>
): Effect.Effect<
  ConnectionPool<void, Negotiated<F, U>, EF | EU>,
  never,
  Exclude<R | RF | RU, Scope.Scope> | Scope.Scope
> =>
  negotiate(
    options,
    map((connection: U): Negotiated<F, U> => ({ _tag: "Upgraded", connection })),
    map((connection: F): Negotiated<F, U> => ({ _tag: "Fallback", connection }))
  )

/**
 * Makes a pool that lends connections of either side as they are.
 *
 * **When to use**
 *
 * Use when both sides have an interface in common; see {@link make} for the rest.
 * `Layer.effect(tag, makeMerged(options))` is its layer.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeMerged = <B, E, R, F, EF, RF, U, EU, RU>(
  options: NegotiatePoolOptions<B, E, R, F, EF, RF, U, EU, RU>
): Effect.Effect<ConnectionPool<void, F | U, EF | EU>, never, Exclude<R | RF | RU, Scope.Scope> | Scope.Scope> =>
  negotiate<B, E, R, F, EF, RF, U, EU, RU, F | U>(
    options,
    (pool) => pool,
    (pool) => pool
  )

/**
 * Makes a layer that provides a negotiation as `tag`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, B, E, R, F, EF, RF, U, EU, RU>(
  tag: Context.Service<I, ConnectionPool<void, Negotiated<F, U>, EF | EU>>,
  options: NegotiatePoolOptions<B, E, R, F, EF, RF, U, EU, RU>
): Layer.Layer<I, never, Exclude<R | RF | RU, Scope.Scope>> => Layer.effect(tag, make(options)) as never

const negotiate = <B, E, R, F, EF, RF, U, EU, RU, C>(
  options: NegotiatePoolOptions<B, E, R, F, EF, RF, U, EU, RU>,
  upgraded: (pool: ConnectionPool<void, U, EU>) => ConnectionPool<void, C, EU>,
  fallenBack: (pool: ConnectionPool<void, F, EF>) => ConnectionPool<void, C, EF>
): Effect.Effect<ConnectionPool<void, C, EF | EU>, never, Exclude<R | RF | RU, Scope.Scope> | Scope.Scope> =>
  Effect.gen(function* () {
    // Without this scope: each connection has its own.
    const context = Context.omit(Scope.Scope)(yield* Effect.context<Scope.Scope>())
    const negotiation = new Negotiation<B, E>(
      Effect.provideContext(
        Effect.suspend(() => options.connect()),
        context
      ) as Effect.Effect<B, E, Scope.Scope>,
      options.inspect
    )
    const upgrade = yield* options.upgrade(negotiation.connector("upgrade"))
    const fallback = yield* options.fallback(negotiation.connector("fallback"))
    const inner = { upgrade: yield* innerPoolOf(upgrade), fallback: yield* innerPoolOf(fallback) }
    const sides = new TwoSides<C, EF | EU>(
      negotiation,
      { upgrade: makePart(upgrade, upgraded), fallback: makePart(fallback, fallenBack) },
      inner,
      Effect.runForkWith(context)
    )
    // Runs before the sides close one after the other, and begins both drains at once.
    yield* Effect.addFinalizer(() => sides.drain())
    return sides
  }) as never
