import { assert, describe, it } from "@effect/vitest"
import { HttpError } from "@poolkit/http/HttpError"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Exit from "effect/Exit"
import * as Stream from "effect/Stream"
import { leakOracle } from "../leakOracle.ts"
import { fetch, get, http2Pool, post } from "./client.ts"
import { SettingId } from "./frames.ts"
import {
  body,
  credit,
  cut,
  data,
  ended,
  fin,
  head,
  type Http2Scenario,
  ok,
  rst,
  type Script,
  settings,
  until
} from "./http2Script.ts"
import { useFaultServer } from "./suite.ts"

const oracle = leakOracle()
const server = useFaultServer<Http2Scenario>("HTTP/2 windows", "./http2Server.ts")

const megabyte = 1_024 * 1_024
const range = (n: number) => Array.from({ length: n }, (_, i) => i)

describe("HttpRequest over HTTP/2", () => {
  describe("a request body", () => {
    it.live("that the server takes no more of fails in time, and nothing else", () =>
      Effect.gen(function* () {
        const target = yield* server.listen({ connections: [{ credit: false }] })
        const pool = yield* http2Pool(oracle, target, { headersTimeout: 150 })
        for (const content of ["x".repeat(megabyte), Stream.forever(Stream.make(new Uint8Array(10_000)))]) {
          const error = yield* Effect.flip(fetch(pool, post("/upload", content)))
          if (!(error instanceof HttpError)) return assert.fail(String(error))
          assert.deepInclude(error.reason, { _tag: "ResponseTimeout", phase: "headers" })
          assert.strictEqual((yield* fetch(pool, get("/after"))).text, "/after")
        }
        assert.strictEqual(target.count("open"), 1)
      })
    )

    it.live("waits for the server's window, and arrives as a whole", () =>
      Effect.gen(function* () {
        const target = yield* server.listen({
          connections: [
            {
              credit: false,
              settings: [[SettingId.initialWindowSize, 0]],
              start: [until({ signal: "open" }), settings([SettingId.initialWindowSize, 100_000])]
            }
          ],
          requests: { upload: [until({ received: 65_535 }), until({ signal: "more" }), credit(megabyte), ...ok] }
        })
        const pool = yield* http2Pool(oracle, target)
        yield* fetch(pool, get("/first"))
        const upload = yield* Effect.forkChild(fetch(pool, post("/upload", "x".repeat(300_000))), {
          startImmediately: true
        })
        yield* target.until("request", 2)
        assert.strictEqual((yield* fetch(pool, get("/meanwhile"))).text, "/meanwhile")
        target.signal("open")
        target.signal("more")
        assert.strictEqual((yield* Fiber.join(upload)).text, "/upload")
        yield* target.sync
        assert.isTrue(target.facts("end").some(({ bytes }) => bytes === 300_000))
      })
    )

    const early: Record<string, readonly [script: Script, spares: boolean]> = {
      "with an end": [[head(413), data("early", { end: true })], true],
      "with an end and RST_STREAM(NO_ERROR)": [[head(413), data("early", { end: true }), rst(0)], true],
      "with an end and a FIN": [[head(413), data("early", { end: true }), fin], false]
    }
    for (const [name, [script, spares]] of Object.entries(early)) {
      it.live(`is given up when the answer comes before its end: ${name}`, () =>
        Effect.gen(function* () {
          const target = yield* server.listen({ requests: { case: [until({ received: 1 }), ...script] } })
          const pool = yield* http2Pool(oracle, target)
          let interrupted = false
          const endless = Stream.concat(
            Stream.make(new Uint8Array(10)),
            Stream.fromEffect(
              Effect.onInterrupt(Effect.never, () =>
                Effect.sync(() => {
                  interrupted = true
                })
              )
            )
          )
          const { status, text } = yield* fetch(pool, post("/case/1", endless))
          assert.deepStrictEqual([status, text], [413, "early"])
          // A request that is sent into the end of a connection is lost: nothing says that it was not acted on.
          if (!spares) yield* target.until("close", 1)
          assert.strictEqual((yield* fetch(pool, get("/after"))).text, "/after")
          yield* Effect.sleep(50)
          assert.isTrue(interrupted)
          assert.strictEqual(target.count("open"), spares ? 1 : 2)
        })
      )
    }

    it.live("that is not sent to its end is not taken for a whole one by the server", () =>
      Effect.gen(function* () {
        const target = yield* server.listen({ requests: { case: [until({ signal: "never" })] } })
        const pool = yield* http2Pool(oracle, target)
        const some = Stream.make(new Uint8Array(10_000))
        const failing = yield* Effect.flip(fetch(pool, post("/case/1", Stream.concat(some, Stream.fail("broken")))))
        assert.deepInclude(failing, { _tag: "HttpError" })
        const endless = Stream.concat(some, Stream.never)
        const given = yield* Effect.forkChild(fetch(pool, post("/case/2", endless)), { startImmediately: true })
        yield* target.until("request", 2)
        yield* Fiber.interrupt(given)
        const late = fetch(pool, post("/case/3", "x".repeat(100_000)))
        const sent = yield* Effect.forkChild(late, { startImmediately: true })
        yield* target.until("end", 1)
        yield* Fiber.interrupt(sent)
        yield* target.until("reset", 3)
        assert.deepStrictEqual(
          target.facts("end").map(({ bytes }) => bytes),
          [100_000]
        )
        assert.deepStrictEqual(
          target.facts("reset").map(({ code }) => code),
          [8, 8, 8]
        )
        assert.strictEqual(target.count("open"), 1)
      })
    )

    it.live("that is cut off by a TCP reset fails", () =>
      Effect.gen(function* () {
        const target = yield* server.listen({ requests: { case: [until({ received: 1 }), cut] } })
        const pool = yield* http2Pool(oracle, target)
        const endless = Stream.forever(Stream.make(new Uint8Array(10_000)))
        const error = yield* Effect.flip(fetch(pool, post("/case/1", endless)))
        assert.deepInclude(error, { _tag: "HttpError", sent: "maybe" })
        assert.strictEqual((yield* fetch(pool, get("/after"))).text, "/after")
      })
    )
  })

  describe("a response body", () => {
    it.live("that nobody reads holds up no other one", () =>
      Effect.gen(function* () {
        const target = yield* server.listen({
          requests: { large: [ended, head(), body(10 * megabyte, { end: true })] }
        })
        const pool = yield* http2Pool(oracle, target)
        const scope = yield* Scope.make()
        const unread = yield* Effect.forEach(range(6), (i) =>
          Scope.provide(HttpRequest.execute(pool, get(`/large/${i}`)), scope)
        )
        const small = range(100).map((i) => `/small/${i}`)
        const responses = yield* Effect.forEach(small, (path) => fetch(pool, get(path)), { concurrency: 10 })
        assert.deepStrictEqual(
          responses.map(({ text }) => text),
          small
        )
        assert.strictEqual((yield* unread[0]!.bytes).length, 10 * megabyte)
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* fetch(pool, get("/after"))).text, "/after")
        assert.strictEqual(target.count("open"), 1)
      })
    )

    it.live("that is dropped gives its window back", () =>
      Effect.gen(function* () {
        const target = yield* server.listen({
          requests: {
            large: [ended, head(), body(10 * megabyte, { end: true })],
            small: [ended, head(), body(50_000, { end: true })]
          }
        })
        const pool = yield* http2Pool(oracle, target)
        for (const i of range(40)) {
          const path = i % 2 === 0 ? `/large/${i}` : `/small/${i}`
          const { status } = yield* Effect.scoped(HttpRequest.execute(pool, get(path)))
          assert.strictEqual(status, 200)
        }
        assert.strictEqual((yield* fetch(pool, get("/large/after"))).size, 10 * megabyte)
        assert.strictEqual(target.count("open"), 1)
        // A rest that is small comes off the wire without a reset.
        yield* target.sync
        assert.strictEqual(target.count("reset"), 20)
      })
    )
  })
})
