/** HTTP/2 over one socket. */
import { inHttp, type Mutation } from "./mutation.ts"

const src = "packages/http/src/internal"
const session = `${src}/http2Session.ts`
const exchange = `${src}/http2Exchange.ts`

export const http2: ReadonlyArray<Mutation> = [
  {
    name: "the code of a reset is ignored: a refused request counts as lost",
    file: `${src}/http2Error.ts`,
    find: `if (nameOf(rstCode) === "REFUSED_STREAM" && !responseStarted) {`,
    replace: `if (nameOf(rstCode) === "REFUSED_STREAM" && responseStarted) {`,
    test: inHttp(
      "Http2Connection.faults",
      "Http2Connection > a refused request > was not acted on, and the connection goes on"
    )
  },
  {
    name: "a body that a reset cut counts as whole",
    file: exchange,
    find: " || this.destroyed || this.rstCode !== 0",
    replace: "",
    test: inHttp(
      "Http2Connection.faults",
      "Http2Connection > a response that is not whole > fails: a reset within the body"
    )
  },
  {
    name: "a body may be shorter than content-length says",
    file: exchange,
    find: "if (bodiless || declared === undefined || Number(declared) === this.received) return undefined",
    replace: "if (bodiless || declared === undefined || Number(declared) >= this.received) return undefined",
    test: inHttp(
      "Http2Connection.faults",
      "Http2Connection > a response that is not whole > fails: a reset without error within a body of known length"
    )
  },
  {
    name: "a GOAWAY says nothing about the streams above its last id",
    file: `${src}/http2Error.ts`,
    find: "if (id > goaway.lastStreamId && !responseStarted) {",
    replace: "if (id > goaway.lastStreamId && responseStarted) {",
    test: inHttp("Http2Connection.faults", "Http2Connection > GOAWAY > with an error tells by id what was not acted on")
  },
  {
    name: "the server's limit of streams is ignored",
    file: session,
    find: "return Math.min(this.settings.maxConcurrentStreams, this.peerStreams)",
    replace: "return this.settings.maxConcurrentStreams",
    test: inHttp(
      "Http2Connection.limits",
      "Http2Connection > concurrency > is 100 until the server's SETTINGS have come, then the smaller of both limits"
    )
  },
  {
    name: "the pool is not told that the server admits another number of streams",
    file: session,
    find: "else if (changed) watcher.capacityChanged()",
    replace: "",
    test: inHttp(
      "Http2Connection.limits",
      "Http2Connection > concurrency > follows the server while the connection is open, and tells of it"
    ),
    kills: "hang"
  },
  {
    name: "one request more than the limit is queued within node",
    file: session,
    find: "if (this.exchanges.length >= this.concurrency())",
    replace: "if (this.exchanges.size > this.concurrency())",
    test: inHttp(
      "Http2Connection.limits",
      "Http2Connection > concurrency > is never exceeded: one request more fails unsent, and its slot comes back with an end"
    ),
    kills: "hang"
  },
  {
    name: "streams that this side gave up are not counted",
    file: session,
    find: "if (++this.resets >= this.settings.maxResets) this.retire()",
    replace: "",
    test: inHttp(
      "Http2Connection.limits",
      "Http2Connection > maxResets > retires the connection after so many streams that this side gave up"
    )
  },
  {
    name: "a connection is used until its stream ids have run out",
    file: session,
    find: "if (stream.id === undefined || stream.id > maxStreamId - 2 * spareStreams) this.retire()",
    replace: "if (stream.id === undefined) this.retire()",
    test: inHttp(
      "Http2Connection.limits",
      "Http2Connection > stream ids > that run out retire the connection before a request fails"
    )
  },
  {
    name: "a request that is given up is left to the server",
    file: exchange,
    find: "if (!this.complete || !this.requestDone) this.reset()",
    replace: "",
    test: inHttp(
      "Http2Connection.drop",
      "Http2Connection > cancel > resets the stream before its answer, and calls onEnd once"
    ),
    kills: "hang"
  },
  {
    name: "a server that is gone is not asked when a request is given up",
    file: session,
    find: "if (unheard) this.liveness.suspect()",
    replace: "",
    test: inHttp(
      "Http2Connection.liveness",
      "Http2Connection > a server that is gone > is found out by the first request that was given up, even if no other follows"
    ),
    kills: "hang"
  },
  {
    name: "a connection that was idle for long is used without asking whether the server is there",
    file: `${src}/http2Liveness.ts`,
    find: "if (this.options.now() - this.idleSince > this.options.interval) this.ask()\n    else this.wait()",
    replace: "this.wait()",
    test: inHttp(
      "Http2Connection.liveness",
      "Http2Connection > a server that is gone > is asked together with a request that follows a long pause"
    ),
    kills: "hang"
  },
  {
    name: "a server that only PINGs could find is taken for dead although it sends",
    file: `${src}/http2Liveness.ts`,
    find: "this.watch(this.options.interval, () => (this.heard() ? this.wait() : this.ask()))",
    replace: "this.watch(this.options.interval, () => this.ask())",
    test: inHttp(
      "Http2Connection.liveness",
      "Http2Connection > a server that is slow > and sends anything is not asked"
    )
  },
  {
    name: "closing a session leaves the socket to its peer",
    file: session,
    find: "    this.session.destroy()\n    this.socket.destroy()",
    replace: "    this.session.destroy()",
    test: inHttp(
      "Http2Connection.liveness",
      "Http2Connection > a server that is gone > is found out while requests wait, all of which fail"
    )
  }
]
