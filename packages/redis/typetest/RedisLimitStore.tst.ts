import { ConnectionLimit } from "@poolkit/pool"
import { RedisLimitStore } from "../src/index.ts"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redis from "effect/persistence/Redis"
import type * as Scope from "effect/Scope"
import { describe, expect, test } from "tstyche"

type Store = ConnectionLimit.ConnectionLimitStore
type StoreError = ConnectionLimit.ConnectionLimitStoreError

class Plain extends Context.Service<Plain, ConnectionLimit.ConnectionLimit>()("typetest/Plain") {}
class Stored extends Context.Service<Stored, ConnectionLimit.StoredConnectionLimit>()("typetest/Stored") {}
class Other extends Context.Service<Other, { readonly port: number }>()("typetest/Other") {}

const options = { key: "db", max: 3 }

describe("ConnectionLimit.makeStored", () => {
  test("needs a store and a scope, and fails as the store does", () => {
    expect(ConnectionLimit.makeStored(options)).type.toBe<
      Effect.Effect<ConnectionLimit.StoredConnectionLimit, StoreError, Store | Scope.Scope>
    >()
  })

  test("is a ConnectionLimit for pools", () => {
    expect<ConnectionLimit.StoredConnectionLimit>().type.toBeAssignableTo<ConnectionLimit.ConnectionLimit>()
  })

  test("wants a key and a maximum", () => {
    expect(ConnectionLimit.makeStored).type.not.toBeCallableWith({ max: 3 })
    expect(ConnectionLimit.makeStored).type.not.toBeCallableWith({ key: "db" })
    expect(ConnectionLimit.makeStored).type.not.toBeCallableWith({ ...options, onStoreError: "ignore" })
  })
})

describe("ConnectionLimit.layerStored", () => {
  test("provides either tag", () => {
    expect(ConnectionLimit.layerStored(Plain, options)).type.toBe<Layer.Layer<Plain, StoreError, Store>>()
    expect(ConnectionLimit.layerStored(Stored, options)).type.toBe<Layer.Layer<Stored, StoreError, Store>>()
  })

  test("provides no other", () => {
    expect(ConnectionLimit.layerStored).type.not.toBeCallableWith(Other, options)
  })
})

describe("RedisLimitStore", () => {
  test("layerStoreRedis needs a Redis, layerStoreNodeRedis brings one", () => {
    expect(RedisLimitStore.layerStoreRedis()).type.toBe<Layer.Layer<Store, StoreError, Redis.Redis>>()
    expect(RedisLimitStore.layerStoreNodeRedis()).type.toBe<Layer.Layer<Store, StoreError>>()
  })

  test("provides what a stored limit needs", () => {
    const limit = ConnectionLimit.layerStored(Stored, options)
    expect(Layer.provide(limit, RedisLimitStore.layerStoreNodeRedis())).type.toBe<Layer.Layer<Stored, StoreError>>()
    expect(Layer.provide(limit, ConnectionLimit.layerStoreMemory)).type.toBe<Layer.Layer<Stored, StoreError>>()
  })
})
