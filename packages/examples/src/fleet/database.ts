/** A database, as far as this example needs one: it counts who has how many connections, and answers after 5 ms. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"

export interface Database {
  readonly port: number
  /** Open connections of a client. */
  readonly connections: (client: string) => number
  /** The most that were ever open at once. */
  readonly most: () => number
}

export const serve: Effect.Effect<Database, never, Scope.Scope> = Effect.gen(function* () {
  const clients = new Map<Net.Socket, string>()
  let most = 0
  const server = Net.createServer((socket) => {
    clients.set(socket, "")
    most = Math.max(most, clients.size)
    // Counted out before the client sees that its connection is closed.
    const forget = () => void clients.delete(socket)
    socket.setEncoding("utf8").once("end", forget).once("close", forget).on("error", forget)
    socket.on("data", (line: string) => {
      if (clients.get(socket) !== "") return void setTimeout(() => socket.write("done\n"), 5)
      clients.set(socket, line)
      socket.write("welcome\n")
    })
  })
  yield* Effect.acquireRelease(
    Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
    () =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        for (const socket of clients.keys()) socket.destroy()
      })
  )
  return {
    port: (server.address() as Net.AddressInfo).port,
    connections: (client) => [...clients.values()].filter((name) => name === client).length,
    most: () => most
  }
})

/** Opens a connection; its close has ended when the database has seen it. */
export const connect = (port: number, client: string): Effect.Effect<Net.Socket, Error, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Net.Socket, Error>((resume) => {
      const socket = Net.connect({ port, host: "127.0.0.1", noDelay: true })
      socket.on("error", (error) => resume(Effect.fail(error)))
      socket.once("connect", () => socket.write(client)).once("data", () => resume(Effect.succeed(socket)))
      return Effect.sync(() => socket.destroy())
    }),
    (socket) =>
      Effect.callback<void>((resume) => {
        if (socket.destroyed) return resume(Effect.void)
        socket.once("close", () => resume(Effect.void))
        socket.end().resume()
      })
  )

export const query = (socket: Net.Socket): Effect.Effect<void, Error> =>
  Effect.callback<void, Error>((resume) => {
    const lost = () => resume(Effect.fail(new Error("the connection was lost")))
    socket.once("close", lost).once("data", () => {
      socket.off("close", lost)
      resume(Effect.void)
    })
    socket.write("query\n")
  })
