import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { fail } from "../src/testing/TestConnector.ts"
import { everySecond, gates, once, singleton } from "./support/scene.ts"

describe("SingletonPool", () => {
  describe("failing", () => {
    it.effect(
      "S1 S4 a caller that asks again at once gets the next attempt, although others are still being told",
      () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* singleton({ backoff: everySecond })
          const [end] = gates(peer, fail)
          const seen: Array<string> = []
          const twice = Effect.gen(function* () {
            seen.push(yield* once(pool))
            seen.push(yield* once(pool))
          })
          const callers = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(twice, { startImmediately: true }))
          yield* end!
          yield* TestClock.adjust("1 second")
          yield* Fiber.joinAll(callers)
          const again = ["has 2", "has 2", "has 2"]
          assert.deepStrictEqual(seen.slice(0, 3), ["TestConnectError 1", "TestConnectError 1", "TestConnectError 1"])
          assert.deepStrictEqual(seen.slice(3), again)
          assert.strictEqual(peer.attempts(), 2)
        })
    )
  })
})
