/**
 * The connections and requests of an HTTP pool as Effect metrics, by origin,
 * named after OpenTelemetry's conventions for HTTP clients.
 *
 * @since 0.1.0
 */
import type { ConnectionInfo, Observer } from "@poolkit/pool/ConnectionPool"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import type { HttpConnections } from "./HttpPool.ts"
import { isOrigin } from "./Origin.ts"

/**
 * Options of {@link observe}.
 *
 * @category options
 * @since 0.1.0
 */
export interface HttpMetricsOptions {
  /** More attributes for every metric. */
  readonly attributes?: Readonly<Record<string, string>> | undefined
  /** Upper bounds of the histograms' buckets in seconds. Default from 5 ms to 600 s. */
  readonly boundaries?: ReadonlyArray<number> | undefined
}

/**
 * Keeps metrics of a pool until the current scope closes.
 *
 * **Details**
 *
 * | metric | kind | what |
 * | --- | --- | --- |
 * | `http.client.open_connections` | gauge, by `http.connection.state` | connections that are `active` or `idle` |
 * | `http.client.connection.duration` | histogram, seconds | the life of connections that have closed |
 * | `http.client.active_requests` | gauge | requests that have a connection |
 * | `http.client.request.duration` | histogram, seconds | the time that a request had its connection: until its body had come |
 *
 * All have the attributes `server.address`, `server.port`, `url.scheme` and
 * `network.protocol.version`. Nothing that may be a secret is one. See
 * `PoolMetrics` for waits, failures and evictions of the pool as a whole.
 *
 * **Gotchas**
 *
 * Effect's registry never forgets a metric, so a pool that meets ever new
 * origins lets it grow. For such programs `PoolMetrics` alone is right.
 *
 * @category combinators
 * @since 0.1.0
 */
export const observe = (
  pool: HttpConnections<unknown>,
  options: HttpMetricsOptions = {}
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(Effect.context<Scope.Scope>(), (context) => {
    const origins = new Map<string, Origin>()
    const open = new Map<number, Open>()
    // A pool that drains closes connections under borrowers, who return them later.
    const gone = new WeakSet<ConnectionInfo>()
    const update = (metric: Metric.Metric<number, unknown>, value: number) => metric.updateUnsafe(value, context)
    const show = ({ active, idle, metrics, requests }: Origin) => {
      update(metrics.idle, idle)
      update(metrics.active, active)
      update(metrics.requests, requests)
    }
    const originOf = (info: ConnectionInfo): Origin => {
      const attributes = attributesOf(info)
      const key = JSON.stringify(attributes)
      let origin = origins.get(key)
      if (origin === undefined) {
        origin = { metrics: makeMetrics(attributes, options), idle: 0, active: 0, requests: 0 }
        origins.set(key, origin)
      }
      return origin
    }
    /** Moves a connection to where its borrowers say it is. One that was open before the metrics is found here. */
    const follow = (info: ConnectionInfo): Origin => {
      const known = open.get(info.id)
      const origin = known?.origin ?? originOf(info)
      const requests = info.borrowers
      if (known !== undefined) origin[known.requests === 0 ? "idle" : "active"]--
      origin[requests === 0 ? "idle" : "active"]++
      origin.requests += requests - (known?.requests ?? 0)
      open.set(info.id, { origin, requests })
      show(origin)
      return origin
    }
    return Effect.clockWith((clock) => {
      const observer: Observer = {
        connected: follow,
        borrowed: follow,
        returned: (info, elapsed) => {
          const { metrics } = gone.has(info) ? originOf(info) : follow(info)
          update(metrics.requestDuration, elapsed / 1000)
        },
        closed: (info) => {
          const origin = follow(info)
          const { requests } = open.get(info.id)!
          open.delete(info.id)
          gone.add(info)
          origin[requests === 0 ? "idle" : "active"]--
          origin.requests -= requests
          show(origin)
          const age = clock.currentTimeMillisUnsafe() - info.createdAt
          update(origin.metrics.connectionDuration, Math.max(0, age) / 1000)
        }
      }
      return pool.observe(observer)
    })
  })

/** One origin over one protocol. */
interface Origin {
  readonly metrics: ReturnType<typeof makeMetrics>
  idle: number
  active: number
  requests: number
}

interface Open {
  readonly origin: Origin
  readonly requests: number
}

const versions: Readonly<Record<string, string>> = { "http/1.0": "1.0", "http/1.1": "1.1", h2: "2", h3: "3" }

const attributesOf = (info: ConnectionInfo): Record<string, string> => {
  const origin = info.annotations.get("origin")
  const protocol = String(info.annotations.get("protocol"))
  return {
    ...(isOrigin(origin) && {
      "server.address": origin.host,
      "server.port": String(origin.port),
      "url.scheme": origin.scheme
    }),
    "network.protocol.version": versions[protocol] ?? protocol
  }
}

const defaultBoundaries = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600]

const makeMetrics = (
  origin: Record<string, string>,
  { attributes: more, boundaries = defaultBoundaries }: HttpMetricsOptions
) => {
  const attributes = { ...more, ...origin }
  const connections = (state: string) =>
    Metric.gauge("http.client.open_connections", {
      description: "Connections by state",
      attributes: { ...attributes, "http.connection.state": state }
    })
  return {
    idle: connections("idle"),
    active: connections("active"),
    requests: Metric.gauge("http.client.active_requests", { description: "Requests under way", attributes }),
    requestDuration: Metric.histogram("http.client.request.duration", {
      description: "Seconds from borrowing a connection until the response has come",
      attributes,
      boundaries
    }),
    connectionDuration: Metric.histogram("http.client.connection.duration", {
      description: "Seconds from opening a connection until it has closed",
      attributes,
      boundaries
    })
  }
}
