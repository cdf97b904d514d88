/** nghttpd, which speaks nothing but HTTP/2. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { certificates } from "../certificates.ts"
import type { Dialect, Seen } from "./ledger.ts"
import { accepts, freePort, type ServerProcess, serverProcess, temporaryFolder } from "./serverProcess.ts"

export interface NghttpdOptions {
  /** Default `true`. */
  readonly tls?: boolean | undefined
  /** Default 100. */
  readonly maxConcurrentStreams?: number | undefined
}

export interface Nghttpd {
  readonly port: number
  readonly origin: string
  /** Hangs up on everybody without a word and starts again on the same port. */
  readonly restart: Effect.Effect<void>
  readonly process: ServerProcess
  /** Connections of clients since it last started: ever accepted, and open now. */
  readonly connections: Effect.Effect<{ readonly accepted: number; readonly open: number }>
  /** Ends it and tells every request that it received. */
  readonly finish: Effect.Effect<ReadonlyArray<Seen>>
}

const files = 100

/** A GET gets one of a hundred files, a POST its own body. */
export const nghttpdDialect: Dialect = {
  path: (id) => `/${id % files}?${id}`,
  check: ({ body, method, path }, response, text) => {
    assert.strictEqual(response.status, 200)
    assert.strictEqual(text, method === "POST" ? body : fileOf(path.slice(1).split("?")[0]!))
  }
}

const fileOf = (name: string): string => `file ${name}\n`.repeat(20)

/** Starts nghttpd. It has no reload: it is restarted. */
export const nghttpd = (options: NghttpdOptions = {}): Effect.Effect<Nghttpd, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { maxConcurrentStreams = 100, tls = true } = options
    const folder = yield* temporaryFolder
    const port = yield* freePort
    mkdirSync(join(folder, "files"))
    for (let i = 0; i < files; i++) writeFileSync(join(folder, "files", String(i)), fileOf(String(i)))
    writeFileSync(join(folder, "cert.pem"), certificates.server.cert)
    writeFileSync(join(folder, "key.pem"), certificates.server.key)
    const server = yield* serverProcess({
      name: "nghttpd",
      args: [
        "--verbose",
        "--echo-upload",
        "--address=127.0.0.1",
        "--htdocs=files",
        `--max-concurrent-streams=${maxConcurrentStreams}`,
        ...(tls ? [String(port), "key.pem", "cert.pem"] : ["--no-tls", String(port)])
      ],
      folder,
      ready: accepts({ port })
    })
    return {
      port,
      origin: `${tls ? "https" : "http"}://127.0.0.1:${port}`,
      restart: Effect.andThen(server.stop(), server.start),
      process: server,
      connections: Effect.sync(() => {
        const { closed, opened } = read(server.output().slice(server.output().lastIndexOf("IPv4: listen")))
        return { accepted: opened.size, open: [...opened].filter((connection) => !closed.has(connection)).length }
      }),
      finish: Effect.map(server.stop(), () => read(server.output()).seen)
    }
  })

/**
 * Reads the verbose log. Connections are numbered from 1 in every life of the
 * server; those that said nothing are not clients but probes.
 */
const read = (log: string) => {
  const opened = new Set<string>()
  const closed = new Set<string>()
  const requests = new Map<string, { connection: string; method: string; path: string }>()
  let life = 0
  for (const line of log.split("\n")) {
    if (line.includes(": listen ")) life++
    const [, id, what] = /^\[id=(\d+)\] \[ *[\d.]+\] (.*)$/.exec(line) ?? []
    if (id === undefined || what === undefined) continue
    const connection = `${life}.${id}`
    if (what.startsWith("recv ")) opened.add(connection)
    if (what === "closed") closed.add(connection)
    const [, stream, name, value] = /^recv \(stream_id=(\d+)\) :(method|path): (.*)$/.exec(what) ?? []
    if (stream === undefined || value === undefined) continue
    const key = `${connection}.${stream}`
    const request = requests.get(key) ?? { connection, method: "", path: "" }
    requests.set(key, name === "path" ? { ...request, path: value } : { ...request, method: value })
  }
  // It logs a field at a time, and may be killed between two.
  const logged = [...requests.values()].filter(({ method, path }) => method !== "" && path !== "")
  const seen: ReadonlyArray<Seen> = logged.map((request) => ({ ...request, protocol: "HTTP/2.0" }))
  return { opened, closed, seen }
}
