/** Clients of the fault servers. */
import * as Http1Pool from "@poolkit/http/Http1Pool"
import * as Http2Connection from "@poolkit/http/Http2Connection"
import type * as HttpConnection from "@poolkit/http/HttpConnection"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as SocketConnector from "@poolkit/http/SocketConnector"
import * as SharedPool from "@poolkit/pool/SharedPool"
import type { ConnectionPool } from "@poolkit/pool/ConnectionPool"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { LeakOracle } from "../leakOracle.ts"
import type { Listening } from "./faultServer.ts"

export const http1Pool = (
  oracle: Pick<LeakOracle, "pool">,
  server: Listening,
  options: Partial<Http1Pool.Http1PoolOptions> = {}
): Effect.Effect<Http1Pool.Http1Pool, never, Scope.Scope> =>
  Effect.map(Http1Pool.make({ origin: server.origin, maxSize: 1, ...options }), oracle.pool)

/** A request and the whole of its answer. */
export const fetch = <E>(
  pool: ConnectionPool<void, HttpConnection.HttpConnection, E>,
  request: HttpConnection.HttpRequest
) =>
  Effect.scoped(
    Effect.flatMap(HttpRequest.execute(pool, request), (response) =>
      Effect.map(response.bytes, (bytes) => {
        const { headers, status } = response
        return { status, headers, size: bytes.length, text: Buffer.from(bytes).toString() }
      })
    )
  )

export const get = (path: string): HttpConnection.HttpRequest => ({ method: "GET", path })

export const post = (path: string, body: HttpConnection.HttpRequest["body"] = "body"): HttpConnection.HttpRequest => ({
  method: "POST",
  path,
  body
})

/** Stops the event loop without the processor, while the server goes on. */
export const stall = (millis: number): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis)
}

/** How often the server saw a request with this path. */
export const times = (server: Listening, path: string): number =>
  server.facts("request").filter((request) => request.path === path).length

export const http2Connection = (server: Listening, options?: Http2Connection.Http2Options) =>
  Effect.flatMap(SocketConnector.tcp({ host: "127.0.0.1", port: server.port })(), (socket) =>
    Http2Connection.make(socket, options)
  )

export const http2Pool = (
  oracle: Pick<LeakOracle, "pool">,
  server: Listening,
  options: Http2Connection.Http2Options & { readonly maxSize?: number; readonly waitTimeout?: number } = {}
) => {
  const { maxSize = 2, waitTimeout, ...http2 } = options
  return Effect.map(
    SharedPool.make({
      connect: () => http2Connection(server, http2),
      maxSize,
      waitTimeout,
      concurrency: (connection) => connection.concurrency(),
      isOpen: (connection) => connection.isOpen(),
      watch: (connection, signals) => connection.watch(signals)
    }),
    oracle.pool
  )
}
