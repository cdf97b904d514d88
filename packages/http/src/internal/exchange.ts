import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpExchange, HttpRequest, HttpResponse } from "../HttpConnection.ts"
import { ConnectionLost, HttpError, type HttpErrorReason, InvalidResponse, ResponseTimeout } from "../HttpError.ts"
import { BodyBuffer, type BodySource, BufferedResponse, type Facts } from "./responseBody.ts"
import { Watchdog } from "./watchdog.ts"

/** The resolved options that bound an exchange. Times are milliseconds. */
export interface Limits {
  readonly headersTimeout: number
  readonly bodyTimeout: number
  readonly maxInformational: number
  readonly maxDrainBytes: number
  readonly drainTimeout: number
}

/** What an exchange of either protocol needs from its connection. */
export interface Connected {
  readonly authority: string
  readonly limits: Limits
}

export type Head = Pick<HttpResponse, "status" | "headers">

type Phase = "headers" | "body" | "drain"

/**
 * One request and its response, as far as all versions of HTTP have it in
 * common: what the peer sends becomes what the caller gets.
 *
 * Neither parser may be entered again from its own callbacks, and resuming a
 * fiber runs user code on the spot. So callbacks only note what happened and
 * ask for one `flush` when the parser has returned. A flush first gives the
 * connection's place back, then resumes the fiber: a caller that has seen the
 * end of a body finds the place free.
 */
export abstract class Exchange<C extends Connected> implements HttpExchange, BodySource {
  protected readonly carrier: C
  protected readonly request: HttpRequest
  protected readonly body: BodyBuffer = new BodyBuffer(this)
  protected failure: HttpError | undefined
  protected responseStarted = false
  /** Bytes of the body that came. */
  protected received = 0
  protected over = false
  private readonly watchdog = new Watchdog()
  private readonly onEnd: (() => void) | undefined
  private answer: ((response: Effect.Effect<HttpResponse, HttpError>) => void) | undefined
  private head: Head | undefined
  private phase: Phase = "headers"
  private informational = 0
  /** Bytes of the body that may come once it is dropped. */
  private allowed = Infinity
  private flushing = false

  constructor(carrier: C, request: HttpRequest, onEnd: (() => void) | undefined) {
    this.carrier = carrier
    this.request = request
    this.onEnd = onEnd
  }

  readonly response: Effect.Effect<HttpResponse, HttpError> = Effect.callback((resume) => {
    this.answer = resume
    if (this.over || this.head !== undefined) this.flush()
  })

  cancel(): void {
    if (this.over || this.head !== undefined) return this.body.drop()
    this.failure ??= this.error(new ConnectionLost({ code: "CANCELLED" }))
    this.withdraw()
  }

  get facts(): Facts {
    return this.factsOf()
  }

  drop(): void {
    const { drainTimeout, maxDrainBytes } = this.carrier.limits
    const declared = Number(this.head?.headers["content-length"])
    this.allowed = this.received + maxDrainBytes
    // A small rest is cheaper than another connection, or than a reset, which servers count.
    if (declared > this.allowed || maxDrainBytes === 0) return this.giveUp()
    this.watch("drain", drainTimeout)
    this.resume()
  }

  // ---------------------------------------------------------------------------
  // What the peer did
  // ---------------------------------------------------------------------------

  /** The request is on its way. */
  protected begin(): void {
    this.watch("headers", this.carrier.limits.headersTimeout)
  }

  protected onInformational(): void {
    const { maxInformational } = this.carrier.limits
    if (++this.informational <= maxInformational) return
    const detail = `it has more than ${maxInformational} informational responses`
    this.abort(new InvalidResponse({ code: "TOO_MANY_INFORMATIONAL", detail }))
  }

  protected onHead(status: number, headers: HttpResponse["headers"]): void {
    this.head = { status, headers }
    this.watch("body", this.carrier.limits.bodyTimeout)
    this.flushLater()
  }

  protected onData(chunk: Uint8Array): void {
    if (this.over) return
    this.received += chunk.length
    if (this.body.state === "dropped") {
      if (this.received > this.allowed) this.giveUp()
      return
    }
    this.alive()
    this.body.push(chunk)
    this.flushLater()
  }

  /** Something happened that shows that the peer is there. */
  protected alive(): void {
    // The time to drain is a total, whatever comes.
    if (this.phase !== "drain") this.watchdog.touch()
  }

  // ---------------------------------------------------------------------------
  // Ends
  // ---------------------------------------------------------------------------

  protected error(reason: HttpErrorReason): HttpError {
    return new HttpError({ ...this.factsOf(reason), reason })
  }

  private factsOf(reason?: HttpErrorReason): Facts {
    return {
      method: this.request.method,
      authority: this.carrier.authority,
      sent: this.isSent(reason) ? "maybe" : "none",
      responseStarted: this.responseStarted
    }
  }

  private giveUp(): void {
    this.abort(new ConnectionLost({ code: "BODY_DROPPED" }))
  }

  private watch(phase: Phase, delay: number): void {
    this.phase = phase
    this.watchdog.watch(delay, this.onSilence)
  }

  private readonly onSilence = (): void => {
    if (this.phase === "drain") return this.giveUp()
    // Nobody waits for the server while the caller is busy producing or reading.
    const callerIsBusy = this.phase === "headers" ? this.isProducing() : this.body.paused
    if (callerIsBusy) return this.watchdog.touch()
    const after = Duration.millis(this.carrier.limits[`${this.phase}Timeout`])
    this.abort(new ResponseTimeout({ phase: this.phase, after }))
  }

  protected flushLater(): void {
    if (this.flushing || this.over) return
    this.flushing = true
    this.schedule(this.flushNow)
  }

  private readonly flushNow = (): void => {
    this.flushing = false
    this.flush()
  }

  private flush(): void {
    if (this.failure !== undefined || this.isDone()) this.finish()
    const answer = this.answer
    if (answer !== undefined && (this.head !== undefined || this.over)) {
      this.answer = undefined
      answer(
        this.head === undefined
          ? Effect.fail(this.failure!)
          : Effect.succeed(new BufferedResponse(this.head.status, this.head.headers, this.body))
      )
    }
    this.body.wake()
  }

  protected finish(): void {
    if (this.over) return
    const failure = this.judge(this.head)
    this.failure ??= failure
    this.over = true
    this.watchdog.stop()
    this.stop()
    this.body.end(failure)
    this.release()
    this.onEnd?.()
  }

  /** Stops the flow of the body. */
  abstract pause(): void
  /** Lets it go on. */
  abstract resume(): void
  /** Whether the peer may have got something of the request, and may have acted on it if it failed for `reason`. */
  protected abstract isSent(reason?: HttpErrorReason): boolean
  /** Whether the caller's stream is asked for more of the request's body. */
  protected abstract isProducing(): boolean
  /** Takes back a request that was not answered. */
  protected abstract withdraw(): void
  /** Fails the exchange, and as little else on the connection as the protocol lets it. */
  protected abstract abort(reason: HttpErrorReason): void
  /** Calls back when the parser has returned. */
  protected abstract schedule(flush: () => void): void
  /** Whether nothing more is to come. */
  protected abstract isDone(): boolean
  /** What is wrong with how the exchange ended. */
  protected abstract judge(head: Head | undefined): HttpError | undefined
  /** Stops what is still under way. */
  protected abstract stop(): void
  /** Gives the place on the connection back. */
  protected abstract release(): void
}
