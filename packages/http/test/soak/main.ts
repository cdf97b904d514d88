/**
 * The program of the soak: `main.ts seconds seed [every]`, with a fault `every`
 * so many milliseconds, 50 by default. Prints what became of it as one line of
 * JSON, and ends by itself if it left nothing behind.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Scope from "effect/Scope"
import * as Exit from "effect/Exit"
import * as diagnostics from "node:diagnostics_channel"
import * as Net from "node:net"
import { Dice } from "../../../pool/test/support/random.ts"
import { blackhole } from "../blackhole.ts"
import { certificates } from "../certificates.ts"
import { Faults } from "./faults.ts"
import { Heap } from "./heap.ts"
import { Load, type Tally } from "./load.ts"
import type { Audit } from "./messages.ts"
import { type Probe, probes } from "./probes.ts"
import { ServerProcess } from "./serverProcess.ts"
import { unbalanced } from "./lineSite.ts"
import { type Dead, makeSites, type Pooling } from "./sites.ts"

export interface Outcome {
  readonly seconds: number
  readonly requests: number
  readonly tallies: Readonly<Record<string, Tally>>
  readonly faults: Readonly<Record<string, number>>
  /** What must not be. */
  readonly wrong: ReadonlyArray<string>
  readonly slowest: number
  readonly heap: ReturnType<Heap["summary"]>
  readonly created: number
  readonly audit: Audit
  readonly probes: {
    readonly connections: Readonly<Record<"http/1.1" | "h2", number>>
    readonly times: ReadonlyArray<Probe>
  }
  /** What was left behind. */
  readonly leaks: ReadonlyArray<string>
  /** Exit code of the server process. */
  readonly code: number | string
}

const [seconds, seed, every = 50] = process.argv.slice(2).map(Number) as [number, number, number?]

let fibers = 0
const countFibers = Effect.provideService(Metric.FiberRuntimeMetrics, {
  recordFiberStart: () => void fibers++,
  recordFiberEnd: () => void fibers--
})

const sockets = { opened: 0, closed: 0 }
diagnostics.subscribe("net.client.socket", (message) => {
  sockets.opened++
  ;(message as { readonly socket: Net.Socket }).socket.on("close", () => void sockets.closed++)
})

const incidents: Array<string> = []
for (const name of ["warning", "unhandledRejection", "uncaughtException"])
  process.on(
    name,
    (what: unknown) => void incidents.push(`${name}: ${what instanceof Error ? what.stack : String(what)}`)
  )

/** A port at which nobody listens, and to which nobody else is bound. */
const closedPort = Effect.callback<number>((resume) => {
  const server = Net.createServer().listen(0, "127.0.0.1", () => {
    const { port } = server.address() as Net.AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

const soak = (dead: Dead, load: Load, heap: Heap) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const { books, pools, sites, victims } = yield* Scope.provide(makeSites(server, certificates, dead), scope)
    const faults = new Faults(new Dice(seed), victims)
    const background = yield* Effect.forkChild(
      Effect.all([faults.run(every), heap.watch(250 * seconds, Math.min(10_000, 75 * seconds))], {
        concurrency: "unbounded"
      })
    )
    const running = yield* Effect.forkChild(
      Effect.all(
        sites.map((site, i) => load.run(site, (caller) => new Dice(seed + 1_000 * (i + 1) + caller))),
        { concurrency: "unbounded" }
      )
    )
    yield* Effect.sleep(1_000 * seconds)
    load.over = true
    yield* Fiber.interrupt(background)
    // Longer than the timeouts of a request, and of the one that may be sent in its place, together.
    yield* Effect.timeoutOrElse(Fiber.await(running), {
      duration: "30 seconds",
      orElse: () => Effect.sync(() => void load.wrong.push("a request does not settle"))
    })
    yield* Scope.close(scope, Exit.void)
    const audits = Array.from(books, ([name, kept]) => unbalanced(name, kept))
    return { pools, audits, faults: faults.counts }
  })

const poolLeaks = (pools: ReadonlyArray<Pooling>) =>
  Effect.map(
    Effect.forEach(pools, ({ stats }) => stats),
    (all) =>
      all.flatMap(({ borrowers, closed, closing, connecting, created, idle, pending, used }) =>
        idle + used + connecting + closing + pending + borrowers > 0 || created !== closed
          ? [`a pool: ${JSON.stringify({ borrowers, closed, closing, connecting, created, idle, pending, used })}`]
          : []
      )
  )

/** Looks again until nothing is left, for at most a second. */
const leftovers = Effect.fnUntraced(function* (
  pools: ReadonlyArray<Pooling>,
  audits: ReadonlyArray<Effect.Effect<ReadonlyArray<string>>>
) {
  const deadline = performance.now() + 1_000
  for (;;) {
    const found = [...(yield* poolLeaks(pools)), ...(yield* Effect.all(audits)).flat()]
    const { open } = yield* Effect.promise(() => server.audit())
    if (open > 0) found.push(`${open} connections at the server`)
    if (sockets.opened !== sockets.closed) found.push(`${sockets.opened - sockets.closed} client sockets`)
    if (fibers !== 0) found.push(`${fibers} fibers`)
    for (const kind of process.getActiveResourcesInfo())
      if (/TCPSocketWrap|TLSWrap|Immediate|GetAddrInfo|Timeout/.test(kind)) found.push(kind)
    if (found.length === 0 || performance.now() > deadline) return found
    yield* Effect.sleep(10)
  }
})

const server = new ServerProcess()

const program = Effect.gen(function* () {
  const load = new Load()
  const heap = new Heap()
  const rest = yield* Effect.scoped(
    Effect.gen(function* () {
      const dead = {
        refusing: `127.0.0.1:${yield* closedPort}`,
        silent: `127.0.0.1:${(yield* blackhole).port}`
      }
      const { audits, faults, pools } = yield* soak(dead, load, heap)
      const created = (yield* Effect.forEach(pools, ({ stats }) => stats)).reduce(
        (sum, { created }) => sum + created,
        0
      )
      const measured = yield* probes(server, dead, Math.min(1, seconds / 60))
      return { faults, pools, audits, created, probes: measured }
    })
  )
  const leaks = yield* leftovers(rest.pools, rest.audits)
  const audit = yield* Effect.promise(() => server.audit())
  const { pools: _, audits: __, ...told } = rest
  return {
    ...told,
    seconds,
    requests: load.requests,
    tallies: Object.fromEntries(load.tallies),
    wrong: load.wrong.slice(0, 20),
    slowest: load.slowest,
    heap: heap.summary(),
    audit,
    leaks: [...leaks, ...incidents],
    code: yield* Effect.promise(() => server.stop())
  } satisfies Outcome
})

try {
  console.log(JSON.stringify(await Effect.runPromise(countFibers(program))))
} finally {
  await server.stop()
}
