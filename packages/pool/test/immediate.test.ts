/**
 * What is idle is lent in one step through maps and negotiations: they keep
 * their promises on that short way, too.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as TestConsole from "effect/testing/TestConsole"
import * as CachePool from "../src/CachePool.ts"
import type { ConnectionPool } from "../src/ConnectionPool.ts"
import * as MapPool from "../src/MapPool.ts"
import type * as TestConnector from "../src/testing/TestConnector.ts"
import type { TestConnection, TestConnectError } from "../src/testing/TestConnector.ts"
import { at, keyed, neverShared, over } from "./support/kinds.ts"
import { borrow, borrowMany, describeExit, once, settle } from "./support/scene.ts"

type Pool = ConnectionPool<void, TestConnection, TestConnectError>
interface Given {
  readonly leakWarning?: "2 seconds"
  /** What the user puts around the pool that lends in the end. */
  readonly around?: (pool: Pool) => Pool
}
type Make = (
  given?: Given
) => Effect.Effect<{ readonly pool: Pool; readonly peer: TestConnector.TestConnector }, never, Scope.Scope>

const same = (pool: Pool): Pool => pool

const negotiation: Make = ({ around, ...options } = {}) => over((peer) => neverShared(peer, options, around))

const mapOf: Make = ({ around = same, ...options } = {}) =>
  Effect.map(
    over((peer) =>
      MapPool.make({
        key: String,
        pool: () => Effect.map(CachePool.make({ ...peer.options, ...options }), around)
      })
    ),
    ({ peer, pool }) => ({ peer, pool: at(pool, "a") })
  )

const mapOfNegotiations: Make = ({ around, ...options } = {}) =>
  Effect.map(
    over((peer) => MapPool.make({ key: String, pool: () => neverShared(peer, options, around) })),
    ({ peer, pool }) => ({ peer, pool: at(pool, "a") })
  )

const vias = ["use", "get", "lease"] as const

for (const [name, make] of [
  ["NegotiatePool", negotiation],
  ["MapPool", mapOf],
  ["MapPool of NegotiatePool", mapOfNegotiations]
] as const) {
  describe(name, () => {
    describe("what is idle", () => {
      it.effect("A1 is not lent for a scope that is closed", () =>
        Effect.gen(function* () {
          const { pool } = yield* make()
          yield* once(pool)
          for (const call of [Effect.asVoid(pool.get()), Effect.asVoid(pool.lease())]) {
            const scope = Scope.makeUnsafe()
            yield* Scope.close(scope, Exit.void)
            assert.strictEqual(describeExit(yield* Effect.exit(Scope.provide(call, scope))), "interrupted")
            assert.strictEqual((yield* pool.stats).borrowers, 0)
          }
        })
      )

      it.effect("A1 comes back from a body that throws before it is an effect", () =>
        Effect.gen(function* () {
          const { pool } = yield* make()
          yield* once(pool)
          const thrown = yield* Effect.exit(
            pool.use((): Effect.Effect<never> => {
              throw new Error("no effect")
            })
          )
          assert.deepStrictEqual([Exit.isFailure(thrown), (yield* pool.stats).borrowers], [true, 0])
        })
      )

      for (const via of ["get", "lease"] as const) {
        it.effect(`A1 an observer that closes the scope of the loan it is told of leaves nothing lent: ${via}`, () =>
          Effect.gen(function* () {
            const { pool } = yield* make()
            yield* once(pool)
            const scope = Scope.makeUnsafe()
            yield* pool.observe({ borrowed: () => void Effect.runFork(Scope.close(scope, Exit.void)) })
            yield* Effect.exit(
              Scope.provide(via === "get" ? Effect.asVoid(pool.get()) : Effect.asVoid(pool.lease()), scope)
            )
            yield* settle
            assert.deepStrictEqual([(yield* pool.stats).borrowers, (yield* pool.stats).idle], [0, 1])
          })
        )
      }

      it.effect("is lent by a pool of the user's that delegates to one of this package", () =>
        Effect.gen(function* () {
          const log: Array<string> = []
          const asked = (name: string) =>
            Effect.sync(() => {
              log.push(name)
            })
          const { pool } = yield* make({
            around: (pool) =>
              Object.assign(Object.create(pool) as Pool, {
                get: () => Effect.andThen(asked("get"), pool.get()),
                lease: () => Effect.andThen(asked("lease"), pool.lease()),
                use: (body: (connection: TestConnection) => Effect.Effect<unknown>) =>
                  Effect.andThen(asked("use"), pool.use(body))
              })
          })
          yield* once(pool)
          log.length = 0
          yield* once(pool)
          yield* Effect.scoped(pool.get())
          yield* Effect.scoped(pool.lease())
          assert.deepStrictEqual(log, [...vias])
        })
      )

      for (const via of vias) {
        it.effect(`B5 is warned of when it is out for too long: ${via}`, () =>
          Effect.gen(function* () {
            const { pool } = yield* make({ leakWarning: "2 seconds" })
            yield* once(pool)
            const caller = yield* borrow(pool, via)
            yield* TestClock.adjust("3 seconds")
            const lines = (yield* TestConsole.logLines).map(String)
            assert.strictEqual(lines.filter((line) => line.includes("has been on loan")).length, 1)
            yield* caller.leave
          })
        )
      }

      it.effect("B5 the warning names whoever ran the effect that took it", () =>
        Effect.gen(function* () {
          const { pool } = yield* make({ leakWarning: "2 seconds" })
          yield* once(pool)
          const run = Effect.runForkWith(yield* Effect.context<never>())
          const hold = pool.use(() => Effect.sleep("5 seconds"))
          const whoTakesIt = () => run(hold)
          const fiber = whoTakesIt()
          yield* TestClock.adjust("10 seconds")
          const lines = (yield* TestConsole.logLines).map(String)
          const warning = lines.find((line) => line.includes("has been on loan"))
          assert.isTrue(warning?.includes("whoTakesIt"), warning)
          yield* Fiber.await(fiber)
        })
      )
    })
  })
}

describe("MapPool", () => {
  describe("what is idle", () => {
    for (const via of vias) {
      it.effect(`M3 its key does not make room while a caller of it is being served: ${via}`, () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* keyed({ maxKeys: 1 }, { maxSize: 2 })
          const [first, second] = yield* borrowMany(at(pool, "a"), 2)
          yield* first!.leave
          yield* second!.leave
          const others: Array<string> = []
          const ask = Effect.map(Effect.exit(pool.use("b", () => Effect.void)), (exit) => {
            others.push(describeExit(exit))
          })
          yield* pool.observe({ evicted: () => void Effect.runFork(ask) })
          peer.killSilently(second!.connection())
          const caller = yield* borrow(at(pool, "a"), via)
          assert.deepStrictEqual([caller.state(), yield* pool.keys, others], ["has 1", ["a"], ["TooManyKeys"]])
          yield* caller.leave
        })
      )
    }
  })
})
