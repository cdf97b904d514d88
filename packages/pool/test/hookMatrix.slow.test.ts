import { assert, describe, it } from "@effect/vitest"
import { runMatrix } from "./support/hooks.ts"

describe("hook matrix", () => {
  it("whatever connect, validate, close, isOpen and the body do, every caller settles and nothing is lost", () => {
    const { combinations, examples, violations } = runMatrix(() => true)
    console.log(`hook matrix: ${combinations.toLocaleString("en")} combinations, ${violations} violations`)
    assert.deepStrictEqual(examples, [])
  })
})
