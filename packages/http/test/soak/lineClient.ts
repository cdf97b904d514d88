/** The client's end of the line protocol. */
import type { Signals } from "@poolkit/pool/ConnectionPool"
import * as SocketConnector from "@poolkit/http/SocketConnector"
import type { SocketError } from "@poolkit/http/SocketError"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Net from "node:net"
import type { Asked } from "./load.ts"

/** `sent`: the server may have done it. */
export class LineError extends Data.TaggedError("LineError")<{ readonly sent: boolean; readonly why: string }> {
  override get message(): string {
    return `${this.why}, ${this.sent ? "perhaps done" : "not done"}`
  }
}

/** Milliseconds for an answer, after which the connection counts as dead. */
const patience = 3_000

type Resume = (answer: Effect.Effect<string, LineError>) => void

class LineConnection {
  private readonly socket: Net.Socket
  private text = ""
  /** Who waits for the next answers; nobody, where the sender has gone. */
  private readonly waiting: Array<{ resume: Resume | undefined }> = []
  private sent = 0
  private leaving = false
  private signals: Signals | undefined

  constructor(socket: Net.Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket
      .on("data", (chunk) => this.read(chunk.toString("latin1")))
      .on("close", () => this.lose("the connection is lost"))
  }

  get isOpen(): boolean {
    return !this.leaving && this.socket.writable && this.socket.readable
  }

  watch(signals: Signals): () => void {
    this.signals = signals
    return () => {
      this.signals = undefined
    }
  }

  send({ method, path }: Asked): Effect.Effect<string, LineError> {
    const answer = Effect.callback<string, LineError>((resume) => {
      if (!this.isOpen) return resume(Effect.fail(new LineError({ sent: false, why: "the connection is closed" })))
      const sender: (typeof this.waiting)[number] = { resume }
      this.waiting.push(sender)
      this.sent++
      this.socket.write(`${method} ${path}\n`)
      return Effect.sync(() => {
        // Its answer comes all the same.
        sender.resume = undefined
      })
    })
    return Effect.timeoutOrElse(answer, {
      duration: patience,
      orElse: () =>
        Effect.suspend(() => {
          this.lose("no answer")
          return Effect.fail(new LineError({ sent: true, why: "no answer" }))
        })
    })
  }

  private read(text: string): void {
    this.text += text
    for (let end = this.text.indexOf("\n"); end !== -1; end = this.text.indexOf("\n")) {
      const line = this.text.slice(0, end)
      this.text = this.text.slice(end + 1)
      this.onLine(line)
    }
  }

  private onLine(line: string): void {
    if (line.startsWith("bye ")) return this.onBye(Number(line.slice(4)))
    const sender = this.waiting.shift()
    if (sender === undefined) return this.lose("an answer that nobody asked for")
    if (line.startsWith("re ")) sender.resume?.(Effect.succeed(line.slice(3)))
    else if (line === "no") sender.resume?.(Effect.fail(new LineError({ sent: false, why: "refused" })))
    else {
      this.waiting.unshift(sender)
      this.lose("not the protocol")
    }
  }

  /** What was sent after the first `done` requests was not done. */
  private onBye(done: number): void {
    this.leaving = true
    this.signals?.retire()
    const extra = this.sent - done
    if (extra > 0) this.fail(this.waiting.splice(-extra), new LineError({ sent: false, why: "the server leaves" }))
  }

  private lose(why: string): void {
    this.leaving = true
    this.socket.destroy()
    this.signals?.retire()
    this.fail(this.waiting.splice(0), new LineError({ sent: true, why }))
  }

  private fail(senders: typeof this.waiting, error: LineError): void {
    for (const { resume } of senders) resume?.(Effect.fail(error))
  }
}

export type { LineConnection }

/** Connects to `host:port`. */
export const connect = (address: string): Effect.Effect<LineConnection, SocketError, Scope.Scope> => {
  const [host = "", port] = address.split(":")
  return Effect.map(SocketConnector.tcp({ host, port: Number(port) })(), (socket) => new LineConnection(socket))
}
