import type { Cause } from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { describe, expect, it } from "tstyche"
import * as CachePool from "../src/CachePool.ts"
import type { ConnectionPool, Lease, PoolError } from "../src/ConnectionPool.ts"
import * as RequestQueue from "../src/RequestQueue.ts"
import { type Config, type ConnectError, openUserDbWithConfig, type OtherError, type UserDb } from "./support.ts"

declare const users: ConnectionPool<void, UserDb, ConnectError>
class Codec extends Context.Service<Codec, string>()("typetest/Codec") {}
declare const exchange: (db: UserDb, sql: string) => Effect.Effect<ReadonlyArray<string>, OtherError, Codec>

describe("RequestQueue", () => {
  describe("make", () => {
    it("infers request, reply and errors from send and the pool", () => {
      const queue = RequestQueue.make({
        pool: Effect.succeed(users),
        send: (db, sql: string, lease) => {
          expect(db).type.toBe<UserDb>()
          expect(lease).type.toBeAssignableTo<Lease<UserDb>>()
          return exchange(db, sql)
        },
        isUnsent: (error) => {
          expect(error).type.toBeAssignableTo<OtherError | ConnectError | PoolError>()
          return error._tag === "OtherError"
        },
        reusable: (cause) => {
          expect(cause).type.toBeAssignableTo<Cause<OtherError>>()
          return true
        },
        observer: {
          retried: (sql, error) => {
            expect(sql).type.toBeAssignableTo<string>()
            expect(error).type.toBeAssignableTo<OtherError | ConnectError | PoolError>()
          }
        }
      })
      expect(queue).type.toBe<
        Effect.Effect<
          RequestQueue.RequestQueue<string, ReadonlyArray<string>, OtherError | ConnectError>,
          never,
          Codec | Scope.Scope
        >
      >()
    })

    it("a send fails with all that can go wrong, and needs nothing", () => {
      Effect.gen(function* () {
        const queue = yield* RequestQueue.make({ pool: Effect.succeed(users), send: exchange })
        expect(queue.send("select 1")).type.toBe<
          Effect.Effect<ReadonlyArray<string>, OtherError | ConnectError | PoolError>
        >()
        expect(queue.send).type.not.toBeCallableWith(1)
      })
    })

    it("rejects what is no effect of a pool, and strategies that there are not", () => {
      expect(RequestQueue.make).type.not.toBeCallableWith({ pool: users, send: exchange })
      expect(RequestQueue.make).type.not.toBeCallableWith({ pool: Effect.succeed(1), send: exchange })
      expect(RequestQueue.make).type.not.toBeCallableWith({
        pool: Effect.succeed(users),
        send: exchange,
        strategy: "random"
      })
    })
  })

  it("is contravariant in the request and covariant in the reply", () => {
    expect<RequestQueue.RequestQueue<string | number, "a", never>>().type.toBeAssignableTo<
      RequestQueue.RequestQueue<string, string, ConnectError>
    >()
    expect<RequestQueue.RequestQueue<string, string>>().type.not.toBeAssignableTo<
      RequestQueue.RequestQueue<string | number, string>
    >()
  })

  describe("layer", () => {
    it("needs what send and the pool need, without the scope", () => {
      class Queries extends Context.Service<
        Queries,
        RequestQueue.RequestQueue<string, ReadonlyArray<string>, OtherError | ConnectError>
      >()("Queries") {
        static readonly layer = RequestQueue.layer(this, {
          pool: CachePool.make({ connect: () => openUserDbWithConfig }),
          send: exchange
        })
      }
      expect(Queries.layer).type.toBe<Layer.Layer<Queries, never, Codec | Config>>()
    })
  })
})
