import type { Signals } from "@poolkit/pool/ConnectionPool"
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Http2 from "node:http2"
import type * as Net from "node:net"
import type { HttpConnection, HttpExchange, HttpRequest } from "../HttpConnection.ts"
import { ConnectionLost, HttpError, type HttpErrorReason, InvalidRequest } from "../HttpError.ts"
import type { Limits } from "./exchange.ts"
import { reasonOf } from "./http2Error.ts"
import { type Carrier, Http2Exchange } from "./http2Exchange.ts"
import { Invalid, makeHead, type RequestHead } from "./http2Headers.ts"
import { Liveness } from "./http2Liveness.ts"
import type { Settings } from "./http2Options.ts"

/** Before the server's first SETTINGS frame: what RFC 9113 recommends as the least, and nghttp2 assumes. */
const assumedStreams = 100

const maxStreamId = 2 ** 31 - 1

/** This many ids are left for callers that hold a slot already when the connection retires. */
const spareStreams = 1_000

/** A connection over a session of `node:http2`: which requests it takes, and how long it is good for. */
export class Http2Session implements HttpConnection, Carrier {
  readonly protocol = "h2"
  readonly authority: string
  readonly limits: Limits
  readonly maxHeaderBytes: number
  private readonly settings: Settings
  private readonly socket: Net.Socket
  private readonly session: Http2.ClientHttp2Session
  private readonly liveness: Liveness
  private readonly scheme: "http" | "https"
  /** Not a set: the tables that sets leave behind when they come and go keep what was in them until a full collection. */
  private readonly exchanges: Array<Http2Exchange> = []
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

  constructor(socket: Net.Socket, authority: string, settings: Settings, clock: Clock.Clock) {
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
    if (this.exchanges.length >= this.concurrency()) return refuse(new ConnectionLost({ code: "AT_CAPACITY" }))
    try {
      const exchange = new Http2Exchange(this, request, head, context, onEnd)
      exchange.place = this.exchanges.push(exchange) - 1
      if (this.exchanges.length === 1) {
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
    const last = this.exchanges.pop()!
    if (last !== exchange) {
      this.exchanges[exchange.place] = last
      last.place = exchange.place
    }
    if (this.exchanges.length > 0) return
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
    const { closed, destroyed } = this.session
    return !this.ended && this.goaway === undefined && !closed && !destroyed && !this.socket.destroyed
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

const openSession = (socket: Net.Socket, settings: Settings): Http2.ClientHttp2Session => {
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
