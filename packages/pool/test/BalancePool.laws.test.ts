/**
 * The laws on a balance over every kind, with addresses that are there, that
 * come, go and refuse, and on balances under and over other kinds.
 */
import { describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as BalancePool from "../src/BalancePool.ts"
import * as CachePool from "../src/CachePool.ts"
import type { ConnectionLimit } from "../src/ConnectionLimit.ts"
import type { ConnectionPool } from "../src/ConnectionPool.ts"
import type { Connector } from "../src/Connector.ts"
import * as ExpirePool from "../src/ExpirePool.ts"
import * as MapPool from "../src/MapPool.ts"
import * as NegotiatePool from "../src/NegotiatePool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import * as SingletonPool from "../src/SingletonPool.ts"
import * as PoolLaws from "../src/testing/PoolLaws.ts"
import type { TestConnection } from "../src/testing/TestConnector.ts"
import { at } from "./support/kinds.ts"

const check = <C, E>(name: string, options: PoolLaws.LawsOptions<C, E>) =>
  describe(name, () => {
    for (const { law, name } of PoolLaws.laws(options)) it.effect(name, () => law)
  })

type Connect<E> = Connector<void, TestConnection, E, Scope.Scope>

interface Kind {
  readonly name: string
  readonly shared: boolean
  readonly maxSize: number
  readonly make: <E>(
    connect: Connect<E>,
    limit?: ConnectionLimit
  ) => Effect.Effect<ConnectionPool<void, TestConnection, unknown>, never, Scope.Scope>
}

const kinds: ReadonlyArray<Kind> = [
  {
    name: "CachePool",
    shared: false,
    maxSize: 3,
    make: (connect, limit) => CachePool.make({ connect, limit, maxSize: 3, order: "fifo" })
  },
  {
    name: "SingletonPool",
    shared: true,
    maxSize: 1,
    make: (connect, limit) => SingletonPool.make({ connect, limit })
  },
  {
    name: "SharedPool",
    shared: true,
    maxSize: 2,
    make: (connect, limit) => SharedPool.make({ connect, limit, concurrency: 5, maxSize: 2 })
  },
  {
    name: "ExpirePool",
    shared: false,
    maxSize: 3,
    make: (connect, limit) =>
      ExpirePool.make(CachePool.make({ connect, limit, maxSize: 3 }), { idleTimeToLive: "2 hours", maxUses: 1_000 })
  },
  {
    name: "MapPool, one key of it",
    shared: false,
    maxSize: 3,
    make: (connect, limit) =>
      Effect.map(
        MapPool.make({ key: (key: string) => key, pool: () => CachePool.make({ connect, limit, maxSize: 3 }) }),
        (pool) => at(pool, "a")
      )
  },
  {
    name: "NegotiatePool",
    shared: false,
    maxSize: 3,
    make: (connect, limit) =>
      NegotiatePool.makeMerged({
        connect,
        inspect: () => false,
        upgrade: (connect) => SharedPool.make({ connect, limit, concurrency: 5, maxSize: 1 }),
        fallback: (connect) => CachePool.make({ connect, limit, maxSize: 3 })
      })
  }
]

type Lists = Stream.Stream<ReadonlyArray<string>>

const balance = <E>(
  connect: Connect<E>,
  kind: Kind,
  options: { readonly addresses: Lists; readonly cap?: number; readonly limited?: boolean }
) =>
  BalancePool.make({
    addresses: options.addresses,
    connect: () => connect(),
    setAside: Schedule.spaced("1 second"),
    connectionsPerAddress: options.cap,
    pool: (connect, { limit }) => kind.make(connect, options.limited === false ? undefined : limit)
  })

const changing: Lists = Stream.concat(
  Stream.make(["a", "b", "c"]),
  Stream.fromEffect(Effect.delay(Effect.succeed(["b", "c", "d"]), "7 seconds"))
)

describe("PoolLaws", () => {
  for (const kind of kinds) {
    check(`BalancePool over ${kind.name}`, {
      make: (connect) => balance(connect, kind, { addresses: Stream.make(["a", "b", "c"]) }),
      shared: kind.shared,
      maxSize: kind.maxSize
    })
    check(`BalancePool over ${kind.name}, one address`, {
      make: (connect) => balance(connect, kind, { addresses: Stream.make(["a"]) }),
      shared: kind.shared,
      maxSize: kind.maxSize
    })
    check(`BalancePool over ${kind.name}, one connection per address`, {
      make: (connect) => balance(connect, kind, { addresses: Stream.make(["a", "b", "c"]), cap: 1 }),
      shared: kind.shared,
      maxSize: kind.maxSize
    })
    check(`BalancePool over ${kind.name} without its limit`, {
      make: (connect) => balance(connect, kind, { addresses: Stream.make(["a", "b", "c"]), cap: 1, limited: false }),
      shared: kind.shared,
      maxSize: kind.maxSize
    })
  }

  for (const kind of kinds.filter(({ name }) => name !== "MapPool, one key of it")) {
    check(`MapPool of BalancePool over ${kind.name}`, {
      make: (connect) =>
        Effect.map(
          MapPool.make({
            key: (key: string) => key,
            pool: (_, grant) =>
              BalancePool.make({
                addresses: Stream.make(["a", "b", "c"]),
                connect: () => connect(),
                limit: grant.limit,
                pool: (connect, { limit }) => kind.make(connect, limit)
              })
          }),
          (pool) => at(pool, "a")
        ),
      shared: kind.shared,
      maxSize: kind.maxSize
    })
    check(`ExpirePool of BalancePool over ${kind.name}`, {
      make: (connect) =>
        ExpirePool.make(balance(connect, kind, { addresses: Stream.make(["a", "b"]) }), { idleTimeToLive: "2 hours" }),
      shared: kind.shared,
      maxSize: kind.maxSize
    })
  }

  check("BalancePool whose list changes", {
    make: (connect) => balance(connect, kinds[0]!, { addresses: changing }),
    shared: false,
    maxSize: 3
  })
})
