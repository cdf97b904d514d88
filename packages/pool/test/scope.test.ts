import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as MapPool from "../src/MapPool.ts"
import { addFinalizer, removeFinalizer } from "../src/internal/scope.ts"
import { fail, hang } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { at, type CacheOptions, neverShared, over } from "./support/kinds.ts"
import { borrow, cache, singleton } from "./support/scene.ts"

/** How many finalizers a scope holds. */
const size = (scope: Scope.Scope): number =>
  scope.state._tag !== "Open" ? 0 : scope.state.finalizer === undefined ? scope.state.finalizers!.size : 1

describe("internal/scope", () => {
  /** Adds a finalizer that logs `name`, with Effect's own function or with ours. */
  const effects = (log: Array<string>, scope: Scope.Scope, name: string) =>
    Effect.as(
      Scope.addFinalizerExit(scope, (exit) => Effect.sync(() => log.push(`${name} ${exit._tag}`))),
      true
    )
  const ours = (log: Array<string>, scope: Scope.Scope, name: string, key: object = {}) =>
    Effect.sync(() => addFinalizer(scope, key, (exit) => Effect.sync(() => log.push(`${name} ${exit._tag}`))))

  for (const strategy of ["sequential", "parallel"] as const) {
    for (const mix of ["oooo", "eeee", "oeoe", "eooe", "eoee", "o", "e", ""]) {
      it.effect(`finalizers run as Effect's own do: ${mix === "" ? "none" : mix} (${strategy})`, () =>
        Effect.gen(function* () {
          const log: Array<string> = []
          const scope = yield* Scope.make(strategy)
          const names = [...mix].map((kind, index) => `${kind}${index}`)
          for (const name of names) {
            assert.isTrue(yield* name.startsWith("o") ? ours(log, scope, name) : effects(log, scope, name))
          }
          assert.strictEqual(size(scope), names.length)
          yield* Scope.close(scope, Exit.fail("no"))
          assert.deepStrictEqual(
            log,
            names.toReversed().map((name) => `${name} Failure`)
          )
        })
      )
    }
  }

  it.effect("a closed scope takes none", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const scope = yield* Scope.make()
      yield* Scope.close(scope, Exit.void)
      assert.isFalse(yield* ours(log, scope, "o"))
      assert.deepStrictEqual([log, scope.state._tag], [[], "Closed"])
    })
  )

  it.effect("one that was removed does not run, the others do, whichever it was", () =>
    Effect.gen(function* () {
      for (const count of [1, 2, 3]) {
        for (let removed = 0; removed < count; removed++) {
          const log: Array<string> = []
          const scope = yield* Scope.make()
          const keys = Array.from({ length: count }, () => ({}))
          for (const [index, key] of keys.entries()) yield* ours(log, scope, `o${index}`, key)
          removeFinalizer(scope, keys[removed]!)
          removeFinalizer(scope, keys[removed]!)
          removeFinalizer(scope, {})
          assert.strictEqual(size(scope), count - 1)
          yield* Scope.close(scope, Exit.void)
          const expected = keys.flatMap((_, index) => (index === removed ? [] : [`o${index} Success`])).toReversed()
          assert.deepStrictEqual(log, expected)
        }
      }
    })
  )

  it.effect("a scope whose last one was removed is as good as new", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const scope = yield* Scope.make()
      const key = {}
      yield* ours(log, scope, "gone", key)
      removeFinalizer(scope, key)
      assert.strictEqual(scope.state._tag, "Empty")
      yield* effects(log, scope, "e")
      yield* ours(log, scope, "o")
      const child = yield* Scope.fork(scope)
      yield* ours(log, child, "child")
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(log, ["child Success", "o Success", "e Success"])
    })
  )

  it.effect("removing after the close does nothing", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const key = {}
      yield* ours([], scope, "o", key)
      yield* Scope.close(scope, Exit.void)
      removeFinalizer(scope, key)
      assert.strictEqual(scope.state._tag, "Closed")
    })
  )
})

const negotiated = (options: CacheOptions = {}, peer = TestConnector.makeUnsafe()) =>
  over(() => neverShared(peer, options), peer)

/** A map of one key, as a pool for that key. */
const mapped = (options: CacheOptions = {}, peer = TestConnector.makeUnsafe()) =>
  Effect.map(
    over(() => MapPool.make({ key: String, pool: () => neverShared(peer, options) }), peer),
    ({ pool, peer }) => ({ pool: at(pool, "a"), peer })
  )

for (const [name, make] of [
  ["CachePool", cache],
  ["SingletonPool", singleton],
  ["NegotiatePool", negotiated],
  ["MapPool", mapped]
] as const) {
  describe(name, () => {
    describe("a scope that lives long", () => {
      it.effect("keeps nothing of loans that were released early", () =>
        Effect.gen(function* () {
          const { pool } = yield* make()
          const scope = yield* Scope.make()
          for (let round = 0; round < 100; round++) {
            const lease = yield* Scope.provide(pool.lease(), scope)
            assert.strictEqual(size(scope), 1)
            if (round % 2 === 0) yield* lease.release
            else lease.releaseUnsafe()
          }
          assert.strictEqual(size(scope), 0)
        })
      )

      it.effect("keeps nothing of calls that failed, timed out or were interrupted", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make({ waitTimeout: "1 second" }, TestConnector.makeUnsafe(hang))
          const scope = yield* Scope.make()
          const get = Scope.provide(pool.get(), scope)
          peer.script(fail)
          yield* Effect.exit(get)
          const timedOut = yield* Effect.forkChild(get)
          yield* TestClock.adjust("1 second")
          assert.isTrue(timedOut.pollUnsafe() !== undefined)
          const interrupted = yield* Effect.forkChild(get, { startImmediately: true })
          assert.strictEqual(size(scope), 1)
          interrupted.interruptUnsafe()
          yield* Effect.yieldNow
          assert.strictEqual(size(scope), 0)
        })
      )

      it.effect("gives back what was idle and is lent at once, when it closes", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          yield* pool.use(() => Effect.void)
          for (const call of [Effect.asVoid(pool.get()), Effect.asVoid(pool.lease())]) {
            const scope = yield* Scope.make()
            yield* Scope.provide(call, scope)
            assert.deepStrictEqual([size(scope), (yield* pool.stats).borrowers], [1, 1])
            yield* Scope.close(scope, Exit.void)
            assert.strictEqual((yield* pool.stats).borrowers, 0)
          }
          assert.strictEqual(peer.attempts(), 1)
        })
      )

      it.effect("keeps nothing of calls to a closed pool", () =>
        Effect.gen(function* () {
          const { pool } = yield* make()
          yield* pool.drain()
          const scope = yield* Scope.make()
          for (let round = 0; round < 10; round++) yield* Effect.exit(Scope.provide(pool.get(), scope))
          assert.strictEqual(size(scope), 0)
        })
      )

      it.effect("holds one entry for each loan that is out", () =>
        Effect.gen(function* () {
          const { pool } = yield* make()
          const scope = yield* Scope.make()
          yield* Effect.all([Scope.provide(pool.get(), scope), Scope.provide(pool.lease(), scope)])
          assert.deepStrictEqual([size(scope), (yield* pool.stats).borrowers], [2, 2])
          yield* Scope.close(scope, Exit.void)
          assert.strictEqual((yield* pool.stats).borrowers, 0)
        })
      )
    })
  })
}

describe("CachePool", () => {
  describe("a scope that lives long", () => {
    it.effect("keeps nothing of takeIdle that found nothing", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        const scope = yield* Scope.make()
        for (let round = 0; round < 10; round++) yield* Scope.provide(pool.takeIdle, scope)
        assert.strictEqual(size(scope), 0)
        yield* borrow(pool)
        yield* Scope.provide(pool.takeIdle, scope)
        assert.strictEqual(size(scope), 0)
      })
    )
  })
})
