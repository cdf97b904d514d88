/**
 * The general-purpose pool of an HTTP client: for every origin the kind of
 * pool that suits the protocol it speaks, under common limits.
 *
 * @since 0.1.0
 */
import * as CachePool from "@poolkit/pool/CachePool"
import type { ConnectionLimit } from "@poolkit/pool/ConnectionLimit"
import type { PoolError, PoolOptions } from "@poolkit/pool/ConnectionPool"
import type * as Connector from "@poolkit/pool/Connector"
import * as MapPool from "@poolkit/pool/MapPool"
import * as NegotiatePool from "@poolkit/pool/NegotiatePool"
import * as SharedPool from "@poolkit/pool/SharedPool"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Stream } from "effect/Stream"
import type { Http1Options } from "./Http1Connection.ts"
import type { Http2Options } from "./Http2Connection.ts"
import type { HttpConnection, HttpRequest, HttpResponse } from "./HttpConnection.ts"
import { HttpError, InvalidRequest } from "./HttpError.ts"
import { execute } from "./HttpRequest.ts"
import { spreadOver } from "./internal/httpPoolAddresses.ts"
import { makeConnector } from "./internal/httpPoolConnector.ts"
import { checkedSettings, type Settings } from "./internal/httpPoolSettings.ts"
import * as Origin from "./Origin.ts"
import type { SocketError } from "./SocketError.ts"

/**
 * HTTP connections by origin, of any protocol.
 *
 * @category models
 * @since 0.1.0
 */
export interface HttpConnections<out E = SocketError> extends MapPool.MapPool<
  Origin.Origin,
  Origin.Origin,
  HttpConnection,
  E
> {}

/**
 * The pool of the program, for {@link fetch}.
 *
 * @category services
 * @since 0.1.0
 */
export class HttpPool extends Context.Service<HttpPool, HttpConnections>()("@poolkit/http/HttpPool") {}

/**
 * Options of {@link connector}.
 *
 * @category options
 * @since 0.1.0
 */
export interface ConnectorOptions {
  /**
   * What to speak. `"auto"`: over TLS whichever of HTTP/2 and HTTP/1.1 the
   * server prefers, otherwise HTTP/1.1. `"http2"` speaks it over plain TCP too,
   * unasked (prior knowledge). An origin's `tls.alpn` goes before it. Default
   * `"auto"`.
   */
  readonly protocols?: "auto" | "http1" | "http2" | undefined
  /** For `https:` origins, as far as an origin does not say itself. */
  readonly tls?: Omit<Origin.OriginTls, "alpn" | "servername"> | undefined
  /** DNS, TCP and TLS together. Default 10 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  readonly http1?: Omit<Http1Options, "authority"> | undefined
  readonly http2?: Omit<Http2Options, "authority"> | undefined
}

/**
 * Options of {@link make} that concern pooling. Those of the pools underneath
 * keep their meaning and hold for each origin.
 *
 * @category options
 * @since 0.1.0
 */
export interface PoolingOptions<E> extends Pick<
  PoolOptions<HttpConnection, E, never>,
  "backoff" | "closeTimeout" | "drainDeadline" | "leakWarning" | "maxConnecting" | "onAbandon" | "waitTimeout"
> {
  /** Connections to all origins together. At the limit the least recently used idle one makes room. Default 256. */
  readonly maxSize?: number | undefined
  /** Connections that take one request at a time, per origin. Default 10. */
  readonly maxSizePerOrigin?: number | undefined
  /** Connections that take many requests at a time, per origin. Default 1. */
  readonly maxSharedPerOrigin?: number | undefined
  /** Open another one of these when every one is used to this share of what it takes. Default 1. */
  readonly saturation?: number | undefined
  /**
   * The addresses that an origin's connections are spread over: a stream of
   * lists, each of which replaces the one before, of `host`, `host:port` or IP
   * addresses. See `Addresses` and `BalancePool`. The server is told, and has to
   * prove, the host of the URL all the same. Addresses that do not answer are set
   * aside; `connectTimeout` is the time that one may take. Default: the URL's
   * host, as for an origin for which it returns `undefined`.
   */
  readonly addresses?: ((origin: Origin.Origin) => Stream<ReadonlyArray<string>, unknown> | undefined) | undefined
  /** Origins remembered at once, least recently used first to go. Default 1,000. */
  readonly maxKeys?: number | undefined
  /** Requests of one origin in line; beyond it `QueueFull`. Default 1,000. */
  readonly maxPending?: number | undefined
  /** A connection that nobody used for so long closes. Default 30 seconds; `Infinity` turns it off. */
  readonly idleTimeToLive?: Duration.Input | undefined
  /** A connection that is so old closes once it is not used. Default 10 minutes, up to 10 % less; `Infinity` turns it off. */
  readonly maxLifetime?: Duration.Input | undefined
}

/**
 * Options of {@link make}.
 *
 * @category options
 * @since 0.1.0
 */
export interface HttpPoolOptions extends PoolingOptions<SocketError>, ConnectorOptions {}

/**
 * Options of {@link make} with a connector of your own.
 *
 * @category options
 * @since 0.1.0
 */
export interface CustomHttpPoolOptions<E, R> extends PoolingOptions<E> {
  /**
   * Opens a connection of any protocol, such as HTTP/3 over a QUIC session.
   * `Origin.reveal` tells the origin's TLS options; {@link connector} is there
   * to fall back on. A connection whose `protocol` is not `http/1.1` is shared
   * by as many requests as its `concurrency` says.
   */
  readonly connect: Connector.Connector<Origin.Origin, HttpConnection, E, R>
  /** One attempt. Default 10 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
}

/**
 * Makes a pool that lives as long as the current scope.
 *
 * **Details**
 *
 * The first connection to an origin shows what the server speaks. With HTTP/2
 * all requests share it, however many came meanwhile; with HTTP/1.1 each gets a
 * connection to itself. Both are remembered until a connection contradicts it.
 * An origin without connections is forgotten after a minute. Connections are
 * never shared between origins, whatever certificate the server has, and TLS
 * sessions are not resumed (`SocketConnector.tls` says why).
 *
 * It is a `MapPool`, so all that works on pools works on it: `statsOf(origin)`,
 * `retain`, `drain`, `ConnectionPool.events`, `PoolMetrics.observe`. The
 * annotations `origin` and `protocol` of each connection say what it is.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  <E, R>(
    options: CustomHttpPoolOptions<E, R>
  ): Effect.Effect<HttpConnections<E>, never, Exclude<R, Scope.Scope> | Scope.Scope>
  (options?: HttpPoolOptions): Effect.Effect<HttpConnections, never, Scope.Scope>
} = (options: HttpPoolOptions | CustomHttpPoolOptions<SocketError, Scope.Scope> = {}) =>
  Effect.flatMap(checkedSettings(options), compose) as never

/**
 * Makes a layer that provides the program's pool.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: {
  <E extends SocketError, R>(
    options: CustomHttpPoolOptions<E, R>
  ): Layer.Layer<HttpPool, never, Exclude<R, Scope.Scope>>
  (options?: HttpPoolOptions): Layer.Layer<HttpPool>
} = (options?: HttpPoolOptions) => Layer.effect(HttpPool, make(options))

/**
 * Opens connections the way that {@link make} does unless told otherwise.
 *
 * **When to use**
 *
 * Use to wrap it in policies of `Connector`, or as the fallback of a connector
 * of your own, and give the result to {@link make} as `connect`.
 *
 * @category connectors
 * @since 0.1.0
 */
export const connector = (
  options: ConnectorOptions = {}
): Connector.Connector<Origin.Origin, HttpConnection, SocketError, Scope.Scope> => makeConnector(options)

type Connect<E, R> = Connector.Connector<void, HttpConnection, E, R>

interface Given {
  readonly limit: ConnectionLimit
  readonly order: "lifo" | "fifo"
}

const isExclusive = (protocol: string) => protocol.startsWith("http/1")
const isShared = (protocol: string) => !isExclusive(protocol)
const concurrency = (connection: HttpConnection) => connection.concurrency()

/**
 * The whole pool. Connections live in a pool per origin, of the kind that suits
 * what the peer speaks; one limit and one expiry hold for all of them.
 */
const compose = <E, R>({ addresses, addressTimeout, connect, expire, limits, options, speaks }: Settings<E, R>) =>
  MapPool.make({
    key: (origin: Origin.Origin) => origin,
    maxKeys: limits.maxKeys,
    maxSize: limits.maxSize,
    pool: (origin, { limit }) => {
      const protocols = speaks(origin)
      const spread = addresses(origin)
      if (spread === undefined) {
        return byProtocol<E, R>({ limits, options, protocols })(() => connect(origin), { limit, order: "lifo" })
      }
      // An attempt ends when every address has had its time.
      const suited = byProtocol<E, R>({ limits, options: { ...options, connectTimeout: Infinity }, protocols })
      return spreadOver({
        addresses: spread,
        connect: (address) => connect(origin, address),
        connectTimeout: addressTimeout,
        closeTimeout: options.closeTimeout,
        limit,
        pool: (connect, limit) => suited(connect, { limit, order: "fifo" })
      })
    }
  }).pipe(expire)

/** The pool of one origin: exclusive connections, shared ones, or whichever the first turns out to be. */
const byProtocol =
  <E, R>({
    limits,
    options,
    protocols
  }: Pick<Settings<E, R>, "limits" | "options"> & { readonly protocols: ReadonlyArray<string> }) =>
  <R2>(connect: Connect<E, R2>, given: Given) => {
    const fallback = <R>(connect: Connect<E, R>) =>
      CachePool.make({ ...options, ...given, connect, maxSize: limits.maxSizePerOrigin })
    const upgrade = <R>(connect: Connect<E, R>) =>
      SharedPool.make({ ...options, ...limits.shared, limit: given.limit, connect, concurrency })
    if (protocols.every(isExclusive)) return fallback(connect)
    if (protocols.every(isShared)) return upgrade(connect)
    const inspect = (connection: HttpConnection) => isShared(connection.protocol)
    return NegotiatePool.makeMerged({ connect, inspect, upgrade, fallback })
  }

/**
 * Sends a request over the program's pool: `fetch("https://example.org/")`.
 *
 * **Details**
 *
 * The response belongs to the current scope; see `HttpRequest.execute` for when
 * its connection goes back and when a request is sent again. The method is GET
 * unless said otherwise. The fragment of the URL stays here. A URL that is not
 * `http:` or `https:`, or has credentials, fails with `InvalidRequest`.
 *
 * @category running
 * @since 0.1.0
 */
export const fetch = (
  url: string | URL,
  init: Partial<Omit<HttpRequest, "path">> = {}
): Effect.Effect<HttpResponse, HttpError | PoolError | SocketError, HttpPool | Scope.Scope> =>
  Effect.gen(function* () {
    const pool = yield* HttpPool
    const method = init.method ?? "GET"
    const { origin, path } = yield* Effect.try({
      try: () => locate(url),
      catch: (error) =>
        new HttpError({
          method,
          authority: "(no origin)",
          reason: new InvalidRequest({ detail: (error as Error).message }),
          sent: "none",
          responseStarted: false
        })
    })
    return yield* execute(pool, origin, { ...init, method, path })
  })

const locate = (url: string | URL) => {
  const parsed = typeof url === "string" ? (URL.parse(url) ?? url) : url
  const origin = Origin.fromUrl(parsed)
  const { pathname, search } = parsed as URL
  return { origin, path: pathname + search }
}
