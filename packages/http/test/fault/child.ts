/**
 * The side of a fault server that is in the process of its own: it listens as
 * the parent tells it, and reports what it sees.
 */
import * as Net from "node:net"
import * as Tls from "node:tls"
import type { Fact, Order, Report } from "./messages.ts"

/** What one connection has of its server. */
export interface Seat {
  readonly socket: Net.Socket
  /** Counted from 0, over the connections of the server. */
  readonly nth: number
  readonly report: (fact: Fact) => void
  readonly board: Board
  /** What the parent has signalled so far. */
  readonly signals: ReadonlySet<string>
}

/** Wakes scripts that wait until something is so, in the order in which they came. */
export class Board {
  private readonly waiting = new Set<() => void>()

  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = () => {
        if (!condition()) return
        this.waiting.delete(look)
        resolve()
      }
      this.waiting.add(look)
      look()
    })
  }

  changed(): void {
    for (const look of this.waiting) look()
  }
}

/** Half milliseconds end between the timers of two milliseconds. */
export const pause = (millis: number): Promise<void> =>
  new Promise((resolve) => {
    const whole = Math.floor(millis)
    setTimeout(() => (whole === millis ? resolve() : setImmediate(resolve)), whole)
  })

/** Ends a connection by a TCP reset. Node leaks a socket that is reset while it shuts down: then only closes it. */
export const reset = (socket: Net.Socket): void => {
  if (socket.writable) socket.resetAndDestroy()
  else socket.destroy()
}

interface Listening {
  readonly server: Net.Server
  readonly sockets: Set<Net.Socket>
  readonly signals: Set<string>
  readonly board: Board
}

/** The parent may have gone, which `disconnect` deals with. */
const tell = (report: Report): void => void process.send?.(report, undefined, undefined, () => {})

const listen = <Scenario>(
  order: Extract<Order<Scenario>, { readonly order: "listen" }>,
  accept: (scenario: Scenario) => (seat: Seat) => void
): Listening => {
  const { server: id, tls } = order
  const sockets = new Set<Net.Socket>()
  const signals = new Set<string>()
  const board = new Board()
  const onSeat = accept(order.scenario)
  let count = 0
  const seat = (socket: Net.Socket) => {
    const nth = count++
    const report = (fact: Fact) => tell({ report: "fact", server: id, connection: nth, fact })
    report({ what: "open" })
    socket.setNoDelay(true)
    socket.on("error", () => {}).on("close", () => report({ what: "close" }))
    onSeat({ socket, nth, report, board, signals })
  }
  const server = tls === undefined ? Net.createServer(seat) : Tls.createServer(tls, seat).on("tlsClientError", () => {})
  // The raw connection of a TLS server too: the handshake may never end.
  server.on("connection", (socket: Net.Socket) => {
    sockets.add(socket)
    socket.on("error", () => {}).on("close", () => sockets.delete(socket))
  })
  server.listen(0, "127.0.0.1", () => {
    tell({ report: "listening", server: id, port: (server.address() as Net.AddressInfo).port })
  })
  return { server, sockets, signals, board }
}

/** Gives the clients a second to hang up, and tells how many did not. */
const close = async (id: number, { server, sockets }: Listening): Promise<void> => {
  for (const socket of sockets) socket.resume()
  server.close()
  const deadline = performance.now() + 1_000
  while (sockets.size > 0 && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 2))
  tell({ report: "closed", server: id, open: sockets.size })
  for (const socket of sockets) socket.destroy()
}

/** Runs the process until the parent leaves. It then ends by itself: what keeps it alive is a leak. */
export const runChild = <Scenario>(accept: (scenario: Scenario) => (seat: Seat) => void): void => {
  const servers = new Map<number, Listening>()
  process.on("message", (order: Order<Scenario>) => {
    switch (order.order) {
      case "listen":
        return void servers.set(order.server, listen(order, accept))
      case "signal": {
        const target = servers.get(order.server)
        target?.signals.add(order.name)
        return target?.board.changed()
      }
      case "sync":
        return tell({ report: "synced", server: order.server })
      case "close": {
        const target = servers.get(order.server)
        servers.delete(order.server)
        return target === undefined ? undefined : void close(order.server, target)
      }
    }
  })
  process.on("disconnect", () => {
    for (const { server, sockets } of servers.values()) {
      server.close()
      for (const socket of sockets) socket.destroy()
    }
  })
}
