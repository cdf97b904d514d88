/**
 * Memory of connections that nobody uses.
 */
import * as Effect from "effect/Effect"
import { start } from "../harness/children.ts"
import { type HttpServer, startHttpServer, type Version } from "../harness/httpServer.ts"
import type { Case, Contestant, Figures, Subject } from "../harness/subject.ts"

const count = 1000
const runner = new URL("../harness/memory.ts", import.meta.url)
const holders = new URL("../peers/holders.ts", import.meta.url)

const contestant = (name: string, version: Version, tls: boolean): Contestant => ({
  name,
  open: Effect.map(
    startHttpServer(version, tls),
    (server: HttpServer) => () =>
      Effect.runPromise(
        Effect.scoped(
          Effect.map(
            start<Figures>(runner, [holders.href, name, String(count), JSON.stringify(server)]),
            ({ message }) => message
          )
        )
      )
  )
})

const contest = (name: string, version: Version, tls: boolean, names: ReadonlyArray<string>, slow = false): Case => ({
  name,
  operations: 1,
  slow,
  contestants: names.map((name) => contestant(name, version, tls))
})

const subject: Subject = {
  title: "Memory",
  about:
    `Memory of ${count.toLocaleString("en")} idle connections, each way in a process of its own, after full collections: of the heap of ` +
    "JavaScript, and resident. TLS and HTTP/2 have most of theirs outside that heap.",
  cases: [
    contest("objects", "http1", false, ["no pool", "CachePool of objects"]),
    contest("TCP and HTTP/1.1", "http1", false, [
      "node:net",
      "CachePool, tcp",
      "HttpPool, http/1.1",
      "undici, http/1.1",
      "node:http Agent"
    ]),
    contest(
      "TLS and HTTP/1.1 over it",
      "http1",
      true,
      ["node:tls", "CachePool, tls", "HttpPool, http/1.1 over TLS", "undici, http/1.1 over TLS", "node:https Agent"],
      true
    ),
    contest("HTTP/2 over TLS", "http2", true, ["node:http2", "HttpPool, h2", "undici, h2"], true)
  ],
  baseline: "",
  columns: [
    { figure: "heap", title: "heap, KiB each", digits: 2 },
    { figure: "rss", title: "resident, KiB each", digits: 1 }
  ],
  targets: [
    {
      what: "CachePool of TCP sockets over bare sockets, heap",
      figure: "heap",
      by: "difference",
      unit: "KiB",
      of: ["TCP and HTTP/1.1", "CachePool, tcp"],
      against: [["TCP and HTTP/1.1", "node:net"]],
      must: 2,
      aim: 1
    },
    {
      what: "CachePool of objects over objects, heap",
      figure: "heap",
      by: "difference",
      unit: "KiB",
      of: ["objects", "CachePool of objects"],
      against: [["objects", "no pool"]],
      must: 2,
      aim: 1
    }
  ],
  charts: [
    { title: "Heap per idle connection", kind: "bars", figure: "heap", unit: "KiB" },
    { title: "Resident memory per idle connection", kind: "bars", figure: "rss", unit: "KiB" }
  ]
}

export default subject
