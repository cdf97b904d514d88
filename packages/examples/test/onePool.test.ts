import { assert, describe, it } from "@effect/vitest"
import { PoolLaws } from "@poolkit/pool/testing"
import * as Duration from "effect/Duration"
import { readFileSync } from "node:fs"
import * as OnePool from "../src/onePool.ts"

const read = (path: string) => readFileSync(new URL(path, import.meta.url), "utf8")

describe("a kind of one's own", () => {
  const laws = PoolLaws.laws({
    make: (connect) => OnePool.make({ connect, waitTimeout: Duration.seconds(30) }),
    shared: false,
    maxSize: 1
  })
  for (const { law, name } of laws) it.effect(name, () => law)

  it("is shown in the guide as it is", () => {
    const guide = read("../../../docs/guides/write-a-kind.md")
    const [, fence] = /```ts name=onePool\.ts\n([^]*?)```/.exec(guide) ?? []
    assert.strictEqual(fence, read("../src/onePool.ts"))
  })
})
