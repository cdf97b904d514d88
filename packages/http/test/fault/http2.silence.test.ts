import { assert, describe, it } from "@effect/vitest"
import { HttpError } from "@poolkit/http/HttpError"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { leakOracle } from "../leakOracle.ts"
import { fetch, get, http2Pool } from "./client.ts"
import { FrameType } from "./frames.ts"
import {
  data,
  deaf,
  delay,
  ended,
  frame,
  goaway,
  head,
  type Http2Scenario,
  ok,
  type Script,
  settings,
  until
} from "./http2Script.ts"
import { useFaultServer } from "./suite.ts"

const oracle = leakOracle()
const server = useFaultServer<Http2Scenario>("HTTP/2 silence", "./http2Server.ts")

const never = until({ signal: "never" })

const reasonOf = (error: unknown): object => {
  if (error instanceof HttpError) return error.reason
  return assert.fail(String(error))
}

describe("HttpRequest over HTTP/2", () => {
  describe("a server that stalls one request", () => {
    const stalls: Record<string, readonly [script: Script, phase: "headers" | "body", spares: boolean]> = {
      "before the head": [[never], "headers", true],
      "after an informational response": [[ended, head(103), never], "headers", true],
      "after the head": [[ended, head(), never], "body", true],
      "within the body": [[ended, head(200, { "content-length": "9" }), data("half"), never], "body", true],
      "after the body, without an end": [[ended, head(), data("all"), never], "body", true],
      // Until the head is complete the protocol allows no other frame.
      "within the head": [[ended, frame(FrameType.headers, 0, "88"), never], "headers", false],
      "after it has said that it goes, and that it allows no stream": [
        [ended, goaway("this"), settings([3, 0]), never],
        "headers",
        false
      ]
    }
    for (const [name, [script, phase, spares]] of Object.entries(stalls)) {
      it.live(`${name} fails it in time, once, and ${spares ? "nothing else" : "the next one is served"}`, () =>
        Effect.gen(function* () {
          const target = yield* server.listen({ requests: { case: script } })
          const pool = yield* http2Pool(oracle, target, { headersTimeout: 100, bodyTimeout: 100 })
          const started = performance.now()
          const reason = reasonOf(yield* Effect.flip(fetch(pool, get("/case/1"))))
          assert.deepInclude(reason, { _tag: "ResponseTimeout", phase })
          assert.isAtLeast(performance.now() - started, 98)
          if (!spares && phase === "headers" && name === "within the head") return
          assert.strictEqual((yield* fetch(pool, get("/after"))).text, "/after")
          yield* target.sync
          assert.strictEqual(target.count("request"), 2)
          assert.strictEqual(target.count("open"), spares ? 1 : 2)
          if (spares) assert.strictEqual(target.count("reset"), 1)
        })
      )
    }
  })

  describe("a server that does not answer a PING", () => {
    const options = { pingInterval: 50, pingTimeout: 100, headersTimeout: 5_000 }
    const servers: Record<string, Pick<Http2Scenario, "connections" | "requests">> = {
      "but reads": { connections: [{ pong: false, requests: { "*": [never] } }, {}] },
      "and does not even read": { connections: [{ requests: { "*": [deaf] } }, {}] },
      "and has not even sent SETTINGS": { connections: [{ settings: "none", start: [deaf] }, {}] }
    }
    for (const [name, scenario] of Object.entries(servers)) {
      it.live(`${name} loses the connection in time, with all that is on it`, () =>
        Effect.gen(function* () {
          const target = yield* server.listen(scenario)
          const pool = yield* http2Pool(oracle, target, { maxSize: 1, ...options })
          const started = performance.now()
          const errors = yield* Effect.forEach(["/1", "/2", "/3"], (path) => Effect.flip(fetch(pool, get(path))), {
            concurrency: "unbounded"
          })
          assert.isAtLeast(performance.now() - started, 145)
          assert.isBelow(performance.now() - started, 2_000)
          for (const error of errors)
            assert.deepInclude(reasonOf(error), { _tag: "ConnectionLost", code: "PING_TIMEOUT" })
          assert.strictEqual((yield* fetch(pool, get("/after"))).text, "/after")
          assert.strictEqual(target.count("open"), 2)
        })
      )
    }

    it.live("since requests were given up loses the connection too, by one PING", () =>
      Effect.gen(function* () {
        const target = yield* server.listen({ connections: [{ pong: false }, {}], requests: { never: [never] } })
        const pool = yield* http2Pool(oracle, target, { maxSize: 1, pingInterval: 5_000, pingTimeout: 100 })
        yield* fetch(pool, get("/first"))
        const requests = yield* Effect.forEach(["/never/1", "/never/2", "/never/3"], (path) =>
          Effect.forkChild(fetch(pool, get(path)), { startImmediately: true })
        )
        yield* target.until("request", 4)
        yield* Effect.forEach(requests, Fiber.interrupt)
        yield* target.until("close", 1)
        assert.strictEqual((yield* fetch(pool, get("/after"))).text, "/after")
        assert.strictEqual(target.count("ping"), 1)
      })
    )
  })

  it.live("requests that are begun and given up all the time do not keep a dead connection alive", () =>
    Effect.gen(function* () {
      const target = yield* server.listen({ connections: [{ pong: false }, {}], requests: { never: [never] } })
      const pool = yield* http2Pool(oracle, target, {
        maxSize: 1,
        maxResets: 1_000,
        pingInterval: 5_000,
        pingTimeout: 200
      })
      yield* fetch(pool, get("/first"))
      const started = performance.now()
      while (target.count("close") === 0) {
        assert.isBelow(performance.now() - started, 3_000)
        yield* Effect.ignore(Effect.timeoutOption(fetch(pool, get("/never/1")), 20))
      }
      assert.strictEqual((yield* fetch(pool, get("/after"))).text, "/after")
    })
  )

  it.live("a server that sends anything within pingTimeout is alive, whether it answers the PING or not", () =>
    Effect.gen(function* () {
      const target = yield* server.listen({ connections: [{ pong: false }], requests: { slow: [delay(350), ...ok] } })
      const pool = yield* http2Pool(oracle, target, { maxSize: 1, pingInterval: 100, pingTimeout: 400 })
      assert.strictEqual((yield* fetch(pool, get("/slow/1"))).text, "/slow/1")
      assert.strictEqual(target.count("ping"), 1)
      // Until the time to answer is over.
      yield* Effect.sleep(400)
      assert.strictEqual((yield* fetch(pool, get("/after"))).text, "/after")
      assert.strictEqual(target.count("open"), 1)
    })
  )

  it.live("a PING that is answered keeps a slow request alive", () =>
    Effect.gen(function* () {
      const target = yield* server.listen({ requests: { slow: [until({ signal: "go" }), ...ok] } })
      const pool = yield* http2Pool(oracle, target, { pingInterval: 30, pingTimeout: 1_000 })
      const fiber = yield* Effect.forkChild(fetch(pool, get("/slow/1")), { startImmediately: true })
      yield* target.until("ping", 3)
      target.signal("go")
      assert.strictEqual((yield* Fiber.join(fiber)).text, "/slow/1")
      yield* target.sync
      const pings = target.count("ping")
      // An idle connection is not pinged.
      yield* Effect.sleep(100)
      yield* target.sync
      assert.strictEqual(target.count("ping"), pings)
      assert.strictEqual(target.count("open"), 1)
    })
  )
})
