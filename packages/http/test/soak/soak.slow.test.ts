import { describe, it } from "@effect/vitest"
import { runSeed } from "../../../pool/test/support/random.ts"
import { parseSeconds, soak } from "./soaked.ts"

/** How long to load it: `POOLKIT_SOAK=30m` takes half an hour. */
const seconds = parseSeconds(process.env["POOLKIT_SOAK"] ?? "120s")

describe("soak", () => {
  it.live(
    "loses nothing while everything goes wrong that can, and keeps its promises about time",
    () => soak(seconds, runSeed()),
    1_000 * seconds + 200_000
  )
})
