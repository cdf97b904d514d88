/**
 * The line of a cache as kinds.md describes it (A6, C1–C3): who is served next,
 * and whose attempt is whose. It predicts; the model compares.
 *
 * Prediction is possible while things happen one at a time. After several at
 * once the line does not know (`exact` is false) until nobody waits and nothing
 * is being opened.
 */
import type { PeerAttempt, PeerConnection } from "./modelPeer.ts"

export class ModelLine<Call extends object> {
  exact: boolean
  private readonly enabled: boolean
  private readonly order: "lifo" | "fifo"
  private readonly cancels: boolean
  private readonly wrong: (what: string) => void
  private waiters: Array<Call> = []
  private readonly attempts = new Map<Call, PeerAttempt>()
  private readonly owners = new Map<PeerAttempt, Call>()
  private readonly granted = new Map<PeerConnection, Call>()
  private readonly errors = new Map<Call, PeerAttempt>()
  /** Least recently returned first. */
  private idle: Array<PeerConnection> = []
  private idleKnown = true

  constructor(enabled: boolean, order: "lifo" | "fifo", onAbandon: "keep" | "cancel", wrong: (what: string) => void) {
    this.exact = enabled
    this.enabled = enabled
    this.order = order
    this.cancels = onAbandon === "cancel"
    this.wrong = wrong
  }

  get unattended(): Call | undefined {
    return this.waiters.find((waiter) => !this.attempts.has(waiter))
  }

  joined(call: Call): void {
    this.waiters.push(call)
  }

  /** A waiter is gone: its attempt is nobody's, or, where abandoned attempts are cancelled, the next waiter's. */
  left(call: Call): void {
    this.waiters = this.waiters.filter((waiter) => waiter !== call)
    const attempt = this.attempts.get(call)
    if (attempt === undefined) return
    this.attempts.delete(call)
    this.owners.delete(attempt)
    if (this.cancels && attempt.running) this.give(attempt)
  }

  private give(attempt: PeerAttempt): boolean {
    const heir = this.unattended
    if (heir === undefined) return false
    this.attempts.set(heir, attempt)
    this.owners.set(attempt, heir)
    return true
  }

  /** Whether somebody in line asked for `attempt`. */
  started(attempt: PeerAttempt): boolean {
    return this.give(attempt)
  }

  owner(attempt: PeerAttempt): Call | undefined {
    return this.owners.get(attempt)
  }

  attemptOf(call: Call): PeerAttempt | undefined {
    return this.attempts.get(call)
  }

  /** A6: it goes to the head of the line, who swaps attempts with the one whose attempt yielded it. */
  available(connection: PeerConnection, by?: PeerAttempt): void {
    const head = this.waiters[0]
    const starter = by === undefined ? undefined : this.owners.get(by)
    if (by !== undefined && starter !== undefined) {
      this.owners.delete(by)
      this.attempts.delete(starter)
      const other = head === undefined || head === starter ? undefined : this.attempts.get(head)
      if (head !== undefined && other !== undefined) {
        this.attempts.delete(head)
        this.attempts.set(starter, other)
        this.owners.set(other, starter)
      }
    }
    if (head === undefined) this.idle.push(connection)
    else {
      this.granted.set(connection, head)
      this.left(head)
    }
  }

  /** An attempt came to nothing, but its owner has no error (C3 does not apply): who owns what then is not said. */
  lost(attempt: PeerAttempt): void {
    const owner = this.owners.get(attempt)
    this.owners.delete(attempt)
    if (owner !== undefined) this.attempts.delete(owner)
    if (this.owners.size > 0) this.exact = false
  }

  /** C3: the error of an attempt goes to its owner. */
  failed(attempt: PeerAttempt): void {
    const owner = this.owners.get(attempt)
    this.owners.delete(attempt)
    if (owner === undefined) return
    this.attempts.delete(owner)
    this.left(owner)
    this.errors.set(owner, attempt)
  }

  cancelled(attempt: PeerAttempt): void {
    const owner = this.owners.get(attempt)
    if (owner !== undefined) this.wrong(`attempt ${attempt.id} was cancelled although somebody needs it`)
    else if (!this.cancels) this.wrong(`attempt ${attempt.id} was cancelled although abandoned attempts are kept`)
  }

  closed(connection: PeerConnection): void {
    this.idle = this.idle.filter((other) => other !== connection)
    if (this.idle.length === 0) this.idleKnown = true
  }

  /** An idle connection was closed for an adopted one: it must be the least recently used. */
  madeRoom(connection: PeerConnection): void {
    if (this.exact && this.idleKnown && this.idle[0] !== connection) {
      this.wrong(`connection ${connection.id} made room, but ${this.idle[0]?.id} is the least recently used`)
    }
  }

  entered(call: Call, connection: PeerConnection, fit: (connection: PeerConnection) => boolean): void {
    const expected = this.granted.get(connection)
    this.granted.delete(connection)
    if (!this.exact) return this.left(call)
    if (expected !== undefined) {
      if (expected !== call) this.wrong(`connection ${connection.id} was meant for another caller`)
      return
    }
    if (this.waiters[0] !== call) this.wrong("an idle connection went past a caller in line")
    const candidates = this.idle.filter(fit)
    const next = this.order === "lifo" ? candidates.at(-1) : candidates[0]
    if (this.idleKnown && next !== connection) {
      this.wrong(`connection ${connection.id} was lent, but ${next?.id} is next in ${this.order} order`)
    }
    this.closed(connection)
    this.left(call)
  }

  /** The attempt whose error this caller must report, if any. */
  takeError(call: Call): PeerAttempt | undefined {
    const attempt = this.errors.get(call)
    this.errors.delete(call)
    return attempt
  }

  /** Everything is at rest; what was predicted must have come true. */
  rest(calm: boolean, idle: ReadonlyArray<PeerConnection>): void {
    if (this.exact) {
      for (const attempt of this.errors.values()) this.wrong(`nobody got the error of attempt ${attempt.id}`)
      for (const connection of this.granted.keys()) this.wrong(`nobody was served with connection ${connection.id}`)
      return
    }
    this.errors.clear()
    this.granted.clear()
    if (!calm || !this.enabled) return
    this.exact = true
    this.waiters = []
    this.attempts.clear()
    this.owners.clear()
    this.idle = [...idle]
    this.idleKnown = idle.length < 2
  }
}
