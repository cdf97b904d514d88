import { assert, describe, it } from "@effect/vitest"
import { HttpError } from "@poolkit/http/HttpError"
import * as Effect from "effect/Effect"
import { leakOracle } from "../leakOracle.ts"
import { fetch, get, http1Pool, post, times } from "./client.ts"
import { answers, type Case } from "./http1Cases.ts"
import type { Http1Scenario } from "./http1Script.ts"
import { useFaultServer } from "./suite.ts"

const oracle = leakOracle()
const server = useFaultServer<Http1Scenario>("HTTP/1.1 answers", "./http1Server.ts")

const modes = {
  "a GET on a fresh connection": { fresh: true, make: get },
  "a GET on a used connection": { fresh: false, make: get },
  "a POST on a used connection": { fresh: false, make: post }
}

/** How often the request is written: only a GET that may have met a stale connection is sent again. */
const expectedTimes = (mode: (typeof modes)[keyof typeof modes], { silent }: Case): number =>
  silent === true && !mode.fresh && mode.make === get ? 2 : 1

describe("HttpRequest over HTTP/1.1", () => {
  for (const [name, wrong] of Object.entries(answers)) {
    it.live(`gives every request its own answer or an error: ${name}`, () =>
      Effect.gen(function* () {
        for (const [modeName, mode] of Object.entries(modes)) {
          const target = yield* server.listen({ requests: { case: wrong.script } })
          const pool = yield* http1Pool(oracle, target)
          if (!mode.fresh) assert.strictEqual((yield* fetch(pool, get("/before"))).text, "/before")
          const result = yield* Effect.result(fetch(pool, mode.make("/case/1")))
          if (result._tag === "Success")
            assert.deepStrictEqual({ text: result.success.text }, expectedText(wrong), modeName)
          else {
            assert.instanceOf(result.failure, HttpError)
            assert.deepInclude(result.failure.reason, expectedReason(wrong), modeName)
            assert.strictEqual(result.failure.sent, "maybe")
            assert.strictEqual(result.failure.responseStarted, wrong.silent !== true)
          }
          assert.strictEqual((yield* fetch(pool, get("/after"))).text, "/after", modeName)
          assert.deepInclude(yield* pool.stats, { borrowers: 0, used: 0, pending: 0 })
          yield* target.sync
          const sent = expectedTimes(mode, wrong)
          assert.strictEqual(times(target, "/case/1"), sent, modeName)
          assert.strictEqual(target.count("open"), wrong.kept ? 1 : 1 + sent, modeName)
          assert.strictEqual(target.count("invalid"), 0)
        }
      })
    )
  }
})

const expectedText = ({ outcome }: Case) =>
  "text" in outcome ? { text: outcome.text.replace("{path}", "/case/1") } : {}

const expectedReason = ({ outcome }: Case): object => {
  if ("text" in outcome) return { _tag: "none: the answer is right" }
  return { _tag: outcome.reason, ...(outcome.code !== undefined && { code: outcome.code }) }
}
