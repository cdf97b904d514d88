import type * as Effect from "effect/Effect"
import { describe, expect, it } from "tstyche"
import type * as Scope from "effect/Scope"
import * as CachePool from "../src/CachePool.ts"
import type { ConnectionPool } from "../src/ConnectionPool.ts"
import type { Connector } from "../src/Connector.ts"
import * as SingletonPool from "../src/SingletonPool.ts"
import { laws } from "../src/testing/PoolLaws.ts"

describe("PoolLaws", () => {
  it("takes any way to make a pool from a connector", () => {
    const l = laws({ shared: false, maxSize: 8, make: (connect) => CachePool.make({ connect, maxSize: 8 }) })
    expect(l).type.toBe<ReadonlyArray<{ readonly name: string; readonly law: Effect.Effect<void, unknown> }>>()
    expect(laws).type.toBeCallableWith({
      shared: true,
      maxSize: 1,
      make: (connect: Connector<void, { readonly id: number }, Error, Scope.Scope>) => SingletonPool.make({ connect })
    })
  })

  it("a pool that needs more than a scope is provided with it first", () => {
    interface Needed {
      readonly _: "needed"
    }
    expect(laws).type.not.toBeCallableWith({
      shared: true,
      maxSize: 1,
      make: () => ({}) as Effect.Effect<ConnectionPool<void, number>, never, Needed>
    })
  })
})
