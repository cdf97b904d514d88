/** Opens a connection as an origin says, in the protocol that the peer agrees to. */
import type { Connector } from "@poolkit/pool/Connector"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Net from "node:net"
import { TLSSocket } from "node:tls"
import * as Http1Connection from "../Http1Connection.ts"
import * as Http2Connection from "../Http2Connection.ts"
import type { HttpConnection } from "../HttpConnection.ts"
import type { ConnectorOptions } from "../HttpPool.ts"
import { type Origin, reveal } from "../Origin.ts"
import * as SocketConnector from "../SocketConnector.ts"
import type { SocketError } from "../SocketError.ts"
import { resolve as resolve1 } from "./http1Options.ts"
import { resolve as resolve2 } from "./http2Options.ts"
import { millis } from "./options.ts"
import { parseEndpoint } from "./originHost.ts"
import { copyTls } from "./originTls.ts"

type Protocols = NonNullable<ConnectorOptions["protocols"]>

const offers: { readonly [P in Protocols]: ReadonlyArray<string> } = {
  auto: ["h2", "http/1.1"],
  http1: ["http/1.1"],
  http2: ["h2"]
}

/** The protocols that a connection to `origin` may turn out to speak; over plain TCP there is nothing to negotiate. */
export const offered = (origin: Origin, protocols: Protocols = "auto"): ReadonlyArray<string> => {
  if (origin.scheme === "http") return offers[protocols === "auto" ? "http1" : protocols]
  return reveal(origin).tls?.alpn ?? offers[protocols]
}

export const makeConnector = (
  options: ConnectorOptions
): Connector<Origin, HttpConnection, SocketError, Scope.Scope> => {
  const { connectTimeout, http1 = {}, http2 = {}, protocols = "auto" } = options
  if (!Object.hasOwn(offers, protocols)) {
    throw new RangeError(`HttpPool: protocols must be "auto", "http1" or "http2", got ${JSON.stringify(protocols)}`)
  }
  millis("SocketConnector", "connectTimeout", connectTimeout, Infinity, "positive")
  resolve1(http1)
  resolve2(http2)
  const tls = copyTls(options.tls ?? {})
  // For as long as a pool keeps the origin as a key, so that its certificates are read once.
  const dials = new WeakMap<Origin, ReturnType<typeof dial>>()
  return (origin) =>
    Effect.suspend(() => {
      const offer = offered(origin, protocols)
      let connect = dials.get(origin)
      if (connect === undefined) dials.set(origin, (connect = dial(origin, { ...tls, alpn: offer }, connectTimeout)))
      return Effect.flatMap(connect(), (socket) => speak(socket, origin, offer, options))
    })
}

/** A socket to where the origin leads, secured as it says, with the ALPN names of `defaults`. */
export const dial = (
  origin: Origin,
  defaults: SocketConnector.TlsOptions,
  connectTimeout: ConnectorOptions["connectTimeout"]
): Connector<void, Net.Socket, SocketError, Scope.Scope> => {
  const { address, localAddress, socketPath, tls } = reveal(origin)
  const { host, port } = address === undefined ? origin : parseEndpoint("address", address, origin.port)
  const to = socketPath === undefined ? { host, port, localAddress } : { path: socketPath }
  if (origin.scheme === "http") return SocketConnector.tcp({ ...to, connectTimeout })
  const identity = { servername: origin.host, ...defaults, ...tls, alpn: defaults.alpn }
  // The outer stage's deadline covers the inner one.
  return SocketConnector.tls(SocketConnector.tcp(to), { ...identity, connectTimeout })
}

const speak = (
  socket: Net.Socket,
  origin: Origin,
  protocols: ReadonlyArray<string>,
  options: ConnectorOptions
): Effect.Effect<HttpConnection, SocketError, Scope.Scope> => {
  const { authority } = origin
  const agreed = socket instanceof TLSSocket ? socket.alpnProtocol : protocols[0]
  // A server that does not know ALPN speaks HTTP/1.1, which is no use where only HTTP/2 was asked for.
  return agreed !== "h2" && (protocols.length === 0 || protocols.includes("http/1.1"))
    ? Http1Connection.make(socket, { authority, ...options.http1 })
    : Http2Connection.make(socket, { authority, ...options.http2 })
}
