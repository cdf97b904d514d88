/**
 * A limit of concurrent connects, over all hosts, under the pool: it sees
 * handshakes and not requests, so reuse is never held up by it.
 */
import { CachePool, Connector, MapPool } from "@poolkit/pool"
import { TestConnector } from "@poolkit/pool/testing"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"

export const makePool = <Conn, E, R>(connect: Connector.Connector<string, Conn, E, R>, atOnce: number) => {
  const limited = Connector.limitConnecting(connect, atOnce) // once, so that all hosts share it
  return MapPool.make({
    key: (host: string) => host,
    pool: (host) => CachePool.make({ connect: () => limited(host), maxSize: 10 })
  })
}

export const program = Effect.gen(function* () {
  let connecting = 0
  let most = 0
  const peer = yield* TestConnector.make((attempt) =>
    Effect.suspend(() => {
      most = Math.max(most, ++connecting)
      return Effect.ensuring(
        TestConnector.delay("10 millis")(attempt),
        Effect.sync(() => connecting--)
      )
    })
  )
  const pool = yield* makePool(() => peer.connect(), 3)

  // 40 callers of 4 hosts, who keep what they get for a while.
  const callers = Array.from({ length: 40 }, (_, i) => pool.use(`host-${i % 4}`, () => Effect.sleep("1 second")))
  yield* Effect.forkChild(Effect.all(callers, { concurrency: "unbounded" }))
  yield* TestClock.adjust("135 millis")
  const { used } = yield* pool.stats
  yield* TestClock.adjust("5 seconds")
  return { used, most, opened: peer.opened().length }
}).pipe(Effect.scoped, Effect.provide(TestClock.layer()))

if (import.meta.main) console.log(await Effect.runPromise(program))
