import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { describe, expect, it } from "tstyche"
import * as CachePool from "../src/CachePool.ts"
import * as ConnectionPool from "../src/ConnectionPool.ts"
import { type ConnectError, openUserDb, type OtherError, type UserDb, type UserDbPlus } from "./support.ts"

type Pool<Target, Conn, E = never> = ConnectionPool.ConnectionPool<Target, Conn, E>

describe("ConnectionPool", () => {
  describe("variance", () => {
    it("is covariant in the connection and the error", () => {
      expect<CachePool.CachePool<UserDbPlus>>().type.toBeAssignableTo<Pool<void, UserDb, ConnectError>>()
      expect<CachePool.CachePool<UserDbPlus>>().type.toBeAssignableTo<CachePool.CachePool<UserDb, ConnectError>>()
      expect<Pool<void, UserDb>>().type.not.toBeAssignableTo<Pool<void, UserDbPlus>>()
      expect<Pool<void, UserDb, ConnectError>>().type.not.toBeAssignableTo<Pool<void, UserDb>>()
    })

    it("is contravariant in the target", () => {
      expect<Pool<unknown, UserDb>>().type.toBeAssignableTo<Pool<URL, UserDb>>()
      expect<Pool<URL, UserDb>>().type.not.toBeAssignableTo<Pool<unknown, UserDb>>()
    })

    it("leases are covariant, predicates contravariant in the connection", () => {
      expect<ConnectionPool.Lease<UserDbPlus>>().type.toBeAssignableTo<ConnectionPool.Lease<UserDb>>()
      expect<ConnectionPool.Keep<UserDb>>().type.toBeAssignableTo<ConnectionPool.Keep<UserDbPlus>>()
      expect<ConnectionPool.Keep<UserDbPlus>>().type.not.toBeAssignableTo<ConnectionPool.Keep<UserDb>>()
    })

    it("every pool is assignable to Any", () => {
      expect<Pool<URL, UserDb, ConnectError>>().type.toBeAssignableTo<ConnectionPool.Any>()
      expect<CachePool.CachePool<UserDb, ConnectError>>().type.toBeAssignableTo<ConnectionPool.Any>()
    })
  })

  describe("a pool without a target", () => {
    const pool = {} as Pool<void, UserDb, ConnectError>

    it("is used with a body only", () => {
      expect(pool.use((db) => db.query("x"))).type.toBe<
        Effect.Effect<ReadonlyArray<string>, ConnectError | ConnectionPool.PoolError>
      >()
      expect(pool.get()).type.toBe<Effect.Effect<UserDb, ConnectError | ConnectionPool.PoolError, Scope.Scope>>()
      expect(pool.lease()).type.toBe<
        Effect.Effect<ConnectionPool.Lease<UserDb>, ConnectError | ConnectionPool.PoolError, Scope.Scope>
      >()
    })
  })

  describe("a pool with a target", () => {
    const byUrl = {} as Pool<URL, UserDb, ConnectError>

    it("is used with the target and a body", () => {
      expect(byUrl.use(new URL("http://a"), (db) => db.query("x"))).type.toBe<
        Effect.Effect<ReadonlyArray<string>, ConnectError | ConnectionPool.PoolError>
      >()
      expect(byUrl.get(new URL("http://a"))).type.toBe<
        Effect.Effect<UserDb, ConnectError | ConnectionPool.PoolError, Scope.Scope>
      >()
    })

    it("cannot be used without the target", () => {
      // @ts-expect-error The 'this' context of type 'Pool<URL, UserDb, ConnectError>' is not assignable to method's 'this'
      byUrl.use((db: UserDb) => db.query("x"))
      expect(byUrl.get).type.not.toBeCallableWith()
      expect(byUrl.lease).type.not.toBeCallableWith()
      expect(byUrl.get).type.not.toBeCallableWith("http://a")
    })
  })

  describe("map", () => {
    const pool = {} as Pool<URL, UserDb, ConnectError>

    it("changes the connection and nothing else, data-first and data-last", () => {
      expect(ConnectionPool.map(pool, (db) => db.query)).type.toBe<Pool<URL, UserDb["query"], ConnectError>>()
      expect(pool.pipe(ConnectionPool.map((db) => db.query))).type.toBe<Pool<URL, UserDb["query"], ConnectError>>()
    })

    it("works inside Effect.map over a make", () => {
      const mapped = Effect.map(CachePool.make({ connect: () => openUserDb }), (pool) =>
        ConnectionPool.map(pool, (db) => ({ db }))
      )
      expect(mapped).type.toBe<Effect.Effect<Pool<void, { db: UserDb }, ConnectError>, never, Scope.Scope>>()
    })
  })

  describe("PoolError", () => {
    const rows = {} as Effect.Effect<string, ConnectError | ConnectionPool.PoolError>

    it("is caught by its tag, the connector's error stays", () => {
      expect(Effect.catchTag(rows, "PoolError", (error) => Effect.succeed(error.reason._tag))).type.toBe<
        Effect.Effect<string, ConnectError>
      >()
      expect(Effect.catchTag(rows, "ConnectError", () => Effect.succeed(""))).type.toBe<
        Effect.Effect<string, ConnectionPool.PoolError>
      >()
    })

    it("each reason is caught by its tag, with its own fields", () => {
      Effect.catchReason(rows, "PoolError", "WaitTimeout", (reason) => {
        expect(reason).type.toBe<ConnectionPool.WaitTimeout>()
        expect(reason.phase).type.toBe<"wait" | "connect" | "validate">()
        expect(reason.stats).type.toBe<ConnectionPool.PoolStats>()
        return Effect.succeed("")
      })
      Effect.catchReason(rows, "PoolError", "QueueFull", (reason) => {
        expect(reason.maxPending).type.toBe<number>()
        return Effect.succeed("")
      })
      Effect.catchReason(rows, "PoolError", "TooManyKeys", (reason) => {
        expect(reason.maxKeys).type.toBe<number>()
        return Effect.succeed("")
      })
      expect(Effect.catchReason(rows, "PoolError", "Closed", () => Effect.succeed(1))).type.toBe<
        Effect.Effect<string | number, ConnectError | ConnectionPool.PoolError>
      >()
    })

    it("the reasons are these four", () => {
      expect<ConnectionPool.PoolError["reason"]["_tag"]>().type.toBe<
        "WaitTimeout" | "QueueFull" | "Closed" | "TooManyKeys"
      >()
    })
  })

  describe("retain, guard, observe, drain, stats", () => {
    const pool = {} as Pool<void, UserDb, ConnectError>

    it("predicates answer with a boolean or a reason", () => {
      expect(pool.retain((db, info, now) => (now > info.createdAt ? db.query !== undefined : "lifetime"))).type.toBe<
        Effect.Effect<void>
      >()
      expect(pool.guard(() => true)).type.toBe<Effect.Effect<void, never, Scope.Scope>>()
      expect(pool.retain).type.not.toBeCallableWith(() => "old")
      expect(pool.retain).type.not.toBeCallableWith((db: UserDbPlus) => db.extra > 1)
    })

    it("observers are optional callbacks on facts", () => {
      expect(pool.observe({ evicted: (info, reason) => void [info.id, reason] })).type.toBe<
        Effect.Effect<void, never, Scope.Scope>
      >()
      expect(pool.observe({})).type.toBe<Effect.Effect<void, never, Scope.Scope>>()
      expect(ConnectionPool.events(pool)).type.toBe<Stream.Stream<ConnectionPool.PoolEvent>>()
    })

    it("draining and stats cannot fail", () => {
      expect(pool.drain({ deadline: "1 minute" })).type.toBe<Effect.Effect<void>>()
      expect(pool.stats).type.toBe<Effect.Effect<ConnectionPool.PoolStats>>()
    })

    it("stats and infos are read-only", () => {
      const stats = {} as ConnectionPool.PoolStats
      // @ts-expect-error Cannot assign to 'idle' because it is a read-only property.
      stats.idle = 1
      const info = {} as ConnectionPool.ConnectionInfo
      // @ts-expect-error Cannot assign to 'uses' because it is a read-only property.
      info.uses = 1
    })

    it("errors of the connector do not widen: a pool that cannot fail to connect fails with PoolError only", () => {
      const sure = {} as Pool<void, UserDb>
      expect(sure.get()).type.toBe<Effect.Effect<UserDb, ConnectionPool.PoolError, Scope.Scope>>()
      expect<OtherError>().type.not.toBeAssignableTo<ConnectionPool.PoolError>()
    })
  })
})
