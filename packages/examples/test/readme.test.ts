import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestConsole } from "effect/testing"
import { readFileSync } from "node:fs"
import { program } from "../src/stack.ts"

const read = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8")

describe("README", () => {
  const fences = [...read("../../../README.md").matchAll(/```(\w*)\n([^]*?)```/g)].map(([, language, text]) => ({
    language,
    text: text!
  }))

  it("shows the example as it is", () => {
    const source = read("../src/stack.ts").split("\nif (import.meta.main)")[0]!
    assert.strictEqual(fences.find(({ language }) => language === "ts")!.text, source)
  })

  it.live("shows the result of the example", () =>
    Effect.gen(function* () {
      yield* program
      const lines = yield* TestConsole.logLines
      assert.strictEqual(fences.find(({ language }) => language === "text")!.text, `${lines.join("\n")}\n`)
    }).pipe(Effect.provide(TestConsole.layer))
  )
})
