import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type * as Http2 from "node:http2"
import { addAbortSignal } from "node:stream"
import type { HttpExchange, HttpRequest, HttpResponse } from "../HttpConnection.ts"
import {
  ConnectionLost,
  HttpError,
  type HttpErrorReason,
  InvalidRequest,
  InvalidResponse,
  RequestBodyFailed,
  ResponseTimeout
} from "../HttpError.ts"
import type { Limits } from "./http1Exchange.ts"
import { parseHead, type RequestHead } from "./http2Headers.ts"
import { RequestBody } from "./http2RequestBody.ts"
import { makeRequestStream } from "./requestStream.ts"
import { BodyBuffer, BufferedResponse } from "./responseBody.ts"
import { Watchdog } from "./watchdog.ts"

/** What an exchange needs from its connection. */
export interface Carrier {
  readonly authority: string
  readonly limits: Limits
  readonly maxHeaderBytes: number
  /** Opens a stream; throws on what node rejects. */
  readonly open: (head: RequestHead, endStream: boolean) => Http2.ClientHttp2Stream
  /** Why a stream ended without its response. */
  readonly reasonOf: (stream: Http2.ClientHttp2Stream, error: unknown, responseStarted: boolean) => HttpErrorReason
  /** Bytes that the peer has ever sent, over all streams. */
  readonly received: () => number
  /** This side reset a stream. `unheard`: nothing came from the peer since the request was sent. */
  readonly onReset: (unheard: boolean) => void
  readonly onOver: (exchange: Http2Exchange) => void
}

/**
 * One request and its response on a stream of an HTTP/2 connection.
 *
 * node calls back from within nghttp2, which must not be entered again, and
 * resuming a fiber runs user code on the spot. So callbacks only note what
 * happened and ask for one `flush` when the event loop has left them. A flush
 * first gives the stream's slot back, then resumes the fiber.
 */
export class Http2Exchange implements HttpExchange {
  private readonly carrier: Carrier
  private readonly request: HttpRequest
  private readonly onEnd: (() => void) | undefined
  private readonly stream: Http2.ClientHttp2Stream
  private readonly requestBody: RequestBody
  private readonly body: BodyBuffer
  private readonly watchdog = new Watchdog()
  /** What the peer had sent when the request was. */
  private readonly heard: number

  private resume: ((response: Effect.Effect<HttpResponse, HttpError>) => void) | undefined
  private head: { readonly status: number; readonly headers: HttpResponse["headers"] } | undefined
  private failure: HttpError | undefined
  private cause: unknown

  private requestDone: boolean
  private responseStarted = false
  /** The server marked the end of the response. */
  private complete = false
  private closed = false
  private informational = 0
  /** Bytes of the body that came, and that may still come once it is dropped. */
  private received = 0
  private allowed = Infinity
  private flushing = false
  private over = false

  constructor(
    carrier: Carrier,
    request: HttpRequest,
    head: RequestHead,
    context: Context.Context<never>,
    onEnd?: () => void
  ) {
    this.carrier = carrier
    this.request = request
    this.onEnd = onEnd
    this.heard = carrier.received()
    const source = Stream.isStream(request.body) ? makeRequestStream(request.body, context) : undefined
    this.requestDone = source === undefined && head.content === undefined
    this.stream = carrier.open(head, this.requestDone)
    this.requestBody = new RequestBody(this.stream, source, head.contentLength)
    this.body = new BodyBuffer({
      pause: () => this.stream.pause(),
      resume: () => this.resumeStream(),
      drop: () => this.drain(),
      error: (reason) => this.error(reason)
    })
    this.listen()
    this.watchdog.watch(carrier.limits.headersTimeout, () => this.onSilence("headers"))
    if (!this.requestDone) {
      const onFailure = (cause: unknown) => this.onBodyFailure(cause)
      void this.requestBody.write(head.content ?? nothing, () => this.alive(), onFailure)
    }
  }

  readonly response: Effect.Effect<HttpResponse, HttpError> = Effect.callback((resume) => {
    this.resume = resume
    if (this.over || this.head !== undefined) this.flush()
  })

  cancel(): void {
    if (this.over || this.head !== undefined) return this.body.drop()
    this.failure ??= this.error(new ConnectionLost({ code: "CANCELLED" }))
    this.finish()
  }

  /** The connection has ended, and node may not tell. */
  onConnectionEnd(): void {
    this.closed = true
    this.flushLater()
  }

  // ---------------------------------------------------------------------------
  // What node reports
  // ---------------------------------------------------------------------------

  private listen(): void {
    this.stream
      .on("error", (error) => {
        this.cause ??= error
      })
      .on("headers", () => this.onInformational())
      .on("response", (headers, _flags, raw) => this.onResponse(headers[":status"] ?? 0, raw))
      .on("data", (chunk: Uint8Array) => this.onData(chunk))
      .on("finish", () => {
        this.requestDone ||= this.requestBody.written
        this.alive()
      })
      .on("end", () => this.onBodyEnd())
      .on("close", () => {
        this.closed = true
        this.flushLater()
      })
  }

  private onInformational(): void {
    const { maxInformational } = this.carrier.limits
    this.responseStarted = true
    if (++this.informational <= maxInformational) return
    const detail = `it has more than ${maxInformational} informational responses`
    this.abort(new InvalidResponse({ code: "TOO_MANY_INFORMATIONAL", detail }))
  }

  private onResponse(status: number, raw: ReadonlyArray<string>): void {
    this.responseStarted = true
    const { headers, size } = parseHead(raw)
    if (size > this.carrier.maxHeaderBytes) {
      const detail = "its headers are larger than maxHeaderBytes"
      return this.abort(new InvalidResponse({ code: "HEADERS_TOO_LARGE", detail }))
    }
    this.head = { status, headers }
    this.watchdog.watch(this.carrier.limits.bodyTimeout, () => this.onSilence("body"))
    this.flushLater()
  }

  private onData(chunk: Uint8Array): void {
    if (this.over) return
    this.received += chunk.length
    if (this.body.state === "dropped") {
      if (this.received > this.allowed) this.abort(new ConnectionLost({ code: "BODY_DROPPED" }))
      return
    }
    this.alive()
    this.body.push(chunk)
    this.flushLater()
  }

  private onBodyEnd(): void {
    // The end of the connection and most resets end the body too, but close the stream first.
    if (this.stream.destroyed || this.stream.rstCode !== 0) return
    this.complete = true
    this.flushLater()
  }

  private onBodyFailure(cause: unknown): void {
    const known = cause instanceof RequestBodyFailed || cause instanceof InvalidRequest
    this.abort(known ? cause : new RequestBodyFailed({ cause }))
  }

  // ---------------------------------------------------------------------------
  // Ends
  // ---------------------------------------------------------------------------

  private error(reason: HttpErrorReason): HttpError {
    const unsent = this.stream.id === undefined || reason._tag === "RequestRefused"
    return new HttpError({
      method: this.request.method,
      authority: this.carrier.authority,
      reason,
      sent: unsent ? "none" : "maybe",
      responseStarted: this.responseStarted
    })
  }

  /** Fails the exchange and its stream, and nothing else on the connection. */
  private abort(reason: HttpErrorReason): void {
    if (this.over) return
    this.failure ??= this.error(reason)
    this.flushLater()
  }

  /** Not from a callback of node's, where the frame would get lost. */
  private reset(): void {
    if (this.stream.closed) return
    // RST_STREAM(CANCEL). `stream.close` would first mark what was sent of the request's body as the whole of it.
    addAbortSignal(aborted, this.stream)
    this.carrier.onReset(this.carrier.received() === this.heard)
  }

  private alive(): void {
    // The time to drain is a total, whatever comes.
    if (this.body.state !== "dropped") this.watchdog.touch()
  }

  private onSilence(phase: "headers" | "body"): void {
    // Nobody waits for the server while the caller is busy producing or reading.
    const callerIsBusy = phase === "headers" ? this.requestBody.producing : this.body.paused
    if (callerIsBusy) return this.watchdog.touch()
    const after = Duration.millis(this.carrier.limits[`${phase}Timeout`])
    this.abort(new ResponseTimeout({ phase, after }))
  }

  /** Nobody reads the body. A small rest is cheaper than a reset, which servers count. */
  private drain(): void {
    const { drainTimeout, maxDrainBytes } = this.carrier.limits
    const declared = Number(this.head?.headers["content-length"])
    const giveUp = () => this.abort(new ConnectionLost({ code: "BODY_DROPPED" }))
    this.allowed = this.received + maxDrainBytes
    if (declared > this.allowed || maxDrainBytes === 0) return giveUp()
    this.watchdog.watch(drainTimeout, giveUp)
    this.resumeStream()
  }

  private resumeStream(): void {
    if (this.over) return
    this.alive()
    this.stream.resume()
  }

  private flushLater(): void {
    if (this.flushing || this.over) return
    this.flushing = true
    setImmediate(() => {
      this.flushing = false
      this.flush()
    })
  }

  private flush(): void {
    if (this.complete || this.closed || this.failure !== undefined) this.finish()
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
    this.failure ??= this.judge()
    this.over = true
    this.watchdog.stop()
    if (!this.requestDone) this.requestBody.stop()
    // A whole response is the server's last word, also on a request that is still being sent.
    if (!this.complete || !this.requestDone) this.reset()
    this.body.end(this.failure)
    this.carrier.onOver(this)
    this.onEnd?.()
  }

  /** What is wrong with an exchange that ended by itself. */
  private judge(): HttpError | undefined {
    if (this.head === undefined || !this.complete) {
      return this.error(this.carrier.reasonOf(this.stream, this.cause, this.responseStarted))
    }
    const { headers, status } = this.head
    const declared = headers["content-length"]
    const bodiless = this.request.method === "HEAD" || status === 204 || status === 304
    if (bodiless || declared === undefined || Number(declared) === this.received) return undefined
    const detail = "its body is not as long as content-length says"
    return this.error(new InvalidResponse({ code: "CONTENT_LENGTH_MISMATCH", detail }))
  }
}

const aborted = AbortSignal.abort()
const nothing = new Uint8Array(0)
