/**
 * What kinds.md promises of a cache and of a singleton, as bookkeeping over
 * what callers and the peer can see, with checks. It knows nothing of how the
 * pools work.
 *
 * The checks come in three parts, each of which builds on the one before: on
 * what the peer sees as it happens, on what callers see as it happens, and,
 * here, on everything whenever nothing moves any more.
 */
import type { PoolStats } from "../../src/ConnectionPool.ts"
import { ModelCallerSide } from "./modelCallerSide.ts"
import type { PeerAttempt, PeerConnection } from "./modelPeer.ts"
import type { Call } from "./modelSetup.ts"

export class Model extends ModelCallerSide {
  private closed = false

  rest(stats: PoolStats): void {
    this.expire()
    if (!this.calm) this.afterRush()
    if (this.hazy && this.endedIn === this.step) this.pause.blur(this.now())
    const { pending, open, connecting } = this
    if (this.endedIn === this.step && pending.some((call) => call.step < this.step)) this.pause.tighten()
    const calm = pending.length === 0 && connecting.length === 0 && !open.some((c) => c.validation !== undefined)
    this.checkCalls(pending)
    this.checkConnections(open)
    this.checkStats(stats, pending, open, connecting)
    if (this.draining) this.checkDrains(open)
    else this.checkProgress(pending, open, connecting)
    this.line.rest(
      calm,
      open.filter((connection) => this.isIdle(connection))
    )
    this.step++
    this.calm = true
    this.entrants = []
  }

  /** Things that nobody outside saw may have happened: a loan that ended before its borrower knew, a check. */
  private afterRush(): void {
    this.noticeUnfit()
    for (const connection of this.open) {
      if (this.isIdle(connection)) this.factsOf(connection).idleFrom = this.now()
    }
  }

  private checkCalls(pending: ReadonlyArray<Call>): void {
    const validating = this.open.some((connection) => connection.validation !== undefined)
    for (const call of pending) {
      if (call.kind === "takeIdle" && !validating)
        this.wrong(`call ${call.id} waits although it takes only what is idle`)
      if (call.interrupted) this.wrong(`call ${call.id} was interrupted and is still waiting`)
      if (this.draining) this.wrong(`call ${call.id} waits for a closed pool`)
      if (this.now() >= call.startedAt + this.setup.waitTimeout) this.wrong(`call ${call.id} waits past waitTimeout`)
      const overtaker = this.entrants.find((other) => other.id > call.id && (other.step > call.step || call.calm))
      if (overtaker !== undefined && !this.justNow(this.spoiledIn))
        this.wrong(`call ${overtaker.id} overtook call ${call.id}`)
      const shared = this.sharing.get(call)
      if (shared !== undefined && call.calm) this.wrong(`call ${call.id} did not get the error of attempt ${shared.id}`)
    }
    for (const call of this.calls) {
      const { scope, state } = call
      if (state === "over" && scope?.state._tag === "Open")
        this.wrong(`the scope of call ${call.id} keeps what is over`)
    }
    // One who comes back to the line was let in before.
    const newest = pending.at(-1)
    if (pending.length > this.setup.maxPending && newest?.step === this.step && !this.justNow(this.spoiledIn)) {
      this.wrong(`${pending.length} callers in line`)
    }
    this.sharing.clear()
  }

  private checkConnections(open: ReadonlyArray<PeerConnection>): void {
    for (const connection of open) {
      const facts = this.factsOf(connection)
      const given = facts.mustClose || facts.doomed !== undefined
      if (given && this.isIdle(connection)) this.wrong(`connection ${connection.id} should be closed`)
      if (this.draining && (facts.lentTo.size === 0 || this.now() >= this.forceAt)) {
        this.wrong(`connection ${connection.id} is open after the pool closed`)
      }
      if (this.setup.watch && connection.watchers !== 1) this.wrong(`connection ${connection.id} is not watched`)
    }
    for (const connection of this.peer.connections) {
      if (connection.isClosed && connection.watchers > 0) this.wrong(`connection ${connection.id} is still watched`)
    }
  }

  private checkStats(
    stats: PoolStats,
    pending: ReadonlyArray<Call>,
    open: ReadonlyArray<PeerConnection>,
    connecting: ReadonlyArray<PeerAttempt>
  ): void {
    const equal = (name: string, actual: number, expected: number) => {
      if (actual !== expected) this.wrong(`stats say ${name} ${actual}, the model ${expected}`)
    }
    const idle = open.filter((connection) => this.isIdle(connection)).length
    const lent = open.filter((connection) => this.factsOf(connection).lentTo.size > 0)
    equal("idle", stats.idle, idle)
    equal("idle + used + closing", stats.idle + stats.used + stats.closing, open.length + this.closing)
    equal("connecting", stats.connecting, connecting.length)
    equal("pending", stats.pending, pending.length)
    equal(
      "borrowers",
      stats.borrowers,
      lent.reduce((sum, connection) => sum + this.factsOf(connection).lentTo.size, 0)
    )
    if (stats.idle + stats.used + stats.connecting > this.setup.maxSize) this.wrong("more than maxSize connections")
    if (this.setup.kind === "cache") {
      equal("closing", stats.closing, this.closing)
      if (stats.idle > this.setup.maxIdle) this.wrong(`${stats.idle} idle connections`)
    }
    if (!this.countsKnown) return
    const gone = this.peer.connections.filter((c) => this.factsOf(c).counted && c.isClosed && !this.isClosing(c))
    equal("created", stats.created, this.counts.created)
    equal("closed", stats.closed, gone.length)
    equal("failed", stats.failed, this.counts.failed)
    equal("reused", stats.reused, this.counts.reused)
    equal("timedOut", stats.timedOut, this.counts.timedOut)
  }

  private isClosing({ closing }: PeerConnection): boolean {
    return closing?.running === true && this.now() < closing.startedAt + this.setup.closeTimeout
  }

  /** A8: a drain ends when everything has closed, or taken too long, and not before. */
  private checkDrains(open: ReadonlyArray<PeerConnection>): void {
    const over = this.closed || open.length + this.closing === 0
    // What is adopted later is closed later.
    this.closed = over || (!this.calm && this.drains.some((drain) => drain.pollUnsafe() !== undefined))
    if (this.closed && !over) return
    for (const drain of this.drains) {
      if ((drain.pollUnsafe() !== undefined) !== over)
        this.wrong(over ? "a drain has not ended" : "a drain ended early")
    }
  }

  /** Nobody waits for what is there (C4, A6), and what is missing is being opened (C2, C5, C7). */
  private checkProgress(
    pending: ReadonlyArray<Call>,
    open: ReadonlyArray<PeerConnection>,
    connecting: ReadonlyArray<PeerAttempt>
  ): void {
    const validating = open.filter((connection) => connection.validation !== undefined).length
    const idle = open.filter((connection) => this.isIdle(connection) && this.fit(connection)).length
    if (idle > 0 && pending.length > validating) this.wrong("a caller waits although a connection is idle")
    const mayConnect =
      this.now() >= this.pause.latest &&
      connecting.length < this.setup.maxConnecting &&
      (!this.pause.failing || connecting.length === 0)
    if (!mayConnect || this.blurred) return
    if (this.setup.kind === "singleton") {
      if (pending.length > 0 && validating + connecting.length === 0) this.wrong("callers wait for no attempt")
      return
    }
    const room = open.length + connecting.length + this.closing < this.setup.maxSize
    if (!room) return
    const unattended = this.line.exact
      ? this.line.unattended !== undefined
      : pending.length > connecting.length + validating
    if (unattended) this.wrong("a caller waits without an attempt although there is room")
    if (open.length + connecting.length < this.setup.minSize) this.wrong("fewer than minSize connections")
  }
}
