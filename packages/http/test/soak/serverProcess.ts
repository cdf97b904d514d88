/** The server process, as the program of the soak talks to it. */
import { fork } from "node:child_process"
import { fileURLToPath } from "node:url"
import type { Audit, Fault, Order, Protocol, Report, ServerTls } from "./messages.ts"

export interface ServerAddress {
  readonly id: number
  readonly host: string
  readonly protocol: Protocol
  /** Tells that it listens again. */
  readonly listening: () => Promise<void>
  readonly befall: (fault: Fault) => void
}

export class ServerProcess {
  private readonly child = fork(fileURLToPath(new URL("./server.ts", import.meta.url)), { execArgv: [] })
  private readonly exited = new Promise<number | string>((resolve) => {
    this.child.once("exit", (code, signal) => {
      // Nothing in this process would ever hear from it again.
      if (!this.stopping) process.exit(70)
      resolve(code ?? signal ?? "nothing")
    })
  })
  private readonly onListening = new Map<number, (port: number) => void>()
  private onAudit: (audit: Audit) => void = () => {}
  private addresses = 0
  private stopping = false

  constructor() {
    this.child.on("message", (report: Report) => {
      if (report.report === "audit") this.onAudit(report.audit)
      else this.onListening.get(report.address)?.(report.port)
    })
  }

  private tell(order: Order): void {
    this.child.send(order)
  }

  async listen(protocol: Protocol, tls?: ServerTls): Promise<ServerAddress> {
    const id = this.addresses++
    const listening = () => new Promise<number>((resolve) => void this.onListening.set(id, resolve))
    const first = listening()
    this.tell({ order: "listen", address: id, protocol, ...(tls !== undefined && { tls }) })
    return {
      id,
      host: `127.0.0.1:${await first}`,
      protocol,
      listening: async () => void (await listening()),
      befall: (fault) => this.tell({ order: "fault", address: id, fault })
    }
  }

  audit(): Promise<Audit> {
    return new Promise((resolve) => {
      this.onAudit = resolve
      this.tell({ order: "audit" })
    })
  }

  /** Lets the process go, and tells its exit code: what keeps it alive is a leak. */
  async stop(): Promise<number | string> {
    this.stopping = true
    if (this.child.connected) this.child.disconnect()
    const late = setTimeout(() => this.child.kill("SIGKILL"), 5_000)
    const code = await this.exited
    clearTimeout(late)
    return code
  }
}
