import { assert, describe, it } from "@effect/vitest"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { leakOracle } from "../leakOracle.ts"
import { fetch, get, http1Pool, post, times } from "./client.ts"
import {
  answer,
  cut,
  deaf,
  delay,
  ended,
  fill,
  fin,
  type Http1Scenario,
  ok,
  type Script,
  text,
  until
} from "./http1Script.ts"
import { poisonedConnections, staleConnections } from "./http1Stale.ts"
import { useFaultServer } from "./suite.ts"

const oracle = leakOracle()
const server = useFaultServer<Http1Scenario>("HTTP/1.1 reuse", "./http1Server.ts")

describe("HttpRequest over HTTP/1.1", () => {
  describe("a connection that ends or speaks unasked", () => {
    it.live("0 to 5 ms around its reuse costs no GET", () => staleConnections(oracle, server, "GET", 120))

    it.live("0 to 5 ms around its reuse lets no POST run twice", () => staleConnections(oracle, server, "POST", 120))

    it.live("while the event loop stands still poisons nothing", () => poisonedConnections(oracle, server, 50))

    for (const [name, later] of Object.entries({ FIN: [fin], RST: [cut] })) {
      it.live(`as soon as it is used again, as all others do, costs no GET and runs no POST twice: ${name}`, () =>
        Effect.gen(function* () {
          for (const make of [get, post]) {
            const target = yield* server.listen({ requests: { first: [until({ signal: "go" }), ...ok] }, later })
            const pool = yield* http1Pool(oracle, target, { maxSize: 5 })
            const send = (name: string, request: typeof make) =>
              Effect.forEach([1, 2, 3, 4, 5], (i) => Effect.result(fetch(pool, request(`/${name}/${i}`))), {
                concurrency: "unbounded"
              })
            const first = yield* Effect.forkChild(send("first", get), { startImmediately: true })
            yield* target.until("request", 5)
            target.signal("go")
            yield* Fiber.join(first)
            const results = yield* send("second", make)
            yield* target.sync
            for (const [i, result] of results.entries()) {
              const path = `/second/${i + 1}`
              if (result._tag === "Success") assert.strictEqual(result.success.text, path)
              else assert.deepInclude(result.failure, { _tag: "HttpError", sent: "maybe" })
              assert.strictEqual(result._tag, make === get ? "Success" : "Failure")
              assert.strictEqual(times(target, path), make === get ? 2 : 1)
            }
          }
        })
      )
    }

    const idle: Record<string, Script> = {
      "408": [text("HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n"), fin],
      "an answer": [answer("poison")],
      "a byte": [text("x")],
      "a FIN": [fin],
      "a RST": [cut]
    }
    for (const [name, script] of Object.entries(idle)) {
      it.live(`while it is idle is replaced without an error: ${name}`, () =>
        Effect.gen(function* () {
          const target = yield* server.listen({
            requests: { case: [ended, answer(), until({ signal: "go" }), ...script] }
          })
          const pool = yield* http1Pool(oracle, target)
          yield* fetch(pool, get("/case/1"))
          target.signal("go")
          yield* target.until("close", 1)
          assert.strictEqual((yield* fetch(pool, post("/after"))).text, "/after")
          assert.deepInclude(yield* pool.stats, { created: 2, closed: 1, failed: 0, idle: 1 })
        })
      )
    }
  })

  describe("an answer before the request is complete", () => {
    const refusal = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 5\r\n"
    const early: Record<string, Script> = {
      "and nothing more": [until({ received: 1 }), text(`${refusal}\r\nearly`)],
      "and then a FIN": [until({ received: 1 }), text(`${refusal}connection: close\r\n\r\nearly`), fin],
      "while the head is read": [text(`${refusal}\r\nearly`)]
    }
    for (const [name, script] of Object.entries(early)) {
      it.live(`reaches the caller, and the connection is not used again: ${name}`, () =>
        Effect.gen(function* () {
          const target = yield* server.listen({ requests: { case: script } })
          const pool = yield* http1Pool(oracle, target)
          yield* fetch(pool, get("/before"))
          let interrupted = false
          const endless = Stream.concat(
            Stream.make(new Uint8Array(10)),
            Stream.fromEffect(Effect.onInterrupt(Effect.never, () => Effect.sync(() => (interrupted = true))))
          )
          const { status, text } = yield* fetch(pool, post("/case/1", endless))
          assert.deepStrictEqual([status, text], [413, "early"])
          assert.strictEqual((yield* fetch(pool, get("/after"))).text, "/after")
          yield* target.sync
          assert.isTrue(interrupted)
          assert.strictEqual(target.count("open"), 2)
          assert.strictEqual(times(target, "/case/1"), 1)
        })
      )
    }
  })

  describe("a server that stalls", () => {
    const head = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n"
    const stalls: Record<string, readonly [script: Script, phase: "headers" | "body"]> = {
      "before the answer": [[], "headers"],
      "within the head": [[ended, text(head)], "headers"],
      "after an informational response": [[ended, text("HTTP/1.1 103 Early Hints\r\n\r\n")], "headers"],
      "before the body": [[ended, text(`${head}\r\n`)], "body"],
      "within the body": [[ended, text(`${head}\r\nab`)], "body"],
      "within a chunk": [[ended, text("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nab")], "body"],
      "and does not even read": [[deaf], "headers"]
    }
    for (const [name, [script, phase]] of Object.entries(stalls)) {
      it.live(`${name} fails the request in time, once, and no other one`, () =>
        Effect.gen(function* () {
          const target = yield* server.listen({ requests: { case: script } })
          const pool = yield* http1Pool(oracle, target, { http1: { headersTimeout: 100, bodyTimeout: 100 } })
          yield* fetch(pool, get("/before"))
          const started = performance.now()
          const error = yield* Effect.flip(fetch(pool, get("/case/1")))
          if (error._tag !== "HttpError") return assert.fail(String(error))
          assert.deepInclude(error.reason, { _tag: "ResponseTimeout", phase })
          assert.isAtLeast(performance.now() - started, 98)
          assert.strictEqual((yield* fetch(pool, get("/after"))).text, "/after")
          yield* target.sync
          assert.strictEqual(times(target, "/case/1"), 1)
          assert.strictEqual(target.count("open"), 2)
        })
      )
    }

    it.live("while it should take the request fails it in time", () =>
      Effect.gen(function* () {
        const target = yield* server.listen({ requests: { case: [deaf] } })
        const pool = yield* http1Pool(oracle, target, { http1: { headersTimeout: 100 } })
        const body = Stream.forever(Stream.make(new Uint8Array(256 * 1024)))
        const error = yield* Effect.flip(fetch(pool, post("/case/1", body)))
        if (error._tag !== "HttpError") return assert.fail(String(error))
        assert.deepInclude(error.reason, { _tag: "ResponseTimeout", phase: "headers" })
        assert.strictEqual((yield* fetch(pool, get("/after"))).text, "/after")
        yield* target.sync
      })
    )
  })

  describe("a body that nobody reads", () => {
    const sized = (size: number, sent: number): Script => [
      ended,
      text(`HTTP/1.1 200 OK\r\ncontent-length: ${size}\r\n\r\n`),
      fill(sent)
    ]
    const chunk = 16 * 1024
    const chunked = (n: number): Script => [
      ended,
      text("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
      ...Array.from({ length: n }).flatMap(() => [text(`${chunk.toString(16)}\r\n`), fill(chunk), text("\r\n")])
    ]
    const bodies: Record<string, readonly [script: Script, kept: boolean]> = {
      "a small one that is there": [sized(1_000, 1_000), true],
      "a small one whose rest comes soon": [[...sized(1_000, 500), delay(5), fill(500)], true],
      "a small one whose rest does not come": [sized(1_000, 500), false],
      "one that is too large by its length": [sized(1_000_000, 1_000_000), false],
      "chunks that are too many": [[...chunked(40), text("0\r\n\r\n")], false],
      "chunks without an end": [chunked(1), false],
      "one that is cut off": [[...sized(1_000, 500), fin], false]
    }
    for (const [name, [script, kept]] of Object.entries(bodies)) {
      it.live(`${kept ? "comes off the wire" : "costs the connection"}, and the next request is served: ${name}`, () =>
        Effect.gen(function* () {
          const target = yield* server.listen({ requests: { case: script } })
          const pool = yield* http1Pool(oracle, target, { http1: { drainTimeout: 500 } })
          const { status } = yield* Effect.scoped(HttpRequest.execute(pool, get("/case/1")))
          assert.strictEqual(status, 200)
          assert.strictEqual((yield* fetch(pool, get("/after"))).text, "/after")
          yield* target.sync
          assert.strictEqual(target.count("open"), kept ? 1 : 2)
        })
      )
    }
  })
})
