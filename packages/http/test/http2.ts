/** Servers of node:http2 on 127.0.0.1, and connections to them. */
import * as Http2Connection from "@poolkit/http/Http2Connection"
import * as SocketConnector from "@poolkit/http/SocketConnector"
import * as Effect from "effect/Effect"
import * as Http2 from "node:http2"
import type * as Net from "node:net"
import { certificates } from "./certificates.ts"
import { Flag, type Frame, frame, FrameReader, FrameType, settingsPayload, words } from "./fault/frames.ts"
import { encode, type Field } from "./fault/hpack.ts"
import type { LeakOracle } from "./leakOracle.ts"
import { once, rawServer, type Server } from "./servers.ts"

export interface Http2Server {
  readonly port: number
  readonly secure: boolean
  /** Connections that were ever accepted. */
  readonly accepted: () => number
  /** The server's end of the latest session. */
  readonly session: Effect.Effect<Http2.ServerHttp2Session>
}

/** A request as the server got it, whole. */
export interface Received {
  readonly headers: Http2.IncomingHttpHeaders
  readonly path: string
  readonly body: string
}

type OnStream = (stream: Http2.ServerHttp2Stream, headers: Http2.IncomingHttpHeaders) => void

/** Hands over each stream as soon as its head is here. */
export const http2Server = (
  oracle: LeakOracle,
  onStream: OnStream,
  options: Http2.ServerOptions & { readonly secure?: boolean } = {}
): Effect.Effect<Http2Server> =>
  Effect.callback((resume) => {
    const { secure = false, ...rest } = options
    const handle: OnStream = (stream, headers) => {
      stream.on("error", () => {})
      onStream(stream, headers)
    }
    const server = secure
      ? Http2.createSecureServer({ ...rest, ...certificates.server }).on("stream", handle)
      : Http2.createServer(rest).on("stream", handle)
    const sessions: Array<Http2.ServerHttp2Session> = []
    let accepted = 0
    oracle.server(server)
    server.on("connection", () => accepted++)
    server.on("session", (session) => {
      session.on("error", () => {}).on("frameError", () => {})
      sessions.push(session)
    })
    // Resets and lost connections are what tests are about.
    server.on("sessionError", () => {})
    const session = Effect.suspend(() => (sessions.length > 0 ? Effect.void : once(server, "session"))).pipe(
      Effect.map(() => sessions.at(-1)!)
    )
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as Net.AddressInfo
      resume(Effect.succeed({ port, secure, accepted: () => accepted, session }))
    })
  })

/** Hands over each complete request with the stream to answer on. */
export const requestServer = (
  oracle: LeakOracle,
  onRequest: (request: Received, stream: Http2.ServerHttp2Stream) => void,
  options?: Parameters<typeof http2Server>[2]
): Effect.Effect<Http2Server> =>
  http2Server(
    oracle,
    (stream, headers) => {
      let body = ""
      stream.setEncoding("utf8").on("data", (chunk: string) => (body += chunk))
      stream.on("end", () => {
        if (!stream.aborted && !stream.destroyed) onRequest({ headers, path: headers[":path"]!, body }, stream)
      })
    },
    options
  )

/** A complete answer whose body is `body`. */
export const answer = (
  stream: Http2.ServerHttp2Stream,
  body: string,
  headers: Http2.OutgoingHttpHeaders = {}
): void => {
  if (stream.destroyed) return
  stream.respond({ "content-length": Buffer.byteLength(body), ...headers })
  stream.end(body)
}

export const connector = (server: Http2Server, options?: Http2Connection.Http2Options) => {
  const tcp = SocketConnector.tcp({ host: "127.0.0.1", port: server.port })
  const socket = server.secure ? SocketConnector.tls(tcp, { ca: certificates.ca, alpn: ["h2"] }) : tcp
  return () =>
    Effect.flatMap(socket(), (socket) =>
      Effect.map(Http2Connection.make(socket, options), (connection) => ({ connection, socket }))
    )
}

export const connectTo = (server: Http2Server, options?: Http2Connection.Http2Options) => connector(server, options)()

/** The session of a connection, which only tests may touch. */
export const sessionOf = (socket: Net.Socket): Http2.ClientHttp2Session => {
  const symbol = Object.getOwnPropertySymbols(socket).find((symbol) => /session/.test(symbol.description ?? ""))
  return (socket as unknown as Record<symbol, Http2.ClientHttp2Session>)[symbol!]!
}

/** Lets the next stream have this id, which is odd. */
export const skipTo = (socket: Net.Socket, id: number): void => {
  // Documented, but not in the types.
  const session: object = sessionOf(socket)
  if ("setNextStreamID" in session && typeof session.setNextStreamID === "function") session.setNextStreamID(id)
}

/** Waits until the first SETTINGS frame of the server is here. */
export const settingsSeen = (socket: Net.Socket): Effect.Effect<void> => once(sessionOf(socket), "remoteSettings")

// -----------------------------------------------------------------------------
// Frames
// -----------------------------------------------------------------------------

/** The server's end of a connection, frame by frame. */
export interface FramePeer {
  readonly socket: Net.Socket
  readonly send: (...frames: ReadonlyArray<Uint8Array>) => void
}

/** Hands over every frame of a client; sends its SETTINGS unless told not to. */
export const frameServer = (
  oracle: LeakOracle,
  onFrame: (frame: Frame, peer: FramePeer) => void,
  settings: ReadonlyArray<readonly [id: number, value: number]> | "none" = []
): Effect.Effect<Http2Server & Server> =>
  Effect.map(
    rawServer(oracle, (socket) => {
      const reader = new FrameReader()
      const peer: FramePeer = { socket, send: (...frames) => void socket.write(Buffer.concat(frames)) }
      socket.setNoDelay(true)
      socket.on("data", (chunk: Buffer) => {
        reader.push(chunk)
        if (reader.preface() && settings !== "none") {
          peer.send(frame(FrameType.settings, 0, 0, settingsPayload(settings)), frame(FrameType.settings, Flag.ack, 0))
        }
        for (let next = reader.next(); next !== undefined; next = reader.next()) onFrame(next, peer)
      })
    }),
    (server) => ({ ...server, secure: false, session: Effect.die("a server of frames has no session") })
  )

/** Calls back with the id of each request whose head has come. */
export const onRequest =
  (respond: (id: number, peer: FramePeer, index: number) => void) =>
  ({ stream, type }: Frame, peer: FramePeer): void => {
    if (type === FrameType.headers) respond(stream, peer, (stream + 1) / 2)
  }

export const head = (id: number, fields: ReadonlyArray<Field> = [], end = false): Buffer =>
  frame(FrameType.headers, Flag.endHeaders | (end ? Flag.endStream : 0), id, encode([[":status", "200"], ...fields]))

export const data = (id: number, text: string, end = false): Buffer =>
  frame(FrameType.data, end ? Flag.endStream : 0, id, Buffer.from(text))

export const rst = (id: number, code: number): Buffer => frame(FrameType.rst, 0, id, words(code))

export const goaway = (lastStreamId: number, code = 0): Buffer =>
  frame(FrameType.goaway, 0, 0, words(lastStreamId, code))

export const setting = (id: number, value: number): Buffer =>
  frame(FrameType.settings, 0, 0, settingsPayload([[id, value]]))
