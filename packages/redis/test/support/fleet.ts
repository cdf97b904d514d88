/** Processes under one limit, started and ended by a test. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { spawn } from "node:child_process"
import * as Net from "node:net"

export interface WorkerOptions {
  readonly name: string
  readonly redis: string
  /** Of the counting server. */
  readonly port: number
  readonly key: string
  readonly max: number
  readonly leaseTime: number
  readonly gracePeriod?: number | undefined
  readonly fibers: number
  /** After so many milliseconds it has nothing to do any more. */
  readonly busyFor?: number | undefined
  readonly onStoreError?: "failClosed" | "failOpen" | undefined
}

export interface Worker {
  readonly name: string
  readonly signal: (signal: NodeJS.Signals) => void
  /** Its last word on its limit, at most 0.1 seconds old while it runs. */
  readonly stats: () => Readonly<Record<string, unknown>> | undefined
  readonly errors: () => string
  readonly exited: Promise<void>
}

/** Starts a process that ends with the scope, whatever state it is in. */
export const worker = (options: WorkerOptions): Effect.Effect<Worker, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const script = new URL("worker.ts", import.meta.url).pathname
      const child = spawn(process.execPath, ["--no-warnings", script, JSON.stringify(options)], {
        stdio: ["pipe", "pipe", "pipe"]
      })
      let last: Readonly<Record<string, unknown>> | undefined
      let errors = ""
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        for (const line of text.split("\n")) if (line.startsWith("{") && line.endsWith("}")) last = JSON.parse(line)
      })
      child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text))
      child.stdin.on("error", () => {})
      const exited = new Promise<void>((resolve) => void child.once("close", () => resolve()))
      return {
        name: options.name,
        signal: (signal: NodeJS.Signals) => void child.kill(signal),
        stats: () => last,
        errors: () => errors,
        exited
      }
    }),
    ({ exited, signal }) =>
      Effect.promise(() => {
        signal("SIGKILL")
        return exited
      })
  )

/** Looks every few milliseconds until it holds; after `seconds` dies with what `describe` says. Returns how long it took. */
export const eventually = (seconds: number, holds: () => boolean, describe: () => string): Effect.Effect<number> =>
  Effect.gen(function* () {
    const start = performance.now()
    while (!holds()) {
      if (performance.now() - start > seconds * 1000) return yield* Effect.die(new Error(describe()))
      yield* Effect.sleep(5)
    }
    return performance.now() - start
  })

export interface Proxy {
  readonly port: number
  /** From now on nothing passes, in either direction; connections stay open. */
  readonly pause: () => void
  readonly resume: () => void
  /** Whoever is connected now hears nothing any more, and neither does the other end. Others are served. */
  readonly freeze: () => void
  /** From now on it hangs up, on those that are connected and on everybody who comes. */
  readonly cut: () => void
  /** When somebody connected; monotonic milliseconds. */
  readonly attempts: () => ReadonlyArray<number>
}

/** A TCP proxy that can be held. */
export const proxy = (target: number): Effect.Effect<Proxy, never, Scope.Scope> =>
  Effect.gen(function* () {
    const pairs = new Set<readonly [Net.Socket, Net.Socket]>()
    const attempts: Array<number> = []
    let paused = false
    let isCut = false
    const server = Net.createServer((client) => {
      attempts.push(performance.now())
      if (isCut) return void client.on("error", () => {}).destroy()
      const upstream = Net.connect(target, "127.0.0.1")
      const pair = [client, upstream] as const
      pairs.add(pair)
      const end = () => {
        pairs.delete(pair)
        for (const socket of pair) socket.destroy()
      }
      for (const [from, to] of [pair, [upstream, client] as const]) {
        from.on("data", (chunk) => void to.write(chunk))
        from.on("error", () => {}).once("close", end)
        if (paused) from.pause()
      }
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          for (const pair of pairs) for (const socket of pair) socket.destroy()
        })
    )
    const each = (f: (socket: Net.Socket) => void) => {
      for (const pair of pairs) pair.forEach(f)
    }
    return {
      port: (server.address() as Net.AddressInfo).port,
      pause: () => {
        paused = true
        each((socket) => void socket.pause())
      },
      resume: () => {
        paused = false
        each((socket) => void socket.resume())
      },
      freeze: () => each((socket) => void socket.pause()),
      cut: () => {
        isCut = true
        each((socket) => void socket.destroy())
      },
      attempts: () => attempts
    }
  })
