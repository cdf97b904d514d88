/** What the HTTP/2 fault server sends: the steps of its scripts as frames. */
import { type Board, reset, type Seat } from "./child.ts"
import { Flag, frame, FrameType, maxStreamId, settingsPayload, words } from "./frames.ts"
import { encode, type Field } from "./hpack.ts"
import type { Step } from "./http2Script.ts"

/** A request; number 0 is the connection itself, on which `start` runs. */
export interface Stream {
  readonly id: number
  readonly path: string
  received: number
  ended: boolean
  reset: boolean
  window: number
}

const maxFrame = 16_384

/** Collects frames until they are flushed in one write. */
export class Writer {
  /** What the client takes on the whole connection, and on a new stream. */
  window = 65_535
  initialWindow = 65_535
  isDeaf = false
  hasSettings = false
  /** The stream that was opened last. */
  latest = 0
  /** Later streams are none of the server's business, since a GOAWAY said so. */
  lastStream = maxStreamId
  private readonly socket: Seat["socket"]
  private readonly board: Board
  private written: Array<Buffer> = []

  constructor({ board, socket }: Seat) {
    this.socket = socket
    this.board = board
  }

  write(bytes: Buffer): void {
    this.written.push(bytes)
  }

  flush(): void {
    const { socket } = this
    if (this.written.length > 0 && !this.isDeaf && socket.writable) socket.write(Buffer.concat(this.written))
    this.written = []
  }

  credit(stream: number, bytes: number): void {
    this.write(frame(FrameType.windowUpdate, 0, stream, words(bytes)))
  }

  async body(size: number, end: boolean, stream: Stream): Promise<void> {
    for (let left = size; left > 0;) {
      const room = () => Math.min(left, maxFrame, stream.window, this.window)
      if (room() <= 0) {
        this.flush()
        await this.board.until(() => stream.reset || room() > 0)
      }
      if (stream.reset) return
      const bytes = room()
      left -= bytes
      stream.window -= bytes
      this.window -= bytes
      this.write(frame(FrameType.data, end && left === 0 ? Flag.endStream : 0, stream.id, Buffer.alloc(bytes, "x")))
    }
  }

  perform(step: Exclude<Step, { readonly step: "until" | "delay" | "body" }>, stream: Stream): void {
    const { socket } = this
    switch (step.step) {
      case "headers":
        return this.writeHeaders(step, stream)
      case "data": {
        const text = Buffer.from(fill(step.text, stream.path))
        this.window -= text.length
        stream.window -= text.length
        return this.write(frame(FrameType.data, step.end ? Flag.endStream : 0, stream.id, text))
      }
      case "rst":
        return this.write(frame(FrameType.rst, 0, stream.id, words(step.code)))
      case "goaway": {
        const { id } = stream
        const others = id === this.latest ? Math.max(0, id - 2) : this.latest
        const last = { this: id, others, latest: this.latest, max: maxStreamId, none: 0 }[step.last]
        this.lastStream = Math.min(this.lastStream, last)
        return this.write(frame(FrameType.goaway, 0, 0, words(last, step.code)))
      }
      case "settings":
        this.hasSettings = true
        return this.write(frame(FrameType.settings, 0, 0, settingsPayload(step.settings)))
      case "ping":
        return this.write(frame(FrameType.ping, 0, 0, words(0, 1)))
      case "credit":
        this.credit(0, step.bytes)
        return stream.id === 0 ? undefined : this.credit(stream.id, step.bytes)
      case "frame":
        return this.write(frame(step.type, step.flags, stream.id, Buffer.from(step.hex, "hex")))
      case "fin":
        this.flush()
        return void socket.end()
      case "cut":
        this.flush()
        return reset(socket)
      case "deaf":
        this.flush()
        this.isDeaf = true
    }
  }

  private writeHeaders(step: Extract<Step, { readonly step: "headers" }>, stream: Stream): void {
    const fields: Array<Field> = step.status === null ? [] : [[":status", String(step.status)]]
    for (const [name, values] of Object.entries(step.fields)) {
      for (const value of typeof values === "string" ? [values] : values) fields.push([name, fill(value, stream.path)])
    }
    const block = encode(fields)
    const size = Math.max(1, Math.ceil(block.length / step.fragments))
    for (let at = 0; at < block.length; at += size) {
      const type = at === 0 ? FrameType.headers : FrameType.continuation
      const flags = (at === 0 && step.end ? Flag.endStream : 0) | (at + size >= block.length ? Flag.endHeaders : 0)
      this.write(frame(type, flags, step.stream ?? stream.id, block.subarray(at, at + size)))
    }
  }
}

const fill = (text: string, path: string): string =>
  text.replaceAll("{path}", path).replaceAll("{length}", String(Buffer.byteLength(path)))
