import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as SharedPool from "../src/SharedPool.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import type { TestConnection, TestConnectError } from "../src/testing/TestConnector.ts"
import { shared } from "./support/kinds.ts"
import { once, stats } from "./support/scene.ts"

describe("SharedPool", () => {
  describe("options", () => {
    for (const [option, value, allowed] of [
      ["concurrency", undefined, "must be an integer of at least 1"],
      ["concurrency", 0, "must be an integer of at least 1"],
      ["concurrency", 1.5, "must be an integer of at least 1"],
      ["concurrency", NaN, "must be an integer of at least 1"],
      ["saturation", 0, "must be a number above 0 and at most 1"],
      ["saturation", -0.5, "must be a number above 0 and at most 1"],
      ["saturation", 1.1, "must be a number above 0 and at most 1"],
      ["saturation", NaN, "must be a number above 0 and at most 1"],
      ["maxSize", 0, "must be an integer from 1 to 9007199254740991"],
      ["maxConnecting", 1.5, "must be an integer from 1 to 9007199254740991"],
      ["maxPending", -1, "must be an integer of at least 0"],
      ["waitTimeout", 0, "must be a duration longer than zero"],
      ["connectTimeout", "soon", "must be a duration longer than zero"],
      ["closeTimeout", -1, "must be a duration of zero or longer"],
      ["connect", "h2://a", "must be a function that returns an Effect"]
    ] as const) {
      it.effect(`${option} ${value} is a defect that names it and says what is allowed`, () =>
        Effect.gen(function* () {
          const options = { connect: TestConnector.makeUnsafe().connect, concurrency: 10, [option]: value }
          const exit = yield* Effect.exit(
            SharedPool.make(options as never) as Effect.Effect<unknown, never, Scope.Scope>
          )
          const defect = Exit.isFailure(exit) && Cause.hasDies(exit.cause) ? String(Cause.squash(exit.cause)) : ""
          assert.isTrue(defect.startsWith(`RangeError: SharedPool: ${option} ${allowed}, got `), defect)
        })
      )
    }

    it.effect("concurrency from a function is not asked before there is a connection", () =>
      Effect.gen(function* () {
        const asked: Array<number> = []
        const { pool } = yield* shared({
          concurrency: ({ id }) => {
            asked.push(id)
            return 1
          }
        })
        assert.deepStrictEqual(asked, [])
        yield* once(pool)
        assert.isTrue(asked.length > 0 && asked.every((id) => id === 1))
      })
    )

    it.effect("the largest and the smallest values work", () =>
      Effect.gen(function* () {
        const { pool } = yield* shared({
          concurrency: Number.MAX_SAFE_INTEGER,
          saturation: Number.MIN_VALUE,
          maxSize: 1,
          maxPending: Infinity,
          waitTimeout: Infinity,
          connectTimeout: Infinity,
          closeTimeout: 0
        })
        assert.strictEqual(yield* once(pool), "has 1")
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, maxSize: 1, created: 1 }))
      })
    )
  })

  describe("layer", () => {
    it.effect("provides a pool and closes it", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        class Tag extends Context.Service<Tag, SharedPool.SharedPool<TestConnection, TestConnectError>>()("Tag") {
          static readonly layer: Layer.Layer<Tag> = SharedPool.layer(this, { ...peer.options, concurrency: 10 })
        }
        const seen = yield* Effect.provide(Tag.use(once), Tag.layer)
        assert.deepStrictEqual([seen, peer.log()], ["has 1", ["connect 1", "open 1", "close 1"]])
      })
    )
  })
})
