/**
 * The queue of exclusive connections: idle ones are kept in the order they
 * came back, and every waiter with room has an attempt of its own.
 */
import type * as Cause from "effect/Cause"
import type * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { SchedulerDispatcher } from "effect/Scheduler"
import type { PoolError, PoolStats } from "../ConnectionPool.ts"
import { Attempt } from "./attempt.ts"
import { minPause } from "./backoff.ts"
import type { Connection } from "./connection.ts"
import { ConnectionQueue, type Own, type Waiting } from "./connectionQueue.ts"
import type { Connections, Kind } from "./connections.ts"
import { LinkedList } from "./linkedList.ts"
import type { Lender } from "./loan.ts"

export interface ExclusiveSettings {
  readonly order: "lifo" | "fifo"
  readonly minSize: number
  readonly maxIdle: number
}

export class ExclusiveQueue<Conn, E> extends ConnectionQueue<Conn, E> {
  private readonly lifo: boolean
  private readonly minSize: number
  private readonly maxIdle: number
  /** Least recently returned first. */
  private readonly unused = new LinkedList<Connection<Conn>>()

  constructor(
    makeConnections: (kind: Kind<Conn, E>) => Connections<Conn, E>,
    dispatcher: SchedulerDispatcher,
    settings: ExclusiveSettings
  ) {
    super(makeConnections, dispatcher)
    this.lifo = settings.order === "lifo"
    this.minSize = settings.minSize
    this.maxIdle = settings.maxIdle
  }

  idle(): number {
    return this.unused.size
  }

  protected next(): Connection<Conn> | undefined {
    for (;;) {
      const connection = this.lifo ? this.unused.last : this.unused.first
      if (connection === undefined) return undefined
      const reason = this.connections.rejects(connection)
      if (reason === undefined) return connection
      this.connections.evict(connection, reason)
    }
  }

  protected hasSlot(connection: Connection<Conn>): boolean {
    return connection.borrowers === 0
  }

  protected keep(connection: Connection<Conn>): void {
    if (this.unused.size >= this.maxIdle && !this.arriving()) return this.connections.evict(connection, "capacity")
    connection.state = "idle"
    connection.fresh = false
    this.connections.rests(connection)
    this.unused.push(connection)
  }

  forget(connection: Connection<Conn>): void {
    this.unused.remove(connection)
    connection.state = "used"
  }

  // ---------------------------------------------------------------------------
  // Attempts
  // ---------------------------------------------------------------------------

  protected grow(): void {
    for (let loan = this.line.unattended; loan?.idleOnly && this.next() === undefined; loan = this.line.unattended) {
      this.dismiss(loan)
    }
    while (this.line.unattended !== undefined && this.hasRoom() && this.connections.claim()) {
      const attempt: Own<Conn, E> = new Attempt()
      this.line.attend(attempt)
      this.connections.connect(attempt)
    }
    while (this.belowMinimum() && this.hasRoom() && this.connections.claim()) {
      this.connections.connect(new Attempt<Conn>())
    }
  }

  /** Ends the wait of a caller that is content with nothing: no idle connection is left. */
  private dismiss(loan: Waiting<Conn, E>): void {
    this.line.leave(loan)
    this.settle(loan, Exit.void)
    this.waitEnded(loan, "failed")
  }

  protected wantsAttempt(): boolean {
    return this.line.unattended !== undefined || this.belowMinimum()
  }

  protected lacksSlot(): boolean {
    return this.line.unattended !== undefined && this.hasRoom() && this.connections.mayConnect()
  }

  protected hopesForSlot(): boolean {
    return this.belowMinimum() && this.hasRoom() && this.connections.mayConnect()
  }

  protected override trim(): void {
    while (this.unused.size > this.maxIdle) this.giveUp()
  }

  idleSince(): number | undefined {
    return this.arriving() ? undefined : this.unused.first?.idleSince
  }

  giveUp(): void {
    if (this.unused.first !== undefined) this.connections.evict(this.unused.first, "capacity")
  }

  private belowMinimum(): boolean {
    return this.minSize > 0 && this.connections.all.size + this.connections.connecting.size < this.minSize
  }

  /** A connection keeps its place until its close has ended: the server still sees it. */
  protected hasRoom(): boolean {
    const { all, closing, connecting, settings } = this.connections
    return all.size + connecting.size + closing < settings.maxSize
  }

  /** An attempt without its owner goes on for whoever comes, or is cancelled if the pool was told so. */
  protected abandon(orphan: Own<Conn, E> | undefined): void {
    if (orphan === undefined || orphan.ended || !this.connections.settings.cancelAbandoned) return
    if (this.line.unattended !== undefined) this.line.attend(orphan)
    else if (orphan.validates === undefined) this.connections.discard(orphan)
  }

  protected phaseOf(loan: Waiting<Conn, E>): "wait" | "connect" | "validate" {
    if (loan.attempt === undefined) return "wait"
    return loan.attempt.validates === undefined ? "connect" : "validate"
  }

  failed(attempt: Attempt<Conn>, cause: Cause.Cause<E | PoolError> | undefined): void {
    const owner = attempt.owner as Waiting<Conn, E> | undefined
    if (owner === undefined) {
      if (this.line.first === undefined) this.connections.backoff.atLeast(minPause)
    } else if (cause === undefined) this.line.lose(owner)
    else this.fail(owner, cause, "failed")
    this.pump()
  }

  protected validate(connection: Connection<Conn>): void {
    const attempt: Own<Conn, E> = new Attempt()
    this.line.attend(attempt)
    this.connections.validate(connection, attempt)
  }

  validated(connection: Connection<Conn>, attempt: Attempt<Conn>, healthy: boolean): void {
    const owner = attempt.owner as Waiting<Conn, E> | undefined
    if (healthy) this.offer(connection, attempt as Own<Conn, E>)
    else if (owner?.idleOnly && this.next() === undefined) this.dismiss(owner)
    else if (owner !== undefined) this.line.lose(owner)
    this.pump()
  }

  // ---------------------------------------------------------------------------
  // Adopting
  // ---------------------------------------------------------------------------

  /** Takes over an open connection; at capacity, its own or a shared one, the least recently used idle one makes room. */
  adopt(value: Conn, close: Effect.Effect<unknown> | undefined): void {
    const victim = this.hasRoom() ? undefined : this.unused.first
    const refused = this.connections.state !== "open" || (victim === undefined && !this.hasRoom())
    // Before the victim goes, whose place must not be filled by anybody else.
    const connection = this.connections.adopt(value, close)
    if (connection === undefined) return
    if (refused) return this.connections.evict(connection, "capacity")
    if (victim?.state === "idle") this.connections.evict(victim, "capacity")
    else if (this.connections.share?.makeRoom() === false) return this.connections.evict(connection, "capacity")
    this.offer(connection)
  }

  /** `take`, if an idle connection is there and nobody waits for it. */
  takeIdle<A>(
    loan: Waiting<Conn, E>,
    lender: Lender<Conn, E | PoolError>,
    then: () => Effect.Effect<A>
  ): Effect.Effect<A, E | PoolError> {
    if (this.connections.state === "open" && (this.line.first !== undefined || this.next() === undefined)) {
      return then()
    }
    loan.idleOnly = true
    return lender.take(loan, then)
  }

  stats(): Pick<PoolStats, "idle" | "used" | "closing" | "pending" | "borrowers"> {
    let borrowers = 0
    for (const connection of this.connections.all) borrowers += connection.borrowers
    return {
      idle: this.unused.size,
      used: this.connections.all.size - this.unused.size,
      closing: this.connections.closing,
      pending: this.line.size,
      borrowers
    }
  }
}
