/**
 * One origin under test: its pool, and what was measured of it.
 *
 * @since 0.1.0
 */
import * as Http1Pool from "@poolkit/http/Http1Pool"
import type { HttpResponse } from "@poolkit/http/HttpConnection"
import type { HttpError } from "@poolkit/http/HttpError"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import type { PoolStats } from "@poolkit/pool/ConnectionPool"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type RequestError, RequestTimeout } from "./errors.ts"
import { Tally } from "./tally.ts"

/**
 * Options of {@link make}.
 *
 * @category options
 * @since 0.1.0
 */
export interface OriginOptions {
  readonly maxConnections: number
  readonly connectTimeout: Duration.Duration
  readonly timeout: Duration.Duration
  /** Certificates in PEM form to trust instead of the usual ones. */
  readonly ca: string | undefined
  readonly insecure: boolean
}

/**
 * An origin with a pool of its own.
 *
 * @category models
 * @since 0.1.0
 */
export interface Origin {
  readonly name: string
  readonly tally: Tally
  /** Opens the first connection and leaves it in the pool. */
  readonly probe: Effect.Effect<void, RequestError>
  /** Sends a GET, reads the whole response and gives its status. */
  readonly request: (path: string) => Effect.Effect<number, RequestError>
  readonly stats: Effect.Effect<PoolStats>
}

/**
 * Makes the pool for the origin of `url`. Its connections close with the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function* (
  url: URL,
  options: OriginOptions
): Effect.fn.Return<Origin, never, Scope.Scope> {
  const pool = yield* Http1Pool.make({
    origin: url.origin,
    maxSize: options.maxConnections,
    connectTimeout: options.connectTimeout,
    // One budget for everything, so that a timeout has one message: that of `request`.
    waitTimeout: Infinity,
    http1: { headersTimeout: options.timeout, bodyTimeout: options.timeout },
    closeTimeout: Duration.millis(500),
    tls: { ...(options.ca !== undefined && { ca: options.ca }), rejectUnauthorized: !options.insecure }
  })
  const timeout = {
    duration: options.timeout,
    orElse: () => Effect.fail(new RequestTimeout({ after: options.timeout }))
  }
  return {
    name: url.origin,
    tally: new Tally(),
    probe: pool.use(() => Effect.void),
    request: (path) =>
      HttpRequest.execute(pool, { method: "GET", path }).pipe(
        Effect.flatMap((response) => Effect.as(read(response), response.status)),
        Effect.scoped,
        Effect.timeoutOrElse(timeout)
      ),
    stats: pool.stats
  }
})

/** Reads a body to its end. Small ones at once, which is quicker; the others must not fill the memory. */
const read = (response: HttpResponse): Effect.Effect<void, HttpError> =>
  Number(response.headers["content-length"]) <= 65_536
    ? Effect.asVoid(response.bytes)
    : Stream.runDrain(response.stream)
