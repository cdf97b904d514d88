import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as MapPool from "../src/MapPool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import { hang, succeed } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { at, evictions, keyed, over } from "./support/kinds.ts"
import { borrow, borrowMany, gates, once, settle, states, stats } from "./support/scene.ts"

describe("MapPool", () => {
  describe("maxSize", () => {
    it.effect("M4 holds over all keys together, connecting ones included", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed({ maxSize: 2 })
        const [open] = gates(peer, succeed)
        const a = yield* borrow(at(pool, "a"))
        const b = yield* borrow(at(pool, "b"))
        const c = yield* borrow(at(pool, "c"))
        assert.deepStrictEqual(states(a, b, c), ["waits", "has 2", "waits"])
        yield* open!
        assert.deepStrictEqual(states(a, b, c), ["has 1", "has 2", "waits"])
        assert.deepStrictEqual(yield* pool.stats, stats({ used: 2, borrowers: 2, pending: 1, maxSize: 2, created: 2 }))
      })
    )

    it.effect("M4 at the limit the least recently used idle connection of another key closes to make room", () =>
      Effect.gen(function* () {
        const { ownerOf, peer, pool } = yield* keyed({ maxSize: 3 })
        const reasons = yield* evictions(pool)
        for (const key of ["a", "b", "c", "a"]) {
          yield* once(at(pool, key))
          yield* TestClock.adjust(1)
        }
        yield* once(at(pool, "d"))
        yield* TestClock.adjust(1)
        yield* once(at(pool, "e"))
        assert.deepStrictEqual(peer.closed().map(ownerOf), ["b", "c"])
        assert.deepStrictEqual(reasons, ["capacity", "capacity"])
      })
    )

    it.effect("M4 A8 what one key gives back when the map drains goes to no other key", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed({ maxSize: 2 }, {}, TestConnector.makeUnsafe())
        yield* once(at(pool, "idle"))
        peer.script(hang)
        const a = yield* borrow(at(pool, "a"))
        const b = yield* borrow(at(pool, "b"))
        const c = yield* borrow(at(pool, "c"))
        const before = peer.attempts()
        yield* pool.drain()
        yield* settle
        assert.deepStrictEqual([states(a, c), peer.attempts() - before, peer.live()], [["Closed", "Closed"], 0, 0])
        yield* b.interrupt
      })
    )

    it.effect("M4 a key's own maxSize holds within it", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed({ maxSize: 5 }, { maxSize: 1 })
        const a = yield* borrowMany(at(pool, "a"), 2)
        const b = yield* borrowMany(at(pool, "b"), 2)
        assert.deepStrictEqual(states(...a, ...b), ["has 1", "waits", "has 2", "waits"])
      })
    )

    it.effect("M4 nothing idle: a waiting key below its fair share gets the next place of a key above its share", () =>
      Effect.gen(function* () {
        const { owners, pool } = yield* keyed({ maxSize: 4 })
        const greedy = yield* borrowMany(at(pool, "greedy"), 8)
        const modest = yield* borrowMany(at(pool, "modest"), 3)
        for (let i = 0; i < 4; i++) {
          yield* greedy[i]!.leave
          yield* settle
        }
        // Two places went to the other key, then the shares were equal.
        assert.deepStrictEqual(states(...modest), ["has 5", "has 6", "waits"])
        assert.deepStrictEqual(states(...greedy.slice(4)), ["has 3", "has 4", "waits", "waits"])
        assert.deepStrictEqual(owners(), ["greedy", "greedy", "greedy", "greedy", "modest", "modest"])
      })
    )

    it.effect("M4 no key starves while others have callers without end", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed({ maxSize: 2 })
        let ended = false
        const busy = (key: string) =>
          Effect.whileLoop({
            while: () => !ended,
            body: () => at(pool, key).use(() => Effect.sleep(1)),
            step: () => {}
          })
        for (const key of ["a", "a", "a", "b", "b", "b"]) yield* Effect.forkChild(busy(key))
        yield* TestClock.adjust(20)
        const late = yield* borrow(at(pool, "late"))
        yield* TestClock.adjust(20)
        assert.strictEqual(late.state().slice(0, 3), "has")
        ended = true
        yield* late.leave
        yield* TestClock.adjust(20)
      })
    )

    it.effect("M4 connections of shared pools count once, however many borrowers", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* over((peer) =>
          MapPool.make({
            key: (key: string) => key,
            maxSize: 2,
            pool: (_, { limit }) => SharedPool.make({ ...peer.options, concurrency: 3, limit })
          })
        )
        const a = yield* borrowMany(at(pool, "a"), 3)
        const b = yield* borrowMany(at(pool, "b"), 3)
        const more = yield* borrow(at(pool, "a"))
        assert.deepStrictEqual([states(...a, ...b).slice(2, 4), states(more)], [["has 1", "has 2"], ["waits"]])
        assert.strictEqual(peer.live(), 2)
        yield* a[0]!.leave
        assert.deepStrictEqual(states(more), ["has 1"])
      })
    )

    it.effect("M4 a slot of a removed key is free when its connections are closed, not before", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* keyed({ maxSize: 1 })
        const holder = yield* borrow(at(pool, "a"))
        const waiter = yield* borrow(at(pool, "b"))
        peer.onClose(() => Effect.sleep("1 second"))
        yield* Effect.forkChild(pool.remove("a"))
        yield* TestClock.adjust(999)
        assert.deepStrictEqual(states(waiter), ["waits"])
        yield* TestClock.adjust(1)
        yield* settle
        assert.deepStrictEqual(states(waiter), ["has 2"])
        peer.onClose(() => Effect.void)
        yield* holder.leave
      })
    )

    it.effect("M4 M3 a key that makes room in the map gives its places back", () =>
      Effect.gen(function* () {
        const { pool } = yield* keyed({ maxKeys: 1, maxSize: 1 })
        const seen: Array<string> = []
        for (const key of ["a", "b", "c"]) seen.push(yield* once(at(pool, key)))
        assert.deepStrictEqual(seen, ["has 1", "has 2", "has 3"])
      })
    )

    it.effect("M4 hundreds of keys through a map of 10 connections and 25 keys: the cap holds and all are served", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        let most = 0
        const { pool } = yield* keyed(
          { maxKeys: 25, maxSize: 10 },
          {
            maxSize: 3,
            connect: () =>
              Effect.tap(peer.connect(), () =>
                Effect.sync(() => {
                  most = Math.max(most, peer.live())
                })
              )
          },
          peer
        )
        peer.onClose(({ id }) => (id % 3 === 0 ? Effect.sleep(5) : id % 3 === 1 ? Effect.yieldNow : Effect.void))
        let served = 0
        const work = Effect.forEach(
          Array.from({ length: 600 }, (_, i) => `key ${(i * 7) % 200}`),
          (key) =>
            at(pool, key).use(() =>
              Effect.andThen(
                Effect.sleep(1),
                Effect.sync(() => void served++)
              )
            ),
          { concurrency: 20, discard: true }
        )
        const fiber = yield* Effect.forkChild(work)
        for (let i = 0; i < 400 && fiber.pollUnsafe() === undefined; i++) yield* TestClock.adjust(10)
        peer.onClose(() => Effect.void)
        assert.deepStrictEqual([served, most <= 10], [600, true])
        assert.isTrue((yield* pool.keys).length <= 25)
      })
    )
  })
})
