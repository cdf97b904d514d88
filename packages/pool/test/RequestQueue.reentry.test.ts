/** Request queues that are called from within: from the first step of a send, and from observers. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as CachePool from "../src/CachePool.ts"
import * as RequestQueue from "../src/RequestQueue.ts"
import { describeExit, settle } from "./support/scene.ts"

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

  describe("observer", () => {
    /** Five requests, one in flight and two in the queue, whose senders are interrupted when the observer is told. */
    const interrupting = (
      told: "answered" | "dropped" | "forwarded" | "queued" | "retried",
      victim = (n: number) => n
    ) =>
      Effect.gen(function* () {
        const senders: Array<Fiber.Fiber<number, unknown>> = []
        const queue = yield* RequestQueue.make({
          pool: CachePool.make({ connect: () => Effect.succeed("connection"), maxSize: 1 }),
          send: (_, n: number) => Effect.as(Effect.yieldNow, n),
          capacity: 2,
          strategy: "sliding",
          observer: { [told]: (n: number) => senders[victim(n)]?.interruptUnsafe() }
        })
        for (let n = 0; n < 5; n++) senders.push(Effect.runFork(queue.send(n)))
        return { queue, states: () => senders.map((s) => (s.pollUnsafe() ? describeExit(s.pollUnsafe()!) : "waits")) }
      })

    for (const [told, victim, expected] of [
      ["dropped", undefined, ["ok", "interrupted", "interrupted", "ok", "ok"]],
      ["answered", undefined, ["interrupted", "QueueFull", "QueueFull", "interrupted", "interrupted"]],
      // The one that slides out to make room for it.
      ["queued", (n: number) => (n === 3 ? 1 : -1), ["ok", "interrupted", "QueueFull", "ok", "ok"]]
    ] as const) {
      it.effect(`may interrupt senders when it is told that a request was ${told}`, () =>
        Effect.gen(function* () {
          const { queue, states } = yield* interrupting(told, victim)
          yield* settle
          yield* settle
          assert.deepStrictEqual(states(), [...expected])
          assert.strictEqual(yield* queue.send(9), 9)
          const { dropped, failed, inFlight, interrupted, queued, succeeded } = yield* queue.stats
          assert.deepStrictEqual([inFlight, queued, succeeded + failed + dropped + interrupted], [0, 0, 6])
        })
      )
    }

    it.effect("may interrupt senders while the queue drains", () =>
      Effect.gen(function* () {
        const { queue, states } = yield* interrupting("answered")
        yield* queue.drain()
        yield* settle
        assert.deepStrictEqual(states(), ["interrupted", "QueueFull", "QueueFull", "interrupted", "interrupted"])
        const { dropped, failed, interrupted, queued, succeeded } = yield* queue.stats
        assert.deepStrictEqual([queued, succeeded, failed, dropped, interrupted], [0, 0, 3, 2, 0])
      })
    )
  })

  describe("interruption", () => {
    it.effect("a send that interrupts itself has failed, and its sender was not interrupted", () =>
      Effect.gen(function* () {
        const queue = yield* RequestQueue.make({
          pool: CachePool.make({ connect: () => Effect.succeed("connection") }),
          send: () => Effect.andThen(Effect.yieldNow, Effect.interrupt)
        })
        assert.strictEqual(describeExit(yield* Effect.exit(queue.send("request"))), "interrupted")
        const { failed, interrupted } = yield* queue.stats
        assert.deepStrictEqual([failed, interrupted], [1, 0])
      })
    )
  })
})
