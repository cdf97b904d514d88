/** Just enough of an HTTP/1.1 server to be fast. */
import { bodyOf, Connection, type Request } from "./connection.ts"

const headPattern = /^([A-Z]+) (\S+) HTTP\/1\.1\r\n/
const lengthPattern = /\r\ncontent-length: *(\d+)/i

const head = (length: number, fields = "") => `HTTP/1.1 200 OK\r\ncontent-length: ${length}\r\n${fields}\r\n`

export class Http1Connection extends Connection {
  private text = ""
  private leaving = false

  protected read(chunk: Buffer): void {
    this.text += chunk.toString("latin1")
    for (;;) {
      const end = this.text.indexOf("\r\n\r\n")
      if (end === -1) return
      const fields = this.text.slice(0, end)
      const [, method = "", path = ""] = headPattern.exec(fields) ?? []
      if (method === "") throw new Error(`no request: ${fields.slice(0, 100)}`)
      const whole = end + 4 + Number(lengthPattern.exec(fields)?.[1] ?? 0)
      if (this.text.length < whole) return
      this.text = this.text.slice(whole)
      const request = { method, path, stream: 0 }
      if (this.host.begin(this, request)) this.host.finish(this, request)
    }
  }

  answer(request: Request): void {
    if (this.leaving) return this.answerLast(request)
    const body = bodyOf(request)
    this.write(head(body.length) + body)
  }

  truncate(request: Request): void {
    const body = bodyOf(request)
    this.write(head(body.length) + body.slice(0, 5))
    this.socket.end()
  }

  answerLast(request: Request): void {
    const body = bodyOf(request)
    this.write(head(body.length, "connection: close\r\n") + body)
    setTimeout(() => this.socket.end(), 30)
  }

  leave(): void {
    this.leaving = true
  }

  break(): void {
    this.write("this is no HTTP\r\n\r\n")
  }

  refuse(): void {
    this.socket.end()
  }
}
