/**
 * The queue of shared connections: each admits as many borrowers as it says,
 * and attempts belong to the line as a whole.
 */
import type * as Cause from "effect/Cause"
import type { SchedulerDispatcher } from "effect/Scheduler"
import type { PoolError, PoolStats } from "../ConnectionPool.ts"
import { Attempt } from "./attempt.ts"
import type { Connection } from "./connection.ts"
import { ConnectionQueue, type Waiting } from "./connectionQueue.ts"
import type { Connections, Kind } from "./connections.ts"

export interface SharedSettings<Conn> {
  readonly concurrency: number | ((connection: Conn) => number)
  readonly saturation: number
}

export class SharedQueue<Conn, E> extends ConnectionQueue<Conn, E> {
  private readonly settings: SharedSettings<Conn>
  /** What one more connection can be expected to admit; undefined until one has admitted anybody. */
  private usualCapacity: number | undefined = undefined

  constructor(
    makeConnections: (kind: Kind<Conn, E>) => Connections<Conn, E>,
    dispatcher: SchedulerDispatcher,
    settings: SharedSettings<Conn>
  ) {
    super(makeConnections, dispatcher)
    this.settings = settings
  }

  override lendNow(loan: Waiting<Conn, E>): boolean {
    const lent = super.lendNow(loan)
    // This loan may have been the one that calls for another connection.
    if (lent && this.settings.saturation < 1) this.pump()
    return lent
  }

  /** The least loaded connection. */
  protected next(): Connection<Conn> | undefined {
    for (;;) {
      let best: Connection<Conn> | undefined
      for (const connection of this.connections.all) {
        if (this.hasSlot(connection) && (best === undefined || connection.borrowers < best.borrowers)) best = connection
      }
      if (best === undefined) return undefined
      const reason = this.connections.rejects(best)
      if (reason === undefined) return best
      this.retire(best, reason)
    }
  }

  protected hasSlot(connection: Connection<Conn>): boolean {
    return (
      connection.verdict === undefined &&
      connection.state !== "validating" &&
      connection.borrowers < this.capacityOf(connection)
    )
  }

  /** Asked each time: a peer may change it, even to less than is in use. */
  private capacityOf(connection: Connection<Conn>): number {
    const { concurrency } = this.settings
    if (typeof concurrency === "number") return concurrency
    try {
      return concurrency(connection.value)
    } catch {
      return 0
    }
  }

  protected keep(connection: Connection<Conn>): void {
    if (connection.borrowers > 0) return
    connection.state = "idle"
    connection.fresh = false
    this.connections.rests(connection)
  }

  forget(connection: Connection<Conn>): void {
    connection.state = "used"
  }

  // ---------------------------------------------------------------------------
  // Attempts
  // ---------------------------------------------------------------------------

  protected grow(): void {
    // Asked anew each time: an attempt may end before `connect` returns.
    while (this.wantsAttempt() && this.connections.claim()) this.connections.connect(new Attempt<Conn>())
  }

  protected wantsAttempt(): boolean {
    return this.connections.connecting.size < this.wanted() && this.hasRoom()
  }

  protected lacksSlot(): boolean {
    return this.wantsAttempt() && this.connections.mayConnect()
  }

  protected hopesForSlot(): boolean {
    return this.line.first === undefined && this.lacksSlot()
  }

  /** None while callers wait: then it is idle because it admits nobody yet, and kept for them. */
  idleSince(): number | undefined {
    return this.line.first === undefined && !this.arriving() ? this.oldestIdle()?.idleSince : undefined
  }

  giveUp(): void {
    const connection = this.oldestIdle()
    if (connection !== undefined) this.connections.evict(connection, "capacity")
  }

  private oldestIdle(): Connection<Conn> | undefined {
    let oldest: Connection<Conn> | undefined
    for (const connection of this.connections.all) {
      if (connection.state !== "idle") continue
      if (oldest === undefined || connection.idleSince! < oldest.idleSince!) oldest = connection
    }
    return oldest
  }

  /** How many attempts should be in flight. */
  private wanted(): number {
    let waiting = this.line.size
    let lendable = 0
    let saturated = 0
    let borrowers = 0
    for (const connection of this.connections.all) {
      if (connection.verdict !== undefined) continue
      const capacity = this.capacityOf(connection)
      lendable++
      borrowers += connection.borrowers
      if (connection.borrowers >= capacity * this.settings.saturation) saturated++
      if (connection.state === "validating") waiting -= capacity
      if (capacity >= 1) this.usualCapacity = capacity
    }
    // Nobody knows yet how many callers the first connection will serve.
    if (lendable === 0) return waiting > 0 ? 1 : 0
    // A peer that admits nobody yet says nothing that calls for more connections.
    if (waiting > 0) return this.usualCapacity === undefined ? 0 : Math.ceil(waiting / this.usualCapacity)
    return this.settings.saturation < 1 && borrowers > 0 && saturated === lendable ? 1 : 0
  }

  /** A connection that can only drain makes room. */
  protected hasRoom(): boolean {
    return this.lendable() + this.connections.connecting.size < this.connections.settings.maxSize
  }

  idle(): number {
    let count = 0
    for (const connection of this.connections.all) if (connection.state === "idle") count++
    return count
  }

  /** The line has become shorter: attempts that it no longer calls for go on, or are cancelled if the pool was told so. */
  protected abandon(): void {
    if (!this.connections.settings.cancelAbandoned) return
    const surplus = this.connections.connecting.size - this.wanted()
    if (surplus > 0)
      for (const attempt of Array.from(this.connections.connecting).slice(-surplus)) this.connections.discard(attempt)
  }

  protected phaseOf(): "wait" | "connect" | "validate" {
    if (this.connections.validating.size > 0) return "validate"
    return this.connections.connecting.size > 0 ? "connect" : "wait"
  }

  /** Without any connection to wait for, the failure is everybody's. */
  failed(_: Attempt<Conn>, cause: Cause.Cause<E | PoolError> | undefined): void {
    if (cause !== undefined && this.lendable() === 0 && this.connections.connecting.size === 0) {
      for (let loan = this.line.first; loan !== undefined; loan = this.line.first) {
        this.fail(loan, cause, "failed")
      }
    }
    this.pump()
  }

  protected validate(connection: Connection<Conn>): void {
    this.connections.validate(connection, new Attempt<Conn>())
  }

  validated(connection: Connection<Conn>, _: Attempt<Conn>, healthy: boolean): void {
    if (healthy) {
      connection.state = "used"
      this.offer(connection)
    }
    this.pump()
  }

  stats(): Pick<PoolStats, "idle" | "used" | "closing" | "pending" | "borrowers"> {
    return { ...this.connections.census(), pending: this.line.size }
  }
}
