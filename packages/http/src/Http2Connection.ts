/**
 * HTTP/2 over one socket: node speaks the protocol, the pool pools.
 *
 * @since 0.1.0
 */
import type { Signals } from "@poolkit/pool/ConnectionPool"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Http2 from "node:http2"
import type * as Net from "node:net"
import type { HttpConnection, HttpExchange, HttpRequest } from "./HttpConnection.ts"
import { ConnectionLost, HttpError, type HttpErrorReason, InvalidRequest } from "./HttpError.ts"
import type { Limits } from "./internal/http1Exchange.ts"
import { reasonOf } from "./internal/http2Error.ts"
import { type Carrier, Http2Exchange } from "./internal/http2Exchange.ts"
import { Invalid, makeHead, type RequestHead } from "./internal/http2Headers.ts"
import { Liveness } from "./internal/http2Liveness.ts"
import { resolve } from "./internal/http2Options.ts"
import { formatEndpoint, getPeer } from "./internal/peer.ts"
import { Reset, SocketError, Tls } from "./SocketError.ts"

/**
 * Options of {@link make}.
 *
 * @category options
 * @since 0.1.0
 */
export interface Http2Options {
  /** `host` or `host:port` for `:authority` and for errors. Default: where the socket's connector went. */
  readonly authority?: string | undefined
  /**
   * Exchanges at once; the server may allow fewer. Until its first SETTINGS
   * frame has come, 100 are assumed. Default 1,000, minimum 1.
   */
  readonly maxConcurrentStreams?: number | undefined
  /**
   * How long the server may be silent once the request is written, until the
   * final response head is complete. While the body of the request is sent it
   * bounds the time in which the server takes no byte. Default 5 minutes.
   */
  readonly headersTimeout?: Duration.Input | undefined
  /** How long the server may pause within the response body while somebody waits for it. Default 5 minutes. */
  readonly bodyTimeout?: Duration.Input | undefined
  /**
   * Size of one response's head as HTTP/2 counts it: names, values and 32 bytes
   * per field. The server is told. Default 16,384, minimum 1.
   */
  readonly maxHeaderBytes?: number | undefined
  /** 1xx responses before the final one. Default 10, minimum 0. */
  readonly maxInformational?: number | undefined
  /** Bytes of a dropped body that are read to save a reset. Default 65,536; 0 always resets the stream. */
  readonly maxDrainBytes?: number | undefined
  /** The time that this may take, in the background. Default 100 ms. */
  readonly drainTimeout?: Duration.Input | undefined
  /**
   * Streams that this side resets (requests given up, bodies dropped, timeouts)
   * before the connection retires. Servers count them as an attack and may end
   * a connection, with all that is on it, after some hundreds. Default 100,
   * minimum 1.
   */
  readonly maxResets?: number | undefined
  /**
   * While requests are under way: how long the server may be silent before it
   * is sent a PING. A server that was not heard of for so long when a request
   * starts, or not at all since a request that was given up, gets one at once.
   * An idle connection is never pinged. Servers of gRPC may object to more than
   * one in 5 minutes. Default 1 minute, minimum 1 ms; `Infinity` turns it off.
   */
  readonly pingInterval?: Duration.Input | undefined
  /** The time to answer a PING, by any byte; past it the connection is lost. Default 15 seconds, minimum 1 ms. */
  readonly pingTimeout?: Duration.Input | undefined
  /**
   * Bytes that the server may send on one stream before they are read. It bounds
   * the speed of one response to a window per round trip, and what a response
   * that nobody reads holds. Default 262,144, minimum 65,535.
   */
  readonly streamWindow?: number | undefined
  /** The same for all streams together. Default 1,048,576, minimum 65,535. */
  readonly connectionWindow?: number | undefined
}

/**
 * Speaks HTTP/2 over a connected socket until the scope closes, which closes
 * the socket at once and fails what is under way.
 *
 * **Details**
 *
 * - A TLS socket must have agreed on `h2` by ALPN; over a plain socket the
 *   server must be known to speak HTTP/2. Fails with `SocketError` if ALPN chose
 *   something else, or if the socket has closed already.
 * - A request that finds no free stream fails unsent, with `AT_CAPACITY`; so does
 *   one that finds the connection closed or told to go away.
 * - A response counts as complete when the server said so and as many bytes came
 *   as `content-length` declares. A request whose response is complete before it
 *   was sent as a whole is given up.
 * - A failure concerns one stream; the connection goes on. It stops being open
 *   when the server hangs up or announces it will, leaves a PING unanswered, or
 *   violates the protocol, after `maxResets`, and when stream ids run out. What
 *   is under way then may finish, where the protocol lets it.
 * - A request that the server refused, or that is above the last one that its
 *   GOAWAY names, fails with `RequestRefused` and `sent: "none"`.
 * - The headers `connection` and `host` are translated; `keep-alive`,
 *   `transfer-encoding`, `upgrade` and their like fail with `InvalidRequest`.
 * - Idle, it does not keep the process alive.
 *
 * **Gotchas**
 *
 * `CONNECT`, `Expect: 100-continue`, server push and trailers are not supported;
 * trailers of a response are left out. A response without `content-length` that
 * the server cuts short by `RST_STREAM(NO_ERROR)` looks complete: node does not
 * tell.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  socket: Net.Socket,
  options: Http2Options = {}
): Effect.Effect<HttpConnection, SocketError, Scope.Scope> =>
  Effect.flatMap(Clock.Clock, (clock) =>
    Effect.suspend(() => {
      const settings = resolve(options)
      const endpoint = endpointOf(socket)
      const unusable = whyUnusable(socket)
      if (unusable !== undefined) return Effect.fail(new SocketError({ endpoint, reason: unusable }))
      return Effect.acquireRelease(
        Effect.sync(() => new Http2Connection(socket, options.authority ?? endpoint, settings, clock)),
        (connection) => Effect.sync(() => connection.close())
      )
    })
  )

const endpointOf = (socket: Net.Socket): string =>
  getPeer(socket)?.endpoint ?? formatEndpoint(socket.remoteAddress ?? "localhost", socket.remotePort ?? 80)

const whyUnusable = (socket: Net.Socket): Reset | Tls | undefined => {
  if (socket.destroyed) return new Reset({ phase: "connect", code: "CLOSED" })
  if ("alpnProtocol" in socket && socket.alpnProtocol !== "h2") return new Tls({ code: "ALPN_NOT_H2" })
  return undefined
}

/** Before the server's first SETTINGS frame: what RFC 9113 recommends as the least, and nghttp2 assumes. */
const assumedStreams = 100

const maxStreamId = 2 ** 31 - 1

/** This many ids are left for callers that hold a slot already when the connection retires. */
const spareStreams = 1_000

class Http2Connection implements HttpConnection, Carrier {
  readonly protocol = "h2"
  readonly authority: string
  readonly limits: Limits
  readonly maxHeaderBytes: number
  private readonly settings: ReturnType<typeof resolve>
  private readonly socket: Net.Socket
  private readonly session: Http2.ClientHttp2Session
  private readonly liveness: Liveness
  private readonly scheme: "http" | "https"
  private readonly exchanges = new Set<Http2Exchange>()
  private readonly watchers = new Set<Signals>()
  private peerStreams = assumedStreams
  private peerHeaderBytes = Infinity
  private goaway: { readonly code: number; readonly lastStreamId: number } | undefined
  private failure: unknown
  private resets = 0
  private retired = false
  private ended = false
  private signalling = false
  private concurrencySeen: number

  constructor(socket: Net.Socket, authority: string, settings: ReturnType<typeof resolve>, clock: Clock.Clock) {
    this.socket = socket
    this.authority = authority
    this.settings = settings
    this.limits = settings.limits
    this.maxHeaderBytes = settings.maxHeaderBytes
    this.scheme = "alpnProtocol" in socket ? "https" : "http"
    this.concurrencySeen = this.concurrency()
    this.session = openSession(socket, settings)
    this.listen()
    this.liveness = new Liveness({
      interval: settings.pingInterval,
      timeout: settings.pingTimeout,
      now: () => clock.currentTimeMillisUnsafe(),
      received: () => this.received(),
      ping: (onAnswer) => this.ping(onAnswer),
      onDead: () => {
        this.failure ??= Object.assign(new Error("the server left a PING unanswered"), { code: "PING_TIMEOUT" })
        this.close()
      }
    })
  }

  send(request: HttpRequest, context: Context.Context<never>, onEnd?: () => void): HttpExchange {
    const refuse = (reason: HttpErrorReason): HttpExchange => {
      onEnd?.()
      return { response: Effect.fail(this.refuse(request, reason)), cancel: ignore }
    }
    const head = makeHead(request, this.scheme, this.authority, this.peerHeaderBytes)
    if (head instanceof Invalid) return refuse(new InvalidRequest({ detail: head.detail }))
    if (!this.isUsable()) return refuse(new ConnectionLost({ code: "CLOSED_WHILE_IDLE", cause: this.failure }))
    // node would queue it, and tell neither when it is sent nor that it was not.
    if (this.exchanges.size >= this.concurrency()) return refuse(new ConnectionLost({ code: "AT_CAPACITY" }))
    try {
      const exchange = new Http2Exchange(this, request, head, context, onEnd)
      this.exchanges.add(exchange)
      if (this.exchanges.size === 1) {
        this.session.ref()
        this.liveness.start()
      }
      return exchange
    } catch (error) {
      return refuse(new InvalidRequest({ detail: error instanceof Error ? error.message : "node rejects it" }))
    }
  }

  concurrency(): number {
    return Math.min(this.settings.maxConcurrentStreams, this.peerStreams)
  }

  isOpen(): boolean {
    return !this.retired && this.isUsable()
  }

  watch(signals: Signals): () => void {
    this.watchers.add(signals)
    return () => {
      this.watchers.delete(signals)
    }
  }

  /** Ends the session and the socket at once: `session.destroy` alone waits for a peer that may not read. */
  close(): void {
    this.liveness.stop()
    this.session.destroy()
    this.socket.destroy()
    this.onEnd()
  }

  // What an exchange needs.

  open(head: RequestHead, endStream: boolean): Http2.ClientHttp2Stream {
    const stream = this.session.request(head.fields, { endStream })
    if (stream.id === undefined || stream.id > maxStreamId - 2 * spareStreams) this.retire()
    return stream
  }

  reasonOf(stream: Http2.ClientHttp2Stream, error: unknown, responseStarted: boolean): HttpErrorReason {
    const { failure, goaway } = this
    const ended = this.ended || this.session.destroyed
    return reasonOf({ id: stream.id, rstCode: stream.rstCode, error, responseStarted, goaway, ended, failure })
  }

  received(): number {
    return this.socket.bytesRead
  }

  onReset(unheard: boolean): void {
    if (++this.resets >= this.settings.maxResets) this.retire()
    if (unheard) this.liveness.suspect()
  }

  onOver(exchange: Http2Exchange): void {
    if (!this.exchanges.delete(exchange) || this.exchanges.size > 0) return
    this.liveness.pause()
    this.session.unref()
  }

  // What node reports.

  private listen(): void {
    // A socket without an error listener ends the process when its peer resets it.
    this.socket.on("error", this.onError).on("close", this.onEnd)
    this.session
      .on("error", this.onError)
      .on("remoteSettings", this.onSettings)
      .on("goaway", this.onGoaway)
      .on("close", this.onEnd)
    this.session.unref()
  }

  private readonly onError = (error: unknown): void => {
    this.failure ??= error
  }

  private readonly onSettings = (settings: Http2.Settings): void => {
    this.peerStreams = settings.maxConcurrentStreams ?? Infinity
    this.peerHeaderBytes = settings.maxHeaderListSize ?? Infinity
    if (this.concurrency() !== this.concurrencySeen) this.signalLater()
  }

  /** A server may send several, each with a lower id: first that it will go, then up to where it answers. */
  private readonly onGoaway = (code: number, lastStreamId: number): void => {
    const before = this.goaway?.lastStreamId ?? Infinity
    this.goaway = { code: code === 0 ? (this.goaway?.code ?? 0) : code, lastStreamId: Math.min(before, lastStreamId) }
    this.retire()
  }

  private readonly onEnd = (): void => {
    if (this.ended) return
    this.ended = true
    this.liveness.stop()
    this.socket.off("close", this.onEnd)
    this.session.off("remoteSettings", this.onSettings).off("goaway", this.onGoaway).off("close", this.onEnd)
    for (const exchange of this.exchanges) exchange.onConnectionEnd()
    this.retire()
  }

  private isUsable(): boolean {
    return !this.ended && this.goaway === undefined && !this.session.closed && !this.session.destroyed
  }

  private ping(onAnswer: (alive: boolean) => void): void {
    if (!this.isUsable() || !this.session.ping((error) => onAnswer(error === null))) onAnswer(false)
  }

  private retire(): void {
    if (this.retired) return
    this.retired = true
    this.signalLater()
  }

  /** Not at once: a pool may act on it, and node's HTTP/2 is in the midst of a read. */
  private signalLater(): void {
    if (this.signalling) return
    this.signalling = true
    setImmediate(() => {
      this.signalling = false
      const changed = this.concurrency() !== this.concurrencySeen
      this.concurrencySeen = this.concurrency()
      for (const watcher of this.watchers) {
        if (this.retired) watcher.retire()
        else if (changed) watcher.capacityChanged()
      }
    })
  }

  private refuse(request: HttpRequest, reason: HttpErrorReason): HttpError {
    return new HttpError({
      method: request.method,
      authority: this.authority,
      reason,
      sent: "none",
      responseStarted: false
    })
  }
}

const openSession = (socket: Net.Socket, settings: ReturnType<typeof resolve>): Http2.ClientHttp2Session => {
  const session = Http2.connect("http://localhost", {
    createConnection: () => socket,
    // The bound is in bytes; every field counts 32 of them.
    maxHeaderListPairs: Math.ceil(settings.maxHeaderBytes / 32) + 1,
    settings: {
      enablePush: false,
      initialWindowSize: settings.streamWindow,
      maxHeaderListSize: settings.maxHeaderBytes
    }
  })
  session.setLocalWindowSize(settings.connectionWindow)
  return session
}

const ignore = (): void => {}
