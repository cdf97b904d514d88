/**
 * Keeps the connection limits of a fleet in Redis.
 *
 * @since 0.1.0
 */
import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { ConnectionLimit } from "@poolkit/pool"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redis from "effect/persistence/Redis"
import { exchangeLua, redisTime } from "./internal/exchangeScript.ts"
import { explain } from "./internal/explain.ts"
import { makeStoreRedis } from "./internal/storeRedis.ts"

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
  /** How long one attempt to connect may take. Default 2 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
}

/**
 * Provides a `ConnectionLimitStore` in Redis.
 *
 * **Details**
 *
 * Each exchange is one `EVALSHA` on the hash `<prefix><key>`: atomic, timed by
 * Redis's clock, O(processes). Wakes go through the channel
 * `<prefix><key>:wake`, on one more connection for each limit. Needs Redis 5 or
 * later. A limit that nobody uses is forgotten after a day. Fails if Redis does
 * not answer `PING`.
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
    Effect.suspend(() =>
      makeStoreRedis(
        { prefix: options.prefix ?? "poolkit:limit:", gracePeriod: graceMillis(options.gracePeriod) },
        exchangeLua(redisTime)
      )
    )
  )

/**
 * Provides a `ConnectionLimitStore` in Redis over a connection of its own, with
 * the settings that suit it: exchanges are not queued while Redis is away, and
 * the connection comes back by itself within 2 seconds.
 *
 * **Details**
 *
 * A wrong address, a wrong password and a Redis that is away are one
 * `ConnectionLimitStoreError` that names the address, never the password.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStoreNodeRedis = (
  options: NodeRedisLimitStoreOptions = {}
): Layer.Layer<ConnectionLimit.ConnectionLimitStore, ConnectionLimit.ConnectionLimitStoreError> =>
  Layer.suspend(() => {
    const url = options.url ?? "redis://localhost:6379"
    graceMillis(options.gracePeriod)
    if (!URL.canParse(url)) return failing(unusable(url, new Error("use redis://user:password@host:port/database")))
    let built = false
    const redis = NodeRedis.layer({
      url,
      // What an exchange said may be wrong by the time that a queue is sent.
      disableOfflineQueue: true,
      // A connection that its peer has forgotten would otherwise be waited for until TCP gives up, which takes minutes.
      pingInterval: 5_000,
      socket: {
        socketTimeout: 15_000,
        connectTimeout: Duration.toMillis(Duration.fromInputUnsafe(options.connectTimeout ?? "2 seconds")),
        // The first attempt tells at once that the configuration is wrong.
        reconnectStrategy: (retries, cause) =>
          built ? Math.min(50 * 2 ** retries, 1_800) + 200 * Math.random() : cause
      }
    })
    return layerStoreRedis(options).pipe(
      Layer.tap(() => Effect.sync(() => (built = true))),
      Layer.provide(Layer.provideMerge(hangUp, redis)),
      Layer.catch(({ cause }) => failing(unusable(url, cause)))
    )
  })

/** Closing in good order waits for answers, so a Redis that hangs would keep a program from ending. */
const hangUp: Layer.Layer<never, never, NodeRedis.NodeRedis> = Layer.effectDiscard(
  Effect.flatMap(NodeRedis.NodeRedis, ({ client }) =>
    Effect.addFinalizer(() =>
      Effect.sync(() => {
        if (client.isOpen) client.destroy()
      })
    )
  )
)

const unusable = (url: string, cause: unknown): ConnectionLimit.ConnectionLimitStoreError =>
  new ConnectionLimit.ConnectionLimitStoreError({
    message: `Redis at ${withoutPassword(url)}, the store of connection limits: ${explain(cause)}`,
    cause
  })

const failing = (
  error: ConnectionLimit.ConnectionLimitStoreError
): Layer.Layer<ConnectionLimit.ConnectionLimitStore, ConnectionLimit.ConnectionLimitStoreError> =>
  Layer.effect(ConnectionLimit.ConnectionLimitStore, Effect.fail(error))

const graceMillis = (input: Duration.Input | undefined): number | undefined => {
  if (input === undefined) return undefined
  const millis = Duration.toMillis(Duration.fromInputUnsafe(input))
  if (millis >= 0 && millis < Infinity) return Math.ceil(millis)
  throw new RangeError(`RedisLimitStore: gracePeriod must be a duration of zero or longer, got ${String(input)}`)
}

const withoutPassword = (url: string): string => {
  try {
    const { host, pathname, protocol } = new URL(url)
    return `${protocol}//${host}${pathname === "/" ? "" : pathname}`
  } catch {
    return "an address that is not a URL"
  }
}
