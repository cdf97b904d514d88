/**
 * A server in a process of its own, which can be killed and started again.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as ChildProcess from "node:child_process"
import { fileURLToPath } from "node:url"

export interface ServerProcess {
  readonly port: number
  /** Without a word to anybody; waits until the process is gone. */
  readonly kill: Effect.Effect<void>
  /** Again, on the same port. */
  readonly restart: Effect.Effect<void>
}

const program = fileURLToPath(new URL("server.ts", import.meta.url))

/** Starts a server; closing the scope kills it. */
export const start = (name: string): Effect.Effect<ServerProcess, Error, Scope.Scope> =>
  Effect.gen(function* () {
    let child: ChildProcess.ChildProcess | undefined
    const launch = (port: number) =>
      Effect.callback<number, Error>((resume) => {
        child = ChildProcess.spawn(process.execPath, [program, name, String(port)], {
          stdio: ["pipe", "pipe", "inherit"]
        })
        child.stdout!.once("data", (line) => resume(Effect.succeed(Number(line))))
        child.once("exit", () => resume(Effect.fail(new Error(`server ${name} ended before it listened`))))
      })
    const kill = Effect.callback<void>((resume) => {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
      child.once("exit", () => resume(Effect.void))
      child.kill("SIGKILL")
    })
    yield* Effect.addFinalizer(() => kill)
    const port = yield* launch(0)
    return { port, kill, restart: Effect.orDie(Effect.asVoid(launch(port))) }
  })
