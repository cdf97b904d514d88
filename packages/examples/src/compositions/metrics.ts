/**
 * Metrics of a pool as the text that Prometheus reads, written by Effect's own
 * exporter. `PrometheusMetrics.layerHttp()` serves the same text at `/metrics`.
 */
import { CachePool, PoolMetrics } from "@poolkit/pool"
import { TestConnector } from "@poolkit/pool/testing"
import * as Effect from "effect/Effect"
import { PrometheusMetrics } from "effect/observability"
import { TestClock } from "effect/testing"

export const program = Effect.gen(function* () {
  const peer = yield* TestConnector.make(TestConnector.delay("20 millis"))
  peer.script(TestConnector.fail)
  const pool = yield* CachePool.make({ connect: peer.connect, maxSize: 2, waitTimeout: "1 second" })
  yield* PoolMetrics.observe(pool, { name: "orders", prefix: "db.client.connection" })

  const query = pool.use(() => Effect.sleep("400 millis"))
  yield* Effect.ignore(query) // the peer refuses the first attempt
  yield* Effect.forkChild(Effect.replicateEffect(Effect.ignore(query), 10, { concurrency: "unbounded" }))
  yield* TestClock.adjust("10 seconds")
  yield* pool.use((_, lease) => lease.invalidate)
  yield* Effect.yieldNow // levels are sampled once per turn
  return yield* PrometheusMetrics.format()
}).pipe(Effect.scoped, Effect.provide(TestClock.layer()))

if (import.meta.main) console.log(await Effect.runPromise(program))
