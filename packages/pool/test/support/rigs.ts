/**
 * Pools of every kind, and stacks of them, for the interruption sweep.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as CachePool from "../../src/CachePool.ts"
import * as ConnectionLimit from "../../src/ConnectionLimit.ts"
import type { PoolOptions } from "../../src/ConnectionPool.ts"
import * as ExpirePool from "../../src/ExpirePool.ts"
import * as Stats from "../../src/internal/stats.ts"
import * as MapPool from "../../src/MapPool.ts"
import * as NegotiatePool from "../../src/NegotiatePool.ts"
import * as SharedPool from "../../src/SharedPool.ts"
import * as SingletonPool from "../../src/SingletonPool.ts"
import type { ConnectError, Conn, Controls, Made, Rig, TestPool, Variant } from "./bench.ts"
import { at } from "./kinds.ts"
import type { Dice } from "./random.ts"

export const rigNames = ["cache", "singleton", "shared", "limited", "map", "negotiate", "expire", "stack"] as const
export type RigName = (typeof rigNames)[number]

export type Options = PoolOptions<Conn, ConnectError, Scope.Scope>

type Sizes = Pick<Variant, "maxSize" | "order" | "saturation">

/** Kinds for one target, as they are put into stacks. */
const simple = {
  cache: (options: Options, { maxSize, order }: Sizes) => CachePool.make({ ...options, maxSize, order }),
  singleton: (options: Options) => SingletonPool.make(options),
  shared: (options: Options, { maxSize, saturation }: Sizes, controls: Controls) =>
    SharedPool.make({ ...options, maxSize, saturation, concurrency: () => controls.concurrency })
}
export type Simple = keyof typeof simple

export const build = (
  kind: Simple,
  options: Options,
  variant: Sizes,
  controls: Controls
): Effect.Effect<TestPool, never, Scope.Scope> =>
  Effect.tap(simple[kind](options, variant, controls) as Effect.Effect<TestPool, never, Scope.Scope>, (pool) =>
    Effect.sync(() => controls.connecting.push({ kind, pool }))
  )

export const negotiate = (
  upgrade: Simple,
  options: Options,
  variant: Sizes,
  controls: Controls
): Effect.Effect<TestPool, never, Scope.Scope> =>
  NegotiatePool.makeMerged({
    connect: options.connect,
    inspect: (connection: Conn) => {
      if (controls.upgrades) controls.upgraded.add(connection)
      return controls.upgrades
    },
    upgrade: (connect) => build(upgrade, { ...options, connect }, variant, controls),
    fallback: (connect) => build("cache", { ...options, connect }, variant, controls)
  })

const admits = (kind: Simple, controls: Controls) => (): number =>
  kind === "cache" ? 1 : kind === "singleton" ? Infinity : controls.most

/** How many borrowers `slots` connections admit together. */
const capacityOf = (kind: Simple, slots: number, controls: Controls): number =>
  kind === "cache" ? slots : kind === "singleton" ? 3 : slots * controls.concurrency

const admitsNegotiated = (upgrade: Simple, controls: Controls) => (connection: Conn) =>
  controls.upgraded.has(connection) ? admits(upgrade, controls)() : 1

/** Two pools as one that lends from the first. */
export const union = (a: TestPool, b: TestPool): TestPool => {
  const both = <E, R>(f: (pool: TestPool) => Effect.Effect<unknown, E, R>) => Effect.andThen(f(a), Effect.asVoid(f(b)))
  return {
    ...a,
    get: () => a.get(),
    lease: () => a.lease(),
    retain: (keep) => both((pool) => pool.retain(keep)),
    guard: (keep) => both((pool) => pool.guard(keep)),
    observe: (observer) => both((pool) => pool.observe(observer)),
    drain: (options) => Effect.all([a.drain(options), b.drain(options)], { concurrency: 2, discard: true }),
    stats: Effect.zipWith(a.stats, b.stats, Stats.add)
  }
}

const mapOf = (
  dice: Dice,
  variant: Variant,
  controls: Controls,
  pool: (limit: ConnectionLimit.ConnectionLimit) => Effect.Effect<TestPool, never, Scope.Scope>
) => {
  const maxSize = 1 + dice.below(3)
  let limit: ConnectionLimit.ConnectionLimit | undefined = undefined
  return Effect.map(
    MapPool.make({
      key: (target: string) => target,
      pool: (_: string, grant) => {
        limit = grant.limit
        return Effect.andThen(controls.build, pool(grant.limit))
      },
      maxSize,
      maxKeys: variant.maxKeys,
      idleTimeToLive: "5 seconds"
    }),
    (map) => ({ map, slots: Math.min(maxSize, variant.maxSize), limit: () => limit })
  )
}

type Policy = ExpirePool.ExpirePoolOptions<Conn>

/** Policies that look at their pool for as long as it lives. */
const policies = (dice: Dice): Policy =>
  dice.pick<Policy>([
    { idleTimeToLive: "5 seconds" },
    { maxLifetime: "7 seconds", jitter: 0.5 },
    { maxUses: 2 },
    { keep: ({ id }) => id % 3 > 0, schedule: Schedule.spaced("2 seconds") },
    { idleTimeToLive: "9 seconds", maxUses: 3, schedule: Schedule.fixed("4 seconds") }
  ])

/** A rig of the kind `name`; `dice` chooses what it is made of. */
export const rigs: Readonly<Record<RigName, (dice: Dice) => Rig>> = {
  cache: () => (options, variant, controls) =>
    Effect.map(build("cache", options, variant, controls), (pool) => ({
      pool,
      others: [],
      capacity: variant.maxSize,
      admits: admits("cache", controls)
    })),

  singleton: () => (options, variant, controls) =>
    Effect.map(build("singleton", options, variant, controls), (pool) => ({
      pool,
      others: [],
      capacity: 1,
      admits: admits("singleton", controls)
    })),

  shared: () => (options, variant, controls) =>
    Effect.map(build("shared", options, variant, controls), (pool) => ({
      pool,
      others: [],
      capacity: capacityOf("shared", variant.maxSize, controls),
      admits: admits("shared", controls)
    })),

  limited: (dice) => (options, variant, controls) =>
    Effect.gen(function* () {
      const [first, second] = [dice.pick(["cache", "shared"] as const), dice.pick(["cache", "singleton"] as const)]
      const limit = yield* ConnectionLimit.make({ max: 1 + dice.below(3) })
      const a = yield* build(first, { ...options, limit }, variant, controls)
      const b = yield* build(second, { ...options, limit }, variant, controls)
      return {
        pool: union(a, b),
        others: [b],
        capacity: capacityOf(first, Math.min(limit.max, variant.maxSize), controls),
        admits: first === "cache" && second === "cache" ? admits("cache", controls) : () => Infinity,
        limit
      } satisfies Made
    }),

  map: (dice) => (options, variant, controls) =>
    Effect.gen(function* () {
      const kind = dice.pick(["cache", "cache", "shared", "singleton"] as const)
      const inner = (limit: ConnectionLimit.ConnectionLimit) => build(kind, { ...options, limit }, variant, controls)
      const { map, slots, limit } = yield* mapOf(dice, variant, controls, inner)
      return {
        pool: at(map, "a"),
        others: [at(map, "b"), at(map, "c")],
        capacity: capacityOf(kind, slots, controls),
        admits: admits(kind, controls),
        map,
        get limit() {
          return limit()
        }
      } satisfies Made
    }),

  negotiate: (dice) => (options, variant, controls) =>
    Effect.gen(function* () {
      const upgrade = dice.pick(["shared", "singleton", "cache"] as const)
      const limit = dice.oneIn(2) ? undefined : yield* ConnectionLimit.make({ max: 1 + dice.below(3) })
      return {
        pool: yield* negotiate(upgrade, { ...options, limit }, variant, controls),
        others: [],
        capacity: Math.min(variant.maxSize, limit?.max ?? Infinity),
        admits: admitsNegotiated(upgrade, controls),
        limit
      } satisfies Made
    }),

  expire: (dice) => (options, variant, controls) =>
    Effect.gen(function* () {
      const kind = dice.pick(["cache", "shared", "singleton"] as const)
      return {
        pool: yield* ExpirePool.make(build(kind, options, variant, controls), policies(dice)),
        others: [],
        capacity: capacityOf(kind, variant.maxSize, controls),
        admits: admits(kind, controls),
        expires: true
      } satisfies Made
    }),

  stack: (dice) => (options, variant, controls) =>
    Effect.gen(function* () {
      const upgrade = dice.pick(["shared", "singleton", "cache"] as const)
      const inner = (limit: ConnectionLimit.ConnectionLimit) =>
        negotiate(upgrade, { ...options, limit }, variant, controls)
      let built: Effect.Success<ReturnType<typeof mapOf>> | undefined = undefined
      const inMap = Effect.map(mapOf(dice, variant, controls, inner), (made) => {
        built = made
        return made.map
      })
      const map = yield* ExpirePool.make(inMap, policies(dice))
      const { limit, slots } = built!
      return {
        pool: at(map, "a"),
        others: [at(map, "b"), at(map, "c")],
        capacity: slots,
        admits: admitsNegotiated(upgrade, controls),
        map,
        expires: true,
        get limit() {
          return limit()
        }
      } satisfies Made
    })
}
