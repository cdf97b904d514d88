/**
 * A queue of scoped connections. `offer` hands a connection to the first
 * takers or keeps it; `take` gets one or waits in line.
 *
 * It speaks Effect `Queue`'s language and adds what connections need: reuse in
 * an order of the kind's choice, capacity as a second source for waiters, and
 * removal of a waiter or of a connection from the middle in O(1).
 *
 * There is one line and one owner of all wake-ups: a connection that came back
 * and room that appeared both end in `pump`, so neither can pass a waiter by.
 *
 * Which connection is next, and when to open another, is where the exclusive
 * and the shared kinds differ: see the abstract methods at the end.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { SchedulerDispatcher } from "effect/Scheduler"
import { Closed, PoolError, QueueFull, type WaitOutcome } from "../ConnectionPool.ts"
import type { EvictReason, PoolStats } from "../ConnectionPool.ts"
import { Alarm, monotonic } from "./alarm.ts"
import { Attempt } from "./attempt.ts"
import { type Connection, nextId } from "./connection.ts"
import { minPause } from "./backoff.ts"
import type { Connections, Kind } from "./connections.ts"
import type { InnerPool } from "./innerPool.ts"
import { Line } from "./line.ts"
import type { Lender, Loan } from "./loan.ts"
import { redirectSince } from "./redirect.ts"
import { Wakes } from "./wakes.ts"

/** A loan in line, as everything in this module sees it. */
export type Waiting<Conn, E> = Loan<Conn, E | PoolError>

/** An attempt, and the waiter it is for. */
export type Own<Conn, E> = Attempt<Conn, Waiting<Conn, E>>

type Then<A, E, R> = () => Effect.Effect<A, E, R>

export abstract class ConnectionQueue<Conn, E> implements Kind<Conn, E>, Lender<Conn, E | PoolError>, InnerPool {
  readonly connections: Connections<Conn, E>
  protected readonly line = new Line<Waiting<Conn, E>>()
  private readonly wakes: Wakes<Conn, E | PoolError>
  private readonly deadlines: Alarm
  /** Whether callers are on their way here from another pool. */
  protected arriving: () => boolean = () => false
  /** Whether waiters stand in the order of their deadlines. */
  private inOrder = true
  private pumping = false
  private pumpAgain = false

  constructor(makeConnections: (kind: Kind<Conn, E>) => Connections<Conn, E>, dispatcher: SchedulerDispatcher) {
    this.connections = makeConnections(this)
    this.wakes = new Wakes(dispatcher)
    this.deadlines = new Alarm(this.connections.run, this.connections.clock, () => this.expireWaiters())
  }

  // ---------------------------------------------------------------------------
  // Taking
  // ---------------------------------------------------------------------------

  take<A, E2, R>(loan: Waiting<Conn, E>, then: Then<A, E2, R>): Effect.Effect<A, E | PoolError | E2, R> {
    if (this.connections.state !== "open") return Effect.fail(new PoolError({ reason: new Closed() }))
    // The scope it was meant for had closed.
    if (loan.phase !== "new") return Effect.interrupt
    if (this.lendNow(loan)) return then()
    const { maxPending } = this.connections.settings
    if (this.line.size >= maxPending) return Effect.fail(new PoolError({ reason: new QueueFull({ maxPending }) }))
    this.join(loan)
    this.pump()
    return this.settledOrWaiting(loan, then)
  }

  lendNow(loan: Waiting<Conn, E>): boolean {
    if (this.line.first !== undefined || this.connections.state !== "open") return false
    const connection = this.next()
    if (connection === undefined || this.connections.needsValidation(connection)) return false
    this.assign(connection)
    this.lend(loan, connection)
    return true
  }

  /** Waits for the loan's outcome; it may be there already. */
  private settledOrWaiting<A, E2, R>(
    loan: Waiting<Conn, E>,
    then: Then<A, E2, R>
  ): Effect.Effect<A, E | PoolError | E2, R> {
    // Behind those who were settled before it.
    if (loan.phase === "settled" && this.wakes.first === loan) {
      this.wakes.remove(loan)
      return Exit.isFailure(loan.outcome!) ? Effect.failCause(loan.outcome.cause) : this.accept(loan, then)
    }
    return Effect.callback<A, E | PoolError | E2, R>((resume) => {
      const settled = (outcome: Exit.Exit<void, E | PoolError>) =>
        resume(
          Exit.isFailure(outcome) ? Effect.failCause(outcome.cause) : Effect.suspend(() => this.accept(loan, then))
        )
      if (loan.outcome !== undefined && !loan.waking) settled(loan.outcome)
      else loan.resume = settled
    })
  }

  /** Ownership passes here, on the borrower's own fiber; until then the grant can be taken back. */
  private accept<A, E2, R>(loan: Waiting<Conn, E>, then: Then<A, E2, R>): Effect.Effect<A, E | PoolError | E2, R> {
    // Its scope was closed while its fiber was on its way; what it held has been handed on.
    if (loan.phase === "ended") return Effect.interrupt
    const connection = loan.held
    if (connection === undefined) return then()
    if (this.connections.state !== "open") {
      this.waitEnded(loan, "closed")
      return Effect.fail(new PoolError({ reason: new Closed() }))
    }
    const reason = this.connections.rejects(connection)
    if (reason === undefined) {
      this.lend(loan, connection)
      return then()
    }
    loan.resume = undefined
    const other = this.takeFromLater(loan)
    if (other === undefined) this.takeBack(loan, connection)
    else {
      connection.borrowers--
      this.assign(other)
      loan.held = other
    }
    this.retire(connection, reason)
    this.pump()
    return other === undefined ? this.settledOrWaiting(loan, then) : this.accept(loan, then)
  }

  /** Takes a grant from the last in line whose fiber has not run either, if that came later than `loan`. */
  private takeFromLater(loan: Waiting<Conn, E>): Connection<Conn> | undefined {
    for (let later = this.wakes.last; later !== undefined && later.arrival > loan.arrival; later = later.previous) {
      const connection = later.held
      if (connection === undefined || later.idleOnly) continue
      this.takeBack(later, connection)
      return connection
    }
    return undefined
  }

  /** Takes a connection from a waiter whose fiber has not run yet; the waiter stands in line as before. */
  private takeBack(loan: Waiting<Conn, E>, connection: Connection<Conn>): void {
    this.wakes.remove(loan)
    connection.borrowers--
    loan.held = undefined
    loan.outcome = undefined
    loan.phase = "waiting"
    this.line.rejoin(loan)
    // The timer may have rung while nobody stood in line.
    this.awaitDeadline()
  }

  /** Counts a borrower in; `lend` follows when its fiber runs. */
  private assign(connection: Connection<Conn>): void {
    if (connection.state === "idle") this.forget(connection)
    connection.state = "used"
    connection.borrowers++
  }

  private lend(loan: Waiting<Conn, E>, connection: Connection<Conn>): void {
    connection.idleSince = undefined
    connection.fresh = false
    if (connection.uses++ > 0) this.connections.reused++
    loan.held = connection
    const { phase } = loan
    // Before observers are told, who may close the loan's scope.
    loan.phase = "lent"
    if (this.connections.observers.watchesLoans) {
      if (phase === "settled") this.waitEnded(loan, "served")
      loan.since = monotonic(this.connections.clock)
      this.connections.observers.borrowed(connection)
    }
  }

  // ---------------------------------------------------------------------------
  // Returning
  // ---------------------------------------------------------------------------

  end(loan: Waiting<Conn, E>): void {
    const phase = loan.phase
    loan.phase = "ended"
    if (phase === "lent") {
      const connection = loan.held!
      connection.borrowers--
      if (this.connections.observers.watchesLoans) {
        this.connections.observers.returned(connection, this.connections.since(loan.since))
      }
      if (this.gone(connection)) return
      // What goes straight to the next borrower has no use for the time, which is expensive.
      const timed = connection.borrowers === 0 && this.connections.checks.timed
      this.comeBack(connection, timed ? this.connections.rests(connection) : undefined)
    } else if (phase === "waiting") {
      const orphan = this.line.leave(loan) as Own<Conn, E> | undefined
      this.waitEnded(loan, "interrupted")
      this.abandon(orphan)
      this.tidy()
    } else if (phase === "settled") {
      this.wakes.remove(loan)
      const connection = loan.held
      if (connection === undefined) return
      connection.borrowers--
      this.waitEnded(loan, "interrupted")
      if (!this.gone(connection)) this.comeBack(connection)
    }
  }

  invalidate(loan: Waiting<Conn, E>): void {
    if (loan.phase === "lent") this.connections.condemn(loan.held!, "invalidated")
  }

  /** A pool that drained has closed it under its borrower. */
  private gone(connection: Connection<Conn>): boolean {
    return connection.state === "closing" || connection.state === "closed"
  }

  /** `now` is the time, if it is known. */
  private comeBack(connection: Connection<Conn>, now?: number): void {
    const reason = this.connections.rejects(connection, now)
    const waiters = this.line.first !== undefined
    if (reason !== undefined) this.retire(connection, reason)
    else if (this.connections.share?.yields(waiters || connection.borrowers > 0)) this.retire(connection, "capacity")
    else if (waiters) this.hand(connection)
    else this.keep(connection)
    this.share()
  }

  /** Nobody here waits for it: it stays, unless another pool of the same limit needs its place. */
  private rest(connection: Connection<Conn>): void {
    if (!this.arriving() && this.connections.share?.yields(false)) this.connections.evict(connection, "capacity")
    else this.keep(connection)
  }

  /** Tells the shared limit whether waiters lack nothing but a slot. */
  private share(): void {
    const { share } = this.connections
    if (share === undefined) return
    share.want(this.line.first !== undefined && this.lacksSlot())
    share.hope(this.hopesForSlot())
  }

  /** Never lend it again; it closes when nobody has it any more. */
  protected retire(connection: Connection<Conn>, reason: EvictReason): void {
    if (connection.borrowers === 0) this.connections.evict(connection, reason)
    else {
      connection.verdict ??= reason
      this.pump()
    }
  }

  /** Hands a connection to the head of the line, as often as it has room, or keeps it. */
  protected offer(connection: Connection<Conn>, by?: Own<Conn, E> | undefined): void {
    this.line.advance(by as never)
    for (let head = this.line.first; head !== undefined && this.hasSlot(connection); head = this.line.first) {
      const orphan = this.line.leave(head) as Own<Conn, E> | undefined
      this.assign(connection)
      head.held = connection
      this.settle(head, Exit.void)
      this.abandon(orphan)
    }
    if (connection.borrowers === 0) this.rest(connection)
  }

  /** Offers an idle or returned connection, after its validation if it needs one. */
  protected hand(connection: Connection<Conn>): void {
    if (this.connections.needsValidation(connection)) this.validate(connection)
    else this.offer(connection)
  }

  // ---------------------------------------------------------------------------
  // Waiting
  // ---------------------------------------------------------------------------

  private join(loan: Waiting<Conn, E>): void {
    loan.phase = "waiting"
    const now = monotonic(this.connections.clock)
    loan.start ??= now
    const last = this.line.last
    if (last !== undefined && loan.start < last.start!) this.inOrder = false
    this.line.join(loan)
    if (last === undefined || !this.inOrder) this.awaitDeadline()
    if (this.connections.observers.watchesLoans) {
      loan.since = now
      loan.waiter = nextId()
      this.connections.observers.emit("waitStarted", loan.waiter)
    }
  }

  protected settle(loan: Waiting<Conn, E>, outcome: Exit.Exit<void, E | PoolError>): void {
    loan.phase = "settled"
    loan.outcome = outcome
    this.wakes.add(loan)
  }

  protected fail(loan: Waiting<Conn, E>, cause: Cause.Cause<E | PoolError>, outcome: WaitOutcome): void {
    const orphan = this.line.leave(loan) as Own<Conn, E> | undefined
    this.settle(loan, Exit.failCause(cause))
    // When the line is in order again: an observer may interrupt the very caller that it is told of.
    this.waitEnded(loan, outcome)
    this.abandon(orphan)
  }

  private awaitDeadline(): void {
    const { waitTimeout } = this.connections.settings
    const longest = this.longestWaiting()
    if (longest !== undefined) this.deadlines.set(longest.start! + waitTimeout)
  }

  /** The waiter whose deadline is next: the head, unless somebody came who had waited in another pool. */
  private longestWaiting(): Waiting<Conn, E> | undefined {
    let longest = this.line.first
    if (longest === undefined) this.inOrder = true
    if (this.inOrder) return longest
    for (let loan = longest; loan !== undefined; loan = loan.next) if (loan.start! < longest!.start!) longest = loan
    return longest
  }

  private expireWaiters(): void {
    const now = monotonic(this.connections.clock)
    for (let loan = this.longestWaiting(); loan !== undefined; loan = this.longestWaiting()) {
      if (loan.start! + this.connections.settings.waitTimeout > now) return this.awaitDeadline()
      this.connections.timedOut++
      const error = this.connections.waitTimeout(this.phaseOf(loan), this.connections.settings.waitTimeout)
      this.fail(loan, Cause.fail(error), "timedOut")
    }
    this.tidy()
  }

  protected waitEnded(loan: Waiting<Conn, E>, outcome: WaitOutcome): void {
    if (!this.connections.observers.watchesLoans || loan.waiter === 0) return
    this.connections.observers.emit("waitEnded", loan.waiter, outcome, this.connections.since(loan.since))
    loan.waiter = 0
  }

  // ---------------------------------------------------------------------------
  // Matching waiters with connections and with room
  // ---------------------------------------------------------------------------

  protected pump(): void {
    if (this.connections.state !== "open") return
    // A connector or a close that ends at once calls back into this loop.
    this.pumpAgain = true
    if (this.pumping) return
    this.pumping = true
    while (this.pumpAgain) {
      this.pumpAgain = false
      this.serve()
      this.grow()
    }
    this.pumping = false
    this.tidy()
  }

  private serve(): void {
    while (this.line.first !== undefined) {
      const connection = this.next()
      if (connection === undefined) return
      const enough = this.connections.validating.size >= this.line.size && !this.line.unattended?.idleOnly
      if (enough && this.connections.needsValidation(connection)) return
      if (connection.state === "idle") this.forget(connection)
      this.hand(connection)
    }
  }

  /** What was idle beside callers in line, and kept for them, may be what another pool of the same limit waits for. */
  private releaseKept(): void {
    const { share } = this.connections
    if (share === undefined) return
    while (this.line.first === undefined && this.idleSince() !== undefined && share.yields(false)) this.giveUp()
  }

  /** Timers run only while somebody may need them. */
  private tidy(): void {
    this.connections.backoff.wake(this.wantsAttempt())
    if (this.connections.state !== "open") return
    this.share()
    this.releaseKept()
    if (this.line.first === undefined && this.connections.all.size === 0) this.deadlines.clear()
  }

  // ---------------------------------------------------------------------------
  // What the connections tell
  // ---------------------------------------------------------------------------

  opened(connection: Connection<Conn>, attempt: Attempt<Conn>): void {
    this.offer(connection, attempt as Own<Conn, E>)
    this.pump()
  }

  redirected(_: Attempt<Conn>, cause: Cause.Cause<E | PoolError>): void {
    // An attempt that nobody waits for would be told the same again at once.
    if (this.line.first === undefined) this.connections.backoff.atLeast(minPause)
    for (let loan = this.line.first; loan !== undefined; loan = this.line.first) {
      this.fail(loan, redirectSince(cause, loan.start!), "failed")
    }
    this.pump()
  }

  // ---------------------------------------------------------------------------
  // As a part of another pool
  // ---------------------------------------------------------------------------

  openOne(): Effect.Effect<Exit.Exit<unknown, unknown>> | undefined {
    const { share, state } = this.connections
    if (state !== "open" || !this.hasRoom() || (share !== undefined && !share.take())) return undefined
    const attempt = new Attempt<Conn>()
    this.connections.connect(attempt)
    return attempt.exit
  }

  canLend(): boolean {
    return this.line.first === undefined && this.next() !== undefined
  }

  isWaking(): boolean {
    return this.wakes.first !== undefined
  }

  stopAsking(): void {
    this.connections.share?.want(false)
    this.connections.share?.hope(false)
  }

  keepWhile(arriving: () => boolean): void {
    this.arriving = arriving
  }

  arrived(): void {
    this.trim()
    this.pump()
  }

  lendable(): number {
    let count = 0
    for (const connection of this.connections.all) if (connection.verdict === undefined) count++
    return count
  }

  abstract idle(): number

  /** It closes when it comes back; where it no longer counts, there may be room. */
  condemned(): void {
    this.pump()
  }

  vacated(): void {
    this.pump()
  }

  stopped(): void {
    this.deadlines.clear()
    for (let loan = this.line.first; loan !== undefined; loan = this.line.first) {
      this.fail(loan, Cause.fail(new PoolError({ reason: new Closed() })), "closed")
    }
  }

  abstract failed(attempt: Attempt<Conn>, cause: Cause.Cause<E | PoolError> | undefined): void
  abstract validated(connection: Connection<Conn>, attempt: Attempt<Conn>, healthy: boolean): void
  /** Evicts idle connections beyond what the kind keeps. */
  protected trim(): void {}
  abstract idleSince(): number | undefined
  abstract giveUp(): void
  abstract stats(): Pick<PoolStats, "idle" | "used" | "closing" | "pending" | "borrowers">

  // ---------------------------------------------------------------------------
  // Where the kinds differ
  // ---------------------------------------------------------------------------

  /** The connection to lend next, if one has a free slot; evicts those that are not fit. */
  protected abstract next(): Connection<Conn> | undefined
  /** Whether one more borrower fits. */
  protected abstract hasSlot(connection: Connection<Conn>): boolean
  /** Nobody waits: what is idle, or has a free slot, stays for later. */
  protected abstract keep(connection: Connection<Conn>): void
  /** An idle connection is taken or evicted. */
  abstract forget(connection: Connection<Conn>): void
  protected abstract validate(connection: Connection<Conn>): void
  /** Whether one more connection fits. */
  protected abstract hasRoom(): boolean
  /** Starts as many attempts as the line, and the kind's own plans, call for. */
  protected abstract grow(): void
  /** Whether `grow` would start an attempt if the backoff allowed it. */
  protected abstract wantsAttempt(): boolean
  /** Whether a waiter's attempt would start if the shared limit granted a slot. */
  protected abstract lacksSlot(): boolean
  /** Whether an attempt that nobody waits for would start if the shared limit granted a slot. */
  protected abstract hopesForSlot(): boolean
  /** The owner of an attempt has left, or was served otherwise. */
  protected abstract abandon(orphan: Own<Conn, E> | undefined): void
  /** What a waiter is waiting for. */
  protected abstract phaseOf(loan: Waiting<Conn, E>): "wait" | "connect" | "validate"
}
