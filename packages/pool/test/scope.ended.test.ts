/**
 * Scopes that somebody else closes while their borrower is anywhere between
 * its call and its connection.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import type { Any, ConnectionPool } from "../src/ConnectionPool.ts"
import type { TestConnection, TestConnectError } from "../src/testing/TestConnector.ts"
import { shared } from "./support/kinds.ts"
import { borrow, borrowLater, cache, describeExit, once, settle, singleton, states } from "./support/scene.ts"

type Pool = ConnectionPool<void, TestConnection, TestConnectError>

/** Loans that have begun and not ended, as observers are told. */
const loansOf = (pool: Any) =>
  Effect.suspend(() => {
    let loans = 0
    const observer = { borrowed: () => void loans++, returned: () => void loans-- }
    return Effect.as(pool.observe(observer), () => loans)
  })

/** Makes a fiber yield at its n-th operation, and runs `meanwhile` before it goes on. */
class YieldAt extends Scheduler.MixedScheduler {
  operations = 0
  private readonly n: number
  private readonly meanwhile: () => void

  constructor(n: number, meanwhile: () => void) {
    super()
    this.n = n
    this.meanwhile = meanwhile
  }

  override shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    if (++this.operations !== this.n) return super.shouldYield(fiber)
    queueMicrotask(this.meanwhile)
    return true
  }
}

const ways = {
  get: (pool: Pool): Effect.Effect<unknown, unknown, Scope.Scope> => pool.get(),
  lease: (pool: Pool): Effect.Effect<unknown, unknown, Scope.Scope> => pool.lease()
}

/** A caller whose scope is closed when its fiber yields at its n-th operation. */
const callInScope = (pool: Pool, way: keyof typeof ways, n: number) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const scheduler = new YieldAt(n, () => void Effect.runFork(Scope.close(scope, Exit.void)))
    const fiber = yield* ways[way](pool).pipe(
      Scope.provide(scope),
      Effect.provideService(Scheduler.Scheduler, scheduler),
      Effect.forkChild
    )
    return { fiber, scope, isOver: () => fiber.pollUnsafe() !== undefined, reached: () => scheduler.operations >= n }
  })

const kinds = [
  ["CachePool", () => cache({ maxSize: 1 })],
  ["SharedPool", () => shared({ concurrency: 1, maxSize: 1 })],
  ["SingletonPool", () => singleton()]
] as const

for (const [name, make] of kinds) {
  describe(name, () => {
    describe("a scope that is closed while its borrower is on its way", () => {
      for (const way of ["get", "lease"] as const) {
        it.effect(`A1 ${way}: what the borrower was given goes to the next in line, at whatever operation`, () =>
          Effect.gen(function* () {
            let reached = 0
            for (let n = 1; n <= 40; n++) {
              const { peer, pool } = yield* make()
              const loans = yield* loansOf(pool)
              const holder = yield* borrow(pool)
              const caller = yield* callInScope(pool, way, n)
              yield* settle
              const next = yield* borrowLater(pool)
              yield* settle
              yield* holder.leave
              yield* settle
              if (!caller.reached()) yield* Scope.close(caller.scope, Exit.void)
              else reached++
              yield* settle
              assert.isTrue(caller.isOver(), `operation ${n}`)
              assert.deepStrictEqual([states(next), loans(), peer.live()], [["has 1"], 1, 1], `operation ${n}`)
              yield* next.leave
              const { borrowers, pending } = yield* pool.stats
              assert.deepStrictEqual(
                [yield* once(pool), loans(), borrowers, pending],
                ["has 1", 0, 0, 0],
                `operation ${n}`
              )
            }
            assert.isTrue(reached > 2 && reached < 40, `${reached} operations`)
          })
        )

        it.effect(
          `A1 ${way}: a connection that was opened for the borrower stays for the next, at whatever operation`,
          () =>
            Effect.gen(function* () {
              for (let n = 1; n <= 40; n++) {
                const { peer, pool } = yield* make()
                const loans = yield* loansOf(pool)
                const caller = yield* callInScope(pool, way, n)
                yield* settle
                if (!caller.reached()) yield* Scope.close(caller.scope, Exit.void)
                yield* settle
                assert.deepStrictEqual([caller.isOver(), loans()], [true, 0], `operation ${n}`)
                assert.isTrue(
                  ["ok", "interrupted"].includes(describeExit(caller.fiber.pollUnsafe()!)),
                  `operation ${n}`
                )
                assert.deepStrictEqual([yield* once(pool), loans(), peer.live()], ["has 1", 0, 1], `operation ${n}`)
              }
            })
        )
      }
    })
  })
}
