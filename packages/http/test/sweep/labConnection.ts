/** An HTTP connection without a socket, whose server takes its turns in a lab. */
import type { HttpConnection, HttpExchange, HttpRequest, HttpResponse } from "@poolkit/http/HttpConnection"
import {
  BodyUnavailable,
  ConnectionLost,
  HttpError,
  type HttpErrorReason,
  RequestRefused
} from "@poolkit/http/HttpError"
import type { Signals } from "@poolkit/pool/ConnectionPool"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import { type Bench, type Conn, yields } from "../../../pool/test/support/bench.ts"
import type { Options } from "../../../pool/test/support/rigs.ts"

/**
 * What becomes of a request: after `lost` and `unsent` its connection is gone,
 * `unanswered` and `endless` leave it to its sender to put an end to it.
 */
export type Fate = "answered" | "refused" | "lost" | "unsent" | "unanswered" | "endless" | "cut short"

/** Names what becomes of a request, each time it is sent; then it is answered. */
export const fateHeader = "x-fate"

/** The server, for all connections of a case. */
export class LabServer {
  bench: Bench | undefined
  /** Turns until the head of an answer, and from there to its end. */
  readonly turns: { readonly head: number; readonly body: number }
  /** How often a request was sent, by path. */
  readonly sent = new Map<string, number>()
  /** Requests that the server acted on, by path. */
  readonly executed = new Map<string, number>()
  readonly wrongs: Array<string> = []
  /** Whether it hung up on somebody, and with HTTP/2 on everybody. */
  hungUp = false
  /** Exchanges whose end was not told. */
  open = 0

  constructor(turns: LabServer["turns"]) {
    this.turns = turns
  }

  fate({ headers = {}, path }: HttpRequest): Fate {
    const times = this.sent.get(path) ?? 0
    this.sent.set(path, times + 1)
    const fate = (String(headers[fateHeader] ?? "").split(",")[times] || "answered") as Fate
    if (fate === "refused" && times > 1) this.wrongs.push(`what was refused was sent ${times + 1} times`)
    return fate
  }
}

const failure = (request: HttpRequest, reason: HttpErrorReason, sent: "none" | "maybe", responseStarted: boolean) =>
  new HttpError({ method: request.method, authority: "lab.test", reason, sent, responseStarted })

const lost = new ConnectionLost({ code: "CLOSED" })

class Exchange implements HttpExchange {
  private readonly head = Deferred.makeUnsafe<HttpResponse, HttpError>()
  private readonly body = Deferred.makeUnsafe<string, HttpError>()
  private over = false
  private answered = false
  private endless = false
  private dropped = false
  private readonly connection: LabConnection
  private readonly request: HttpRequest
  private readonly onEnd: () => void
  private awaited = false

  constructor(connection: LabConnection, request: HttpRequest, onEnd: () => void) {
    this.connection = connection
    this.request = request
    this.onEnd = onEnd
    const { bench, turns } = connection.server
    connection.server.open++
    const fate = connection.server.fate(request)
    const play = Effect.andThen(yields(turns.head), Effect.andThen(this.begin(fate), yields(turns.body)))
    bench!.lab.fork(
      Effect.andThen(
        play,
        Effect.sync(() => this.finish(fate))
      )
    )
  }

  get response(): HttpExchange["response"] {
    return Effect.suspend(() => {
      if (this.awaited) this.connection.server.wrongs.push("a response was awaited twice")
      this.awaited = true
      return Deferred.await(this.head)
    })
  }

  readonly cancel = (): void => {
    if (this.answered) return this.drop()
    this.abort()
  }

  private abort(): void {
    if (this.over) return
    if (this.connection.protocol === "http/1.1") this.connection.die()
    this.end(failure(this.request, lost, "maybe", this.answered))
  }

  /** What is on its way comes off the wire in the background. */
  private drop(): void {
    this.dropped = true
    if (this.endless) this.abort()
  }

  private begin(fate: Fate): Effect.Effect<void> {
    return Effect.sync(() => {
      const { connection, request } = this
      if (this.over) return
      if (fate === "refused")
        return this.end(
          failure(request, new RequestRefused({ code: "REFUSED_STREAM", graceful: false }), "maybe", false)
        )
      if (fate === "unsent" || (!connection.conn.isOpen && fate === "answered")) {
        connection.die()
        return this.end(failure(request, lost, "none", false))
      }
      const { executed } = connection.server
      executed.set(request.path, (executed.get(request.path) ?? 0) + 1)
      if (fate === "unanswered") return
      if (fate === "lost") {
        connection.die()
        return this.end(failure(request, lost, "maybe", false))
      }
      this.answered = true
      this.endless = fate === "endless"
      Deferred.doneUnsafe(this.head, Exit.succeed(this.made()))
    })
  }

  private finish(fate: Fate): void {
    if (this.over || fate === "unanswered" || fate === "endless") return
    if (fate === "cut short" || !this.connection.conn.isOpen) {
      this.connection.die()
      return this.end(failure(this.request, lost, "maybe", true))
    }
    Deferred.doneUnsafe(this.body, Exit.succeed(this.request.path))
    this.end(undefined)
  }

  private end(error: HttpError | undefined): void {
    this.over = true
    if (error !== undefined) {
      Deferred.doneUnsafe(this.head, Exit.fail(error))
      Deferred.doneUnsafe(this.body, Exit.fail(error))
    }
    this.connection.ended()
    this.onEnd()
  }

  private made(): HttpResponse {
    const unavailable = failure(this.request, new BodyUnavailable({ why: "dropped" }), "maybe", true)
    const text = Effect.suspend(() => (this.dropped ? Effect.fail(unavailable) : Deferred.await(this.body)))
    const bytes = Effect.map(text, (text) => Buffer.from(text))
    const discard = Effect.sync(() => this.drop())
    return { status: 200, headers: {}, text, bytes, json: text, stream: Stream.fromEffect(bytes), discard }
  }
}

/** As connections do that are at their limit: whoever borrowed one did not wait for the end of an answer. */
const refuse = (request: HttpRequest, onEnd: () => void): HttpExchange => {
  onEnd()
  return {
    response: Effect.fail(failure(request, new ConnectionLost({ code: "AT_CAPACITY" }), "none", false)),
    cancel: () => {}
  }
}

export class LabConnection implements HttpConnection {
  readonly protocol: string
  readonly conn: Conn
  readonly server: LabServer
  private readonly options: Options
  private active = 0

  constructor(server: LabServer, options: Options, conn: Conn, protocol: string) {
    this.server = server
    this.options = options
    this.conn = conn
    this.protocol = protocol
  }

  readonly concurrency = (): number => (this.protocol === "h2" ? this.server.bench!.controls.concurrency : 1)
  /** As with a socket: not while something of the last answer is on its way. */
  readonly isOpen = (): boolean => this.conn.isOpen && (this.protocol === "h2" || this.active === 0)
  readonly watch = (signals: Signals): (() => void) => this.options.watch!(this.conn, signals) ?? (() => {})

  readonly send = (request: HttpRequest, _: Context.Context<never>, onEnd: () => void = () => {}): HttpExchange => {
    if (this.active >= this.concurrency()) return refuse(request, onEnd)
    this.active++
    return new Exchange(this, request, onEnd)
  }

  ended(): void {
    this.active--
    this.server.open--
  }

  /** The peer hangs up. */
  die(): void {
    this.server.hungUp = true
    this.server.bench!.peer.kill(this.conn)
  }
}
