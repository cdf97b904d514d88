import { assert, describe, it } from "@effect/vitest"
import { runSeed } from "./support/random.ts"
import { kept, replay, runStacks } from "./support/runStacks.ts"

describe("stacks", () => {
  it("a stack of any kinds keeps its promises whatever happens to it (sample)", () => {
    const seed = runSeed()
    const { commands, failure, sequences } = runStacks(400, seed)
    console.log(`stacks: ${sequences} sequences, ${commands} commands (POOLKIT_SEED=${seed})`)
    assert.strictEqual(failure, undefined)
  })

  it("sequences that failed once succeed", () => {
    assert.deepStrictEqual(kept.flatMap(replay), [])
  })
})
