import { assert, describe, it } from "@effect/vitest"
import { HttpError } from "@poolkit/http/HttpError"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Effect from "effect/Effect"
import { leakOracle } from "../leakOracle.ts"
import { get, http2Pool } from "./client.ts"
import { body, cut, ended, fin, goaway, head, type Http2Scenario, rst, type Script } from "./http2Script.ts"
import { useFaultServer } from "./suite.ts"

const oracle = leakOracle()
const server = useFaultServer<Http2Scenario>("HTTP/2 truncation", "./http2Server.ts")

const ends: Record<string, Script> = {
  "a FIN": [fin],
  "a RST": [cut],
  ...Object.fromEntries([0, 1, 2, 3, 5, 7, 8, 11].map((code) => [`RST_STREAM(${code})`, [rst(code)]])),
  "GOAWAY and a FIN": [goaway("this"), fin],
  "GOAWAY with an error": [goaway("this", 2)],
  "GOAWAY with an error and a FIN": [goaway("this", 11), fin]
}

/** Less than what a body holds unread, and more. */
const sizes = [5, 200_000]

describe("HttpRequest over HTTP/2", () => {
  for (const [name, end] of Object.entries(ends)) {
    it.live(`never takes a part of a body for the whole: ${name}`, () =>
      Effect.gen(function* () {
        for (const size of sizes) {
          for (const declared of [true, false]) {
            for (const slow of [true, false]) {
              const fields = declared ? { "content-length": String(size * 2) } : {}
              const target = yield* server.listen({
                requests: { case: [ended, head(200, fields), body(size), ...end] }
              })
              const pool = yield* http2Pool(oracle, target)
              const result = yield* Effect.result(
                Effect.scoped(
                  Effect.gen(function* () {
                    const response = yield* HttpRequest.execute(pool, get("/case/1"))
                    // The reader comes when all is over.
                    if (slow) yield* target.until("done", 1).pipe(Effect.delay(10))
                    return yield* response.bytes
                  })
                )
              )
              const what = JSON.stringify({ size, declared, slow })
              if (result._tag === "Success") {
                // node does not tell this one from a body that is complete.
                assert.isTrue(name === "RST_STREAM(0)" && !declared, what)
                assert.strictEqual(result.success.length, size)
              } else {
                assert.instanceOf(result.failure, HttpError)
                assert.deepInclude(result.failure, { sent: "maybe" }, what)
                assert.include(["ConnectionLost", "InvalidResponse"], (result.failure as HttpError).reason._tag)
              }
            }
          }
        }
      })
    )
  }
})
