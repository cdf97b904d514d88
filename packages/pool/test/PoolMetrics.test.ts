import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import { TestClock } from "effect/testing"
import * as PoolMetrics from "../src/PoolMetrics.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { borrow, cache, settle } from "./support/scene.ts"

/** Every metric as `name{attributes} value`; histograms as `count/sum`. */
const read: Effect.Effect<Record<string, number | string>> = Effect.map(Metric.snapshot, (snapshots) => {
  const values: Record<string, number | string> = {}
  for (const { attributes = {}, id, state } of snapshots) {
    const { "db.pool.name": name, "db.state": level, reason, ...rest } = attributes as Record<string, string>
    assert.strictEqual(name, "users")
    const labels = [level ?? reason, ...Object.values(rest)].filter((label) => label !== undefined).join(",")
    const key = labels === "" ? id : `${id} ${labels}`
    if ("sum" in state) values[key] = `${state.count}/${state.sum}`
    else
      values[key] = Number(
        (state as { readonly count?: number; readonly value?: number }).count ??
          (state as { readonly value: number }).value
      )
  }
  return values
})

const observed = (options: Parameters<typeof cache>[0], peer = TestConnector.makeUnsafe()) =>
  Effect.tap(cache(options, peer), ({ pool }) => PoolMetrics.observe(pool, { name: "users", prefix: "db" }))

const isolated = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.provideService(effect, Metric.MetricRegistry, new Map())

describe("PoolMetrics", () => {
  it.effect("shows levels from the beginning, and names every metric with the prefix and the pool", () =>
    isolated(
      Effect.gen(function* () {
        yield* observed({ maxSize: 3 })
        assert.deepStrictEqual(yield* read, {
          "db.count idle": 0,
          "db.count used": 0,
          "db.count connecting": 0,
          "db.count closing": 0,
          "db.max": 3,
          "db.pending_requests": 0
        })
      })
    )
  )

  it.effect("follows connections by state, callers in line, and the times to connect, to wait and of use", () =>
    isolated(
      Effect.gen(function* () {
        const { pool } = yield* observed({ maxSize: 1 }, TestConnector.makeUnsafe(TestConnector.delay("2 seconds")))
        const first = yield* borrow(pool)
        const second = yield* borrow(pool)
        let values = yield* read
        assert.deepStrictEqual([values["db.count connecting"], values["db.pending_requests"]], [1, 2])

        yield* TestClock.adjust("2 seconds")
        yield* settle
        values = yield* read
        assert.deepStrictEqual([values["db.count used"], values["db.pending_requests"]], [1, 1])
        assert.deepStrictEqual([values["db.created"], values["db.create_time"]], [1, "1/2"])
        assert.strictEqual(values["db.wait_time"], "1/2")

        yield* TestClock.adjust("3 seconds")
        yield* first.leave
        yield* second.leave
        yield* settle
        values = yield* read
        assert.deepStrictEqual([values["db.count idle"], values["db.count used"]], [1, 0])
        assert.deepStrictEqual([values["db.use_time"], values["db.wait_time"]], ["2/3", "2/7"])
      })
    )
  )

  it.effect("counts timeouts, failed attempts and evictions by reason", () =>
    isolated(
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        peer.script(TestConnector.fail)
        const { pool } = yield* observed({ maxSize: 1, waitTimeout: "1 second", backoff: undefined }, peer)
        yield* Effect.exit(pool.use(() => Effect.void))
        yield* TestClock.adjust("200 millis")
        const holder = yield* borrow(pool)
        yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        yield* holder.lease().invalidate
        yield* holder.leave
        yield* settle
        const values = yield* read
        assert.strictEqual(values["db.connect_failures"], 1)
        assert.strictEqual(values["db.timeouts"], 1)
        assert.strictEqual(values["db.evictions invalidated"], 1)
        assert.strictEqual(values["db.wait_time"], "1/0", "callers that were not served do not count")
      })
    )
  )

  it.effect("stops with its scope", () =>
    isolated(
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        yield* Effect.scoped(PoolMetrics.observe(pool, { name: "users", prefix: "db" }))
        yield* pool.use(() => Effect.void)
        yield* settle
        assert.strictEqual((yield* read)["db.created"], undefined)
      })
    )
  )

  it.effect("samples once per turn, however much happened in it", () =>
    isolated(
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        let samples = 0
        const stats = Effect.tap(pool.stats, () => Effect.sync(() => samples++))
        yield* PoolMetrics.observe({ ...pool, observe: pool.observe, stats }, { name: "users", prefix: "db" })
        const done = yield* Deferred.make<void>()
        yield* pool.use(() => Effect.void)
        yield* Deferred.succeed(done, undefined)
        yield* Effect.promise(() => Promise.resolve())
        assert.strictEqual(samples, 2, "one at the start, one for the turn")
      })
    )
  )
})
