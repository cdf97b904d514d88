/**
 * Waits that end in an unusual way: in a scope that lives on, after a stall of
 * the event loop, in a pool whose connections are dead on arrival.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as CachePool from "../src/CachePool.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { cache, settle, singleton } from "./support/scene.ts"

for (const [name, make] of [
  ["CachePool", cache],
  ["SingletonPool", singleton]
] as const) {
  describe(name, () => {
    for (const way of ["get", "lease"] as const) {
      it.effect(
        `A1 an interrupted ${way} leaves the line although its scope lives on, wherever its fiber yielded`,
        () =>
          Effect.gen(function* () {
            for (let budget = 3; budget <= 20; budget++) {
              for (let turns = 0; turns < 10; turns++) {
                const { pool } = yield* make({}, TestConnector.makeUnsafe(TestConnector.hang))
                const scope = yield* Scope.make()
                const borrowed: Effect.Effect<unknown, unknown, Scope.Scope> = way === "get" ? pool.get() : pool.lease()
                const fiber = yield* borrowed.pipe(
                  Scope.provide(scope),
                  Effect.provideService(Scheduler.MaxOpsBeforeYield, budget),
                  Effect.forkChild
                )
                for (let i = 0; i < turns; i++) yield* Effect.yieldNow
                yield* Fiber.interrupt(fiber)
                yield* settle
                assert.strictEqual((yield* pool.stats).pending, 0, `budget ${budget}, ${turns} turns`)
              }
            }
          })
      )
    }
  })
}

describe("CachePool", () => {
  it.live(
    "A7 waiters whose connections died while the event loop stalled over their deadline time out all the same",
    () =>
      Effect.gen(function* () {
        let open = true
        let waiting = 0
        const pool = yield* CachePool.make({
          connect: () => (open ? Effect.succeed({}) : Effect.never),
          isOpen: () => open,
          maxSize: 200,
          waitTimeout: 200,
          connectTimeout: "1 minute"
        })
        const leave: Array<() => void> = []
        const hold = Effect.callback<void>((resume) => {
          leave.push(() => resume(Effect.void))
        })
        for (let i = 0; i < 200; i++) yield* Effect.forkChild(pool.use(() => hold))
        yield* Effect.sleep(20)
        for (let i = 0; i < 200; i++) {
          waiting++
          const ended = Effect.sync(() => {
            waiting--
          })
          yield* Effect.forkChild(
            Effect.ensuring(
              pool.use(() => Effect.void),
              ended
            )
          )
        }
        yield* Effect.callback<void>((resume) => {
          // The returns and the deadline come due during the stall, and fire in one go after it.
          setTimeout(() => {
            const until = Date.now() + 160
            while (Date.now() < until);
          }, 130)
          setTimeout(() => {
            for (const go of leave) go()
            queueMicrotask(() => queueMicrotask(() => (open = false)))
            resume(Effect.void)
          }, 160)
        })
        yield* Effect.sleep(600)
        assert.deepStrictEqual([waiting, (yield* pool.stats).pending], [0, 0])
      })
  )

  it.live("a peer whose connections are dead on arrival does not freeze the process where the backoff says 0", () =>
    Effect.gen(function* () {
      const pool = yield* CachePool.make({
        connect: () => Effect.succeed({}),
        isOpen: () => false,
        backoff: Schedule.spaced(0),
        waitTimeout: 50
      })
      const error = yield* Effect.flip(pool.use(() => Effect.void))
      assert.strictEqual(error.reason._tag, "WaitTimeout")
    })
  )
})
