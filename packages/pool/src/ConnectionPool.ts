/**
 * The contract that every pool kind implements: borrow, lend, evict, drain, observe.
 *
 * A pool is a value with the interface below. Its `get` is itself a
 * {@link Connector}, so kinds stack by passing one to the next.
 *
 * @since 0.1.0
 */
import type { Cause } from "effect/Cause"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import type { Schedule } from "effect/Schedule"
import type { Scope } from "effect/Scope"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import type { ConnectionLimit } from "./ConnectionLimit.ts"
import type { Connector } from "./Connector.ts"

/**
 * Why a pool removed a connection.
 *
 * `idle` and `lifetime` and `uses` come from expiry policies; `closed`: it was
 * found closed or the peer hung up; `unhealthy`: a check failed or threw;
 * `invalidated`: its borrower said so; `retain`: a predicate rejected it;
 * `capacity`: more idle connections than allowed, or room was needed;
 * `drain`: the pool is closing.
 *
 * @category models
 * @since 0.1.0
 */
export type EvictReason =
  | "idle"
  | "lifetime"
  | "uses"
  | "closed"
  | "unhealthy"
  | "invalidated"
  | "retain"
  | "capacity"
  | "drain"

/**
 * Facts about one connection. A live view: fields change as the connection is
 * used. Times are milliseconds of the `Clock` that the pool was made with.
 *
 * @category models
 * @since 0.1.0
 */
export interface ConnectionInfo {
  /** Unique in the process, never reused. */
  readonly id: number
  readonly createdAt: number
  /** When it was last returned, or opened; `undefined` while it is used. */
  readonly idleSince: number | undefined
  /** How often it was lent, the current loan included. */
  readonly uses: number
  /** Loans out right now: 0 or 1, or more where connections are shared. */
  readonly borrowers: number
  /** What the connector attached with `Connector.annotate`. */
  readonly annotations: ReadonlyMap<string, unknown>
}

/**
 * A snapshot of a pool. The first seven fields are levels, the others count
 * since the pool was made.
 *
 * @category models
 * @since 0.1.0
 */
export interface PoolStats {
  /** Connections that nobody has borrowed. */
  readonly idle: number
  /** Connections that are lent, or being validated for a borrower. */
  readonly used: number
  /** Attempts to open a connection that are in flight. */
  readonly connecting: number
  /** Connections on their way out: draining or closing. */
  readonly closing: number
  /** Callers in line, those whose own attempt is in flight included. */
  readonly pending: number
  /** Loans out. */
  readonly borrowers: number
  readonly maxSize: number
  /** Connections that were opened. */
  readonly created: number
  /** Connections whose close has ended, or took longer than `closeTimeout`. */
  readonly closed: number
  /** Loans of a connection that had been lent before. */
  readonly reused: number
  /** Attempts that failed. */
  readonly failed: number
  /** Callers that gave up after `waitTimeout`. */
  readonly timedOut: number
}

/**
 * A loan of one connection. Once it has been released, by any way, all its
 * methods do nothing: a lease can only ever affect its own loan.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lease<out Conn> {
  readonly connection: Conn
  readonly info: ConnectionInfo
  /** Returns the connection before the scope or body ends. Idempotent. */
  readonly release: Effect.Effect<void>
  /** `release` for callbacks. */
  readonly releaseUnsafe: () => void
  /** Never lend this connection again; it closes when its last borrower returns it. */
  readonly invalidate: Effect.Effect<void>
}

/**
 * Decides whether a connection stays: `true` keeps it, `false` evicts it with
 * the reason `retain`, a reason evicts it with that reason. A predicate that
 * throws evicts with `unhealthy`. `now` is the pool's clock in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export type Keep<in Conn> = (connection: Conn, info: ConnectionInfo, now: number) => boolean | EvictReason

/**
 * How a caller's time in line ended.
 *
 * @category models
 * @since 0.1.0
 */
export type WaitOutcome = "served" | "failed" | "timedOut" | "interrupted" | "closed"

/**
 * Synchronous callbacks on a pool's life. All are optional; one that throws
 * is reported as a debug log and harms nobody. Durations are milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Observer {
  /** An attempt started. `id` becomes the connection's id if it succeeds. */
  readonly connecting?: ((id: number) => void) | undefined
  readonly connected?: ((info: ConnectionInfo, elapsed: number) => void) | undefined
  readonly connectFailed?: ((id: number, cause: Cause<unknown>, elapsed: number) => void) | undefined
  readonly borrowed?: ((info: ConnectionInfo) => void) | undefined
  readonly returned?: ((info: ConnectionInfo, elapsed: number) => void) | undefined
  readonly evicted?: ((info: ConnectionInfo, reason: EvictReason) => void) | undefined
  /** The close has ended, or took longer than `closeTimeout`. */
  readonly closed?: ((info: ConnectionInfo) => void) | undefined
  /** A caller joined the line. `waiter` is unique in the process. */
  readonly waitStarted?: ((waiter: number) => void) | undefined
  readonly waitEnded?: ((waiter: number, outcome: WaitOutcome, elapsed: number) => void) | undefined
  readonly keyAdded?: ((key: unknown) => void) | undefined
  readonly keyRemoved?: ((key: unknown) => void) | undefined
}

/**
 * What an {@link Observer} is told, as values. Connections are snapshots.
 *
 * @category models
 * @since 0.1.0
 */
export type PoolEvent =
  | { readonly _tag: "Connecting"; readonly id: number }
  | { readonly _tag: "Connected"; readonly connection: ConnectionInfo; readonly elapsed: number }
  | { readonly _tag: "ConnectFailed"; readonly id: number; readonly cause: Cause<unknown>; readonly elapsed: number }
  | { readonly _tag: "Borrowed"; readonly connection: ConnectionInfo }
  | { readonly _tag: "Returned"; readonly connection: ConnectionInfo; readonly elapsed: number }
  | { readonly _tag: "Evicted"; readonly connection: ConnectionInfo; readonly reason: EvictReason }
  | { readonly _tag: "Closed"; readonly connection: ConnectionInfo }
  | { readonly _tag: "WaitStarted"; readonly waiter: number }
  | {
      readonly _tag: "WaitEnded"
      readonly waiter: number
      readonly outcome: WaitOutcome
      readonly elapsed: number
    }
  | { readonly _tag: "KeyAdded"; readonly key: unknown }
  | { readonly _tag: "KeyRemoved"; readonly key: unknown }

/**
 * Borrows from a pool for one effect. Pools without a target take only the
 * body; the others take the target first.
 *
 * @category models
 * @since 0.1.0
 */
export interface Use<in Target, out Conn, out E> {
  <A, E2, R2>(
    this: ConnectionPool<void, unknown, unknown>,
    f: (connection: Conn, lease: Lease<Conn>) => Effect.Effect<A, E2, R2>
  ): Effect.Effect<A, E | E2 | PoolError, R2>
  <A, E2, R2>(
    target: Target,
    f: (connection: Conn, lease: Lease<Conn>) => Effect.Effect<A, E2, R2>
  ): Effect.Effect<A, E | E2 | PoolError, R2>
}

/**
 * A pool of connections.
 *
 * **Details**
 *
 * - `get` borrows for the current scope, `use` for one effect (the cheapest
 *   way), `lease` for the current scope with a handle on the loan.
 * - `retain` drops now what a predicate rejects; `guard` rejects from now on,
 *   at borrow and at return, until its scope closes. Both reach idle,
 *   handed-over and used connections; used ones close on return.
 * - `drain` stops lending, fails waiters with `Closed`, lets borrowers finish
 *   until `deadline` (default: the pool's `drainDeadline`), then closes
 *   everything. Terminal, idempotent; ends when every close has ended.
 *
 * @category models
 * @since 0.1.0
 */
export interface ConnectionPool<in Target, out Conn, out E = never> extends Pipeable {
  readonly get: (target: Target) => Effect.Effect<Conn, E | PoolError, Scope>
  readonly lease: (target: Target) => Effect.Effect<Lease<Conn>, E | PoolError, Scope>
  readonly use: Use<Target, Conn, E>
  readonly retain: (keep: Keep<Conn>) => Effect.Effect<void>
  readonly guard: (keep: Keep<Conn>) => Effect.Effect<void, never, Scope>
  readonly observe: (observer: Observer) => Effect.Effect<void, never, Scope>
  readonly drain: (options?: { readonly deadline?: Duration.Input | undefined }) => Effect.Effect<void>
  readonly stats: Effect.Effect<PoolStats>
}

/**
 * Any pool.
 *
 * @category models
 * @since 0.1.0
 */
export type Any = ConnectionPool<never, unknown, unknown>

/**
 * What a watched connection tells its pool.
 *
 * @category models
 * @since 0.1.0
 */
export interface Signals {
  /**
   * The peer hung up or is going away. An idle connection closes at once, a
   * used one when its last borrower returns it. Idempotent; after the close
   * it does nothing.
   */
  readonly retire: () => void
  /** How many borrowers the connection admits has changed. Only shared kinds look. */
  readonly capacityChanged: () => void
}

/**
 * Options of every kind that connects.
 *
 * **Details**
 *
 * A bad value is a defect of `make` that names the option. Sizes are
 * integers, times are `Duration.Input`.
 *
 * @category options
 * @since 0.1.0
 */
export interface PoolOptions<Conn, E, R, RV = never> {
  /** Opens a connection. The scope it needs closes when the connection does. */
  readonly connect: Connector<void, Conn, E, R>
  /** Connections that are lendable or connecting. Default 10, minimum 1. */
  readonly maxSize?: number | undefined
  /** Attempts in flight at once. Default `maxSize`, minimum 1. */
  readonly maxConnecting?: number | undefined
  /** Callers in line, connecting ones included; beyond it `QueueFull`. Default `Infinity`, minimum 0. */
  readonly maxPending?: number | undefined
  /** One budget for waiting, connecting and validating. Default 30 seconds, longer than zero. */
  readonly waitTimeout?: Duration.Input | undefined
  /** The time one attempt, or one validation, may take. Default 10 seconds, longer than zero. */
  readonly connectTimeout?: Duration.Input | undefined
  /** After it a close that has not ended stops counting. Default 5 seconds, minimum 0. */
  readonly closeTimeout?: Duration.Input | undefined
  /** How long borrowers may finish after the pool's scope closes. Default 0, which is the minimum. */
  readonly drainDeadline?: Duration.Input | undefined
  /**
   * The time between a failed attempt and the next, per pool; a success starts
   * it again, and so does its end. Default exponential from 100 ms to 5 s, jittered.
   */
  readonly backoff?: Schedule<unknown, Cause<NoInfer<E> | PoolError>> | undefined
  /** A connect whose callers have left: keep it for later demand, or cancel it. Default `"keep"`. */
  readonly onAbandon?: "keep" | "cancel" | undefined
  /** Cheap and synchronous; checked at borrow and at return. Default: none. */
  readonly isOpen?: ((connection: NoInfer<Conn>) => boolean) | undefined
  /** Listens for the peer's hang-up; returns a disposer. Default: none. */
  readonly watch?: ((connection: NoInfer<Conn>, signals: Signals) => (() => void) | void) | undefined
  /** Checks a connection at borrow when it was idle for `validateAfter` or longer. Default: none. */
  readonly validate?: ((connection: NoInfer<Conn>) => Effect.Effect<unknown, unknown, RV>) | undefined
  /** Default 0: every connection but a fresh one is validated. */
  readonly validateAfter?: Duration.Input | undefined
  /** A cap that this pool shares with others. Default: none. */
  readonly limit?: ConnectionLimit | undefined
  /** A loan older than this logs one warning that says where it was taken. Default: off; longer than zero. */
  readonly leakWarning?: Duration.Input | undefined
}

// -----------------------------------------------------------------------------
// Errors
// -----------------------------------------------------------------------------

const formatStats = (stats: PoolStats): string =>
  `${stats.used} used, ${stats.idle} idle, ${stats.connecting} connecting, ${stats.closing} closing of at most ` +
  `${stats.maxSize}; ${stats.pending} waiting`

const waitAdvice = {
  wait: "raise maxSize or waitTimeout, or look for borrowers that keep connections too long (leakWarning)",
  connect: "check that the peer is reachable, or raise connectTimeout or waitTimeout",
  validate: "check what validate waits for, or raise validateAfter or waitTimeout"
}

/**
 * No connection within the budget. `phase` says what the caller was waiting
 * for when it ended, `lastFailure` why the pool's latest attempt failed.
 *
 * @category errors
 * @since 0.1.0
 */
export class WaitTimeout extends Data.TaggedError("WaitTimeout")<{
  readonly phase: "wait" | "connect" | "validate"
  readonly after: Duration.Duration
  readonly stats: PoolStats
  readonly lastFailure: Cause<unknown> | undefined
}> {
  override get message(): string {
    return (
      `no connection after ${Duration.format(this.after)} (phase: ${this.phase}; ${formatStats(this.stats)}` +
      `${this.lastFailure === undefined ? "" : "; the last attempt failed"}); ${waitAdvice[this.phase]}`
    )
  }
}

/**
 * The line was full; the caller did not wait.
 *
 * @category errors
 * @since 0.1.0
 */
export class QueueFull extends Data.TaggedError("QueueFull")<{
  readonly maxPending: number
  /** What the option is called where it was set, if not `maxPending`. */
  readonly option?: string | undefined
}> {
  override get message(): string {
    return `${this.option ?? "maxPending"} (${this.maxPending}) callers are in line already; raise it, or slow the callers down`
  }
}

/**
 * The pool is draining or closed.
 *
 * @category errors
 * @since 0.1.0
 */
export class Closed extends Data.TaggedError("Closed") {
  override get message(): string {
    return "the pool is closed, or draining; it was used after drain or outside the scope that made it"
  }
}

/**
 * A keyed pool holds `maxKeys` keys that are all in use.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooManyKeys extends Data.TaggedError("TooManyKeys")<{ readonly maxKeys: number }> {
  override get message(): string {
    return `maxKeys (${this.maxKeys}) keys are in use and none can make room; raise it`
  }
}

/**
 * Why a pool could not lend.
 *
 * @category errors
 * @since 0.1.0
 */
export type PoolErrorReason = WaitTimeout | QueueFull | Closed | TooManyKeys

/**
 * Everything a pool itself reports. The connector's own errors pass unwrapped.
 *
 * Catch it with `Effect.catchTag("PoolError", …)`, or one reason with
 * `Effect.catchReason("PoolError", "WaitTimeout", …)`.
 *
 * @category errors
 * @since 0.1.0
 */
export class PoolError extends Data.TaggedError("PoolError")<{ readonly reason: PoolErrorReason }> {
  override get message(): string {
    return `${this.reason._tag}: ${this.reason.message}`
  }
}

// -----------------------------------------------------------------------------
// Combinators
// -----------------------------------------------------------------------------

const snapshot = (info: ConnectionInfo): ConnectionInfo => ({
  id: info.id,
  createdAt: info.createdAt,
  idleSince: info.idleSince,
  uses: info.uses,
  borrowers: info.borrowers,
  annotations: info.annotations
})

/**
 * What happens in a pool, as a stream that ends only when it is interrupted.
 *
 * **Details**
 *
 * Observation starts when the stream is run and stops with it. At most 4,096
 * events are buffered; a consumer that falls behind further loses the oldest,
 * never slowing the pool.
 *
 * @category combinators
 * @since 0.1.0
 */
export const events = (pool: Any): Stream.Stream<PoolEvent> =>
  Stream.callback<PoolEvent>(
    (queue) => {
      const emit = (event: PoolEvent) => {
        Queue.offerUnsafe(queue, event)
      }
      return pool.observe({
        connecting: (id) => emit({ _tag: "Connecting", id }),
        connected: (info, elapsed) => emit({ _tag: "Connected", connection: snapshot(info), elapsed }),
        connectFailed: (id, cause, elapsed) => emit({ _tag: "ConnectFailed", id, cause, elapsed }),
        borrowed: (info) => emit({ _tag: "Borrowed", connection: snapshot(info) }),
        returned: (info, elapsed) => emit({ _tag: "Returned", connection: snapshot(info), elapsed }),
        evicted: (info, reason) => emit({ _tag: "Evicted", connection: snapshot(info), reason }),
        closed: (info) => emit({ _tag: "Closed", connection: snapshot(info) }),
        waitStarted: (waiter) => emit({ _tag: "WaitStarted", waiter }),
        waitEnded: (waiter, outcome, elapsed) => emit({ _tag: "WaitEnded", waiter, outcome, elapsed }),
        keyAdded: (key) => emit({ _tag: "KeyAdded", key }),
        keyRemoved: (key) => emit({ _tag: "KeyRemoved", key })
      })
    },
    { bufferSize: 4096, strategy: "sliding" }
  )

/**
 * Lends `f(connection)` instead of the connection. `f` runs at each loan and
 * for each predicate, so it should be cheap and return equal values for the
 * same connection.
 *
 * @category combinators
 * @since 0.1.0
 */
export const map: {
  <A, B>(f: (connection: A) => B): <Target, E>(pool: ConnectionPool<Target, A, E>) => ConnectionPool<Target, B, E>
  <Target, A, E, B>(pool: ConnectionPool<Target, A, E>, f: (connection: A) => B): ConnectionPool<Target, B, E>
} = dual(
  2,
  <Target, A, E, B>(pool: ConnectionPool<Target, A, E>, f: (connection: A) => B): ConnectionPool<Target, B, E> => {
    const mapKeep =
      (keep: Keep<B>): Keep<A> =>
      (connection, info, now) =>
        keep(f(connection), info, now)
    const mapLease = (lease: Lease<A>): Lease<B> => ({
      connection: f(lease.connection),
      info: lease.info,
      release: lease.release,
      releaseUnsafe: lease.releaseUnsafe,
      invalidate: lease.invalidate
    })
    type Body = (connection: B, lease: Lease<B>) => Effect.Effect<any, any, any>
    return {
      get: (target) => Effect.map(pool.get(target), f),
      lease: (target) => Effect.map(pool.lease(target), mapLease),
      use: ((...args: [Body] | [Target, Body]) => {
        const [target, body] = args.length === 1 ? [undefined as Target, args[0]] : args
        return pool.use(target, (_, lease) => {
          const mapped = mapLease(lease)
          return body(mapped.connection, mapped)
        })
      }) as Use<Target, B, E>,
      retain: (keep) => pool.retain(mapKeep(keep)),
      guard: (keep) => pool.guard(mapKeep(keep)),
      observe: pool.observe,
      drain: pool.drain,
      stats: pool.stats,
      pipe() {
        return pipeArguments(this, arguments)
      }
    }
  }
)
