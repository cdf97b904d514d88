/**
 * A cache of HTTP/1.1 connections to one origin.
 *
 * @since 0.1.0
 */
import * as CachePool from "@poolkit/pool/CachePool"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Http1Options } from "./Http1Connection.ts"
import type { HttpConnection } from "./HttpConnection.ts"
import { makeConnector } from "./internal/httpPoolConnector.ts"
import * as Origin from "./Origin.ts"
import type { SocketError } from "./SocketError.ts"

/**
 * HTTP/1.1 connections to one origin, each lent to one exchange at a time.
 *
 * @category models
 * @since 0.1.0
 */
export type Http1Pool = CachePool.CachePool<HttpConnection, SocketError>

type CacheOptions = CachePool.CachePoolOptions<HttpConnection, SocketError, Scope.Scope>

/**
 * Options of {@link make}: the origin, those of `CachePool`, and those of the
 * stages underneath.
 *
 * @category options
 * @since 0.1.0
 */
export interface Http1PoolOptions extends Omit<CacheOptions, "connect" | "isOpen" | "watch"> {
  /** The origin, `http:` or `https:`. It has no path; a path belongs to a request. */
  readonly origin: string | URL
  /** Connects to this Unix socket instead of the origin's host and port. */
  readonly socketPath?: string | undefined
  /** The local address to connect from. Default: the system's choice. */
  readonly localAddress?: string | undefined
  /** For `https:`. */
  readonly tls?: Omit<Origin.OriginTls, "alpn"> | undefined
  readonly http1?: Http1Options | undefined
}

/**
 * Makes a pool that lives as long as the current scope.
 *
 * **Details**
 *
 * `connectTimeout` covers DNS, TCP and TLS together; past it a borrower gets a
 * `SocketError` that says which of them was slow.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Http1PoolOptions): Effect.Effect<Http1Pool, never, Scope.Scope> =>
  Effect.suspend(() => CachePool.make(cacheOptions(options)))

/**
 * Makes a layer that provides a pool as `tag`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I>(tag: Context.Service<I, Http1Pool>, options: Http1PoolOptions): Layer.Layer<I> =>
  Layer.effect(tag, make(options))

const cacheOptions = (options: Http1PoolOptions): CacheOptions => {
  const { connectTimeout, http1, localAddress, origin, socketPath, tls, ...pool } = options
  const target = Origin.make({ url: origin, localAddress, socketPath, tls })
  const connect = makeConnector({ protocols: "http1", connectTimeout, http1 })
  return {
    ...pool,
    connect: () => connect(target),
    // The connector's deadline is the same one, and its error says more.
    connectTimeout: Infinity,
    isOpen: (connection) => connection.isOpen(),
    watch: (connection, signals) => connection.watch(signals)
  }
}
