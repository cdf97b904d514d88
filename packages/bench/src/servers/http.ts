/**
 * A server in a process of its own: `http.ts <http1|http2> <plain|tls>`. It tells
 * its port and certificate, and ends with the process that started it.
 *
 * `/<n>` is answered with n bytes. The HTTP/1.1 server does as little as it can,
 * so that the clients are what is measured: it knows nothing but GET.
 */
import * as Http2 from "node:http2"
import * as Net from "node:net"
import * as Tls from "node:tls"
import type { HttpServer } from "../harness/httpServer.ts"
import { host, makeCertificate } from "./certificate.ts"

const [version, security] = process.argv.slice(2) as ["http1" | "http2", "plain" | "tls"]

const answers = new Map<number, Buffer>()

const http1Answer = (size: number): Buffer => {
  let answer = answers.get(size)
  if (answer === undefined) {
    const head = `HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: ${size}\r\n\r\n`
    answers.set(size, (answer = Buffer.concat([Buffer.from(head), Buffer.alloc(size, "x")])))
  }
  return answer
}

const serveHttp1 = (socket: Net.Socket): void => {
  let rest = ""
  socket.setNoDelay(true)
  socket.on("error", () => socket.destroy())
  socket.on("data", (chunk) => {
    rest += chunk.toString("latin1")
    for (let end = rest.indexOf("\r\n\r\n"); end !== -1; end = rest.indexOf("\r\n\r\n")) {
      socket.write(http1Answer(Number(/^GET \/(\d+)/.exec(rest)?.[1] ?? 0)))
      rest = rest.slice(end + 4)
    }
  })
}

const serveHttp2 = (stream: Http2.ServerHttp2Stream, headers: Http2.IncomingHttpHeaders): void => {
  const size = Number(headers[":path"]!.slice(1))
  let body = answers.get(size)
  if (body === undefined) answers.set(size, (body = Buffer.alloc(size, "x")))
  stream.on("error", () => {})
  stream.respond({ ":status": 200, "content-type": "application/octet-stream", "content-length": size })
  stream.end(body)
}

const certificate = security === "tls" ? await makeCertificate() : undefined
const settings = { maxConcurrentStreams: 1000 }

const makeServer = (): Net.Server => {
  if (version === "http1") {
    return certificate === undefined ? Net.createServer(serveHttp1) : Tls.createServer(certificate, serveHttp1)
  }
  const server =
    certificate === undefined
      ? Http2.createServer({ settings })
      : Http2.createSecureServer({ ...certificate, settings, allowHTTP1: false })
  server.on("stream", serveHttp2)
  server.on("session", (session) => session.on("error", () => {}))
  return server
}

const server = makeServer().listen(0, host, () => {
  const { port } = server.address() as Net.AddressInfo
  process.send?.({ port, ca: certificate?.cert } satisfies HttpServer)
})
process.once("disconnect", () => process.exit())
