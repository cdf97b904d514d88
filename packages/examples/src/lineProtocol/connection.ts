/**
 * A connection of the line protocol: many requests at once, and the answers in
 * the order of the requests.
 */
import { SocketConnector } from "@poolkit/http"
import type { SocketError } from "@poolkit/http/SocketError"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Readline from "node:readline"

/** The connection is lost. `sent`: the server may have got the request. */
export class LineError extends Data.TaggedError("LineError")<{ readonly sent: boolean }> {
  override get message(): string {
    return this.sent ? "the connection was lost before the answer came" : "the connection was lost before the request"
  }
}

export interface LineConnection {
  readonly send: (line: string) => Effect.Effect<string, LineError>
  readonly isOpen: () => boolean
  readonly onClose: (listener: () => void) => () => void
}

export interface Address {
  readonly host: string
  readonly port: number
}

/** Opens a connection; it is open when the server has answered. Closing the scope ends it. */
export const connect = (address: Address): Effect.Effect<LineConnection, SocketError | LineError, Scope.Scope> =>
  Effect.gen(function* () {
    const socket = yield* SocketConnector.tcp(address)()
    /** Who waits for the next answers; nobody, where the sender was interrupted. */
    const waiting: Array<{ resume: ((reply: Effect.Effect<string, LineError>) => void) | undefined }> = []
    const lines = Readline.createInterface(socket)
    lines.on("line", (line) => waiting.shift()?.resume?.(Effect.succeed(line)))
    // The socket's "close" follows.
    lines.on("error", () => {})
    socket.on("close", () => {
      for (const { resume } of waiting.splice(0)) resume?.(Effect.fail(new LineError({ sent: true })))
    })
    const connection: LineConnection = {
      send: (line) =>
        Effect.callback((resume) => {
          if (!socket.writable) return resume(Effect.fail(new LineError({ sent: false })))
          const sender: (typeof waiting)[number] = { resume }
          waiting.push(sender)
          socket.write(`${line}\n`)
          // Its answer will come, and must not be taken for another one's.
          return Effect.sync(() => {
            sender.resume = undefined
          })
        }),
      isOpen: () => socket.writable && socket.readable,
      onClose: (listener) => {
        socket.once("close", listener)
        return () => socket.off("close", listener)
      }
    }
    // Nobody is sure that somebody answers until somebody has.
    yield* connection.send("HELLO")
    return connection
  })
