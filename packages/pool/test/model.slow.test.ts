import { assert, describe, it } from "@effect/vitest"
import { runSeed } from "./support/random.ts"
import { runModel } from "./support/runModel.ts"
import { summary } from "./support/sequences.ts"

/** Of each kind. `POOLKIT_SEQUENCES` asks for more, or fewer; `POOLKIT_TIMES` multiplies. */
const sequences = Number(process.env["POOLKIT_SEQUENCES"] ?? 20_000) * Number(process.env["POOLKIT_TIMES"] ?? 1)

describe("model", () => {
  for (const kind of ["cache", "singleton"] as const) {
    it(`a ${kind} keeps its promises whatever happens to it`, { timeout: 36_000_000 }, () => {
      const seed = runSeed()
      const report = runModel(kind, sequences, seed)
      console.log(summary(`a ${kind}`, report, seed))
      assert.strictEqual(report.failure, undefined)
    })
  }
})
