/**
 * A pool's life as Effect metrics, named after OpenTelemetry's conventions for
 * client connection pools.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import type { Any, EvictReason, Observer } from "./ConnectionPool.ts"

/**
 * Options of {@link observe}.
 *
 * @category options
 * @since 0.1.0
 */
export interface PoolMetricsOptions {
  /** The value of the attribute `<prefix>.pool.name` on every metric. */
  readonly name: string
  /** What every metric's name begins with, such as `db.client.connection`. Default `client.connection`. */
  readonly prefix?: string | undefined
  /** More attributes for every metric. */
  readonly attributes?: Readonly<Record<string, string>> | undefined
  /** Upper bounds of the histograms' buckets in seconds. Default from 1 ms to 60 s. */
  readonly boundaries?: ReadonlyArray<number> | undefined
}

/**
 * Keeps metrics of a pool until the current scope closes.
 *
 * **Details**
 *
 * | metric | kind | what |
 * | --- | --- | --- |
 * | `count` | gauge, by `state` | connections that are `idle`, `used`, `connecting`, `closing` |
 * | `max` | gauge | `maxSize` |
 * | `pending_requests` | gauge | callers in line |
 * | `timeouts` | counter | callers that gave up after `waitTimeout` |
 * | `create_time` | histogram, seconds | time to open a connection |
 * | `wait_time` | histogram, seconds | time in line, of callers that were served |
 * | `use_time` | histogram, seconds | time between borrowing and returning |
 * | `created`, `connect_failures` | counter | connections opened, attempts that failed |
 * | `evictions` | counter, by `reason` | connections that the pool removed |
 *
 * Every name begins with the prefix. Levels are read from `stats` once per turn
 * in which something happened, so nothing runs while the pool is at rest.
 *
 * @category combinators
 * @since 0.1.0
 */
export const observe = (pool: Any, options: PoolMetricsOptions): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(Effect.context<Scope.Scope>(), (context) => {
    const metrics = makeMetrics(options)
    const update = <Input>(metric: Metric.Metric<Input, unknown>, input: Input) => metric.updateUnsafe(input, context)
    const sample = Effect.map(pool.stats, (stats) => {
      for (const state of states) update(metrics.count[state], stats[state])
      update(metrics.max, stats.maxSize)
      update(metrics.pending, stats.pending)
    })
    const run = Effect.runForkWith(context)
    let scheduled = false
    const changed = () => {
      if (scheduled) return
      scheduled = true
      queueMicrotask(() => {
        scheduled = false
        run(sample)
      })
    }
    const observer: Observer = {
      connecting: changed,
      connected: (_, elapsed) => {
        update(metrics.created, 1)
        update(metrics.createTime, elapsed / 1000)
        changed()
      },
      connectFailed: () => {
        update(metrics.connectFailures, 1)
        changed()
      },
      borrowed: changed,
      returned: (_, elapsed) => {
        update(metrics.useTime, elapsed / 1000)
        changed()
      },
      evicted: (_, reason) => {
        update(metrics.evictions(reason), 1)
        changed()
      },
      closed: changed,
      waitStarted: changed,
      waitEnded: (_, outcome, elapsed) => {
        if (outcome === "served") update(metrics.waitTime, elapsed / 1000)
        if (outcome === "timedOut") update(metrics.timeouts, 1)
        changed()
      }
    }
    return Effect.andThen(pool.observe(observer), sample)
  })

const states = ["idle", "used", "connecting", "closing"] as const

const defaultBoundaries = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

const makeMetrics = ({
  attributes,
  boundaries = defaultBoundaries,
  name,
  prefix = "client.connection"
}: PoolMetricsOptions) => {
  const base = { ...attributes, [`${prefix}.pool.name`]: name }
  const gauge = (what: string, description: string, more?: Record<string, string>) =>
    Metric.gauge(`${prefix}.${what}`, { description, attributes: { ...base, ...more } })
  const counter = (what: string, description: string, more?: Record<string, string>) =>
    Metric.counter(`${prefix}.${what}`, { description, attributes: { ...base, ...more }, incremental: true })
  const histogram = (what: string, description: string) =>
    Metric.histogram(`${prefix}.${what}`, { description, attributes: base, boundaries })
  const count = (state: string) => gauge("count", "Connections by state", { [`${prefix}.state`]: state })
  const evictions = new Map<EvictReason, Metric.Counter<number>>()
  return {
    count: { idle: count("idle"), used: count("used"), connecting: count("connecting"), closing: count("closing") },
    max: gauge("max", "Connections allowed"),
    pending: gauge("pending_requests", "Callers in line"),
    timeouts: counter("timeouts", "Callers that gave up waiting"),
    created: counter("created", "Connections opened"),
    connectFailures: counter("connect_failures", "Attempts to connect that failed"),
    createTime: histogram("create_time", "Seconds to open a connection"),
    waitTime: histogram("wait_time", "Seconds in line"),
    useTime: histogram("use_time", "Seconds between borrowing and returning"),
    evictions: (reason: EvictReason) => {
      let metric = evictions.get(reason)
      if (metric === undefined) {
        metric = counter("evictions", "Connections that the pool removed, by reason", { reason })
        evictions.set(reason, metric)
      }
      return metric
    }
  }
}
