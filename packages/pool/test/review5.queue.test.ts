/** Request queues whose requests are sent from within one another's first steps. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as CachePool from "../src/CachePool.ts"
import * as RequestQueue from "../src/RequestQueue.ts"
import { settle } from "./support/scene.ts"

describe("RequestQueue", () => {
  describe("capacity and strategy", () => {
    for (const strategy of ["dropping", "sliding"] as const) {
      it.effect(`${strategy}: requests that a send makes in its first step are too many only beyond concurrency`, () =>
        Effect.gen(function* () {
          const outcomes: Array<string> = []
          const nested = (n: number) =>
            Effect.runFork(queue.send(n)).addObserver((exit) =>
              outcomes.push(`${n} ${Exit.isSuccess(exit) ? "sent" : "dropped"}`)
            )
          const queue: RequestQueue.RequestQueue<number, void> = yield* RequestQueue.make({
            pool: CachePool.make({ connect: () => Effect.succeed("connection"), maxSize: 3 }),
            send: (_, n: number) => (n === 0 ? Effect.sync(() => [1, 2, 3].forEach(nested)) : Effect.yieldNow),
            capacity: 0,
            strategy
          })
          yield* queue.send(0)
          yield* settle
          const dropped = strategy === "dropping" ? 3 : 1
          assert.deepStrictEqual(
            outcomes.toSorted(),
            [1, 2, 3].map((n) => `${n} ${n === dropped ? "dropped" : "sent"}`)
          )
        })
      )
    }
  })
})
