/**
 * Memory per idle connection, in a process of its own:
 * `memory.ts <module with holders> <holder> <count> <server>`.
 */
import * as Effect from "effect/Effect"
import { setTimeout as sleep } from "node:timers/promises"
import { setFlagsFromString } from "node:v8"
import type { Holder } from "../peers/holders.ts"
import type { Figures } from "./subject.ts"

// Otherwise collections throw away code that has not run for a while, several megabytes of it, at any time.
setFlagsFromString("--no-flush-bytecode")

const [module, name, count, server] = process.argv.slice(2) as [string, string, string, string]
const n = Number(count)
const { holders } = (await import(module)) as { readonly holders: Readonly<Record<string, Holder>> }
const holder = holders[name]!

/** What is left when nobody needs it any more. */
const settled = async () => {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.()
    await sleep(20)
  }
  return process.memoryUsage()
}

/** Open sockets, those that do not keep the process alive included. */
const sockets = (): number => {
  // Else it looks up the names of all peers.
  Object.assign(process.report, { excludeNetwork: true })
  const { libuv } = process.report.getReport() as unknown as {
    readonly libuv: ReadonlyArray<{ readonly type: string }>
  }
  return libuv.filter(({ type }) => type === "tcp").length
}

const measured = Effect.gen(function* () {
  const socketsBefore = sockets()
  const before = yield* Effect.promise(settled)
  const held = yield* holder(n, JSON.parse(server))
  const after = yield* Effect.promise(settled)
  const connections = sockets() - socketsBefore || n
  if (connections < n * 0.95) return yield* Effect.die(new Error(`${name}: ${connections} connections instead of ${n}`))
  const kib = (bytes: number) => bytes / connections / 1024
  // After the measurement, so that nothing is collected before.
  void held
  return {
    heap: kib(after.heapUsed - before.heapUsed),
    rss: kib(after.rss - before.rss),
    connections
  } satisfies Figures
}).pipe(Effect.scoped)

process.send?.(await Effect.runPromise(measured))
process.exit()
