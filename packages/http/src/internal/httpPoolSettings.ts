/** Options of the HTTP pool with their defaults applied. */
import * as CachePool from "@poolkit/pool/CachePool"
import type { Any, PoolOptions } from "@poolkit/pool/ConnectionPool"
import * as Connector from "@poolkit/pool/Connector"
import * as ExpirePool from "@poolkit/pool/ExpirePool"
import * as SharedPool from "@poolkit/pool/SharedPool"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Stream } from "effect/Stream"
import type { HttpConnection } from "../HttpConnection.ts"
import type { CustomHttpPoolOptions, HttpPoolOptions, PoolingOptions } from "../HttpPool.ts"
import { make, type Origin, reveal } from "../Origin.ts"
import type { SocketError } from "../SocketError.ts"
import { makeConnector, offered } from "./httpPoolConnector.ts"
import { integer, millis } from "./options.ts"

/** The errors and requirements of a connector of the user's own make no difference here. */
type Options = HttpPoolOptions | CustomHttpPoolOptions<SocketError, Scope.Scope>

type Common<E> = Omit<PoolOptions<HttpConnection, E, never>, "connect" | "limit" | "maxSize">

export interface Settings<E, R> {
  /** Opens a connection to an origin, at an address of it if one is given. */
  readonly connect: (origin: Origin, address?: string) => Effect.Effect<HttpConnection, E, R>
  /** How long a connect to one of several addresses may take, as far as the connector does not see to that itself: milliseconds. */
  readonly addressTimeout: number
  /** What to spread the connections of an origin over. */
  readonly addresses: (origin: Origin) => Stream<ReadonlyArray<string>, unknown> | undefined
  /** What a connection to the origin may turn out to speak. */
  readonly speaks: (origin: Origin) => ReadonlyArray<string>
  readonly limits: ReturnType<typeof limitsOf>
  readonly expire: ReturnType<typeof expireOf>
  readonly options: Common<E>
}

const limitsOf = (options: PoolingOptions<never>) => ({
  maxKeys: options.maxKeys ?? 1000,
  maxSize: options.maxSize ?? 256,
  maxSizePerOrigin: integer("HttpPool", "maxSizePerOrigin", options.maxSizePerOrigin, 10, 1),
  shared: {
    maxSize: integer("HttpPool", "maxSharedPerOrigin", options.maxSharedPerOrigin, 1, 1),
    saturation: options.saturation
  }
})

const expireOf = (options: PoolingOptions<never>) => {
  const idleTimeToLive = millis("HttpPool", "idleTimeToLive", options.idleTimeToLive, 30_000, "positive")
  const maxLifetime = millis("HttpPool", "maxLifetime", options.maxLifetime, 600_000, "positive")
  const never = Math.min(idleTimeToLive, maxLifetime) === Infinity
  return <P extends Any, R>(pool: Effect.Effect<P, never, R>): Effect.Effect<P, never, R | Scope.Scope> =>
    never ? pool : ExpirePool.make(pool, { idleTimeToLive, maxLifetime })
}

const isCustom = (options: Options): options is CustomHttpPoolOptions<SocketError, Scope.Scope> =>
  "connect" in options && options.connect !== undefined

const settingsOf = (options: Options): Settings<SocketError, Scope.Scope> => {
  const { connect, connectTimeout, speaks } = isCustom(options)
    ? { connect: options.connect, connectTimeout: options.connectTimeout, speaks: () => ["http/1.1", "h2"] }
    : {
        connect: makeConnector(options),
        // Its own deadline is the same one, and its error says more.
        connectTimeout: Infinity,
        speaks: (origin: Origin) => offered(origin, options.protocols)
      }
  return {
    addressTimeout: millis("HttpPool", "connectTimeout", connectTimeout, 10_000),
    connect: (origin, address) =>
      Connector.annotate(connect, ({ protocol }) => ({ origin, protocol }))(
        address === undefined ? origin : make({ ...reveal(origin), address })
      ),
    addresses: options.addresses ?? (() => undefined),
    speaks,
    limits: limitsOf(options),
    expire: expireOf(options),
    options: {
      backoff: options.backoff,
      closeTimeout: options.closeTimeout,
      connectTimeout,
      drainDeadline: options.drainDeadline,
      leakWarning: options.leakWarning,
      maxConnecting: options.maxConnecting,
      maxPending: options.maxPending ?? 1000,
      onAbandon: options.onAbandon,
      waitTimeout: options.waitTimeout,
      isOpen: (connection) => connection.isOpen(),
      watch: (connection, signals) => connection.watch(signals)
    }
  }
}

/**
 * The pools underneath check their options when they are built, which is at the
 * first request: one of each is built here and thrown away.
 */
export const checkedSettings = (options: Options): Effect.Effect<Settings<SocketError, Scope.Scope>> =>
  Effect.suspend(() => {
    const settings = settingsOf(options)
    const { options: common, limits } = settings
    const exclusive = CachePool.make({ ...common, connect: () => Effect.never })
    const shared = SharedPool.make({ ...common, ...limits.shared, concurrency: 1, connect: () => Effect.never })
    return Effect.as(Effect.scoped(Effect.andThen(exclusive, shared)), settings)
  })
