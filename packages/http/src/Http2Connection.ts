/**
 * HTTP/2 over one socket: node speaks the protocol, the pool pools.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Net from "node:net"
import type { HttpConnection } from "./HttpConnection.ts"
import { resolve } from "./internal/http2Options.ts"
import { Http2Session } from "./internal/http2Session.ts"
import { formatEndpoint, getPeer } from "./internal/peer.ts"
import { untilScopeCloses } from "./internal/untilScopeCloses.ts"
import { Reset, SocketError, Tls } from "./SocketError.ts"

/**
 * Options of {@link make}.
 *
 * @category options
 * @since 0.1.0
 */
export interface Http2Options {
  /** `host` or `host:port` for `:authority` and for errors. Default: where the socket's connector went. */
  readonly authority?: string | undefined
  /**
   * Exchanges at once; the server may allow fewer. Until its first SETTINGS
   * frame has come, 100 are assumed. Default 1,000, minimum 1.
   */
  readonly maxConcurrentStreams?: number | undefined
  /**
   * How long the server may be silent once the request is written, until the
   * final response head is complete. While the body of the request is sent it
   * bounds the time in which the server takes no byte. Default 5 minutes.
   */
  readonly headersTimeout?: Duration.Input | undefined
  /**
   * How long the server may pause within the response body, read or not. Does
   * not count while 64 KiB of it wait to be read. Default 5 minutes.
   */
  readonly bodyTimeout?: Duration.Input | undefined
  /**
   * Size of one response's head as HTTP/2 counts it: names, values and 32 bytes
   * per field. The server is told. Default 16,384, minimum 1.
   */
  readonly maxHeaderBytes?: number | undefined
  /** 1xx responses before the final one. Default 10, minimum 0. */
  readonly maxInformational?: number | undefined
  /** Bytes of a dropped body that are read to save a reset. Default 65,536; 0 always resets the stream. */
  readonly maxDrainBytes?: number | undefined
  /** The time that this may take, in the background. Default 100 ms. */
  readonly drainTimeout?: Duration.Input | undefined
  /**
   * Streams that this side resets (requests given up, bodies dropped, timeouts)
   * before the connection retires. Servers count them as an attack and may end
   * a connection, with all that is on it, after some hundreds. Default 100,
   * minimum 1.
   */
  readonly maxResets?: number | undefined
  /**
   * While requests are under way: how long the server may be silent before it
   * is sent a PING. A server that was not heard of for so long when a request
   * starts, or not at all since a request that was given up, gets one at once.
   * An idle connection is never pinged. Servers of gRPC may object to more than
   * one in 5 minutes. Default 1 minute, minimum 1 ms; `Infinity` turns it off.
   */
  readonly pingInterval?: Duration.Input | undefined
  /** The time to answer a PING, by any byte; past it the connection is lost. Default 15 seconds, minimum 1 ms. */
  readonly pingTimeout?: Duration.Input | undefined
  /**
   * Bytes that the server may send on one stream before they are read. It bounds
   * the speed of one response to a window per round trip, and what a response
   * that nobody reads holds. Default 262,144, minimum 65,535.
   */
  readonly streamWindow?: number | undefined
  /** The same for all streams together. Default 1,048,576, minimum 65,535. */
  readonly connectionWindow?: number | undefined
}

/**
 * Speaks HTTP/2 over a connected socket until the scope closes, which closes
 * the socket at once and fails what is under way.
 *
 * **Details**
 *
 * - A TLS socket must have agreed on `h2` by ALPN; over a plain socket the
 *   server must be known to speak HTTP/2. Fails with `SocketError` if ALPN chose
 *   something else, or if the socket is not open.
 * - A request that finds no free stream fails unsent, with `AT_CAPACITY`; so does
 *   one that finds the connection closed or told to go away.
 * - A response counts as complete when the server said so and as many bytes came
 *   as `content-length` declares. A request whose response is complete before it
 *   was sent as a whole is given up.
 * - A failure concerns one stream; the connection goes on. It stops being open
 *   when the server hangs up or announces it will, leaves a PING unanswered, or
 *   violates the protocol, after `maxResets`, and when stream ids run out. What
 *   is under way then may finish, where the protocol lets it.
 * - A request that the server refused, or that is above the last one that its
 *   GOAWAY names, fails with `RequestRefused` and `sent: "none"`.
 * - The headers `connection` and `host` are translated; `keep-alive`,
 *   `transfer-encoding`, `upgrade` and their like fail with `InvalidRequest`.
 * - Idle, it does not keep the process alive.
 *
 * **Gotchas**
 *
 * `CONNECT`, `Expect: 100-continue`, server push and trailers are not supported;
 * trailers of a response are left out. A response without `content-length` that
 * the server cuts short by `RST_STREAM(NO_ERROR)` looks complete: node does not
 * tell. Node 22 keeps some violations of the protocol to itself: there the
 * PING finds out, or the server, which is told, hangs up.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  socket: Net.Socket,
  options: Http2Options = {}
): Effect.Effect<HttpConnection, SocketError, Scope.Scope> =>
  Effect.flatMap(Clock.Clock, (clock) =>
    Effect.suspend(() => {
      const settings = resolve(options)
      const endpoint = endpointOf(socket)
      const unusable = whyUnusable(socket)
      if (unusable !== undefined) return Effect.fail(new SocketError({ endpoint, reason: unusable }))
      return untilScopeCloses(
        Effect.sync(() => new Http2Session(socket, options.authority ?? endpoint, settings, clock)),
        close
      )
    })
  )

const close = (session: Http2Session): void => session.close()

const endpointOf = (socket: Net.Socket): string =>
  getPeer(socket)?.endpoint ?? formatEndpoint(socket.remoteAddress ?? "localhost", socket.remotePort ?? 80)

const whyUnusable = (socket: Net.Socket): Reset | Tls | undefined => {
  if (socket.pending || socket.readyState !== "open") return new Reset({ phase: "connect", code: "CLOSED" })
  if ("alpnProtocol" in socket && socket.alpnProtocol !== "h2") return new Tls({ code: "ALPN_NOT_H2" })
  return undefined
}
