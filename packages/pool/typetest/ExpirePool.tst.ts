import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { describe, expect, it } from "tstyche"
import * as CachePool from "../src/CachePool.ts"
import type { ConnectionInfo } from "../src/ConnectionPool.ts"
import * as ExpirePool from "../src/ExpirePool.ts"
import { PoolLaws } from "../src/testing/index.ts"
import { type Config, type ConnectError, openUserDb, openUserDbWithConfig, type UserDb } from "./support.ts"

const users = CachePool.make({ connect: () => openUserDbWithConfig })

describe("ExpirePool", () => {
  describe("make", () => {
    it("returns the type of pool that it was given, data-first, with the connection inferred in keep", () => {
      const expiring = ExpirePool.make(users, {
        keep: (db, info, now) => {
          expect(db).type.toBe<UserDb>()
          expect(info).type.toBe<ConnectionInfo>()
          return db.query !== undefined && now - info.createdAt < 300_000 ? true : "lifetime"
        }
      })
      expect(expiring).type.toBe<typeof users>()
    })

    it("and data-last", () => {
      expect(users.pipe(ExpirePool.make({ keep: (_, info) => info.uses < 10 }))).type.toBe<typeof users>()
      expect(users.pipe(ExpirePool.make({ idleTimeToLive: "90 seconds", maxLifetime: "300 seconds" }))).type.toBe<
        typeof users
      >()
    })

    it("a schedule is told what the last look found", () => {
      users.pipe(
        ExpirePool.make({
          idleTimeToLive: "1 minute",
          schedule: Schedule.modifyDelay(
            Schedule.passthrough(Schedule.forever) as Schedule.Schedule<ExpirePool.Look, ExpirePool.Look>,
            ({ output }) => Effect.succeed(output.nextDueIn ?? Duration.seconds(30))
          )
        })
      )
      expect<ExpirePool.Look["nextDueIn"]>().type.toBe<Duration.Duration | undefined>()
    })

    it("rejects what is no pool, and policies of another connection", () => {
      expect(ExpirePool.make).type.not.toBeCallableWith(Effect.succeed(1), { maxUses: 1 })
      expect(ExpirePool.make).type.not.toBeCallableWith(users, { keep: (text: string) => text.length > 0 })
      expect(ExpirePool.make).type.not.toBeCallableWith(users, { keep: () => "old" })
    })

    it("fits where a pool is asked for", () => {
      expect(
        PoolLaws.laws({
          shared: false,
          maxSize: 8,
          make: (connect) => ExpirePool.make(CachePool.make({ connect, maxSize: 8 }), { idleTimeToLive: "1 minute" })
        })
      ).type.toBe<ReadonlyArray<PoolLaws.Law>>()
    })
  })

  describe("layer", () => {
    it("needs what the pool needs, without the scope", () => {
      class Users extends Context.Service<Users, CachePool.CachePool<UserDb, ConnectError>>()("Users") {
        static readonly layer = ExpirePool.layer(this, users, { maxUses: 10 })
        static readonly plain = ExpirePool.layer(this, CachePool.make({ connect: () => openUserDb }), { maxUses: 10 })
      }
      expect(Users.layer).type.toBe<Layer.Layer<Users, never, Config>>()
      expect(Users.plain).type.toBe<Layer.Layer<Users>>()
    })
  })
})
