import type { Cause, TimeoutError } from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { describe, expect, it } from "tstyche"
import * as Addresses from "../src/Addresses.ts"
import * as BalancePool from "../src/BalancePool.ts"
import * as CachePool from "../src/CachePool.ts"
import type { ConnectionPool } from "../src/ConnectionPool.ts"
import * as ExpirePool from "../src/ExpirePool.ts"
import * as MapPool from "../src/MapPool.ts"
import * as NegotiatePool from "../src/NegotiatePool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import {
  type Config,
  type ConnectError,
  openUserDb,
  openUserDbNever,
  openUserDbWithConfig,
  type UserDb
} from "./support.ts"

declare const connectToPort: (port: number) => typeof openUserDb
declare const registry: Stream.Stream<ReadonlyArray<Addresses.HostPort>, "gone", Config>

describe("BalancePool", () => {
  describe("make", () => {
    it("lends what the inner pool lends, with its errors; needs what the addresses, the connector and the pool need", () => {
      const pool = BalancePool.make({
        addresses: registry,
        connect: (address) => {
          expect(address).type.toBe<Addresses.HostPort>()
          return openUserDb
        },
        pool: (connect, { limit }) => CachePool.make({ connect, limit })
      })
      expect(pool).type.toBe<
        Effect.Effect<ConnectionPool<void, UserDb, ConnectError | TimeoutError>, never, Config | Scope.Scope>
      >()
    })

    it("with addresses and connectors that need nothing and cannot fail", () => {
      const pool = BalancePool.make({
        addresses: Stream.make(["a", "b"]),
        connect: () => openUserDbNever,
        pool: (connect, { limit }) => SharedPool.make({ connect, limit, concurrency: 5 })
      })
      expect(pool).type.toBe<Effect.Effect<ConnectionPool<void, UserDb, TimeoutError>, never, Scope.Scope>>()
    })

    it("takes any kind, and fits into any", () => {
      const addresses = Stream.make(["a"])
      const negotiated = BalancePool.make({
        addresses,
        connect: () => openUserDb,
        pool: (connect, { limit }) =>
          NegotiatePool.makeMerged({
            connect,
            inspect: () => true,
            upgrade: (connect) => SharedPool.make({ connect, limit, concurrency: 5 }),
            fallback: (connect) => CachePool.make({ connect, limit })
          })
      })
      expect(ExpirePool.make(negotiated, { maxUses: 5 })).type.toBe<typeof negotiated>()
      expect(
        MapPool.make({
          key: (tenant: string) => tenant,
          pool: (_, { limit }) =>
            BalancePool.make({
              addresses,
              connect: () => openUserDb,
              limit,
              pool: (connect, { limit }) => CachePool.make({ connect, limit })
            })
        })
      ).type.toBe<
        Effect.Effect<MapPool.MapPool<string, string, UserDb, ConnectError | TimeoutError>, never, Scope.Scope>
      >()
    })

    it("observers know the address and the error", () => {
      BalancePool.make({
        addresses: registry,
        connect: () => openUserDb,
        pool: (connect) => CachePool.make({ connect }),
        observer: {
          setAside: (address, duration, cause) => {
            expect(address).type.toBe<Addresses.HostPort>()
            expect(duration).type.toBe<number>()
            expect(cause).type.toBeAssignableTo<Cause<ConnectError | TimeoutError>>()
          }
        }
      })
    })

    it("rejects a connector of other addresses, and what is no pool", () => {
      expect(BalancePool.make).type.not.toBeCallableWith({
        addresses: Stream.make(["a"]),
        connect: connectToPort,
        pool: (connect: never) => CachePool.make({ connect })
      })
      expect(BalancePool.make).type.not.toBeCallableWith({
        addresses: Stream.make(["a"]),
        connect: () => openUserDb,
        pool: () => Effect.succeed(1)
      })
    })
  })

  describe("layer", () => {
    it("needs what the parts need, without the scope", () => {
      class Users extends Context.Service<Users, ConnectionPool<void, UserDb, ConnectError | TimeoutError>>()("Users") {
        static readonly layer = BalancePool.layer(this, {
          addresses: Addresses.constant(["a"]),
          connect: () => openUserDbWithConfig,
          pool: (connect, { limit }) => CachePool.make({ connect, limit })
        })
      }
      expect(Users.layer).type.toBe<Layer.Layer<Users, never, Config>>()
    })
  })
})
