/** HTTP/2 frames (RFC 9113, section 4 and 6), as bytes. */

export const FrameType = {
  data: 0,
  headers: 1,
  priority: 2,
  rst: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9
} as const

export const Flag = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const

export const SettingId = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6
} as const

export const ErrorCode = {
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  refusedStream: 7,
  cancel: 8,
  enhanceYourCalm: 11
} as const

export const maxStreamId = 2 ** 31 - 1

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly payload: Uint8Array
}

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

export const frame = (type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer => {
  const head = Buffer.alloc(9)
  head.writeUIntBE(payload.length, 0, 3)
  head.writeUInt8(type, 3)
  head.writeUInt8(flags, 4)
  head.writeUInt32BE(stream, 5)
  return Buffer.concat([head, payload])
}

/** Big-endian numbers of four bytes. */
export const words = (...values: ReadonlyArray<number>): Buffer => {
  const bytes = Buffer.alloc(4 * values.length)
  values.forEach((value, i) => bytes.writeUInt32BE(value, 4 * i))
  return bytes
}

export const settingsPayload = (settings: ReadonlyArray<readonly [id: number, value: number]>): Buffer =>
  Buffer.concat(settings.map(([id, value]) => Buffer.concat([Buffer.from([0, id]), words(value)])))

/** Cuts what a client sends into its preface and frames. */
export class FrameReader {
  private buffer: Buffer = Buffer.alloc(0)
  private prefaced = false

  push(chunk: Uint8Array): void {
    this.buffer = Buffer.concat([this.buffer, chunk])
  }

  /** Whether the preface has come, with this call; throws if it is none. */
  preface(): boolean {
    if (this.prefaced || this.buffer.length < preface.length) return false
    if (!this.buffer.subarray(0, preface.length).equals(preface)) throw new Error("no HTTP/2 preface")
    this.buffer = this.buffer.subarray(preface.length)
    this.prefaced = true
    return true
  }

  next(): Frame | undefined {
    if (!this.prefaced || this.buffer.length < 9) return undefined
    const end = 9 + this.buffer.readUIntBE(0, 3)
    if (this.buffer.length < end) return undefined
    const stream = this.buffer.readUInt32BE(5) & maxStreamId
    const found = { type: this.buffer[3]!, flags: this.buffer[4]!, stream, payload: this.buffer.subarray(9, end) }
    this.buffer = this.buffer.subarray(end)
    return found
  }
}

/** The payload without padding and priority. */
export const content = ({ flags, payload, type }: Frame): Uint8Array => {
  const padded = (flags & Flag.padded) !== 0
  const start = (padded ? 1 : 0) + (type === FrameType.headers && flags & Flag.priority ? 5 : 0)
  return payload.subarray(start, payload.length - (padded ? payload[0]! : 0))
}
