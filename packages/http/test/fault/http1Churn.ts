/** A program: the churn over HTTP/1.1. */
import { http1Pool } from "./client.ts"
import { main } from "./churn.ts"
import { startFaultServer } from "./faultServer.ts"
import { answer, cut, delay, ended, fill, fin, type Http1Scenario, ok, type Script, text } from "./http1Script.ts"

const size = 120_000
const large = "x".repeat(size)
const half = "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n/"
const poison = text("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison")

/** 14 things that a server may do with a request. */
const actions: Record<string, Script> = {
  ok,
  large: [ended, text(`HTTP/1.1 200 OK\r\ncontent-length: ${size}\r\n\r\n`), fill(size)],
  slow: [ended, text("HTTP/1.1 103 Early Hints\r\n\r\n"), delay(1), answer()],
  early: [answer()],
  chunked: [
    ended,
    text("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n/\r\n"),
    delay(1),
    text("7\r\nchunked\r\n0\r\n\r\n")
  ],
  last: [ended, answer("{path}", "connection: close\r\n"), fin],
  unsent: [ended, fin],
  undone: [ended, cut],
  closed: [ended, text(half), delay(1), fin],
  reset: [ended, text(half), delay(1), cut],
  unended: [ended, text("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n/\r\n"), fin],
  garbled: [ended, text("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab")],
  // At once: what comes after the next request was written cannot be told from its answer.
  poisoned: [ended, answer(), poison],
  idle: [ended, answer(), delay(1), fin]
}

await main<Http1Scenario>(startFaultServer("./http1Server.ts"), {
  scenario: { requests: actions },
  pool: (target) =>
    http1Pool({ pool: (pool) => pool }, target, { maxSize: 4, http1: { headersTimeout: 3_000, bodyTimeout: 3_000 } }),
  names: Object.keys(actions).flatMap((name) => (name === "ok" || name === "large" ? [name, name, name] : [name])),
  whole: (name, path) => (name === "large" ? large : name === "chunked" ? "/chunked" : path),
  undetectable: new Set(),
  mostTimes: (_, method) => (method === "GET" ? 2 : 1)
})
