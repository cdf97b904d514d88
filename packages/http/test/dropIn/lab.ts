/**
 * Programs that any `HttpClient` must run alike: the clients to run them on, and servers that do what a program needs.
 */
import { NodeHttpClient } from "@effect/platform-node"
import { describe } from "@effect/vitest"
import * as HttpPool from "@poolkit/http/HttpPool"
import * as PooledHttpClient from "@poolkit/http/PooledHttpClient"
import * as Effect from "effect/Effect"
import { HttpClient, type HttpClientError } from "effect/http"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Http from "node:http"
import * as Http2 from "node:http2"
import type * as Net from "node:net"
import { certificates } from "../certificates.ts"
import { leakOracle, type LeakOracle } from "../leakOracle.ts"
import { httpServer, type Request, type Server } from "../servers.ts"

export interface Incoming {
  readonly method: string
  readonly path: string
  readonly headers: Http.IncomingHttpHeaders
  /** The whole body, once it has come. */
  readonly body: Promise<Buffer>
  /** Settles when nothing can be sent any more: the answer is complete, or the client left. */
  readonly closed: Promise<void>
}

export interface Outgoing {
  readonly head: (status: number, headers?: Http.OutgoingHttpHeaders) => void
  readonly write: (chunk: string | Uint8Array) => boolean
  readonly end: (chunk?: string | Uint8Array) => void
  /** Ends the exchange without ending the body: a reset in the eyes of the client. */
  readonly cut: () => void
}

export type Handler = (request: Incoming, response: Outgoing) => void | Promise<void>

type Program<E> = (server: { readonly url: string }) => Effect.Effect<void, E, HttpClient.HttpClient | Scope.Scope>

/** A server of Node that does not listen yet. */
export type Served = Http.Server | Http2.Http2SecureServer

export interface Subject {
  readonly name: string
  /** The client that this project makes, as opposed to the one that it stands in for. */
  readonly pooled: boolean
  readonly protocol: "http/1.1" | "h2"
  /** For servers of this subject's protocol, and for plain HTTP/1.1. */
  readonly layer: Layer.Layer<HttpClient.HttpClient>
  /** Runs a program against a server that answers as told, in the subject's protocol. */
  readonly talk: <E>(handler: Handler, program: Program<E>) => Effect.Effect<void, E>
  /** For servers that are made by other means. */
  readonly makeServer: () => Served
  /** Runs a program against a server that writes HTTP/1.1 byte by byte. */
  readonly talkRaw: <E>(
    onRequest: (request: Request, socket: Net.Socket) => void,
    program: (server: Server & { readonly url: string }) => Effect.Effect<void, E, HttpClient.HttpClient | Scope.Scope>
  ) => Effect.Effect<void, E>
}

/** Runs `tests` once for each client. Installs a leak oracle for the file. */
export const forEachClient = (title: string, tests: (subject: Subject) => void) => {
  const oracle = leakOracle()
  for (const subject of subjects(oracle)) describe(`${title}, ${subject.name}`, () => tests(subject))
}

const subjects = (oracle: LeakOracle): ReadonlyArray<Subject> => [
  subject(oracle, { name: "layerUndici", pooled: false, protocol: "http/1.1", layer: NodeHttpClient.layerUndici }),
  subject(oracle, { name: "PooledHttpClient", pooled: true, protocol: "http/1.1", layer: pooled(oracle) }),
  subject(oracle, {
    name: "PooledHttpClient over HTTP/2",
    pooled: true,
    protocol: "h2",
    layer: pooled(oracle, { tls: { ca: certificates.ca } })
  })
]

const pooled = (oracle: LeakOracle, options?: HttpPool.HttpPoolOptions): Layer.Layer<HttpClient.HttpClient> =>
  Layer.provide(
    PooledHttpClient.layerNoPool(),
    Layer.effect(HttpPool.HttpPool, Effect.map(HttpPool.make(options), oracle.pool))
  )

const subject = (oracle: LeakOracle, given: Pick<Subject, "name" | "pooled" | "protocol" | "layer">): Subject => ({
  ...given,
  makeServer: () => {
    const server = given.protocol === "h2" ? Http2.createSecureServer(certificates.server) : Http.createServer()
    oracle.server(server)
    return server
  },
  talk: (handler, program) =>
    Effect.flatMap(serve(oracle, given.protocol, handler), (url) => run(given.layer, program({ url }))),
  talkRaw: (onRequest, program) =>
    Effect.flatMap(httpServer(oracle, onRequest), (server) =>
      run(given.layer, program({ ...server, url: server.origin }))
    )
})

const run = <E>(
  layer: Layer.Layer<HttpClient.HttpClient>,
  program: Effect.Effect<void, E, HttpClient.HttpClient | Scope.Scope>
): Effect.Effect<void, E> => Effect.provide(Effect.scoped(program), layer)

/** Listens, and gives the URL. */
export const serve = (oracle: LeakOracle, protocol: Subject["protocol"], handler: Handler): Effect.Effect<string> =>
  Effect.callback((resume) => {
    const server = protocol === "h2" ? serve2(handler) : serve1(handler)
    oracle.server(server)
    server.listen(0, "127.0.0.1", () => {
      const scheme = protocol === "h2" ? "https" : "http"
      resume(Effect.succeed(`${scheme}://127.0.0.1:${(server.address() as Net.AddressInfo).port}`))
    })
  })

const serve1 = (handler: Handler): Net.Server =>
  Http.createServer((request, response) => {
    const outgoing: Outgoing = {
      head: (status, headers) => void response.writeHead(status, headers),
      write: (chunk) => response.write(chunk),
      end: (chunk) => void response.end(chunk),
      cut: () => void response.destroy()
    }
    void handler(incoming(request, response), outgoing)
  })

const serve2 = (handler: Handler): Net.Server =>
  Http2.createSecureServer(certificates.server, (request, response) => {
    const outgoing: Outgoing = {
      head: (status, headers) => void response.writeHead(status, headers),
      write: (chunk) => response.write(chunk),
      end: (chunk = "") => void response.end(chunk),
      cut: () => void response.stream.close(Http2.constants.NGHTTP2_INTERNAL_ERROR)
    }
    void handler(incoming(request, response), outgoing)
  })

const incoming = (
  request: Http.IncomingMessage | Http2.Http2ServerRequest,
  response: NodeJS.EventEmitter
): Incoming => ({
  method: request.method!,
  path: request.url!,
  headers: request.headers,
  body: collect(request),
  closed: new Promise<void>((resolve) => response.once("close", resolve))
})

const collect = async (request: AsyncIterable<Uint8Array>): Promise<Buffer> => {
  const chunks: Array<Uint8Array> = []
  try {
    for await (const chunk of request) chunks.push(chunk)
  } catch {
    // The client left; whoever wants the body finds what came.
  }
  return Buffer.concat(chunks)
}

/** Answers with what it was asked, as JSON. */
export const echo: Handler = async ({ body, headers, method, path }, response) => {
  const text = (await body).toString("latin1")
  response.head(200, { "content-type": "application/json" })
  response.end(JSON.stringify({ method, path, headers, body: text }))
}

export interface Echo {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: string
}

/** Answers every request with the same text. */
export const say =
  (text: string, status = 200, headers: Http.OutgoingHttpHeaders = {}): Handler =>
  (_, response) => {
    response.head(status, headers)
    response.end(text)
  }

/** Sends a request and reads the echo. */
export const echoed = Effect.fnUntraced(function* (
  ...args: Parameters<HttpClient.HttpClient["execute"]>
): Effect.fn.Return<Echo, HttpClientError.HttpClientError, HttpClient.HttpClient> {
  const response = yield* HttpClient.execute(...args)
  return (yield* response.json) as unknown as Echo
})
