/**
 * HTTP/1.1 over one socket: undici parses, the pool pools.
 *
 * @since 0.1.0
 */
import type { Signals } from "@poolkit/pool/ConnectionPool"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Net from "node:net"
import * as Undici from "undici"
import type { HttpConnection, HttpExchange, HttpRequest, HttpResponse } from "./HttpConnection.ts"
import { HttpError, InvalidRequest } from "./HttpError.ts"
import type { Limits } from "./internal/exchange.ts"
import { type Carrier, Http1Exchange } from "./internal/http1Exchange.ts"
import { resolve } from "./internal/http1Options.ts"
import { formatEndpoint, getPeer } from "./internal/peer.ts"
import { untilScopeCloses } from "./internal/untilScopeCloses.ts"

/**
 * Options of {@link make}.
 *
 * @category options
 * @since 0.1.0
 */
export interface Http1Options {
  /** `host` or `host:port` for the `Host` header and for errors. Default: where the socket's connector went. */
  readonly authority?: string | undefined
  /**
   * How long the server may be silent once the request is written, until the
   * final response head is complete. While the body of the request is sent it
   * bounds the time in which the server takes no byte. Default 5 minutes.
   */
  readonly headersTimeout?: Duration.Input | undefined
  /**
   * How long the server may pause within the response body, read or not. Does
   * not count while 64 KiB of it wait to be read. Default 5 minutes.
   */
  readonly bodyTimeout?: Duration.Input | undefined
  /** Bytes of one response's head. Default 16,384, minimum 1. */
  readonly maxHeaderBytes?: number | undefined
  /** 1xx responses before the final one. Default 10, minimum 0. */
  readonly maxInformational?: number | undefined
  /** Bytes of a dropped body that are read to save the connection. Default 65,536; 0 always ends it. */
  readonly maxDrainBytes?: number | undefined
  /** The time that this may take, in the background. Default 100 ms. */
  readonly drainTimeout?: Duration.Input | undefined
  /**
   * How long before the end of the server's `Keep-Alive: timeout=N` the
   * connection stops being used. Covers the way there. Default 2 seconds, so
   * that a hint of up to 2 seconds means no reuse.
   */
  readonly keepAliveMargin?: Duration.Input | undefined
}

/**
 * Speaks HTTP/1.1 over a connected socket until the scope closes, which closes
 * the socket.
 *
 * **Details**
 *
 * - One request at a time; a second one fails with `InvalidRequest`.
 * - A request is written after a full turn of the event loop in which the
 *   connection could report bytes that nobody asked for, or its end. If it
 *   does, the request fails with `sent: "none"`.
 * - It stops being open when the peer hangs up or sends something unasked,
 *   after `Connection: close`, HTTP/1.0, a HEAD (some servers send a body), an
 *   answer that came before the request was complete, a violation of the
 *   protocol, and shortly before the end of the server's keep-alive hint.
 * - Idle, it does not keep the process alive.
 *
 * **Gotchas**
 *
 * `CONNECT`, upgrades and `Expect: 100-continue` are not supported. A server
 * that sends `100 Continue` all the same breaks the exchange.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  socket: Net.Socket,
  options: Http1Options = {}
): Effect.Effect<HttpConnection, never, Scope.Scope> =>
  Effect.flatMap(Clock.Clock, (clock) =>
    untilScopeCloses(
      Effect.sync(() => new Http1Connection(socket, options, clock)),
      close
    )
  )

/** It fails what is under way, and undici has nothing else to close. */
const close = ({ socket }: Http1Connection): void => {
  socket.destroy()
}

class Http1Connection implements HttpConnection, Carrier {
  readonly protocol = "http/1.1"
  readonly socket: Net.Socket
  readonly authority: string
  readonly limits: Limits
  private readonly clock: Clock.Clock
  private readonly client: Undici.Client
  private readonly margin: number
  private expiresAt = Infinity
  private busy = false
  private ended = false

  constructor(socket: Net.Socket, options: Http1Options, clock: Clock.Clock) {
    this.socket = socket
    this.clock = clock
    this.authority =
      options.authority ??
      getPeer(socket)?.endpoint ??
      formatEndpoint(socket.remoteAddress ?? "localhost", socket.remotePort ?? 80)
    const { limits, margin, maxHeaderSize } = resolve(options)
    this.limits = limits
    this.margin = margin
    this.client = makeClient(socket, maxHeaderSize, margin)
    // A socket without an error listener ends the process when its peer resets it.
    socket
      .on("error", () => {})
      .on("end", this.onClose)
      .on("close", this.onClose)
      .on("readable", this.onReadable)
  }

  send(request: HttpRequest, context: Context.Context<never>, onEnd?: () => void): HttpExchange {
    const invalid = this.busy
      ? "the connection carries another request; HTTP/1.1 connections take one at a time"
      : request.method === "CONNECT"
        ? "CONNECT is not supported"
        : undefined
    if (invalid !== undefined) {
      onEnd?.()
      return { response: Effect.fail(this.refuse(request, invalid)), cancel: () => {} }
    }
    this.busy = true
    return new Http1Exchange(this, request, context, onEnd)
  }

  concurrency(): number {
    return 1
  }

  isOpen(): boolean {
    return !this.busy && this.isWritable() && !this.isExpired()
  }

  /** Few servers say when they hang up; for the others the time is not read. */
  private isExpired(): boolean {
    return this.expiresAt !== Infinity && this.clock.currentTimeMillisUnsafe() >= this.expiresAt
  }

  watch(signals: Signals): () => void {
    this.socket.on("end", signals.retire).on("close", signals.retire)
    return () => {
      this.socket.off("end", signals.retire).off("close", signals.retire)
    }
  }

  // What an exchange needs.

  isWritable(): boolean {
    return !this.ended && !this.socket.destroyed && this.socket.readableLength === 0
  }

  dispatch(options: Undici.Dispatcher.DispatchOptions, handler: Undici.Dispatcher.DispatchHandler): void {
    this.client.dispatch(options, handler)
  }

  onHead(headers: HttpResponse["headers"]): void {
    const hint = /\btimeout=(\d+)/i.exec(String(headers["keep-alive"] ?? ""))?.[1]
    this.expiresAt =
      hint === undefined ? Infinity : this.clock.currentTimeMillisUnsafe() + Number(hint) * 1000 - this.margin
  }

  onOver(): void {
    this.busy = false
    if (!this.isWritable()) this.socket.destroy()
  }

  private refuse(request: HttpRequest, detail: string): HttpError {
    return new HttpError({
      method: request.method,
      authority: this.authority,
      reason: new InvalidRequest({ detail }),
      sent: "none",
      responseStarted: false
    })
  }

  private readonly onClose = () => {
    this.ended = true
    // While a request is out, the end may be that of its response.
    if (!this.busy) this.socket.destroy()
  }

  /**
   * Before the first request undici does not listen, and after it this is a
   * second guard: bytes that come while no request is out are nobody's answer.
   */
  private readonly onReadable = () => {
    if (!this.busy && this.socket.readableLength > 0) this.onClose()
  }
}

/**
 * A client that has one socket in its life. undici asks for another one when
 * the first has closed and a request is left; the error makes it fail that
 * request, unsent.
 */
const makeClient = (socket: Net.Socket, maxHeaderSize: number, keepAliveTimeoutThreshold: number): Undici.Client => {
  let connected = false
  return new Undici.Client("http://localhost", {
    pipelining: 1,
    allowH2: false,
    maxHeaderSize,
    // Both are the exchange's business.
    headersTimeout: 0,
    bodyTimeout: 0,
    // How long a connection may be idle is the pool's business, but for the server's hints.
    keepAliveTimeout: maxDelay,
    keepAliveMaxTimeout: maxDelay,
    keepAliveTimeoutThreshold,
    connect: (_, callback) => {
      // In a microtask: called on the spot, undici would not look at its queue again.
      queueMicrotask(() => {
        if (connected) return callback(Object.assign(new Error("the connection has closed"), { code: "CLOSED" }), null)
        connected = true
        callback(null, socket)
      })
    }
  })
}

const maxDelay = 2 ** 31 - 1
