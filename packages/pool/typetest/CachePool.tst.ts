import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import type * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { describe, expect, it } from "tstyche"
import * as CachePool from "../src/CachePool.ts"
import type { PoolError, Signals } from "../src/ConnectionPool.ts"
import {
  type Config,
  type ConnectError,
  openUserDb,
  openUserDbNever,
  openUserDbOther,
  openUserDbPlus,
  openUserDbWithConfig,
  type OtherError,
  type UserDb,
  type UserDbPlus
} from "./support.ts"

class Users extends Context.Service<Users, CachePool.CachePool<UserDb, ConnectError>>()("app/Users") {
  static readonly layer: Layer.Layer<Users> = CachePool.layer(this, { connect: () => openUserDb, maxSize: 20 })
}

describe("CachePool", () => {
  describe("layer", () => {
    it("a program that uses the pool needs only its tag, and nothing once the layer is provided", () => {
      const rows = Users.use((users) => users.use((db) => db.query("select 1")))
      expect(rows).type.toBe<Effect.Effect<ReadonlyArray<string>, ConnectError | PoolError, Users>>()
      expect(Effect.provide(rows, Users.layer)).type.toBe<
        Effect.Effect<ReadonlyArray<string>, ConnectError | PoolError>
      >()
    })

    it("needs what its connector needs, without the scope", () => {
      class Tag extends Context.Service<Tag, CachePool.CachePool<UserDb, ConnectError>>()("Tag") {
        static readonly layer = CachePool.layer(this, {
          connect: () => openUserDbWithConfig,
          isOpen: (db) => db.query !== undefined
        })
      }
      expect(Tag.layer).type.toBe<Layer.Layer<Tag, never, Config>>()
    })

    it("needs what its validation needs", () => {
      class Tag extends Context.Service<Tag, CachePool.CachePool<UserDb, ConnectError>>()("Tag") {
        static readonly layer = CachePool.layer(this, {
          connect: () => openUserDb,
          validate: (db) => Effect.andThen(db.query("select 1"), {} as Effect.Effect<void, never, Config>)
        })
      }
      expect(Tag.layer).type.toBe<Layer.Layer<Tag, never, Config>>()
    })

    it("accepts a connector that opens more than the service says", () => {
      class Tag extends Context.Service<Tag, CachePool.CachePool<UserDb, ConnectError>>()("Tag") {
        static readonly layer = CachePool.layer(this, { connect: () => openUserDbPlus })
      }
      expect(Tag.layer).type.toBe<Layer.Layer<Tag>>()
    })

    it("accepts a connector that fails less than the service says", () => {
      class Tag extends Context.Service<Tag, CachePool.CachePool<UserDb, ConnectError | OtherError>>()("Tag") {
        static readonly layer = CachePool.layer(this, { connect: () => openUserDbNever })
      }
      expect(Tag.layer).type.toBe<Layer.Layer<Tag>>()
    })

    it("rejects a connector that fails with what the service does not declare", () => {
      class Tag extends Context.Service<Tag, CachePool.CachePool<UserDb, ConnectError>>()("Tag") {}
      expect(CachePool.layer).type.not.toBeCallableWith(Tag, { connect: () => openUserDbOther })
      expect(CachePool.layer).type.toBeCallableWith(Tag, { connect: () => openUserDb })
    })
  })

  describe("make", () => {
    const make = CachePool.make({
      connect: () => openUserDbWithConfig,
      isOpen: (db) => db.query !== undefined,
      validate: (db) => db.query("select 1"),
      validateAfter: "500 millis"
    })

    it("infers the connection, the error and the context from connect", () => {
      expect(make).type.toBe<Effect.Effect<CachePool.CachePool<UserDb, ConnectError>, never, Config | Scope.Scope>>()
    })

    it("a connector that needs no scope still makes a scoped pool", () => {
      expect(CachePool.make({ connect: () => Effect.succeed(1) })).type.toBe<
        Effect.Effect<CachePool.CachePool<number>, never, Scope.Scope>
      >()
    })

    it("hooks see the connection that connect opens and do not widen it", () => {
      CachePool.make({
        connect: () => openUserDbPlus,
        isOpen: (db) => {
          expect(db).type.toBe<UserDbPlus>()
          return true
        },
        watch: (db, signals) => {
          expect(db).type.toBe<UserDbPlus>()
          expect(signals).type.toBe<Signals>()
        },
        validate: (db) => {
          expect(db).type.toBe<UserDbPlus>()
          return Effect.void
        }
      })
      const narrow = CachePool.make({ connect: () => openUserDbPlus, isOpen: (db: UserDb) => db.query !== undefined })
      expect(narrow).type.toBe<Effect.Effect<CachePool.CachePool<UserDbPlus, ConnectError>, never, Scope.Scope>>()
    })

    it("hooks and schedules that take anything do not widen the connection or the error", () => {
      const pool = CachePool.make({
        connect: () => openUserDb,
        isOpen: (db: any) => db.open,
        watch: (db: any) => db.watch(),
        validate: (db: any) => db.ping,
        backoff: {} as Schedule.Schedule<number, Cause.Cause<unknown>>
      })
      expect(pool).type.toBe<Effect.Effect<CachePool.CachePool<UserDb, ConnectError>, never, Scope.Scope>>()
    })

    it("get, lease and use fail with the connector's error or PoolError", () => {
      expect(Effect.flatMap(make, (pool) => pool.get())).type.toBe<
        Effect.Effect<UserDb, ConnectError | PoolError, Config | Scope.Scope>
      >()
      const used = Effect.flatMap(make, (pool) =>
        pool.use((db, lease) => db.query("x").pipe(Effect.tapCause(() => lease.invalidate)))
      )
      expect(used).type.toBe<Effect.Effect<ReadonlyArray<string>, ConnectError | PoolError, Config | Scope.Scope>>()
    })

    it("the body's own error and context are added", () => {
      const pool = {} as CachePool.CachePool<UserDb, ConnectError>
      const body = {} as Effect.Effect<number, OtherError, Config>
      expect(pool.use(() => body)).type.toBe<Effect.Effect<number, ConnectError | OtherError | PoolError, Config>>()
    })

    it("takes a function as connector, not an effect", () => {
      expect(CachePool.make).type.not.toBeCallableWith({ connect: openUserDb })
    })

    it("rejects unknown values of its options", () => {
      const connect = () => openUserDb
      expect(CachePool.make).type.not.toBeCallableWith({ connect, order: "random" as const })
      expect(CachePool.make).type.not.toBeCallableWith({ connect, onAbandon: "drop" as const })
      expect(CachePool.make).type.not.toBeCallableWith({ connect, maxSize: "10" })
      expect(CachePool.make).type.toBeCallableWith({ connect, order: undefined, maxSize: undefined })
    })
  })

  describe("takeIdle and adopt", () => {
    const pool = {} as CachePool.CachePool<UserDb, ConnectError>

    it("takeIdle is an option and never the connector's error", () => {
      expect(pool.takeIdle).type.toBe<Effect.Effect<Option.Option<UserDb>, PoolError, Scope.Scope>>()
    })

    it("adopt takes a connection of the pool's type", () => {
      expect(pool.adopt).type.toBeCallableWith({} as UserDbPlus, Effect.void)
      expect(pool.adopt).type.not.toBeCallableWith({ extra: 1 })
    })
  })
})
