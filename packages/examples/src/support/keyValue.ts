/**
 * A small key-value server over TCP, and a connection to it: one line out, one
 * line back. It stands for any database in the examples.
 */
import { SocketConnector } from "@poolkit/http"
import type { SocketError } from "@poolkit/http/SocketError"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"
import * as Readline from "node:readline"

export class KeyValueError extends Data.TaggedError("KeyValueError")<{ readonly message: string }> {}

export interface KeyValueServer {
  readonly port: number
  /** Connections that were ever accepted. */
  readonly accepted: () => number
  /** Ends all connections, as a restart would. */
  readonly hangUp: () => void
}

/** `SET key value`, `GET key`, `BEGIN`, `COMMIT`; a connection that ends inside a transaction rolls it back. */
export const serve: Effect.Effect<KeyValueServer, never, Scope.Scope> = Effect.gen(function* () {
  const store = new Map<string, string>()
  const sockets = new Set<Net.Socket>()
  let accepted = 0
  const server = Net.createServer((socket) => {
    accepted++
    sockets.add(socket)
    socket.on("error", () => {}).on("close", () => sockets.delete(socket))
    let staged: Map<string, string> | undefined
    Readline.createInterface(socket).on("line", (line) => {
      const [command, key = "", value = ""] = line.split(" ")
      const reply = (text: string) => void socket.write(`${text}\n`)
      if (command === "GET") return reply(staged?.get(key) ?? store.get(key) ?? "-")
      if (command === "BEGIN") staged = new Map()
      else if (command === "SET") (staged ?? store).set(key, value)
      else if (command === "COMMIT") {
        for (const [k, v] of staged ?? []) store.set(k, v)
        staged = undefined
      } else return reply(`ERR unknown command ${command}`)
      reply("OK")
    })
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
    () =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        for (const socket of sockets) socket.destroy()
      })
  )
  return {
    port: (server.address() as Net.AddressInfo).port,
    accepted: () => accepted,
    hangUp: () => {
      for (const socket of sockets) socket.destroy()
    }
  }
})

export interface KeyValueConnection {
  readonly send: (line: string) => Effect.Effect<string, KeyValueError>
  readonly isOpen: () => boolean
  readonly onClose: (listener: () => void) => () => void
}

/** Opens a connection; closing the scope ends it. */
export const connect = (port: number): Effect.Effect<KeyValueConnection, SocketError, Scope.Scope> =>
  Effect.map(SocketConnector.tcp({ host: "127.0.0.1", port })(), (socket) => {
    const waiting: Array<(reply: Effect.Effect<string, KeyValueError>) => void> = []
    const lost = Effect.fail(new KeyValueError({ message: "the server hung up" }))
    Readline.createInterface(socket).on("line", (line) => {
      const isError = line.startsWith("ERR ")
      waiting.shift()?.(isError ? Effect.fail(new KeyValueError({ message: line.slice(4) })) : Effect.succeed(line))
    })
    socket.on("close", () => {
      for (const resume of waiting.splice(0)) resume(lost)
    })
    return {
      send: (line) =>
        Effect.callback((resume) => {
          if (socket.destroyed) return resume(lost)
          waiting.push(resume)
          socket.write(`${line}\n`)
        }),
      isOpen: () => !socket.destroyed && socket.readable,
      onClose: (listener) => {
        socket.once("close", listener)
        return () => socket.off("close", listener)
      }
    }
  })
