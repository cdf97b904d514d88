import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { describe, expect, it } from "tstyche"
import * as CachePool from "../src/CachePool.ts"
import type { ConnectionLimit } from "../src/ConnectionLimit.ts"
import type { PoolError, PoolStats } from "../src/ConnectionPool.ts"
import * as ExpirePool from "../src/ExpirePool.ts"
import * as MapPool from "../src/MapPool.ts"
import * as NegotiatePool from "../src/NegotiatePool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import { Config, type ConnectError, openUserDb, openUserDbOther, openUserDbPlus, type UserDb } from "./support.ts"

/** The general-purpose pool: key, then negotiated, then shared or cached, all of it with expiry. */
interface Socket {
  readonly alpn: "h2" | "http/1.1"
}
interface HttpConnection {
  readonly request: (request: Request) => Effect.Effect<Response, HttpError>
}
interface Http1Connection extends HttpConnection {
  readonly _1: 1
}
interface Http2Connection extends HttpConnection {
  readonly _2: 2
  readonly peerMax: number
}
declare class HttpError {
  readonly _tag: "HttpError"
}
declare class SocketError {
  readonly _tag: "SocketError"
}
declare class TlsError {
  readonly _tag: "TlsError"
}
interface Origin {
  readonly host: string
}
declare const originOf: (url: URL) => Origin
declare const dial: (origin: Origin) => Effect.Effect<Socket, SocketError | TlsError, Scope.Scope | Config>
declare const http1: (socket: Socket) => Effect.Effect<Http1Connection, never, Scope.Scope>
declare const http2: (socket: Socket) => Effect.Effect<Http2Connection, HttpError, Scope.Scope>

const httpPool = MapPool.make({
  key: originOf,
  maxSize: 200,
  maxKeys: 500,
  pool: (origin, { limit }) =>
    NegotiatePool.makeMerged({
      connect: () => dial(origin),
      inspect: (socket) => socket.alpn === "h2",
      upgrade: (connect) =>
        SharedPool.make({
          connect: () => Effect.flatMap(connect(), http2),
          concurrency: (connection) => connection.peerMax,
          maxSize: 1,
          limit
        }),
      fallback: (connect) => CachePool.make({ connect: () => Effect.flatMap(connect(), http1), maxSize: 6, limit })
    })
}).pipe(ExpirePool.make({ idleTimeToLive: "90 seconds", maxLifetime: "300 seconds" }))

class Http extends Context.Service<Http, Effect.Success<typeof httpPool>>()("typetest/Http") {
  static readonly layer = Layer.effect(this, httpPool)
}

describe("MapPool", () => {
  describe("make", () => {
    it("a general-purpose pool infers its target, key, connections, errors and context", () => {
      expect(httpPool).type.toBe<
        Effect.Effect<
          MapPool.MapPool<URL, Origin, Http1Connection | Http2Connection, SocketError | TlsError | HttpError>,
          never,
          Config | Scope.Scope
        >
      >()
    })

    it("is used with a target", () => {
      const respond = Effect.flatMap(httpPool, (pool) =>
        pool.use(new URL("http://a"), (connection) => connection.request(new Request("http://a")))
      )
      expect(respond).type.toBe<
        Effect.Effect<Response, SocketError | TlsError | HttpError | PoolError, Config | Scope.Scope>
      >()
      const pool = {} as Effect.Success<typeof httpPool>
      expect(pool.get).type.not.toBeCallableWith()
      expect(pool.get).type.not.toBeCallableWith("http://a")
    })

    it("gives the builder the key and the limit", () => {
      MapPool.make({
        key: (url: URL) => url.host,
        pool: (host, grant) => {
          expect(host).type.toBe<string>()
          expect(grant.limit).type.toBe<ConnectionLimit>()
          return CachePool.make({ connect: () => openUserDb, limit: grant.limit })
        }
      })
    })

    it("keys, statsOf and remove speak of keys", () => {
      const pool = {} as MapPool.MapPool<URL, Origin, UserDb>
      expect(pool.keys).type.toBe<Effect.Effect<ReadonlyArray<Origin>>>()
      expect(pool.statsOf({ host: "a" })).type.toBe<Effect.Effect<PoolStats | undefined>>()
      expect(pool.remove({ host: "a" })).type.toBe<Effect.Effect<void>>()
      expect(pool.remove).type.not.toBeCallableWith("a")
    })

    it("the inner pools must take no target", () => {
      expect(MapPool.make).type.not.toBeCallableWith({
        key: (url: URL) => url.host,
        pool: () => httpPool
      })
    })
  })

  describe("layer", () => {
    it("a stack of its own is provided by Layer.effect", () => {
      expect(Http.layer).type.toBe<Layer.Layer<Http, never, Config>>()
    })

    it("needs what the builder needs, without the scope", () => {
      class Users extends Context.Service<Users, MapPool.MapPool<URL, string, UserDb, ConnectError>>()("Users") {
        static readonly layer = MapPool.layer(this, {
          key: (url) => url.host,
          pool: () => Effect.andThen(Config, CachePool.make({ connect: () => openUserDb }))
        })
      }
      expect(Users.layer).type.toBe<Layer.Layer<Users, never, Config>>()
    })

    it("accepts pools of more than the service says, and none of less", () => {
      class Users extends Context.Service<Users, MapPool.MapPool<URL, string, UserDb, ConnectError>>()("Users") {}
      const key = (url: URL) => url.host
      expect(MapPool.layer).type.toBeCallableWith(Users, {
        key,
        pool: () => CachePool.make({ connect: () => openUserDbPlus })
      })
      expect(MapPool.layer).type.not.toBeCallableWith(Users, {
        key,
        pool: () => CachePool.make({ connect: () => openUserDbOther })
      })
    })
  })
})
