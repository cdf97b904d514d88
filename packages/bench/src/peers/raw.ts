/**
 * The least that a client can do: what the transports themselves cost.
 */
import * as Effect from "effect/Effect"
import * as Http2 from "node:http2"
import * as Net from "node:net"
import * as Tls from "node:tls"
import { originOf } from "../harness/httpServer.ts"
import type { Client } from "../harness/requests.ts"

/** A socket that sends the same request again and again and counts the bytes of the answer. */
class RawConnection {
  private readonly socket: Net.Socket
  private readonly request: string
  private readonly size: number
  private expected = 0
  private received = 0
  private resolve: (body: { readonly byteLength: number }) => void = () => {}

  constructor(socket: Net.Socket, request: string, size: number) {
    this.socket = socket
    this.request = request
    this.size = size
    socket.setNoDelay(true)
    socket.on("data", (chunk: Buffer) => this.take(chunk))
  }

  private take(chunk: Buffer): void {
    // All answers have the same head, which is in the first chunk.
    if (this.expected === 0) this.expected = chunk.indexOf("\r\n\r\n") + 4 + this.size
    this.received += chunk.length
    if (this.received < this.expected) return
    const byteLength = this.received - (this.expected - this.size)
    this.received = 0
    this.resolve({ byteLength })
  }

  readonly send = (): Promise<{ readonly byteLength: number }> => {
    this.socket.write(this.request)
    return new Promise((resolve) => (this.resolve = resolve))
  }
}

export const rawSocket: Client = {
  name: "raw sockets",
  setup: "one socket per request at once, no client: writes a constant and counts bytes",
  open: ({ ca, port }, { concurrency, size }) =>
    Effect.acquireRelease(
      Effect.promise(() =>
        Promise.all(
          Array.from({ length: concurrency }, () => {
            const socket = ca === undefined ? Net.connect(port, "127.0.0.1") : Tls.connect(port, "127.0.0.1", { ca })
            return new Promise<Net.Socket>((resolve) =>
              socket.once(ca === undefined ? "connect" : "secureConnect", () => resolve(socket))
            )
          })
        )
      ),
      (sockets) => Effect.sync(() => sockets.forEach((socket) => socket.destroy()))
    ).pipe(
      Effect.map((sockets) => {
        const request = `GET /${size} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\n\r\n`
        const idle = sockets.map((socket) => new RawConnection(socket, request, size))
        return {
          promise: async () => {
            const connection = idle.pop()!
            const body = await connection.send()
            idle.push(connection)
            return body
          }
        }
      })
    )
}

const windowSize = 2 ** 20

export const rawHttp2: Client = {
  name: "raw http2 session",
  setup: "one session, windows of 1 MiB, no client: listens to `data` and `end` of each stream",
  open: (server, { size }) =>
    Effect.acquireRelease(
      Effect.promise(
        () =>
          new Promise<Http2.ClientHttp2Session>((resolve) => {
            const session = Http2.connect(originOf(server), {
              ...(server.ca === undefined ? {} : { ca: server.ca }),
              settings: { enablePush: false, initialWindowSize: windowSize }
            })
            session.once("remoteSettings", () => resolve(session))
            session.once("connect", () => session.setLocalWindowSize(windowSize * 16))
          })
      ),
      (session) => Effect.sync(() => session.destroy())
    ).pipe(
      Effect.map((session) => ({
        promise: () =>
          new Promise<Uint8Array>((resolve, reject) => {
            const chunks: Array<Buffer> = []
            const stream = session.request({ ":path": `/${size}` })
            stream.on("data", (chunk: Buffer) => chunks.push(chunk))
            stream.on("end", () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)))
            stream.on("error", reject)
          })
      }))
    )
}
