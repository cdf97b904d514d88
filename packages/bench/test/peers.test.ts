import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { javaScriptPools } from "../src/peers/javascript.ts"

describe("javaScriptPools", () => {
  for (const { name, open } of javaScriptPools) {
    it.live(`${name} lends as many connections at once as it was told`, () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { acquire, release } = yield* open(8)
          let used = 0
          let most = 0
          const borrow = async () => {
            for (let i = 0; i < 20; i++) {
              const item = await acquire()
              most = Math.max(most, ++used)
              await new Promise((resolve) => setImmediate(resolve))
              used--
              release(item)
            }
          }
          yield* Effect.promise(() => Promise.all(Array.from({ length: 64 }, borrow)))
          assert.strictEqual(most, 8)
        })
      )
    )

    it.live(`${name} does not lend again what was given up`, () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { acquire, destroy, release } = yield* open(1)
          const ids = yield* Effect.promise(async () => {
            const first = await acquire()
            const { id } = first
            destroy(first)
            const second = await acquire()
            release(second)
            return [id, second.id]
          })
          assert.notStrictEqual(ids[0], ids[1])
        })
      )
    )
  }
})
