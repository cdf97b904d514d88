/**
 * A queue of scoped connections. `offer` hands a connection to the first
 * taker or keeps it; `take` gets one or waits in line.
 *
 * It speaks Effect `Queue`'s language and adds what connections need: reuse in
 * either order, capacity as a second source for waiters, and removal of a
 * waiter or of a connection from the middle in O(1).
 *
 * There is one line and one owner of all wake-ups: a connection that came back
 * and room that appeared both end in `pump`, so neither can pass a waiter by.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { SchedulerDispatcher } from "effect/Scheduler"
import { Closed, PoolError, QueueFull, type WaitOutcome } from "../ConnectionPool.ts"
import type { PoolStats } from "../ConnectionPool.ts"
import { Alarm, monotonic } from "./alarm.ts"
import { Attempt } from "./attempt.ts"
import { type Connection, nextId } from "./connection.ts"
import type { Connections, Kind } from "./connections.ts"
import { Line } from "./line.ts"
import { LinkedList } from "./linkedList.ts"
import type { Lender, Loan } from "./loan.ts"
import { Wakes } from "./wakes.ts"

export interface QueueSettings {
  readonly order: "lifo" | "fifo"
  readonly minSize: number
  readonly maxIdle: number
}

export class ConnectionQueue<Conn, E> implements Kind<Conn, E>, Lender<Conn, E | PoolError> {
  readonly connections: Connections<Conn, E>
  private readonly settings: QueueSettings
  /** Least recently returned first. */
  private readonly idle = new LinkedList<Connection<Conn>>()
  private readonly line = new Line<Loan<Conn, E | PoolError>>()
  private readonly wakes: Wakes<Conn, E | PoolError>
  private readonly deadlines: Alarm
  private pumping = false
  private pumpAgain = false

  constructor(
    makeConnections: (kind: Kind<Conn, E>) => Connections<Conn, E>,
    dispatcher: SchedulerDispatcher,
    settings: QueueSettings
  ) {
    this.settings = settings
    this.connections = makeConnections(this)
    this.wakes = new Wakes(dispatcher)
    this.deadlines = new Alarm(this.connections.run, this.connections.clock, () => this.expireWaiters())
  }

  // ---------------------------------------------------------------------------
  // Taking
  // ---------------------------------------------------------------------------

  take(loan: Loan<Conn, E | PoolError>): Effect.Effect<void, E | PoolError> | undefined {
    if (this.connections.state !== "open") return Effect.fail(new PoolError({ reason: new Closed() }))
    // The scope it was meant for had closed.
    if (loan.phase !== "new") return Effect.interrupt
    if (this.line.waiters.first === undefined) {
      const connection = this.nextIdle()
      if (connection !== undefined && !this.connections.needsValidation(connection)) {
        this.idle.remove(connection)
        this.lend(loan, connection)
        return undefined
      }
    }
    const { maxPending } = this.connections.settings
    if (this.line.waiters.size >= maxPending)
      return Effect.fail(new PoolError({ reason: new QueueFull({ maxPending }) }))
    this.join(loan)
    this.pump()
    return this.settledOrWaiting(loan)
  }

  /** Waits for the loan's outcome; it may be there already. */
  private settledOrWaiting(loan: Loan<Conn, E | PoolError>): Effect.Effect<void, E | PoolError> | undefined {
    if (loan.phase === "settled") {
      this.wakes.remove(loan)
      return Exit.isFailure(loan.outcome!) ? loan.outcome! : this.accept(loan)
    }
    return Effect.flatMap(
      Effect.callback<void, E | PoolError>((resume) => {
        if (loan.outcome !== undefined) resume(loan.outcome)
        else loan.resume = resume
      }),
      () => this.accept(loan) ?? Effect.void
    )
  }

  /** Ownership passes here, on the borrower's own fiber; until then the grant can be taken back. */
  private accept(loan: Loan<Conn, E | PoolError>): Effect.Effect<void, E | PoolError> | undefined {
    const connection = loan.held
    if (connection === undefined) return undefined
    if (this.connections.state !== "open") return Effect.fail(new PoolError({ reason: new Closed() }))
    const reason = this.connections.rejects(connection)
    if (reason === undefined) {
      this.lend(loan, connection)
      return undefined
    }
    loan.held = undefined
    loan.outcome = undefined
    loan.resume = undefined
    loan.phase = "waiting"
    connection.borrowers = 0
    this.line.rejoin(loan)
    this.connections.evict(connection, reason)
    this.pump()
    return this.settledOrWaiting(loan)
  }

  private lend(loan: Loan<Conn, E | PoolError>, connection: Connection<Conn>): void {
    connection.state = "used"
    connection.borrowers = 1
    connection.idleSince = undefined
    connection.fresh = false
    if (connection.uses++ > 0) this.connections.reused++
    loan.held = connection
    if (this.connections.observers.active) {
      if (loan.phase === "settled") this.waitEnded(loan, "served")
      loan.since = monotonic(this.connections.clock)
      this.connections.observers.emit("borrowed", connection)
    }
    loan.phase = "lent"
  }

  // ---------------------------------------------------------------------------
  // Returning
  // ---------------------------------------------------------------------------

  end(loan: Loan<Conn, E | PoolError>): void {
    const phase = loan.phase
    loan.phase = "ended"
    if (phase === "lent") {
      const connection = loan.held!
      connection.borrowers = 0
      if (this.connections.observers.active) {
        this.connections.observers.emit("returned", connection, this.connections.since(loan.since))
      }
      if (this.gone(connection)) return
      connection.idleSince = this.connections.clock.currentTimeMillisUnsafe()
      this.comeBack(connection)
    } else if (phase === "waiting") {
      this.waitEnded(loan, "interrupted")
      this.abandon(this.line.leave(loan))
      this.tidy()
    } else if (phase === "settled") {
      this.wakes.remove(loan)
      const connection = loan.held
      if (connection === undefined) return
      this.waitEnded(loan, "interrupted")
      connection.borrowers = 0
      if (!this.gone(connection)) this.comeBack(connection)
    }
  }

  invalidate(loan: Loan<Conn, E | PoolError>): void {
    if (loan.phase === "lent") this.connections.condemn(loan.held!, "invalidated")
  }

  /** A pool that drained has closed it under its borrower. */
  private gone(connection: Connection<Conn>): boolean {
    return connection.state === "closing" || connection.state === "closed"
  }

  private comeBack(connection: Connection<Conn>): void {
    const reason = this.connections.rejects(connection)
    if (reason !== undefined) this.connections.evict(connection, reason)
    else if (this.line.waiters.first === undefined) this.keep(connection)
    else this.hand(connection)
  }

  /** Hands a connection to the head of the line, or keeps it. `by` is the attempt that yielded it. */
  offer(connection: Connection<Conn>, by?: Attempt<Conn> | undefined): void {
    const head = this.line.waiters.first
    if (head === undefined) return this.keep(connection)
    this.line.advance(by as Attempt<unknown, Loan<Conn, E | PoolError>> | undefined)
    const orphan = this.line.leave(head)
    connection.state = "used"
    connection.borrowers = 1
    head.held = connection
    this.settle(head, Exit.void)
    this.abandon(orphan)
  }

  private keep(connection: Connection<Conn>): void {
    if (this.idle.size >= this.settings.maxIdle) return this.connections.evict(connection, "capacity")
    connection.state = "idle"
    connection.fresh = false
    this.idle.push(connection)
  }

  /** Offers an idle or returned connection, after its validation if it needs one. */
  private hand(connection: Connection<Conn>): void {
    if (!this.connections.needsValidation(connection)) return this.offer(connection)
    const attempt = new Attempt<Conn, Loan<Conn, E | PoolError>>()
    this.line.attend(attempt)
    this.connections.validate(connection, attempt)
  }

  // ---------------------------------------------------------------------------
  // Waiting
  // ---------------------------------------------------------------------------

  private join(loan: Loan<Conn, E | PoolError>): void {
    loan.phase = "waiting"
    const { waitTimeout } = this.connections.settings
    const now = monotonic(this.connections.clock)
    loan.deadline = now + waitTimeout
    this.line.join(loan)
    // All callers wait equally long, so the head's deadline is the first.
    this.deadlines.set(this.line.waiters.first!.deadline)
    if (this.connections.observers.active) {
      loan.since = now
      loan.waiter = nextId()
      this.connections.observers.emit("waitStarted", loan.waiter)
    }
  }

  private settle(loan: Loan<Conn, E | PoolError>, outcome: Exit.Exit<void, E | PoolError>): void {
    loan.phase = "settled"
    loan.outcome = outcome
    this.wakes.add(loan)
  }

  private fail(loan: Loan<Conn, E | PoolError>, cause: Cause.Cause<E | PoolError>, outcome: WaitOutcome): void {
    this.waitEnded(loan, outcome)
    const orphan = this.line.leave(loan)
    this.settle(loan, Exit.failCause(cause))
    this.abandon(orphan)
  }

  /** An attempt without its owner goes on for whoever comes, or is cancelled if the pool was told so. */
  private abandon(orphan: Attempt<unknown, Loan<Conn, E | PoolError>> | undefined): void {
    if (orphan === undefined || orphan.ended || !this.connections.settings.cancelAbandoned) return
    if (this.line.unattended !== undefined) this.line.attend(orphan)
    else if (orphan.validates === undefined) this.connections.discard(orphan as Attempt<Conn>)
  }

  private expireWaiters(): void {
    const now = monotonic(this.connections.clock)
    for (let loan = this.line.waiters.first; loan !== undefined; loan = this.line.waiters.first) {
      if (loan.deadline > now) return this.deadlines.set(loan.deadline)
      const phase = loan.attempt === undefined ? "wait" : loan.attempt.validates === undefined ? "connect" : "validate"
      this.connections.timedOut++
      const error = this.connections.waitTimeout(phase, this.connections.settings.waitTimeout)
      this.fail(loan, Cause.fail(error), "timedOut")
    }
    this.tidy()
  }

  private waitEnded(loan: Loan<Conn, E | PoolError>, outcome: WaitOutcome): void {
    if (!this.connections.observers.active || loan.waiter === 0) return
    this.connections.observers.emit("waitEnded", loan.waiter, outcome, this.connections.since(loan.since))
  }

  // ---------------------------------------------------------------------------
  // Matching waiters with connections and with room
  // ---------------------------------------------------------------------------

  /** The idle connection to lend next; evicts those that are not fit. */
  private nextIdle(): Connection<Conn> | undefined {
    for (;;) {
      const connection = this.settings.order === "lifo" ? this.idle.last : this.idle.first
      if (connection === undefined) return undefined
      const reason = this.connections.rejects(connection)
      if (reason === undefined) return connection
      this.connections.evict(connection, reason)
    }
  }

  private pump(): void {
    if (this.connections.state !== "open") return
    // A connector or a close that ends at once calls back into this loop.
    this.pumpAgain = true
    if (this.pumping) return
    this.pumping = true
    while (this.pumpAgain) {
      this.pumpAgain = false
      this.serveFromIdle()
      this.connectForWaiters()
      this.replenish()
    }
    this.pumping = false
    this.tidy()
  }

  private serveFromIdle(): void {
    while (this.line.waiters.first !== undefined) {
      const connection = this.nextIdle()
      if (connection === undefined) return
      this.idle.remove(connection)
      this.hand(connection)
    }
  }

  private connectForWaiters(): void {
    while (this.line.unattended !== undefined && this.hasRoom() && this.connections.mayConnect()) {
      const attempt = new Attempt<Conn, Loan<Conn, E | PoolError>>()
      this.line.attend(attempt)
      this.connections.connect(attempt)
    }
  }

  private replenish(): void {
    while (this.belowMinimum() && this.hasRoom() && this.connections.mayConnect()) {
      this.connections.connect(new Attempt<Conn>())
    }
  }

  private belowMinimum(): boolean {
    return this.connections.all.size + this.connections.connecting.size < this.settings.minSize
  }

  /** A connection keeps its place until its close has ended: the server still sees it. */
  private hasRoom(): boolean {
    const { all, closing, connecting, settings } = this.connections
    return all.size + connecting.size + closing < settings.maxSize
  }

  /** Timers run only while somebody may need them. */
  private tidy(): void {
    const waiting = this.line.waiters.first !== undefined
    this.connections.backoff.wake(this.line.unattended !== undefined || this.belowMinimum())
    if (!waiting && this.connections.all.size === 0) this.deadlines.clear()
  }

  // ---------------------------------------------------------------------------
  // Adopting
  // ---------------------------------------------------------------------------

  /** Takes over an open connection; at capacity the least recently used idle one makes room. */
  adopt(value: Conn, close: Effect.Effect<unknown> | undefined): void {
    const { maxSize } = this.connections.settings
    const full = () => this.connections.all.size + this.connections.connecting.size >= maxSize
    if (full() && this.idle.first !== undefined) this.connections.evict(this.idle.first, "capacity")
    const refused = this.connections.state !== "open" || full()
    const connection = this.connections.adopt(value, close)
    if (connection === undefined) return
    if (refused) this.connections.evict(connection, "capacity")
    else this.offer(connection)
  }

  /** `take`, if an idle connection is there and nobody waits for it. */
  takeIdle(
    loan: Loan<Conn, E | PoolError>,
    lender: Lender<Conn, E | PoolError>
  ): Effect.Effect<void, E | PoolError> | undefined {
    if (this.connections.state === "open" && (this.line.waiters.first !== undefined || this.nextIdle() === undefined)) {
      return undefined
    }
    loan.idleOnly = true
    return lender.take(loan)
  }

  // ---------------------------------------------------------------------------
  // What the connections tell
  // ---------------------------------------------------------------------------

  opened(connection: Connection<Conn>, attempt: Attempt<Conn>): void {
    this.offer(connection, attempt)
    this.pump()
  }

  failed(attempt: Attempt<Conn>, cause: Cause.Cause<E | PoolError> | undefined): void {
    const owner = attempt.owner as Loan<Conn, E | PoolError> | undefined
    if (owner === undefined) {
      if (this.line.waiters.first === undefined) this.connections.backoff.atLeast(minReplenishPause)
    } else if (cause === undefined) this.line.lose(owner)
    else this.fail(owner, cause, "failed")
    this.pump()
  }

  validated(connection: Connection<Conn>, attempt: Attempt<Conn>, healthy: boolean): void {
    const owner = attempt.owner as Loan<Conn, E | PoolError> | undefined
    if (healthy) this.offer(connection, attempt)
    else if (owner !== undefined && owner.idleOnly && this.nextIdle() === undefined) {
      this.line.leave(owner)
      this.settle(owner, Exit.void)
    } else if (owner !== undefined) this.line.lose(owner)
    this.pump()
  }

  forget(connection: Connection<Conn>): void {
    this.idle.remove(connection)
  }

  condemned(): void {
    // It closes when it comes back.
  }

  vacated(): void {
    this.pump()
  }

  stopped(): void {
    this.deadlines.clear()
    for (let loan = this.line.waiters.first; loan !== undefined; loan = this.line.waiters.first) {
      this.fail(loan, Cause.fail(new PoolError({ reason: new Closed() })), "closed")
    }
  }

  stats(): Pick<PoolStats, "idle" | "used" | "closing" | "pending" | "borrowers"> {
    let borrowers = 0
    for (const connection of this.connections.all) borrowers += connection.borrowers
    return {
      idle: this.idle.size,
      used: this.connections.all.size - this.idle.size,
      closing: this.connections.closing,
      pending: this.line.waiters.size,
      borrowers
    }
  }
}

/** A background attempt that failed is not repeated sooner, whatever the backoff says: milliseconds. */
const minReplenishPause = 100
