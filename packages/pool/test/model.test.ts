import { assert, describe, it } from "@effect/vitest"
import { runSeed } from "./support/random.ts"
import { kept, replay, runModel } from "./support/runModel.ts"
import { summary } from "./support/sequences.ts"

const sequences = 1_000

describe("model", () => {
  for (const kind of ["cache", "singleton"] as const) {
    it(`a ${kind} keeps its promises whatever happens to it (sample)`, () => {
      const seed = runSeed()
      const report = runModel(kind, sequences, seed)
      console.log(summary(`a ${kind}`, report, seed))
      assert.strictEqual(report.failure, undefined)
    })
  }

  it("sequences that failed once succeed", () => {
    assert.deepStrictEqual(
      kept.map(replay).filter((wrongs) => wrongs.length > 0),
      []
    )
  })
})
