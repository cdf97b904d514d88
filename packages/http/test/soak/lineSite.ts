/** Services of the line protocol: a queue of requests before a balance over their addresses. */
import * as BalancePool from "@poolkit/pool/BalancePool"
import * as CachePool from "@poolkit/pool/CachePool"
import type { ConnectionPool, PoolStats } from "@poolkit/pool/ConnectionPool"
import * as ExpirePool from "@poolkit/pool/ExpirePool"
import * as RequestQueue from "@poolkit/pool/RequestQueue"
import * as SharedPool from "@poolkit/pool/SharedPool"
import type { SocketError } from "@poolkit/http/SocketError"
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { connect, LineError, type LineConnection } from "./lineClient.ts"
import type { Asked } from "./load.ts"

/** What was counted on the way of the requests. */
export interface Books {
  /** Requests that got as far as the queue. */
  readonly sent: () => number
  readonly pool: { readonly stats: Effect.Effect<PoolStats> }
  readonly queue: RequestQueue.RequestQueue<Asked, string, unknown>
  readonly addresses: Readonly<Record<"connecting" | "connected" | "failed" | "aborted" | "disconnected", number>>
}

type Failure = SocketError | LineError | Cause.TimeoutError

const options = {
  waitTimeout: "10 seconds",
  isOpen: (connection: LineConnection) => connection.isOpen,
  watch: (connection: LineConnection, signals: Parameters<LineConnection["watch"]>[0]) => connection.watch(signals)
} as const

/** `concurrency`: requests at once on a connection; where it is 1, connections are exclusive. */
export const lineSite = (list: Stream.Stream<ReadonlyArray<string>>, concurrency: number) =>
  Effect.gen(function* () {
    const maxSize = concurrency === 1 ? 12 : 6
    const addresses = { connecting: 0, connected: 0, failed: 0, aborted: 0, disconnected: 0 }
    const pool = yield* BalancePool.make({
      addresses: list,
      connect,
      connectTimeout: "1 second",
      connectionsPerAddress: maxSize / 2,
      pool: (connect, { limit }) => {
        const inner: Effect.Effect<ConnectionPool<void, LineConnection, Failure>, never, Scope.Scope> = concurrency ===
        1
          ? CachePool.make({ ...options, connect, limit, maxSize, order: "fifo" })
          : SharedPool.make({ ...options, connect, limit, maxSize, concurrency })
        return ExpirePool.make(inner, { idleTimeToLive: "2 seconds", maxLifetime: "10 seconds" })
      },
      observer: {
        connecting: () => void addresses.connecting++,
        connected: () => void addresses.connected++,
        failed: () => void addresses.failed++,
        aborted: () => void addresses.aborted++,
        disconnected: () => void addresses.disconnected++
      }
    })
    const queue = yield* RequestQueue.make({
      pool: Effect.succeed(pool),
      send: (connection, request: Asked) => connection.send(request),
      concurrency: maxSize * concurrency,
      // Fewer than callers, so that some wait for room.
      capacity: 4,
      isUnsent: (error) => error instanceof LineError && !error.sent,
      maxTries: 10,
      // A connection that takes several requests knows whose answer it may skip.
      ...(concurrency > 1 && { reusable: () => true })
    })
    let sent = 0
    const ask = (request: Asked) =>
      Effect.suspend(() => {
        sent++
        return queue.send(request)
      })
    return { ask, books: { sent: () => sent, pool, queue, addresses } satisfies Books }
  })

/** What does not add up when everything is closed. */
export const unbalanced = (name: string, { addresses, pool, queue, ...books }: Books) =>
  Effect.gen(function* () {
    const sent = books.sent()
    const { dropped, failed, inFlight, interrupted, queued, succeeded, suspended } = yield* queue.stats
    const { closed, created } = yield* pool.stats
    const { aborted, connected, connecting, disconnected, failed: refused } = addresses
    const rules: Readonly<Record<string, boolean>> = {
      "requests are left in the queue": queued + suspended + inFlight > 0,
      "requests were dropped": dropped > 0,
      "requests were not counted, or twice": succeeded + failed + interrupted !== sent,
      "connects did not end once": connecting !== connected + refused + aborted,
      "connections of addresses did not end once": connected !== disconnected,
      "pool and balance count differently": created !== closed
    }
    const told = JSON.stringify({ sent, queue: yield* queue.stats, addresses, created, closed })
    return Object.keys(rules)
      .filter((rule) => rules[rule])
      .map((rule) => `${name}: ${rule}: ${told}`)
  })
