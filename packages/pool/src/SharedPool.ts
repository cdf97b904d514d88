/**
 * Multiplexed connections, each shared by up to so many borrowers.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scheduler from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import type { ConnectionPool, PoolOptions } from "./ConnectionPool.ts"
import { Connections } from "./internal/connections.ts"
import { integer, settings } from "./internal/options.ts"
import { Pool } from "./internal/pool.ts"
import { SharedQueue, type SharedSettings } from "./internal/sharedQueue.ts"

/**
 * A pool that lends each connection to several borrowers at once.
 *
 * @category models
 * @since 0.1.0
 */
export interface SharedPool<out Conn, out E = never> extends ConnectionPool<void, Conn, E> {}

/**
 * Options of a shared pool.
 *
 * @category options
 * @since 0.1.0
 */
export interface SharedPoolOptions<Conn, E, R, RV = never> extends PoolOptions<Conn, E, R, RV> {
  /**
   * How many borrowers a connection admits: one number for all, or what a
   * connection says when it is asked, which may change while it is open, to
   * less than is in use and to 0. Tell the pool of a change by `watch`'s
   * `capacityChanged`. Minimum 1 as a number. A function that
   * throws counts as 0; while the first connection says 0, callers wait and no
   * other one is opened.
   */
  readonly concurrency: number | ((connection: NoInfer<Conn>) => number)
  /**
   * Open another connection when every one is used to this share of its
   * concurrency. Default 1, which waits until a caller finds no slot. More than
   * 0, at most 1.
   */
  readonly saturation?: number | undefined
}

/**
 * Makes a shared pool that lives as long as the current scope.
 *
 * **Details**
 *
 * A cold pool makes one connect however many callers come; all get the same
 * failure, or share the connection. When callers are left over it opens as
 * many more as they need at the concurrency seen so far, up to `maxSize`. A
 * caller gets the least loaded connection. A connection that closes, retires
 * or is evicted finishes its borrowers, no longer counts for `maxSize`, and
 * closes after the last of them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <Conn, E, R, RV = never>(
  options: SharedPoolOptions<Conn, E, R, RV>
): Effect.Effect<SharedPool<Conn, E>, never, Exclude<R | RV, Scope.Scope> | Scope.Scope> =>
  Effect.uninterruptible(
    Effect.flatMap(Effect.context<never>(), (context) => {
      const erased = options as SharedPoolOptions<Conn, E, never>
      const checked = settings("SharedPool", erased)
      const queue = new SharedQueue<Conn, E>(
        (kind) => new Connections(erased, checked, context, kind),
        Context.get(context, Scheduler.Scheduler).makeDispatcher(),
        sharedSettings(erased)
      )
      const pool = new Pool<Conn, E>(queue, queue.connections)
      return Effect.as(
        Effect.addFinalizer(() => pool.drain()),
        pool
      )
    })
  )

/**
 * Makes a layer that provides a shared pool as `tag`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, Conn, E, R, RV = never>(
  tag: Context.Service<I, SharedPool<Conn, E>>,
  options: SharedPoolOptions<NoInfer<Conn>, NoInfer<E>, R, RV>
): Layer.Layer<I, never, Exclude<R | RV, Scope.Scope>> => Layer.effect(tag, make(options)) as never

const sharedSettings = <Conn, E>(options: SharedPoolOptions<Conn, E, never>): SharedSettings<Conn> => {
  const saturation = options.saturation ?? 1
  if (!(saturation > 0 && saturation <= 1)) {
    throw new RangeError(`SharedPool: saturation must be a number above 0 and at most 1, got ${String(saturation)}`)
  }
  const concurrency =
    typeof options.concurrency === "function"
      ? options.concurrency
      : integer("SharedPool", "concurrency", options.concurrency, Number.NaN, 1, Infinity)
  return { concurrency, saturation }
}
