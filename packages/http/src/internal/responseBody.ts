import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Pull from "effect/Pull"
import * as Stream from "effect/Stream"
import type { HttpResponse } from "../HttpConnection.ts"
import { BodyUnavailable, HttpError, type HttpErrorReason, InvalidJson } from "../HttpError.ts"

/** What a body needs from the connection that it comes from. */
export interface BodySource {
  /** Stops the flow; the body may still be pushed what is on its way. */
  readonly pause: () => void
  readonly resume: () => void
  /** Nobody reads any more. */
  readonly drop: () => void
  readonly facts: Facts
}

/** What an error says of the exchange. */
export type Facts = Pick<HttpError, "method" | "authority" | "sent" | "responseStarted">

type Chunks = [Uint8Array, ...Array<Uint8Array>]

/** More than this many bytes unread stop the flow. */
const highWaterMark = 64 * 1024

/**
 * The bytes between a connection's callbacks and the one fiber that reads.
 *
 * A connection's callbacks never run user code: they push, and wake the reader
 * by `wake`, which the connection calls when its own state is settled.
 */
export class BodyBuffer {
  /** Until it has ended: whoever keeps a response must not keep the exchange and all that it knows. */
  private source: BodySource | undefined
  private facts: Facts | undefined
  state: "unread" | "read" | "dropped" = "unread"
  ended = false
  paused = false
  /** Its response is in the registry, which makes garbage live long. */
  watched = false
  private failure: HttpError | undefined
  private chunks: Array<Uint8Array> = []
  private size = 0
  private reader: (() => void) | undefined

  constructor(source: BodySource) {
    this.source = source
  }

  push(chunk: Uint8Array): void {
    if (this.state === "dropped") return
    this.chunks.push(chunk)
    this.size += chunk.length
    if (this.size >= highWaterMark && !this.paused) {
      this.paused = true
      this.source?.pause()
    }
  }

  end(failure?: HttpError): void {
    if (this.ended) return
    this.ended = true
    this.failure = failure
    this.facts = this.source?.facts
    this.source = undefined
    if (this.watched) forgotten.unregister(this)
  }

  wake(): void {
    const reader = this.reader
    if (reader === undefined || (this.chunks.length === 0 && !this.ended)) return
    this.reader = undefined
    reader()
  }

  drop(): void {
    if (this.state === "dropped") return
    this.state = "dropped"
    this.chunks = []
    this.size = 0
    this.source?.drop()
    const reader = this.reader
    this.reader = undefined
    reader?.()
  }

  /** An error with what its exchange knows. */
  error(reason: HttpErrorReason): HttpError {
    return new HttpError({ ...(this.source?.facts ?? this.facts!), reason })
  }

  claim(): HttpError | undefined {
    if (this.state !== "unread") return this.error(new BodyUnavailable({ why: this.state }))
    this.state = "read"
    return undefined
  }

  take(): Chunks | undefined {
    if (this.chunks.length === 0) return undefined
    const chunks = this.chunks as Chunks
    this.chunks = []
    this.size = 0
    if (this.paused) {
      this.paused = false
      this.source?.resume()
    }
    return chunks
  }

  takeWhole(): ReadonlyArray<Uint8Array> | undefined {
    return this.ended && this.failure === undefined && this.state === "read" ? (this.take() ?? []) : undefined
  }

  // V8 makes a function that is assigned to a property where it is written an old object, which keeps the young ones it
  // knows until the next full collection. An argument is not.
  private awaitMore(reader: () => void): void {
    this.reader = reader
  }

  readonly pull: Pull.Pull<Chunks, HttpError> = Effect.suspend(() => {
    const chunks = this.take()
    if (chunks !== undefined) return Effect.succeed(chunks)
    if (this.failure !== undefined) return Effect.fail(this.failure)
    if (this.state === "dropped") return Effect.fail(this.error(new BodyUnavailable({ why: "dropped" })))
    if (this.ended) return Cause.done()
    return Effect.callback((resume) => {
      this.awaitMore(() => resume(this.pull))
      return Effect.sync(() => {
        this.reader = undefined
      })
    })
  })
}

/**
 * Drops the bodies of responses that were forgotten without a scope. It works
 * because connections know buffers, never responses. A body that is being read
 * is its reader's business.
 */
const forgotten = new FinalizationRegistry<BodyBuffer>((body) => {
  if (body.state === "unread") body.drop()
})

const decoder = new TextDecoder()

/** The response over a buffer. Its members are made when they are asked for: most responses use one. */
export class BufferedResponse implements HttpResponse {
  readonly status: number
  readonly headers: HttpResponse["headers"]
  private readonly body: BodyBuffer

  constructor(status: number, headers: HttpResponse["headers"], body: BodyBuffer) {
    this.status = status
    this.headers = headers
    this.body = body
    if (body.ended) return
    body.watched = true
    forgotten.register(this, body, body)
  }

  get stream(): Stream.Stream<Uint8Array, HttpError> {
    return Stream.suspend(() => {
      const error = this.body.claim()
      if (error !== undefined) return Stream.fail(error)
      return Stream.ensuring(Stream.fromPull(Effect.succeed(this.body.pull)), this.discard)
    })
  }

  get bytes(): Effect.Effect<Uint8Array, HttpError> {
    return Effect.suspend(() => {
      const error = this.body.claim()
      return error === undefined ? collect(this.body) : Effect.fail(error)
    })
  }

  get text(): Effect.Effect<string, HttpError> {
    return Effect.map(this.bytes, (bytes) => decoder.decode(bytes))
  }

  get json(): Effect.Effect<unknown, HttpError> {
    return Effect.flatMap(this.text, (text) =>
      Effect.try({
        try: (): unknown => JSON.parse(text),
        catch: (cause) => this.body.error(new InvalidJson({ cause }))
      })
    )
  }

  get discard(): Effect.Effect<void> {
    // Not `this.body`: a scope that holds this effect must not keep the response from being forgotten.
    const body = this.body
    return Effect.sync(() => body.drop())
  }
}

const join = (chunks: ReadonlyArray<Uint8Array>): Uint8Array =>
  chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)

const collect = (body: BodyBuffer): Effect.Effect<Uint8Array, HttpError> => {
  // Most bodies are here as a whole when they are asked for.
  const whole = body.takeWhole()
  if (whole !== undefined) return Effect.succeed(join(whole))
  const parts: Array<Uint8Array> = []
  const loop: Effect.Effect<Uint8Array, HttpError> = Pull.matchEffect(body.pull, {
    onSuccess: (chunks) => {
      parts.push(...chunks)
      return loop
    },
    onFailure: (cause) => Effect.failCause(cause),
    onDone: () => Effect.sync(() => join(parts))
  })
  return Effect.onExit(loop, (exit) => (Exit.isSuccess(exit) ? Effect.void : Effect.sync(() => body.drop())))
}
