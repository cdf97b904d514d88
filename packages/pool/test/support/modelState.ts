/**
 * What the model knows: who waits, who has what, what is open, opening and
 * closing, and how certain that is. Steps that do several things at once, or
 * pools whose fibers yield, leave the order of some things open; the checks
 * then ask only for what must hold in any order.
 */
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { ModelLine } from "./modelLine.ts"
import { ModelPause } from "./modelPause.ts"
import type { Peer, PeerAttempt, PeerConnection } from "./modelPeer.ts"
import { type Call, type KeepName, keepsIt, type Setup } from "./modelSetup.ts"

/** What the model knows of a connection beyond what the peer does. */
export interface Facts {
  readonly lentTo: Set<Call>
  /** The step in which the pool was told never to lend it again. */
  doomed: { readonly step: number } | undefined
  /** It came back, or was opened, unfit: it must be closed when the pool is at rest. */
  mustClose: boolean
  /** The pool may have found it unfit, which is for good. */
  mayClose: boolean
  uses: number
  validatedSince: boolean
  validationFailed: boolean
  idleFrom: number
  leftIn: number
  openedIn: number
  counted: boolean
}

export class ModelState {
  readonly setup: Setup
  readonly calls: Array<Call> = []
  readonly wrongs: Array<string> = []
  readonly guards: Array<{ readonly keep: KeepName; readonly step: number; readonly scope: Scope.Closeable }> = []
  readonly line: ModelLine<Call>
  readonly pause: ModelPause
  peer!: Peer
  now: () => number = () => 0
  step = 0
  /** Whether this step does one thing only. */
  calm = true
  draining = false
  /** What waits for the pool to be closed. */
  readonly drains: Array<Fiber.Fiber<void>> = []
  /** When connections may be closed under their borrowers. */
  forceAt = Infinity
  jumped = false
  protected drainedIn = 0
  protected adoptedIn = 0
  protected spoiledIn = 0
  protected stalledIn = 0
  protected endedIn = 0
  /** An attempt may be cancelled between the turn in which it ends and the one in which the pool hears of it. */
  protected readonly blurred: boolean
  protected countsKnown: boolean
  protected readonly facts = new Map<PeerConnection, Facts>()
  protected readonly counts = { created: 0, failed: 0, reused: 0, timedOut: 0 }
  protected readonly deadline = new Map<PeerAttempt, number>()
  /** For singletons: callers that share the failure of an attempt. */
  protected readonly sharing = new Map<Call, PeerAttempt>()
  protected readonly reported = new Set<number>()
  protected entrants: Array<Call> = []

  constructor(setup: Setup) {
    this.setup = setup
    this.pause = new ModelPause(setup.backoff)
    this.blurred = setup.poolBudget !== undefined && setup.onAbandon === "cancel"
    this.countsKnown = !this.blurred
    const predictable = setup.kind === "cache" && !setup.validate && !this.blurred
    this.line = new ModelLine(predictable, setup.order, setup.onAbandon, (what) => this.wrong(what))
  }

  wrong(what: string): void {
    this.wrongs.push(`step ${this.step}, at ${this.now()}: ${what}`)
  }

  // ---------------------------------------------------------------------------
  // Views
  // ---------------------------------------------------------------------------

  get pending(): ReadonlyArray<Call> {
    return this.calls.filter((call) => call.state === "pending")
  }

  get lent(): ReadonlyArray<Call> {
    return this.calls.filter((call) => call.state === "lent")
  }

  /** Callers whose body runs, or whose scope is open; they may have released early. */
  get inside(): ReadonlyArray<Call> {
    return this.calls.filter((call) => call.state !== "pending" && (call.state === "lent" || call.isRunning))
  }

  /** Opened, and their close has not begun. */
  get open(): ReadonlyArray<PeerConnection> {
    return this.peer.connections.filter((connection) => !connection.isClosed && !this.undelivered(connection))
  }

  get connecting(): ReadonlyArray<PeerAttempt> {
    return this.peer.attempts.filter((attempt) => attempt.running && attempt.discardedAt === undefined)
  }

  protected undelivered(connection: PeerConnection): boolean {
    return connection.attempt?.discardedAt !== undefined
  }

  factsOf(connection: PeerConnection): Facts {
    let facts = this.facts.get(connection)
    if (facts === undefined) {
      facts = {
        lentTo: new Set(),
        doomed: undefined,
        mustClose: false,
        mayClose: false,
        uses: 0,
        validatedSince: false,
        validationFailed: false,
        idleFrom: this.now(),
        leftIn: 0,
        openedIn: 0,
        counted: false
      }
      this.facts.set(connection, facts)
    }
    return facts
  }

  /** Whether the pool can know that it may lend it. */
  fit(connection: PeerConnection): boolean {
    return (
      this.factsOf(connection).doomed === undefined &&
      (!this.setup.isOpen || connection.alive) &&
      this.guards.every((guard) => keepsIt(guard.keep, connection))
    )
  }

  protected canLend(connection: PeerConnection): boolean {
    const { mayClose, validationFailed } = this.factsOf(connection)
    return this.fit(connection) && connection.validation === undefined && !mayClose && !validationFailed
  }

  /** The pool looks at its connections: what it finds unfit now stays so. */
  protected noticeUnfit(): void {
    for (const connection of this.open) if (!this.fit(connection)) this.factsOf(connection).mayClose = true
  }

  /** Connections on their way out that the peer still sees and the pool still counts. */
  protected get closing(): number {
    const now = this.now()
    const { closeTimeout } = this.setup
    let closing = 0
    for (const connection of this.peer.connections) {
      const from = connection.attempt?.discardedAt ?? connection.closing?.startedAt
      if (connection.closing?.running === true && now < from! + closeTimeout) closing++
    }
    for (const attempt of this.peer.attempts) {
      if (attempt.running && attempt.discardedAt !== undefined && now < attempt.discardedAt + closeTimeout) closing++
    }
    return closing
  }

  /** Whether the pool may hear in another order than the peer of what happens in this step. */
  protected get hazy(): boolean {
    return !this.calm && this.setup.poolBudget !== undefined
  }

  /** In a step that does several things nobody knows which came first. */
  protected justNow(step: number): boolean {
    return !this.calm && step === this.step
  }

  /** How many could be lent right now without waiting. */
  get lendable(): number {
    return this.setup.validate ? 0 : this.open.filter((c) => this.isIdle(c) && this.fit(c)).length
  }

  /** It goes to the head of the line, unless that one's time is up at this very moment. */
  protected available(connection: PeerConnection, by?: PeerAttempt): void {
    const { waitTimeout } = this.setup
    if (this.pending.some((call) => call.startedAt + waitTimeout <= this.now())) this.line.exact = false
    this.line.available(connection, by)
  }

  protected isIdle(connection: PeerConnection): boolean {
    return this.factsOf(connection).lentTo.size === 0 && connection.validation === undefined
  }

  // ---------------------------------------------------------------------------
  // What the test does
  // ---------------------------------------------------------------------------

  beginStep(calm: boolean): void {
    this.step++
    this.calm = calm
    this.entrants = []
    if (!calm) {
      this.line.exact = false
      this.countsKnown = false
    }
  }

  /** A connection may have become unfit between its grant and its loan. Its waiter comes back to the head of the line. */
  spoiled(): void {
    this.spoiledIn = this.step
  }

  /** Timers may be late in this step. */
  stalled(): void {
    this.stalledIn = this.step
  }

  doom(connection: PeerConnection): void {
    this.spoiled()
    if (connection.isClosed) return
    const facts = this.factsOf(connection)
    // The pool may not have heard of it yet.
    if (this.hazy && facts.openedIn === this.step && facts.uses === 0) facts.mayClose = true
    else facts.doomed ??= { step: this.step }
  }

  /** A borrower gives its connection up; it may be returning it in this very step. */
  invalidate(call: Call): void {
    const connection = call.connection!
    if (call.state === "lent") this.doom(connection)
    else if (this.justNow(this.factsOf(connection).leftIn)) this.factsOf(connection).mayClose = true
  }

  retain(keep: KeepName): void {
    for (const connection of this.open) if (!keepsIt(keep, connection)) this.doom(connection)
  }

  unguard(guard: (typeof this.guards)[number]): void {
    if (!this.calm) this.noticeUnfit()
    this.guards.splice(this.guards.indexOf(guard), 1)
  }

  adopt(connection: PeerConnection): void {
    this.adoptedIn = this.step
    const facts = this.factsOf(connection)
    facts.counted = true
    this.counts.created++
    const full = this.open.length - 1 + this.connecting.length + this.closing >= this.setup.maxSize
    const idle = this.open.some((other) => other !== connection && this.isIdle(other))
    facts.mustClose = this.draining || (full && !idle) || !this.fit(connection)
    if (facts.mustClose) return
    this.available(connection)
  }

  drain(deadline: number): void {
    if (!this.draining) this.drainedIn = this.step
    this.draining = true
    this.forceAt = Math.min(this.forceAt, this.now() + deadline)
    for (const attempt of this.connecting) attempt.discardedAt = this.now()
    for (const call of this.pending) this.line.left(call)
    this.line.exact = false
  }
}
