/** Just enough of an HTTP/2 server to be fast. Its answers fit into the windows that its client grants. */
import type * as Net from "node:net"
import {
  content,
  ErrorCode,
  Flag,
  frame,
  type Frame,
  FrameReader,
  FrameType,
  settingsPayload,
  words
} from "../fault/frames.ts"
import { Decoder, encode } from "../fault/hpack.ts"
import { bodyOf, Connection, type Host, type Request } from "./connection.ts"

interface Stream {
  readonly request: Request
  cancelled: boolean
}

export class Http2Connection extends Connection {
  private readonly reader = new FrameReader()
  private readonly decoder = new Decoder()
  /** Asked for and not answered. */
  private readonly streams = new Map<number, Stream>()
  private last = 0
  private leaving = false

  constructor(socket: Net.Socket, host: Host) {
    super(socket, host)
    // At once: whatever befalls it comes after that.
    this.write(frame(FrameType.settings, 0, 0, settingsPayload([[3, 200]])))
  }

  protected read(chunk: Buffer): void {
    this.reader.push(chunk)
    this.reader.preface()
    for (let next = this.reader.next(); next !== undefined; next = this.reader.next()) this.onFrame(next)
  }

  private onFrame(received: Frame): void {
    switch (received.type) {
      case FrameType.headers:
        return this.onHeaders(received)
      case FrameType.data:
        return this.onData(received)
      case FrameType.rst: {
        const stream = this.streams.get(received.stream)
        if (stream !== undefined) stream.cancelled = true
        this.streams.delete(received.stream)
        return this.endIfLast()
      }
      case FrameType.settings:
        if ((received.flags & Flag.ack) === 0) this.write(frame(FrameType.settings, Flag.ack, 0))
        return
      case FrameType.ping:
        if ((received.flags & Flag.ack) === 0) this.write(frame(FrameType.ping, Flag.ack, 0, received.payload))
    }
  }

  private onHeaders(received: Frame): void {
    const { flags, stream } = received
    // The client's header blocks are short.
    if ((flags & Flag.endHeaders) === 0) throw new Error("CONTINUATION")
    const fields = new Map(this.decoder.decode(content(received)))
    // GOAWAY has told that nobody acts on it.
    if (this.leaving) return
    this.last = stream
    const request = { method: fields.get(":method") ?? "", path: fields.get(":path") ?? "", stream }
    this.streams.set(stream, { request, cancelled: false })
    if ((flags & Flag.endStream) !== 0) this.onRequest(stream)
  }

  private onData(received: Frame): void {
    const { flags, payload, stream } = received
    if (payload.length > 0) this.write(frame(FrameType.windowUpdate, 0, 0, words(payload.length)))
    if ((flags & Flag.endStream) !== 0) this.onRequest(stream)
  }

  private onRequest(id: number): void {
    const stream = this.streams.get(id)
    if (stream !== undefined && this.host.begin(this, stream.request)) this.host.finish(this, stream.request)
  }

  private send({ method, path, stream }: Request, whole: boolean): void {
    const body = Buffer.from(bodyOf({ method, path }))
    const block = Buffer.concat([Buffer.from([0x88]), encode([["content-length", String(body.length)]])])
    const parts = [frame(FrameType.headers, Flag.endHeaders, stream, block)]
    if (whole) parts.push(frame(FrameType.data, Flag.endStream, stream, body))
    else parts.push(frame(FrameType.data, 0, stream, body.subarray(0, 5)))
    this.write(Buffer.concat(parts))
  }

  answer(request: Request): void {
    if (!this.streams.delete(request.stream)) return
    this.send(request, true)
    this.endIfLast()
  }

  truncate(request: Request): void {
    if (!this.streams.delete(request.stream)) return
    this.send(request, false)
    this.write(frame(FrameType.rst, 0, request.stream, words(ErrorCode.internalError)))
    this.endIfLast()
  }

  answerLast(request: Request): void {
    this.answer(request)
    this.leave()
  }

  leave(): void {
    if (this.leaving) return
    this.leaving = true
    this.write(frame(FrameType.goaway, 0, 0, words(this.last, ErrorCode.noError)))
    this.endIfLast()
  }

  break(): void {
    this.write(frame(FrameType.goaway, 0, 0, words(this.last, ErrorCode.internalError)))
    // It has told which streams it acts on.
    this.leaving = true
    this.socket.end()
  }

  refuse(request: Request): void {
    this.streams.delete(request.stream)
    this.write(frame(FrameType.rst, 0, request.stream, words(ErrorCode.refusedStream)))
    this.endIfLast()
  }

  /** What was asked before the GOAWAY is answered; then it hangs up, some time later. */
  private endIfLast(): void {
    if (this.leaving && this.streams.size === 0) setTimeout(() => this.socket.end(), 30)
  }
}
