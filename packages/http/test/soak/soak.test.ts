import { describe, it } from "@effect/vitest"
import { runSeed } from "../../../pool/test/support/random.ts"
import { soak } from "./soaked.ts"

describe("soak", () => {
  it.live("loses nothing in a few seconds of load and faults", () => soak(3, runSeed()), 60_000)
})
