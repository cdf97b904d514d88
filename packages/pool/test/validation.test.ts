import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { shared } from "./support/kinds.ts"
import { borrow, cache, settle, singleton, stats } from "./support/scene.ts"

const kinds = {
  CachePool: cache,
  SharedPool: (options: Parameters<typeof cache>[0]) => shared({ ...options, concurrency: 2 }),
  SingletonPool: singleton
}

for (const [name, make] of Object.entries(kinds)) {
  describe(name, () => {
    describe("validate", () => {
      it.effect("A9 A4 a connection that retires while it is validated closes, although nobody waits for it", () =>
        Effect.gen(function* () {
          const checked = Deferred.makeUnsafe<void>()
          const { peer, pool } = yield* make({ validate: () => Deferred.await(checked) })
          const first = yield* borrow(pool)
          const connection = first.connection()
          yield* first.leave
          const second = yield* borrow(pool)
          yield* second.interrupt
          peer.kill(connection)
          yield* Deferred.succeed(checked, undefined)
          yield* settle
          assert.deepStrictEqual(peer.closed(), [1])
          const { maxSize, timedOut } = yield* pool.stats
          assert.deepStrictEqual(yield* pool.stats, stats({ maxSize, timedOut, created: 1, closed: 1 }))
          yield* TestClock.adjust("1 minute")
          assert.strictEqual(peer.attempts(), 1)
        })
      )
    })
  })
}
