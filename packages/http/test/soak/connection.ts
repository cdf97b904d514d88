/** A connection as the server of the soak sees it, whatever it speaks. */
import type * as Net from "node:net"

/** One request that was read to its end. */
export interface Request {
  readonly method: string
  readonly path: string
  /** Of HTTP/2. */
  readonly stream: number
}

/** What a connection has of its address. */
export interface Host {
  /** Called before anything is done. Whether to go on: it may be refused. */
  readonly begin: (connection: Connection, request: Request) => boolean
  /** Called with what is to be done, which may happen later. */
  readonly finish: (connection: Connection, request: Request) => void
  readonly invalid: (detail: string) => void
}

export abstract class Connection {
  readonly socket: Net.Socket
  /** Hears nothing and says nothing any more. */
  deaf = false
  protected readonly host: Host

  constructor(socket: Net.Socket, host: Host) {
    this.socket = socket
    this.host = host
    socket.setNoDelay(true)
    socket.on("error", () => {})
    socket.on("data", (chunk) => {
      if (this.deaf || typeof chunk === "string") return
      try {
        this.read(chunk)
      } catch (cause) {
        this.host.invalid(String(cause))
        socket.destroy()
      }
    })
  }

  protected abstract read(chunk: Buffer): void
  abstract answer(request: Request): void
  /** Sends half of an answer and hangs up. */
  abstract truncate(request: Request): void
  /** Answers, says that this was the last one, and hangs up some time later. */
  abstract answerLast(request: Request): void
  /** Takes its leave without harm to anybody. */
  abstract leave(): void
  /** Ends by an error of the protocol. */
  abstract break(): void
  /** Does not do what was asked, and says so as far as the protocol can. */
  abstract refuse(request: Request): void

  protected write(data: string | Uint8Array): void {
    if (!this.deaf && this.socket.writable) this.socket.write(data)
  }
}

/** Ends a connection by a TCP reset. Node leaks a socket that is reset while it shuts down: then only closes it. */
export const reset = (socket: Net.Socket): void => {
  if (socket.writable) socket.resetAndDestroy()
  else socket.destroy()
}

const large = "x".repeat(4_000)

/** The body of every answer names what was asked, so that none can go astray unseen. */
export const bodyOf = ({ method, path }: Pick<Request, "method" | "path">): string =>
  `${method} ${path}${path.endsWith("/large") ? large : ""}`
