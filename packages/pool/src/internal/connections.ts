/**
 * The connections of one pool: opens, checks, evicts, closes and counts them.
 * What a kind does with them (who waits, who gets which) is the kind's own
 * business; it is told through `Kind`.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Fiber } from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type { EvictReason, Keep, PoolOptions } from "../ConnectionPool.ts"
import { PoolError, WaitTimeout } from "../ConnectionPool.ts"
import type { PoolStats } from "../ConnectionPool.ts"
import * as Connector from "../Connector.ts"
import { monotonic, type Run } from "./alarm.ts"
import { type Attempt } from "./attempt.ts"
import { Backoff } from "./backoff.ts"
import { Checks, judge } from "./checks.ts"
import { Connection, nextId } from "./connection.ts"
import { type Drainable, Draining } from "./draining.ts"
import { Handing } from "./handing.ts"
import { isNoRoom } from "./noRoom.ts"
import { Observers } from "./observers.ts"
import { redirectOf } from "./redirect.ts"
import type { Settings } from "./options.ts"
import type { Share } from "./share.ts"

/** What a kind is told. Every call is synchronous and happens when the pool's state is consistent. */
export interface Kind<Conn, E> {
  /** `attempt` opened a connection that may be lent. */
  opened(connection: Connection<Conn>, attempt: Attempt<Conn>): void
  /** `attempt` ended without a connection; `cause` is undefined if that is nobody's error. */
  failed(attempt: Attempt<Conn>, cause: Cause.Cause<E | PoolError> | undefined): void
  /** `attempt` found that all callers are to go to another pool; `cause` tells them. */
  redirected(attempt: Attempt<Conn>, cause: Cause.Cause<E | PoolError>): void
  /** The validation `attempt` found its connection healthy, or the connection is gone. */
  validated(connection: Connection<Conn>, attempt: Attempt<Conn>, healthy: boolean): void
  /** An idle connection is being evicted: forget it. */
  forget(connection: Connection<Conn>): void
  /** A used connection must not be lent again. */
  condemned(connection: Connection<Conn>): void
  /** Room, or the permission to connect, may have appeared. */
  vacated(): void
  /** When the least recently used idle connection was last used, if there is one; and evicting it. */
  idleSince(): number | undefined
  giveUp(): void
  /** The pool drains: fail all waiters. */
  stopped(): void
  stats(): Pick<PoolStats, "idle" | "used" | "closing" | "pending" | "borrowers">
}

/** What closes with a scope. */
interface Closing<Conn> {
  /** A fiber that has to end first. */
  readonly after?: Fiber<unknown, unknown> | undefined
  /** The attempt that comes to nothing. */
  readonly attempt?: Attempt<Conn> | undefined
  readonly done?: () => void
}

export class Connections<Conn, E> implements Drainable {
  readonly settings: Settings<E>
  readonly run: Run
  readonly clock: Clock.Clock
  readonly observers: Observers
  readonly checks: Checks<Conn>
  readonly backoff: Backoff<E | PoolError>
  readonly draining: Draining
  state: Drainable["state"] = "open"
  /** Everything opened and not evicted yet. */
  readonly all = new Set<Connection<Conn>>()
  readonly connecting = new Set<Attempt<Conn>>()
  readonly validating = new Set<Attempt<Conn>>()
  closing = 0
  created = 0
  closed = 0
  reused = 0
  failed = 0
  timedOut = 0

  /** This pool's part in a limit that it shares with others. */
  readonly share: Share | undefined
  private readonly options: PoolOptions<Conn, E, unknown, unknown>
  private readonly context: Context.Context<never>
  private readonly kind: Kind<Conn, E>
  private readonly open: Effect.Effect<Conn, E>

  constructor(
    options: PoolOptions<Conn, E, unknown, unknown>,
    settings: Settings<E>,
    context: Context.Context<never>,
    kind: Kind<Conn, E>
  ) {
    this.options = options
    this.settings = settings
    // Connections outlive the call that asked for them, so its span must not adopt them.
    this.context = Context.omit(Tracer.ParentSpan)(context) as Context.Context<never>
    this.run = Effect.runForkWith(this.context)
    this.clock = Context.get(context, Clock.Clock)
    this.kind = kind
    this.observers = new Observers(this.run)
    this.checks = new Checks(options, settings, this.clock)
    this.backoff = new Backoff(settings.backoff, this.run, this.clock, () => kind.vacated())
    this.draining = new Draining(this.run, this.clock, settings.drainDeadline, this)
    this.share = options.limit?.join({
      offered: () => kind.vacated(),
      idleSince: () => kind.idleSince(),
      giveUp: () => kind.giveUp(),
      renewed: () => {
        this.backoff.stop()
        kind.vacated()
      }
    })
    this.open = Effect.suspend(() => options.connect()) as Effect.Effect<Conn, E>
  }

  // ---------------------------------------------------------------------------
  // Opening
  // ---------------------------------------------------------------------------

  /** Whether an attempt may start now, as far as it is not a matter of room. */
  mayConnect(): boolean {
    return (
      this.state === "open" &&
      this.connecting.size < this.settings.maxConnecting &&
      // While the peer fails, one attempt at a time finds out whether it is back.
      (!this.backoff.failing || this.connecting.size === 0) &&
      !this.backoff.resting
    )
  }

  /** `mayConnect`, and the shared limit grants a slot: the attempt must follow. */
  claim(): boolean {
    return this.mayConnect() && (this.share === undefined || this.share.take())
  }

  /** Starts `attempt` after a `claim`; it may end before this returns. */
  connect(attempt: Attempt<Conn>): void {
    this.connecting.add(attempt)
    if (this.observers.active) {
      attempt.startedAt = monotonic(this.clock)
      this.observers.emit("connecting", attempt.id)
    }
    const annotations = new Map<string, unknown>()
    const handing: Handing = { give: (prime) => this.give(attempt, prime), keep: () => this.keep(attempt) }
    const context = this.context.pipe(
      Context.add(Scope.Scope, attempt.scope),
      Context.add(Connector.Annotations, annotations),
      Context.add(Handing, handing)
    ) as Context.Context<never>
    attempt.start(
      Effect.runForkWith(context)(this.open),
      (exit) => this.connectEnded(attempt, exit, annotations),
      this.timer(this.settings.connectTimeout, () => this.connectTimedOut(attempt))
    )
  }

  /** Gives up an attempt. What it may still open is closed. */
  discard(attempt: Attempt<Conn>): void {
    if (!attempt.end()) return
    this.connecting.delete(attempt)
    attempt.fiber?.interruptUnsafe()
    this.close(attempt.scope, { attempt, after: attempt.fiber })
  }

  private give(attempt: Attempt<Conn>, prime: () => void): void {
    attempt.handing = true
    if (this.share === undefined) prime()
    else attempt.slotless = this.share.give(prime)
  }

  private keep(attempt: Attempt<Conn>): void {
    if (attempt.slotless) this.share!.takeOver()
    attempt.slotless = false
  }

  private connectEnded(attempt: Attempt<Conn>, exit: Exit.Exit<Conn, E>, annotations: Map<string, unknown>): void {
    if (!attempt.end()) return
    this.connecting.delete(attempt)
    if (Exit.isSuccess(exit)) return this.connected(attempt, exit.value, annotations)
    if (redirectOf(exit.cause) !== undefined) return this.redirected(attempt, exit.cause)
    if (isNoRoom(exit.cause)) {
      this.close(attempt.scope, { attempt })
      return this.kind.failed(attempt, undefined)
    }
    this.connectFailed(attempt, exit.cause, () => this.close(attempt.scope, { attempt }))
  }

  private connectTimedOut(attempt: Attempt<Conn>): void {
    if (attempt.ended) return
    const cause = Cause.fail(this.waitTimeout("connect", this.settings.connectTimeout))
    this.connectFailed(attempt, cause, () => this.discard(attempt))
  }

  private connectFailed(attempt: Attempt<Conn>, cause: Cause.Cause<E | PoolError>, cleanUp: () => void): void {
    this.failed++
    if (this.observers.active) this.observers.emit("connectFailed", attempt.id, cause, this.since(attempt.startedAt))
    // Before the clean-up: room that it makes must not be used before the pause.
    this.backoff.failure(cause)
    cleanUp()
    this.kind.failed(attempt, cause)
  }

  /** The connection was somebody else's: no failure, but callers are told to go there. */
  private redirected(attempt: Attempt<Conn>, cause: Cause.Cause<E | PoolError>): void {
    // First, or the room made would start the same attempt again for the same callers.
    this.kind.redirected(attempt, cause)
    this.close(attempt.scope, { attempt })
  }

  private connected(attempt: Attempt<Conn>, value: Conn, annotations: Map<string, unknown>): void {
    const now = this.clock.currentTimeMillisUnsafe()
    const connection = new Connection(attempt.id, value, attempt.scope, now, annotations)
    this.admit(connection, this.since(attempt.startedAt))
    const defect = this.watch(connection)
    if (defect !== undefined) return this.connectFailed(attempt, defect, () => this.evict(connection, "unhealthy"))
    const reason = this.rejects(connection)
    if (reason === undefined) {
      this.backoff.success()
      return this.kind.opened(connection, attempt)
    }
    // Dead on arrival. Without the backoff a waiter would make the pool open and close in a busy loop.
    this.failed++
    this.backoff.failure(Cause.die(new Error(`a connection was rejected as soon as it was open (${reason})`)))
    // Even where the schedule says 0: nobody's error ends this loop, and timers must get their turn.
    this.backoff.atLeast(1)
    this.evict(connection, reason)
    this.kind.failed(attempt, undefined)
  }

  /** Counts an open connection in; `watch` comes next. */
  private admit(connection: Connection<Conn>, elapsed: number): void {
    this.created++
    this.all.add(connection)
    if (this.observers.active) this.observers.emit("connected", connection, elapsed)
  }

  private watch(connection: Connection<Conn>): Cause.Cause<never> | undefined {
    if (this.options.watch === undefined) return undefined
    try {
      const unwatch = this.options.watch(connection.value, {
        retire: () => this.condemn(connection, "closed"),
        capacityChanged: () => this.kind.vacated()
      })
      if (connection.state === "closing" || connection.state === "closed") unwatch?.()
      else connection.unwatch = unwatch ?? undefined
      return undefined
    } catch (defect) {
      return Cause.die(defect)
    }
  }

  /** Takes over a connection that somebody else opened; undefined if it is not fit to be lent. */
  adopt(value: Conn, close: Effect.Effect<unknown> | undefined): Connection<Conn> | undefined {
    const scope = Scope.makeUnsafe()
    if (close !== undefined) this.run(Scope.addFinalizer(scope, close))
    const connection = new Connection(nextId(), value, scope, this.clock.currentTimeMillisUnsafe(), new Map())
    this.share?.takeOver()
    this.admit(connection, 0)
    const defect = this.watch(connection)
    const reason = defect === undefined ? this.rejects(connection) : "unhealthy"
    if (reason === undefined) return connection
    this.evict(connection, reason)
    return undefined
  }

  // ---------------------------------------------------------------------------
  // Checking
  // ---------------------------------------------------------------------------

  /** Why the connection must not be lent, if so; `now` is the time, if it is known. */
  rejects(connection: Connection<Conn>, now?: number): EvictReason | undefined {
    return connection.verdict ?? this.checks.rejects(connection, now)
  }

  /** Nobody borrows it from now on; returns when that began. */
  rests(connection: Connection<Conn>): number {
    return (connection.idleSince ??= this.clock.currentTimeMillisUnsafe())
  }

  needsValidation(connection: Connection<Conn>): boolean {
    return this.checks.needsValidation(connection)
  }

  /** Starts validating; `attempt` may end before this returns. */
  validate(connection: Connection<Conn>, attempt: Attempt<Conn>): void {
    connection.state = "validating"
    attempt.validates = connection
    this.validating.add(attempt)
    const end = (healthy: boolean) => {
      if (!attempt.end()) return
      this.validating.delete(attempt)
      const gone = connection.state !== "validating"
      const reason = gone ? undefined : healthy ? this.rejects(connection) : "unhealthy"
      if (reason !== undefined) this.evict(connection, reason)
      this.kind.validated(connection, attempt, !gone && reason === undefined)
    }
    attempt.start(
      this.run(
        Effect.scoped(Effect.suspend(() => this.options.validate!(connection.value))) as Effect.Effect<unknown, unknown>
      ),
      (exit) => end(Exit.isSuccess(exit)),
      this.timer(this.settings.connectTimeout, () => {
        attempt.fiber?.interruptUnsafe()
        end(false)
      })
    )
  }

  readonly retain = (keep: Keep<Conn>): Effect.Effect<void> =>
    Effect.sync(() => {
      const now = this.clock.currentTimeMillisUnsafe()
      for (const connection of Array.from(this.all)) {
        if (connection.verdict !== undefined || connection.state === "closing" || connection.state === "closed")
          continue
        const reason = judge(keep, connection, now)
        if (reason !== undefined) this.condemn(connection, reason)
      }
    })

  // ---------------------------------------------------------------------------
  // Closing
  // ---------------------------------------------------------------------------

  /** Never lend it again: an idle connection closes now, others when they come back. */
  condemn(connection: Connection<Conn>, reason: EvictReason): void {
    if (connection.verdict !== undefined || connection.state === "closing" || connection.state === "closed") return
    connection.verdict = reason
    if (connection.state === "idle") this.evict(connection, reason)
    else this.kind.condemned(connection)
  }

  /** Closes a connection, on a fiber of its own: a close that hangs or dies harms nobody. */
  evict(connection: Connection<Conn>, reason: EvictReason): void {
    if (connection.state === "closing" || connection.state === "closed") return
    if (connection.state === "idle") this.kind.forget(connection)
    connection.state = "closing"
    connection.verdict ??= reason
    this.all.delete(connection)
    const unwatch = connection.unwatch
    connection.unwatch = undefined
    if (unwatch !== undefined) this.observers.isolate(unwatch)
    if (this.observers.active) this.observers.emit("evicted", connection, reason)
    this.close(connection.scope, {
      done: () => {
        connection.state = "closed"
        this.closed++
        if (this.observers.active) this.observers.emit("closed", connection)
      }
    })
    // There may be fewer connections now than the kind wants.
    this.kind.vacated()
  }

  /** Closes `scope`, after a fiber if given; counts as closing until that has ended or `closeTimeout` passed. */
  private close(scope: Scope.Closeable, { after, attempt, done }: Closing<Conn>): void {
    this.closing++
    let ended = false
    let timer: Fiber<void> | undefined
    const end = () => {
      if (ended) return
      ended = true
      timer?.interruptUnsafe()
      this.closing--
      done?.()
      if (attempt?.slotless !== true) this.share?.release()
      this.kind.vacated()
      this.draining.check()
    }
    const close = Effect.ignoreCause(Scope.close(scope, Exit.void), {
      log: "Unhandled",
      message: "A connection's close failed"
    })
    const closer = this.run(after === undefined ? close : Effect.andThen(awaitFiber(after), close))
    closer.addObserver(end)
    if (!ended) timer = this.timer(this.settings.closeTimeout, end)()
  }

  stop(): void {
    this.share?.want(false)
    this.backoff.stop()
    this.kind.stopped()
    for (const attempt of Array.from(this.connecting)) this.discard(attempt)
    for (const attempt of Array.from(this.validating)) {
      attempt.end()
      attempt.fiber?.interruptUnsafe()
      this.validating.delete(attempt)
      this.evict(attempt.validates!, "drain")
    }
    for (const connection of Array.from(this.all)) this.condemn(connection, "drain")
  }

  closeAll(): void {
    for (const connection of Array.from(this.all)) this.evict(connection, connection.verdict ?? "drain")
  }

  isEmpty(): boolean {
    return this.all.size === 0 && this.closing === 0 && this.connecting.size === 0
  }

  drained(): void {
    this.share?.leave()
  }

  // ---------------------------------------------------------------------------
  // Helpers
  // ---------------------------------------------------------------------------

  waitTimeout(phase: "wait" | "connect" | "validate", after: number): PoolError {
    return new PoolError({
      reason: new WaitTimeout({
        phase,
        after: Duration.millis(after),
        stats: this.stats(),
        lastFailure: this.backoff.lastFailure
      })
    })
  }

  /** Levels of a kind whose connections drain under their borrowers. */
  census(): Pick<PoolStats, "idle" | "used" | "closing" | "borrowers"> {
    let idle = 0
    let used = 0
    let borrowers = 0
    for (const connection of this.all) {
      borrowers += connection.borrowers
      if (connection.state === "idle") idle++
      else if (connection.verdict === undefined) used++
    }
    return { idle, used, borrowers, closing: this.closing + this.all.size - idle - used }
  }

  stats(): PoolStats {
    const kind = this.kind.stats()
    let connecting = 0
    for (const attempt of this.connecting) if (!attempt.handing) connecting++
    return {
      idle: kind.idle,
      used: kind.used,
      connecting,
      closing: kind.closing,
      pending: kind.pending,
      borrowers: kind.borrowers,
      maxSize: this.settings.maxSize,
      created: this.created,
      closed: this.closed,
      reused: this.reused,
      failed: this.failed,
      timedOut: this.timedOut
    }
  }

  /** Milliseconds since a monotonic time; only observers ask. */
  since(start: number): number {
    return this.observers.active ? monotonic(this.clock) - start : 0
  }

  /** A timer to be started where it is needed; none for an infinite time. */
  private timer(after: number, ring: () => void): () => Fiber<void> | undefined {
    return () =>
      after === Infinity
        ? undefined
        : this.run(Effect.flatMap(Effect.sleep(Duration.millis(after)), () => Effect.sync(ring)))
  }
}

const awaitFiber = (fiber: Fiber<unknown, unknown>): Effect.Effect<void> =>
  Effect.callback((resume) => {
    fiber.addObserver(() => resume(Effect.void))
  })
