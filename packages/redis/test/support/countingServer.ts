/** A TCP server that counts its connections, and what it did for whom. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"

export interface CountingServer {
  readonly port: number
  /** Connections open now; of one client, if it is named. */
  readonly open: (client?: string) => number
  /** The most that were open at once since this was last called. */
  readonly takePeak: () => number
  /** Requests answered since this was last called, by client. */
  readonly takeServed: () => ReadonlyMap<string, number>
  /** Connections that were ever opened. */
  readonly accepted: () => number
}

/** Answers each line after `workMillis`. The first line of a connection names the client. */
export const countingServer = (workMillis: number): Effect.Effect<CountingServer, never, Scope.Scope> =>
  Effect.gen(function* () {
    const sockets = new Map<Net.Socket, string>()
    let peak = 0
    let accepted = 0
    let served = new Map<string, number>()
    const server = Net.createServer((socket) => {
      accepted++
      sockets.set(socket, "")
      peak = Math.max(peak, sockets.size)
      // Before the client learns that its connection is closed.
      socket.once("end", () => sockets.delete(socket)).once("close", () => sockets.delete(socket))
      socket.on("error", () => {}).setNoDelay(true)
      socket.setEncoding("utf8").on("data", (text: string) => {
        for (const line of text.split("\n").slice(0, -1)) {
          if (line !== "go") sockets.set(socket, line)
          else {
            setTimeout(() => {
              const client = sockets.get(socket)
              if (client === undefined) return
              served.set(client, (served.get(client) ?? 0) + 1)
              socket.write("ok\n")
            }, workMillis)
          }
        }
      })
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          for (const socket of sockets.keys()) socket.destroy()
        })
    )
    return {
      port: (server.address() as Net.AddressInfo).port,
      open: (client) =>
        client === undefined ? sockets.size : [...sockets.values()].filter((name) => name === client).length,
      takePeak: () => {
        const value = peak
        peak = sockets.size
        return value
      },
      takeServed: () => {
        const value = served
        served = new Map()
        return value
      },
      accepted: () => accepted
    }
  })
