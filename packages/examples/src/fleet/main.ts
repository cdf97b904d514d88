/**
 * Three processes on this machine share 12 connections to one database. They
 * get 4 each; when one has nothing to do, the others get its connections; when
 * one is killed, the last gets what it had.
 *
 * `node packages/examples/src/fleet/main.ts` starts a Redis of its own, if
 * redis-server is installed; `REDIS_URL=redis://… node …` takes another one.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { type Database, serve } from "./database.ts"

const budget = 12

/** Starts a program that ends with the scope. */
const run = (command: string, ...args: ReadonlyArray<string>): Effect.Effect<ChildProcess, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => spawn(command, args, { stdio: ["pipe", "ignore", "inherit"] })),
    (child) =>
      Effect.callback<void>((resume) => {
        if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return resume(Effect.void)
        child.once("exit", () => resume(Effect.void)).kill("SIGKILL")
      })
  )

/** The address of a Redis of our own. */
const startRedis: Effect.Effect<string, never, Scope.Scope> = Effect.gen(function* () {
  const port = yield* freePort
  yield* run(
    "redis-server",
    "--port",
    `${port}`,
    "--bind",
    "127.0.0.1",
    "--save",
    "",
    "--dir",
    tmpdir(),
    "--loglevel",
    "warning"
  )
  yield* eventually(accepts(port))
  return `redis://127.0.0.1:${port}`
})

export interface Row {
  readonly what: string
  /** Connections of a, b and c, as the database sees them. */
  readonly connections: ReadonlyArray<number>
}

const names = ["a", "b", "c"]

const fleet = Effect.gen(function* () {
  const redis = process.env["REDIS_URL"] ?? (yield* startRedis)
  const database = yield* serve
  const script = new URL("process.ts", import.meta.url).pathname
  const [a, b] = yield* Effect.forEach(names, (name) =>
    run(process.execPath, "--no-warnings", script, name, redis, `${database.port}`, `${budget}`)
  )

  const rows: Array<Row> = []
  const note = Effect.fnUntraced(function* (what: string, expected: ReadonlyArray<number>) {
    yield* eventually(Effect.sync(() => `${counts(database)}` === `${expected}`))
    rows.push({ what, connections: counts(database) })
  })
  yield* note("all are busy", [4, 4, 4])
  a!.stdin!.write("rest\n")
  yield* note("a rests", [0, 6, 6])
  b!.kill("SIGKILL")
  yield* note("b was killed", [0, 0, 12])
  a!.stdin!.write("busy\n")
  yield* note("a is busy again", [6, 0, 6])
  return { rows, most: database.most() }
})

export const program: Effect.Effect<{ readonly rows: ReadonlyArray<Row>; readonly most: number }> = Effect.scoped(fleet)

const counts = (database: Database): ReadonlyArray<number> => names.map((name) => database.connections(name))

/** Waits until it holds, for at most 15 seconds. */
const eventually = (holds: Effect.Effect<boolean>): Effect.Effect<void> =>
  Effect.gen(function* () {
    for (let left = 1_500; left > 0 && !(yield* holds); left--) yield* Effect.sleep("10 millis")
  })

const freePort: Effect.Effect<number> = Effect.callback((resume) => {
  const server = Net.createServer()
  server.listen(0, "127.0.0.1", () => {
    const { port } = server.address() as Net.AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

const accepts = (port: number): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const socket = Net.connect(port, "127.0.0.1", () => socket.end())
    socket.on("error", () => {}).once("close", (failed) => resume(Effect.succeed(!failed)))
  })

if (import.meta.main) {
  const { most, rows } = await Effect.runPromise(program)
  for (const { connections, what } of rows) {
    const each = names.map((name, i) => `${name} ${String(connections[i]).padStart(2)}`).join("  ")
    console.log(`${what.padEnd(16)} ${each}`)
  }
  console.log(`never more than ${most} of ${budget}`)
}
