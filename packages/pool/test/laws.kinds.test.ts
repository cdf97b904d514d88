/**
 * The laws on the kinds that are shared, made of others or wrapped, and on
 * every stack of two kinds that makes sense.
 */
import { describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as CachePool from "../src/CachePool.ts"
import * as ConnectionLimit from "../src/ConnectionLimit.ts"
import type { ConnectionPool } from "../src/ConnectionPool.ts"
import type { Connector } from "../src/Connector.ts"
import * as ExpirePool from "../src/ExpirePool.ts"
import * as MapPool from "../src/MapPool.ts"
import * as NegotiatePool from "../src/NegotiatePool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import * as SingletonPool from "../src/SingletonPool.ts"
import * as PoolLaws from "../src/testing/PoolLaws.ts"
import type { TestConnection, TestConnectError } from "../src/testing/TestConnector.ts"
import { at } from "./support/kinds.ts"

const check = <C, E>(name: string, options: PoolLaws.LawsOptions<C, E>) =>
  describe(name, () => {
    for (const { law, name } of PoolLaws.laws(options)) it.effect(name, () => law)
  })

/** A kind, as a function of the connector under it. Errors of an inner pool pass through the outer one. */
interface Kind {
  readonly name: string
  readonly shared: boolean
  readonly maxSize: number
  readonly make: <E>(
    connect: Connector<void, TestConnection, E, Scope.Scope>
  ) => Effect.Effect<ConnectionPool<void, TestConnection, unknown>, never, Scope.Scope>
}

const expiry = { idleTimeToLive: "2 hours", maxLifetime: "3 hours", maxUses: 1_000 } as const

const kinds: ReadonlyArray<Kind> = [
  {
    name: "CachePool",
    shared: false,
    maxSize: 3,
    make: (connect) => CachePool.make({ connect, maxSize: 3 })
  },
  {
    name: "SingletonPool",
    shared: true,
    maxSize: 1,
    make: (connect) => SingletonPool.make({ connect })
  },
  {
    name: "SharedPool",
    shared: true,
    maxSize: 2,
    make: (connect) => SharedPool.make({ connect, concurrency: 5, maxSize: 2 })
  },
  {
    name: "ExpirePool",
    shared: false,
    maxSize: 3,
    make: (connect) => ExpirePool.make(CachePool.make({ connect, maxSize: 3 }), expiry)
  },
  {
    name: "MapPool",
    shared: false,
    maxSize: 3,
    make: (connect) =>
      Effect.map(MapPool.make({ key: () => "one", pool: () => CachePool.make({ connect, maxSize: 3 }) }), (pool) =>
        at(pool, "any")
      )
  },
  {
    name: "NegotiatePool",
    shared: false,
    maxSize: 3,
    make: (connect) =>
      NegotiatePool.makeMerged({
        connect,
        inspect: () => false,
        upgrade: (connect) => SharedPool.make({ connect, concurrency: 5, maxSize: 1 }),
        fallback: (connect) => CachePool.make({ connect, maxSize: 3 })
      })
  }
]

describe("PoolLaws", () => {
  check("SharedPool", {
    make: (connect) => SharedPool.make({ connect, concurrency: 10, maxSize: 3 }),
    shared: true,
    maxSize: 3
  })

  check("SharedPool of one borrower each", {
    make: (connect) => SharedPool.make({ connect, concurrency: 1, maxSize: 3, onAbandon: "cancel" }),
    shared: false,
    maxSize: 3
  })

  check("SharedPool that grows early", {
    make: (connect) => SharedPool.make({ connect, concurrency: 4, maxSize: 3, saturation: 0.5 }),
    shared: true,
    maxSize: 3
  })

  check("SharedPool that validates", {
    make: (connect) =>
      SharedPool.make({
        connect,
        concurrency: ({ id }) => 1 + (id % 3),
        maxSize: 2,
        isOpen: ({ isOpen }) => isOpen,
        validate: () => Effect.void,
        leakWarning: "1 minute"
      }),
    shared: true,
    maxSize: 2
  })

  check("ExpirePool over a cache", {
    make: (connect) => ExpirePool.make(CachePool.make({ connect, maxSize: 3 }), expiry),
    shared: false,
    maxSize: 3
  })

  check("ExpirePool that only looks now and then", {
    make: (connect) =>
      ExpirePool.make(CachePool.make({ connect, maxSize: 2 }), { ...expiry, schedule: Schedule.spaced("7 seconds") }),
    shared: false,
    maxSize: 2
  })

  check("MapPool, one key of it", {
    make: (connect) =>
      Effect.map(
        MapPool.make({
          key: (key: string) => key,
          pool: (_, { limit }) => CachePool.make({ connect, limit }),
          maxSize: 3,
          maxKeys: 1
        }),
        (pool) => at(pool, "a")
      ),
    shared: false,
    maxSize: 3
  })

  check("NegotiatePool that turns out to be the fallback", {
    make: (connect) =>
      NegotiatePool.make({
        connect,
        inspect: () => false,
        upgrade: (connect) => SharedPool.make({ connect, concurrency: 10, maxSize: 1 }),
        fallback: (connect) => CachePool.make({ connect, maxSize: 3 })
      }),
    shared: false,
    maxSize: 3
  })

  check("NegotiatePool that turns out to be the upgrade", {
    make: (connect) =>
      NegotiatePool.make({
        connect,
        inspect: () => true,
        upgrade: (connect) => SharedPool.make({ connect, concurrency: 10, maxSize: 2 }),
        fallback: (connect) => CachePool.make({ connect, maxSize: 3 })
      }),
    shared: true,
    maxSize: 2
  })

  check("NegotiatePool over a singleton", {
    make: (connect) =>
      NegotiatePool.makeMerged({
        connect,
        inspect: () => true,
        upgrade: (connect) => SingletonPool.make({ connect }),
        fallback: (connect) => CachePool.make({ connect, maxSize: 3 })
      }),
    shared: true,
    maxSize: 1
  })

  check("CachePool under a limit", {
    make: (connect) =>
      Effect.flatMap(ConnectionLimit.make({ max: 3 }), (limit) => CachePool.make({ connect, limit, maxSize: 10 })),
    shared: false,
    maxSize: 3
  })

  check("SharedPool under a limit", {
    make: (connect) =>
      Effect.flatMap(ConnectionLimit.make({ max: 2 }), (limit) => SharedPool.make({ connect, limit, concurrency: 5 })),
    shared: true,
    maxSize: 2
  })

  // A pool's `get` is a connector, so any kind fits under any kind.
  for (const outer of kinds) {
    for (const inner of kinds) {
      check(`${outer.name} over ${inner.name}`, {
        make: (connect) => Effect.flatMap(inner.make(connect), (pool) => outer.make(pool.get)),
        shared: outer.shared,
        maxSize: inner.shared ? outer.maxSize : Math.min(outer.maxSize, inner.maxSize)
      })
    }
  }

  // The other way to stack: one pool is built inside another.
  const inside: ReadonlyArray<Kind> = kinds.filter(({ name }) => name !== "MapPool")
  for (const kind of inside) {
    check(`MapPool of ${kind.name}`, {
      make: (connect) =>
        Effect.map(MapPool.make({ key: (key: string) => key, pool: () => kind.make(connect) }), (pool) =>
          at(pool, "a")
        ),
      shared: kind.shared,
      maxSize: kind.maxSize
    })
  }
  for (const kind of kinds) {
    check(`ExpirePool of ${kind.name}`, {
      make: (connect) => ExpirePool.make(kind.make(connect), expiry),
      shared: kind.shared,
      maxSize: kind.maxSize
    })
    check(`NegotiatePool with ${kind.name} for upgrades`, {
      make: (connect: Connector<void, TestConnection, TestConnectError, Scope.Scope>) =>
        NegotiatePool.makeMerged({
          connect,
          inspect: () => true,
          upgrade: (connect) => kind.make(connect),
          fallback: (connect) => CachePool.make({ connect })
        }),
      shared: kind.shared,
      maxSize: kind.maxSize
    })
    check(`NegotiatePool with ${kind.name} to fall back on`, {
      make: (connect: Connector<void, TestConnection, TestConnectError, Scope.Scope>) =>
        NegotiatePool.makeMerged({
          connect,
          inspect: () => false,
          upgrade: (connect) => SingletonPool.make({ connect }),
          fallback: (connect) => kind.make(connect)
        }),
      shared: kind.shared,
      maxSize: kind.maxSize
    })
  }
})
