/** HTTP/1.1 over one socket. */
import { inHttp, type Mutation } from "./mutation.ts"

const src = "packages/http/src"
const connection = `${src}/Http1Connection.ts`
const common = `${src}/internal/exchange.ts`
const exchange = `${src}/internal/http1Exchange.ts`

export const http1: ReadonlyArray<Mutation> = [
  {
    name: "a request is written without waiting for what the idle connection has to say",
    file: `${src}/internal/watchdog.ts`,
    find: "immediate = setImmediate(f)",
    replace: "f()",
    test: inHttp(
      "Http1Connection.reuse",
      "Http1Connection > a turn of the event loop before a request > finds an answer that came while the loop stood still, asked in the poll phase"
    )
  },
  {
    name: "bytes that came before a request are its answer",
    file: connection,
    find: "!this.socket.destroyed && this.socket.readableLength === 0",
    replace: "!this.socket.destroyed",
    test: inHttp(
      "Http1Connection.reuse",
      "Http1Connection > a turn of the event loop before a request > finds an answer that came while the loop stood still, asked in the timers phase"
    )
  },
  {
    name: "bytes that nobody asked for leave the connection open",
    file: connection,
    find: "if (!this.busy && this.socket.readableLength > 0) this.onClose()",
    replace: "",
    test: inHttp(
      "Http1Connection.reuse",
      "Http1Connection > isOpen > is false when something comes that nobody asked for"
    ),
    kills: "hang"
  },
  {
    name: "a connection is used until the very end of the server's keep-alive hint",
    file: connection,
    find: "Number(hint) * 1000 - this.margin",
    replace: "Number(hint) * 1000",
    test: inHttp(
      "Http1Connection.reuse",
      "Http1Connection > isOpen > is false from two seconds before the end of the server's hint"
    )
  },
  {
    name: "a keep-alive hint holds for later answers that bring none",
    file: connection,
    find: "hint === undefined ? Infinity :",
    replace: "hint === undefined ? this.expiresAt :",
    test: inHttp(
      "Http1Connection.reuse",
      "Http1Connection > isOpen > is true again once an answer comes without a hint"
    )
  },
  {
    name: "a connection takes a second request while it carries one",
    file: connection,
    find: "const invalid = this.busy\n",
    replace: "const invalid = this.ended\n",
    test: inHttp("Http1Connection", "Http1Connection > request > takes one request at a time")
  },
  {
    name: "a dropped body is read however long it is",
    file: common,
    find: "if (this.received > this.allowed) this.giveUp()",
    replace: "",
    test: inHttp(
      "Http1Connection.drop",
      "Http1Connection > a dropped body > that brings more than maxDrainBytes ends the connection"
    ),
    kills: "hang"
  },
  {
    name: "a dropped body is read although it declares too much",
    file: common,
    find: "declared > this.allowed || ",
    replace: "",
    test: inHttp(
      "Http1Connection.drop",
      "Http1Connection > a dropped body > that declares more than maxDrainBytes ends the connection at once"
    )
  },
  {
    name: "a dropped body has as much time as it takes",
    file: common,
    find: `if (this.phase !== "drain") this.watchdog.touch()`,
    replace: "this.watchdog.touch()",
    test: inHttp(
      "Http1Connection.drop",
      "Http1Connection > a dropped body > that is slower than drainTimeout ends the connection, whatever is sent meanwhile"
    ),
    kills: "hang"
  },
  {
    name: "a response that was forgotten keeps its connection",
    file: `${src}/internal/responseBody.ts`,
    find: "forgotten.register(this, body, body)",
    replace: "",
    test: inHttp("Http1Connection.drop", "Http1Connection > a dropped body > is one whose response was forgotten"),
    kills: "hang"
  },
  {
    name: "a body that nobody reads is buffered without bound",
    file: `${src}/internal/responseBody.ts`,
    find: "if (this.size >= highWaterMark && !this.paused) {",
    replace: "if (this.size < 0 && !this.paused) {",
    test: inHttp("Http1Connection", "Http1Connection > response body > slows the server down while nobody reads")
  },
  {
    name: "a server that drips makes the headers' timeout longer",
    file: exchange,
    find: "    this.responseStarted = true\n",
    replace: "    this.responseStarted = true\n    setInterval(() => this.alive(), 20).unref()\n",
    test: inHttp(
      "Http1Connection.faults",
      "Http1Connection > headersTimeout > is not made longer by a server that drips"
    ),
    kills: "hang"
  },
  {
    name: "the headers' timeout cuts a caller that still produces the request",
    file: common,
    find: `this.phase === "headers" ? this.isProducing() : this.body.paused`,
    replace: `this.phase === "body" && this.body.paused`,
    test: inHttp(
      "Http1Connection.faults",
      "Http1Connection > headersTimeout > does not run while the caller produces the request"
    )
  },
  {
    name: "a timer that is late because the event loop stalled judges before the loop has read",
    file: `${src}/internal/watchdog.ts`,
    find: `    this.verdict = setImmediate(() => {
      this.verdict = undefined
      this.onSilence?.()
    })`,
    replace: "    this.onSilence?.()",
    test: inHttp(
      "Http1Connection.faults",
      "Http1Connection > headersTimeout > spares an answer that came while the event loop stood still"
    )
  },
  {
    name: "informational responses have no bound",
    file: common,
    find: "if (++this.informational <= maxInformational) return",
    replace: "if (maxInformational >= 0) return",
    test: inHttp(
      "Http1Connection.faults",
      "Http1Connection > a response that breaks the protocol > is bounded by maxHeaderBytes and maxInformational"
    )
  },
  {
    name: "a request that is cancelled leaves its connection waiting for the answer",
    file: exchange,
    find: "if (this.stopWaiting === undefined) return this.destroy()",
    replace: "if (this.stopWaiting === undefined) return this.finish()",
    test: inHttp(
      "Http1Connection.reuse",
      "Http1Connection > interruption > while the server thinks ends the connection at once"
    )
  },
  {
    name: "a connection goes back after its caller has seen the end of the body",
    file: common,
    find: `    this.body.end(failure)
    this.release()`,
    replace: `    this.body.end(failure)
    this.body.wake()
    this.release()`,
    test: inHttp(
      "Http1Connection",
      "Http1Connection > request > gives the connection back before the reader sees the end"
    )
  },
  {
    name: "the socket outlives the scope of its connection",
    file: connection,
    find: "  socket.destroy()\n}",
    replace: "  void socket\n}",
    test: inHttp(
      "Http1Connection.reuse",
      "Http1Connection > the end of its scope > closes a socket that has no scope of its own"
    )
  }
]
