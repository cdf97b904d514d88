/**
 * Laws that every pool must pass, for those who write a kind of their own.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import type { ConnectionPool } from "../ConnectionPool.ts"
import type { Connector } from "../Connector.ts"
import { borrowing } from "../internal/laws/borrowing.ts"
import { closing } from "../internal/laws/closing.ts"
import { connecting } from "../internal/laws/connecting.ts"
import { evicting } from "../internal/laws/evicting.ts"
import { exclusive } from "../internal/laws/exclusive.ts"
import { observing } from "../internal/laws/observing.ts"
import { equal, type Laws, type Scene, settle, settled, sorted } from "../internal/laws/scene.ts"
import { shared } from "../internal/laws/shared.ts"
import * as TestConnector from "./TestConnector.ts"

/**
 * One law. `law` succeeds if the pool keeps it and dies with a message that
 * says what was broken if not.
 *
 * @category models
 * @since 0.1.0
 */
export interface Law {
  readonly name: string
  readonly law: Effect.Effect<void, unknown>
}

/**
 * What {@link laws} must know about a kind.
 *
 * @category options
 * @since 0.1.0
 */
export interface LawsOptions<C, E> {
  /**
   * Makes a new pool over `connect`, with the options of your choice. `waitTimeout`
   * and `backoff` must be shorter than an hour.
   */
  readonly make: (
    connect: Connector<void, TestConnector.TestConnection, TestConnector.TestConnectError, Scope.Scope>
  ) => Effect.Effect<ConnectionPool<void, C, E>, never, Scope.Scope>
  /** Whether several borrowers may hold the same connection. */
  readonly shared: boolean
  /** How many connections the pool opens at most. */
  readonly maxSize: number
}

/**
 * The laws for one kind, as effects that need nothing.
 *
 * **When to use**
 *
 * Use in the tests of a pool of your own, or of a stack of pools.
 *
 * **Details**
 *
 * Each law makes a new pool over a new scripted peer, under a `TestClock` of
 * its own, so laws run under any test runner, in any order, without waiting.
 * At its end each law closes the pool and checks that all that was opened is
 * closed and that all levels of the stats are zero. A law never waits for what
 * a broken pool does not do: it dies and says what it waited for.
 *
 * **Example** (Checking a kind with vitest)
 *
 * ```ts
 * import { it } from "@effect/vitest"
 * import { CachePool } from "@poolkit/pool"
 * import { PoolLaws } from "@poolkit/pool/testing"
 *
 * const laws = PoolLaws.laws({
 *   make: (connect) => CachePool.make({ connect, maxSize: 8 }),
 *   shared: false,
 *   maxSize: 8
 * })
 * for (const { law, name } of laws) it.effect(name, () => law)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const laws = <C, E>(options: LawsOptions<C, E>): ReadonlyArray<Law> =>
  [...ofAll, ...(options.shared ? shared : exclusive)].map(([name, law]) => ({ name, law: check(options, law) }))

const ofAll: Laws = [...borrowing, ...evicting, ...connecting, ...observing, ...closing]

const check = <C, E>(options: LawsOptions<C, E>, law: Laws[number][1]): Effect.Effect<void, unknown> =>
  Effect.gen(function* () {
    const peer = TestConnector.makeUnsafe()
    const scope = Scope.makeUnsafe()
    const pool: ConnectionPool<void, unknown, unknown> = yield* Scope.provide(options.make(peer.connect), scope)
    const close = Scope.close(scope, Exit.void)
    const scene: Scene = { peer, pool, maxSize: options.maxSize, close }
    yield* law(scene)
    yield* settled(Effect.forkChild(close), "hour", "closing the pool's scope")
    yield* settle
    equal(sorted(peer.closed()), sorted(peer.opened()), "the connections closed at the end, and those opened")
    const { borrowers, closed, closing, connecting, created, idle, pending, used } = yield* pool.stats
    equal(
      { borrowers, closing, connecting, idle, pending, used },
      { borrowers: 0, closing: 0, connecting: 0, idle: 0, pending: 0, used: 0 },
      "the levels of the stats at the end"
    )
    equal(closed, created, "closed and created at the end")
  }).pipe(Effect.scoped, Effect.provide(TestClock.layer()))
