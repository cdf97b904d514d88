import type * as Context from "effect/Context"
import * as Stream from "effect/Stream"
import type * as Http2 from "node:http2"
import { addAbortSignal } from "node:stream"
import type { HttpRequest } from "../HttpConnection.ts"
import {
  type HttpError,
  type HttpErrorReason,
  InvalidRequest,
  InvalidResponse,
  RequestBodyFailed
} from "../HttpError.ts"
import { type Connected, Exchange, type Head } from "./exchange.ts"
import { parseHead, type RequestHead } from "./http2Headers.ts"
import { RequestBody } from "./http2RequestBody.ts"
import { makeRequestStream } from "./requestStream.ts"

/** What an exchange needs from its connection. */
export interface Carrier extends Connected {
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

const owner = Symbol("owner")

/**
 * A stream of node's that knows its exchange for as long as that is under way.
 * Node keeps streams for some turns after their end; with listeners that know
 * the exchange, nothing of a request would die young.
 */
interface OwnedStream extends Http2.ClientHttp2Stream {
  [owner]?: Http2Exchange | undefined
}

/**
 * One request and its response on a stream of an HTTP/2 connection.
 *
 * node calls back from within nghttp2. So a flush happens when the event loop
 * has left it.
 */
export class Http2Exchange extends Exchange<Carrier> {
  /** Its index among those of its connection. */
  place = 0
  private readonly stream: OwnedStream
  private readonly requestBody: RequestBody
  /** What the peer had sent when the request was. */
  private readonly heard: number
  private cause: unknown
  private requestDone: boolean
  /** The server marked the end of the response. */
  private complete = false
  private closed = false

  constructor(
    carrier: Carrier,
    request: HttpRequest,
    head: RequestHead,
    context: Context.Context<never>,
    onEnd?: () => void
  ) {
    super(carrier, request, onEnd)
    this.heard = carrier.received()
    const source = Stream.isStream(request.body) ? makeRequestStream(request.body, context) : undefined
    this.requestDone = source === undefined && head.content === undefined
    this.stream = carrier.open(head, this.requestDone)
    this.requestBody = new RequestBody(this.stream, source, head.contentLength)
    this.stream[owner] = this
    Http2Exchange.listen(this.stream)
    this.begin()
    if (!this.requestDone) {
      const onFailure = (cause: unknown) => this.onBodyFailure(cause)
      void this.requestBody.write(head.content ?? nothing, () => this.alive(), onFailure)
    }
  }

  /** The connection has ended, and node may not tell. */
  onConnectionEnd(): void {
    this.closed = true
    this.flushLater()
  }

  // ---------------------------------------------------------------------------
  // What node reports
  // ---------------------------------------------------------------------------

  private static listen(stream: OwnedStream): void {
    stream
      .on("error", this.onError)
      .on("headers", this.onHeaders)
      .on("response", this.onResponse)
      .on("data", this.onChunk)
      .on("finish", this.onFinish)
      .on("end", this.onBodyEnd)
      .on("close", this.onClose)
  }

  private static onError(this: OwnedStream, error: unknown): void {
    const exchange = this[owner]
    if (exchange !== undefined) exchange.cause ??= error
  }

  private static onHeaders(this: OwnedStream): void {
    const exchange = this[owner]
    if (exchange === undefined) return
    exchange.responseStarted = true
    exchange.onInformational()
  }

  private static onResponse(
    this: OwnedStream,
    headers: Http2.IncomingHttpHeaders & Http2.IncomingHttpStatusHeader,
    _flags: number,
    raw: ReadonlyArray<string>
  ): void {
    this[owner]?.onFields(headers[":status"] ?? 0, raw)
  }

  private static onChunk(this: OwnedStream, chunk: Uint8Array): void {
    this[owner]?.onData(chunk)
  }

  private static onFinish(this: OwnedStream): void {
    const exchange = this[owner]
    if (exchange === undefined) return
    exchange.requestDone ||= exchange.requestBody.written
    exchange.alive()
  }

  private static onBodyEnd(this: OwnedStream): void {
    const exchange = this[owner]
    // The end of the connection and most resets end the body too, but close the stream first.
    if (exchange === undefined || this.destroyed || this.rstCode !== 0) return
    exchange.complete = true
    exchange.flushLater()
  }

  private static onClose(this: OwnedStream): void {
    this[owner]?.onConnectionEnd()
  }

  private onFields(status: number, raw: ReadonlyArray<string>): void {
    this.responseStarted = true
    const { headers, size } = parseHead(raw)
    if (size <= this.carrier.maxHeaderBytes) return this.onHead(status, headers)
    const detail = "its headers are larger than maxHeaderBytes"
    this.abort(new InvalidResponse({ code: "HEADERS_TOO_LARGE", detail }))
  }

  private onBodyFailure(cause: unknown): void {
    const known = cause instanceof RequestBodyFailed || cause instanceof InvalidRequest
    this.abort(known ? cause : new RequestBodyFailed({ cause }))
  }

  // ---------------------------------------------------------------------------
  // What an exchange needs
  // ---------------------------------------------------------------------------

  pause(): void {
    this.stream.pause()
  }

  resume(): void {
    if (this.over) return
    this.alive()
    this.stream.resume()
  }

  protected isSent(reason?: HttpErrorReason): boolean {
    return this.stream.id !== undefined && reason?._tag !== "RequestRefused"
  }

  protected isProducing(): boolean {
    return this.requestBody.producing
  }

  protected withdraw(): void {
    this.finish()
  }

  /** Fails the exchange and its stream, and nothing else on the connection. */
  protected abort(reason: HttpErrorReason): void {
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

  protected schedule(flush: () => void): void {
    setImmediate(flush)
  }

  protected isDone(): boolean {
    return this.complete || this.closed
  }

  protected judge(head: Head | undefined): HttpError | undefined {
    if (this.failure !== undefined) return this.failure
    if (head === undefined || !this.complete) {
      return this.error(this.carrier.reasonOf(this.stream, this.cause, this.responseStarted))
    }
    const { headers, status } = head
    const declared = headers["content-length"]
    const bodiless = this.request.method === "HEAD" || status === 204 || status === 304
    if (bodiless || declared === undefined || Number(declared) === this.received) return undefined
    const detail = "its body is not as long as content-length says"
    return this.error(new InvalidResponse({ code: "CONTENT_LENGTH_MISMATCH", detail }))
  }

  protected stop(): void {
    if (!this.requestDone) this.requestBody.stop()
    // A whole response is the server's last word, also on a request that is still being sent.
    if (!this.complete || !this.requestDone) this.reset()
    this.stream[owner] = undefined
  }

  protected release(): void {
    this.carrier.onOver(this)
  }
}

const aborted = AbortSignal.abort()
const nothing = new Uint8Array(0)
