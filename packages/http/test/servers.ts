/** Servers on 127.0.0.1 that behave as a test tells them, byte by byte. */
import * as Effect from "effect/Effect"
import * as Net from "node:net"
import * as Tls from "node:tls"
import type { LeakOracle } from "./leakOracle.ts"

export interface Server {
  readonly port: number
  readonly origin: string
  /** Connections that were ever accepted. */
  readonly accepted: () => number
  /** The server's end of the latest connection. */
  readonly peer: Effect.Effect<Net.Socket>
}

export interface Request {
  readonly method: string
  readonly path: string
  readonly head: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  /** Counted from 1, over all connections of the server and on this one. */
  readonly index: number
  readonly nth: number
}

const listen = (oracle: LeakOracle, server: Net.Server, scheme: string): Effect.Effect<Server> =>
  Effect.callback((resume) => {
    const sockets: Array<Net.Socket> = []
    oracle.server(server)
    server.on("connection", (socket: Net.Socket) => sockets.push(socket))
    const peer = Effect.suspend(() => (sockets.length > 0 ? Effect.void : once(server, "connection"))).pipe(
      Effect.map(() => sockets.at(-1)!)
    )
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as Net.AddressInfo
      resume(Effect.succeed({ port, origin: `${scheme}://127.0.0.1:${port}`, accepted: () => sockets.length, peer }))
    })
  })

/** Hands over each connection; what comes in is read and forgotten unless the test listens. */
export const rawServer = (oracle: LeakOracle, onSocket: (socket: Net.Socket) => void): Effect.Effect<Server> =>
  listen(oracle, Net.createServer(onSocket), "http")

export const tlsServer = (
  oracle: LeakOracle,
  options: Tls.TlsOptions,
  onSocket: (socket: Tls.TLSSocket) => void
): Effect.Effect<Server> => {
  const server = Tls.createServer(options, (socket) => {
    socket.on("error", () => {})
    onSocket(socket)
  })
  // A client that does not like the certificate hangs up.
  server.on("tlsClientError", () => {})
  return listen(oracle, server, "https")
}

/** Hands over each complete request with the socket to answer on. */
export const httpServer = (
  oracle: LeakOracle,
  onRequest: (request: Request, socket: Net.Socket) => void
): Effect.Effect<Server> => rawServer(oracle, serveRequests(onRequest))

export const serveRequests = (onRequest: (request: Request, socket: Net.Socket) => void) => {
  let index = 0
  return (socket: Net.Socket): void => {
    let nth = 0
    let buffer = ""
    socket.setNoDelay(true)
    socket.on("data", (chunk) => {
      buffer += chunk.toString("latin1")
      for (let parsed = parse(buffer); parsed !== undefined; parsed = parse(buffer)) {
        buffer = parsed.rest
        onRequest({ ...parsed.request, index: ++index, nth: ++nth }, socket)
      }
    })
  }
}

type Parsed = { readonly request: Omit<Request, "index" | "nth">; readonly rest: string }

const parse = (buffer: string): Parsed | undefined => {
  const end = buffer.indexOf("\r\n\r\n")
  if (end < 0) return undefined
  const head = buffer.slice(0, end)
  const [start = "", ...lines] = head.split("\r\n")
  const [method = "", path = ""] = start.split(" ")
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const colon = line.indexOf(":")
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim()
  }
  const after = buffer.slice(end + 4)
  const found = headers["transfer-encoding"] === "chunked" ? chunked(after) : sized(after, headers["content-length"])
  if (found === undefined) return undefined
  return { request: { method, path, head, headers, body: found.body }, rest: found.rest }
}

const sized = (after: string, length = "0") => {
  const n = Number(length)
  return after.length < n ? undefined : { body: after.slice(0, n), rest: after.slice(n) }
}

const chunked = (after: string) => {
  let body = ""
  let rest = after
  for (;;) {
    const line = rest.indexOf("\r\n")
    if (line < 0) return undefined
    const size = Number.parseInt(rest.slice(0, line), 16)
    if (rest.length < line + 2 + size + 2) return undefined
    body += rest.slice(line + 2, line + 2 + size)
    rest = rest.slice(line + 2 + size + 2)
    if (size === 0) return { body, rest }
  }
}

/** A complete answer whose body is `body`. */
export const answer = (body: string, headers = ""): string =>
  `HTTP/1.1 200 OK\r\ncontent-length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`

/** Stops the event loop, while the network goes on. */
export const stall = (millis: number): void => {
  const until = performance.now() + millis
  while (performance.now() < until);
}

/** Resolves when `event` has come. */
export const once = (emitter: NodeJS.EventEmitter, event: string): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const listener = () => resume(Effect.void)
    emitter.once(event, listener)
    return Effect.sync(() => emitter.off(event, listener))
  })

/** Lets the event loop go round once, its poll phase included. */
export const nextTurn: Effect.Effect<void> = Effect.callback((resume) => void setImmediate(() => resume(Effect.void)))
