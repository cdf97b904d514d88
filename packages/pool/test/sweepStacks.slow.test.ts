import { assert, describe, it } from "@effect/vitest"
import { runSeed } from "./support/random.ts"
import { newerKinds, sweep } from "./support/sweep.ts"

/**
 * One case in so many, which the seed chooses. It has no divisor in common with
 * the number of turns, so that every operation in every state meets every budget
 * and every turn. `POOLKIT_SWEEP=1` runs all, in a quarter of an hour.
 */
const every = Number(process.env["POOLKIT_SWEEP"] ?? 17)

describe("interruption sweep", () => {
  for (const kind of newerKinds) {
    it(`interrupting any operation in any state at any turn loses nothing: ${kind}`, { timeout: 3_600_000 }, () => {
      const seed = runSeed()
      const { cases, examples, leaks } = sweep([kind], seed, (index) => (index + seed) % every === 0)
      console.log(`sweep: ${cases.toLocaleString("en")} cases of ${kind}, ${leaks} leaks (POOLKIT_SEED=${seed})`)
      assert.deepStrictEqual(examples, [])
      assert.strictEqual(leaks, 0)
    })
  }
})
