/**
 * Expiry over any pool: by idle time, by age, by uses, or by a predicate.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Any, ConnectionInfo, ConnectionPool, EvictReason, Keep } from "./ConnectionPool.ts"
import { integer, millis } from "./internal/options.ts"

/**
 * The connection type of a pool.
 *
 * @category models
 * @since 0.1.0
 */
export type ConnectionOf<P> = P extends ConnectionPool<never, infer Conn, unknown> ? Conn : never

/**
 * What the fiber saw when it last looked; the input of `schedule`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Look {
  /** Milliseconds of the clock. */
  readonly now: number
  /** Connections that this look rejected. */
  readonly evicted: number
  /** When a connection that stayed comes due, if nobody uses it; undefined if none has a due time. */
  readonly nextDueIn: Duration.Duration | undefined
}

/**
 * Options of expiry. At least one policy; a connection goes when any of them says so.
 *
 * @category options
 * @since 0.1.0
 */
export interface ExpirePoolOptions<in Conn> {
  /** Evict connections that nobody used for so long, with the reason `idle`. Default off, longer than zero. */
  readonly idleTimeToLive?: Duration.Input | undefined
  /** Evict connections that are so old, with the reason `lifetime`; a used one on return. Default off, longer than zero. */
  readonly maxLifetime?: Duration.Input | undefined
  /** The share of `maxLifetime` by which lifetimes are shortened at random, so that a fleet does not reconnect at once. Default 0.1, from 0 to 1. */
  readonly jitter?: number | undefined
  /** Evict connections that were lent so often, with the reason `uses`. Default off, minimum 1. */
  readonly maxUses?: number | undefined
  /** Any other policy, asked at every borrow, return and look. One that throws evicts with `unhealthy`. Default none. */
  readonly keep?: Keep<Conn> | undefined
  /**
   * When to look again after each look; when it ends, nothing is closed
   * proactively any more, though nothing expired is lent either. Default: when
   * the next connection is due, at the latest after the shortest of the times
   * above, or every 30 seconds if there is none.
   */
  readonly schedule?: Schedule.Schedule<unknown, Look> | undefined
}

/**
 * Adds expiry to a pool as it is made, and returns that same pool.
 *
 * **Details**
 *
 * A `Schedule`-driven fiber looks at the pool and evicts what has expired; it
 * sleeps without a timer while the pool is empty and ends with the scope.
 * Between two looks a guard keeps what has expired from being lent. A used
 * connection is never closed under its borrower: it closes on return, a shared
 * one after its last borrower.
 *
 * **Gotchas**
 *
 * A connection that `minSize` keeps open is replaced when it expires.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  <P extends Any>(
    options: ExpirePoolOptions<ConnectionOf<P>>
  ): <EX, RX>(pool: Effect.Effect<P, EX, RX>) => Effect.Effect<P, EX, RX | Scope.Scope>
  <P extends Any, EX, RX>(
    pool: Effect.Effect<P, EX, RX>,
    options: ExpirePoolOptions<ConnectionOf<P>>
  ): Effect.Effect<P, EX, RX | Scope.Scope>
} = dual(2, <P extends Any, EX, RX>(pool: Effect.Effect<P, EX, RX>, options: ExpirePoolOptions<ConnectionOf<P>>) =>
  Effect.gen(function* () {
    const policy = new Policy(options as ExpirePoolOptions<unknown>, yield* Random.next)
    const made = yield* pool
    yield* made.guard(policy.keep)
    yield* Effect.forkScoped(watch(made, policy))
    return made
  })
)

/**
 * Makes a layer that provides a pool with expiry as `tag`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, P extends Any, EX, RX>(
  tag: Context.Service<I, P>,
  pool: Effect.Effect<P, EX, RX>,
  options: ExpirePoolOptions<ConnectionOf<P>>
): Layer.Layer<I, EX, Exclude<RX, Scope.Scope>> => Layer.effect(tag, make(pool, options))

/** Looks, asks the schedule when to look again, sleeps; as long as there is something to look at. */
const watch = Effect.fnUntraced(function* (pool: Any, policy: Policy) {
  const clock = yield* Clock.Clock
  const occupancy = yield* observeOccupancy(pool)
  const step = yield* Schedule.toStep(policy.schedule)
  const look = Effect.suspend(() => {
    const seen = policy.startLook(clock.currentTimeMillisUnsafe())
    return Effect.map(pool.retain(seen.keep), seen.result)
  })
  const once = Effect.gen(function* () {
    yield* occupancy.occupied
    const seen = yield* look
    const [, delay] = yield* step(seen.now, seen)
    // An empty pool must not be kept awake by a timer.
    yield* Effect.raceFirst(Effect.sleep(delay), occupancy.empty)
  })
  yield* Effect.ignoreCause(Effect.forever(once))
})

/** Two waits: until the pool holds a connection, and until it holds none. */
const observeOccupancy = Effect.fnUntraced(function* (pool: Any) {
  const occupied = Latch.makeUnsafe(false)
  const empty = Latch.makeUnsafe(true)
  let connections = 0
  const count = (change: number) => {
    connections += change
    if (connections > 0) {
      empty.closeUnsafe()
      occupied.openUnsafe()
    } else {
      occupied.closeUnsafe()
      empty.openUnsafe()
    }
  }
  yield* pool.observe({ connected: () => count(1), evicted: () => count(-1) })
  const { idle, used } = yield* pool.stats
  count(idle + used)
  return { occupied: occupied.await, empty: empty.await }
})

class Policy {
  readonly keep: Keep<unknown>
  readonly schedule: Schedule.Schedule<unknown, Look>
  private readonly idleTimeToLive: number
  private readonly maxLifetime: number
  private readonly jitter: number
  private readonly maxUses: number
  private readonly custom: Keep<unknown> | undefined
  private readonly seed: number
  /** Connections whose times lie in the future of a clock that jumped back, with when that was noticed. */
  private readonly noticed = new WeakMap<ConnectionInfo, Map<number, number>>()

  constructor(options: ExpirePoolOptions<unknown>, seed: number) {
    const time = (name: "idleTimeToLive" | "maxLifetime") =>
      options[name] === undefined ? Infinity : millis("ExpirePool", name, options[name], 0, "positive")
    this.idleTimeToLive = time("idleTimeToLive")
    this.maxLifetime = time("maxLifetime")
    this.maxUses =
      options.maxUses === undefined ? Infinity : integer("ExpirePool", "maxUses", options.maxUses, 1, 1, Infinity)
    this.jitter = options.jitter ?? 0.1
    this.custom = options.keep
    this.seed = seed
    if (!(this.jitter >= 0 && this.jitter <= 1)) {
      throw new RangeError(`ExpirePool: jitter must be a number from 0 to 1, got ${String(options.jitter)}`)
    }
    if (Math.min(this.idleTimeToLive, this.maxLifetime, this.maxUses) === Infinity && this.custom === undefined) {
      throw new RangeError("ExpirePool: at least one of idleTimeToLive, maxLifetime, maxUses and keep must be given")
    }
    this.schedule = options.schedule ?? this.whenDue()
    this.keep = (connection, info, now) =>
      this.judge(connection, info, now, this.oldIn(info, now), this.idleIn(info, now))
  }

  /** A look that starts at `now`: a predicate, and what it will have seen. */
  startLook(now: number): { readonly keep: Keep<unknown>; readonly result: () => Look } {
    let evicted = 0
    let due = Infinity
    const keep: Keep<unknown> = (connection, info) => {
      const old = this.oldIn(info, now)
      const idle = this.idleIn(info, now)
      const verdict = this.judge(connection, info, now, old, idle)
      if (verdict !== true) evicted++
      else if (old < due || idle < due) due = Math.min(old, idle)
      return verdict
    }
    const result = () => ({ now, evicted, nextDueIn: due === Infinity ? undefined : Duration.millis(Math.max(1, due)) })
    return { keep, result }
  }

  private judge(
    connection: unknown,
    info: ConnectionInfo,
    now: number,
    old: number,
    idle: number
  ): boolean | EvictReason {
    if (info.uses >= this.maxUses) return "uses"
    if (old <= 0) return "lifetime"
    if (idle <= 0) return "idle"
    return this.custom === undefined ? true : this.custom(connection, info, now)
  }

  /** The time until it is too old. */
  private oldIn(info: ConnectionInfo, now: number): number {
    return this.maxLifetime === Infinity ? Infinity : this.lifetimeOf(info) - this.age(info, info.createdAt, now)
  }

  /** The time until it has been idle for too long. */
  private idleIn(info: ConnectionInfo, now: number): number {
    if (this.idleTimeToLive === Infinity || info.idleSince === undefined) return Infinity
    return this.idleTimeToLive - this.age(info, info.idleSince, now)
  }

  /** Multiples of the golden ratio spread any run of ids evenly over the jitter (Knuth, TAOCP 3, 6.4). */
  private lifetimeOf(info: ConnectionInfo): number {
    if (this.jitter === 0 || this.maxLifetime === Infinity) return this.maxLifetime
    const turns = this.seed + info.id * 0.618033988749895
    // Not `% 1`, which is slow enough to show in a look at many connections.
    const share = turns - Math.floor(turns)
    return this.maxLifetime * (1 - this.jitter * share)
  }

  /** How long ago `since` was. A clock that jumped back counts from where it was noticed, so nothing lives for ever. */
  private age(info: ConnectionInfo, since: number, now: number): number {
    if (now >= since) return now - since
    let noticed = this.noticed.get(info)
    if (noticed === undefined) this.noticed.set(info, (noticed = new Map()))
    const start = noticed.get(since)
    if (start === undefined || start > now) noticed.set(since, now)
    return now - Math.min(start ?? now, now)
  }

  private whenDue(): Schedule.Schedule<unknown, Look> {
    const shortest = Math.min(this.idleTimeToLive, this.maxLifetime * (1 - this.jitter) || Infinity)
    const atMost = shortest === Infinity ? 30_000 : Math.max(1, shortest)
    return Schedule.modifyDelay(Schedule.passthrough(Schedule.forever) as Schedule.Schedule<Look, Look>, ({ output }) =>
      Effect.succeed(Duration.min(output.nextDueIn ?? Duration.infinity, Duration.millis(atMost)))
    )
  }
}
