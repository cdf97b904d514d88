/**
 * The origins under test: one pool for all of them, and what was measured of
 * each.
 *
 * @since 0.1.0
 */
import type { HttpResponse } from "@poolkit/http/HttpConnection"
import type { HttpError } from "@poolkit/http/HttpError"
import * as HttpPool from "@poolkit/http/HttpPool"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as PoolOrigin from "@poolkit/http/Origin"
import type { ConnectionInfo } from "@poolkit/pool/ConnectionPool"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type RequestError, RequestTimeout } from "./errors.ts"
import type { Levels } from "./progress.ts"
import { Tally } from "./tally.ts"

/**
 * Options of {@link makeAll}.
 *
 * @category options
 * @since 0.1.0
 */
export interface OriginOptions {
  readonly protocols: "auto" | "http1" | "http2"
  readonly maxConnections: number
  readonly connectTimeout: Duration.Duration
  readonly timeout: Duration.Duration
  /** Certificates in PEM form to trust instead of the usual ones. */
  readonly ca: string | undefined
  readonly insecure: boolean
}

/**
 * What the pool did with the connections of one origin.
 *
 * @category models
 * @since 0.1.0
 */
export interface Connections {
  opened: number
  /** As ALPN spells them. */
  readonly protocols: Set<string>
  /** How many it removed, by reason. */
  readonly evictions: Map<string, number>
}

/**
 * An origin, and what has been seen of it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Origin {
  readonly name: string
  readonly tally: Tally
  /** Its connections so far. */
  readonly seen: Connections
  /** Opens the first connection and leaves it in the pool. */
  readonly probe: Effect.Effect<void, RequestError>
  /** Sends a GET, reads the whole response and gives its status. */
  readonly request: (path: string) => Effect.Effect<number, RequestError>
  readonly stats: Effect.Effect<Levels>
}

/**
 * The name of the origin of a URL: the pool's, for which `a.test.` is `a.test`.
 *
 * @category conversions
 * @since 0.1.0
 */
export const nameOf = (url: URL): string => String(PoolOrigin.fromUrl(url))

/**
 * Makes the pool for `urls`, and each origin among them once, in their order.
 * Connections close with the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeAll = Effect.fnUntraced(function* (
  urls: ReadonlyArray<URL>,
  options: OriginOptions
): Effect.fn.Return<ReadonlyMap<string, Origin>, never, Scope.Scope> {
  const names = [...new Set(urls.map(nameOf))]
  const timeouts = { headersTimeout: options.timeout, bodyTimeout: options.timeout }
  const pool = yield* HttpPool.make({
    protocols: options.protocols,
    maxSize: names.length * options.maxConnections,
    maxSizePerOrigin: options.maxConnections,
    maxSharedPerOrigin: options.maxConnections,
    maxKeys: names.length,
    // Every request is under way as long as the command wants it to be.
    maxPending: Infinity,
    connectTimeout: options.connectTimeout,
    // One budget for everything, so that a timeout has one message: that of `request`.
    waitTimeout: Infinity,
    http1: timeouts,
    http2: timeouts,
    closeTimeout: Duration.millis(500),
    tls: { ...(options.ca !== undefined && { ca: options.ca }), rejectUnauthorized: !options.insecure }
  })
  const origins = new Map(names.map((name) => [name, makeOne(pool, name, options)]))
  const seen = (info: ConnectionInfo) => origins.get(String(info.annotations.get("origin")))!.seen
  yield* pool.observe({
    connected: (info) => {
      seen(info).opened++
      seen(info).protocols.add(String(info.annotations.get("protocol")))
    },
    evicted: (info, reason) => {
      const { evictions } = seen(info)
      evictions.set(reason, (evictions.get(reason) ?? 0) + 1)
    }
  })
  return origins
})

const makeOne = (pool: HttpPool.HttpConnections, name: string, options: OriginOptions) => {
  const origin = PoolOrigin.make(name)
  const timeout = {
    duration: options.timeout,
    orElse: () => Effect.fail(new RequestTimeout({ after: options.timeout }))
  }
  return {
    name,
    tally: new Tally(),
    seen: { opened: 0, protocols: new Set<string>(), evictions: new Map<string, number>() },
    probe: pool.use(origin, () => Effect.void),
    request: (path: string) =>
      HttpRequest.execute(pool, origin, { method: "GET", path }).pipe(
        Effect.flatMap((response) => Effect.as(read(response), response.status)),
        Effect.scoped,
        Effect.timeoutOrElse(timeout)
      ),
    stats: Effect.map(pool.statsOf(origin), (stats) => stats ?? none)
  }
}

/** Of an origin that the pool does not know yet, or has forgotten. */
const none: Levels = { idle: 0, used: 0, connecting: 0, pending: 0 }

/** Reads a body to its end. Small ones at once, which is quicker; the others must not fill the memory. */
const read = (response: HttpResponse): Effect.Effect<void, HttpError> =>
  Number(response.headers["content-length"]) <= 65_536
    ? Effect.asVoid(response.bytes)
    : Stream.runDrain(response.stream)
