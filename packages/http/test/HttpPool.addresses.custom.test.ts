/** Addresses of an origin that are reached with a connector of the user's own. */
import { assert, describe, it } from "@effect/vitest"
import type { HttpConnection } from "@poolkit/http/HttpConnection"
import * as HttpPool from "@poolkit/http/HttpPool"
import * as Origin from "@poolkit/http/Origin"
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"

const origin = Origin.make("http://service.test")

const connection: HttpConnection = {
  protocol: "http/1.1",
  concurrency: () => 1,
  isOpen: () => true,
  watch: () => () => {},
  send: () => assert.fail("nothing is sent here")
}

type Behaviour = Effect.Effect<HttpConnection, Cause.TimeoutError | "refused", Scope.Scope>

/** A pool of an origin with these addresses, and which of them were tried. */
const spread = (addresses: Readonly<Record<string, Behaviour>>, connectTimeout: Duration.Input = "2 seconds") =>
  Effect.gen(function* () {
    const tried: Array<string> = []
    const pool = yield* HttpPool.make({
      addresses: () => Stream.make(Object.keys(addresses)),
      connectTimeout,
      connect: (origin) => {
        const host = Origin.reveal(origin).address!.split(":")[0]!
        tried.push(host)
        return addresses[host]!
      }
    })
    return { pool, tried }
  })

const borrow = (pool: HttpPool.HttpConnections<unknown>) =>
  Effect.forkChild(Effect.exit(pool.use(origin, () => Effect.never)))

describe("HttpPool", () => {
  describe("addresses", () => {
    it.effect("one that does not answer a connector of one's own is set aside, and another one tried", () =>
      Effect.gen(function* () {
        const { pool, tried } = yield* spread({ "10.0.0.1": Effect.never, "10.0.0.2": Effect.succeed(connection) })
        for (let i = 1; i <= 6; i++) {
          yield* borrow(pool)
          yield* TestClock.adjust("2 seconds")
          assert.strictEqual((yield* pool.stats).used, i)
        }
        assert.include(tried, "10.0.0.1")
      })
    )

    it.effect("one that is slow has the time of connectTimeout, not less", () =>
      Effect.gen(function* () {
        const slow = Effect.delay(Effect.succeed(connection), "8 seconds")
        const { pool, tried } = yield* spread({ "10.0.0.1": slow, "10.0.0.2": slow }, "9 seconds")
        yield* borrow(pool)
        yield* TestClock.adjust("8 seconds")
        assert.deepStrictEqual([(yield* pool.stats).used, tried.length], [1, 1])
      })
    )

    it.effect("where none answers callers get WaitTimeout, after the time of each", () =>
      Effect.gen(function* () {
        const { pool, tried } = yield* spread({ "10.0.0.1": Effect.never, "10.0.0.2": Effect.never })
        const caller = yield* borrow(pool)
        yield* TestClock.adjust(3_999)
        assert.isUndefined(caller.pollUnsafe())
        yield* TestClock.adjust(1)
        const exit = Exit.getSuccess(caller.pollUnsafe()!)
        assert.include(String(exit), "WaitTimeout: no connection after 2s (phase: connect")
        assert.deepStrictEqual(tried.toSorted(), ["10.0.0.1", "10.0.0.2"])
      })
    )

    it.effect("a timeout of the connector's own is its error, and reaches callers as it is", () =>
      Effect.gen(function* () {
        const { pool } = yield* spread({ "10.0.0.1": Effect.timeout(Effect.never, "1 second") })
        const caller = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        const exit = Exit.getSuccess(caller.pollUnsafe()!)
        const error =
          exit._tag === "Some" && Exit.isFailure(exit.value) ? Cause.findErrorOption(exit.value.cause) : exit
        assert.isTrue(error._tag === "Some" && Cause.isTimeoutError(error.value), String(exit))
      })
    )
  })
})
