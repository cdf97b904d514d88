/**
 * An HTTP/2 server in a process of its own that does frame by frame what a
 * scenario says, right or wrong.
 */
import { pause, runChild, type Seat } from "./child.ts"
import { content, Flag, frame, type Frame, FrameReader, FrameType, SettingId } from "./frames.ts"
import { Decoder } from "./hpack.ts"
import { type Barrier, type Http2Connection, type Http2Scenario, ok, type Script } from "./http2Script.ts"
import { type Stream, Writer } from "./http2Writer.ts"

const makeStream = (id: number, path: string, window: number): Stream => ({
  id,
  path,
  received: 0,
  ended: false,
  reset: false,
  window
})

class Connection {
  private readonly seat: Seat
  private readonly scenario: Http2Scenario
  private readonly options: Http2Connection
  private readonly attempted: Set<string>
  private readonly writer: Writer
  private readonly reader = new FrameReader()
  private readonly decoder = new Decoder()
  private readonly streams = new Map<number, Stream>()
  /** What is open of a header block, until END_HEADERS. */
  private block: { readonly stream: number; readonly end: boolean; readonly parts: Array<Uint8Array> } | undefined
  private opened = 0
  private resets = 0
  private acks = 0
  private pongs = 0

  constructor(seat: Seat, scenario: Http2Scenario, attempted: Set<string>) {
    this.seat = seat
    this.scenario = scenario
    this.attempted = attempted
    this.writer = new Writer(seat)
    this.options = scenario.connections?.[Math.min(seat.nth, scenario.connections.length - 1)] ?? {}
    seat.socket.on("data", (chunk) => typeof chunk !== "string" && this.read(chunk))
  }

  // ---------------------------------------------------------------------------
  // What comes in
  // ---------------------------------------------------------------------------

  private read(chunk: Uint8Array): void {
    if (this.writer.isDeaf) return
    try {
      this.reader.push(chunk)
      if (this.reader.preface()) this.start()
      for (let next = this.reader.next(); next !== undefined; next = this.reader.next()) this.onFrame(next)
    } catch (cause) {
      this.seat.report({ what: "invalid", detail: String(cause) })
      this.seat.socket.destroy()
    }
    this.seat.board.changed()
  }

  private start(): void {
    this.seat.report({ what: "preface" })
    const { settings = [], start } = this.options
    if (settings !== "none") this.writer.perform({ step: "settings", settings }, makeStream(0, "", 0))
    if (start === undefined) return this.writer.flush()
    const stream = makeStream(0, "", 0)
    void this.run(start, stream)
  }

  private onFrame(frame: Frame): void {
    switch (frame.type) {
      case FrameType.headers:
        return this.onHeaders(frame)
      case FrameType.continuation:
        this.block?.parts.push(frame.payload)
        return this.onBlock(frame)
      case FrameType.data:
        return this.onData(frame)
      case FrameType.rst:
        return this.onReset(frame)
      case FrameType.settings:
        return this.onSettings(frame)
      case FrameType.ping:
        return this.onPing(frame)
      case FrameType.windowUpdate:
        return this.onCredit(frame)
      case FrameType.goaway:
        return this.seat.report({ what: "goaway", code: Buffer.from(frame.payload).readUInt32BE(4) })
    }
  }

  private onHeaders(frame: Frame): void {
    this.block = { stream: frame.stream, end: (frame.flags & Flag.endStream) !== 0, parts: [content(frame)] }
    this.onBlock(frame)
  }

  private onBlock({ flags }: Frame): void {
    const block = this.block
    if (block === undefined || (flags & Flag.endHeaders) === 0) return
    this.block = undefined
    const fields = new Map(this.decoder.decode(Buffer.concat(block.parts)))
    const known = this.streams.get(block.stream)
    if (known !== undefined) return block.end ? this.end(known) : undefined
    const stream = makeStream(block.stream, fields.get(":path") ?? "", this.writer.initialWindow)
    this.streams.set(stream.id, stream)
    if (stream.id > this.writer.lastStream) return this.seat.report({ what: "ignored", id: stream.id })
    this.opened++
    this.writer.latest = stream.id
    this.seat.report({ what: "request", id: stream.id, method: fields.get(":method") ?? "", path: stream.path })
    if (block.end) this.end(stream)
    void this.run(this.scriptFor(stream.path), stream)
  }

  private end(stream: Stream): void {
    stream.ended = true
    if (stream.id > this.writer.lastStream) return
    this.seat.report({ what: "end", id: stream.id, bytes: stream.received })
  }

  private scriptFor(path: string): Script {
    const first = !this.attempted.has(path)
    this.attempted.add(path)
    const once = first ? this.scenario.once?.[path] : undefined
    const requests = this.options.requests ?? this.scenario.requests ?? {}
    return once ?? requests[path.split("/")[1] ?? ""] ?? requests["*"] ?? ok
  }

  private onData(frame: Frame): void {
    const stream = this.streams.get(frame.stream)
    if (stream === undefined) throw new Error(`DATA on stream ${frame.stream}, which is not open`)
    stream.received += content(frame).length
    const bytes = frame.payload.length
    if ((frame.flags & Flag.endStream) !== 0) this.end(stream)
    if (this.options.credit === false || bytes === 0) return
    this.writer.credit(0, bytes)
    if (!stream.ended) this.writer.credit(stream.id, bytes)
    this.writer.flush()
  }

  private onReset({ payload, stream: id }: Frame): void {
    const stream = this.streams.get(id)
    if (stream !== undefined) stream.reset = true
    this.resets++
    this.seat.report({ what: "reset", id, code: Buffer.from(payload).readUInt32BE(0) })
  }

  private onSettings({ flags, payload }: Frame): void {
    if ((flags & Flag.ack) !== 0) {
      this.acks++
      return this.seat.report({ what: "ack" })
    }
    this.seat.report({ what: "settings" })
    const bytes = Buffer.from(payload)
    for (let at = 0; at < bytes.length; at += 6) {
      if (bytes.readUInt16BE(at) !== SettingId.initialWindowSize) continue
      const size = bytes.readUInt32BE(at + 2)
      for (const stream of this.streams.values()) stream.window += size - this.writer.initialWindow
      this.writer.initialWindow = size
    }
    // The server's own SETTINGS come first.
    void this.seat.board
      .until(() => this.writer.hasSettings)
      .then(() => {
        this.writer.write(frame(FrameType.settings, Flag.ack, 0))
        this.writer.flush()
      })
  }

  private onPing({ flags, payload }: Frame): void {
    if ((flags & Flag.ack) !== 0) {
      this.pongs++
      return this.seat.report({ what: "pong" })
    }
    this.seat.report({ what: "ping" })
    if (this.options.pong === false) return
    this.writer.write(frame(FrameType.ping, Flag.ack, 0, payload))
    this.writer.flush()
  }

  private onCredit({ payload, stream: id }: Frame): void {
    const bytes = Buffer.from(payload).readUInt32BE(0)
    const stream = this.streams.get(id)
    if (id === 0) this.writer.window += bytes
    else if (stream !== undefined) stream.window += bytes
  }

  // ---------------------------------------------------------------------------
  // Scripts
  // ---------------------------------------------------------------------------

  private async run(script: Script, stream: Stream): Promise<void> {
    for (const step of script) {
      if (step.step === "until") {
        this.writer.flush()
        await this.seat.board.until(() => this.holds(step.barrier, stream))
      } else if (step.step === "delay") {
        this.writer.flush()
        await pause(step.millis)
      } else if (step.step === "body") await this.writer.body(step.size, step.end, stream)
      else this.writer.perform(step, stream)
    }
    this.writer.flush()
    this.seat.report({ what: "done", id: stream.id, at: Date.now() })
  }

  private holds(barrier: Barrier, stream: Stream): boolean {
    return (
      (barrier.ended !== true || stream.ended) &&
      (barrier.reset !== true || stream.reset) &&
      this.opened >= (barrier.streams ?? 0) &&
      this.resets >= (barrier.resets ?? 0) &&
      this.acks >= (barrier.acks ?? 0) &&
      this.pongs >= (barrier.pongs ?? 0) &&
      stream.received >= (barrier.received ?? 0) &&
      (barrier.signal === undefined || this.seat.signals.has(barrier.signal))
    )
  }
}

runChild<Http2Scenario>((scenario) => {
  const attempted = new Set<string>()
  return (seat) => void new Connection(seat, scenario, attempted)
})
