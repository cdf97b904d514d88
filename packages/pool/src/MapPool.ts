/**
 * A pool for each key.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as MutableHashMap from "effect/MutableHashMap"
import { pipeArguments } from "effect/Pipeable"
import * as RcMap from "effect/RcMap"
import * as Scope from "effect/Scope"
import type { ConnectionLimit } from "./ConnectionLimit.ts"
import type { Any, ConnectionInfo, ConnectionPool, Keep, Lease, Observer, PoolStats, Use } from "./ConnectionPool.ts"
import { Closed, PoolError, TooManyKeys } from "./ConnectionPool.ts"
import { Alarm, monotonic, type Run } from "./internal/alarm.ts"
import { Attachments } from "./internal/attachments.ts"
import { minPause } from "./internal/backoff.ts"
import { type Link, LinkedList } from "./internal/linkedList.ts"
import { immediateLender, leaseAtOnce } from "./internal/immediate.ts"
import { Loan } from "./internal/loan.ts"
import { MemoryLimit } from "./internal/memoryLimit.ts"
import { Observers } from "./internal/observers.ts"
import { integer, millis } from "./internal/options.ts"
import { Pool } from "./internal/pool.ts"
import * as Stats from "./internal/stats.ts"
import { TwoSteps } from "./internal/twoSteps.ts"

/**
 * A pool that takes a target and lends from the pool of the target's key.
 *
 * @category models
 * @since 0.1.0
 */
export interface MapPool<in Target, in out Key, out Conn, out E = never> extends ConnectionPool<Target, Conn, E> {
  readonly keys: Effect.Effect<ReadonlyArray<Key>>
  /** The stats of one key's pool; undefined if there is none. */
  readonly statsOf: (key: Key) => Effect.Effect<PoolStats | undefined>
  /** Closes one key's pool; the next caller gets a new one. Ends when it is closed. */
  readonly remove: (key: Key) => Effect.Effect<void>
}

/**
 * What a key's pool is built with.
 *
 * @category models
 * @since 0.1.0
 */
export interface Grant {
  /** The map's `maxSize` as a limit. Give it to the pool as its `limit` option. */
  readonly limit: ConnectionLimit
}

/**
 * Options of a map.
 *
 * @category options
 * @since 0.1.0
 */
export interface MapPoolOptions<in Target, in out Key, out Conn, out E, out R> {
  /** Compared with `Equal`, so structural keys work. It must say everything that matters for the connection. */
  readonly key: (target: Target) => Key
  /** Builds a key's pool, of any kind, from the key alone. */
  readonly pool: (key: Key, grant: Grant) => Effect.Effect<ConnectionPool<void, Conn, E>, never, R>
  /** At the limit the least recently used key without borrowers makes room, else `TooManyKeys`. Default `Infinity`, minimum 1. */
  readonly maxKeys?: number | undefined
  /** Connections of all keys together, where the pools were given the grant's limit. Default `Infinity`, minimum 1. */
  readonly maxSize?: number | undefined
  /** A key that had no connection and no borrower for so long is removed. Default 60 seconds, minimum 0. A key whose connections stay open stays, too. */
  readonly idleTimeToLive?: Duration.Input | undefined
}

/**
 * Makes a map that lives as long as the current scope.
 *
 * **Details**
 *
 * A key's pool is built once however many callers ask for it, on a fiber of
 * the map's, and lives in an `RcMap` until its key is removed. A key in use is
 * never removed by the map itself. `retain`, `guard`, `observe`, `stats` and
 * `drain` act on all keys; what is guarded or observed also holds for keys that
 * come later.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <Target, Key, Conn, E, R>(
  options: MapPoolOptions<Target, Key, Conn, E, R>
): Effect.Effect<MapPool<Target, Key, Conn, E>, never, Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.gen(function* () {
    const settings = checked(options)
    const context = yield* Effect.context<never>()
    const limit = new MemoryLimit(settings.maxSize)
    const pools = yield* RcMap.make({ lookup: (key: Key) => options.pool(key, { limit }) })
    const map = new Keyed(options, settings, limit, pools as RcMap.RcMap<Key, ConnectionPool<void, Conn, E>>, context)
    yield* Effect.addFinalizer(() => map.drain())
    return map
  }) as never

/**
 * Makes a layer that provides a map as `tag`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, Target, Key, Conn, E, R>(
  tag: Context.Service<I, MapPool<Target, Key, Conn, E>>,
  options: MapPoolOptions<Target, Key, NoInfer<Conn>, NoInfer<E>, R>
): Layer.Layer<I, never, Exclude<R, Scope.Scope>> => Layer.effect(tag, make(options)) as never

interface Settings {
  readonly maxKeys: number
  readonly maxSize: number
  readonly idleTimeToLive: number
}

const checked = (options: MapPoolOptions<never, any, unknown, unknown, unknown>): Settings => ({
  maxKeys: integer("MapPool", "maxKeys", options.maxKeys, Infinity, 1, Infinity),
  maxSize: integer("MapPool", "maxSize", options.maxSize, Infinity, 1, Infinity),
  idleTimeToLive: millis("MapPool", "idleTimeToLive", options.idleTimeToLive, "60 seconds", 0)
})

type Inner<Conn, E> = ConnectionPool<void, Conn, E>

/** A key that had neither a connection nor a caller when it was listed. */
class Vacancy<T> implements Link<Vacancy<T>> {
  readonly entry: T
  /** When it is to be removed, unless it is used meanwhile: monotonic milliseconds. */
  due = 0
  listed = false
  previous: Vacancy<T> | undefined = undefined
  next: Vacancy<T> | undefined = undefined

  constructor(entry: T) {
    this.entry = entry
  }
}

/** A key and its pool. */
class Entry<Key, Conn, E> implements Link<Entry<Key, Conn, E>> {
  readonly key: Key
  /** Holds the one reference to the pool in the `RcMap`. */
  readonly scope: Scope.Closeable = Scope.makeUnsafe()
  /** Its pool, or undefined if the key was taken out before it was built. */
  readonly ready = Deferred.makeUnsafe<Inner<Conn, E> | undefined, PoolError>()
  /** The `RcMap` has forgotten the pool, so that the key can be built anew. */
  readonly forgotten = Deferred.makeUnsafe<void>()
  readonly closed = Deferred.makeUnsafe<void>()
  build: Fiber.Fiber<unknown> | undefined = undefined
  pool: Inner<Conn, E> | undefined = undefined
  /** Calls under way, for as long as they might not show in the pool's stats. */
  callers = 0
  /** Calls so far: tells whether any came while somebody looked away. */
  calls = 0
  connections = 0
  /** The key has been taken out. */
  gone = false
  readonly vacancy = new Vacancy<Entry<Key, Conn, E>>(this)

  previous: Entry<Key, Conn, E> | undefined = undefined
  next: Entry<Key, Conn, E> | undefined = undefined

  constructor(key: Key) {
    this.key = key
  }
}

interface Visit<Key, Conn, E> {
  entry: Entry<Key, Conn, E> | undefined
  /** What the visit ends with itself. */
  loan: Loan<Conn, E | PoolError> | undefined
}

type Act<Key, Conn, E, A> = (pool: Inner<Conn, E>, visit: Visit<Key, Conn, E>) => A

type Body<Conn> = (connection: Conn, lease: Lease<Conn>) => Effect.Effect<any, any, any>

/** Keeps the key from being removed while it acts, or until its loan shows in the pool's stats. */
class Visiting<Target, Key, Conn, E> extends TwoSteps<Visit<Key, Conn, E>> {
  private readonly map: Keyed<Target, Key, Conn, E>
  private readonly target: Target
  private readonly f: Act<Key, Conn, E, Effect.Effect<any, any, any>>

  constructor(map: Keyed<Target, Key, Conn, E>, target: Target, f: Act<Key, Conn, E, Effect.Effect<any, any, any>>) {
    super()
    this.map = map
    this.target = target
    this.f = f
  }

  start(): Visit<Key, Conn, E> {
    return { entry: undefined, loan: undefined }
  }

  act(visit: Visit<Key, Conn, E>): Effect.Effect<any, any, any> {
    return this.map.begin(visit, this.target, this.f)
  }

  undo(visit: Visit<Key, Conn, E>): void {
    this.map.leave(visit)
  }
}

class Keyed<Target, Key, Conn, E> implements MapPool<Target, Key, Conn, E> {
  private readonly options: MapPoolOptions<Target, Key, Conn, E, unknown>
  private readonly settings: Settings
  private readonly limit: MemoryLimit
  private readonly pools: RcMap.RcMap<Key, Inner<Conn, E>>
  /** Keys that were taken out and whose pools are not closed yet. */
  private readonly leaving = new Set<Entry<Key, Conn, E>>()
  private readonly entries = MutableHashMap.empty<Key, Entry<Key, Conn, E>>()
  /** The same: least recently used first where that decides which has to go, else oldest first. */
  private readonly recent = new LinkedList<Entry<Key, Conn, E>>()
  private readonly run: Run
  private readonly clock: Clock.Clock
  private readonly attachments = new Attachments()
  private readonly observers: Observers
  /** The one that is due first comes first, however many keys there are. */
  private readonly vacancies = new LinkedList<Vacancy<Entry<Key, Conn, E>>>()
  private readonly sweeper: Alarm
  private draining = false
  /** What pools that are gone have counted. */
  private past: PoolStats = Stats.zero

  constructor(
    options: MapPoolOptions<Target, Key, Conn, E, unknown>,
    settings: Settings,
    limit: MemoryLimit,
    pools: RcMap.RcMap<Key, Inner<Conn, E>>,
    context: Context.Context<never>
  ) {
    this.options = options
    this.settings = settings
    this.limit = limit
    this.pools = pools
    this.run = Effect.runForkWith(context)
    this.clock = Context.get(context, Clock.Clock)
    this.observers = new Observers(this.run)
    this.sweeper = new Alarm(this.run, this.clock, () => void this.run(this.sweep))
  }

  // ---------------------------------------------------------------------------
  // Borrowing
  // ---------------------------------------------------------------------------

  readonly get = (target: Target): Effect.Effect<Conn, E | PoolError, Scope.Scope> =>
    Effect.withFiber((fiber) => {
      const lease = this.leaseAtOnce(target, fiber)
      return lease === undefined ? this.visit(target, (pool) => pool.get()) : Effect.succeed(lease.connection)
    })

  readonly lease = (target: Target): Effect.Effect<Lease<Conn>, E | PoolError, Scope.Scope> =>
    Effect.withFiber((fiber) => {
      const lease = this.leaseAtOnce(target, fiber)
      return lease === undefined ? this.visit(target, (pool) => pool.lease()) : Effect.succeed(lease)
    })

  private leaseAtOnce(target: Target, fiber: Fiber.Fiber<unknown, unknown>): Lease<Conn> | undefined {
    if (this.draining) return undefined
    const found = MutableHashMap.get(this.entries, this.options.key(target))
    const entry = found._tag === "None" ? undefined : found.value
    if (entry?.pool === undefined) return undefined
    // What is lent at once shows in the pool's stats. But an observer may be told of something before, and come back here.
    entry.callers++
    this.touch(entry)
    const lease = leaseAtOnce(immediateLender(entry.pool), fiber)
    entry.callers--
    return lease
  }

  readonly use = ((...args: [Body<Conn>] | [Target, Body<Conn>]) => {
    const [target, body] = args.length === 1 ? [undefined as Target, args[0]] : args
    return this.visit(target, (pool, visit) => this.useIn(pool, visit, body))
  }) as Use<Target, Conn, E>

  private visit<A, E2, R>(
    target: Target,
    f: Act<Key, Conn, E, Effect.Effect<A, E2, R>>
  ): Effect.Effect<A, E2 | PoolError, R> {
    return new Visiting(this, target, f)
  }

  /** The undo of the visit is that of the loan, too, where the key's pool is one of this package. */
  private useIn(pool: Inner<Conn, E>, visit: Visit<Key, Conn, E>, body: Body<Conn>): Effect.Effect<any, any, any> {
    const lender = immediateLender(pool)
    if (lender === undefined) return pool.use(body)
    const loan = new Loan(lender)
    visit.loan = loan
    if (lender.lendNow(loan)) return body(loan.connection, loan)
    return pool instanceof Pool ? lender.take(loan, () => body(loan.connection, loan)) : pool.use(body)
  }

  /** Begins a visit: finds the key's pool, or builds it. */
  begin<A, E2, R>(
    visit: Visit<Key, Conn, E>,
    target: Target,
    act: Act<Key, Conn, E, Effect.Effect<A, E2, R>>
  ): Effect.Effect<A, E2 | PoolError, R> {
    if (this.draining) return Effect.fail(new PoolError({ reason: new Closed() }))
    const key = this.options.key(target)
    const found = MutableHashMap.get(this.entries, key)
    if (found._tag === "None") return Effect.flatMap(this.add(visit, key), (pool) => act(pool, visit))
    const pool = this.enter(visit, found.value)
    return pool === undefined
      ? Effect.flatMap(this.built(visit, found.value), (pool) => act(pool, visit))
      : act(pool, visit)
  }

  private enter(visit: Visit<Key, Conn, E>, entry: Entry<Key, Conn, E>): Inner<Conn, E> | undefined {
    visit.entry = entry
    entry.callers++
    this.touch(entry)
    return entry.pool
  }

  /** Somebody asks for the key. */
  private touch(entry: Entry<Key, Conn, E>): void {
    entry.calls++
    if (this.settings.maxKeys !== Infinity && this.recent.last !== entry) {
      this.recent.remove(entry)
      this.recent.push(entry)
    }
  }

  leave(visit: Visit<Key, Conn, E>): void {
    const { entry, loan } = visit
    if (loan !== undefined) loan.lender.end(loan)
    if (entry === undefined) return
    entry.callers--
    if (entry.callers === 0 && entry.connections === 0) this.emptied(entry)
  }

  // ---------------------------------------------------------------------------
  // Adding and removing keys
  // ---------------------------------------------------------------------------

  /** The pool of a new key, after another key has made room if there are too many. */
  private add(visit: Visit<Key, Conn, E>, key: Key): Effect.Effect<Inner<Conn, E>, PoolError> {
    return Effect.suspend(() => {
      if (this.draining) return Effect.fail(new PoolError({ reason: new Closed() }))
      const found = MutableHashMap.get(this.entries, key)
      if (found._tag === "None" && MutableHashMap.size(this.entries) >= this.settings.maxKeys) {
        return Effect.flatMap(this.makeRoom, () => this.add(visit, key))
      }
      const entry = found._tag === "Some" ? found.value : this.insert(key)
      this.enter(visit, entry)
      return this.built(visit, entry)
    })
  }

  private built(visit: Visit<Key, Conn, E>, entry: Entry<Key, Conn, E>): Effect.Effect<Inner<Conn, E>, PoolError> {
    return Effect.flatMap(Deferred.await(entry.ready), (pool) => {
      // The drain may have begun before this caller's fiber ran.
      if (this.draining) return Effect.fail(new PoolError({ reason: new Closed() }))
      if (pool !== undefined) return Effect.succeed(pool)
      this.leave(visit)
      visit.entry = undefined
      return this.add(visit, entry.key)
    })
  }

  private insert(key: Key): Entry<Key, Conn, E> {
    const entry = new Entry<Key, Conn, E>(key)
    MutableHashMap.set(this.entries, key, entry)
    this.recent.push(entry)
    if (this.observers.active) this.observers.emit("keyAdded", key)
    entry.build = this.run(this.build(entry))
    return entry
  }

  /** On a fiber of the map's: the caller that asked may leave. */
  private build(entry: Entry<Key, Conn, E>): Effect.Effect<unknown> {
    const build = Effect.gen({ self: this }, function* () {
      for (const old of this.leaving) if (Equal.equals(old.key, entry.key)) yield* Deferred.await(old.forgotten)
      const pool = yield* RcMap.get(this.pools, entry.key)
      yield* pool.observe({
        connected: () => {
          entry.connections++
        },
        closed: () => {
          if (--entry.connections === 0) this.emptied(entry)
        }
      })
      // Connections that were opened before anybody could watch.
      const { idle, used } = yield* pool.stats
      entry.connections = Math.max(entry.connections, idle + used)
      yield* this.attachments.add(pool)
      return pool
    })
    return Effect.map(Effect.exit(Scope.provide(build, entry.scope)), (exit) => {
      if (Exit.isSuccess(exit)) entry.pool = exit.value
      Deferred.doneUnsafe(entry.ready, exit)
      // The next caller must build again, not find the failure.
      if (Exit.isFailure(exit)) this.takeOut(entry)
    })
  }

  /** Takes a key out at once, and closes its pool on a fiber of the map's. */
  private takeOut(entry: Entry<Key, Conn, E>): void {
    const found = MutableHashMap.get(this.entries, entry.key)
    if (found._tag === "None" || found.value !== entry) return
    MutableHashMap.remove(this.entries, entry.key)
    this.recent.remove(entry)
    entry.gone = true
    if (entry.vacancy.listed) this.vacancies.remove(entry.vacancy)
    this.leaving.add(entry)
    if (this.observers.active) this.observers.emit("keyRemoved", entry.key)
    Deferred.doneUnsafe(entry.ready, Exit.succeed(undefined))
    const forget = Effect.andThen(RcMap.invalidate(this.pools, entry.key), Deferred.succeed(entry.forgotten, undefined))
    this.run(Effect.andThen(forget, Effect.andThen(Scope.close(entry.scope, Exit.void), this.countOut(entry))))
  }

  /** The pool is closed: keeps what it counted. */
  private countOut(entry: Entry<Key, Conn, E>): Effect.Effect<void> {
    return Effect.map(entry.pool?.stats ?? Effect.succeed(Stats.zero), (stats) => {
      this.past = Stats.addCounters(this.past, stats)
      this.leaving.delete(entry)
      if (entry.pool !== undefined) this.attachments.remove(entry.pool)
      Deferred.doneUnsafe(entry.closed, Exit.void)
    })
  }

  readonly remove = (key: Key): Effect.Effect<void> =>
    Effect.suspend(() => {
      const found = MutableHashMap.get(this.entries, key)
      if (found._tag === "None") return Effect.void
      this.takeOut(found.value)
      return Deferred.await(found.value.closed)
    })

  /** Removes the least recently used key that nobody uses. */
  private readonly makeRoom: Effect.Effect<void, PoolError> = Effect.gen({ self: this }, function* () {
    const { first } = this.recent
    if (first !== undefined && (yield* this.whenUnused(first, isUnused))) return
    // Others may come and go while stats are read.
    const entries: Array<Entry<Key, Conn, E>> = []
    for (let entry = this.recent.first; entry !== undefined; entry = entry.next) {
      if (entry !== first) entries.push(entry)
    }
    for (const entry of entries) if (yield* this.whenUnused(entry, isUnused)) return
    return yield* Effect.fail(new PoolError({ reason: new TooManyKeys({ maxKeys: this.settings.maxKeys }) }))
  })

  /** Removes a key if its pool's stats allow it and nobody came while they were read. */
  private whenUnused(entry: Entry<Key, Conn, E>, unused: (stats: PoolStats) => boolean): Effect.Effect<boolean> {
    const { calls, pool } = entry
    if (pool === undefined || entry.callers > 0) return Effect.succeed(false)
    return Effect.map(pool.stats, (stats) => {
      if (entry.calls !== calls || !unused(stats)) return false
      this.takeOut(entry)
      return true
    })
  }

  // ---------------------------------------------------------------------------
  // Sweeping
  // ---------------------------------------------------------------------------

  private emptied(entry: Entry<Key, Conn, E>, atLeast = 0): void {
    const { vacancy } = entry
    if (this.draining || entry.gone) return
    if (vacancy.listed) this.vacancies.remove(vacancy)
    vacancy.listed = true
    vacancy.due = monotonic(this.clock) + Math.max(atLeast, this.settings.idleTimeToLive)
    this.vacancies.push(vacancy)
    this.sweeper.set(vacancy.due)
  }

  private readonly sweep: Effect.Effect<void> = Effect.gen({ self: this }, function* () {
    const now = monotonic(this.clock)
    for (let first = this.vacancies.first; first !== undefined && !this.draining; first = this.vacancies.first) {
      const { due, entry } = first
      if (entry.connections > 0 || entry.callers > 0) {
        first.listed = false
        this.vacancies.remove(first)
      } else if (due > now) return this.sweeper.set(due)
      // An attempt that nobody waits for is in flight, or a close: look again when it may have ended.
      else if (!(yield* this.whenUnused(entry, isEmpty))) this.emptied(entry, minPause)
    }
  })

  // ---------------------------------------------------------------------------
  // All keys
  // ---------------------------------------------------------------------------

  /** Those on their way out included: what they hold is still open. */
  private get all(): ReadonlyArray<Inner<Conn, E>> {
    return [...MutableHashMap.values(this.entries), ...this.leaving].flatMap(({ pool }) => pool ?? [])
  }

  readonly retain = (keep: Keep<Conn>): Effect.Effect<void> =>
    Effect.suspend(() => Effect.forEach(this.all, (pool) => pool.retain(keep), { discard: true }))

  readonly guard = (keep: Keep<Conn>): Effect.Effect<void, never, Scope.Scope> =>
    this.attachments.attach((pool) => (pool as Inner<Conn, E>).guard(keep))

  readonly observe = (observer: Observer): Effect.Effect<void, never, Scope.Scope> =>
    Effect.andThen(
      this.observers.observe(observer),
      this.attachments.attach((pool, isNew) => (isNew ? observeFromTheStart(pool, observer) : pool.observe(observer)))
    )

  readonly stats: Effect.Effect<PoolStats> = Effect.suspend(() =>
    Effect.map(
      Effect.forEach(this.all, (pool) => pool.stats),
      (parts) => {
        const sum = parts.reduce(Stats.add, this.past)
        return this.settings.maxSize === Infinity ? sum : { ...sum, maxSize: this.settings.maxSize }
      }
    )
  )

  readonly keys: Effect.Effect<ReadonlyArray<Key>> = Effect.sync(() => Array.from(MutableHashMap.keys(this.entries)))

  readonly statsOf = (key: Key): Effect.Effect<PoolStats | undefined> =>
    Effect.suspend(() => {
      const found = MutableHashMap.get(this.entries, key)
      return found._tag === "None" || found.value.pool === undefined ? Effect.undefined : found.value.pool.stats
    })

  readonly drain = (options?: { readonly deadline?: Duration.Input | undefined }): Effect.Effect<void> =>
    Effect.suspend(() => {
      this.draining = true
      this.limit.close()
      this.sweeper.clear()
      // On fibers of the map's: whoever asked may be interrupted, what has begun must not be.
      const drains = Array.from(MutableHashMap.values(this.entries), (entry) => this.run(this.drainOne(entry, options)))
      return Effect.andThen(
        Fiber.awaitAll(drains),
        Effect.suspend(() => Effect.forEach(this.leaving, ({ closed }) => Deferred.await(closed), { discard: true }))
      )
    })

  private drainOne(
    entry: Entry<Key, Conn, E>,
    options: { readonly deadline?: Duration.Input | undefined } | undefined
  ): Effect.Effect<void> {
    const takeOut = Effect.sync(() => this.takeOut(entry))
    if (entry.pool !== undefined) return Effect.andThen(entry.pool.drain(options), takeOut)
    // A build may take for ever.
    Deferred.doneUnsafe(entry.ready, Exit.fail(new PoolError({ reason: new Closed() })))
    entry.build?.interruptUnsafe()
    return takeOut
  }

  pipe() {
    return pipeArguments(this, arguments)
  }
}

/** Observes a pool, and what it opened before anybody could observe it. */
const observeFromTheStart = (pool: Any, observer: Observer): Effect.Effect<void, never, Scope.Scope> => {
  const { connected } = observer
  if (connected === undefined) return pool.observe(observer)
  const seen = new WeakSet<ConnectionInfo>()
  const once = (info: ConnectionInfo, elapsed: number) => {
    if (seen.has(info)) return
    seen.add(info)
    connected(info, elapsed)
  }
  return Effect.andThen(
    pool.observe({ ...observer, connected: once }),
    pool.retain((_, info) => {
      once(info, 0)
      return true
    })
  )
}

const isUnused = (stats: PoolStats): boolean => stats.borrowers + stats.pending === 0

const isEmpty = (stats: PoolStats): boolean =>
  stats.idle + stats.used + stats.connecting + stats.closing + stats.pending + stats.borrowers === 0
