import { assert, describe, it } from "@effect/vitest"
import { Dice, runSeed } from "./support/random.ts"
import { sweep } from "./support/sweep.ts"

describe("interruption sweep", () => {
  it("interrupting any operation in any state at any turn loses nothing (sample)", () => {
    const seed = runSeed()
    const dice = new Dice(seed)
    const { cases, examples, leaks } = sweep(["cache", "singleton"], seed, () => dice.oneIn(50))
    console.log(`sweep: ${cases.toLocaleString("en")} cases, ${leaks} leaks (POOLKIT_SEED=${seed})`)
    assert.deepStrictEqual(examples, [])
  })
})
