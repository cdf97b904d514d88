/** A pool for one server, with accounts of what goes through it. */
import { assert } from "@effect/vitest"
import * as HttpPool from "@poolkit/http/HttpPool"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Origin from "@poolkit/http/Origin"
import * as Effect from "effect/Effect"
import { certificates } from "../certificates.ts"
import type { LeakOracle } from "../leakOracle.ts"
import { type Dialect, Ledger, type Method, type Send } from "./ledger.ts"
import { until } from "./serverProcess.ts"

export interface Client {
  readonly pool: HttpPool.HttpConnections
  readonly send: Send
  readonly ledger: Ledger
}

export const makeClient = (
  oracle: LeakOracle,
  origin: string,
  dialect: Dialect,
  options: HttpPool.HttpPoolOptions = {},
  insists = false
) =>
  Effect.map(HttpPool.make({ tls: { ca: certificates.ca }, maxSizePerOrigin: 32, ...options }), (pool): Client => {
    oracle.pool(pool)
    const target = Origin.make(origin)
    const send: Send = (request) => HttpRequest.execute(pool, target, request)
    return { pool, send, ledger: new Ledger(send, dialect, insists) }
  })

/**
 * Callers send requests until `action` has run so many times, each time after
 * every caller has had two answers, or failures, since the last one.
 */
export const whileRepeating = (
  ledger: Ledger,
  options: {
    readonly callers: number
    readonly methods: ReadonlyArray<Method>
    readonly times: number
    readonly action: Effect.Effect<void>
  }
): Effect.Effect<void> => {
  let left = options.times
  const repeat = Effect.gen(function* () {
    for (; left > 0; left--) {
      const enough = ledger.settled + 2 * options.callers
      yield* until(
        Effect.sync(() => ledger.settled >= enough),
        () => `${ledger.settled} of ${ledger.requests} requests settled, and no more do`
      )
      yield* options.action
    }
  })
  return Effect.all([ledger.load({ ...options, over: () => left === 0 }), repeat], { concurrency: 2, discard: true })
}

/**
 * Does what takes the server away and brings it back, and tells how many
 * milliseconds later the first request was answered.
 */
export const recovery = (ledger: Ledger, restart: Effect.Effect<void>): Effect.Effect<number> =>
  Effect.gen(function* () {
    yield* restart
    const back = performance.now()
    while (!(yield* ledger.request("GET"))) yield* Effect.sleep(5)
    return Math.ceil(performance.now() - back)
  })

/** Closes the pool and tells how many connections it had. */
export const closePool = Effect.fnUntraced(function* ({ pool }: Client) {
  yield* pool.drain()
  const { closed, created } = yield* pool.stats
  assert.strictEqual(closed, created)
  return created
})

/**
 * Closes the pools. Checks that the server counts as many connections as they
 * do, none of them open; tells the number.
 */
export const countConnections = Effect.fnUntraced(function* (
  connections: Effect.Effect<{ readonly accepted: number; readonly open: number }>,
  ...clients: ReadonlyArray<Client>
) {
  let expected = 0
  for (const client of clients) {
    expected += yield* closePool(client)
    assert.strictEqual((yield* client.pool.stats).failed, 0)
  }
  let last = {}
  const counted = Effect.map(connections, (counts) => {
    last = counts
    return counts.open === 0 && counts.accepted === expected
  })
  yield* until(counted, () => `the server did not count ${expected} connections but ${JSON.stringify(last)}`)
  return expected
})
