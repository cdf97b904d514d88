/**
 * The general-purpose pool of an HTTP client. Each origin has a pool of its
 * own, which finds out with its first connection whether the peer multiplexes:
 * if so all share, if not each request has a connection to itself. One cap and
 * one expiry hold for all origins.
 */
import { CachePool, ExpirePool, MapPool, NegotiatePool, SharedPool } from "@poolkit/pool"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"

export interface Connection {
  readonly origin: string
  readonly protocol: "http/1.1" | "h2"
  readonly maxStreams: number
}

export const makePool = <E>(connect: (origin: string) => Effect.Effect<Connection, E, Scope.Scope>) =>
  MapPool.make({
    key: (url: URL) => url.origin,
    maxSize: 100,
    pool: (origin, { limit }) =>
      NegotiatePool.makeMerged({
        connect: () => connect(origin),
        inspect: ({ protocol }) => protocol === "h2",
        upgrade: (connect) => SharedPool.make({ connect, limit, concurrency: ({ maxStreams }) => maxStreams }),
        fallback: (connect) => CachePool.make({ connect, limit, maxSize: 6 })
      })
  }).pipe(ExpirePool.make({ idleTimeToLive: "90 seconds", maxLifetime: "5 minutes" }))

/** Origins that start with `https` speak HTTP/2. Counts what is opened and closed. */
export const makePeer = () => {
  const opened: Array<string> = []
  const closed: Array<string> = []
  const connect = (origin: string) =>
    Effect.acquireRelease(
      Effect.delay(
        Effect.sync((): Connection => {
          opened.push(origin)
          return { origin, protocol: origin.startsWith("https") ? "h2" : "http/1.1", maxStreams: 100 }
        }),
        "20 millis"
      ),
      () => Effect.sync(() => closed.push(origin))
    )
  return { opened, closed, connect }
}

export const program = Effect.gen(function* () {
  const peer = makePeer()
  const pool = yield* makePool(peer.connect)
  const request = (url: string) => pool.use(new URL(url), ({ protocol }) => Effect.delay(Effect.succeed(protocol), 50))

  const requests = Array.from({ length: 60 }, (_, i) => request(`${i % 2 ? "https" : "http"}://example.org/${i}`))
  const answers = yield* Effect.forkChild(Effect.all(requests, { concurrency: "unbounded" }))
  yield* TestClock.adjust("10 seconds")
  const protocols = yield* Fiber.join(answers)
  const opened = peer.opened.toSorted()

  yield* TestClock.adjust("90 seconds") // nobody asks any more
  const closed = peer.closed.toSorted()
  const keys = yield* pool.keys
  yield* TestClock.adjust("60 seconds")
  return { protocols, opened, closed, keys: [keys.length, (yield* pool.keys).length] }
}).pipe(Effect.scoped, Effect.provide(TestClock.layer()))

if (import.meta.main) console.log(await Effect.runPromise(program))
