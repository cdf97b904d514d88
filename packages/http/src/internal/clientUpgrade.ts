/**
 * Requests that ask for another protocol on their connection, such as
 * WebSocket. They have a connection of their own, since one that switched
 * never comes back.
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type Socket, SocketError as ReadError, SocketOpenError } from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import * as Http from "node:http"
import type * as Net from "node:net"
import { pipeline, Readable } from "node:stream"
import { buffer } from "node:stream/consumers"
import type { HttpRequest } from "../HttpConnection.ts"
import { ConnectionLost, HttpError, type HttpErrorReason, InvalidRequest, ResponseTimeout } from "../HttpError.ts"
import { type Origin, reveal } from "../Origin.ts"
import type { UpgradeOptions } from "../PooledHttpClient.ts"
import * as SocketConnector from "../SocketConnector.ts"
import type { SocketError } from "../SocketError.ts"
import type { ResponseSource } from "./clientResponse.ts"
import { resolve } from "./http1Options.ts"
import { parseEndpoint } from "./originHost.ts"
import { Watchdog } from "./watchdog.ts"

/** Opens a connection, which belongs to the current scope, and asks to switch. */
export const upgrade = (
  origin: Origin,
  request: HttpRequest,
  options: UpgradeOptions
): Effect.Effect<ResponseSource, SocketError | HttpError, Scope.Scope> =>
  Effect.flatMap(dial(origin, options), (socket) =>
    exchange(socket, origin, request, resolve(options.http1 ?? {}).limits.headersTimeout)
  )

/** As the pool does, but HTTP/1.1 only: HTTP/2 knows no upgrades. */
const dial = (origin: Origin, { connectTimeout, tls }: UpgradeOptions) => {
  const { address, localAddress, socketPath, tls: own } = reveal(origin)
  const { host, port } = address === undefined ? origin : parseEndpoint("address", address, origin.port)
  const to = socketPath === undefined ? { host, port, localAddress } : { path: socketPath }
  if (origin.scheme === "http") return SocketConnector.tcp({ ...to, connectTimeout })()
  const secure = { servername: origin.host, ...tls, ...own, alpn: ["http/1.1"], connectTimeout }
  return SocketConnector.tls(SocketConnector.tcp(to), secure)()
}

const exchange = (
  socket: Net.Socket,
  origin: Origin,
  request: HttpRequest,
  headersTimeout: number
): Effect.Effect<ResponseSource, HttpError> =>
  Effect.contextWith((context: Context.Context<never>) =>
    Effect.callback<ResponseSource, HttpError>((resume) => {
      const onSilence = () =>
        fail(new ResponseTimeout({ phase: "headers", after: Duration.millis(headersTimeout) }), "maybe")
      const silence = new Watchdog()
      const settle = (exit: Effect.Effect<ResponseSource, HttpError>) => {
        silence.stop()
        resume(exit)
      }
      const fail = (reason: HttpErrorReason, sent: "none" | "maybe") => {
        const { method } = request
        const responseStarted = sent === "maybe" && socket.bytesRead > 0
        settle(Effect.fail(new HttpError({ method, authority: origin.authority, reason, sent, responseStarted })))
      }
      try {
        const { body, headers, method, path } = request
        const outgoing = Http.request({
          createConnection: () => socket,
          setHost: false,
          method,
          path,
          headers: { host: origin.authority, ...(headers as Http.OutgoingHttpHeaders) }
        })
        outgoing
          .on("error", (cause: NodeJS.ErrnoException) => {
            fail(new ConnectionLost({ code: cause.code ?? cause.name, cause }), "maybe")
          })
          .on("response", (incoming) => settle(Effect.succeed(refused(incoming, socket))))
          .on("upgrade", (incoming, connection: Net.Socket, head) => {
            if (head.length > 0) connection.unshift(head)
            settle(Effect.succeed(switched(incoming, connection)))
          })
        // Nobody waits for the server before it has the whole request.
        outgoing.once("finish", () => silence.watch(headersTimeout, onSilence))
        // What fails is reported by the request, which it destroys.
        if (Stream.isStream(body))
          pipeline(Readable.from(Stream.toAsyncIterableWith(body, context)), outgoing, () => {})
        else outgoing.end(body)
      } catch (error) {
        fail(new InvalidRequest({ detail: error instanceof Error ? error.message : String(error) }), "none")
      }
      return Effect.sync(() => silence.stop())
    })
  )

const switched = (incoming: Http.IncomingMessage, connection: Net.Socket): ResponseSource => ({
  status: 101,
  headers: incoming.headers,
  stream: Stream.empty,
  bytes: Effect.succeed(new Uint8Array()),
  socket: handOver(connection)
})

const refused = (incoming: Http.IncomingMessage, socket: Net.Socket): ResponseSource => {
  // Whoever reads gets the error from there; it must not end the process when nobody does.
  incoming.on("error", () => {}).once("close", () => socket.destroy())
  return {
    status: incoming.statusCode!,
    headers: incoming.headers,
    stream: Stream.fromAsyncIterable<Uint8Array, unknown>(incoming, (error) => error),
    bytes: Effect.tryPromise({ try: () => buffer(incoming), catch: (error) => error })
  }
}

/** Loaded when it is needed, because it loads an implementation of WebSocket. */
const nodeSocket = Effect.promise(() => import("@effect/platform-node/NodeSocket"))

const handOver = (connection: Net.Socket): Effect.Effect<Socket> =>
  Effect.flatMap(nodeSocket, ({ fromDuplex }) =>
    fromDuplex(
      Effect.acquireRelease(
        Effect.suspend(() => (connection.destroyed ? Effect.fail(closed()) : Effect.succeed(connection))),
        () => Effect.sync(() => connection.destroySoon())
      )
    )
  )

const closed = () =>
  new ReadError({
    reason: new SocketOpenError({ kind: "Unknown", cause: new Error("the connection closed before it was read") })
  })
