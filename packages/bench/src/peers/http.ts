/**
 * HTTP clients, each set up for as many requests at once as there will be.
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as HttpPool from "@poolkit/http/HttpPool"
import { execute } from "@poolkit/http/HttpRequest"
import * as Origin from "@poolkit/http/Origin"
import * as PooledHttpClient from "@poolkit/http/PooledHttpClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import type { Scope } from "effect/Scope"
import got from "got"
import * as Http from "node:http"
import * as Https from "node:https"
import * as Undici from "undici"
import { type HttpServer, originOf } from "../harness/httpServer.ts"
import type { Client, Send, Situation } from "../harness/requests.ts"

const poolOptions = ({ ca }: HttpServer, { concurrency, version }: Situation): HttpPool.HttpPoolOptions => ({
  protocols: version,
  maxSizePerOrigin: concurrency,
  ...(ca === undefined ? {} : { tls: { ca } })
})

const undiciOptions = ({ ca }: HttpServer, { concurrency, version }: Situation): Undici.Pool.Options => ({
  connections: version === "http2" ? 1 : concurrency,
  allowH2: version === "http2",
  ...(version === "http2" ? { maxConcurrentStreams: 1000 } : {}),
  ...(ca === undefined ? {} : { connect: { ca } })
})

/** Resources with a promise to end them. */
const closing = <A>(make: () => A, close: (resource: A) => Promise<unknown> | void): Effect.Effect<A, never, Scope> =>
  Effect.acquireRelease(Effect.sync(make), (resource) =>
    Effect.promise(async () => {
      await close(resource)
    })
  )

// -----------------------------------------------------------------------------
// PoolKit
// -----------------------------------------------------------------------------

export const httpPool: Client = {
  name: "HttpPool",
  setup:
    "`HttpRequest.execute` and `bytes` in a scope; `maxSizePerOrigin` as many as requests at once, else default options",
  open: (server, situation) =>
    Effect.map(HttpPool.make(poolOptions(server, situation)), (pool) => {
      const origin = Origin.make(originOf(server))
      const request = { method: "GET", path: `/${situation.size}` }
      return { effect: () => Effect.scoped(Effect.flatMap(execute(pool, origin, request), ({ bytes }) => bytes)) }
    })
}

/** The same program for each layer. */
const overLayer = (
  name: string,
  setup: string,
  layer: (server: HttpServer, situation: Situation) => Layer.Layer<HttpClient.HttpClient>
): Client => ({
  name,
  setup,
  open: (server, situation) =>
    Effect.map(Layer.build(layer(server, situation)), (context) => {
      const client = Context.get(context, HttpClient.HttpClient)
      const url = `${originOf(server)}/${situation.size}`
      return { effect: () => Effect.flatMap(client.get(url), ({ arrayBuffer }) => arrayBuffer) }
    })
})

export const pooledHttpClient = overLayer(
  "PooledHttpClient.layer",
  "`HttpClient.get` and `arrayBuffer`, tracer on; options as HttpPool",
  (server, situation) => PooledHttpClient.layer(poolOptions(server, situation))
)

// -----------------------------------------------------------------------------
// Effect
// -----------------------------------------------------------------------------

export const layerUndici = overLayer(
  "NodeHttpClient.layerUndici",
  "the same program, tracer on; `connections` and `allowH2` as undici Pool",
  (server, situation) => NodeHttpClient.layerUndiciOptions(undiciOptions(server, situation))
)

export const layerNodeHttp = overLayer(
  "NodeHttpClient.layerNodeHttp",
  "the same program, tracer on; agent as node:http",
  (server, situation) => NodeHttpClient.layerNodeHttpOptions(agentOptions(server, situation))
)

// -----------------------------------------------------------------------------
// undici
// -----------------------------------------------------------------------------

const undiciPool = (server: HttpServer, situation: Situation) =>
  closing(
    () => new Undici.Pool(originOf(server), undiciOptions(server, situation)),
    (pool) => pool.destroy()
  )

const requesting = (dispatcher: Undici.Dispatcher, server: HttpServer, { size }: Situation): Send => {
  const options = { origin: originOf(server), method: "GET" as const, path: `/${size}` }
  return { promise: async () => (await dispatcher.request(options)).body.arrayBuffer() }
}

export const undiciPoolRequest: Client = {
  name: "undici Pool.request",
  setup: "`connections` as many as requests at once, over HTTP/2 one; `arrayBuffer`",
  open: (server, situation) => Effect.map(undiciPool(server, situation), (pool) => requesting(pool, server, situation))
}

export const undiciPoolDispatch: Client = {
  name: "undici Pool.dispatch",
  setup: "the same pool with a handler that collects chunks and resolves a promise",
  open: (server, situation) =>
    Effect.map(undiciPool(server, situation), (pool) => ({
      promise: () => new Promise((resolve, reject) => dispatch(pool, `/${situation.size}`, resolve, reject))
    }))
}

const dispatch = (
  dispatcher: Undici.Dispatcher,
  path: string,
  resolve: (body: Buffer) => void,
  reject: (error: Error) => void
): void => {
  const chunks: Array<Buffer> = []
  dispatcher.dispatch(
    { method: "GET", path },
    {
      onRequestStart() {},
      onResponseStart() {},
      onResponseData(_, chunk) {
        chunks.push(chunk)
      },
      onResponseEnd() {
        resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks))
      },
      onResponseError(_, error) {
        reject(error)
      }
    }
  )
}

export const undiciClientRequest: Client = {
  name: "undici Client.request",
  setup: "one connection, so it takes part only where there is one request at a time",
  open: (server, situation) => {
    const { connections: _, ...options } = undiciOptions(server, situation)
    return Effect.map(
      closing(
        () => new Undici.Client(originOf(server), options),
        (client) => client.destroy()
      ),
      (client) => requesting(client, server, situation)
    )
  }
}

const undiciAgent = (server: HttpServer, situation: Situation) =>
  closing(
    () => new Undici.Agent(undiciOptions(server, situation)),
    (agent) => agent.destroy()
  )

export const undiciAgentRequest: Client = {
  name: "undici Agent.request",
  setup: "options as undici Pool",
  open: (server, situation) =>
    Effect.map(undiciAgent(server, situation), (agent) => requesting(agent, server, situation))
}

export const fetch: Client = {
  name: "fetch",
  setup: "undici's, which is Node's, with an Agent as above",
  open: (server, situation) =>
    Effect.map(undiciAgent(server, situation), (dispatcher) => {
      const url = `${originOf(server)}/${situation.size}`
      return { promise: async () => (await Undici.fetch(url, { dispatcher })).arrayBuffer() }
    })
}

// -----------------------------------------------------------------------------
// Others
// -----------------------------------------------------------------------------

const agentOptions = ({ ca }: HttpServer, { concurrency }: Situation): Https.AgentOptions => ({
  keepAlive: true,
  maxSockets: concurrency,
  scheduling: "lifo",
  ...(ca === undefined ? {} : { ca })
})

const nodeAgent = (server: HttpServer, situation: Situation) =>
  closing(
    () => new (server.ca === undefined ? Http : Https).Agent(agentOptions(server, situation)),
    (agent) => agent.destroy()
  )

export const nodeHttp: Client = {
  name: "node:http",
  setup: "`keepAlive`, `maxSockets` as many as requests at once",
  open: (server, situation) =>
    Effect.map(nodeAgent(server, situation), (agent) => {
      const { get } = server.ca === undefined ? Http : Https
      const options = { host: "127.0.0.1", port: server.port, path: `/${situation.size}`, agent }
      return {
        promise: () =>
          new Promise<Buffer>((resolve, reject) => {
            get(options, (response) => {
              const chunks: Array<Buffer> = []
              response.on("data", (chunk: Buffer) => chunks.push(chunk))
              response.on("end", () => resolve(Buffer.concat(chunks)))
              response.on("error", reject)
            }).on("error", reject)
          })
      }
    })
}

export const gotHttp1: Client = {
  name: "got",
  setup: 'agent as node:http, no retries, `responseType: "buffer"`',
  open: (server, situation) =>
    Effect.map(nodeAgent(server, situation), (agent) => {
      const client = got.extend({
        agent: server.ca === undefined ? { http: agent } : { https: agent as Https.Agent },
        retry: { limit: 0 },
        responseType: "buffer",
        ...(server.ca === undefined ? {} : { https: { certificateAuthority: server.ca } })
      })
      const url = `${originOf(server)}/${situation.size}`
      return { promise: async () => (await client.get(url)).body as unknown as Uint8Array }
    })
}
