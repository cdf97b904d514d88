/**
 * A cap on connections that several pools share.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { MemoryLimit } from "./internal/memoryLimit.ts"
import { integer } from "./internal/options.ts"
import type { Member, Share } from "./internal/share.ts"

/**
 * A cap on connections that several pools share: give the same limit to each.
 *
 * **Details**
 *
 * A slot is taken from the start of a connect until the connection's close has
 * ended or `closeTimeout` passed: what the server sees. Waiters stay in their
 * own pool's line; the limit grants room to pools in turn. A pool that finds no
 * room makes the least recently used idle connection of another pool close.
 * Where nothing is idle, a pool below its fair share (the cap divided by the
 * pools that hold or want a slot) gets the place of the next connection that
 * comes back to a pool above its share. `minSize` never takes another pool's
 * place.
 *
 * @category models
 * @since 0.1.0
 */
export interface ConnectionLimit {
  readonly max: number
  readonly stats: Effect.Effect<LimitStats>
  /** For pools. */
  readonly join: (member: Member) => Share
}

/**
 * A snapshot of a limit.
 *
 * @category models
 * @since 0.1.0
 */
export interface LimitStats {
  readonly max: number
  /** Slots taken. */
  readonly used: number
  /** Pools that wait for a slot. */
  readonly waiting: number
}

/**
 * Options of a limit.
 *
 * @category options
 * @since 0.1.0
 */
export interface ConnectionLimitOptions {
  /** Connections of all pools together. Minimum 1. */
  readonly max: number
}

/**
 * Makes a limit that is kept in memory.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: ConnectionLimitOptions): Effect.Effect<ConnectionLimit> =>
  Effect.sync(() => new MemoryLimit(integer("ConnectionLimit", "max", options.max, Number.NaN, 1, Infinity)))

/**
 * Makes a layer that provides a limit as `tag`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I>(tag: Context.Service<I, ConnectionLimit>, options: ConnectionLimitOptions): Layer.Layer<I> =>
  Layer.effect(tag, make(options))
