/**
 * Effect's `HttpClient` over a pool of connections: a drop-in for
 * `NodeHttpClient.layerUndici`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { HttpClient, HttpClientError, type HttpClientRequest } from "effect/http"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { HttpError, InvalidRequest } from "./HttpError.ts"
import * as HttpPool from "./HttpPool.ts"
import { execute } from "./HttpRequest.ts"
import { encodeBody } from "./internal/clientBody.ts"
import { untilAborted } from "./internal/clientLifetime.ts"
import { ClientResponse, type ResponseSource } from "./internal/clientResponse.ts"
import { noTarget, originOf } from "./internal/clientTarget.ts"
import { upgrade } from "./internal/clientUpgrade.ts"
import type * as Origin from "./Origin.ts"

/**
 * Where requests go and as whom, beyond what their URL says: the attributes of
 * an `Origin`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Target extends Omit<Origin.OriginOptions, "url"> {}

/**
 * The target of the requests of a fiber. Default: none beyond the URL.
 *
 * **Details**
 *
 * Requests with different targets never share a connection. A bad target fails
 * the request with a `TransportError`.
 *
 * **Gotchas**
 *
 * Make a target once and keep it: origins are remembered by the object that is
 * their target. A new one for each request costs the time to compare its
 * certificates with those in the pool.
 *
 * @category services
 * @since 0.1.0
 */
export const CurrentTarget: Context.Reference<Target> = Context.Reference<Target>(
  "@poolkit/http/PooledHttpClient/CurrentTarget",
  { defaultValue: () => noTarget }
)

/**
 * Options for requests with an `upgrade` header. These do not use the pool: a
 * connection that switches protocols never comes back, so each has its own,
 * over HTTP/1.1, which no limit of the pool counts. Of `http1`, `headersTimeout`
 * holds for them: the server's silence from the end of the request to its answer.
 *
 * @category options
 * @since 0.1.0
 */
export interface UpgradeOptions extends Pick<HttpPool.ConnectorOptions, "connectTimeout" | "http1" | "tls"> {}

/**
 * Makes a client over a pool.
 *
 * **Details**
 *
 * - A connection goes back when the response's body has come off the wire. A
 *   body that is dropped is drained within the connection's bounds in the
 *   background, else the connection ends. Dropped is what is interrupted, what
 *   is left of a stream that ended early, what is unread when the scope of
 *   `HttpClient.withScope` closes, and what nobody can reach any more.
 * - The body may be read after the request's effect has ended, and again.
 * - What fails before there is a response is a `TransportError`, with the
 *   `PoolError`, `SocketError` or `HttpError` as its cause. What fails while the
 *   body is read is a `DecodeError`.
 * - See `HttpRequest.execute` for when a request is sent again. A body that is
 *   a stream is not.
 *
 * **Gotchas**
 *
 * A response that is neither read nor forgotten keeps its connection, unless it
 * is small. Use `HttpClient.withScope` where that could happen.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E>(pool: HttpPool.HttpConnections<E>, options: UpgradeOptions = {}): HttpClient.HttpClient =>
  HttpClient.make((request, url, signal, fiber) =>
    Effect.try({
      try: () => ({ origin: originOf(url, fiber.getRef(CurrentTarget)), ...encodeBody(request) }),
      catch: (error) => invalid(request, url, error)
    }).pipe(
      Effect.flatMap(({ abandon, body, headers, origin }) => {
        const relative = { method: request.method, path: url.pathname + url.search, headers, body }
        const exchange: Effect.Effect<ResponseSource, unknown, Scope.Scope> =
          request.headers["upgrade"] === undefined
            ? execute(pool, origin, relative)
            : upgrade(origin, relative, options)
        return Effect.onError(untilAborted(exchange, signal), () => Effect.sync(() => abandon?.()))
      }),
      Effect.mapBoth({
        onSuccess: (response) => new ClientResponse(request, url, response),
        onFailure: (cause) =>
          new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })
      })
    )
  )

/**
 * Provides a client with a pool of its own, which lives as long as the layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: HttpPool.HttpPoolOptions): Layer.Layer<HttpClient.HttpClient> =>
  Layer.provide(layerNoPool(options), HttpPool.layer(options))

/**
 * Provides a client without a pool of its own, over the program's.
 *
 * **When to use**
 *
 * Use to have the pool at hand too, for its stats, its events and `drain`:
 * `PooledHttpClient.layerNoPool().pipe(Layer.provideMerge(HttpPool.layer(options)))`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerNoPool = (options?: UpgradeOptions): Layer.Layer<HttpClient.HttpClient, never, HttpPool.HttpPool> =>
  HttpClient.layerMergedContext(Effect.map(HttpPool.HttpPool, (pool) => make(pool, options)))

const invalid = (request: HttpClientRequest.HttpClientRequest, url: URL, error: unknown): HttpError =>
  new HttpError({
    method: request.method,
    authority: url.host,
    reason: new InvalidRequest({ detail: error instanceof Error ? error.message : String(error) }),
    sent: "none",
    responseStarted: false
  })
