import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leakOracle } from "./leakOracle.ts"
import { staleKeepAlive } from "./staleKeepAlive.ts"

const oracle = leakOracle()

describe("HttpRequest", () => {
  describe("a server that closes idle connections at any moment", () => {
    it.live("costs no GET", () =>
      Effect.gen(function* () {
        const outcome = yield* staleKeepAlive(oracle, { method: "GET", rounds: 2_000 })
        assert.strictEqual(outcome.failed, 0)
        assert.isAbove(outcome.closed, 700)
      })
    )

    it.live("executes no POST twice", () =>
      Effect.gen(function* () {
        const outcome = yield* staleKeepAlive(oracle, { method: "POST", rounds: 2_000 })
        assert.strictEqual(outcome.repeated, 0)
        assert.isAbove(outcome.closed, 700)
      })
    )
  })
})
