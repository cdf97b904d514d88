import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as CachePool from "../src/CachePool.ts"
import * as ConnectionPools from "../src/ConnectionPool.ts"
import type { ConnectionPool, Lease, PoolError } from "../src/ConnectionPool.ts"
import * as SingletonPool from "../src/SingletonPool.ts"
import * as PoolLaws from "../src/testing/PoolLaws.ts"

const check = <C, E>(name: string, options: PoolLaws.LawsOptions<C, E>) =>
  describe(name, () => {
    for (const { law, name } of PoolLaws.laws(options)) it.effect(name, () => law)
  })

describe("PoolLaws", () => {
  check("CachePool", {
    make: (connect) => CachePool.make({ connect, maxSize: 3 }),
    shared: false,
    maxSize: 3
  })

  check("CachePool of one", {
    make: (connect) =>
      CachePool.make({ connect, maxSize: 1, order: "fifo", onAbandon: "cancel", leakWarning: "1 minute" }),
    shared: false,
    maxSize: 1
  })

  check("CachePool that validates", {
    make: (connect) =>
      CachePool.make({ connect, maxSize: 3, isOpen: (connection) => connection.isOpen, validate: () => Effect.void }),
    shared: false,
    maxSize: 3
  })

  check("SingletonPool", {
    make: (connect) => SingletonPool.make({ connect }),
    shared: true,
    maxSize: 1
  })

  check("SingletonPool that validates", {
    make: (connect) =>
      SingletonPool.make({ connect, onAbandon: "cancel", isOpen: ({ isOpen }) => isOpen, validate: () => Effect.void }),
    shared: true,
    maxSize: 1
  })

  check("a singleton over a cache", {
    make: (connect) =>
      Effect.flatMap(CachePool.make({ connect, maxSize: 2 }), (cache) => SingletonPool.make({ connect: cache.get })),
    shared: true,
    maxSize: 2
  })

  check("a cache over a singleton", {
    make: (connect) =>
      Effect.flatMap(SingletonPool.make({ connect }), (single) => CachePool.make({ connect: single.get, maxSize: 3 })),
    shared: false,
    maxSize: 3
  })

  check("a cache over a cache", {
    make: (connect) =>
      Effect.flatMap(CachePool.make({ connect, maxSize: 3 }), (inner) =>
        CachePool.make({ connect: inner.get, maxSize: 3 })
      ),
    shared: false,
    maxSize: 3
  })

  check("a mapped cache", {
    make: (connect) =>
      Effect.map(
        CachePool.make({ connect, maxSize: 3 }),
        ConnectionPools.map((connection) => ({ name: `connection ${connection.id}` }))
      ),
    shared: false,
    maxSize: 3
  })

  check("a mapped singleton", {
    make: (connect) =>
      Effect.map(
        SingletonPool.make({ connect }),
        ConnectionPools.map((connection) => connection.id)
      ),
    shared: true,
    maxSize: 1
  })

  describe("on a broken pool", () => {
    type Pool = ConnectionPool<void, unknown, unknown>
    type Change = (pool: Pool) => Partial<Pool>

    /** The laws that a cache breaks after `change`. */
    const brokenBy = (change: Change) =>
      Effect.gen(function* () {
        const laws = PoolLaws.laws({
          make: (connect) =>
            Effect.map(CachePool.make({ connect, maxSize: 3 }), (pool): Pool => {
              const { drain, get, guard, lease, observe, pipe, retain, stats, use } = pool
              return { drain, get, guard, lease, observe, pipe, retain, stats, use, ...change(pool) }
            }),
          shared: false,
          maxSize: 3
        })
        const names: Array<string> = []
        for (const { law, name } of laws) {
          const exit = yield* Effect.exit(law)
          if (Exit.isSuccess(exit)) continue
          const defect = String(Cause.squash(exit.cause))
          assert.isTrue(Cause.hasDies(exit.cause) && defect.startsWith("Error: law broken: "), defect)
          names.push(name)
        }
        return names
      })

    const useOf = (
      use: (body: (connection: unknown, lease: Lease<unknown>) => Effect.Effect<any, any, any>) => unknown
    ) => ({ use: use as never }) satisfies Partial<Pool>

    const cases: ReadonlyArray<readonly [string, Change, string]> = [
      ["retain does nothing", () => ({ retain: () => Effect.void }), "retain drops idle connections now"],
      [
        "guard does nothing",
        () => ({ guard: () => Effect.void }),
        "a guard rejects idle connections at borrow and used ones at return, while its scope is open"
      ],
      [
        "drain does nothing",
        () => ({ drain: () => Effect.void }),
        "a connect that is in flight when the pool drains is cancelled, or its connection closed"
      ],
      [
        "drain ignores its deadline",
        (pool) => ({ drain: () => pool.drain() }),
        "drain lets borrowers finish until its deadline, and ends when they have"
      ],
      [
        "drain never ends",
        (pool) => ({ drain: (options) => Effect.andThen(pool.drain(options), Effect.never) }),
        "draining twice, at once or later, is fine"
      ],
      [
        "use never returns its connection",
        (pool) =>
          useOf((body) =>
            Effect.flatMap(Scope.provide(pool.lease(), Scope.makeUnsafe()), (lease) => body(lease.connection, lease))
          ),
        "use passes on what its body ends with, and returns the connection however it ends"
      ],
      [
        "use returns its connection on success only",
        (pool) =>
          useOf((body) =>
            Effect.flatMap(Scope.provide(pool.lease(), Scope.makeUnsafe()), (lease) =>
              Effect.tap(body(lease.connection, lease), lease.release)
            )
          ),
        "use passes on what its body ends with, and returns the connection however it ends"
      ],
      [
        "use turns defects into errors",
        (pool) => useOf((body) => Effect.catchDefect(pool.use(body), () => Effect.fail("a defect"))),
        "use passes on what its body ends with, and returns the connection however it ends"
      ],
      [
        "get borrows without a scope",
        (pool) => ({ get: () => Scope.provide(pool.get(), Scope.makeUnsafe()) }),
        "get and lease return the connection when their scope closes"
      ],
      [
        "leases do not invalidate",
        (pool) =>
          useOf((body) =>
            pool.use((connection, { info, release, releaseUnsafe }) =>
              body(connection, { connection, info, release, releaseUnsafe, invalidate: Effect.void })
            )
          ),
        "an invalidated connection is not closed under its borrower and never lent again"
      ],
      [
        "stats leave out who borrows",
        (pool) => ({ stats: Effect.map(pool.stats, (stats) => ({ ...stats, borrowers: 0 })) }),
        "get and lease return the connection when their scope closes"
      ],
      [
        "stats count a connection that is not there",
        (pool) => ({ stats: Effect.map(pool.stats, (stats) => ({ ...stats, idle: stats.idle + 1 })) }),
        "draining twice, at once or later, is fine"
      ],
      [
        "borrowers are told apart by nothing: every lease has the same id",
        (pool) =>
          useOf((body) =>
            pool.use((connection, lease) =>
              body(connection, {
                connection,
                info: { ...lease.info, id: 1 },
                release: lease.release,
                releaseUnsafe: lease.releaseUnsafe,
                invalidate: lease.invalidate
              })
            )
          ),
        "no two borrowers hold the same connection, and never more than maxSize are open"
      ],
      [
        "waits never end",
        (pool) =>
          useOf((body) =>
            Effect.catchTag(pool.use(body) as Effect.Effect<any, PoolError>, "PoolError", () => Effect.never)
          ),
        "a call that no connection comes for ends with an error"
      ]
    ]

    for (const [what, change, law] of cases) {
      it.effect(`a law dies where ${what}`, () =>
        Effect.gen(function* () {
          const names = yield* brokenBy(change)
          assert.isTrue(names.includes(law), names.join("\n"))
        })
      )
    }

    it.effect("no law dies where nothing is broken", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* brokenBy(() => ({})), [])
      })
    )
  })

  it("names are unique", () => {
    const options = { make: () => Effect.never, maxSize: 1 }
    for (const shared of [true, false]) {
      const names = PoolLaws.laws({ ...options, shared }).map(({ name }) => name)
      assert.strictEqual(new Set(names).size, names.length)
    }
  })
})
