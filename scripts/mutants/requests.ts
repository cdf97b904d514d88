/** Requests over pools: what is sent again, what is given back, who is spoken to. */
import { inHttp, type Mutation } from "./mutation.ts"

const src = "packages/http/src"
const request = `${src}/HttpRequest.ts`
const socket = `${src}/SocketConnector.ts`
const mayHaveArrived = "HttpRequest > a request that may have been received"

export const requests: ReadonlyArray<Mutation> = [
  {
    name: "a POST is sent again",
    file: request,
    find: "idempotent.has(request.method) && !Stream",
    replace: "!Stream",
    test: inHttp("HttpRequest", `${mayHaveArrived} > is not sent again if it is not idempotent`)
  },
  {
    name: "a body that is a stream is sent again",
    file: request,
    find: "idempotent.has(request.method) && !Stream.isStream(request.body)",
    replace: "idempotent.has(request.method)",
    test: inHttp("HttpRequest", `${mayHaveArrived} > is not sent again if its body is a stream`)
  },
  {
    name: "a request that was refused is sent again until it succeeds",
    file: request,
    find: "return harmless && !replayed ?",
    replace: "return harmless ?",
    test: inHttp(
      "HttpRequest.replay",
      "HttpRequest > execute tries again > once after a refusal, on a fresh connection too, and not with a stream that may have been read"
    )
  },
  {
    name: "a request that a fresh connection lost is sent again",
    file: request,
    find: "const stale = lost && exclusive && reused && !responseStarted",
    replace: "const stale = lost && exclusive && !responseStarted",
    test: inHttp("HttpRequest", `${mayHaveArrived} > is not sent again if the connection was a fresh one`)
  },
  {
    name: "a request is sent again although its answer had begun",
    file: request,
    find: "const stale = lost && exclusive && reused && !responseStarted",
    replace: "const stale = lost && exclusive && reused",
    test: inHttp("HttpRequest", `${mayHaveArrived} > is not sent again once a byte of an answer came`)
  },
  {
    name: "what HTTP/2 may have acted on is sent again",
    file: request,
    find: "const stale = lost && exclusive && reused",
    replace: "const stale = lost && (exclusive || !exclusive) && reused",
    test: inHttp(
      "HttpRequest.replay",
      "HttpRequest > execute tries again > after a loss only on HTTP/1.1, because HTTP/2 says what it did not act on"
    )
  },
  {
    name: "a request moves on from one closed connection to the next without bound",
    file: request,
    find: "const maxMoves = 5",
    replace: "const maxMoves = 50",
    test: inHttp(
      "HttpRequest.replay",
      "HttpRequest > execute tries again > as long as nothing was written to reused connections, six times at most"
    )
  },
  {
    name: "a loan's scope is left open after the exchange",
    file: request,
    find: "const rest = Scope.closeUnsafe(loan, Exit.void)",
    replace: "const rest = undefined as undefined | Effect.Effect<void>",
    test: inHttp("HttpRequest.replay", "HttpRequest > execute gives back whatever a stack of pools holds for a loan")
  },
  {
    name: "an interrupted request keeps its connection",
    file: `${src}/internal/perform.ts`,
    find: "Effect.sync(() => exchange.cancel())",
    replace: "Effect.void",
    test: inHttp(
      "HttpPool.ending",
      "HttpPool > interruption > of a request that the server never answers gives the loan back at any turn"
    ),
    kills: "hang"
  },
  {
    name: "a scope that closes leaves the body of its response unread on the wire",
    file: `${src}/internal/perform.ts`,
    find: "Effect.as(Scope.addFinalizer(rest, drop), response)",
    replace: "Effect.succeed(response)",
    test: inHttp(
      "HttpPool.ending",
      "HttpPool > interruption > of whoever holds a response that is not complete gives the connection back or ends it"
    ),
    kills: "hang"
  },
  {
    name: "finished exchanges stay in the scope of their caller",
    file: `${src}/internal/perform.ts`,
    find: "if (rest !== undefined) Scope.closeUnsafe(rest, Exit.void)",
    replace: "",
    test: inHttp(
      "HttpRequest",
      "HttpRequest > execute > leaves nothing of finished exchanges in a scope that stays open"
    )
  },
  {
    name: "a socket is owned by its scope only once it has connected",
    file: socket,
    find: `const destroy = (socket: Net.Socket): void => {
  socket.destroy()
}`,
    replace: `const destroy = (socket: Net.Socket): void => {
  if (!socket.connecting) socket.destroy()
}`,
    test: inHttp(
      "SocketConnector",
      "SocketConnector > interruption > before it is ready closes the socket at once, though its scope stays open"
    )
  },
  {
    name: "a failed stage of a connector stays open as long as its caller's scope",
    file: socket,
    find: "Exit.isSuccess(exit) ? Effect.void : Scope.close(scope, exit)",
    replace: "Exit.isSuccess(exit) || scope !== undefined ? Effect.void : Effect.void",
    test: inHttp(
      "SocketConnector",
      "SocketConnector > interruption > before it is ready closes the socket at once, though its scope stays open"
    )
  },
  {
    name: "a socket that is reset after it has connected ends the process",
    file: socket,
    find: `try: () => create().on("error", ignore),`,
    replace: "try: () => create(),",
    test: inHttp("SocketConnector", "SocketConnector > tcp > survives a reset after it has connected")
  },
  {
    name: "the name lookup has no deadline",
    file: socket,
    find: `        attempt.phase = "dns"
        const addresses = "path" in options ? undefined : yield* lookup(attempt, options.host)`,
    replace: `        attempt.phase = "dns"
        const addresses = "path" in options ? undefined : yield* Effect.uninterruptible(lookup(attempt, options.host))`,
    test: inHttp("SocketConnector", "SocketConnector > connectTimeout > covers the lookup, 10 seconds by default"),
    kills: "hang"
  },
  {
    name: "the deadline starts again for TLS",
    file: socket,
    find: "outer !== undefined && timeout === undefined",
    replace: "outer !== undefined",
    test: inHttp("SocketConnector", "SocketConnector > connectTimeout > of a stage underneath holds too"),
    kills: "hang"
  },
  {
    name: "the name of another host is verified than the one that was asked for",
    file: socket,
    find: "const name = servername ?? peer?.host",
    replace: "const name = peer?.host ?? servername",
    test: inHttp("SocketConnector", "SocketConnector > tls > asks for servername and verifies it")
  },
  {
    name: "any certificate is trusted",
    file: socket,
    find: "...(rejectUnauthorized !== undefined && { rejectUnauthorized }),",
    replace: "rejectUnauthorized: rejectUnauthorized ?? false,",
    test: inHttp("SocketConnector", "SocketConnector > tls > refuses certificates that it should not trust")
  },
  {
    name: "checkServerIdentity is not called",
    file: socket,
    find: "...(checkServerIdentity !== undefined && { checkServerIdentity }),",
    replace: "",
    test: inHttp("SocketConnector", "SocketConnector > tls > calls checkServerIdentity, whose error ends the attempt")
  },
  {
    name: "origins of two tenants share connections",
    file: `${src}/Origin.ts`,
    find: "  options.tenant,\n",
    replace: "",
    test: inHttp("Origin", "Origin > make > takes apart every attribute: whatever differs gives another key")
  },
  {
    name: "origins that leave by different addresses share connections",
    file: `${src}/Origin.ts`,
    find: "  options.localAddress,\n",
    replace: "",
    test: inHttp("Origin", "Origin > make > takes apart every attribute: whatever differs gives another key")
  },
  {
    name: "certificates are told apart by their length alone",
    file: `${src}/internal/originTls.ts`,
    find: `Buffer.from(value as Uint8Array).toString("latin1")`,
    replace: "String(Buffer.from(value as Uint8Array).length)",
    test: inHttp("Origin", "Origin > make > takes apart every attribute: whatever differs gives another key")
  },
  {
    name: "the passphrases of a list of keys are not part of the key",
    file: `${src}/internal/originTls.ts`,
    find: "[1, partOf(value[field!]), value.passphrase]",
    replace: "[1, partOf(value[field!])]",
    test: inHttp("Origin", "Origin > make > takes apart every attribute: whatever differs gives another key")
  },
  {
    name: "an origin that is printed shows what it was made of",
    file: `${src}/Origin.ts`,
    find: "return `Origin(${this})`",
    replace: "return { ...this, ...this.#options }",
    test: inHttp("Origin", "Origin > output > shows where the origin leads and none of its secrets, however one looks")
  }
]
