import { assert, describe, it } from "@effect/vitest"
import * as Http1Pool from "@poolkit/http/Http1Pool"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { get } from "./http1.ts"
import { leakOracle } from "./leakOracle.ts"
import { httpServer } from "./servers.ts"

const oracle = leakOracle()

describe("HttpRequest", () => {
  describe("execute", () => {
    it.live(
      "frees the connection of a response that is forgotten, though it was the result of a fiber that waited",
      () =>
        Effect.gen(function* () {
          const server = yield* httpServer(oracle, (_, socket) => {
            socket.write("HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\nhalf")
          })
          const pool = oracle.pool(yield* Http1Pool.make({ origin: server.origin, maxSize: 3 }))
          const scope = yield* Scope.make()
          const forget = Effect.gen(function* () {
            const request = Effect.withSpan(HttpRequest.execute(pool, get()), "request")
            const fiber = yield* Effect.forkDetach(Scope.provide(request, scope))
            assert.strictEqual((yield* Fiber.join(fiber)).status, 200)
          })
          for (let i = 0; i < 3; i++) yield* forget
          for (let i = 0; i < 1_000 && (yield* pool.stats).borrowers > 0; i++) {
            globalThis.gc!()
            yield* Effect.sleep(1)
          }
          assert.deepInclude(yield* pool.stats, { borrowers: 0, created: 3 })
        }).pipe(Effect.scoped)
    )
  })
})
