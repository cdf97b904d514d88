/**
 * Expiration added to a pool: connections live for 300 seconds, and the pool
 * looks again every 30 seconds. What a look has not reached yet is not lent
 * any more, and nothing closes under its borrower.
 */
import { CachePool, type Connector, ExpirePool } from "@poolkit/pool"
import { TestConnector } from "@poolkit/pool/testing"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { TestClock } from "effect/testing"

export const makePool = <Conn, E, R>(connect: Connector.Connector<void, Conn, E, R>) =>
  CachePool.make({ connect, maxSize: 10 }).pipe(
    ExpirePool.make({
      maxLifetime: "300 seconds",
      jitter: 0, // for a fleet leave it at its default, so that it does not reconnect at once
      schedule: Schedule.spaced("30 seconds")
    })
  )

export const program = Effect.gen(function* () {
  const peer = yield* TestConnector.make()
  const pool = yield* makePool(peer.connect)
  const seen: Array<string> = []
  const note = (when: string) => Effect.sync(() => seen.push(`${when}: ${open(peer).join(" ")}`))
  /** Two connections, the second opened 15 seconds after the first, so between two looks. */
  const openTwo = Effect.scoped(
    Effect.andThen(pool.get(), Effect.andThen(TestClock.adjust("15 seconds"), Effect.scoped(pool.get())))
  )

  yield* openTwo
  yield* TestClock.adjust("284999 millis")
  yield* note("299.999 s")
  yield* TestClock.adjust("1 millis")
  yield* note("300 s")
  yield* TestClock.adjust("29999 millis")
  yield* note("329.999 s") // 2 is too old, but the next look has not come
  yield* TestClock.adjust("1 millis")
  yield* note("330 s")

  yield* openTwo
  yield* TestClock.adjust("286 seconds")
  yield* note("301 s after that") // 4 is too old in 14 seconds
  yield* TestClock.adjust("15 seconds")
  yield* pool.use(() => note("borrowing between two looks")) // 4 is not lent

  // In use for longer than it may live: closed on return.
  yield* Effect.scoped(
    Effect.andThen(pool.get(), Effect.andThen(TestClock.adjust("400 seconds"), note("400 s in use")))
  )
  yield* note("returned")
  return seen
}).pipe(Effect.scoped, Effect.provide(TestClock.layer()))

const open = (peer: TestConnector.TestConnector): ReadonlyArray<number> => {
  const closed = new Set(peer.closed())
  return peer.opened().filter((id) => !closed.has(id))
}

if (import.meta.main) console.log(await Effect.runPromise(program))
