/**
 * Exclusive connections, kept for reuse: HTTP/1.1's kind.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scheduler from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import type { ConnectionPool, PoolError, PoolOptions } from "./ConnectionPool.ts"
import { Connections } from "./internal/connections.ts"
import { ExclusiveQueue, type ExclusiveSettings } from "./internal/exclusiveQueue.ts"
import { integer, settings } from "./internal/options.ts"
import { Pool, takeInScope } from "./internal/pool.ts"

/**
 * A pool that lends each connection to one borrower at a time.
 *
 * @category models
 * @since 0.1.0
 */
export interface CachePool<out Conn, out E = never> extends ConnectionPool<void, Conn, E> {
  /** Borrows an idle connection for the current scope if one is there and nobody waits; never connects. */
  readonly takeIdle: Effect.Effect<Option.Option<Conn>, PoolError, Scope.Scope>
  /**
   * Puts an open connection into the pool, which closes it with `close` when
   * its time has come. At capacity the least recently used idle connection
   * makes room; where none is idle, or the pool is closed, the connection is
   * closed at once.
   */
  // A method, because a property would make pools invariant in Conn for the sake of this one use.
  adopt(connection: Conn, close?: Effect.Effect<unknown>): Effect.Effect<void>
}

/**
 * Options of a cache.
 *
 * @category options
 * @since 0.1.0
 */
export interface CachePoolOptions<Conn, E, R, RV = never> extends PoolOptions<Conn, E, R, RV> {
  /** Reuse the most recently returned connection first, or spread use over all. Default `"lifo"`. */
  readonly order?: "lifo" | "fifo" | undefined
  /** Connections kept open in the background. Default 0, at most `maxIdle`. */
  readonly minSize?: number | undefined
  /** More idle connections than this close on return. Default `maxSize`. */
  readonly maxIdle?: number | undefined
}

/**
 * Makes a cache that lives as long as the current scope.
 *
 * **Details**
 *
 * A caller takes an idle connection, most recently used first. With none idle
 * it starts a connect if there is room, and is served by whichever comes
 * first: a returned connection or a new one. Callers are served in arrival
 * order; a connect error reaches only the caller that owns the attempt.
 * Interrupting a caller at any instant loses nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <Conn, E, R, RV = never>(
  options: CachePoolOptions<Conn, E, R, RV>
): Effect.Effect<CachePool<Conn, E>, never, Exclude<R | RV, Scope.Scope> | Scope.Scope> =>
  Effect.uninterruptible(
    Effect.flatMap(Effect.context<never>(), (context) => {
      const cache = new Cache<Conn, E>(options as CachePoolOptions<Conn, E, never>, context)
      return Effect.as(
        Effect.addFinalizer(() => cache.drain()),
        cache
      )
    })
  )

/**
 * Makes a layer that provides a cache as `tag`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, Conn, E, R, RV = never>(
  tag: Context.Service<I, CachePool<Conn, E>>,
  options: CachePoolOptions<NoInfer<Conn>, NoInfer<E>, R, RV>
): Layer.Layer<I, never, Exclude<R | RV, Scope.Scope>> => Layer.effect(tag, make(options)) as never

class Cache<Conn, E> extends Pool<Conn, E> implements CachePool<Conn, E> {
  private readonly queue: ExclusiveQueue<Conn, E>

  constructor(options: CachePoolOptions<Conn, E, never>, context: Context.Context<never>) {
    const checked = settings("CachePool", options)
    const queue = new ExclusiveQueue<Conn, E>(
      (kind) => new Connections(options, checked, context, kind),
      Context.get(context, Scheduler.Scheduler).makeDispatcher(),
      exclusiveSettings(options, checked.maxSize)
    )
    super(queue, queue.connections)
    this.queue = queue
    queue.vacated()
  }

  readonly takeIdle: Effect.Effect<Option.Option<Conn>, PoolError, Scope.Scope> = Effect.suspend(() => {
    const lender = this.lender()
    return takeInScope(
      lender,
      (loan) => Option.map(Option.fromUndefinedOr(loan.held), (held) => held.value),
      (loan, then) => this.queue.takeIdle(loan, lender, then)
    )
  }) as Effect.Effect<Option.Option<Conn>, PoolError, Scope.Scope>

  adopt(connection: Conn, close?: Effect.Effect<unknown>): Effect.Effect<void> {
    return Effect.sync(() => this.queue.adopt(connection, close))
  }
}

const exclusiveSettings = <Conn, E>(options: CachePoolOptions<Conn, E, never>, maxSize: number): ExclusiveSettings => {
  const order = options.order ?? "lifo"
  if (order !== "lifo" && order !== "fifo") {
    throw new RangeError(`CachePool: order must be "lifo" or "fifo", got ${JSON.stringify(order)}`)
  }
  const maxIdle = integer("CachePool", "maxIdle", options.maxIdle, maxSize, 0, Infinity)
  const minSize = integer("CachePool", "minSize", options.minSize, 0, 0, Math.min(maxIdle, maxSize))
  return { order, maxIdle, minSize }
}
