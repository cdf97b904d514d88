import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Socket } from "node:net"
import type { Dispatcher } from "undici"
import type { HttpExchange, HttpRequest, HttpResponse } from "../HttpConnection.ts"
import { ConnectionLost, HttpError, type HttpErrorReason, InvalidResponse, ResponseTimeout } from "../HttpError.ts"
import { reasonOf } from "./http1Error.ts"
import { makeRequestStream, type RequestStream } from "./requestStream.ts"
import { BodyBuffer, BufferedResponse } from "./responseBody.ts"
import { afterTurn, Watchdog } from "./watchdog.ts"

/** The resolved options of a connection. Times are milliseconds. */
export interface Limits {
  readonly headersTimeout: number
  readonly bodyTimeout: number
  readonly maxInformational: number
  readonly maxDrainBytes: number
  readonly drainTimeout: number
}

/** What an exchange needs from its connection. */
export interface Carrier {
  readonly socket: Socket
  readonly authority: string
  readonly limits: Limits
  /** Whether a request can be written now. */
  readonly isWritable: () => boolean
  readonly dispatch: (options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler) => void
  readonly onHead: (headers: HttpResponse["headers"]) => void
  readonly onOver: () => void
}

/**
 * One request and its response on an HTTP/1.1 connection, as the handler that
 * undici's parser calls.
 *
 * The parser must not be entered again from its own callbacks, and resuming a
 * fiber runs user code on the spot. So callbacks only note what happened and
 * ask for one `flush` in a microtask, when the parser has returned and the
 * socket shows whether it can be used again. A flush first gives the
 * connection back, then resumes the fiber: a caller that has seen the end of a
 * body finds the connection idle.
 */
export class Http1Exchange implements HttpExchange, Dispatcher.DispatchHandler {
  private readonly carrier: Carrier
  private readonly request: HttpRequest
  private readonly onEnd: (() => void) | undefined
  private readonly stream: RequestStream | undefined
  private readonly body: BodyBuffer
  private readonly watchdog = new Watchdog()

  private controller: Dispatcher.DispatchController | undefined
  private stopWaiting: (() => void) | undefined
  private resume: ((response: Effect.Effect<HttpResponse, HttpError>) => void) | undefined
  private head: { readonly status: number; readonly headers: HttpResponse["headers"] } | undefined
  private failure: HttpError | undefined

  private requestDone = false
  private responseStarted = false
  private responseDone = false
  private informational = 0
  /** Bytes of the body that came, and that may still come once it is dropped. */
  private received = 0
  private allowed = Infinity
  private flushing = false
  private over = false

  constructor(carrier: Carrier, request: HttpRequest, context: Context.Context<never>, onEnd?: () => void) {
    this.carrier = carrier
    this.request = request
    this.onEnd = onEnd
    this.stream = Stream.isStream(request.body) ? makeRequestStream(request.body, context) : undefined
    this.body = new BodyBuffer({
      pause: () => this.controller?.pause(),
      resume: () => this.resumeParser(),
      drop: () => this.drain(),
      error: (reason) => this.error(reason)
    })
    this.stopWaiting = afterTurn(() => this.dispatch())
  }

  readonly response: Effect.Effect<HttpResponse, HttpError> = Effect.callback((resume) => {
    this.resume = resume
    if (this.over || this.head !== undefined) this.flush()
  })

  cancel(): void {
    if (this.over || this.head !== undefined) return this.body.drop()
    this.failure ??= this.error(new ConnectionLost({ code: "CANCELLED" }))
    if (this.stopWaiting === undefined) return this.destroy()
    this.stopWaiting()
    this.finish()
  }

  private dispatch(): void {
    this.stopWaiting = undefined
    if (!this.carrier.isWritable()) return this.fail(this.error(new ConnectionLost({ code: "CLOSED_WHILE_IDLE" })))
    const { body, headers = {}, method, path } = this.request
    const flat: Array<string | ReadonlyArray<string>> = []
    let named = false
    for (const name of Object.keys(headers)) {
      named ||= name.length === 4 && name.toLowerCase() === "host"
      flat.push(name, headers[name]!)
    }
    if (!named) flat.push("host", this.carrier.authority)
    this.carrier.dispatch(
      {
        method,
        path,
        headers: flat as Array<string>,
        // undici takes async iterables; its types do not say so.
        body: (this.stream ?? body ?? null) as string | Uint8Array | null
      },
      this
    )
  }

  // ---------------------------------------------------------------------------
  // What undici reports
  // ---------------------------------------------------------------------------

  /** The next statement of undici's writes to the socket. */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller
    this.watchdog.watch(this.carrier.limits.headersTimeout, () => this.onSilence("headers"))
  }

  onBodySent(): void {
    this.alive()
  }

  onRequestSent(): void {
    this.requestDone = true
    this.alive()
  }

  onResponseStarted(): void {
    this.responseStarted = true
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: HttpResponse["headers"]): void {
    const { bodyTimeout, maxInformational } = this.carrier.limits
    if (status < 200) {
      if (++this.informational <= maxInformational) return
      const detail = `it has more than ${maxInformational} informational responses`
      return this.abort(new InvalidResponse({ code: "TOO_MANY_INFORMATIONAL", detail }))
    }
    this.head = { status, headers }
    this.carrier.onHead(headers)
    this.watchdog.watch(bodyTimeout, () => this.onSilence("body"))
    this.flushLater()
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Uint8Array): void {
    this.received += chunk.length
    if (this.body.state === "dropped") {
      if (this.received > this.allowed) this.abort(new ConnectionLost({ code: "BODY_DROPPED" }))
      return
    }
    this.alive()
    this.body.push(chunk)
    this.flushLater()
  }

  onResponseEnd(): void {
    this.responseDone = true
    this.flushLater()
  }

  onResponseError(_: Dispatcher.DispatchController | null, error: Error): void {
    this.fail(this.error(reasonOf(error)))
  }

  // ---------------------------------------------------------------------------
  // Ends
  // ---------------------------------------------------------------------------

  private error(reason: HttpErrorReason): HttpError {
    return new HttpError({
      method: this.request.method,
      authority: this.carrier.authority,
      reason,
      sent: this.controller === undefined ? "none" : "maybe",
      responseStarted: this.responseStarted
    })
  }

  private fail(error: HttpError): void {
    this.failure ??= error
    this.flushLater()
  }

  /** Fails the exchange and ends the connection, which carries half a message. */
  private abort(reason: HttpErrorReason): void {
    this.fail(this.error(reason))
    this.destroy()
  }

  private destroy(): void {
    // Without a controller undici has the request in its queue, and fails it when the socket closes.
    if (this.controller === undefined) this.carrier.socket.destroy()
    else this.controller.abort(this.failure!)
  }

  private alive(): void {
    // The time to drain is a total, whatever comes.
    if (this.body.state !== "dropped") this.watchdog.touch()
  }

  private onSilence(phase: "headers" | "body"): void {
    // Nobody waits for the server while the caller is busy producing or reading.
    const callerIsBusy =
      phase === "headers" ? !this.requestDone && !this.carrier.socket.writableNeedDrain : this.body.paused
    if (callerIsBusy) return this.watchdog.touch()
    const after = Duration.millis(this.carrier.limits[`${phase}Timeout`])
    this.abort(new ResponseTimeout({ phase, after }))
  }

  /** Nobody reads the body: take a small rest off the wire, so that the connection can be used again. */
  private drain(): void {
    const { drainTimeout, maxDrainBytes } = this.carrier.limits
    const declared = Number(this.head?.headers["content-length"])
    const giveUp = () => this.abort(new ConnectionLost({ code: "BODY_DROPPED" }))
    this.allowed = this.received + maxDrainBytes
    if (declared > this.allowed) return giveUp()
    this.watchdog.watch(drainTimeout, giveUp)
    this.resumeParser()
  }

  private resumeParser(): void {
    // In a microtask: who reads may have been called from inside another undici parser, which is not re-entrant.
    queueMicrotask(() => {
      if (this.over) return
      this.alive()
      this.controller?.resume()
    })
  }

  private flushLater(): void {
    if (this.flushing) return
    this.flushing = true
    queueMicrotask(() => {
      this.flushing = false
      this.flush()
    })
  }

  private flush(): void {
    if (this.responseDone || this.failure !== undefined) this.finish()
    const resume = this.resume
    if (resume !== undefined && (this.head !== undefined || this.over)) {
      this.resume = undefined
      resume(
        this.head === undefined
          ? Effect.fail(this.failure!)
          : Effect.succeed(new BufferedResponse(this.head.status, this.head.headers, this.body))
      )
    }
    this.body.wake()
  }

  private finish(): void {
    if (this.over) return
    this.over = true
    this.watchdog.stop()
    if (!this.requestDone) this.stream?.close()
    this.body.end(this.responseDone ? undefined : this.failure)
    this.carrier.onOver()
    this.onEnd?.()
  }
}
