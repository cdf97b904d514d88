/** The services that the soak asks, the pools that it does so through, and the addresses behind them. */
import * as HttpPool from "@poolkit/http/HttpPool"
import type { PoolStats } from "@poolkit/pool/ConnectionPool"
import * as Effect from "effect/Effect"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { Dice } from "../../../pool/test/support/random.ts"
import type { certificates } from "../certificates.ts"
import type { Victims } from "./faults.ts"
import { httpSite } from "./httpSite.ts"
import { type Books, lineSite } from "./lineSite.ts"
import type { Site } from "./load.ts"
import type { ServerTls } from "./messages.ts"
import type { ServerAddress, ServerProcess } from "./serverProcess.ts"

type Certificates = typeof certificates

/** An address at which nobody listens, and one that drops whoever connects. */
export interface Dead {
  readonly refusing: string
  readonly silent: string
}

interface Plan {
  readonly name: string
  readonly healthy: boolean
  readonly callers: number
  readonly protocols: ReadonlyArray<ServerAddress["protocol"]>
}

interface HttpPlan extends Plan {
  readonly url: string
}

interface LinePlan extends Plan {
  /** Requests at once on a connection. */
  readonly concurrency: number
}

/** Over `https:` the server says what it speaks; over `http:` the pool knows. */
const httpPlans: ReadonlyArray<HttpPlan> = [
  { name: "calm HTTP/1.1", url: "http://calm1.test", healthy: true, callers: 32, protocols: ["http/1.1", "http/1.1"] },
  { name: "calm HTTP/2", url: "http://calm2.test", healthy: true, callers: 64, protocols: ["h2", "h2"] },
  { name: "calm TLS", url: "https://localhost:1", healthy: true, callers: 8, protocols: ["h2", "http/1.1"] },
  {
    name: "wild HTTP/1.1",
    url: "http://wild1.test",
    healthy: false,
    callers: 24,
    protocols: ["http/1.1", "http/1.1", "http/1.1"]
  },
  { name: "wild HTTP/2", url: "http://wild2.test", healthy: false, callers: 24, protocols: ["h2", "h2", "h2"] },
  { name: "wild TLS", url: "https://localhost:2", healthy: false, callers: 6, protocols: ["h2", "http/1.1"] }
]

const three = ["lines", "lines", "lines"] as const

const linePlans: ReadonlyArray<LinePlan> = [
  { name: "calm lines", healthy: true, callers: 40, concurrency: 6, protocols: three },
  { name: "calm lines, one at a time", healthy: true, callers: 20, concurrency: 1, protocols: three },
  { name: "wild lines", healthy: false, callers: 40, concurrency: 6, protocols: three },
  { name: "wild lines, one at a time", healthy: false, callers: 20, concurrency: 1, protocols: three }
]

/** So long that a server without a processor does not fail what is healthy. */
const limits = { headersTimeout: 3_000, bodyTimeout: 3_000 }

export const poolOptions: HttpPool.HttpPoolOptions = {
  maxSizePerOrigin: 16,
  maxSharedPerOrigin: 4,
  waitTimeout: "10 seconds",
  connectTimeout: "1 second",
  idleTimeToLive: "2 seconds",
  maxLifetime: "10 seconds",
  http1: limits,
  http2: { ...limits, pingInterval: 1_000, pingTimeout: 2_000 }
}

/** Any of its addresses, at least one, and perhaps one that does not answer. */
const choose = (hosts: ReadonlyArray<string>, dead: Dead, dice: Dice): ReadonlyArray<string> => {
  const some = hosts.filter(() => dice.oneIn(2))
  const chosen = some.length === 0 ? [dice.pick(hosts)] : some
  return dice.oneIn(3) ? [...chosen, dice.oneIn(4) ? dead.silent : dead.refusing] : chosen
}

/** Starts the addresses, makes the pools, and tells whom a fault may befall. */
export const makeSites = Effect.fnUntraced(function* (
  server: ServerProcess,
  { ca, server: tls }: Certificates,
  dead: Dead
) {
  const victims = { wild: [] as Array<ServerAddress>, healthy: [] as Array<ServerAddress> }
  const changes: Array<Victims["changes"][number]> = []
  const sites: Array<Site> = []

  /** A list of addresses that changes. */
  const listen = Effect.fnUntraced(function* ({ healthy, protocols }: Plan, tls?: ServerTls) {
    const addresses: Array<ServerAddress> = []
    for (const protocol of protocols) addresses.push(yield* Effect.promise(() => server.listen(protocol, tls)))
    const hosts = addresses.map(({ host }) => host)
    const list = yield* SubscriptionRef.make<ReadonlyArray<string>>(hosts)
    changes.push((dice) => Effect.runSync(SubscriptionRef.set(list, choose(hosts, dead, dice))))
    victims[healthy ? "healthy" : "wild"].push(...addresses)
    return list
  })

  const lists = new Map<string, SubscriptionRef.SubscriptionRef<ReadonlyArray<string>>>()
  const options: HttpPool.HttpPoolOptions = {
    ...poolOptions,
    tls: { ca },
    addresses: ({ host, port }) => {
      const list = lists.get(`${host}:${port}`)
      return list === undefined ? undefined : SubscriptionRef.changes(list)
    }
  }
  const auto = yield* HttpPool.make(options)
  const http2 = yield* HttpPool.make({ ...options, protocols: "http2" })
  for (const plan of httpPlans) {
    const { hostname, port, protocol } = new URL(plan.url)
    const secure = protocol === "https:"
    lists.set(`${hostname}:${port === "" ? 80 : port}`, yield* listen(plan, secure ? tls : undefined))
    const pool = !secure && plan.protocols.includes("h2") ? http2 : auto
    sites.push({ ...plan, ask: httpSite(pool, plan.url) })
  }
  const books = new Map<string, Books>()
  for (const plan of linePlans) {
    const made = yield* lineSite(SubscriptionRef.changes(yield* listen(plan)), plan.concurrency)
    sites.push({ ...plan, ask: made.ask })
    books.set(plan.name, made.books)
  }
  const pools: ReadonlyArray<Pooling> = [auto, http2, ...Array.from(books.values(), ({ pool }) => pool)]
  return { sites, pools, books, victims: { ...victims, changes } satisfies Victims }
})

/** What every pool has, whatever it is for. */
export interface Pooling {
  readonly stats: Effect.Effect<PoolStats>
}
