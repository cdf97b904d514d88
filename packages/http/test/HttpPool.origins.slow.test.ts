import { describe, it } from "@effect/vitest"
import { leakOracle } from "./leakOracle.ts"
import { manyOrigins } from "./manyOrigins.ts"

const oracle = leakOracle()

describe("HttpPool", () => {
  it.live("serves 10,000 origins over 200 connections", () =>
    manyOrigins(oracle, { origins: 10_000, maxSize: 200, maxKeys: 500, concurrency: 400 })
  )
})
