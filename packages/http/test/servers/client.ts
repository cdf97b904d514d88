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
  options: HttpPool.HttpPoolOptions = {}
) =>
  Effect.map(HttpPool.make({ tls: { ca: certificates.ca }, maxSizePerOrigin: 32, ...options }), (pool): Client => {
    oracle.pool(pool)
    const target = Origin.make(origin)
    const send: Send = (request) => HttpRequest.execute(pool, target, request)
    return { pool, send, ledger: new Ledger(send, dialect) }
  })

/** Callers send requests until `action` has run so many times. */
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
    for (; left > 0; left--) yield* options.action
  })
  return Effect.all([ledger.load({ ...options, over: () => left === 0 }), repeat], { concurrency: 2, discard: true })
}

/**
 * Closes the pools. Checks that the server counts as many connections as they
 * do, none of them open; tells the number.
 */
export const countConnections = Effect.fnUntraced(function* (
  connections: Effect.Effect<{ readonly accepted: number; readonly open: number }>,
  ...clients: ReadonlyArray<Client>
) {
  let expected = 0
  for (const { pool } of clients) {
    yield* pool.drain()
    const { closed, created, failed } = yield* pool.stats
    assert.deepStrictEqual({ created: closed, failed }, { created, failed: 0 })
    expected += created
  }
  let last = {}
  const counted = Effect.map(connections, (counts) => {
    last = counts
    return counts.open === 0 && counts.accepted === expected
  })
  yield* until(counted, () => `the server did not count ${expected} connections but ${JSON.stringify(last)}`)
  return expected
})
