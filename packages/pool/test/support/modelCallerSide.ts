/**
 * What callers see of a pool: they are served in order with connections that
 * are fit, and fail with their own attempt's error, in time, or not at all.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Exit from "effect/Exit"
import { PoolError, type WaitTimeout } from "../../src/ConnectionPool.ts"
import { ConnectError, type PeerAttempt, type PeerConnection } from "./modelPeer.ts"
import { ModelPeerSide } from "./modelPeerSide.ts"
import { type Call, keepsIt } from "./modelSetup.ts"
import type { Facts } from "./modelState.ts"

export class ModelCallerSide extends ModelPeerSide {
  called(call: Call): void {
    this.calls.push(call)
    this.noticeUnfit()
    if (this.draining || this.setup.kind === "singleton") return
    this.line.joined(call)
    // Finding it dead, the pool may replace it before the caller stands in line.
    const dead = this.open.some((connection) => this.isIdle(connection) && !this.fit(connection))
    if (dead && this.setup.minSize > 0) this.line.exact = false
  }

  entered(call: Call, connection: PeerConnection): void {
    const facts = this.factsOf(connection)
    call.state = "lent"
    call.connection = connection
    this.checkOrder(call)
    // Unless the pool has just replaced one that it found dead.
    const opens = call.calm && call.step === this.step && facts.openedIn === this.step && this.setup.minSize === 0
    if (call.kind === "takeIdle" && opens) {
      this.wrong(`call ${call.id} opened a connection although it takes only what is idle`)
    }
    this.entrants.push(call)
    const late = this.now() > call.startedAt + this.setup.waitTimeout && !this.justNow(this.stalledIn)
    if (late) this.wrong("a caller was served after waitTimeout")
    this.checkFitToLend(call, connection, facts)
    if (this.setup.kind === "cache") {
      if (facts.lentTo.size > 0) this.wrong(`connection ${connection.id} has two borrowers`)
      this.line.entered(call, connection, (other) => this.fit(other))
    } else if (
      this.calm &&
      this.open.some((other) => other.openedAt > connection.openedAt && other.id > connection.id)
    ) {
      this.wrong(`connection ${connection.id} was lent although there is a newer one`)
    }
    if (facts.uses++ > 0) this.counts.reused++
    facts.lentTo.add(call)
  }

  /** A6: of those who were waiting, who came first is served first, also within one step. */
  private checkOrder(call: Call): void {
    const waited = (other: Call) => other.swift && other.step < this.step
    if (this.setup.kind === "singleton" || this.spoiledIn === this.step || !waited(call)) return
    const later = this.entrants.find((other) => waited(other) && other.id > call.id)
    if (later !== undefined) this.wrong(`call ${later.id} was served before call ${call.id}`)
  }

  private checkFitToLend(call: Call, connection: PeerConnection, facts: Facts): void {
    const { setup } = this
    // A fiber that yields may have been lent the connection before something else happened to it in this step.
    const before = (step: number) => call.swift || !this.justNow(step)
    const closedBefore = this.setup.poolBudget === undefined ? before(this.drainedIn) : !this.justNow(this.drainedIn)
    if (this.draining && closedBefore) this.wrong("a closed pool lends")
    if (connection.isClosed && (this.calm || call.swift)) {
      this.wrong(`connection ${connection.id} was lent after its close had begun`)
    }
    if (facts.doomed !== undefined && before(facts.doomed.step)) {
      this.wrong(`connection ${connection.id} was lent although it had been given up`)
    }
    if (setup.isOpen && !connection.alive && (this.calm || call.swift)) {
      this.wrong(`connection ${connection.id} was lent dead`)
    }
    for (const guard of this.guards) {
      if (before(guard.step) && !keepsIt(guard.keep, connection)) {
        this.wrong(`connection ${connection.id} was lent although a guard rejects it`)
      }
    }
    if (!setup.validate || facts.uses === 0 || facts.lentTo.size > 0 || facts.validatedSince) return
    // A shared connection that somebody uses needs no check, and the last borrower may be on its way out.
    if (this.justNow(facts.leftIn)) return
    if (setup.validateAfter === 0 || (!this.jumped && this.now() - facts.idleFrom >= setup.validateAfter)) {
      this.wrong(`connection ${connection.id} was lent without being validated`)
    }
  }

  /** The loan is over, as far as its borrower is concerned. */
  left(call: Call): void {
    if (call.state !== "lent") return
    call.state = "over"
    this.noticeUnfit()
    const connection = call.connection!
    const facts = this.factsOf(connection)
    facts.lentTo.delete(call)
    facts.leftIn = this.step
    if (facts.lentTo.size > 0) return
    facts.idleFrom = this.now()
    facts.validatedSince = false
    if (this.draining || connection.isClosed) return
    if (!this.fit(connection)) facts.mustClose ||= this.calm
    else if (this.setup.kind === "cache") this.available(connection)
  }

  /** A caller is being interrupted, or its scope closed, while it waits. */
  givesUp(call: Call): void {
    call.interrupted = true
    if (call.state === "pending" && this.setup.kind === "cache") this.line.left(call)
  }

  exited(call: Call, exit: Exit.Exit<unknown, unknown>): void {
    if (Exit.isFailure(exit) && timeoutOf(exit.cause) === this.setup.connectTimeout) this.expire()
    const wasPending = call.state === "pending"
    const expected = this.line.takeError(call)
    const own = this.line.exact ? this.line.attemptOf(call) : undefined
    const shared = this.sharing.get(call)
    this.sharing.delete(call)
    if (wasPending) call.state = "over"
    if (Exit.isSuccess(exit)) {
      if (wasPending && call.kind !== "takeIdle") this.wrong(`call ${call.id} succeeded without a connection`)
      if (wasPending && this.setup.kind === "cache") this.line.left(call)
      return
    }
    if (!wasPending) return
    if (this.setup.kind === "cache") this.line.left(call)
    const attempt = this.failureOf(call, exit.cause, expected ?? shared, own)
    if (call.interrupted) return
    if (this.line.exact && this.setup.kind === "cache" && attempt !== expected?.id) {
      this.wrong(`call ${call.id} got the error of attempt ${attempt}, its own is ${expected?.id}`)
    }
    const unclear = this.dueNow(call) || this.justNow(this.stalledIn)
    if (this.setup.kind === "singleton" && attempt !== undefined && attempt !== shared?.id && !unclear) {
      this.wrong(`call ${call.id} got the error of attempt ${attempt}, it waited for ${shared?.id}`)
    }
  }

  /** Checks why a waiting caller failed; returns the number of the attempt whose error it got, if so. */
  private failureOf(
    call: Call,
    cause: Cause.Cause<unknown>,
    expected: PeerAttempt | undefined,
    own: PeerAttempt | undefined
  ): number | undefined {
    if (Cause.hasInterrupts(cause)) {
      if (!call.interrupted) this.wrong(`call ${call.id} was interrupted`)
      return undefined
    }
    const error = Cause.squash(cause)
    if (error instanceof ConnectError) {
      if (this.setup.kind === "cache" && this.reported.has(error.attempt)) {
        this.wrong(`the error of attempt ${error.attempt} reached two callers`)
      }
      this.reported.add(error.attempt)
      return error.attempt
    }
    if (!(error instanceof PoolError)) {
      this.wrong(`call ${call.id} failed with ${String(error)}`)
      return undefined
    }
    const { reason } = error
    if (reason._tag === "Closed" && !this.draining) this.wrong("Closed, but the pool is open")
    if (reason._tag === "QueueFull" && this.calm && this.pending.length < this.setup.maxPending) {
      this.wrong(`QueueFull, but only ${this.pending.length} callers are in line`)
    }
    if (reason._tag !== "WaitTimeout") return undefined
    const after = timeoutOf(cause)
    if (after === this.setup.waitTimeout) this.checkTimeout(call, reason, own)
    else if (after === this.setup.connectTimeout) return this.timedOutAttempt(call, expected)
    else this.wrong(`a timeout after ${after}`)
    return undefined
  }

  private checkTimeout(call: Call, reason: WaitTimeout, own: PeerAttempt | undefined): void {
    this.counts.timedOut++
    const waited = this.now() - call.startedAt
    const { waitTimeout } = this.setup
    const late = waited > waitTimeout && this.justNow(this.stalledIn)
    if (waited !== waitTimeout && !late) this.wrong(`a caller timed out after ${waited}`)
    const phase = own === undefined ? "wait" : "connect"
    // Where abandoned attempts are cancelled, callers that time out together inherit from each other on the way.
    if (this.line.exact && this.setup.onAbandon === "keep" && reason.phase !== phase) {
      this.wrong(`a timeout in the phase ${reason.phase}, not ${phase}`)
    }
    // What ended at this very moment may have been forgotten, or not.
    const now = this.now()
    const clear = this.pause.sure && this.pause.succeededAt !== now && this.pause.failedAt !== now
    if ((reason.lastFailure !== undefined) !== this.pause.failing && this.calm && !this.blurred && clear) {
      this.wrong(`lastFailure is ${reason.lastFailure === undefined ? "missing" : "stale"}`)
    }
  }

  private timedOutAttempt(call: Call, expected: PeerAttempt | undefined): number | undefined {
    const due = this.peer.attempts.filter((attempt) => attempt.discardedAt === this.now())
    if (due.length === 0) this.wrong(`call ${call.id} got a connect timeout, but no attempt has timed out`)
    // These errors do not say which attempt they are of.
    if (expected !== undefined && due.includes(expected)) return expected.id
    return due.at(-1)?.id
  }
}

const timeoutOf = (cause: Cause.Cause<unknown>): number | undefined => {
  const error = Cause.squash(cause)
  return error instanceof PoolError && error.reason._tag === "WaitTimeout"
    ? Duration.toMillis(error.reason.after)
    : undefined
}
