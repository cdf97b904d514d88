/**
 * Keeps the connection limits of a fleet in Redis.
 *
 * @since 0.1.0
 */
import { ConnectionLimit } from "@poolkit/pool"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redis from "effect/persistence/Redis"
import { exchangeLua, redisTime } from "./internal/exchangeScript.ts"
import { explain } from "./internal/explain.ts"
import { connectNodeRedis } from "./internal/nodeRedis.ts"
import { makeStoreRedis, type StoreSettings } from "./internal/storeRedis.ts"

/**
 * Options of a store in Redis.
 *
 * @category options
 * @since 0.1.0
 */
export interface RedisLimitStoreOptions {
  /** Comes before the key of each limit. Default `"poolkit:limit:"`. */
  readonly prefix?: string | undefined
  /**
   * How long nothing new is granted after Redis has started, or has lost what
   * it knew of a limit: that long processes may still hold leases that it does
   * not know of. So it is also the wait at the first use of a key. Default the
   * limit's `leaseTime`, minimum 0: for tests, where there is no fleet yet.
   */
  readonly gracePeriod?: Duration.Input | undefined
}

/**
 * Options of a store in Redis with a connection of its own.
 *
 * @category options
 * @since 0.1.0
 */
export interface NodeRedisLimitStoreOptions extends RedisLimitStoreOptions {
  /** `redis://user:password@host:port/database`; `rediss:` for TLS. Default `redis://localhost:6379`. */
  readonly url?: string | undefined
  /** How long connecting may take when the layer is built, and each attempt later. Default 2 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
}

/**
 * Provides a `ConnectionLimitStore` in Redis.
 *
 * **Details**
 *
 * Each exchange is one `EVALSHA` on the hash `<prefix><key>`: atomic, timed by
 * Redis's clock, O(processes). Wakes go through the channel
 * `<prefix><key>:wake`, on one more connection for each limit. A limit that
 * nobody uses is forgotten after a day. Needs Redis 5 or later, with node-redis
 * 6. Fails if Redis does not answer `PING`.
 *
 * @see {@link layerStoreNodeRedis} for a connection that suits it
 * @category layers
 * @since 0.1.0
 */
export const layerStoreRedis = (
  options: RedisLimitStoreOptions = {}
): Layer.Layer<ConnectionLimit.ConnectionLimitStore, ConnectionLimit.ConnectionLimitStoreError, Redis.Redis> =>
  Layer.effect(
    ConnectionLimit.ConnectionLimitStore,
    Effect.suspend(() => makeStoreRedis(settingsOf(options), exchangeLua(redisTime)))
  )

/**
 * Provides a `ConnectionLimitStore` in Redis over a connection of its own, with
 * the settings that suit it: exchanges are not queued while Redis is away, and
 * the connection comes back by itself within half a second.
 *
 * **Details**
 *
 * A wrong address, a wrong password, something else than a Redis and a Redis
 * that is away or hangs are one `ConnectionLimitStoreError` that names the
 * address, never the password.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreNodeRedis = (
  options: NodeRedisLimitStoreOptions = {}
): Layer.Layer<ConnectionLimit.ConnectionLimitStore, ConnectionLimit.ConnectionLimitStoreError> =>
  Layer.effect(
    ConnectionLimit.ConnectionLimitStore,
    Effect.suspend(() => {
      const url = options.url ?? "redis://localhost:6379"
      const settings = settingsOf(options)
      const connectTimeout = Duration.fromInputUnsafe(options.connectTimeout ?? "2 seconds")
      if (parse(url) === undefined) {
        return Effect.fail(unusable(url, new Error("use redis://user:password@host:port/database")))
      }
      return connectNodeRedis(url, Duration.toMillis(connectTimeout)).pipe(
        Effect.flatMap(({ causeOf, redis }) =>
          Effect.provideService(makeStoreRedis({ ...settings, causeOf }, exchangeLua(redisTime)), Redis.Redis, redis)
        ),
        Effect.timeoutOrElse({
          duration: connectTimeout,
          orElse: () => Effect.fail({ cause: new Error(`no answer within ${Duration.format(connectTimeout)}`) })
        }),
        Effect.mapError(({ cause }) => unusable(url, cause))
      )
    })
  )

const settingsOf = (options: RedisLimitStoreOptions): StoreSettings => ({
  prefix: options.prefix ?? "poolkit:limit:",
  gracePeriod: graceMillis(options.gracePeriod)
})

const unusable = (url: string, cause: unknown): ConnectionLimit.ConnectionLimitStoreError =>
  new ConnectionLimit.ConnectionLimitStoreError({
    message: `Redis at ${withoutPassword(url)}, the store of connection limits: ${explain(cause)}`,
    cause
  })

const graceMillis = (input: Duration.Input | undefined): number | undefined => {
  if (input === undefined) return undefined
  const millis = Duration.toMillis(Duration.fromInputUnsafe(input))
  if (millis >= 0 && millis < Infinity) return Math.ceil(millis)
  throw new RangeError(`RedisLimitStore: gracePeriod must be a duration of zero or longer, got ${String(input)}`)
}

const parse = (url: string): URL | undefined => {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  return parsed !== undefined && ["redis:", "rediss:", "unix:"].includes(parsed.protocol) ? parsed : undefined
}

/** Of a URL without a protocol the rest is anywhere, the password too. */
const withoutPassword = (url: string): string => {
  const parsed = parse(url)
  if (parsed === undefined) return "an address that is not a redis: URL"
  const { host, pathname, protocol } = parsed
  return `${protocol}//${host}${pathname === "/" ? "" : pathname}`
}
