/**
 * A server of a line protocol: `METHOD path` asks, many at once, and answers
 * come in the order of the requests: `re body`, or `no` for what was not done.
 * `bye n`: the first n requests of this connection are answered, no other one is done.
 */
import { bodyOf, Connection, type Request } from "./connection.ts"

export class LineConnection extends Connection {
  private text = ""
  /** In the order in which they came, with what to say once it is known. */
  private readonly asked: Array<{ readonly request: Request; say: (() => void) | undefined }> = []
  private received = 0
  private leaving = false

  protected read(chunk: Buffer): void {
    this.text += chunk.toString("latin1")
    for (let end = this.text.indexOf("\n"); end !== -1; end = this.text.indexOf("\n")) {
      const [method = "", path = "", ...rest] = this.text.slice(0, end).split(" ")
      this.text = this.text.slice(end + 1)
      if (path === "" || rest.length > 0) throw new Error(`no request: ${method} ${path} ${rest.join(" ")}`)
      if (this.leaving) continue
      const request = { method, path, stream: ++this.received }
      this.asked.push({ request, say: undefined })
      if (this.host.begin(this, request)) this.host.finish(this, request)
    }
  }

  /** Says it when all that was asked before is answered. */
  private say({ stream }: Request, say: () => void): void {
    const entry = this.asked.find(({ request }) => request.stream === stream)
    if (entry === undefined) return
    entry.say = say
    while (this.asked[0]?.say !== undefined) this.asked.shift()!.say!()
    if (this.leaving && this.asked.length === 0) setTimeout(() => this.socket.end(), 30)
  }

  answer(request: Request): void {
    this.say(request, () => this.write(`re ${bodyOf(request)}\n`))
  }

  truncate(request: Request): void {
    this.say(request, () => {
      this.write(`re ${bodyOf(request).slice(0, 5)}`)
      this.socket.end()
    })
  }

  answerLast(request: Request): void {
    this.leave()
    this.answer(request)
  }

  leave(): void {
    if (this.leaving) return
    this.leaving = true
    this.write(`bye ${this.received}\n`)
    if (this.asked.length === 0) setTimeout(() => this.socket.end(), 30)
  }

  break(): void {
    this.write("this is no answer\n")
  }

  refuse(request: Request): void {
    this.say(request, () => this.write("no\n"))
  }
}
