import { assert, describe, it } from "@effect/vitest"
import { runSeed } from "./support/random.ts"
import { sweep } from "./support/sweep.ts"

describe("interruption sweep", () => {
  it("interrupting any operation in any state at any turn loses nothing", () => {
    const seed = runSeed()
    const { cases, examples, leaks } = sweep(["cache", "singleton"], seed, () => true)
    console.log(`sweep: ${cases.toLocaleString("en")} cases, ${leaks} leaks (POOLKIT_SEED=${seed})`)
    assert.deepStrictEqual(examples, [])
    assert.strictEqual(leaks, 0)
  })
})
