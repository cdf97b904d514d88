/** Programs that look at the pool underneath a client. */
import * as HttpPool from "@poolkit/http/HttpPool"
import * as PooledHttpClient from "@poolkit/http/PooledHttpClient"
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { HttpClient } from "effect/http"
import type * as Scope from "effect/Scope"
import { certificates } from "../certificates.ts"
import type { LeakOracle } from "../leakOracle.ts"
import { type Handler, serve, type Subject } from "./lab.ts"

export interface Pooled {
  readonly url: string
  readonly pool: HttpPool.HttpConnections
}

/** Runs a program with a client over a pool of its own, which the leak oracle checks. */
export const withClient = <A, E>(
  oracle: LeakOracle,
  options: HttpPool.HttpPoolOptions,
  program: (pool: HttpPool.HttpConnections) => Effect.Effect<A, E, HttpClient.HttpClient | Scope.Scope>
): Effect.Effect<A, E> =>
  Effect.gen(function* () {
    const pool = yield* Effect.map(HttpPool.make({ tls: { ca: certificates.ca }, ...options }), oracle.pool)
    const client = PooledHttpClient.make(pool, { tls: { ca: certificates.ca } })
    return yield* Effect.provideService(program(pool), HttpClient.HttpClient, client)
  }).pipe(Effect.scoped)

/** The same with a server that answers as told. */
export const withServer = <A, E>(
  oracle: LeakOracle,
  protocol: Subject["protocol"],
  handler: Handler,
  options: HttpPool.HttpPoolOptions,
  program: (pooled: Pooled) => Effect.Effect<A, E, HttpClient.HttpClient | Scope.Scope>
): Effect.Effect<A, E> =>
  Effect.flatMap(serve(oracle, protocol, handler), (url) =>
    withClient(oracle, options, (pool) => program({ url, pool }))
  )

/** Waits until nothing is borrowed, nobody waits, and nothing is on its way in or out. */
export const atRest = (pool: HttpPool.HttpConnections) =>
  Effect.gen(function* () {
    for (;;) {
      const stats = yield* pool.stats
      const { borrowers, closing, connecting, pending, used } = stats
      if (borrowers + closing + connecting + pending + used === 0) return stats
      yield* Effect.sleep(1)
    }
  }).pipe(Effect.timeout("5 seconds"))

/** Collects garbage until nothing is borrowed. */
export const collected = (pool: HttpPool.HttpConnections) =>
  Effect.gen(function* () {
    while ((yield* pool.stats).borrowers > 0) {
      globalThis.gc!()
      yield* Effect.sleep(1)
    }
  }).pipe(Effect.timeout("10 seconds"))

/** More than anybody drains, and it does not come. */
export const stalled: Handler = (_, response) => {
  response.head(200, { "content-length": "10000000" })
  response.write("some")
}

/** Rounds of 200 responses that nobody reads, and nobody can. */
export const forgetUnread = (oracle: LeakOracle, protocol: Subject["protocol"], rounds: number) => {
  let answered = 0
  const handler: Handler = (request, response) => {
    answered++
    return stalled(request, response)
  }
  return withServer(oracle, protocol, handler, { maxSizePerOrigin: 200 }, ({ pool, url }) =>
    Effect.gen(function* () {
      const forget = Effect.asVoid(HttpClient.get(url))
      for (let round = 0; round < rounds; round++) {
        // On a fiber of its own, whose memory goes with it.
        yield* Fiber.join(
          yield* Effect.forkChild(Effect.replicateEffect(forget, 200, { concurrency: 200, discard: true }))
        )
        // Some may be collected already.
        yield* collected(pool)
      }
      yield* atRest(pool)
      assert.strictEqual(answered, rounds * 200)
    })
  )
}
