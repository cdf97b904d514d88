import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { describe, expect, it } from "tstyche"
import * as CachePool from "../src/CachePool.ts"
import * as ConnectionPool from "../src/ConnectionPool.ts"
import * as NegotiatePool from "../src/NegotiatePool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import {
  type Config,
  type ConnectError,
  openUserDb,
  openUserDbWithConfig,
  type OtherError,
  type UserDb
} from "./support.ts"

const tagged = NegotiatePool.make({
  connect: () => openUserDb,
  inspect: () => true,
  upgrade: (connect) => SharedPool.make({ connect, concurrency: 10 }),
  fallback: (connect) => CachePool.make({ connect: () => Effect.map(connect(), (db) => ({ db })) })
})

type Tagged = NegotiatePool.Negotiated<{ db: UserDb }, UserDb>

describe("NegotiatePool", () => {
  describe("make", () => {
    it("infers what either side lends", () => {
      expect(tagged).type.toBe<
        Effect.Effect<ConnectionPool.ConnectionPool<void, Tagged, ConnectError>, never, Scope.Scope>
      >()
    })

    it("inspect sees what connect opens, and the sides a connector of it", () => {
      NegotiatePool.make({
        connect: () => openUserDbWithConfig,
        inspect: (db) => {
          expect(db).type.toBe<UserDb>()
          return true
        },
        upgrade: (connect) => {
          expect(connect()).type.toBe<Effect.Effect<UserDb, ConnectError, Scope.Scope>>()
          return SharedPool.make({ connect, concurrency: 10 })
        },
        fallback: (connect) => CachePool.make({ connect })
      })
    })

    it("needs what the connector and both sides need", () => {
      const needy = NegotiatePool.make({
        connect: () => openUserDbWithConfig,
        inspect: () => true,
        upgrade: (connect) => SharedPool.make({ connect, concurrency: 10 }),
        fallback: (connect) => CachePool.make({ connect })
      })
      expect(needy).type.toBe<
        Effect.Effect<
          ConnectionPool.ConnectionPool<void, NegotiatePool.Negotiated<UserDb, UserDb>, ConnectError>,
          never,
          Config | Scope.Scope
        >
      >()
    })

    it("fails with what either side fails with", () => {
      const failing = NegotiatePool.make({
        connect: () => openUserDb,
        inspect: () => true,
        upgrade: (connect) =>
          SharedPool.make({
            connect: () => Effect.flatMap(connect(), (): Effect.Effect<UserDb, OtherError> => Effect.never),
            concurrency: 10
          }),
        fallback: (connect) => CachePool.make({ connect })
      })
      expect(failing).type.toBe<
        Effect.Effect<
          ConnectionPool.ConnectionPool<void, NegotiatePool.Negotiated<UserDb, UserDb>, ConnectError | OtherError>,
          never,
          Scope.Scope
        >
      >()
    })

    it("its result can be mapped", () => {
      expect(Effect.map(tagged, (pool) => ConnectionPool.map(pool, (result) => result._tag))).type.toBe<
        Effect.Effect<ConnectionPool.ConnectionPool<void, "Fallback" | "Upgraded", ConnectError>, never, Scope.Scope>
      >()
    })
  })

  describe("makeMerged", () => {
    it("lends the union of both sides", () => {
      const merged = NegotiatePool.makeMerged({
        connect: () => openUserDb,
        inspect: () => true,
        upgrade: (connect) => SharedPool.make({ connect, concurrency: 10 }),
        fallback: (connect) => CachePool.make({ connect: () => Effect.map(connect(), (db) => ({ db })) })
      })
      expect(merged).type.toBe<
        Effect.Effect<ConnectionPool.ConnectionPool<void, { db: UserDb } | UserDb, ConnectError>, never, Scope.Scope>
      >()
    })
  })

  describe("layer", () => {
    it("needs what the connector needs, without the scope", () => {
      class Users extends Context.Service<
        Users,
        ConnectionPool.ConnectionPool<void, NegotiatePool.Negotiated<UserDb, UserDb>, ConnectError>
      >()("Users") {
        static readonly layer = NegotiatePool.layer(this, {
          connect: () => openUserDbWithConfig,
          inspect: () => true,
          upgrade: (connect) => SharedPool.make({ connect, concurrency: 10 }),
          fallback: (connect) => CachePool.make({ connect })
        })
      }
      expect(Users.layer).type.toBe<Layer.Layer<Users, never, Config>>()
    })
  })
})
