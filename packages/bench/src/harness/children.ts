/**
 * Other processes: servers, and samples that need a process to themselves.
 */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import { type ChildProcess, fork } from "node:child_process"

/** Starts a module that sends one message when it is ready; it is killed with the scope. */
export const start = <Message>(
  module: URL,
  args: ReadonlyArray<string> = []
): Effect.Effect<{ readonly child: ChildProcess; readonly message: Message }, Error, Scope> =>
  Effect.acquireRelease(
    Effect.sync(() =>
      fork(module, [...args], { execArgv: ["--expose-gc"], stdio: ["ignore", "inherit", "inherit", "ipc"] })
    ),
    (child) =>
      Effect.callback<void>((resume) => {
        if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
        child.once("exit", () => resume(Effect.void))
        child.kill("SIGKILL")
      })
  ).pipe(Effect.flatMap((child) => Effect.map(nextMessage<Message>(child), (message) => ({ child, message }))))

/** The next message of a process, or how it ended. */
export const nextMessage = <Message>(child: ChildProcess): Effect.Effect<Message, Error> =>
  Effect.callback((resume) => {
    const exited = (code: number | null, signal: string | null) =>
      resume(Effect.fail(new Error(`${child.spawnargs.slice(-2).join(" ")} ended: ${code ?? signal}`)))
    const told = (message: unknown) => {
      child.off("exit", exited)
      resume(Effect.succeed(message as Message))
    }
    child.once("message", told)
    child.once("exit", exited)
    return Effect.sync(() => child.off("message", told).off("exit", exited))
  })

/** Asks a process that answers each message with one. */
export const ask = <Message>(child: ChildProcess, question: unknown): Effect.Effect<Message, Error> =>
  Effect.suspend(() => {
    child.send(question as object)
    return nextMessage<Message>(child)
  })
