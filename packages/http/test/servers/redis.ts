/** A Redis server without persistence. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import { freePort, serverProcess, temporaryFolder } from "./serverProcess.ts"

export interface RedisOptions {
  /** Default: none needed. */
  readonly password?: string | undefined
}

export interface Redis {
  readonly port: number
  /** With the password, if there is one. */
  readonly url: string
  /** Ends it in good order. What it stored is gone. */
  readonly stop: Effect.Effect<void>
  /** Ends it as a crash does. */
  readonly kill: Effect.Effect<void>
  /** Starts it again, empty, on the same port. */
  readonly start: Effect.Effect<void>
  readonly restart: Effect.Effect<void>
  /** Stops its clock: connections stay open and nothing is answered until `resume`. */
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
}

export const redis = (options: RedisOptions = {}): Effect.Effect<Redis, never, Scope.Scope> =>
  Effect.gen(function* () {
    const { password } = options
    const folder = yield* temporaryFolder
    const port = yield* freePort
    const args = { port, bind: "127.0.0.1", dir: folder, save: "", appendonly: "no", requirepass: password ?? "" }
    const server = yield* serverProcess({
      name: "redis-server",
      args: Object.entries(args).flatMap(([name, value]) => [`--${name}`, String(value)]),
      folder,
      ready: Effect.map(ask(port, "PING"), (answer) => /^(\+PONG|-NOAUTH)/.test(answer))
    })
    const resume = server.signal("SIGCONT")
    // A stopped process does not see that it is asked to end.
    yield* Effect.addFinalizer(() => resume)
    const stop = Effect.andThen(resume, server.stop())
    return {
      port,
      url: `redis://${password === undefined ? "" : `:${encodeURIComponent(password)}@`}127.0.0.1:${port}`,
      stop,
      kill: server.stop("SIGKILL"),
      start: server.start,
      restart: Effect.andThen(stop, server.start),
      pause: server.signal("SIGSTOP"),
      resume
    }
  })

/** Sends one command and gives the first part of the answer; it is empty if there is none within 0.2 seconds. */
export const ask = (port: number, ...commands: ReadonlyArray<string>): Effect.Effect<string> =>
  Effect.callback((resume) => {
    let answer = ""
    const socket = Net.connect(port, "127.0.0.1", () => socket.end(commands.map((line) => `${line}\r\n`).join("")))
    socket.setEncoding("utf8").on("data", (chunk) => (answer += chunk))
    socket.on("error", () => {}).setTimeout(200, () => socket.destroy())
    socket.on("close", () => resume(Effect.succeed(answer)))
  })
