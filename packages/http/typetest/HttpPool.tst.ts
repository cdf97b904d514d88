import type { ConnectionPool, PoolError } from "@poolkit/pool/ConnectionPool"
import * as Connector from "@poolkit/pool/Connector"
import type * as MapPool from "@poolkit/pool/MapPool"
import type { TimeoutError } from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { describe, expect, it } from "tstyche"
import type { HttpConnection, HttpResponse } from "../src/HttpConnection.ts"
import type { HttpError } from "../src/HttpError.ts"
import * as HttpPool from "../src/HttpPool.ts"
import * as HttpRequest from "../src/HttpRequest.ts"
import type * as Origin from "../src/Origin.ts"
import type { SocketError } from "../src/SocketError.ts"
import { openQuic, type Quic, type QuicError } from "./support.ts"

declare const origin: Origin.Origin
const get = { method: "GET", path: "/" }

describe("HttpPool", () => {
  describe("make", () => {
    it("gives a pool by origin that fails with SocketError", () => {
      expect(HttpPool.make()).type.toBe<Effect.Effect<HttpPool.HttpConnections, never, Scope.Scope>>()
      expect(HttpPool.make({ maxSize: 1, protocols: "http2", http2: { maxConcurrentStreams: 1 } })).type.toBe<
        Effect.Effect<HttpPool.HttpConnections, never, Scope.Scope>
      >()
    })

    it("with a connector of one's own fails and needs as that one does, without the scope of a connection", () => {
      expect(HttpPool.make({ connect: () => openQuic, maxSize: 1 })).type.toBe<
        Effect.Effect<HttpPool.HttpConnections<QuicError>, never, Quic | Scope.Scope>
      >()
      expect(HttpPool.make({ connect: Connector.timeout(() => openQuic, "1 second") })).type.toBe<
        Effect.Effect<HttpPool.HttpConnections<QuicError | TimeoutError>, never, Quic | Scope.Scope>
      >()
      expect(HttpPool.make({ connect: Connector.limitConnecting(HttpPool.connector(), 4) })).type.toBe<
        Effect.Effect<HttpPool.HttpConnections, never, Scope.Scope>
      >()
    })

    it("tells the connector the origin", () => {
      HttpPool.make({
        connect: (origin) => {
          expect(origin).type.toBe<Origin.Origin>()
          return openQuic
        }
      })
    })

    it("takes no options of the default connector along with another one", () => {
      expect(HttpPool.make).type.not.toBeCallableWith({ connect: () => openQuic, protocols: "http1" })
      expect(HttpPool.make).type.not.toBeCallableWith({ connect: () => openQuic, tls: {} })
      expect(HttpPool.make).type.not.toBeCallableWith({ connect: () => Effect.succeed(1) })
      expect(HttpPool.make).type.not.toBeCallableWith({ protocols: "http3" })
      expect(HttpPool.make).type.not.toBeCallableWith({ http1: { authority: "a.test" } })
      expect(HttpPool.make).type.not.toBeCallableWith({ tls: { servername: "a.test" } })
    })
  })

  it("is a MapPool of origins", () => {
    const pool = {} as HttpPool.HttpConnections
    expect(pool).type.toBeAssignableTo<MapPool.MapPool<Origin.Origin, Origin.Origin, HttpConnection, SocketError>>()
    expect(pool.get).type.not.toBeCallableWith("https://a.test")
    expect(pool.use(origin, ({ protocol }) => Effect.succeed(protocol))).type.toBe<
      Effect.Effect<string, SocketError | PoolError>
    >()
    expect<HttpPool.HttpConnections<QuicError>>().type.not.toBeAssignableTo<HttpPool.HttpConnections>()
  })

  describe("layer", () => {
    it("provides the program's pool", () => {
      expect(HttpPool.layer()).type.toBe<Layer.Layer<HttpPool.HttpPool>>()
      expect(HttpPool.layer({ maxKeys: 10 })).type.toBe<Layer.Layer<HttpPool.HttpPool>>()
    })

    it("takes a connector that fails as the program expects, and no other", () => {
      const connect = () => ({}) as Effect.Effect<HttpConnection, SocketError, Quic | Scope.Scope>
      expect(HttpPool.layer({ connect })).type.toBe<Layer.Layer<HttpPool.HttpPool, never, Quic>>()
      expect(HttpPool.layer).type.not.toBeCallableWith({ connect: () => openQuic })
    })

    it("is one line for a tag of one's own", () => {
      class Quics extends Context.Service<Quics, HttpPool.HttpConnections<QuicError>>()("typetest/Quics") {
        static readonly layer = Layer.effect(this, HttpPool.make({ connect: () => openQuic }))
      }
      expect(Quics.layer).type.toBe<Layer.Layer<Quics, never, Quic>>()
    })
  })

  describe("fetch", () => {
    it("needs the pool and a scope for the response", () => {
      const response = HttpPool.fetch("https://a.test", { method: "POST", headers: { a: "b" }, body: "c" })
      expect(response).type.toBe<
        Effect.Effect<HttpResponse, HttpError | PoolError | SocketError, HttpPool.HttpPool | Scope.Scope>
      >()
      expect(Effect.provide(Effect.scoped(Effect.flatMap(response, ({ text }) => text)), HttpPool.layer())).type.toBe<
        Effect.Effect<string, HttpError | PoolError | SocketError>
      >()
      expect(HttpPool.fetch).type.toBeCallableWith(new URL("https://a.test"))
      expect(HttpPool.fetch).type.not.toBeCallableWith(origin)
      expect(HttpPool.fetch).type.not.toBeCallableWith("https://a.test", { path: "/" })
    })
  })
})

describe("HttpRequest", () => {
  describe("execute", () => {
    it("takes a request for a pool without a target, and the target first for others", () => {
      const one = {} as ConnectionPool<void, HttpConnection, QuicError>
      const keyed = {} as HttpPool.HttpConnections
      expect(HttpRequest.execute(one, get)).type.toBe<
        Effect.Effect<HttpResponse, HttpError | PoolError | QuicError, Scope.Scope>
      >()
      expect(HttpRequest.execute(keyed, origin, get)).type.toBe<
        Effect.Effect<HttpResponse, HttpError | PoolError | SocketError, Scope.Scope>
      >()
      expect(HttpRequest.execute).type.not.toBeCallableWith(keyed, get)
      expect(HttpRequest.execute).type.not.toBeCallableWith(keyed, "https://a.test", get)
      expect(HttpRequest.execute).type.not.toBeCallableWith(one, origin, get)
      expect(HttpRequest.execute).type.not.toBeCallableWith(keyed, origin)
    })
  })
})
