/**
 * A connection that carries HTTP requests, whatever the version: the value
 * that HTTP pools lend.
 *
 * @since 0.1.0
 */
import type { Signals } from "@poolkit/pool/ConnectionPool"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { HttpError } from "./HttpError.ts"
import { perform } from "./internal/perform.ts"

/**
 * A request, relative to the connection's origin.
 *
 * @category models
 * @since 0.1.0
 */
export interface HttpRequest {
  readonly method: string
  /** Path and query. */
  readonly path: string
  /** Default: none beyond those that the protocol needs. A `host` header replaces the connection's authority. */
  readonly headers?: Readonly<Record<string, string | ReadonlyArray<string>>> | undefined
  /**
   * A string is sent as UTF-8. A stream is sent chunked, unless there is a
   * `content-length` header, which it must then match; it can be sent once.
   */
  readonly body?: string | Uint8Array | Stream.Stream<Uint8Array, unknown> | undefined
}

/**
 * A response whose head has come and whose body may still be on its way.
 *
 * **Details**
 *
 * The body can be read once, in one of four ways. Reading it slowly slows the
 * server down. A stream that is left before its end drops the body.
 *
 * @category models
 * @since 0.1.0
 */
export interface HttpResponse {
  readonly status: number
  /** Names are lower case; a name that came more than once has an array. */
  readonly headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>
  readonly stream: Stream.Stream<Uint8Array, HttpError>
  readonly bytes: Effect.Effect<Uint8Array, HttpError>
  /** The body as UTF-8. */
  readonly text: Effect.Effect<string, HttpError>
  readonly json: Effect.Effect<unknown, HttpError>
  /** Stops reading: takes a small rest off the wire in the background, else ends the connection. Idempotent. */
  readonly discard: Effect.Effect<void>
}

/**
 * One request and its response, under way.
 *
 * @category models
 * @since 0.1.0
 */
export interface HttpExchange {
  /** Await it at most once. Interrupting it does nothing to the exchange: call `cancel`. */
  readonly response: Effect.Effect<HttpResponse, HttpError>
  /**
   * Withdraws a request that was not written, leaving the connection as it
   * was; drops the body of one that was answered; else ends the connection or
   * stream. Idempotent.
   */
  readonly cancel: () => void
}

/**
 * A connection to one origin.
 *
 * @category models
 * @since 0.1.0
 */
export interface HttpConnection {
  /** As ALPN spells it: `http/1.1`, `h2`, `h3`. */
  readonly protocol: string
  /**
   * How many exchanges it takes at once, as far as is known now: 1 for
   * HTTP/1.1. For `SharedPoolOptions.concurrency`.
   */
  readonly concurrency: () => number
  /**
   * Starts an exchange. Whoever calls it awaits the response or cancels.
   * `onEnd` is called once, when the exchange no longer needs the connection:
   * the whole response came off the wire, or it failed, or it was cancelled.
   * `context` is for the stream of the request's body.
   */
  readonly send: (request: HttpRequest, context: Context.Context<never>, onEnd?: () => void) => HttpExchange
  /** Whether it can take a request, as far as is known without asking the peer. For `PoolOptions.isOpen`. */
  readonly isOpen: () => boolean
  /** Tells when the peer hangs up or goes away, and when `concurrency` changes. Returns a disposer. For `PoolOptions.watch`. */
  readonly watch: (signals: Signals) => () => void
}

/**
 * Sends a request over a connection that the caller has to itself, or that
 * takes several at once.
 *
 * **Details**
 *
 * The response belongs to the current scope, which drops what is left of its
 * body and closes once the connection is free of it: when a small rest has been
 * read, for at most the connection's `drainTimeout`, or at once if it is reset.
 * Whoever is interrupted waits for the same. Nothing is sent again.
 *
 * **Gotchas**
 *
 * Over a connection that is borrowed from a pool, close the scope before the loan
 * ends: a response that outlives its loan takes a place that the pool lends again.
 *
 * @see `HttpRequest.execute` for pools
 * @category running
 * @since 0.1.0
 */
export const request = (
  connection: HttpConnection,
  request: HttpRequest
): Effect.Effect<HttpResponse, HttpError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) => {
    const ended = Deferred.makeUnsafe<void>()
    const onEnd = () => Deferred.doneUnsafe(ended, Exit.void)
    return perform(connection, request, restore, onEnd, Deferred.await(ended))
  })
