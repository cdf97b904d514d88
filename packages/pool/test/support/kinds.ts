/**
 * `scene.ts` for the kinds that are made of others or shared: pools over a
 * scripted peer that are checked when the test ends, peers whose connections
 * admit what the test says, and logs of what a pool told its observers.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as CachePool from "../../src/CachePool.ts"
import type { Any, ConnectionPool, Observer, Signals } from "../../src/ConnectionPool.ts"
import * as MapPool from "../../src/MapPool.ts"
import * as NegotiatePool from "../../src/NegotiatePool.ts"
import * as SharedPool from "../../src/SharedPool.ts"
import * as TestConnector from "../../src/testing/TestConnector.ts"
import { checkClosed } from "./scene.ts"

type Peer = TestConnector.TestConnector
type Conn = TestConnector.TestConnection
type ConnError = TestConnector.TestConnectError

export type SharedOptions = Partial<SharedPool.SharedPoolOptions<Conn, ConnError, Scope.Scope>>

/** Makes a pool over a peer. After the test everything that was opened must have been closed. */
export const over = <P extends Any>(
  make: (peer: Peer) => Effect.Effect<P, never, Scope.Scope>,
  peer: Peer = TestConnector.makeUnsafe()
): Effect.Effect<{ readonly peer: Peer; readonly pool: P }, never, Scope.Scope> =>
  Effect.gen(function* () {
    const made: Array<Any> = []
    // Runs after the pool's own finalizer.
    yield* Effect.addFinalizer(() =>
      Effect.forEach(made, (pool) => checkClosed(peer, pool as ConnectionPool<void, unknown, unknown>))
    )
    const pool = yield* make(peer)
    made.push(pool)
    return { peer, pool }
  })

/** A shared pool over a peer whose connections admit 100 borrowers each where `options` do not say otherwise. */
export const shared = (options: SharedOptions = {}, peer: Peer = TestConnector.makeUnsafe()) =>
  over(() => SharedPool.make({ concurrency: 100, ...peer.options, ...options }), peer)

/** A negotiation over a peer that finds connections which are not shared; `around` is what the user puts around the fallback. */
export const neverShared = (
  { connect, options: { isOpen, watch } }: Peer,
  options: CacheOptions = {},
  around: (pool: ConnectionPool<void, Conn, ConnError>) => ConnectionPool<void, Conn, ConnError> = (pool) => pool
) =>
  NegotiatePool.makeMerged({
    connect,
    inspect: () => false,
    upgrade: (connect) => SharedPool.make({ concurrency: 100, isOpen, watch, ...options, connect }),
    fallback: (connect) => Effect.map(CachePool.make({ isOpen, watch, ...options, connect }), around)
  })

/** A pool in a scope of its own, with what closes that scope. */
export const inScope = <P extends Any>(
  make: Effect.Effect<P, never, Scope.Scope>
): Effect.Effect<{ readonly pool: P; readonly close: Effect.Effect<void> }> =>
  Effect.gen(function* () {
    const scope = Scope.makeUnsafe()
    const pool = yield* Scope.provide(make, scope)
    return { pool, close: Scope.close(scope, Exit.void) }
  })

/** How many borrowers each connection of a peer admits, as options for a shared pool, and ways to change it. */
export const admitting = (peer: Peer, initial: number) => {
  const said = new Map<number, number>()
  const signals = new Map<number, Signals>()
  return {
    options: {
      concurrency: (connection: Conn) => said.get(connection.id) ?? initial,
      watch: (connection: Conn, given: Signals) => {
        signals.set(connection.id, given)
        return peer.options.watch(connection, given)
      }
    },
    /** From now on, as the connection says when it is asked. */
    silently: (id: number, count: number) => {
      said.set(id, count)
    },
    /** From now on, and the pool is told. */
    set: (id: number, count: number) => {
      said.set(id, count)
      signals.get(id)!.capacityChanged()
    },
    signals: (id: number) => signals.get(id)!
  }
}

/** What a pool tells its observers from now on, in short words. Connections are numbered as they appear. */
export const eventsOf = (pool: Any): Effect.Effect<Array<string>, never, Scope.Scope> =>
  Effect.suspend(() => {
    const log: Array<string> = []
    const ids = new Map<number, number>()
    const nth = (id: number) => {
      if (!ids.has(id)) ids.set(id, ids.size + 1)
      return ids.get(id)!
    }
    const observer: Observer = {
      connecting: (id) => void log.push(`connecting ${nth(id)}`),
      connected: (info) => void log.push(`connected ${nth(info.id)}`),
      connectFailed: (id) => void log.push(`connectFailed ${nth(id)}`),
      borrowed: (info) => void log.push(`borrowed ${nth(info.id)}`),
      returned: (info) => void log.push(`returned ${nth(info.id)}`),
      evicted: (info, reason) => void log.push(`evicted ${nth(info.id)} ${reason}`),
      closed: (info) => void log.push(`closed ${nth(info.id)}`),
      waitStarted: () => void log.push("waitStarted"),
      waitEnded: (_, outcome) => void log.push(`waitEnded ${outcome}`),
      keyAdded: (key) => void log.push(`keyAdded ${String(key)}`),
      keyRemoved: (key) => void log.push(`keyRemoved ${String(key)}`)
    }
    return Effect.as(pool.observe(observer), log)
  })

/** Why a pool evicts from now on. */
export const evictions = (pool: Any): Effect.Effect<Array<string>, never, Scope.Scope> =>
  Effect.suspend(() => {
    const log: Array<string> = []
    return Effect.as(pool.observe({ evicted: (_, reason) => void log.push(reason) }), log)
  })

/**
 * The test's clock with a wall time that can be set, and a count of its
 * sleepers, for what is made with `provide`.
 */
export const settableClock = Effect.map(Clock.clockWith(Effect.succeed), (clock) => {
  let offset = 0
  let timers = 0
  const millis = () => clock.currentTimeMillisUnsafe() + offset
  const nanos = () => BigInt(Math.round(millis() * 1e6))
  const settable: Clock.Clock = {
    currentTimeMillisUnsafe: millis,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
    monotonicTimeNanos: clock.monotonicTimeNanos,
    sleep: (duration) =>
      Effect.suspend(() => {
        timers++
        return Effect.ensuring(
          clock.sleep(duration),
          Effect.sync(() => {
            timers--
          })
        )
      })
  }
  return {
    jump: (by: number) => {
      offset += by
    },
    timers: () => timers,
    provide: <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.provideService(effect, Clock.Clock, settable)
  }
})

/** A keyed pool as a pool for one target. */
export const at = <Target, C, E>(pool: ConnectionPool<Target, C, E>, target: Target): ConnectionPool<void, C, E> => ({
  get: () => pool.get(target),
  lease: () => pool.lease(target),
  use: ((body: never) => pool.use(target, body)) as ConnectionPool<void, C, E>["use"],
  retain: pool.retain,
  guard: pool.guard,
  observe: pool.observe,
  drain: pool.drain,
  stats: pool.stats,
  pipe: pool.pipe
})

type MapOptions = Partial<
  Pick<
    MapPool.MapPoolOptions<string, string, Conn, ConnError, Scope.Scope>,
    "key" | "maxKeys" | "maxSize" | "idleTimeToLive"
  >
>
export type CacheOptions = Partial<CachePool.CachePoolOptions<Conn, ConnError, Scope.Scope>>
type Cache = CachePool.CachePool<Conn, ConnError>

/**
 * A map of caches over one scripted peer; knows which key each connection was
 * opened for. `around` may delay or replace the build of a key's pool.
 */
export const keyed = (
  options: MapOptions = {},
  inner: CacheOptions = {},
  peer: Peer = TestConnector.makeUnsafe(),
  around: (build: Effect.Effect<Cache, never, Scope.Scope>, key: string) => typeof build = (build) => build
) => {
  const owners = new Map<number, string>()
  const builds: Array<string> = []
  const connectFor = (key: string) => () =>
    Effect.tap(peer.connect(), ({ id }) => Effect.sync(() => void owners.set(id, key)))
  return Effect.map(
    over(
      () =>
        MapPool.make({
          key: (target: string) => target,
          pool: (key, { limit }) => {
            builds.push(key)
            return around(CachePool.make({ ...peer.options, connect: connectFor(key), limit, ...inner }), key)
          },
          ...options
        }),
      peer
    ),
    ({ pool }) => ({
      peer,
      pool,
      builds,
      /** Keys of the connections, in the order of the attempts that opened them. */
      owners: () =>
        Array.from(owners)
          .toSorted(([a], [b]) => a - b)
          .map(([, key]) => key),
      ownerOf: (id: number) => owners.get(id)
    })
  )
}
