/**
 * A cap on connections that several pools share: of one process, or of a fleet.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { MemoryLimit } from "./internal/memoryLimit.ts"
import { integer } from "./internal/options.ts"
import type { Member, Share } from "./internal/share.ts"
import { makeStoredLimit } from "./internal/storedLimitDriver.ts"
import { makeMemoryStore } from "./internal/storedLimitMemory.ts"
import { ConnectionLimitStore, type ConnectionLimitStoreError } from "./internal/storedLimitStore.ts"

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
 * place. Adopted connections count: where no slot is free and nothing idle can
 * make room, they are closed.
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
 * A limit that a fleet of processes shares.
 *
 * @see {@link makeStored}
 * @category models
 * @since 0.1.0
 */
export interface StoredConnectionLimit extends ConnectionLimit {
  readonly stats: Effect.Effect<StoredLimitStats>
  /** What happens between this process and the store; the last 64 are kept for a slow reader. Ends with the limit's scope. */
  readonly events: Stream.Stream<StoredLimitEvent>
}

/**
 * A snapshot of a limit that a fleet shares, as this process knows it. `max` is
 * the fleet's, `used` and `waiting` are this process's.
 *
 * **Details**
 *
 * `lease` is `"held"` after an exchange that went well, `"failing"` after one
 * that failed while the lease goes on, and `"lost"` when it is over.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredLimitStats extends LimitStats {
  /** Connections that this process may have. Less than `used` while it closes some. */
  readonly granted: number
  readonly lease: "held" | "failing" | "lost"
  /** Connections and processes of the fleet at the last exchange that went well. */
  readonly fleet: { readonly used: number; readonly processes: number }
  /** Exchanges with the store, failed ones included. */
  readonly exchanges: number
  readonly failures: number
  readonly lastError: ConnectionLimitStoreError | undefined
}

/**
 * What happened between a process and the store of its limit.
 *
 * **Details**
 *
 * - `StoreFailed`: an exchange failed after one that went well; also a warning in the log.
 * - `LeaseLost`: the store could not be reached in time; also an error in the log. `granted` is what the process goes on with.
 * - `StoreRecovered`: an exchange went well after one that failed; also in the log.
 * - `Reduced`: the process has more connections than it may have, and closes some: others need them, or got them while its lease was over.
 *
 * @category models
 * @since 0.1.0
 */
export type StoredLimitEvent =
  | { readonly _tag: "StoreFailed"; readonly error: ConnectionLimitStoreError }
  | { readonly _tag: "LeaseLost"; readonly used: number; readonly granted: number }
  | { readonly _tag: "StoreRecovered"; readonly used: number; readonly granted: number }
  | { readonly _tag: "Reduced"; readonly used: number; readonly granted: number }

/**
 * Options of a limit.
 *
 * @category options
 * @since 0.1.0
 */
export interface ConnectionLimitOptions {
  /** Connections of all pools together. Minimum 1. `Infinity` counts and limits nothing. */
  readonly max: number
}

/**
 * Options of a limit that a fleet shares.
 *
 * @category options
 * @since 0.1.0
 */
export interface StoredLimitOptions {
  /** Names the budget. All processes that give the same key to the same store share it. */
  readonly key: string
  /** Connections of all processes together. Minimum 1, finite. Give the same in all of them; the last one to speak is right. */
  readonly max: number
  /**
   * How long a process may be silent before others get its connections. It
   * speaks three times as often. Default 10 seconds, minimum 100 milliseconds.
   */
  readonly leaseTime?: Duration.Input | undefined
  /**
   * What to do when the store has not been reached for four fifths of
   * `leaseTime`. Default `"failClosed"`: open nothing, and close what there is,
   * used connections when they come back; the cap holds. `"failOpen"`: go on
   * with what it had, or the fair share where that was less; together the
   * processes may have up to twice `max`.
   */
  readonly onStoreError?: "failClosed" | "failOpen" | undefined
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
 * Makes a limit that all processes with the same store and key share.
 *
 * **Details**
 *
 * The process leases connections from the store and keeps the lease up with one
 * exchange per third of `leaseTime`, however many connections and pools there
 * are. Borrowing costs nothing; a new connection costs at most one round trip,
 * two where another process has to give one up first. Leases that are not used
 * go back. When processes wait, others give up idle connections, and used ones
 * beyond their fair share as they come back. Fails if the first exchange fails:
 * then the configuration is wrong, or the store is away.
 *
 * **Gotchas**
 *
 * A connection that is adopted while the process has no slot to spare is closed,
 * even where the fleet has one. The limit must outlive its pools: make it in the
 * same scope before them, or in an outer one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeStored: (
  options: StoredLimitOptions
) => Effect.Effect<StoredConnectionLimit, ConnectionLimitStoreError, ConnectionLimitStore | Scope.Scope> = (options) =>
  Effect.flatMap(ConnectionLimitStore, (store) => makeStoredLimit(store, options))

/**
 * Makes a layer that provides a limit as `tag`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I>(tag: Context.Service<I, ConnectionLimit>, options: ConnectionLimitOptions): Layer.Layer<I> =>
  Layer.effect(tag, make(options))

/**
 * Makes a layer that provides a limit which a fleet shares as `tag`.
 *
 * @see {@link makeStored}
 * @category layers
 * @since 0.1.0
 */
export const layerStored = <I>(
  tag: Context.Service<I, ConnectionLimit> | Context.Service<I, StoredConnectionLimit>,
  options: StoredLimitOptions
): Layer.Layer<I, ConnectionLimitStoreError, ConnectionLimitStore> =>
  Layer.effect(tag as Context.Service<I, StoredConnectionLimit>, makeStored(options))

// -----------------------------------------------------------------------------
// Stores
// -----------------------------------------------------------------------------

export {
  /**
   * Keeps the counts of limits that several processes share.
   *
   * @category services
   * @since 0.1.0
   */
  ConnectionLimitStore,
  /**
   * The store cannot be reached, or refuses.
   *
   * @category errors
   * @since 0.1.0
   */
  ConnectionLimitStoreError,
  /**
   * What a member says in one exchange.
   *
   * @category models
   * @since 0.1.0
   */
  type LimitClaim,
  /**
   * What the store answers.
   *
   * @category models
   * @since 0.1.0
   */
  type LimitGrant
} from "./internal/storedLimitStore.ts"

/**
 * Provides a store in the memory of this process: for tests, and for programs
 * that run as one process today.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreMemory: Layer.Layer<ConnectionLimitStore> = Layer.effect(ConnectionLimitStore, makeMemoryStore)
