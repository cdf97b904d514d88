import { describe, it } from "@effect/vitest"
import { manyKeys } from "./support/general.ts"

describe("compositions", () => {
  it.effect(
    "10,000 keys through a cap of 200 connections and 500 keys: the cap holds, no key starves, nothing is left",
    () => manyKeys({ keys: 10_000, maxSize: 200, maxKeys: 500, concurrency: 450 })
  )

  it.effect("10,000 keys, one caller at a time for each of two connections", () =>
    manyKeys({ keys: 10_000, maxSize: 2, maxKeys: 10, concurrency: 8 })
  )
})
