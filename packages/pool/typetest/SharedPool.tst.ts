import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { describe, expect, it } from "tstyche"
import * as ConnectionLimit from "../src/ConnectionLimit.ts"
import type { PoolError } from "../src/ConnectionPool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import {
  type Config,
  type ConnectError,
  openUserDb,
  openUserDbOther,
  openUserDbPlus,
  openUserDbWithConfig,
  type UserDb,
  type UserDbPlus
} from "./support.ts"

describe("SharedPool", () => {
  it("make infers the connection, the error and the context from connect", () => {
    expect(SharedPool.make({ connect: () => openUserDbWithConfig, concurrency: 10 })).type.toBe<
      Effect.Effect<SharedPool.SharedPool<UserDb, ConnectError>, never, Config | Scope.Scope>
    >()
  })

  it("concurrency sees the connection that connect opens and does not widen it", () => {
    const made = SharedPool.make({
      connect: () => openUserDbPlus,
      concurrency: (db) => {
        expect(db).type.toBe<UserDbPlus>()
        return db.extra
      }
    })
    expect(made).type.toBe<Effect.Effect<SharedPool.SharedPool<UserDbPlus, ConnectError>, never, Scope.Scope>>()
  })

  it("concurrency is required, and a number", () => {
    expect(SharedPool.make).type.not.toBeCallableWith({ connect: () => openUserDb })
    expect(SharedPool.make).type.not.toBeCallableWith({ connect: () => openUserDb, concurrency: "10" })
    expect(SharedPool.make).type.not.toBeCallableWith({ connect: () => openUserDb, concurrency: () => "10" })
  })

  it("a layer needs what its connector needs, and takes one that fails with what the service declares", () => {
    class Users extends Context.Service<Users, SharedPool.SharedPool<UserDb, ConnectError>>()("Users") {
      static readonly layer = SharedPool.layer(this, { connect: () => openUserDbWithConfig, concurrency: 10 })
    }
    expect(Users.layer).type.toBe<Layer.Layer<Users, never, Config>>()
    expect(SharedPool.layer).type.not.toBeCallableWith(Users, { connect: () => openUserDbOther, concurrency: 10 })
  })

  it("use fails with the connector's error or PoolError", () => {
    const pool = {} as SharedPool.SharedPool<UserDb, ConnectError>
    expect(pool.use((db) => db.query("x"))).type.toBe<Effect.Effect<ReadonlyArray<string>, ConnectError | PoolError>>()
  })
})

describe("ConnectionLimit", () => {
  it("is made without a scope, and provided by a layer that needs nothing", () => {
    expect(ConnectionLimit.make({ max: 10 })).type.toBe<Effect.Effect<ConnectionLimit.ConnectionLimit>>()
    class Limit extends Context.Service<Limit, ConnectionLimit.ConnectionLimit>()("Limit") {
      static readonly layer = ConnectionLimit.layer(this, { max: 10 })
    }
    expect(Limit.layer).type.toBe<Layer.Layer<Limit>>()
    expect(ConnectionLimit.make).type.not.toBeCallableWith({})
  })

  it("its stats say what is taken", () => {
    const limit = {} as ConnectionLimit.ConnectionLimit
    expect(Effect.map(limit.stats, ({ max, used, waiting }) => [max, used, waiting])).type.toBe<
      Effect.Effect<Array<number>>
    >()
  })
})
