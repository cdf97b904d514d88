/** Real servers of every protocol, pools over all of them, and requests. */
import * as HttpPool from "@poolkit/http/HttpPool"
import type { HttpConnection, HttpRequest as Request } from "@poolkit/http/HttpConnection"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Origin from "@poolkit/http/Origin"
import type { Any, ConnectionPool } from "@poolkit/pool/ConnectionPool"
import * as Effect from "effect/Effect"
import * as Http from "node:http"
import * as Http2 from "node:http2"
import * as Https from "node:https"
import type * as Net from "node:net"
import type { TLSSocket, TlsOptions } from "node:tls"
import { certificates } from "./certificates.ts"
import { get } from "./http1.ts"
import type { LeakOracle } from "./leakOracle.ts"

/** `both` speaks whichever HTTP version the client agrees to. */
export type Kind = "http" | "https" | "h2" | "h2c" | "both"

export interface OriginServer {
  readonly port: number
  /** As pools reach it: for 127.0.0.1. */
  readonly origin: Origin.Origin
  readonly accepted: () => number
  /** Connections that are open now, and the most that ever were. */
  readonly open: () => number
  readonly maxOpen: () => number
  /** What the server knew of each TLS connection when it was made. */
  readonly handshakes: ReadonlyArray<{
    readonly alpn: string | false | null
    readonly name: string | undefined
    readonly from: string | undefined
    readonly certificate: string | undefined
    readonly resumed: boolean
  }>
  /** Hangs up on everybody and gives the port back. */
  readonly stop: Effect.Effect<void>
}

type Handler = (request: Http.IncomingMessage, response: Http.ServerResponse) => void

export interface ServerOptions {
  readonly kind: Kind
  readonly handler?: Handler
  readonly port?: number
  readonly host?: string
  /** Of a Unix socket, instead of a port. */
  readonly path?: string
  readonly tls?: TlsOptions
  readonly maxConcurrentStreams?: number
  /** `false` for an `https` server that does not know ALPN. */
  readonly alpn?: false
}

/** Says which protocol it was asked in, and for what. */
const echo: Handler = (request, response) => void response.end(`${request.httpVersion} ${request.url}`)

const create = ({ alpn, handler = echo, kind, maxConcurrentStreams, tls }: ServerOptions): Net.Server => {
  const settings = maxConcurrentStreams === undefined ? {} : { settings: { maxConcurrentStreams } }
  const secure = { ...certificates.server, ...tls }
  // The compatible API of node:http2 has the same shape as far as these tests look.
  const compatible = handler as never
  switch (kind) {
    case "http":
      return Http.createServer(handler)
    case "https":
      return Https.createServer({ ...secure, ...(alpn === undefined && { ALPNProtocols: ["http/1.1"] }) }, handler)
    case "both":
      return Http2.createSecureServer({ ...secure, ...settings, allowHTTP1: true }, compatible)
    case "h2":
      return Http2.createSecureServer({ ...secure, ...settings }, compatible)
    case "h2c":
      return Http2.createServer(settings, compatible)
  }
}

export const start = (oracle: LeakOracle, options: ServerOptions): Effect.Effect<OriginServer> =>
  Effect.callback((resume) => {
    const server = create(options)
    const handshakes: Array<OriginServer["handshakes"][number]> = []
    const sockets = new Set<Net.Socket>()
    let accepted = 0
    let maxOpen = 0
    oracle.server(server)
    server.on("secureConnection", (socket: TLSSocket & { readonly servername?: string }) => {
      socket.on("error", () => {})
      handshakes.push({
        alpn: socket.alpnProtocol,
        name: socket.servername,
        from: socket.remoteAddress,
        certificate: String(socket.getPeerCertificate().subject?.CN),
        resumed: socket.isSessionReused()
      })
    })
    // Connections that are torn down and clients that do not like the certificate are what tests are about.
    server
      .on("sessionError", () => {})
      .on("tlsClientError", () => {})
      .on("clientError", () => {})
    server.on("connection", (socket: Net.Socket) => {
      accepted++
      const gone = () => sockets.delete(socket)
      sockets.add(socket.on("end", gone).on("close", gone))
      // When all that arrived along with it is told: a peer may have hung up on one before it opened the other.
      setImmediate(() => {
        maxOpen = Math.max(maxOpen, sockets.size)
      })
    })
    const stop = Effect.callback<void>((resume) => {
      server.close(() => resume(Effect.void))
      for (const socket of sockets) socket.destroy()
    })
    const { host = "127.0.0.1", path, port = 0 } = options
    server.listen(path === undefined ? { port, host, backlog: 1024 } : { path }, () => {
      const { port = 0 } = server.address() as Partial<Net.AddressInfo>
      const scheme = options.kind === "http" || options.kind === "h2c" ? "http" : "https"
      resume(
        Effect.succeed({
          port,
          origin: Origin.make(
            path === undefined ? `${scheme}://127.0.0.1:${port}` : { url: "http://socket.test", socketPath: path }
          ),
          accepted: () => accepted,
          open: () => sockets.size,
          maxOpen: () => maxOpen,
          handshakes,
          stop
        })
      )
    })
  })

/** Answers when it is told to. */
export const gated = (oracle: LeakOracle, kind: Kind) =>
  Effect.gen(function* () {
    let open = false
    const asked: Array<() => void> = []
    const server = yield* start(oracle, {
      kind,
      handler: (_, response) => {
        const answer = () => void response.end("late")
        asked.push(answer)
        if (open) answer()
      }
    })
    return {
      server,
      open: Effect.sync(() => {
        open = true
        for (const answer of asked) answer()
      }),
      asked: (n: number) => until(Effect.sync(() => asked.length === n))
    }
  })

/** A pool that trusts the tests' authority, and that the oracle looks at. */
export const makePool = (oracle: LeakOracle, options: HttpPool.HttpPoolOptions = {}) =>
  Effect.map(HttpPool.make({ ...options, tls: { ca: certificates.ca, ...options.tls } }), oracle.pool)

/** A request and the whole text of its answer. */
export const fetchText = <E>(
  pool: ConnectionPool<Origin.Origin, HttpConnection, E>,
  origin: Origin.Origin,
  request: string | Request = "/"
) =>
  Effect.scoped(
    Effect.flatMap(
      HttpRequest.execute(pool, origin, typeof request === "string" ? get(request) : request),
      (response) => response.text
    )
  )

/** So many requests at once, each for a path of its own; gives the answers. */
export const burst = <E>(pool: ConnectionPool<Origin.Origin, HttpConnection, E>, origin: Origin.Origin, n: number) =>
  Effect.forEach(
    Array.from({ length: n }, (_, i) => `/${i}`),
    (path) => fetchText(pool, origin, path),
    { concurrency: "unbounded" }
  )

/** What a burst gets from a server that echoes. */
export const echoes = (version: "1.1" | "2.0", n: number): ReadonlyArray<string> =>
  Array.from({ length: n }, (_, i) => `${version} /${i}`)

/** Looks until something is so. */
export const until = (condition: Effect.Effect<boolean>): Effect.Effect<void> =>
  Effect.flatMap(condition, (met) => (met ? Effect.void : Effect.andThen(Effect.sleep(1), until(condition))))

/** Waits until the pool has noticed that all its connections are gone. */
export const emptied = (pool: Any): Effect.Effect<void> =>
  until(Effect.map(pool.stats, ({ closing, idle, used }) => closing + idle + used === 0))
