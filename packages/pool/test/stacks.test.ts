import { assert, describe, it } from "@effect/vitest"
import { runSeed } from "./support/random.ts"
import { kept, replay, runStacks } from "./support/runStacks.ts"
import { summary } from "./support/sequences.ts"

describe("stacks", () => {
  it("a stack of any kinds keeps its promises whatever happens to it (sample)", () => {
    const seed = runSeed()
    const report = runStacks(400, seed)
    console.log(summary("stacks", report, seed))
    assert.strictEqual(report.failure, undefined)
  })

  it("sequences that failed once succeed", () => {
    assert.deepStrictEqual(kept.flatMap(replay), [])
  })
})
