import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { describe, expect, it } from "tstyche"
import * as CachePool from "../src/CachePool.ts"
import type { ConnectionPool, PoolError } from "../src/ConnectionPool.ts"
import * as SingletonPool from "../src/SingletonPool.ts"
import {
  type Config,
  type ConnectError,
  openUserDb,
  openUserDbOther,
  openUserDbWithConfig,
  type UserDb
} from "./support.ts"

describe("SingletonPool", () => {
  it("infers the connection, the error and the context from connect", () => {
    expect(
      SingletonPool.make({ connect: () => openUserDbWithConfig, isOpen: (db) => db.query !== undefined })
    ).type.toBe<Effect.Effect<SingletonPool.SingletonPool<UserDb, ConnectError>, never, Config | Scope.Scope>>()
  })

  it("a pool's get is a connector: the inner pool's errors join the connector's", () => {
    const cache = CachePool.make({ connect: () => openUserDbWithConfig })
    const stacked = Effect.flatMap(cache, (pool) => SingletonPool.make({ connect: pool.get }))
    expect(stacked).type.toBe<
      Effect.Effect<SingletonPool.SingletonPool<UserDb, ConnectError | PoolError>, never, Config | Scope.Scope>
    >()
    expect(stacked).type.toBeAssignableTo<
      Effect.Effect<ConnectionPool<void, UserDb, ConnectError | PoolError>, never, Config | Scope.Scope>
    >()
  })

  it("has no maxSize and no maxConnecting", () => {
    const connect = () => openUserDb
    expect(SingletonPool.make).type.toBeCallableWith({ connect })
    expect(SingletonPool.make).type.not.toBeCallableWith({ connect, maxSize: 2 })
    expect(SingletonPool.make).type.not.toBeCallableWith({ connect, maxConnecting: 2 })
  })

  it("layer needs what its connector needs and rejects undeclared errors", () => {
    class Tag extends Context.Service<Tag, SingletonPool.SingletonPool<UserDb, ConnectError>>()("Tag") {
      static readonly layer = SingletonPool.layer(this, { connect: () => openUserDbWithConfig })
    }
    expect(Tag.layer).type.toBe<Layer.Layer<Tag, never, Config>>()
    expect(SingletonPool.layer).type.not.toBeCallableWith(Tag, { connect: () => openUserDbOther })
  })
})
