/**
 * Ways to have many idle connections.
 */
import * as HttpPool from "@poolkit/http/HttpPool"
import { execute } from "@poolkit/http/HttpRequest"
import * as Origin from "@poolkit/http/Origin"
import * as SocketConnector from "@poolkit/http/SocketConnector"
import * as CachePool from "@poolkit/pool/CachePool"
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import * as Http from "node:http"
import * as Http2 from "node:http2"
import * as Https from "node:https"
import * as Net from "node:net"
import * as Tls from "node:tls"
import * as Undici from "undici"
import { type HttpServer, originOf } from "../harness/httpServer.ts"
import { connect } from "./poolkit.ts"

/** Opens so many connections and leaves them idle; what it returns keeps them. */
export type Holder = (n: number, server: HttpServer) => Effect.Effect<unknown, unknown, Scope>

/** As many at once as a server's backlog takes. */
const batches = async <A>(n: number, one: () => Promise<A>): Promise<Array<A>> => {
  const all: Array<A> = []
  while (all.length < n) all.push(...(await Promise.all(Array.from({ length: Math.min(100, n - all.length) }, one))))
  return all
}

const holding =
  (open: (n: number, server: HttpServer) => Promise<unknown>): Holder =>
  (n, server) =>
    Effect.promise(() => open(n, server))

/** Borrows all connections at once, and returns them. */
const borrowAll = <E>(n: number, pool: CachePool.CachePool<unknown, E>) =>
  Effect.as(
    Effect.scoped(
      Effect.forEach(Array.from({ length: n }), () => pool.get(), { concurrency: "unbounded", discard: true })
    ),
    pool
  )

const once = <A extends NodeJS.EventEmitter>(emitter: A, event: string): Promise<A> =>
  new Promise((resolve) => emitter.once(event, () => resolve(emitter)))

const size = 100

/** Sends requests until there are so many connections: all at once, each of which needs its own. */
const requestAll = (n: number, one: () => Promise<unknown>) => Promise.all(Array.from({ length: n }, one))

const undici = (allowH2: boolean): Holder =>
  holding(async (n, server) => {
    const connectOptions = server.ca === undefined ? {} : { connect: { ca: server.ca } }
    const clients = await batches(n, async () => {
      const client = new Undici.Client(originOf(server), { allowH2, keepAliveTimeout: 600_000, ...connectOptions })
      await (await client.request({ method: "GET", path: `/${size}` })).body.arrayBuffer()
      return client
    })
    return clients
  })

const httpPool =
  (protocols: "http1" | "http2"): Holder =>
  (n, server) =>
    Effect.gen(function* () {
      const pool = yield* HttpPool.make({
        protocols,
        maxSize: n,
        maxSizePerOrigin: n,
        maxPending: n,
        maxKeys: n,
        maxConnecting: 100,
        idleTimeToLive: "1 hour",
        ...(server.ca === undefined ? {} : { tls: { ca: server.ca } })
      })
      const url = originOf(server)
      const shared = Origin.make(url)
      // HTTP/2 has one connection per origin.
      const origins = Array.from({ length: n }, (_, tenant) =>
        protocols === "http1" ? shared : Origin.make({ url, tenant: String(tenant) })
      )
      const request = { method: "GET", path: `/${size}` }
      yield* protocols === "http1"
        ? Effect.scoped(
            Effect.forEach(origins, (origin) => pool.get(origin), { concurrency: "unbounded", discard: true })
          )
        : Effect.void
      yield* Effect.forEach(
        origins,
        (origin) => Effect.scoped(Effect.flatMap(execute(pool, origin, request), ({ bytes }) => bytes)),
        { concurrency: 100, discard: true }
      )
      return { pool, origins }
    })

const tcpPool: Holder = (n, { port }) =>
  Effect.flatMap(
    CachePool.make({ connect: SocketConnector.tcp({ host: "127.0.0.1", port }), maxSize: n, maxConnecting: 100 }),
    (pool) => borrowAll(n, pool)
  )

const tlsPool: Holder = (n, { ca, port }) =>
  Effect.flatMap(
    CachePool.make({
      connect: SocketConnector.tls(SocketConnector.tcp({ host: "127.0.0.1", port }), { ca }),
      maxSize: n,
      maxConnecting: 100
    }),
    (pool) => borrowAll(n, pool)
  )

const agent: Holder = holding(async (n, server) => {
  const module = server.ca === undefined ? Http : Https
  const options = {
    keepAlive: true,
    maxSockets: n,
    maxFreeSockets: n,
    ...(server.ca === undefined ? {} : { ca: server.ca })
  }
  const agent = new module.Agent(options)
  await requestAll(
    n,
    () =>
      new Promise((resolve, reject) => {
        module
          .get({ host: "127.0.0.1", port: server.port, path: `/${size}`, agent }, (response) =>
            response.resume().once("end", resolve)
          )
          .once("error", reject)
      })
  )
  return agent
})

export const holders: Readonly<Record<string, Holder>> = {
  "no pool": (n) => Effect.forEach(Array.from({ length: n }), connect),
  "CachePool of objects": (n) => Effect.flatMap(CachePool.make({ connect, maxSize: n }), (pool) => borrowAll(n, pool)),
  "node:net": holding((n, { port }) => batches(n, () => once(Net.connect(port, "127.0.0.1"), "connect"))),
  "CachePool, tcp": tcpPool,
  "HttpPool, http/1.1": httpPool("http1"),
  "undici, http/1.1": undici(false),
  "node:http Agent": agent,
  "node:tls": holding((n, { ca, port }) =>
    batches(n, () => once(Tls.connect(port, "127.0.0.1", ca === undefined ? {} : { ca }), "secureConnect"))
  ),
  "CachePool, tls": tlsPool,
  "HttpPool, http/1.1 over TLS": httpPool("http1"),
  "undici, http/1.1 over TLS": undici(false),
  "node:https Agent": agent,
  "node:http2": holding((n, server) =>
    batches(n, async () => {
      const session = Http2.connect(originOf(server), server.ca === undefined ? {} : { ca: server.ca })
      return once(session, "remoteSettings")
    })
  ),
  "HttpPool, h2": httpPool("http2"),
  "undici, h2": undici(true)
}
