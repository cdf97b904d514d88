/** A strict reader of HTTP/1.1 requests (RFC 9112): what it does not understand is an error. */

export interface Head {
  readonly method: string
  readonly path: string
  readonly text: string
}

type Framing = { readonly length: number } | "chunked"

const startLine = /^([!#$%&'*+.^_`|~\w-]+) ([\x21-\x7e\x80-\xff]+) HTTP\/1\.1$/
const fieldLine = /^([!#$%&'*+.^_`|~\w-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*$/

const parseHead = (text: string): { readonly head: Head; readonly framing: Framing } => {
  const [first = "", ...lines] = text.split("\r\n")
  const start = startLine.exec(first)
  if (start === null) throw new Error(`no request line: ${JSON.stringify(first)}`)
  let framing: Framing = { length: 0 }
  let hosts = 0
  for (const line of lines) {
    const field = fieldLine.exec(line)
    if (field === null) throw new Error(`no header field: ${JSON.stringify(line)}`)
    const name = field[1]!.toLowerCase()
    if (name === "host") hosts++
    if (name !== "content-length" && name !== "transfer-encoding") continue
    if (framing === "chunked" || framing.length > 0) throw new Error("two framings")
    if (name === "transfer-encoding") framing = "chunked"
    else if (/^\d+$/.test(field[2]!)) framing = { length: Number(field[2]) }
    else throw new Error(`content-length: ${field[2]}`)
  }
  if (hosts !== 1) throw new Error(`${hosts} hosts`)
  return { head: { method: start[1]!, path: start[2]!, text }, framing }
}

/** Calls back for each head, for each piece of a body, and at the end of each request. */
export interface Listener {
  readonly onHead: (head: Head) => void
  readonly onBody: (piece: string) => void
  readonly onEnd: () => void
}

export class RequestReader {
  private readonly listener: Listener
  private buffer = ""
  private state: "head" | "body" | "size" | "chunk" | "last" = "head"
  private left = 0

  constructor(listener: Listener) {
    this.listener = listener
  }

  push(chunk: Buffer): void {
    this.buffer += chunk.toString("latin1")
    while (this.step());
  }

  /** Whether there is more to do with what has come. */
  private step(): boolean {
    switch (this.state) {
      case "head":
        return this.readHead()
      case "body":
      case "chunk":
        return this.readBody()
      case "size":
        return this.readSize()
      case "last":
        if (this.take("\r\n") === undefined) return false
        return this.end()
    }
  }

  private take(end: string): string | undefined {
    const at = this.buffer.indexOf(end)
    if (at < 0) return undefined
    const taken = this.buffer.slice(0, at)
    this.buffer = this.buffer.slice(at + end.length)
    return taken
  }

  private readHead(): boolean {
    const text = this.take("\r\n\r\n")
    if (text === undefined) return false
    const { framing, head } = parseHead(text)
    this.listener.onHead(head)
    if (framing === "chunked") this.state = "size"
    else if (framing.length === 0) return this.end()
    else this.expect("body", framing.length)
    return true
  }

  private expect(state: "body" | "chunk", bytes: number): void {
    this.state = state
    this.left = bytes
  }

  private readBody(): boolean {
    const piece = this.buffer.slice(0, this.left)
    if (piece === "" && this.left > 0) return false
    this.buffer = this.buffer.slice(piece.length)
    this.left -= piece.length
    this.listener.onBody(piece)
    if (this.left > 0) return false
    if (this.state === "body") return this.end()
    this.state = "size"
    return true
  }

  private readSize(): boolean {
    // The line break after a chunk belongs to it.
    if (this.buffer.startsWith("\r\n")) this.buffer = this.buffer.slice(2)
    const line = this.take("\r\n")
    if (line === undefined) return false
    if (!/^[\da-f]+$/i.test(line)) throw new Error(`chunk of ${JSON.stringify(line)}`)
    const size = Number.parseInt(line, 16)
    if (size > 0) this.expect("chunk", size)
    else this.state = "last"
    return true
  }

  private end(): boolean {
    this.state = "head"
    this.listener.onEnd()
    return this.buffer !== ""
  }
}
