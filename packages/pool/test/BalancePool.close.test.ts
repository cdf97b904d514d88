/** Closes and clean-ups under a balance that hang, die or take their time. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import * as BalancePool from "../src/BalancePool.ts"
import * as CachePool from "../src/CachePool.ts"
import type { ConnectionPool } from "../src/ConnectionPool.ts"
import type { Connector } from "../src/Connector.ts"
import * as SharedPool from "../src/SharedPool.ts"
import { borrow, fiberCounter, settle } from "./support/scene.ts"

interface Conn {
  readonly id: number
  readonly address: string
}

type Pool = ConnectionPool<void, Conn, unknown>
type Build = (
  connect: Connector<void, Conn, never, Scope.Scope>,
  limit: BalancePool.Grant["limit"]
) => Effect.Effect<Pool, never, Scope.Scope>

const builds: Readonly<Record<string, Build>> = {
  CachePool: (connect, limit) => CachePool.make({ connect, limit, closeTimeout: "1 second" }),
  SharedPool: (connect, limit) => SharedPool.make({ connect, limit, concurrency: 1, closeTimeout: "1 second" })
}

/** Connections whose close waits for `end`, be it that of the test. */
const slowToClose = (
  options: Partial<
    BalancePool.BalancePoolOptions<string, Conn, never, Scope.Scope, Conn, unknown, Scope.Scope, never>
  > = {},
  endsWithTest = true
) =>
  Effect.gen(function* () {
    const gate = yield* Deferred.make<void>()
    const end = Effect.andThen(Deferred.succeed(gate, undefined), settle)
    let id = 0
    const pool: Pool = yield* BalancePool.make({
      addresses: Stream.make(["a"]),
      connectionsPerAddress: 1,
      connect: (address: string) =>
        Effect.acquireRelease(
          Effect.sync((): Conn => ({ address, id: ++id })),
          () => Deferred.await(gate)
        ),
      pool: (connect, { limit }) => builds["CachePool"]!(connect as never, limit),
      ...options
    })
    if (endsWithTest) yield* Effect.addFinalizer(() => end)
    return { pool, end }
  })

/** Invalidates a connection while it is used. */
const spoil = (pool: Pool) => pool.use((_, lease) => lease.invalidate)

describe("BalancePool", () => {
  describe("closeTimeout", () => {
    for (const [what, cleanUp] of [
      ["hangs", Deferred.await],
      ["dies", () => Effect.die("broken")],
      ["takes a while", () => Effect.sleep("1 second")]
    ] as const) {
      it.effect(`A4 a failed connect whose clean-up ${what} goes on to another address at once`, () =>
        Effect.gen(function* () {
          const gate = yield* Deferred.make<void>()
          let tries = 0
          const pool = yield* BalancePool.make({
            addresses: Stream.make(["bad", "good"]),
            connect: (address: string): Effect.Effect<Conn, string, Scope.Scope> =>
              address === "good"
                ? Effect.succeed({ address, id: 1 })
                : Effect.andThen(
                    Effect.addFinalizer(() => cleanUp(gate)),
                    Effect.suspend(() => Effect.fail(`refused ${++tries}`))
                  ),
            setAside: Schedule.spaced("1 milli"),
            pool: (connect, { limit }) => CachePool.make({ connect, limit, maxSize: 20 })
          })
          yield* Effect.addFinalizer(() =>
            Effect.andThen(Deferred.succeed(gate, undefined), TestClock.adjust("1 second"))
          )
          for (let i = 0; i < 12; i++) {
            assert.strictEqual((yield* borrow(pool)).state(), "has 1")
            yield* TestClock.adjust("1 milli")
          }
          assert.isAbove(tries, 0)
        })
      )
    }

    it.effect("A8 the pool has not closed before the clean-up of a failed connect has ended", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        const scope = yield* Scope.make()
        const pool = yield* Scope.provide(
          BalancePool.make({
            addresses: Stream.make(["a"]),
            connect: (): Effect.Effect<Conn, string, Scope.Scope> =>
              Effect.andThen(
                Effect.addFinalizer(() => Deferred.await(gate)),
                Effect.fail("refused")
              ),
            pool: (connect, { limit }) => CachePool.make({ connect, limit })
          }),
          scope
        )
        assert.strictEqual((yield* borrow(pool)).state(), "refused")
        const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
        yield* settle
        const before = closing.pollUnsafe()
        yield* Deferred.succeed(gate, undefined)
        yield* settle
        assert.isUndefined(before)
        assert.isDefined(closing.pollUnsafe())
      })
    )

    for (const [kind, build] of Object.entries(builds)) {
      it.effect(`A4 a close that hangs holds its address's place for closeTimeout: over ${kind}`, () =>
        Effect.gen(function* () {
          const gone: Array<string> = []
          const { pool } = yield* slowToClose({
            closeTimeout: "2 seconds",
            observer: { disconnected: (address) => gone.push(address) },
            pool: (connect, { limit }) => build(connect as never, limit)
          })
          yield* spoil(pool)
          const next = yield* borrow(pool)
          yield* TestClock.adjust(1_999)
          assert.deepStrictEqual([next.state(), gone], ["waits", []])
          yield* TestClock.adjust(1)
          assert.deepStrictEqual([next.state(), gone], ["has 2", ["a"]])
        })
      )
    }

    it.effect("a close that ends late frees its place once", () =>
      Effect.gen(function* () {
        const { end, pool } = yield* slowToClose({ closeTimeout: "1 second" })
        yield* spoil(pool)
        yield* TestClock.adjust("1 second")
        const holder = yield* borrow(pool)
        yield* end
        const waiter = yield* borrow(pool)
        assert.deepStrictEqual([holder.state(), waiter.state()], ["has 2", "waits"])
      })
    )

    it.effect("A5 an address that left while a connection to it hangs in its close returns clean", () =>
      Effect.gen(function* () {
        const lists = yield* Queue.unbounded<ReadonlyArray<string>>()
        const list = (...addresses: ReadonlyArray<string>) => Effect.andThen(Queue.offer(lists, addresses), settle)
        const { pool } = yield* slowToClose({ addresses: Stream.fromQueue(lists) })
        yield* list("a")
        yield* pool.use(() => Effect.void)
        yield* list()
        yield* list("a")
        const holder = yield* borrow(pool)
        // The old connection's time is over, which is not the new one's.
        yield* TestClock.adjust("10 seconds")
        const waiter = yield* borrow(pool)
        assert.deepStrictEqual([holder.state(), waiter.state()], ["has 2", "waits"])
      })
    )

    it.effect("A10 leaves no timer behind, whether the close ends or the pool's time is over", () =>
      Effect.gen(function* () {
        yield* TestClock.adjust("1 milli")
        for (const ends of [true, false]) {
          const { counted, running } = fiberCounter()
          const scope = yield* Scope.make()
          const { end, pool } = yield* counted(Scope.provide(slowToClose({ closeTimeout: "1 hour" }, false), scope))
          const idle = running()
          yield* spoil(pool)
          yield* settle
          assert.strictEqual(running(), idle + 3, "the close, its time here and in the pool")
          if (ends) {
            yield* end
            assert.strictEqual(running(), idle)
          }
          yield* Effect.forkChild(Scope.close(scope, Exit.void))
          yield* TestClock.adjust("1 second")
          assert.strictEqual(running(), ends ? 0 : 1, "nothing but the close that hangs")
          yield* end
        }
      })
    )

    it.effect("a bad one is a defect that names it", () =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(slowToClose({ closeTimeout: -1 }))
        assert.include(String(exit), "BalancePool: closeTimeout must be a duration of zero or longer, got -1")
      })
    )
  })
})
