/** What pools and connections leave behind when they close, and time that passes meanwhile. */
import { inHttp, inPool, type Mutation } from "./mutation.ts"

const pool = "packages/pool/src/internal"
const http = "packages/http/src/internal"

const closing: ReadonlyArray<Mutation> = [
  {
    name: "a drain that is over as soon as it begins leaves the timer of its deadline",
    file: `${pool}/draining.ts`,
    find: `    if (this.target.state === "closed") return
    // With`,
    replace: "    // With",
    test: inPool("drain", "CachePool > drain > A8 A10 leaves no timer where all there is closes at once")
  },
  {
    name: "a drain that is over before its deadline leaves the timer",
    file: `${pool}/draining.ts`,
    find: "    this.deadline.clear()\n",
    replace: "",
    test: inPool("drain", "CachePool > drain > A8 A10 leaves no timer where borrowers return before the deadline")
  },
  {
    name: "a validation outlives its pool",
    file: `${pool}/connections.ts`,
    find: `      attempt.end()
      attempt.fiber?.interruptUnsafe()
      this.validating.delete(attempt)`,
    replace: `      attempt.end()
      this.validating.delete(attempt)`,
    test: inPool(
      "drain",
      "CachePool > drain > A8 callers that wait for a validation fail with Closed and the connection is closed"
    )
  },
  {
    name: "the disposer of a watch is forgotten where the pool closed meanwhile",
    file: `${pool}/connections.ts`,
    find: `      if (connection.state === "closing" || connection.state === "closed") unwatch?.()
      else connection.unwatch`,
    replace: "      connection.unwatch",
    test: inPool(
      "CachePool.health",
      "CachePool > watch > A9 calls the disposer of a connection that was closed while it was told to be watched"
    )
  },
  {
    name: "a pool that drains still wants slots of a shared limit",
    file: `${pool}/connections.ts`,
    find: "    this.share?.want(false)\n    this.backoff.stop()",
    replace: "    this.backoff.stop()",
    test: inPool(
      "ConnectionLimit",
      "ConnectionLimit > a pool that finds no slot > A8 nothing closes for the sake of a pool that drains"
    )
  },
  {
    name: "a limit keeps the pools that have closed",
    file: `${pool}/memoryLimit.ts`,
    find: "else this.holders.delete(share)",
    replace: "",
    test: inPool("memory", "ConnectionLimit > memory > pools that have closed are not kept by a limit that lives on")
  },
  {
    name: "room that was made goes to the pool that asked last",
    file: `${pool}/memoryLimit.ts`,
    find: "this.creditors.shift()",
    replace: "this.creditors.pop()",
    test: inPool(
      "ConnectionLimit",
      "ConnectionLimit > a pool that finds no slot > A6 connections that close for several pools make room for them in the order in which they asked"
    )
  },
  {
    name: "an attempt that finds all addresses full keeps its slot of a shared limit",
    file: `${pool}/connections.ts`,
    find: `      this.close(attempt.scope, { attempt })
      return this.kind.failed(attempt, undefined)`,
    replace: "      return this.kind.failed(attempt, undefined)",
    test: inPool(
      "BalancePool",
      "BalancePool > resources > B4 an attempt that ends because all other addresses are full gives back its slot of a shared limit"
    )
  },
  {
    name: "a failed attempt fails waiters that another attempt will serve",
    file: `${pool}/sharedQueue.ts`,
    find: "this.lendable() === 0 && this.connections.connecting.size === 0",
    replace: "this.lendable() === 0",
    test: inPool(
      "SharedPool.failure",
      "SharedPool > a failed attempt beside connections that lend > H2 fails nobody while another attempt is under way, although no connection lends any more"
    )
  }
]

const time: ReadonlyArray<Mutation> = [
  {
    name: "a body that was read slowly once has no timeout any more",
    file: `${http}/responseBody.ts`,
    find: "this.paused = false",
    replace: "",
    test: inHttp(
      "fault/timeouts",
      "HttpRequest > HTTP/1.1 > a server that stops in the midst of a body is found out although its client was slow at first"
    )
  },
  {
    name: "a part of a body that came while the event loop stood still does not count",
    file: `${http}/watchdog.ts`,
    find: `    clearImmediate(this.verdict)
    this.verdict = undefined`,
    replace: "",
    test: inHttp(
      "fault/timeouts",
      "HttpRequest > HTTP/1.1 > what came while the event loop stood still counts, also where it is only a part"
    )
  },
  {
    name: "a timeout that is longer than timers can be goes off at once",
    file: `${http}/watchdog.ts`,
    find: "Math.min(delay, maxDelay)",
    replace: "delay",
    test: inHttp(
      "fault/timeouts",
      "HttpRequest > HTTP/2 > longer ones than timers have wait as long as they can, not as short"
    )
  },
  {
    name: "each new request gives a server that is gone more time to answer a PING",
    file: `${http}/http2Liveness.ts`,
    find: "if (this.asked || this.isOff()) return\n    if",
    replace: "if (this.isOff()) return\n    if",
    test: inHttp(
      "fault/http2.silence",
      "HttpRequest over HTTP/2 > requests that are begun and given up all the time do not keep a dead connection alive"
    )
  },
  {
    name: "a server that sends, but not the answer to a PING, is taken for dead",
    file: `${http}/http2Liveness.ts`,
    find: "(this.heard() ? this.onAnswer() : this.options.onDead())",
    replace: "this.options.onDead()",
    test: inHttp(
      "fault/http2.silence",
      "HttpRequest over HTTP/2 > a server that sends anything within pingTimeout is alive, whether it answers the PING or not"
    )
  },
  {
    name: "an address that does not answer holds up the next one",
    file: "packages/http/src/SocketConnector.ts",
    find: "autoSelectFamily: true,",
    replace: "autoSelectFamily: true, autoSelectFamilyAttemptTimeout: 60_000,",
    test: inHttp(
      "fault/connect",
      "SocketConnector > addresses > one that does not answer holds a connect up for a moment only"
    )
  },
  {
    name: "a socket keeps the listeners that waited for it to connect",
    file: "packages/http/src/SocketConnector.ts",
    find: `      socket.off(event, onReady).off("error", onError).off("close", onClose)\n`,
    replace: "",
    test: inHttp("SocketConnector", "SocketConnector > tcp > leaves nothing on the socket that waits for it to connect")
  },
  {
    name: "one of several addresses has less time than connectTimeout",
    file: `${http}/httpPoolAddresses.ts`,
    find: "      connectTimeout: Infinity,\n",
    replace: "",
    test: inHttp(
      "HttpPool.addresses.custom",
      "HttpPool > addresses > one that is slow has the time of connectTimeout, not less"
    )
  },
  {
    name: "a raw body that fails before it is read ends the process",
    file: `${http}/clientBody.ts`,
    find: `body.on("error", () => {})`,
    replace: "",
    test: inHttp(
      "PooledHttpClient",
      "PooledHttpClient > a raw stream of Node > that fails while its request waits in line fails the request, not the process"
    )
  }
]

export const ending: ReadonlyArray<Mutation> = [...closing, ...time]
