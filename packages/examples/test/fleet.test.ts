import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawnSync } from "node:child_process"
import * as Fleet from "../src/fleet/main.ts"

const missing = spawnSync("redis-server", ["--version"]).error !== undefined
if (missing) console.warn("SKIPPED: redis-server not installed; scripts/install-servers.sh installs what tests need")

describe.skipIf(missing)("fleet", () => {
  it.live(
    "three processes share 12 connections fairly, and what one does not use or had when it died goes to others",
    () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* Fleet.program, {
          rows: [
            { what: "all are busy", connections: [4, 4, 4] },
            { what: "a rests", connections: [0, 6, 6] },
            { what: "b was killed", connections: [0, 0, 12] },
            { what: "a is busy again", connections: [6, 0, 6] }
          ],
          most: 12
        })
      })
  )
})
