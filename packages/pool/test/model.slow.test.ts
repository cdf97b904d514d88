import { assert, describe, it } from "@effect/vitest"
import { runSeed } from "./support/random.ts"
import { runModel } from "./support/runModel.ts"

/** Of each kind. `POOLKIT_SEQUENCES` asks for more, or fewer. */
const sequences = Number(process.env["POOLKIT_SEQUENCES"] ?? 20_000)

describe("model", () => {
  for (const kind of ["cache", "singleton"] as const) {
    it(`a ${kind} keeps its promises whatever happens to it`, { timeout: 3_600_000 }, () => {
      const seed = runSeed()
      const { commands, failure, sequences: run } = runModel(kind, sequences, seed)
      const count = (n: number) => n.toLocaleString("en")
      console.log(`model: ${count(run)} sequences, ${count(commands)} commands of a ${kind} (POOLKIT_SEED=${seed})`)
      assert.strictEqual(failure, undefined)
    })
  }
})
