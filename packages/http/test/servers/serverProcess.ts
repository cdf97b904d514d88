/** Programs that we did not write, as child processes that live as long as a scope. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { type ChildProcess, spawn } from "node:child_process"
import { accessSync, closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { delimiter, join } from "node:path"

/** Where a program is. Debian keeps servers in a folder that a user's PATH may not have. */
const find = (name: string): string | undefined =>
  [...(process.env["PATH"] ?? "").split(delimiter), "/usr/local/sbin", "/usr/sbin"]
    .map((folder) => join(folder, name))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK)
        return true
      } catch {
        return false
      }
    })

/** Says whether any of these programs is not installed. If so, prints that the tests that need it are skipped. */
export const missing = (...names: ReadonlyArray<string>): boolean => {
  const absent = names.filter((name) => find(name) === undefined)
  if (absent.length === 0) return false
  console.warn(`SKIPPED: ${absent.join(" and ")} not installed; scripts/install-servers.sh installs what tests need`)
  return true
}

/** An empty folder that is removed with its content. */
export const temporaryFolder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "poolkit-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/**
 * A port of 127.0.0.1 that nobody listens on, below those that the system
 * gives to clients: while a server is down, a client that keeps connecting to a
 * port of that range ends up connected to itself.
 */
export const freePort: Effect.Effect<number> = Effect.callback((resume) => {
  const port = 20_000 + Math.floor(Math.random() * 12_000)
  const server = Net.createServer()
  server.once("error", () => resume(freePort))
  server.listen(port, "127.0.0.1", () => server.close(() => resume(Effect.succeed(port))))
})

/** Asks every few milliseconds until it holds; after 10 seconds dies with what `describe` says. */
export const until = (holds: Effect.Effect<boolean>, describe: () => string): Effect.Effect<void> =>
  Effect.gen(function* () {
    const deadline = performance.now() + 10_000
    while (!(yield* holds)) {
      if (performance.now() > deadline) return yield* Effect.die(new Error(describe()))
      yield* Effect.sleep(3)
    }
  })

/** Whether somebody accepts connections there. */
export const accepts = (where: { readonly port: number } | { readonly path: string }): Effect.Effect<boolean> =>
  Effect.callback((resume) => {
    const socket = Net.connect("port" in where ? { port: where.port, host: "127.0.0.1" } : { path: where.path })
    socket.once("connect", () => socket.end()).on("error", () => {})
    socket.once("close", (failed) => resume(Effect.succeed(!failed))).resume()
  })

export interface ServerProcess {
  /** Starts the program and waits until it is ready. */
  readonly start: Effect.Effect<void>
  /** Asks it to end and waits for that; after 5 seconds it is killed. */
  readonly stop: (signal?: NodeJS.Signals) => Effect.Effect<void>
  readonly signal: (signal: NodeJS.Signals) => Effect.Effect<void>
  /** What it wrote to its standard output and error, over all of its lives. */
  readonly output: () => string
  readonly errors: () => string
}

interface Running {
  readonly child: ChildProcess
  readonly exited: Promise<void>
  stopping: boolean
}

export interface ServerOptions {
  readonly name: string
  readonly args: ReadonlyArray<string>
  /** Where it runs and its output goes. */
  readonly folder: string
  readonly ready: Effect.Effect<boolean>
  /** Default `SIGTERM`. */
  readonly stopSignal?: NodeJS.Signals
}

/** Starts a program; the end of the scope stops it. One that ended by itself fails the test then. */
export const serverProcess = (options: ServerOptions): Effect.Effect<ServerProcess, never, Scope.Scope> =>
  Effect.gen(function* () {
    const output = () => readFileSync(join(options.folder, "stdout"), "utf8")
    const errors = () => readFileSync(join(options.folder, "stderr"), "utf8")
    let running: Running | undefined
    const died = () => running !== undefined && !running.stopping && hasExited(running)
    const start = Effect.suspend(() => {
      running = launch(options)
      const ready = Effect.suspend(() => (died() ? Effect.succeed(true) : options.ready))
      return until(ready, () => `${options.name} is not ready:\n${errors().slice(-2000)}`)
    }).pipe(Effect.andThen(Effect.suspend(() => (died() ? dieWith("did not start") : Effect.void))))
    const dieWith = (what: string) => Effect.die(new Error(`${options.name} ${what}:\n${errors().slice(-2000)}`))
    const stop = (signal = options.stopSignal ?? "SIGTERM") =>
      Effect.suspend(() => {
        if (running === undefined) return Effect.void
        if (died()) return dieWith("ended by itself")
        const { child, exited } = running
        running.stopping = true
        running = undefined
        child.kill(signal)
        const killer = setTimeout(() => child.kill("SIGKILL"), 5000)
        return Effect.promise(() => exited.finally(() => clearTimeout(killer)))
      })
    yield* Effect.addFinalizer(() => stop())
    yield* start
    return {
      start,
      stop,
      signal: (signal) => Effect.sync(() => void running?.child.kill(signal)),
      output,
      errors
    }
  })

const hasExited = ({ child }: Running): boolean => child.exitCode !== null || child.signalCode !== null

const launch = ({ args, folder, name }: ServerOptions): Running => {
  const path = find(name)
  if (path === undefined) throw new Error(`${name} is not installed`)
  // Where there is setpriv, the program does not outlive a test run that is killed.
  const guard = find("setpriv")
  const [command, ...rest] = guard === undefined ? [path, ...args] : [guard, "--pdeathsig", "TERM", path, ...args]
  // Files rather than pipes: nothing to read, and no handle in this process.
  const files = ["stdout", "stderr"].map((stream) => openSync(join(folder, stream), "a"))
  const child = spawn(command!, rest, { cwd: folder, stdio: ["ignore", ...files] })
  files.forEach((file) => closeSync(file))
  const exited = new Promise<void>((resolve) => void child.once("exit", () => resolve()).once("error", () => resolve()))
  return { child, exited, stopping: false }
}
