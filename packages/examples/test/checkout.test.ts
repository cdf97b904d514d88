/**
 * How a user tests a program that uses a pool: `TestConnector` plays the peer,
 * `TestClock` the time, and nothing waits.
 */
import { assert, describe, it } from "@effect/vitest"
import { CachePool, ConnectionPool } from "@poolkit/pool"
import { TestConnector } from "@poolkit/pool/testing"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { TestClock } from "effect/testing"
import { checkout, ConnectionLost, Stock, type StockConnection } from "../src/checkout.ts"

/** A pool of scripted connections; a connection answers while its peer is up. */
const makeStock = (peer: TestConnector.TestConnector) =>
  CachePool.make({ ...peer.options, connect: () => Effect.orDie(peer.connect()), maxSize: 1 }).pipe(
    Effect.map(
      ConnectionPool.map((connection): StockConnection => ({
        reserve: (item) =>
          Effect.suspend(() =>
            connection.isOpen
              ? Effect.succeed(`${item} on connection ${connection.id}`)
              : Effect.fail(new ConnectionLost())
          )
      }))
    )
  )

describe("checkout", () => {
  it.effect("tells the customer to come back when no connection is free for 30 seconds", () =>
    Effect.gen(function* () {
      const stock = yield* makeStock(yield* TestConnector.make())
      const done = yield* Deferred.make<void>()
      yield* Effect.forkChild(stock.use(() => Deferred.await(done)))
      const answer = yield* Effect.forkChild(Effect.provideService(checkout("a book"), Stock, stock))

      yield* TestClock.adjust("29999 millis")
      assert.isUndefined(answer.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(yield* Fiber.join(answer), "busy, please try again")
    })
  )

  it.effect("reserves on a new connection when the first is lost in the middle", () =>
    Effect.gen(function* () {
      const peer = yield* TestConnector.make()
      const pool = yield* CachePool.make({ connect: () => Effect.orDie(peer.connect()), maxSize: 1 })
      const stock = ConnectionPool.map(pool, (connection): StockConnection => ({
        reserve: (item) =>
          Effect.suspend(() => {
            if (connection.id === 1) peer.killSilently(connection)
            return connection.isOpen ? Effect.succeed(`${item} on ${connection.id}`) : Effect.fail(new ConnectionLost())
          })
      }))

      const answer = yield* Effect.provideService(checkout("a book"), Stock, stock)
      assert.strictEqual(answer, "a book on 2")
      assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "kill 1", "close 1", "connect 2", "open 2"])
    })
  )
})
