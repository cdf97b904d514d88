/**
 * One look at many idle connections.
 */
import * as CachePool from "@poolkit/pool/CachePool"
import * as ExpirePool from "@poolkit/pool/ExpirePool"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { Scope } from "effect/Scope"
import genericPool from "generic-pool"
import type { Case, Contestant, Run, Subject } from "../harness/subject.ts"
import { connect } from "../peers/poolkit.ts"

type Cache = CachePool.CachePool<object>

const filled = (n: number, expire: (pool: Effect.Effect<Cache, never, Scope>) => Effect.Effect<Cache, never, Scope>) =>
  Effect.gen(function* () {
    const pool = yield* expire(CachePool.make({ connect, maxSize: n }))
    for (let i = 0; i < n; i++) yield* pool.adopt({})
    return pool
  })

/** Counts the looks of a real `ExpirePool`, which looks again at once for as long as it is asked to. */
const looks = (n: number): Effect.Effect<Run, never, Scope> =>
  Effect.gen(function* () {
    let left = 0
    let done = () => {}
    let more: (() => void) | undefined
    const next = Effect.callback<void>((resume) => {
      if (left-- > 0) return resume(Effect.void)
      done()
      more = () => resume(Effect.void)
    })
    const schedule = Schedule.tap(Schedule.forever, () => next)
    yield* filled(n, ExpirePool.make({ idleTimeToLive: "1 hour", maxLifetime: "1 hour", schedule }))
    return (operations) =>
      new Promise((resolve) => {
        left = operations
        done = resolve
        left--
        more?.()
      })
  })

const contestants = (n: number): ReadonlyArray<Contestant> => [
  {
    name: "ExpirePool",
    setup: "both `idleTimeToLive` and `maxLifetime`; nothing is due",
    open: looks(n)
  },
  {
    name: "CachePool.retain",
    setup: "a predicate that keeps everything",
    open: Effect.map(
      filled(n, (pool) => pool),
      (pool) => async (operations) => {
        for (let i = 0; i < operations; i++) await Effect.runPromise(pool.retain(() => true))
      }
    )
  },
  {
    name: "an effect for each",
    setup: "`Effect.forEach` over an array, a check each: what a fiber that goes through a queue of connections costs",
    open: Effect.sync(() => {
      const all = Array.from({ length: n }, () => ({ idleSince: Date.now() }))
      return async (operations) => {
        for (let i = 0; i < operations; i++) {
          await Effect.runPromise(
            Effect.forEach(all, ({ idleSince }) => Effect.sync(() => Date.now() - idleSince > 3_600_000), {
              discard: true
            })
          )
        }
      }
    })
  },
  {
    name: "generic-pool",
    setup: "its evictor, `numTestsPerEvictionRun` all, called directly; nothing is due",
    open: Effect.acquireRelease(
      Effect.promise(async () => {
        const pool = genericPool.createPool(
          { create: async () => ({}), destroy: async () => {} },
          { max: n, numTestsPerEvictionRun: n, idleTimeoutMillis: 3_600_000 }
        )
        const all = await Promise.all(Array.from({ length: n }, () => pool.acquire()))
        for (const item of all) await pool.release(item)
        return pool
      }),
      (pool) => Effect.promise(() => pool.drain().then(() => pool.clear()))
    ).pipe(
      Effect.map((pool) => async (operations) => {
        for (let i = 0; i < operations; i++) (pool as unknown as { readonly _evict: () => void })._evict()
      })
    )
  }
]

const nameOf = (n: number) => `${n.toLocaleString("en")} idle`

const cases: ReadonlyArray<Case> = [10, 100, 1000, 10_000, 100_000].map((n) => ({
  name: nameOf(n),
  n,
  slow: n !== 10_000,
  contestants: contestants(n)
}))

const subject: Subject = {
  title: "Expiry",
  about: "One look at so many idle connections, none of which is due: what expiry costs while nothing happens.",
  cases,
  baseline: "ExpirePool",
  columns: [
    { figure: "time", title: "µs a look", scale: 1e-3 },
    { figure: "cpu", title: "CPU µs a look", scale: 1e-3 }
  ],
  targets: [
    {
      what: "one look over 10,000 idle connections",
      figure: "ms",
      of: [nameOf(10_000), "ExpirePool"],
      against: [],
      unit: "ms",
      must: 0.2,
      aim: 0.05
    }
  ],
  charts: [{ title: "A look at idle connections", kind: "lines", figure: "time", unit: "µs", scale: 1e-3, x: "idle" }]
}

export default subject
