/**
 * One connection shared by all borrowers: HTTP/2's kind.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { ConnectionPool, EvictReason, PoolOptions, PoolStats, WaitOutcome } from "./ConnectionPool.ts"
import { Closed, PoolError, QueueFull } from "./ConnectionPool.ts"
import { monotonic } from "./internal/alarm.ts"
import { Attempt } from "./internal/attempt.ts"
import { type Connection, nextId } from "./internal/connection.ts"
import { Connections, type Kind } from "./internal/connections.ts"
import type { InnerPool } from "./internal/innerPool.ts"
import type { Lender, Loan } from "./internal/loan.ts"
import { settings } from "./internal/options.ts"
import { Pool } from "./internal/pool.ts"
import { redirectSince } from "./internal/redirect.ts"

/**
 * A pool with one lendable connection, shared by all its borrowers.
 *
 * @category models
 * @since 0.1.0
 */
export interface SingletonPool<out Conn, out E = never> extends ConnectionPool<void, Conn, E> {}

/**
 * Options of a singleton.
 *
 * @category options
 * @since 0.1.0
 */
export interface SingletonPoolOptions<Conn, E, R, RV = never> extends Omit<
  PoolOptions<Conn, E, R, RV>,
  "maxSize" | "maxConnecting"
> {}

/**
 * Makes a singleton that lives as long as the current scope.
 *
 * **Details**
 *
 * The first caller starts an attempt, later ones join it: all get the same
 * connection or the same `Cause`, and a failure is forgotten, so that the next
 * call starts afresh (after `backoff`). Interrupting a caller affects only that caller. When the
 * connection closes, retires or is evicted, the next call opens a new one
 * while earlier borrowers finish on the old one, which closes after the last
 * of them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <Conn, E, R, RV = never>(
  options: SingletonPoolOptions<Conn, E, R, RV>
): Effect.Effect<SingletonPool<Conn, E>, never, Exclude<R | RV, Scope.Scope> | Scope.Scope> =>
  Effect.uninterruptible(
    Effect.flatMap(Effect.context<never>(), (context) => {
      const singleton = new Singleton<Conn, E>(options as SingletonPoolOptions<Conn, E, never>, context)
      const pool = new Pool<Conn, E>(singleton, singleton.connections)
      return Effect.as(
        Effect.addFinalizer(() => pool.drain()),
        pool
      )
    })
  )

/**
 * Makes a layer that provides a singleton as `tag`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, Conn, E, R, RV = never>(
  tag: Context.Service<I, SingletonPool<Conn, E>>,
  options: SingletonPoolOptions<NoInfer<Conn>, NoInfer<E>, R, RV>
): Layer.Layer<I, never, Exclude<R | RV, Scope.Scope>> => Layer.effect(tag, make(options)) as never

/**
 * - `Empty`: no connection to lend, nobody waits
 * - `Making`: callers share the outcome of one attempt; it is missing while
 *   the pool backs off
 * - `Ready`: the connection to lend
 */
type State<Conn, E> = { readonly _tag: "Empty" } | Making<Conn, E> | Ready<Conn, E>

interface Making<Conn, E> {
  readonly _tag: "Making"
  readonly made: Deferred.Deferred<void, E | PoolError>
  readonly callers: Set<Loan<Conn, E | PoolError>>
  attempt: Attempt<Conn> | undefined
  /** It was ready, but must prove itself before it is lent again. */
  unproven: Connection<Conn> | undefined
  /** What the attempt yielded. */
  connection: Connection<Conn> | undefined
}

interface Ready<Conn, E> {
  readonly _tag: "Ready"
  readonly connection: Connection<Conn>
  /** Callers that waited for it and whose fibers have not run yet: it is as good as lent. */
  readonly told: Set<Loan<Conn, E | PoolError>>
}

const empty = { _tag: "Empty" } as const

class Singleton<Conn, E> implements Kind<Conn, E>, Lender<Conn, E | PoolError>, InnerPool {
  readonly connections: Connections<Conn, E>
  private state: State<Conn, E> = empty
  private arriving: () => boolean = () => false

  constructor(options: SingletonPoolOptions<Conn, E, never>, context: Context.Context<never>) {
    const single = { ...options, maxSize: 1, maxConnecting: 1 }
    this.connections = new Connections(single, settings("SingletonPool", single), context, this)
  }

  // ---------------------------------------------------------------------------
  // Taking
  // ---------------------------------------------------------------------------

  take<A, E2, R>(
    loan: Loan<Conn, E | PoolError>,
    then: () => Effect.Effect<A, E2, R>
  ): Effect.Effect<A, E | PoolError | E2, R> {
    if (this.connections.state !== "open") return closed
    // The scope it was meant for had closed.
    if (loan.phase === "ended") return Effect.interrupt
    if (this.lendReady(loan)) return then()
    const { maxPending, waitTimeout } = this.connections.settings
    if (this.pending >= maxPending) return Effect.fail(new PoolError({ reason: new QueueFull({ maxPending }) }))
    const making = this.join(loan)
    if (this.lendMade(loan, making)) return then()
    const now = monotonic(this.connections.clock)
    const start = (loan.start ??= now)
    const followed = Effect.catchCause(this.follow(loan, making), (cause) =>
      Effect.failCause(redirectSince(cause, start))
    )
    const waiting = loan.scope === undefined ? followed : Effect.raceFirst(followed, cancelled(loan))
    const inTime = Effect.timeoutOrElse(Effect.interruptible(waiting), {
      duration: Duration.millis(Math.max(0, start + waitTimeout - now)),
      orElse: () => this.timedOut(loan)
    })
    return Effect.flatMap(inTime, then)
  }

  lendNow(loan: Loan<Conn, E | PoolError>): boolean {
    return this.connections.state === "open" && this.lendReady(loan)
  }

  /** Lends the ready connection if there is one that may be lent at once. */
  private lendReady(loan: Loan<Conn, E | PoolError>): boolean {
    if (this.state._tag !== "Ready") return false
    const { connection } = this.state
    return this.isFit(connection) && !this.connections.needsValidation(connection) && this.lend(loan, connection)
  }

  /** Lends what the attempt yielded that the caller waited for. Opening or checking it was its validation. */
  private lendMade(loan: Loan<Conn, E | PoolError>, { connection }: Making<Conn, E>): boolean {
    return connection !== undefined && this.isFit(connection) && this.lend(loan, connection)
  }

  private isFit(connection: Connection<Conn>): boolean {
    if (connection.state !== "idle" && connection.state !== "used") return false
    const reason = this.connections.rejects(connection)
    if (reason !== undefined) this.retire(connection, reason)
    return reason === undefined
  }

  private lend(loan: Loan<Conn, E | PoolError>, connection: Connection<Conn>): true {
    connection.state = "used"
    connection.borrowers++
    connection.idleSince = undefined
    if (connection.uses++ > 0) this.connections.reused++
    loan.held = connection
    if (this.state._tag === "Ready" && this.state.told.size > 0) this.state.told.delete(loan)
    // Before observers are told, who may close the loan's scope.
    loan.phase = "lent"
    if (this.connections.observers.watchesLoans) {
      this.waitEnded(loan, "served")
      loan.since = monotonic(this.connections.clock)
      this.connections.observers.borrowed(connection)
    }
    return true
  }

  /** Shares the attempt in flight, starting one if there is none. It may end before this returns. */
  private join(loan: Loan<Conn, E | PoolError>): Making<Conn, E> {
    const making = this.state._tag === "Making" ? this.state : this.makeOne()
    making.callers.add(loan)
    this.waitStarted(loan)
    this.advance()
    return making
  }

  private makeOne(): Making<Conn, E> {
    const making: Making<Conn, E> = {
      _tag: "Making",
      made: Deferred.makeUnsafe(),
      callers: new Set(),
      attempt: undefined,
      unproven: this.state._tag === "Ready" ? this.state.connection : undefined,
      connection: undefined
    }
    this.state = making
    return making
  }

  /** Waits for the shared outcome; joins again if the connection was gone before this caller's fiber ran. */
  private follow(loan: Loan<Conn, E | PoolError>, making: Making<Conn, E>): Effect.Effect<void, E | PoolError> {
    return Effect.flatMap(Deferred.await(making.made), () => {
      // Its fiber left while this one was on its way.
      if (loan.phase === "ended") return Effect.interrupt
      if (this.connections.state !== "open") return closed
      if (this.lendMade(loan, making) || this.lendReady(loan)) return Effect.void
      const next = this.join(loan)
      return this.lendMade(loan, next) ? Effect.void : this.follow(loan, next)
    })
  }

  /** Starts the attempt that callers wait for, unless it is under way or must wait for the backoff. */
  private advance(): void {
    if (this.state._tag === "Making" && this.state.attempt === undefined) this.start(this.state)
    const starved = this.state._tag === "Making" && this.state.attempt === undefined
    this.connections.backoff.wake(starved)
    if (this.connections.state === "open") this.connections.share?.want(starved && this.connections.mayConnect())
  }

  private start(making: Making<Conn, E>): void {
    const unproven = making.unproven?.state === "idle" ? making.unproven : undefined
    if (unproven === undefined && !this.connections.claim()) return
    making.unproven = undefined
    making.attempt = new Attempt<Conn>()
    if (unproven === undefined) this.connections.connect(making.attempt)
    else this.connections.validate(unproven, making.attempt)
  }

  private timedOut(loan: Loan<Conn, E | PoolError>): Effect.Effect<never, PoolError> {
    const attempt = this.state._tag === "Making" ? this.state.attempt : undefined
    const phase = attempt === undefined ? "wait" : attempt.validates === undefined ? "connect" : "validate"
    this.connections.timedOut++
    const error = this.connections.waitTimeout(phase, this.connections.settings.waitTimeout)
    this.waitEnded(loan, "timedOut")
    return Effect.fail(error)
  }

  // ---------------------------------------------------------------------------
  // Returning
  // ---------------------------------------------------------------------------

  end(loan: Loan<Conn, E | PoolError>): void {
    const phase = loan.phase
    loan.phase = "ended"
    if (phase === "lent") this.giveBack(loan, loan.held!)
    else if (phase === "new") {
      // The attempt may have ended while this caller's fiber was on its way to the connection.
      this.waitEnded(loan, "interrupted")
      if (this.state._tag === "Making") this.leave(loan, this.state)
      else if (this.state._tag === "Ready" && this.state.told.delete(loan)) this.rest(this.state)
    }
  }

  private giveBack(loan: Loan<Conn, E | PoolError>, connection: Connection<Conn>): void {
    connection.borrowers--
    if (this.connections.observers.watchesLoans) {
      this.connections.observers.returned(connection, this.connections.since(loan.since))
    }
    // A pool that drained has closed it under its borrowers.
    if (connection.state !== "used") return
    let reason = this.connections.rejects(connection)
    if (reason === undefined && this.connections.share?.yields(connection.borrowers > 0)) reason = "capacity"
    if (reason !== undefined) this.retire(connection, reason)
    else if (connection.borrowers === 0) {
      connection.state = "idle"
      connection.idleSince = this.connections.clock.currentTimeMillisUnsafe()
    }
  }

  /** Where nobody here is to have the connection, another pool of the same limit may need its place. */
  private rest({ connection, told }: Ready<Conn, E>): void {
    if (told.size > 0 || this.arriving() || connection.state !== "idle") return
    if (this.connections.share?.yields(false)) this.retire(connection, "capacity")
  }

  private leave(loan: Loan<Conn, E | PoolError>, making: Making<Conn, E>): void {
    if (!making.callers.delete(loan) || making.callers.size > 0) return
    const { attempt } = making
    if (attempt !== undefined && (attempt.validates !== undefined || !this.connections.settings.cancelAbandoned)) return
    this.state = empty
    if (attempt !== undefined) this.connections.discard(attempt)
    this.advance()
  }

  invalidate(loan: Loan<Conn, E | PoolError>): void {
    if (loan.phase === "lent") this.connections.condemn(loan.held!, "invalidated")
  }

  /** Never lends it again; it closes after its last borrower. */
  private retire(connection: Connection<Conn>, reason: EvictReason): void {
    connection.verdict ??= reason
    this.condemned(connection)
    if (connection.borrowers === 0) this.connections.evict(connection, reason)
  }

  // ---------------------------------------------------------------------------
  // What the connections tell
  // ---------------------------------------------------------------------------

  opened(connection: Connection<Conn>): void {
    this.ready(connection)
  }

  failed(attempt: Attempt<Conn>, cause: Cause.Cause<E | PoolError> | undefined): void {
    if (this.state._tag !== "Making" || this.state.attempt !== attempt) return
    this.state.attempt = undefined
    if (cause !== undefined) this.settle(this.state, Exit.failCause(cause), "failed")
    else if (this.state.callers.size === 0) this.state = empty
    this.advance()
  }

  redirected(attempt: Attempt<Conn>, cause: Cause.Cause<E | PoolError>): void {
    this.failed(attempt, cause)
  }

  // ---------------------------------------------------------------------------
  // As a part of another pool
  // ---------------------------------------------------------------------------

  openOne(): Effect.Effect<Exit.Exit<unknown, unknown>> | undefined {
    const { share, state } = this.connections
    const busy = this.state._tag === "Ready" || (this.state._tag === "Making" && this.state.attempt !== undefined)
    if (state !== "open" || busy || (share !== undefined && !share.take())) return undefined
    const making = this.state._tag === "Making" ? this.state : this.makeOne()
    const attempt = new Attempt<Conn>()
    making.attempt = attempt
    this.connections.connect(attempt)
    return attempt.exit
  }

  lendable(): number {
    return this.state._tag === "Ready" ? 1 : 0
  }

  idle(): number {
    return this.state._tag === "Ready" && this.state.connection.state === "idle" ? 1 : 0
  }

  canLend(): boolean {
    return this.state._tag === "Ready"
  }

  isWaking(): boolean {
    return false
  }

  stopAsking(): void {
    this.connections.share?.want(false)
    this.connections.share?.hope(false)
  }

  keepWhile(arriving: () => boolean): void {
    this.arriving = arriving
  }

  arrived(): void {
    if (this.state._tag === "Ready") this.rest(this.state)
  }

  validated(connection: Connection<Conn>, attempt: Attempt<Conn>, healthy: boolean): void {
    if (this.state._tag !== "Making" || this.state.attempt !== attempt) return
    this.state.attempt = undefined
    if (healthy) this.ready(connection)
    else if (this.state.callers.size === 0) this.state = empty
    this.advance()
  }

  forget(connection: Connection<Conn>): void {
    this.condemned(connection)
  }

  condemned(connection: Connection<Conn>): void {
    if (this.state._tag === "Ready" && this.state.connection === connection) this.state = empty
  }

  vacated(): void {
    this.advance()
  }

  idleSince(): number | undefined {
    if (this.state._tag !== "Ready" || this.state.told.size > 0 || this.arriving()) return undefined
    const { connection } = this.state
    return connection.state === "idle" ? connection.idleSince : undefined
  }

  giveUp(): void {
    if (this.state._tag === "Ready") this.retire(this.state.connection, "capacity")
  }

  stopped(): void {
    if (this.state._tag === "Making")
      this.settle(this.state, Exit.fail(new PoolError({ reason: new Closed() })), "closed")
  }

  private ready(connection: Connection<Conn>): void {
    const making = this.state
    connection.state = "idle"
    connection.fresh = false
    const ready: Ready<Conn, E> = {
      _tag: "Ready",
      connection,
      told: making._tag === "Making" ? making.callers : new Set()
    }
    this.state = ready
    if (making._tag === "Making") {
      making.connection = connection
      Deferred.doneUnsafe(making.made, Exit.void)
    }
    this.rest(ready)
  }

  private settle(making: Making<Conn, E>, exit: Exit.Exit<never, E | PoolError>, outcome: WaitOutcome): void {
    this.state = empty
    for (const loan of making.callers) this.waitEnded(loan, outcome)
    Deferred.doneUnsafe(making.made, exit)
  }

  private get pending(): number {
    return this.state._tag === "Making" ? this.state.callers.size : 0
  }

  stats(): Pick<PoolStats, "idle" | "used" | "closing" | "pending" | "borrowers"> {
    return { ...this.connections.census(), pending: this.pending }
  }

  private waitStarted(loan: Loan<Conn, E | PoolError>): void {
    if (!this.connections.observers.watchesLoans || loan.waiter > 0) return
    loan.waiter = nextId()
    loan.since = monotonic(this.connections.clock)
    this.connections.observers.emit("waitStarted", loan.waiter)
  }

  private waitEnded(loan: Loan<Conn, E | PoolError>, outcome: WaitOutcome): void {
    if (!this.connections.observers.watchesLoans || loan.waiter === 0) return
    this.connections.observers.emit("waitEnded", loan.waiter, outcome, this.connections.since(loan.since))
    loan.waiter = 0
  }
}

/** Ends when the scope that the loan is for is closed by somebody else. */
const cancelled = <Conn, E>(loan: Loan<Conn, E>): Effect.Effect<void, E> =>
  Effect.callback((resume) => {
    if (loan.outcome !== undefined) resume(loan.outcome)
    else loan.resume = resume
  })

const closed: Effect.Effect<never, PoolError> = Effect.suspend(() =>
  Effect.fail(new PoolError({ reason: new Closed() }))
)
