/** The server process of the soak: addresses of either protocol, and what befalls them. */
import * as Net from "node:net"
import * as Tls from "node:tls"
import { type Connection, type Host, type Request, reset } from "./connection.ts"
import { Http1Connection } from "./http1.ts"
import { Http2Connection } from "./http2.ts"
import { LineConnection } from "./lines.ts"
import { Marks } from "./marks.ts"
import type { Audit, Fault, Order, Protocol, Report } from "./messages.ts"

/** The parent may have gone, which `disconnect` deals with. */
const tell = (report: Report): void => void process.send?.(report, undefined, undefined, () => {})

const done = new Marks()
const repeated: Array<string> = []
const invalid: Array<string> = []
let requests = 0

const kinds = { "http/1.1": Http1Connection, h2: Http2Connection, lines: LineConnection }

/** Counts a request as done. Its path begins with its number, unless it may be done as often as anybody likes. */
const execute = ({ method, path }: Request, most: number): void => {
  requests++
  if (path === "/probe") return
  const number = Number(path.split("/")[1])
  if (!Number.isSafeInteger(number) || number < 1) return void invalid.push(`${method} ${path}`)
  const times = done.add(number)
  if (times > most) repeated.push(`${method} ${path} was done ${times} times`)
}

class Address implements Host {
  accepted = 0
  readonly sockets = new Set<Net.Socket>()
  readonly server: Net.Server
  private port = 0
  private readonly id: number
  private readonly protocol: Protocol
  private readonly connections = new Set<Connection>()
  private readonly next = { truncate: 0, "slow close": 0, refuse: 0 }
  private latency = { millis: 0, until: 0 }
  private held: Array<() => void> | undefined
  private timer: NodeJS.Timeout | undefined
  private back: NodeJS.Timeout | undefined

  constructor({ address, protocol, tls }: Extract<Order, { readonly order: "listen" }>) {
    this.id = address
    this.protocol = protocol
    const seat = (socket: Net.Socket) => {
      const connection = new kinds[protocol](socket, this)
      this.connections.add(connection)
      socket.on("close", () => this.connections.delete(connection))
    }
    this.server =
      tls === undefined
        ? Net.createServer(seat)
        : Tls.createServer({ ...tls, ALPNProtocols: [protocol] }, seat).on("tlsClientError", () => {})
    this.server.on("connection", (socket: Net.Socket) => {
      this.accepted++
      this.sockets.add(socket)
      socket.on("error", () => {}).on("close", () => this.sockets.delete(socket))
    })
    // Somebody else may have the port for a moment.
    this.server.on("error", () => {
      this.back = setTimeout(() => this.listen(), 20)
    })
    this.server.on("listening", () => {
      this.port = (this.server.address() as Net.AddressInfo).port
      tell({ report: "listening", address, port: this.port })
    })
    this.listen()
  }

  listen(): void {
    if (process.connected) this.server.listen({ port: this.port, host: "127.0.0.1", backlog: 1024 })
  }

  begin(connection: Connection, request: Request): boolean {
    if (this.next.refuse > 0) {
      this.next.refuse--
      connection.refuse(request)
      return false
    }
    execute(request, this.protocol === "lines" || request.method === "POST" ? 1 : 2)
    return true
  }

  finish(connection: Connection, request: Request): void {
    const answer = () => {
      if (this.next.truncate > 0) {
        this.next.truncate--
        connection.truncate(request)
      } else if (this.next["slow close"] > 0) {
        this.next["slow close"]--
        connection.answerLast(request)
      } else connection.answer(request)
    }
    if (this.held !== undefined) this.held.push(answer)
    else if (this.latency.until > performance.now()) setTimeout(answer, this.latency.millis)
    else answer()
  }

  invalid(detail: string): void {
    invalid.push(`address ${this.id}: ${detail}`)
  }

  apply(fault: Fault): void {
    switch (fault.fault) {
      case "latency":
        this.latency = { millis: fault.millis, until: performance.now() + fault.lasts }
        return
      case "silence":
        this.held ??= []
        clearTimeout(this.timer)
        this.timer = setTimeout(() => this.speak(), fault.lasts)
        return
      case "half-open":
        for (const connection of this.connections) connection.deaf = true
        return
      case "reset":
        for (const socket of this.sockets) this.cut(socket)
        return
      case "close":
        for (const { socket } of this.connections) socket.end()
        return
      case "leave":
        for (const connection of this.connections) connection.leave()
        return
      case "break":
        for (const connection of this.connections) connection.break()
        return
      case "down":
        this.server.close()
        for (const socket of this.sockets) this.cut(socket)
        clearTimeout(this.back)
        this.back = setTimeout(() => this.listen(), fault.lasts)
        return
      default:
        this.next[fault.fault] = fault.times
    }
  }

  /** Resets a connection. Node leaks one that is reset while TLS over it shuts down: then only closes it. */
  private cut(socket: Net.Socket): void {
    const isOver = (other: Net.Socket) => other.remotePort === socket.remotePort && !other.writable
    if (Array.from(this.connections).some((connection) => isOver(connection.socket))) socket.destroy()
    else reset(socket)
  }

  /** Goes on with what was held back. */
  speak(): void {
    const held = this.held ?? []
    this.held = undefined
    for (const answer of held) answer()
  }
}

const addresses: Array<Address> = []

const audit = (): Audit => ({
  accepted: addresses.map(({ accepted }) => accepted),
  open: addresses.reduce((sum, { sockets }) => sum + sockets.size, 0),
  requests,
  repeated: repeated.slice(0, 20),
  invalid: invalid.slice(0, 20)
})

process.on("message", (order: Order) => {
  if (order.order === "listen") addresses[order.address] = new Address(order)
  else if (order.order === "fault") addresses[order.address]!.apply(order.fault)
  else tell({ report: "audit", audit: audit() })
})
process.on("disconnect", () => {
  for (const { server, sockets } of addresses) {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
})
