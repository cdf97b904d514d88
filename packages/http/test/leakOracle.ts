/**
 * Looks after every test whether anything was left behind: connections at
 * either end, handles, timers, fibers, errors that nobody caught, loans.
 * Listeners that accumulate show as warnings.
 */
import type * as ConnectionPool from "@poolkit/pool/ConnectionPool"
import { afterEach, assert, beforeEach } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as diagnostics from "node:diagnostics_channel"
import type * as Net from "node:net"

export interface LeakOracle {
  /** Checks that the peers of this server hung up, then closes it. */
  readonly server: (server: Net.Server) => void
  /** Checks that the pool is empty after its scope. */
  readonly pool: <P extends ConnectionPool.Any>(pool: P) => P
  /** Checks, in the midst of a test, that no client socket is open. */
  readonly clientsClosed: Effect.Effect<void>
}

interface Watched {
  readonly servers: Map<Net.Server, Set<Net.Socket>>
  readonly pools: Array<ConnectionPool.Any>
  readonly clients: Array<Net.Socket>
  readonly incidents: Array<unknown>
  baseline: Map<string, number>
  fibers: number
}

/** Fibers that run or wait. Every context is made from the empty one, so that none escapes. */
let fibers = 0
;(Context.empty().mapUnsafe as Map<string, unknown>).set(Metric.FiberRuntimeMetrics.key, {
  recordFiberStart: () => void fibers++,
  recordFiberEnd: () => void fibers--
} satisfies Metric.FiberRuntimeMetricsService)

/** Timers of the test. Vitest has its own, which come and go between what this process can tell of all. */
let timers: Array<NodeJS.Timeout> = []
const { setTimeout } = globalThis
globalThis.setTimeout = Object.assign((...args: Parameters<typeof setTimeout>) => {
  const timer = setTimeout(...args)
  timers.push(timer)
  return timer
}, setTimeout)

const kinds = ["TCPSocketWrap", "PipeWrap", "TLSWrap", "Immediate", "GetAddrInfoReqWrap"]

const resources = () => {
  const counts = new Map<string, number>()
  for (const kind of process.getActiveResourcesInfo()) counts.set(kind, (counts.get(kind) ?? 0) + 1)
  return counts
}

const leftovers = async (watched: Watched): Promise<ReadonlyArray<string>> => {
  const found: Array<string> = []
  for (const sockets of watched.servers.values()) if (sockets.size > 0) found.push(`${sockets.size} server connections`)
  found.push(...openClients(watched))
  const now = resources()
  for (const kind of kinds) {
    const more = (now.get(kind) ?? 0) - (watched.baseline.get(kind) ?? 0)
    if (more > 0) found.push(`${more} ${kind}`)
  }
  const ticking = timers.filter((timer) => timer.hasRef() && Reflect.get(timer, "_destroyed") !== true).length
  if (ticking > 0) found.push(`${ticking} timers`)
  if (fibers > watched.fibers) found.push(`${fibers - watched.fibers} fibers`)
  for (const pool of watched.pools) {
    const { borrowers, closed, closing, connecting, created, idle, pending, used } = await Effect.runPromise(pool.stats)
    if (idle + used + connecting + closing + pending + borrowers > 0 || created !== closed) {
      found.push(`pool ${JSON.stringify({ borrowers, closed, closing, connecting, created, idle, pending, used })}`)
    }
  }
  return found
}

const openClients = (watched: Watched): ReadonlyArray<string> => {
  const open = watched.clients.filter((socket) => !socket.closed).length
  return open > 0 ? [`${open} client sockets`] : []
}

/** Asks again until nothing is left, for at most a second. */
const settle = async (look: () => Promise<ReadonlyArray<string>>): Promise<ReadonlyArray<string>> => {
  const deadline = performance.now() + 1000
  for (;;) {
    const found = await look()
    if (found.length === 0 || performance.now() > deadline) return found
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Installs the oracle for all tests of a file. */
export const leakOracle = (): LeakOracle => {
  let watched: Watched = { servers: new Map(), pools: [], clients: [], incidents: [], baseline: new Map(), fibers: 0 }
  const onClient = (message: unknown) => {
    watched.clients.push((message as { readonly socket: Net.Socket }).socket)
  }
  const onIncident = (incident: unknown) => {
    watched.incidents.push(incident)
  }
  beforeEach(() => {
    timers = []
    watched = { servers: new Map(), pools: [], clients: [], incidents: [], baseline: resources(), fibers }
    diagnostics.subscribe("net.client.socket", onClient)
    process.on("warning", onIncident).on("unhandledRejection", onIncident).on("uncaughtException", onIncident)
  })
  afterEach(async () => {
    // A server that listens is a resource too.
    const closing = [...watched.servers.keys()].map((server) => new Promise((resolve) => server.close(resolve)))
    const found = await settle(() => leftovers(watched))
    diagnostics.unsubscribe("net.client.socket", onClient)
    process.off("warning", onIncident).off("unhandledRejection", onIncident).off("uncaughtException", onIncident)
    for (const sockets of watched.servers.values()) for (const socket of sockets) socket.destroy()
    await Promise.all(closing)
    assert.deepStrictEqual(found, [], "left behind")
    assert.deepStrictEqual(watched.incidents, [], "incidents")
  })
  return {
    server: (server) => {
      const sockets = new Set<Net.Socket>()
      watched.servers.set(server, sockets)
      // The raw connection of a TLS server too: the handshake may never end.
      server.on("connection", (socket: Net.Socket) => {
        sockets.add(socket)
        socket.on("error", () => {}).on("close", () => sockets.delete(socket))
      })
    },
    pool: (pool) => {
      watched.pools.push(pool)
      return pool
    },
    clientsClosed: Effect.promise(async () => {
      assert.deepStrictEqual(await settle(async () => openClients(watched)), [], "left open")
    })
  }
}
