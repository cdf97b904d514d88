/** HAProxy in front of other servers, with a configuration of its own. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { writeFileSync } from "node:fs"
import * as Net from "node:net"
import { join } from "node:path"
import { certificates } from "../certificates.ts"
import { freePort, type ServerProcess, serverProcess, temporaryFolder, until } from "./serverProcess.ts"

export interface HaproxyOptions {
  /** Where requests go, and whether in HTTP/1.1 or, without TLS, in HTTP/2. */
  readonly backend: { readonly port: number; readonly speaks?: "http" | "h2c" | undefined }
  /** More directives of the backend, such as `http-reuse`. */
  readonly directives?: string | undefined
  /** Bounds what old workers may take to finish. Default `2s`. */
  readonly hardStopAfter?: string | undefined
}

export interface Haproxy {
  /** HTTP/1.1 in plain text. */
  readonly http: string
  /** HTTP/2 and HTTP/1.1 over TLS, by ALPN. */
  readonly https: string
  /** A new worker takes over, the old one finishes what it does. */
  readonly reload: Effect.Effect<void>
  /** Hangs up on everybody and starts again on the same ports. */
  readonly restart: Effect.Effect<void>
  readonly process: ServerProcess
  /** Connections of clients since the last reload: ever accepted, and open now. */
  readonly connections: Effect.Effect<{ readonly accepted: number; readonly open: number }>
  /** Ends it in good order and tells the connections of clients in all of its lives. */
  readonly allConnections: Effect.Effect<{ readonly accepted: number; readonly open: number }>
}

/** Starts HAProxy as a master with workers. */
export const haproxy = (options: HaproxyOptions): Effect.Effect<Haproxy, never, Scope.Scope> =>
  Effect.gen(function* () {
    const folder = yield* temporaryFolder
    const http = yield* freePort
    const https = yield* freePort
    writeFileSync(join(folder, "haproxy.cfg"), configuration({ ...options, folder, http, https }))
    writeFileSync(join(folder, "identity.pem"), [certificates.server.cert, certificates.server.key].join("\n"))
    // A master that has started a worker and cannot answer yet loses signals.
    const master = join(folder, "master.sock")
    const ready = Effect.map(ask(master, "show proc"), (answer) => answer.includes("worker"))
    const process = yield* serverProcess({
      name: "haproxy",
      args: ["-W", "-S", master, "-f", "haproxy.cfg"],
      folder,
      ready
    })
    const loads = () => process.errors().split("Loading success.").length - 1
    const reload = Effect.gen(function* () {
      const before = loads()
      yield* process.signal("SIGUSR2")
      const reloaded = Effect.suspend(() => (loads() > before ? ready : Effect.succeed(false)))
      yield* until(reloaded, () => `HAProxy does not reload:\n${process.errors().slice(-2000)}`)
    })
    return {
      http: `http://127.0.0.1:${http}`,
      https: `https://127.0.0.1:${https}`,
      reload,
      restart: Effect.andThen(process.stop(), process.start),
      process,
      connections: Effect.map(ask(join(folder, "stats.sock"), "show stat"), countFrontends),
      allConnections: Effect.map(process.stop("SIGUSR1"), () => {
        // Every worker says it when it stops listening, and may accept nothing later.
        const counts = process.errors().matchAll(/Proxy clients stopped \(cumulated conns: FE: (\d+)/g)
        return { accepted: [...counts].reduce((sum, [, count]) => sum + Number(count), 0), open: 0 }
      })
    }
  })

const configuration = (options: HaproxyOptions & { folder: string; http: number; https: number }): string => `
global
  stats socket ${options.folder}/stats.sock level admin expose-fd listeners
  hard-stop-after ${options.hardStopAfter ?? "2s"}
  nbthread 2
  maxconn 500
defaults
  mode http
  timeout connect 2s
  timeout client 10s
  timeout server 10s
  timeout http-keep-alive 10s
frontend clients
  bind 127.0.0.1:${options.http}
  bind 127.0.0.1:${options.https} ssl crt ${options.folder}/identity.pem alpn h2,http/1.1
  default_backend servers
backend servers
  ${options.directives ?? ""}
  server one 127.0.0.1:${options.backend.port} ${options.backend.speaks === "h2c" ? "proto h2" : ""}
`

/** Sends one command to a socket for administrators. The answer is empty where nobody listens. */
const ask = (path: string, command: string): Effect.Effect<string> =>
  Effect.callback((resume) => {
    let answer = ""
    const socket = Net.connect(path, () => socket.end(`${command}\n`))
    socket.setEncoding("utf8").on("data", (chunk) => (answer += chunk))
    socket.on("error", () => {}).setTimeout(1000, () => socket.destroy())
    socket.on("close", () => resume(Effect.succeed(answer)))
  })

/** `show stat` is CSV with a header. */
const countFrontends = (csv: string): { readonly accepted: number; readonly open: number } => {
  const [header = [], ...rows] = csv
    .replace(/^# /, "")
    .split("\n")
    .map((line) => line.split(","))
  const row = rows.find(([name, kind]) => name === "clients" && kind === "FRONTEND")
  assert.isDefined(row)
  const field = (name: string) => Number(row[header.indexOf(name)])
  return { accepted: field("conn_tot"), open: field("scur") }
}
