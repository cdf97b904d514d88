import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import {
  Cookies,
  Headers,
  HttpClientError,
  type HttpClientRequest,
  HttpClientResponse,
  HttpIncomingMessage,
  UrlParams
} from "effect/http"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import { pipeArguments } from "effect/Pipeable"
import type * as Schema from "effect/Schema"
import type { Socket } from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import type { HttpResponse } from "../HttpConnection.ts"

/** Where a response comes from. */
export interface ResponseSource extends Pick<HttpResponse, "status" | "headers"> {
  readonly stream: Stream.Stream<Uint8Array, unknown>
  readonly bytes: Effect.Effect<Uint8Array, unknown>
  /** The connection, if the server switched protocols. */
  readonly socket?: Effect.Effect<Socket> | undefined
}

type Fallible<A> = Effect.Effect<A, HttpClientError.HttpClientError>

/**
 * A response as `HttpClient` has them. The body is read once and kept, so that
 * it can be asked for again and in other forms.
 *
 * Nothing that lives longer may know it: the client drops the body of a
 * response when it is garbage.
 */
export class ClientResponse extends Inspectable.Class implements HttpClientResponse.HttpClientResponse {
  readonly [HttpIncomingMessage.TypeId]: typeof HttpIncomingMessage.TypeId = HttpIncomingMessage.TypeId
  readonly [HttpClientResponse.TypeId]: typeof HttpClientResponse.TypeId = HttpClientResponse.TypeId
  readonly request: HttpClientRequest.HttpClientRequest
  private readonly source: ResponseSource
  private readonly target: URL
  private cachedHeaders: Headers.Headers | undefined
  private cachedCookies: Cookies.Cookies | undefined
  private cachedBytes: Exit.Exit<Uint8Array, HttpClientError.HttpClientError> | undefined
  /** Done when whoever reads the body has read it, or has been interrupted. */
  private reading: Deferred.Deferred<void> | undefined

  constructor(request: HttpClientRequest.HttpClientRequest, target: URL, source: ResponseSource) {
    super()
    this.request = request
    this.target = target
    this.source = source
  }

  get status(): number {
    return this.source.status
  }

  get url(): string {
    const { hash, href } = this.target
    return href.slice(0, href.length - hash.length)
  }

  get headers(): Headers.Headers {
    return (this.cachedHeaders ??= Headers.fromInput(this.source.headers))
  }

  get cookies(): Cookies.Cookies {
    return (this.cachedCookies ??= Cookies.fromSetCookie(this.source.headers["set-cookie"] ?? []))
  }

  get remoteAddress(): Option.Option<string> {
    return Option.none()
  }

  get stream(): Stream.Stream<Uint8Array, HttpClientError.HttpClientError> {
    return Stream.mapError(this.source.stream, (cause) => this.decodeError(cause))
  }

  get arrayBuffer(): Fallible<ArrayBuffer> {
    return Effect.map(this.readBytes(), bufferOf)
  }

  get text(): Fallible<string> {
    return Effect.map(this.readBytes(), (bytes) => decoder.decode(bytes))
  }

  get json(): Fallible<Schema.Json> {
    return Effect.flatMap(this.text, (text) => this.decode(() => (text === "" ? null : JSON.parse(text))))
  }

  get urlParamsBody(): Fallible<UrlParams.UrlParams> {
    return Effect.flatMap(this.readBytes(), (bytes) =>
      // The "&" keeps a "?" that the form begins with, which is part of the first name.
      this.decode(() => UrlParams.fromInput(new URLSearchParams(`&${formDecoder.decode(bytes)}`)))
    )
  }

  get formData(): Fallible<FormData> {
    return Effect.flatMap(this.arrayBuffer, (body) =>
      Effect.tryPromise({
        try: () => new Response(body, { headers: this.headers }).formData(),
        catch: (cause) => this.decodeError(cause)
      })
    )
  }

  get upgrade(): Fallible<Socket> {
    if (this.source.socket !== undefined) return this.source.socket
    const description = "the server did not switch protocols"
    const reason = new HttpClientError.StatusCodeError({ request: this.request, response: this, description })
    return Effect.fail(new HttpClientError.HttpClientError({ reason }))
  }

  toJSON(): unknown {
    return HttpIncomingMessage.inspect(this, {
      _id: "effect/http/HttpClientResponse",
      request: this.request.toJSON(),
      status: this.status
    })
  }

  pipe() {
    return pipeArguments(this, arguments)
  }

  private readBytes(): Fallible<Uint8Array> {
    return Effect.suspend(() => {
      if (this.cachedBytes !== undefined) return this.cachedBytes
      if (this.reading !== undefined) return Effect.flatMap(Deferred.await(this.reading), () => this.readBytes())
      const reading = (this.reading = Deferred.makeUnsafe<void>())
      return Effect.onExit(
        Effect.mapError(this.source.bytes, (cause) => this.decodeError(cause)),
        (exit) => {
          this.reading = undefined
          // What an interruption left is for the source to say.
          if (Exit.isSuccess(exit) || !Cause.hasInterrupts(exit.cause)) this.cachedBytes = exit
          Deferred.doneUnsafe(reading, Exit.void)
          return Effect.void
        }
      )
    })
  }

  private decode<A>(evaluate: () => A): Fallible<A> {
    return Effect.try({ try: evaluate, catch: (cause) => this.decodeError(cause) })
  }

  private decodeError(cause: unknown): HttpClientError.HttpClientError {
    const reason = new HttpClientError.DecodeError({ request: this.request, response: this, cause })
    return new HttpClientError.HttpClientError({ reason })
  }
}

/** Copies bytes that are a part of memory that others use. */
const bufferOf = (bytes: Uint8Array): ArrayBuffer =>
  bytes.buffer instanceof ArrayBuffer && bytes.buffer.byteLength === bytes.byteLength
    ? bytes.buffer
    : new Uint8Array(bytes).buffer

const decoder = new TextDecoder()
/** Forms keep their byte order mark. */
const formDecoder = new TextDecoder("utf-8", { ignoreBOM: true })
