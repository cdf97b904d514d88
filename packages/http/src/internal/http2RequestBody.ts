import type { ClientHttp2Stream } from "node:http2"
import { InvalidRequest } from "../HttpError.ts"
import type { RequestStream } from "./requestStream.ts"

/** Bytes that are given to node in one piece: what progress can be seen by. */
const pieceSize = 64 * 1024

/** Writes the body of a request to its stream as fast as the server takes it. */
export class RequestBody {
  /** Whether the caller's stream is asked for more: then the server is not to blame for silence. */
  producing = false
  /** Whether node was given all of it. It ends the stream itself too, when the server resets it. */
  written = false
  private readonly stream: ClientHttp2Stream
  private readonly source: RequestStream | undefined
  private readonly declared: number | undefined

  constructor(stream: ClientHttp2Stream, source: RequestStream | undefined, declared: number | undefined) {
    this.stream = stream
    this.source = source
    this.declared = declared
  }

  /** `onProgress` is called when the server took some of it, `onFailure` at most once. */
  async write(content: Uint8Array, onProgress: () => void, onFailure: (cause: unknown) => void): Promise<void> {
    try {
      if (this.source === undefined) await this.writeBytes(content, onProgress)
      else await this.writeStream(this.source, onProgress)
    } catch (cause) {
      onFailure(cause)
    }
  }

  /** Nobody wants the rest. Interrupts the caller's stream; what is written to a stream that was reset goes nowhere. */
  stop(): void {
    this.source?.close()
  }

  private async writeBytes(content: Uint8Array, onProgress: () => void): Promise<void> {
    let start = 0
    for (; content.length - start > pieceSize; start += pieceSize) {
      await this.give(content.subarray(start, start + pieceSize), onProgress)
    }
    this.end(content.subarray(start))
  }

  private async writeStream(source: RequestStream, onProgress: () => void): Promise<void> {
    const iterator = source[Symbol.asyncIterator]()
    let written = 0
    for (;;) {
      this.producing = true
      const next = await iterator.next()
      this.producing = false
      const chunk = next.done === true ? undefined : next.value
      written += chunk?.length ?? 0
      const wrong = chunk === undefined ? written !== this.declared : written > this.declared!
      if (this.declared !== undefined && wrong) {
        throw new InvalidRequest({ detail: "its body is not as long as content-length says" })
      }
      if (chunk === undefined) return this.end()
      await this.give(chunk, onProgress)
    }
  }

  private end(last?: Uint8Array): void {
    this.written = true
    this.stream.end(last)
  }

  private give(chunk: Uint8Array, onProgress: () => void): Promise<void> | undefined {
    if (chunk.length === 0 || this.stream.write(chunk)) return undefined
    return new Promise((resolve) => {
      this.stream.once("drain", () => {
        onProgress()
        // Not at once: asking the caller for more runs its code, and node's HTTP/2 is in the midst of a write.
        setImmediate(resolve)
      })
    })
  }
}
