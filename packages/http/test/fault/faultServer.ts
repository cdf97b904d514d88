/** The parent's side of a fault server: it starts the process, tells it what to do and keeps what it saw. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import type { Fact, Order, Report, Seen, ServerTls } from "./messages.ts"

export type Counts = { listeners: number; connections: number; requests: number }

/** A server that listens until the scope closes, which fails if a client has not hung up by then. */
export interface Listening {
  readonly port: number
  readonly origin: string
  readonly seen: ReadonlyArray<Seen>
  /** Waits until so many facts of this kind have been seen. */
  readonly until: (what: Fact["what"], count: number) => Effect.Effect<void>
  readonly count: (what: Fact["what"]) => number
  readonly signal: (name: string) => void
  /** Waits for what the server has seen by now: its answers travel faster than its reports. */
  readonly sync: Effect.Effect<void>
  /** Facts of one kind, over all connections. */
  readonly facts: <W extends Fact["what"]>(what: W) => ReadonlyArray<Extract<Fact, { readonly what: W }>>
}

export interface FaultServer<Scenario> {
  readonly counts: Readonly<Counts>
  readonly listen: (scenario: Scenario, tls?: ServerTls) => Effect.Effect<Listening, never, Scope.Scope>
  /** Lets the process go, and tells its exit code. */
  readonly stop: () => Promise<number | string>
}

class Server implements Listening {
  port = 0
  origin = ""
  readonly seen: Array<Seen> = []
  readonly id: number
  readonly waiting = new Set<() => void>()
  left: number | undefined
  syncs = 0
  private readonly tell: (order: Order<never>) => void
  private readonly tally = new Map<Fact["what"], number>()

  constructor(id: number, tell: (order: Order<never>) => void) {
    this.id = id
    this.tell = tell
  }

  facts<W extends Fact["what"]>(what: W): ReadonlyArray<Extract<Fact, { readonly what: W }>> {
    const is = (fact: Fact): fact is Extract<Fact, { readonly what: W }> => fact.what === what
    return this.seen.map(({ fact }) => fact).filter(is)
  }

  add(seen: Seen): void {
    this.seen.push(seen)
    this.tally.set(seen.fact.what, this.count(seen.fact.what) + 1)
  }

  count(what: Fact["what"]): number {
    return this.tally.get(what) ?? 0
  }

  until(what: Fact["what"], count: number): Effect.Effect<void> {
    return this.report(
      () => this.count(what) >= count,
      () => `: ${count} times ${what}, but ${JSON.stringify(this.seen.slice(-20))}`
    )
  }

  signal(name: string): void {
    this.tell({ order: "signal", server: this.id, name })
  }

  readonly sync: Effect.Effect<void> = Effect.suspend(() => {
    const next = this.syncs + 1
    this.tell({ order: "sync", server: this.id })
    return this.report(
      () => this.syncs >= next,
      () => ": an answer"
    )
  })

  /** Waits for a report after which `condition` holds. */
  report(condition: () => boolean, what: () => string): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      const look = () => {
        if (!condition()) return
        this.waiting.delete(look)
        resume(Effect.void)
      }
      this.waiting.add(look)
      look()
      return Effect.sync(() => this.waiting.delete(look))
    }).pipe(
      Effect.timeoutOrElse({
        duration: "10 seconds",
        orElse: () => Effect.die(new Error(`the fault server did not report what was awaited${what()}`))
      })
    )
  }
}

const start = (file: string): ChildProcess =>
  fork(fileURLToPath(new URL(file, import.meta.url)), { execArgv: [], stdio: ["ignore", "inherit", "inherit", "ipc"] })

/** Starts the server process that `file`, beside this one, is the program of. */
export const startFaultServer = <Scenario>(file: string): FaultServer<Scenario> => {
  const child = start(file)
  const counts: Counts = { listeners: 0, connections: 0, requests: 0 }
  const servers = new Map<number, Server>()
  const tell = (order: Order<Scenario>) => void child.send(order)
  const exited = new Promise<number | string>((resolve) => {
    child.once("exit", (code, signal) => resolve(code ?? signal ?? "nothing"))
  })
  child.on("message", (report: Report) => {
    const server = servers.get(report.server)
    if (server === undefined) return
    if (report.report === "listening") server.port = report.port
    else if (report.report === "closed") server.left = report.open
    else if (report.report === "synced") server.syncs++
    else {
      server.add({ connection: report.connection, fact: report.fact })
      if (report.fact.what === "open") counts.connections++
      if (report.fact.what === "request") counts.requests++
    }
    for (const look of server.waiting) look()
  })
  const open = (scenario: Scenario, tls: ServerTls | undefined): Effect.Effect<Server> =>
    Effect.suspend(() => {
      const server = new Server(counts.listeners++, tell)
      servers.set(server.id, server)
      tell({ order: "listen", server: server.id, scenario, ...(tls !== undefined && { tls }) })
      const ready = server.report(
        () => server.port > 0,
        () => ": its port"
      )
      return Effect.map(ready, () => {
        server.origin = `${tls === undefined ? "http" : "https"}://127.0.0.1:${server.port}`
        return server
      })
    })
  const close = (server: Server): Effect.Effect<void> =>
    Effect.suspend(() => {
      tell({ order: "close", server: server.id })
      const closed = server.report(
        () => server.left !== undefined,
        () => ": its close"
      )
      return Effect.flatMap(closed, () => {
        servers.delete(server.id)
        return server.left === 0 ? Effect.void : Effect.die(new Error(`${server.left} connections were left open`))
      })
    })
  return {
    counts,
    listen: (scenario, tls) => Effect.acquireRelease(open(scenario, tls), close),
    stop: async () => {
      if (child.connected) child.disconnect()
      const late = setTimeout(() => child.kill("SIGKILL"), 3_000)
      const code = await exited
      clearTimeout(late)
      return code
    }
  }
}
