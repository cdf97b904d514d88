import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as PoolLayer from "../src/poolLayer.ts"
import * as ScopedWorkflow from "../src/scopedWorkflow.ts"

describe("examples", () => {
  it.live("a pool layer serves 20 fibers with 4 connections", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* PoolLayer.program, "100 values, sum 4950, over 4 connections")
    })
  )

  it.live("a workflow that fails in the middle harms nobody", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* ScopedWorkflow.program, [
        "while the transfer ran, 1 caller waited",
        "the transfer failed: unknown command GIVE",
        "alice still has 100; 2 connections opened, 1 closed"
      ])
    })
  )
})
