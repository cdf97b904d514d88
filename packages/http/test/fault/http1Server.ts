/**
 * An HTTP/1.1 server in a process of its own that does byte by byte what a
 * scenario says, right or wrong.
 */
import { createSecureContext, TLSSocket } from "node:tls"
import { pause, reset, runChild, type Seat } from "./child.ts"
import { type Head, RequestReader } from "./http1Requests.ts"
import { type Barrier, type Http1Scenario, ok, type Script, type Step } from "./http1Script.ts"

/** Number 0 is the connection itself, on which `start` runs. */
interface Request {
  readonly id: number
  readonly path: string
  body: string
  ended: boolean
}

class Connection {
  private readonly seat: Seat
  private readonly scenario: Http1Scenario
  private request: Request = { id: 0, path: "", body: "", ended: false }
  private written: Array<Buffer> = []

  constructor(seat: Seat, scenario: Http1Scenario) {
    this.seat = seat
    this.scenario = scenario
    const reader = new RequestReader({
      onHead: (head) => this.onHead(head),
      onBody: (piece) => {
        this.request.body += piece
      },
      onEnd: () => this.onEnd()
    })
    seat.socket.on("data", (chunk) => typeof chunk !== "string" && this.read(reader, chunk))
    if (scenario.start !== undefined) void this.run(scenario.start, this.request)
  }

  private read(reader: RequestReader, chunk: Buffer): void {
    try {
      reader.push(chunk)
    } catch (cause) {
      this.seat.report({ what: "invalid", detail: String(cause) })
      this.seat.socket.destroy()
    }
    this.seat.board.changed()
  }

  private onHead({ method, path, text }: Head): void {
    const request = { id: this.request.id + 1, path, body: "", ended: false }
    this.request = request
    this.seat.report({ what: "request", id: request.id, method, path, head: text })
    const { later, requests = {} } = this.scenario
    const script = (request.id > 1 ? later : undefined) ?? requests[path.split("/")[1] ?? ""] ?? requests["*"] ?? ok
    // In a microtask: what came with the head comes first.
    queueMicrotask(() => void this.run(script, request))
  }

  private onEnd(): void {
    this.request.ended = true
    const { body, id } = this.request
    this.seat.report({ what: "end", id, bytes: body.length, ...(body.length < 1_000 && { body }) })
  }

  private async run(script: Script, request: Request): Promise<void> {
    for (const step of script) {
      if (step.step === "text") this.written.push(Buffer.from(fillIn(step.text, request.path), "latin1"))
      else if (step.step === "fill") this.written.push(Buffer.alloc(step.size, "x"))
      else {
        this.flush()
        await this.perform(step, request)
      }
    }
    this.flush()
    this.seat.report({ what: "done", id: request.id, at: Date.now() })
  }

  private flush(): void {
    if (this.written.length > 0 && this.seat.socket.writable) this.seat.socket.write(Buffer.concat(this.written))
    this.written = []
  }

  private perform(step: Exclude<Step, { readonly step: "text" | "fill" }>, request: Request): Promise<void> | void {
    const { board, socket } = this.seat
    switch (step.step) {
      case "until":
        return board.until(() => this.holds(step.barrier, request))
      case "delay":
        return pause(step.millis)
      case "fin":
        return void socket.end()
      case "cut":
        return reset(socket)
      case "deaf":
        return void socket.pause()
      case "renegotiate":
        return new Promise((resolve) => {
          if (!(socket instanceof TLSSocket)) return
          if (step.identity !== undefined) socket.setKeyCert(createSecureContext(step.identity))
          // Asking for the client's certificate makes it a whole handshake.
          socket.renegotiate({ requestCert: true, rejectUnauthorized: false }, (error) => {
            this.seat.report({ what: "renegotiated", error: error?.message })
            resolve()
          })
        })
    }
  }

  private holds(barrier: Barrier, request: Request): boolean {
    return (
      (barrier.ended !== true || request.ended) &&
      request.body.length >= (barrier.received ?? 0) &&
      (barrier.signal === undefined || this.seat.signals.has(barrier.signal))
    )
  }
}

const fillIn = (text: string, path: string): string =>
  text.replaceAll("{path}", path).replaceAll("{length}", String(path.length))

runChild<Http1Scenario>((scenario) => (seat) => void new Connection(seat, scenario))
