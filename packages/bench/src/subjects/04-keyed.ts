/**
 * A pool per key, from one key to a hundred thousand.
 */
import * as CachePool from "@poolkit/pool/CachePool"
import * as MapPool from "@poolkit/pool/MapPool"
import * as Effect from "effect/Effect"
import * as EffectPool from "effect/Pool"
import * as RcMap from "effect/RcMap"
import type { Scope } from "effect/Scope"
import { effects, promises } from "../harness/contestants.ts"
import type { Case, Contestant, Subject } from "../harness/subject.ts"
import { inFibers } from "../harness/work.ts"
import { generic, type JavaScriptPool, lightning, type PromisePool } from "../peers/javascript.ts"
import { cache, connect, effectPool } from "../peers/poolkit.ts"

const size = 8
const body = () => Effect.void

/** Gives the keys in an order that no cache of the processor likes, over and over. */
const keysOf = (n: number): (() => string) => {
  const keys = Array.from({ length: n }, (_, i) => `https://host-${i}.test:443`)
  let state = 1
  for (let i = n - 1; i > 0; i--) {
    state = (state * 48_271) % 2_147_483_647
    const j = state % (i + 1)
    ;[keys[i], keys[j]] = [keys[j]!, keys[i]!]
  }
  let at = 0
  return () => keys[at++ % n]!
}

/** All keys are there before the first sample. */
const warm = <E>(
  n: number,
  make: Effect.Effect<(key: string) => Effect.Effect<unknown, E>, never, Scope>
): Effect.Effect<() => Effect.Effect<unknown, E>, E, Scope> =>
  Effect.gen(function* () {
    const key = keysOf(n)
    const use = yield* make
    const one = () => use(key())
    yield* inFibers(1, n, one)
    return one
  })

const mapOf = ({ name, open, setup }: JavaScriptPool, n: number): Contestant =>
  promises(
    `Map of ${name}`,
    Effect.gen(function* () {
      const key = keysOf(n)
      const pools = new Map<string, PromisePool>()
      for (let i = 0; i < n; i++) pools.set(key(), yield* open(size))
      const one = async () => {
        const pool = pools.get(key())!
        pool.release(await pool.acquire())
      }
      for (let i = 0; i < n; i++) yield* Effect.promise(one)
      return one
    }),
    { setup: `a plain \`Map\` of pools, ${setup}` }
  )

const contestants = (n: number): ReadonlyArray<Contestant> => [
  effects(
    "MapPool.use",
    warm(
      n,
      Effect.map(
        MapPool.make({
          key: (key: string) => key,
          pool: (_, { limit }) => CachePool.make({ connect, maxSize: size, limit })
        }),
        (pool) => (key) => pool.use(key, body)
      )
    ),
    { setup: "a `CachePool` per key, under the map's limit" }
  ),
  effects(
    "MapPool.use, no limit",
    warm(
      n,
      Effect.map(
        MapPool.make({ key: (key: string) => key, pool: () => cache(size) }),
        (pool) => (key) => pool.use(key, body)
      )
    ),
    { setup: "a `CachePool` per key that is not given the map's limit" }
  ),
  effects(
    "RcMap.get, scoped",
    warm(
      n,
      Effect.map(
        RcMap.make({ lookup: (_key: string) => connect(), idleTimeToLive: Infinity }),
        (map) => (key) => Effect.scoped(RcMap.get(map, key))
      )
    ),
    { setup: "one shared connection per key and no pool; no expiry" }
  ),
  effects(
    "RcMap of Effect Pool.use",
    warm(
      n,
      Effect.map(
        RcMap.make({ lookup: (_key: string) => effectPool(size), idleTimeToLive: Infinity }),
        (map) => (key) => Effect.scoped(Effect.flatMap(RcMap.get(map, key), (pool) => EffectPool.use(pool, body)))
      )
    )
  ),
  mapOf(generic, n),
  mapOf(lightning, n)
]

const nameOf = (n: number) => `${n.toLocaleString("en")} ${n === 1 ? "key" : "keys"}`

const cases: ReadonlyArray<Case> = [1, 10, 100, 1000, 10_000, 100_000].map((n) => ({
  name: nameOf(n),
  n,
  slow: n !== 1 && n !== 1000,
  contestants: contestants(n)
}))

const subject: Subject = {
  title: "Keyed",
  about:
    "One borrower goes through so many keys in random order, again and again; every key has its connection already. Each key has a " +
    "pool of up to 8 connections; `RcMap` alone has one shared connection per key.",
  cases,
  baseline: "MapPool.use",
  columns: [
    { figure: "time", title: "ns each" },
    { figure: "cpu", title: "CPU ns each" }
  ],
  targets: [1, 1000].map((n) => ({
    what: `MapPool.use, ${nameOf(n)}, against RcMap.get, scoped`,
    figure: "time",
    of: [nameOf(n), "MapPool.use"],
    against: [[nameOf(n), "RcMap.get, scoped"]],
    must: 0.6,
    aim: 0.4
  })),
  charts: [{ title: "Keyed checkout", kind: "lines", figure: "time", unit: "ns", x: "keys" }]
}

export default subject
