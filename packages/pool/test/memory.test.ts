import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { hang } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import * as CachePool from "../src/CachePool.ts"
import * as ConnectionLimit from "../src/ConnectionLimit.ts"
import { borrow, cache, once, settle, singleton } from "./support/scene.ts"

declare const gc: () => void

/** How many of the bodies that `start` was given are still referenced after their callers have left. */
const retained = (start: (body: () => Effect.Effect<void>) => Effect.Effect<unknown, unknown>) =>
  Effect.gen(function* () {
    const refs: Array<WeakRef<object>> = []
    yield* Effect.suspend(() => {
      const callers = Array.from({ length: 500 }, () => {
        const body = () => Effect.void
        refs.push(new WeakRef(body))
        return start(body)
      })
      return Effect.flatMap(
        Effect.forEach(callers, (caller) => Effect.forkChild(caller)),
        (fibers) => Effect.andThen(settle, Fiber.interruptAll(fibers))
      )
    })
    yield* settle
    return yield* alive(refs)
  })

/** How many of them cannot be collected. */
const alive = Effect.fnUntraced(function* (refs: ReadonlyArray<WeakRef<object>>) {
  // What was kept for the current job only is let go after some turns of the event loop.
  let left = refs.length
  for (let turn = 0; turn < 20 && left >= 10; turn++) {
    yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
    gc()
    left = refs.filter((ref) => ref.deref() !== undefined).length
  }
  return left
})

describe("ConnectionLimit", () => {
  describe("memory", () => {
    it.effect("pools that have closed are not kept by a limit that lives on", () =>
      Effect.gen(function* () {
        const limit = yield* ConnectionLimit.make({ max: 2 })
        const refs: Array<WeakRef<object>> = []
        const live = Effect.gen(function* () {
          const isOpen = () => true
          refs.push(new WeakRef(isOpen))
          const { connect } = TestConnector.makeUnsafe()
          yield* once(yield* CachePool.make({ connect, isOpen, limit }))
        })
        yield* Effect.replicateEffect(Effect.scoped(live), 100, { discard: true })
        const left = yield* alive(refs)
        assert.isTrue(left < 10, `${left} of 100 are still referenced`)
        assert.deepStrictEqual(yield* limit.stats, { max: 2, used: 0, waiting: 0 })
      })
    )
  })
})

for (const [name, make] of [
  ["CachePool", cache],
  ["SingletonPool", singleton]
] as const) {
  describe(name, () => {
    describe("memory", () => {
      it.effect("callers that left the line are not kept, while others still wait and the pool lives on", () =>
        Effect.gen(function* () {
          const { pool } = yield* make({}, TestConnector.makeUnsafe(hang))
          const staying = yield* borrow(pool)
          const left = yield* retained((body) => pool.use(body))
          assert.isTrue(left < 10, `${left} of 500 are still referenced`)
          assert.strictEqual(staying.state(), "waits")
        })
      )

      it.effect("borrowers that returned are not kept by an idle connection", () =>
        Effect.gen(function* () {
          const { pool } = yield* make()
          const left = yield* retained((body) => pool.use(body))
          assert.isTrue(left < 10, `${left} of 500 are still referenced`)
          assert.isTrue((yield* pool.stats).idle > 0)
        })
      )
    })
  })
}
