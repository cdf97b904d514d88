/**
 * Servers in this process, so that a run needs nothing else: one that speaks
 * HTTP/1.1, and one that speaks it over TLS.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import * as Https from "node:https"
import type { AddressInfo } from "node:net"

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
 * Starts both servers on free ports of the loopback interface. They close with
 * the scope.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: Effect.Effect<LocalOrigins, never, Scope.Scope> = Effect.gen(function* () {
  const certificate = yield* selfSigned
  const plain = yield* listen(() => Http.createServer(respond))
  const secure = yield* listen(() =>
    Https.createServer({ key: certificate.private, cert: certificate.cert, ALPNProtocols: ["http/1.1"] }, respond)
  )
  return { urls: [new URL(`http://${host}:${plain}/`), new URL(`https://${host}:${secure}/`)], ca: certificate.cert }
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

const body = "Hello from an origin in the same process as the pool.\n"

const respond: Http.RequestListener = (_request, response) => {
  response.writeHead(200, { "content-type": "text/plain", "content-length": body.length })
  response.end(body)
}

/** Listens on a free port and returns it. */
const listen = (create: () => Http.Server): Effect.Effect<number, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Http.Server>((resume) => {
      const server = create()
      server.once("error", (cause) => resume(Effect.die(cause)))
      server.listen(0, host, () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.sync(() => {
        server.close()
        server.closeAllConnections()
      })
  ).pipe(Effect.map((server) => (server.address() as AddressInfo).port))
