import { assert, describe, it } from "@effect/vitest"
import type { HttpResponse } from "@poolkit/http/HttpConnection"
import type * as HttpPool from "@poolkit/http/HttpPool"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { get } from "./http1.ts"
import { emptied, fetchText, gated, makePool, start, until } from "./httpPool.ts"
import { leakOracle } from "./leakOracle.ts"
import { nextTurn } from "./servers.ts"

const oracle = leakOracle()

describe("HttpPool", () => {
  describe("drain", () => {
    for (const kind of ["http", "https", "h2"] as const) {
      it.live(`lets ${kind} requests under way finish, fails the others, and leaves no connection`, () =>
        Effect.gen(function* () {
          const { asked, open, server } = yield* gated(oracle, kind)
          const other = yield* start(oracle, { kind })
          const pool = yield* makePool(oracle, { maxSizePerOrigin: 2, http2: { maxConcurrentStreams: 2 } })
          yield* fetchText(pool, other.origin)
          const fibers = yield* Effect.forEach([1, 2, 3], () =>
            Effect.forkChild(Effect.exit(fetchText(pool, server.origin)))
          )
          yield* asked(2)
          const drain = yield* Effect.forkChild(pool.drain({ deadline: "10 seconds" }))
          const waiter = yield* Fiber.join(fibers[2]!)
          assert.include(String(waiter), "Closed")
          assert.include(String(yield* Effect.exit(fetchText(pool, other.origin))), "Closed")
          yield* open
          assert.deepStrictEqual(yield* Fiber.join(fibers[0]!), Exit.succeed("late"))
          assert.deepStrictEqual(yield* Fiber.join(fibers[1]!), Exit.succeed("late"))
          yield* Fiber.join(drain)
          assert.deepInclude(yield* pool.stats, { idle: 0, used: 0, closing: 0 })
          assert.deepStrictEqual(yield* pool.keys, [])
          yield* until(Effect.sync(() => server.open() + other.open() === 0))
        })
      )

      it.live(`cuts ${kind} requests at the end of the pool's scope, which waits for nobody`, () =>
        Effect.gen(function* () {
          const { asked, server } = yield* gated(oracle, kind)
          const scope = yield* Scope.make()
          const pool = yield* Scope.provide(makePool(oracle), scope)
          const fiber = yield* Effect.forkChild(Effect.exit(fetchText(pool, server.origin)))
          yield* asked(1)
          yield* Scope.close(scope, Exit.void)
          const exit = yield* Fiber.join(fiber)
          assert.isTrue(Exit.isFailure(exit))
          yield* emptied(pool)
        })
      )
    }
  })

  describe("interruption", () => {
    for (const kind of ["http", "https", "h2", "h2c", "both"] as const) {
      it.live(`of a request over ${kind} after any number of turns gives the loan back`, () =>
        Effect.gen(function* () {
          const server = yield* start(oracle, { kind })
          const warm = yield* makePool(oracle, { protocols: kind === "h2c" ? "http2" : "auto", maxSizePerOrigin: 2 })
          const check = (pool: HttpPool.HttpConnections) =>
            Effect.gen(function* () {
              yield* until(Effect.map(pool.stats, ({ borrowers, pending, used }) => borrowers + pending + used === 0))
              assert.include(yield* fetchText(pool, server.origin), " /")
            })
          for (let turns = 0; turns < 30; turns++) {
            // A pool that has to connect first, and one that has connections.
            const cold = yield* makePool(oracle, { protocols: kind === "h2c" ? "http2" : "auto" })
            for (const pool of [cold, warm]) {
              const fibers = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(fetchText(pool, server.origin)))
              for (let i = 0; i < turns; i++) yield* nextTurn
              yield* Fiber.interrupt(fibers[0]!)
              yield* Fiber.interrupt(fibers[2]!)
              assert.include(yield* Fiber.join(fibers[1]!), " /")
              yield* check(pool)
            }
            yield* cold.drain()
          }
        })
      )
    }

    it.live("of a request that the server never answers gives the loan back at any turn", () =>
      Effect.gen(function* () {
        for (const kind of ["http", "https", "h2"] as const) {
          const { server } = yield* gated(oracle, kind)
          const pool = yield* makePool(oracle)
          for (let turns = 0; turns < 20; turns++) {
            const fiber = yield* Effect.forkChild(fetchText(pool, server.origin))
            for (let i = 0; i < turns; i++) yield* nextTurn
            yield* Fiber.interrupt(fiber)
            yield* until(Effect.map(pool.stats, ({ borrowers, pending, used }) => borrowers + pending + used === 0))
          }
        }
      })
    )

    it.live("of whoever holds a response that is not complete gives the connection back or ends it", () =>
      Effect.gen(function* () {
        for (const kind of ["http", "h2"] as const) {
          const server = yield* start(oracle, {
            kind,
            handler: (_, response) => {
              response.writeHead(200)
              response.write("half")
            }
          })
          const pool = yield* makePool(oracle)
          // Kept, so that it is not the garbage collector that lets go of it.
          const kept: Array<HttpResponse> = []
          const fiber = yield* Effect.forkChild(
            Effect.scoped(
              Effect.flatMap(HttpRequest.execute(pool, server.origin, get()), (response) => {
                kept.push(response)
                return Effect.never
              })
            )
          )
          yield* until(Effect.sync(() => kept.length === 1))
          assert.deepInclude(yield* pool.stats, { borrowers: 1, used: 1 })
          yield* Fiber.interrupt(fiber)
          yield* until(Effect.map(pool.stats, ({ borrowers, used }) => borrowers + used === 0))
          assert.include(String(yield* Effect.exit(kept[0]!.text)), "dropped")
        }
      })
    )
  })
})
