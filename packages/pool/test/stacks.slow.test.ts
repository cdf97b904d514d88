import { assert, describe, it } from "@effect/vitest"
import { runSeed } from "./support/random.ts"
import { runStacks } from "./support/runStacks.ts"
import { summary } from "./support/sequences.ts"

/** `POOLKIT_SEQUENCES` asks for more, or fewer; `POOLKIT_TIMES` multiplies. */
const wanted = Number(process.env["POOLKIT_SEQUENCES"] ?? 12_000) * Number(process.env["POOLKIT_TIMES"] ?? 1)

describe("stacks", () => {
  it("a stack of any kinds keeps its promises whatever happens to it", { timeout: 36_000_000 }, () => {
    const seed = runSeed()
    const report = runStacks(wanted, seed)
    console.log(summary("stacks", report, seed))
    assert.strictEqual(report.failure, undefined)
  })
})
