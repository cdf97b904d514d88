/** A connection to a server, and requests over it. */
import * as Http1Connection from "@poolkit/http/Http1Connection"
import * as HttpConnection from "@poolkit/http/HttpConnection"
import * as SocketConnector from "@poolkit/http/SocketConnector"
import * as Effect from "effect/Effect"
import type { Socket } from "node:net"
import type { LeakOracle } from "./leakOracle.ts"
import { httpServer, type Server } from "./servers.ts"

export const connectTo = (server: Server, options?: Http1Connection.Http1Options) =>
  Effect.flatMap(SocketConnector.tcp({ host: "127.0.0.1", port: server.port })(), (socket) =>
    Effect.map(Http1Connection.make(socket, options), (connection) => ({ connection, socket }))
  )

export const get = (path = "/"): HttpConnection.HttpRequest => ({ method: "GET", path })

/** A request and the whole of its answer. */
export const roundTrip = (connection: HttpConnection.HttpConnection, request = get()) =>
  Effect.scoped(
    Effect.flatMap(HttpConnection.request(connection, request), (response) =>
      Effect.map(response.text, (text) => ({ status: response.status, headers: response.headers, text }))
    )
  )

export const bytes = (length: number): Uint8Array => new Uint8Array(length).fill(120)

export const pause = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

/** Answers the first request of a connection with `parts`, each in a packet of its own. */
export const scripted = (
  oracle: LeakOracle,
  parts: ReadonlyArray<string>,
  end: "open" | "end" | "reset" = "open"
): Effect.Effect<Server> =>
  httpServer(oracle, async ({ nth }, socket) => {
    if (nth > 1) return
    for (const part of parts) {
      socket.write(part)
      await pause(2)
    }
    if (end === "end") socket.end()
    if (end === "reset") socket.resetAndDestroy()
  })

/** Waits for the connection to be usable again, or to be gone; tells which. */
export const settled = (connection: HttpConnection.HttpConnection, socket: Socket): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    while (!connection.isOpen() && !socket.destroyed) yield* Effect.sleep(1)
    return connection.isOpen()
  })
