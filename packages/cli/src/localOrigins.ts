/**
 * Servers in this process, so that a run needs nothing else: HTTP/1.1, HTTP/1.1
 * over TLS, and HTTP/2 over TLS; or HTTP/2 with and without TLS.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import * as Http2 from "node:http2"
import * as Https from "node:https"
import type * as Net from "node:net"

/**
 * Where the servers listen, and the certificate to trust.
 *
 * @category models
 * @since 0.1.0
 */
export interface LocalOrigins {
  readonly urls: ReadonlyArray<URL>
  readonly ca: string
}

const host = "127.0.0.1"

/**
 * Starts the servers on free ports of the loopback interface. They close with
 * the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function* (
  protocols: "auto" | "http1" | "http2"
): Effect.fn.Return<LocalOrigins, never, Scope.Scope> {
  const certificate = yield* selfSigned
  const tls = { key: certificate.private, cert: certificate.cert }
  const secureHttp2 = () => Http2.createSecureServer({ ...tls, settings, allowHTTP1: true }, respond)
  const servers: ReadonlyArray<readonly ["http" | "https", () => Net.Server]> =
    protocols === "http2"
      ? [
          ["http", () => Http2.createServer({ settings }, respond)],
          ["https", secureHttp2]
        ]
      : [
          ["http", () => Http.createServer(respond)],
          ["https", () => Https.createServer({ ...tls, ALPNProtocols: ["http/1.1"] }, respond)],
          ["https", secureHttp2]
        ]
  const urls = yield* Effect.forEach(servers, ([scheme, create]) =>
    Effect.map(listen(create), (port) => new URL(`${scheme}://${host}:${port}/`))
  )
  return { urls, ca: certificate.cert }
})

const selfSigned = Effect.promise(async () => {
  // It takes a while to load, and runs against real servers do not need it.
  const { generate } = await import("selfsigned")
  return generate([{ name: "commonName", value: host }], {
    // Elliptic: an RSA key takes longer to make than a short run.
    keyType: "ec",
    algorithm: "sha256",
    // A clock that is set back a little must not make it invalid.
    notBeforeDate: new Date(Date.now() - 3_600_000),
    notAfterDate: new Date(Date.now() + 24 * 3_600_000),
    extensions: [
      { name: "basicConstraints", cA: true },
      { name: "subjectAltName", altNames: [{ type: 7, ip: host }] }
    ]
  })
})

/** As servers commonly have it; Node's own default admits any number. */
const settings = { maxConcurrentStreams: 100 }

const body = "Hello from an origin in the same process as the pool.\n"

const respond = (_: unknown, response: Http.ServerResponse | Http2.Http2ServerResponse): void => {
  response.setHeader("content-type", "text/plain")
  response.setHeader("content-length", body.length)
  response.end(body)
}

/** Listens on a free port and returns it. */
const listen = (create: () => Net.Server): Effect.Effect<number, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<{ readonly server: Net.Server; readonly sockets: Set<Net.Socket> }>((resume) => {
      const server = create()
      const sockets = new Set<Net.Socket>()
      server.on("connection", (socket: Net.Socket) => {
        sockets.add(socket)
        socket.on("close", () => sockets.delete(socket))
      })
      server.once("error", (cause) => resume(Effect.die(cause)))
      server.listen(0, host, () => resume(Effect.succeed({ server, sockets })))
    }),
    ({ server, sockets }) =>
      Effect.sync(() => {
        server.close()
        for (const socket of sockets) socket.destroy()
      })
  ).pipe(Effect.map(({ server }) => (server.address() as Net.AddressInfo).port))
