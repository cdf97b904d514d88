import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as TestClock from "effect/testing/TestClock"
import { fail } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { cache } from "./support/scene.ts"

describe("CachePool", () => {
  describe("backoff", () => {
    it.effect("C7 by default pauses differ although they grow no more, so that a fleet does not try in step", () =>
      Effect.gen(function* () {
        const clock = yield* TestClock.testClockWith(Effect.succeed)
        const { pool } = yield* cache({ minSize: 1 }, TestConnector.makeUnsafe(fail))
        const times: Array<number> = []
        yield* pool.observe({
          connecting: () => {
            times.push(clock.currentTimeMillisUnsafe())
          }
        })
        yield* TestClock.adjust("40 seconds")
        const pauses = times.slice(1).map((time, index) => time - times[index]!)
        // From here on they would be 5 seconds each.
        const longest = pauses.slice(6)
        assert.isAtLeast(longest.length, 4)
        assert.strictEqual(new Set(longest.map(Math.round)).size, longest.length, String(longest))
      }).pipe(Random.withSeed("backoff"))
    )

    it.effect("C7 goes on trying, whatever fraction of a millisecond a pause ends at", () =>
      Effect.gen(function* () {
        for (const seed of ["backoff", "jitter", "1", "2", "3"]) {
          const { peer } = yield* cache({ minSize: 1 }, TestConnector.makeUnsafe(fail)).pipe(Random.withSeed(seed))
          yield* TestClock.adjust("2 minutes")
          const before = peer.attempts()
          yield* TestClock.adjust("10 seconds")
          assert.isAtLeast(peer.attempts() - before, 1, seed)
        }
      })
    )
  })
})
