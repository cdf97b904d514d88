import { assert, describe, it } from "@effect/vitest"
import { Dice, runSeed } from "./support/random.ts"
import { newerKinds, sweep } from "./support/sweep.ts"

describe("interruption sweep", () => {
  for (const kind of newerKinds) {
    it(`interrupting any operation in any state at any turn loses nothing: ${kind} (sample)`, () => {
      const seed = runSeed()
      const dice = new Dice(seed)
      const { cases, examples, leaks } = sweep([kind], seed, () => dice.oneIn(450))
      console.log(`sweep: ${cases.toLocaleString("en")} cases of ${kind}, ${leaks} leaks (POOLKIT_SEED=${seed})`)
      assert.deepStrictEqual(examples, [])
    })
  }
})
