import { assert, describe, it } from "@effect/vitest"
import { runMatrix } from "./support/hooks.ts"
import { Dice, runSeed } from "./support/random.ts"

describe("hook matrix", () => {
  it("whatever the hooks do, every caller settles and nothing is lost (sample)", () => {
    const seed = runSeed()
    const dice = new Dice(seed)
    const { combinations, examples, violations } = runMatrix(() => dice.oneIn(10))
    console.log(`hook matrix: ${combinations} combinations, ${violations} violations (POOLKIT_SEED=${seed})`)
    assert.deepStrictEqual(examples, [])
  })
})
