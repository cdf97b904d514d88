/**
 * What the peer sees of a pool: attempts that start when they may and for
 * somebody, connections that are closed once, for a reason, and not under a
 * borrower.
 */
import type { PeerAttempt, PeerConnection, PeerEvents } from "./modelPeer.ts"
import type { Call } from "./modelSetup.ts"
import { ModelState } from "./modelState.ts"

export class ModelPeerSide extends ModelState implements PeerEvents {
  started(attempt: PeerAttempt): void {
    const now = this.now()
    // Timers that ring at this very time may not have rung yet.
    this.expire(now - 1)
    this.deadline.set(attempt, now + this.setup.connectTimeout)
    const others = this.connecting.filter((other) => other !== attempt)
    // One that was just cancelled may still be winding up.
    const winding = this.blurred || this.hazy || (!this.calm && this.setup.onAbandon === "cancel")
    if (this.draining && !this.justNow(this.drainedIn))
      this.wrong(`attempt ${attempt.id} started although the pool is closed`)
    // A pool whose fibers yield starts an attempt some turns before the peer sees it.
    const early = this.setup.poolBudget !== undefined && this.pause.failedAt === now
    if (now < this.pause.until && !winding && !early)
      this.wrong(`attempt ${attempt.id} started before the backoff allowed it`)
    if (
      this.pause.failing &&
      this.pause.sure &&
      !winding &&
      !early &&
      others.some((other) => other.startedAt > this.pause.failedAt)
    ) {
      this.wrong(`attempt ${attempt.id} started while another finds out whether the peer is back`)
    }
    if (this.setup.kind === "singleton") {
      if (others.length > 0 && !winding) this.wrong("two attempts at once")
      if (!winding && this.open.some((c) => this.canLend(c))) {
        this.wrong(`attempt ${attempt.id} started although there is a connection to lend`)
      }
      if (this.pending.length === 0 && this.calm) this.wrong("an attempt that nobody asked for")
      return
    }
    if (this.connecting.length > this.setup.maxConnecting && !winding) this.wrong("more than maxConnecting attempts")
    const total = this.open.length + this.connecting.length + this.closing
    if (total > this.setup.maxSize && !winding && !this.justNow(this.adoptedIn))
      this.wrong(`attempt ${attempt.id} started without room for it (${total})`)
    const asked = this.line.started(attempt)
    // The close of a connection that the pool was told of may be about to begin.
    const staying = this.open.filter((connection) => this.fit(connection) || !this.isIdle(connection))
    const below = staying.length + others.length < this.setup.minSize
    if (this.line.exact && !asked && !below) this.wrong(`attempt ${attempt.id} started that nobody asked for`)
  }

  opened(attempt: PeerAttempt, connection: PeerConnection): void {
    this.expire(this.now() - 1)
    if (attempt.discardedAt !== undefined || this.draining) return
    this.endedIn = this.step
    const facts = this.factsOf(connection)
    facts.counted = true
    this.counts.created++
    facts.openedIn = this.step
    if (this.fit(connection)) {
      this.pause.succeeded(this.now())
      if (this.setup.kind === "cache") this.available(connection, attempt)
      return
    }
    // Dead on arrival.
    if (this.hazy) facts.mayClose = true
    else facts.mustClose = true
    this.counts.failed++
    this.pause.failed(this.now())
    if (this.setup.kind === "cache") this.line.lost(attempt)
  }

  failed(attempt: PeerAttempt): void {
    if (attempt.discardedAt !== undefined || this.draining) return
    this.attemptFailed(attempt)
  }

  interrupted(attempt: PeerAttempt): void {
    this.expire(this.now() - 1)
    if (attempt.discardedAt !== undefined || this.draining) return
    attempt.discardedAt = this.now()
    const due = this.deadline.get(attempt)! <= this.now()
    // Was it given up because it took too long, or because nobody needs it?
    if (due && this.setup.onAbandon === "cancel" && this.justNow(this.stalledIn)) return this.pause.blur(this.now())
    if (due) return this.attemptFailed(attempt)
    if (this.setup.kind === "singleton") {
      if (this.setup.onAbandon === "keep") this.wrong("an attempt was cancelled although abandoned ones are kept")
      if (this.pending.some((call) => call.step < this.step && !this.dueNow(call))) {
        this.wrong("an attempt was cancelled although callers wait for it")
      }
      return
    }
    const owner = this.line.owner(attempt)
    if (owner !== undefined && this.dueNow(owner)) this.line.left(owner)
    if (this.line.exact) this.line.cancelled(attempt)
    else if (this.setup.onAbandon === "keep") this.wrong("an attempt was cancelled although abandoned ones are kept")
  }

  protected dueNow(call: Call): boolean {
    return call.interrupted || call.startedAt + this.setup.waitTimeout <= this.now()
  }

  protected attemptFailed(attempt: PeerAttempt): void {
    this.endedIn = this.step
    this.counts.failed++
    this.pause.failed(this.now())
    if (this.setup.kind === "cache") return this.line.failed(attempt)
    for (const call of this.pending) if (!this.dueNow(call)) this.sharing.set(call, attempt)
  }

  /** The pool gives attempts up after `connectTimeout`, whether or not they can be interrupted. */
  protected expire(until = this.now()): void {
    if (until < this.now() && this.justNow(this.stalledIn)) return
    for (const attempt of this.connecting) {
      if (this.deadline.get(attempt) === undefined || this.deadline.get(attempt)! > until) continue
      attempt.discardedAt = this.now()
      this.attemptFailed(attempt)
      // At the same time: who knows which came first?
      if (this.pause.succeededAt === attempt.discardedAt) this.pause.blur(this.now())
    }
  }

  validated(connection: PeerConnection, healthy: boolean): void {
    const facts = this.factsOf(connection)
    if (healthy) facts.validatedSince = true
    else facts.validationFailed = true
    if (!healthy || !this.fit(connection)) facts.mustClose = true
  }

  closeBegan(connection: PeerConnection): void {
    const facts = this.factsOf(connection)
    const { connectTimeout, maxIdle, maxSize } = this.setup
    const forRoom = this.adoptedIn === this.step && this.calm && this.fit(connection)
    if (forRoom && connection !== this.peer.connections.at(-1)) this.line.madeRoom(connection)
    this.line.closed(connection)
    if (facts.lentTo.size > 0 && (!this.draining || this.now() < this.forceAt)) {
      this.wrong(`connection ${connection.id} was closed under its borrower`)
    }
    const unneeded =
      !this.draining &&
      !(this.blurred && facts.uses === 0) &&
      !this.undelivered(connection) &&
      this.fit(connection) &&
      !facts.mustClose &&
      !facts.mayClose &&
      !facts.validationFailed &&
      !(connection.validation !== undefined && connection.validation.startedAt + connectTimeout <= this.now()) &&
      this.adoptedIn !== this.step &&
      !(this.setup.kind === "cache" && maxIdle < maxSize && (!this.calm || this.open.length >= maxIdle))
    if (unneeded) this.wrong(`connection ${connection.id} was closed for no reason`)
  }
}
