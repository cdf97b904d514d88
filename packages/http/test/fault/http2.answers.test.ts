import { assert, describe, it } from "@effect/vitest"
import * as HttpConnection from "@poolkit/http/HttpConnection"
import { HttpError } from "@poolkit/http/HttpError"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Result from "effect/Result"
import { leakOracle } from "../leakOracle.ts"
import { fetch, get, http2Connection, http2Pool, post, times } from "./client.ts"
import { answers, type Case } from "./http2Cases.ts"
import { data, ended, head, type Http2Scenario, type Script, until } from "./http2Script.ts"
import { useFaultServer } from "./suite.ts"

const oracle = leakOracle()
const server = useFaultServer<Http2Scenario>("HTTP/2 answers", "./http2Server.ts")

/** Another request, that is half answered when the fault comes. */
const other: Script = [ended, head(), data("half"), until({ signal: "go" }), data("{path}", { end: true })]

describe("HttpRequest over HTTP/2", () => {
  for (const [name, wrong] of Object.entries(answers)) {
    it.live(`settles, and spares what the fault does not concern: ${name}`, () =>
      Effect.gen(function* () {
        for (const make of [get, post]) {
          const target = yield* server.listen(
            wrong.once === true
              ? { once: { "/case/1": wrong.script }, requests: { other } }
              : { requests: { case: wrong.script, other } }
          )
          const pool = yield* http2Pool(oracle, target)
          const bystander = yield* Effect.forkChild(Effect.result(fetch(pool, get("/other/1"))), {
            startImmediately: true
          })
          yield* target.until("end", 1)
          const result = yield* Effect.result(fetch(pool, make("/case/1")))
          check(wrong, result)
          target.signal("go")
          const { _tag, ...spared } = yield* Fiber.join(bystander)
          assert.strictEqual(_tag, wrong.spares === "nothing" ? "Failure" : "Success")
          if ("success" in spared) assert.strictEqual(spared.success.text, "half/other/1")
          assert.strictEqual((yield* fetch(pool, get("/after"))).text, "/after")
          assert.deepInclude(yield* pool.stats, { borrowers: 0, used: 0, pending: 0 })
          yield* target.sync
          assert.strictEqual(times(target, "/case/1"), wrong.times ?? 1)
          assert.strictEqual(times(target, "/other/1"), 1)
          assert.strictEqual(target.count("open"), wrong.spares === "all" ? 1 : 2)
          assert.strictEqual(target.count("invalid"), 0)
        }
      })
    )
  }
})

describe("HttpConnection.request over HTTP/2", () => {
  for (const [name, wrong] of Object.entries(answers)) {
    it.live(`settles, and sends nothing again: ${name}`, () =>
      Effect.gen(function* () {
        const target = yield* server.listen({ requests: { case: wrong.script } })
        const connection = yield* http2Connection(target)
        const response = HttpConnection.request(connection, post("/case/1"))
        const result = yield* Effect.result(Effect.scoped(Effect.flatMap(response, read)))
        if (wrong.once === true) check({ ...wrong, outcome: { reason: "RequestRefused", code: "GOAWAY" } }, result)
        else check(wrong, result)
        yield* target.sync
        assert.strictEqual(times(target, "/case/1"), 1)
        assert.strictEqual(connection.isOpen(), wrong.spares === "all")
      })
    )
  }
})

const read = ({ headers, text }: HttpConnection.HttpResponse) => Effect.map(text, (text) => ({ headers, text }))

const check = (
  { outcome, started = true }: Case,
  result: Result.Result<{ readonly text: string; readonly headers: object }, unknown>
) => {
  if (result._tag === "Success") {
    const { headers, text } = result.success
    assert.deepStrictEqual({ text }, outcome)
    assert.isFalse(/[\0\r\n]/.test(Object.values(headers).join()))
    return
  }
  const error = result.failure
  if (!(error instanceof HttpError)) return assert.fail(String(error))
  if ("text" in outcome) return assert.fail(`failed: ${error.message}`)
  const { code, reason } = outcome
  const expected: object = { _tag: reason, ...(code !== undefined && { code }) }
  assert.deepInclude(error.reason, expected)
  assert.strictEqual(error.sent, reason === "RequestRefused" ? "none" : "maybe")
  if (started !== "perhaps") assert.strictEqual(error.responseStarted, started)
}
