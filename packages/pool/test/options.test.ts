import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as CachePool from "../src/CachePool.ts"
import * as SingletonPool from "../src/SingletonPool.ts"
import { hang } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import type { TestConnection, TestConnectError } from "../src/testing/TestConnector.ts"
import { borrow, once, states } from "./support/scene.ts"

type Given = readonly [option: string, value: unknown, allowed: string, got?: string]

const durations = (option: string, allowed: string): ReadonlyArray<Given> => [
  [option, NaN, allowed],
  [option, -1, allowed],
  [option, "-5 seconds", allowed],
  [option, "soon", allowed]
]

const positive = "must be a duration longer than zero"
const zeroOrLonger = "must be a duration of zero or longer"

const common: ReadonlyArray<Given> = [
  ["connect", undefined, "must be a function that returns an Effect"],
  ["connect", "postgres://db", "must be a function that returns an Effect", "string"],
  ["connect", Effect.void, "must be a function that returns an Effect", "object"],
  ["maxPending", -1, "must be an integer of at least 0"],
  ["maxPending", 0.5, "must be an integer of at least 0"],
  ["maxPending", NaN, "must be an integer of at least 0"],
  ["onAbandon", "drop", `must be "keep" or "cancel"`, `"drop"`],
  ["waitTimeout", 0, positive],
  ...durations("waitTimeout", positive),
  ["connectTimeout", 0, positive],
  ...durations("connectTimeout", positive),
  ...durations("closeTimeout", zeroOrLonger),
  ...durations("drainDeadline", zeroOrLonger),
  ...durations("validateAfter", zeroOrLonger),
  ["waitTimeout", {}, positive, "{}"],
  ["leakWarning", 0, positive],
  ...durations("leakWarning", positive)
]

const ofCaches: ReadonlyArray<Given> = [
  ["maxSize", 0, "must be an integer from 1 to 9007199254740991"],
  ["maxSize", -1, "must be an integer from 1 to 9007199254740991"],
  ["maxSize", 1.5, "must be an integer from 1 to 9007199254740991"],
  ["maxSize", NaN, "must be an integer from 1 to 9007199254740991"],
  ["maxSize", Infinity, "must be an integer from 1 to 9007199254740991"],
  ["maxSize", "10", "must be an integer from 1 to 9007199254740991"],
  ["maxConnecting", 0, "must be an integer from 1 to 9007199254740991"],
  ["maxConnecting", 1.5, "must be an integer from 1 to 9007199254740991"],
  ["maxConnecting", Infinity, "must be an integer from 1 to 9007199254740991"],
  ["maxIdle", -1, "must be an integer of at least 0"],
  ["maxIdle", 0.5, "must be an integer of at least 0"],
  ["minSize", -1, "must be an integer from 0 to 10"],
  ["minSize", 0.5, "must be an integer from 0 to 10"],
  ["minSize", 11, "must be an integer from 0 to 10"],
  ["order", "random", `must be "lifo" or "fifo"`, `"random"`]
]

/** Options as a caller without types could give them. */
type Anything = (
  options: never
) => Effect.Effect<CachePool.CachePool<TestConnection, TestConnectError>, never, Scope.Scope>
type AnyLayer = (tag: never, options: never) => Layer.Layer<never>

const kinds = [
  {
    kind: "CachePool",
    make: CachePool.make as Anything,
    layer: CachePool.layer as unknown as AnyLayer,
    bad: [...common, ...ofCaches]
  },
  {
    kind: "SingletonPool",
    make: SingletonPool.make as unknown as Anything,
    layer: SingletonPool.layer as unknown as AnyLayer,
    bad: common
  }
] as const

const show = (value: unknown) => (typeof value === "string" ? JSON.stringify(value) : String(value))

for (const { bad, kind, layer, make } of kinds) {
  describe(kind, () => {
    describe("a bad option", () => {
      for (const [option, value, allowed, got] of bad) {
        it.effect(`${option}: ${got ?? show(value)} is a defect that names it`, () =>
          Effect.gen(function* () {
            const peer = TestConnector.makeUnsafe()
            const exit = yield* Effect.exit(make({ ...peer.options, [option]: value } as never))
            assert.isTrue(Exit.isFailure(exit))
            if (!Exit.isFailure(exit)) return
            assert.isTrue(Cause.hasDies(exit.cause))
            const defect = Cause.squash(exit.cause)
            assert.isTrue(defect instanceof RangeError)
            assert.strictEqual((defect as Error).message, `${kind}: ${option} ${allowed}, got ${got ?? String(value)}`)
            assert.strictEqual(peer.attempts(), 0)
          })
        )
      }

      it.effect("makes the layer fail with that defect", () =>
        Effect.gen(function* () {
          class Tag extends Context.Service<Tag, CachePool.CachePool<TestConnection, TestConnectError>>()("Tag") {}
          const peer = TestConnector.makeUnsafe()
          const built = layer(Tag as never, { connect: peer.connect, waitTimeout: -1 } as never)
          const exit = yield* Effect.exit(Effect.scoped(Layer.build(built)))
          assert.isTrue(Exit.hasDies(exit))
        })
      )
    })

    describe("a good option", () => {
      const good: ReadonlyArray<Readonly<Record<string, unknown>>> = [
        { maxPending: 0 },
        { maxPending: Infinity },
        { waitTimeout: 1 },
        { waitTimeout: Infinity },
        { connectTimeout: "1 milli" },
        { connectTimeout: Infinity },
        { closeTimeout: 0 },
        { closeTimeout: Infinity },
        { drainDeadline: 0 },
        { validateAfter: 0 },
        { validateAfter: Infinity },
        { leakWarning: "2 seconds" },
        { onAbandon: "keep" },
        { onAbandon: "cancel" }
      ]
      for (const options of good) {
        it.effect(`${Object.keys(options)[0]}: ${show(Object.values(options)[0])} makes a pool`, () =>
          Effect.gen(function* () {
            const peer = TestConnector.makeUnsafe()
            const pool = yield* make({ ...peer.options, ...options } as never)
            assert.isTrue(["has 1", "QueueFull"].includes(yield* once(pool)))
          })
        )
      }

      it.effect("undefined means the default, for every option", () =>
        Effect.gen(function* () {
          const peer = TestConnector.makeUnsafe()
          const names = new Set(bad.map(([option]) => option).filter((option) => option !== "connect"))
          const undefineds = Object.fromEntries(
            [...names, "isOpen", "watch", "validate", "backoff"].map((name) => [name, undefined])
          )
          const pool = yield* make({ connect: peer.connect, ...undefineds } as never)
          assert.strictEqual(yield* once(pool), "has 1")
        })
      )
    })

    describe("a default", () => {
      it.effect("waitTimeout is 30 seconds, connectTimeout 10 seconds", () =>
        Effect.gen(function* () {
          const slow = TestConnector.makeUnsafe(hang)
          const never = yield* make({ connect: slow.connect, connectTimeout: "1 hour" } as never)
          const a = yield* borrow(never)
          const b = yield* borrow(yield* make({ connect: slow.connect } as never))
          yield* TestClock.adjust(9_999)
          assert.deepStrictEqual(states(a, b), ["waits", "waits"])
          yield* TestClock.adjust(1)
          assert.deepStrictEqual(states(a, b), ["waits", "WaitTimeout connect"])
          yield* TestClock.adjust(19_999)
          assert.deepStrictEqual(states(a), ["waits"])
          yield* TestClock.adjust(1)
          assert.deepStrictEqual(states(a), ["WaitTimeout connect"])
        })
      )

      it.effect("closeTimeout is 5 seconds", () =>
        Effect.gen(function* () {
          const peer = TestConnector.makeUnsafe()
          peer.onClose(() => Effect.never)
          const pool = yield* make(peer.options as never)
          yield* once(pool)
          yield* pool.retain(() => false)
          yield* TestClock.adjust(4_999)
          assert.strictEqual((yield* pool.stats).closing, 1)
          yield* TestClock.adjust(1)
          assert.strictEqual((yield* pool.stats).closing, 0)
        })
      )

      it.effect("maxPending is unbounded", () =>
        Effect.gen(function* () {
          const peer = TestConnector.makeUnsafe(hang)
          const pool = yield* make(peer.options as never)
          yield* Effect.forkChild(
            Effect.forEach(Array.from({ length: 5_000 }), () => once(pool), { concurrency: "unbounded", discard: true })
          )
          yield* Effect.yieldNow
          yield* Effect.yieldNow
          assert.strictEqual((yield* pool.stats).pending, 5_000)
        })
      )
    })
  })
}

describe("CachePool", () => {
  describe("limits that depend on each other", () => {
    const defect = (options: Partial<CachePool.CachePoolOptions<TestConnection, TestConnectError, never>>) =>
      Effect.map(Effect.exit(CachePool.make({ connect: TestConnector.makeUnsafe().connect, ...options })), (exit) =>
        Exit.isFailure(exit) ? (Cause.squash(exit.cause) as Error).message : "made"
      )

    it.effect("minSize is at most maxIdle and at most maxSize", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(
          [
            yield* defect({ minSize: 3, maxSize: 2 }),
            yield* defect({ minSize: 3, maxIdle: 2 }),
            yield* defect({ minSize: 2, maxSize: 2 }),
            yield* defect({ minSize: 2, maxIdle: 2 })
          ],
          [
            "CachePool: minSize must be an integer from 0 to 2, got 3",
            "CachePool: minSize must be an integer from 0 to 2, got 3",
            "made",
            "made"
          ]
        )
      })
    )

    it.effect("maxIdle and maxConnecting may be more than maxSize, which they do not raise", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe(hang)
        const pool = yield* CachePool.make({ ...peer.options, maxSize: 2, maxIdle: 100, maxConnecting: 100 })
        for (let i = 0; i < 3; i++) yield* borrow(pool)
        assert.strictEqual(peer.attempts(), 2)
      })
    )
  })

  describe("layer", () => {
    it.effect("provides the pool and closes it with its scope", () =>
      Effect.gen(function* () {
        class Tag extends Context.Service<Tag, CachePool.CachePool<TestConnection, TestConnectError>>()("Tag") {}
        const peer = TestConnector.makeUnsafe()
        const outcome = yield* Effect.provide(
          Tag.use((pool) => once(pool)),
          CachePool.layer(Tag, { connect: peer.connect })
        )
        assert.deepStrictEqual([outcome, peer.log()], ["has 1", ["connect 1", "open 1", "close 1"]])
      })
    )

    it.effect("gives the connector what it needs from the context in which it is built", () =>
      Effect.gen(function* () {
        class Url extends Context.Service<Url, string>()("Url") {}
        class Tag extends Context.Service<Tag, CachePool.CachePool<string>>()("Tag") {}
        const layer = Layer.provide(
          CachePool.layer(Tag, { connect: () => Effect.map(Url, (url) => `connected to ${url}`) }),
          Layer.succeed(Url, "db")
        )
        const greeting = yield* Effect.provide(
          Tag.use((pool) => pool.use(Effect.succeed)),
          layer
        )
        assert.strictEqual(greeting, "connected to db")
      })
    )

    it.effect("two layers made by two calls are two pools, one layer is one", () =>
      Effect.gen(function* () {
        type Pool = CachePool.CachePool<TestConnection, TestConnectError>
        class A extends Context.Service<A, Pool>()("A") {}
        class B extends Context.Service<B, Pool>()("B") {}
        const peer = TestConnector.makeUnsafe()
        const layer = CachePool.layer(A, { connect: peer.connect })
        const twice = Layer.mergeAll(layer, layer, CachePool.layer(B, { connect: peer.connect }))
        yield* Effect.provide(
          Effect.gen(function* () {
            yield* once(yield* A)
            yield* once(yield* A)
            yield* once(yield* B)
          }),
          twice
        )
        assert.deepStrictEqual(peer.opened(), [1, 2])
      })
    )
  })
})

describe("SingletonPool", () => {
  describe("layer", () => {
    it.effect("provides the pool and closes it with its scope", () =>
      Effect.gen(function* () {
        class Tag extends Context.Service<Tag, SingletonPool.SingletonPool<TestConnection, TestConnectError>>()(
          "Tag"
        ) {}
        const peer = TestConnector.makeUnsafe()
        const outcome = yield* Effect.provide(
          Tag.use((pool) => once(pool)),
          SingletonPool.layer(Tag, { connect: peer.connect })
        )
        assert.deepStrictEqual([outcome, peer.log()], ["has 1", ["connect 1", "open 1", "close 1"]])
      })
    )
  })
})
