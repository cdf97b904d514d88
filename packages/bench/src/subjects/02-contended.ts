/**
 * More borrowers than connections.
 */
import * as Effect from "effect/Effect"
import * as EffectPool from "effect/Pool"
import { effects, promises } from "../harness/contestants.ts"
import type { Case, Contestant, Subject, Target } from "../harness/subject.ts"
import { type Hold, holdEffect, holdPromise } from "../harness/work.ts"
import { javaScriptPools } from "../peers/javascript.ts"
import { cache, effectPool } from "../peers/poolkit.ts"

const connections = 8

const contestants = (borrowers: number, hold: Hold): ReadonlyArray<Contestant> => {
  const effect = holdEffect(hold)
  const body = () => effect
  const promise = holdPromise(hold)
  return [
    effects(
      "CachePool.use",
      Effect.map(cache(connections), (pool) => () => pool.use(body)),
      { borrowers }
    ),
    effects(
      "CachePool.get, scoped",
      Effect.map(cache(connections), (pool) => () => Effect.scoped(Effect.flatMap(pool.get(), body))),
      { borrowers }
    ),
    effects(
      "Effect Pool.use",
      Effect.map(effectPool(connections), (pool) => () => EffectPool.use(pool, body)),
      { borrowers }
    ),
    ...javaScriptPools.map(({ name, open, setup }) =>
      promises(
        name,
        Effect.map(open(connections), ({ acquire, release }) => async () => {
          const item = await acquire()
          try {
            await promise()
          } finally {
            release(item)
          }
        }),
        { borrowers, setup }
      )
    ),
    effects(
      "no pool: fibers",
      Effect.succeed(() => Effect.andThen(effect, effect)),
      { borrowers, setup: "waits twice, as a borrower that waits and holds does, with nothing around it" }
    )
  ]
}

const holds: ReadonlyArray<Hold> = ["microtask", "tick", "1 ms"]
const nameOf = (fibers: number, hold: Hold) => `${fibers.toLocaleString("en")} borrowers, ${hold}`

const turns: ReadonlyArray<Case> = [64, 1000].flatMap((fibers) =>
  holds.map((hold) => ({
    name: nameOf(fibers, hold),
    batch: fibers,
    contestants: contestants(fibers, hold),
    ...(hold === "1 ms" ? { slow: true } : {})
  }))
)

/** The longest time that no timer could run while so many operations were done. */
const withGap = (contestant: Contestant): Contestant => ({
  ...contestant,
  open: Effect.map(contestant.open, (run) => async (operations) => {
    let last = performance.now()
    let gap = 0
    const look = () => {
      const now = performance.now()
      gap = Math.max(gap, now - last)
      last = now
    }
    const timer = setInterval(look, 1)
    await run(operations)
    look()
    clearInterval(timer)
    return { gap }
  })
})

const gaps: Case = {
  name: "longest gap: 1,000 borrowers, microtask",
  batch: 1000,
  operations: 100_000,
  contestants: contestants(1000, "microtask").map(withGap)
}

const targets: ReadonlyArray<Target> = [64, 1000].flatMap((fibers) =>
  (["microtask", "tick"] as const).flatMap((hold): ReadonlyArray<Target> => {
    const name = nameOf(fibers, hold)
    const common = { figure: "time", of: [name, "CachePool.use"] as const }
    return [
      {
        ...common,
        what: `${name}: against Effect Pool.use`,
        against: [[name, "Effect Pool.use"]],
        must: 0.55,
        aim: 0.4
      },
      {
        ...common,
        what: `${name}: against the best JavaScript pool`,
        against: javaScriptPools.map((pool) => [name, pool.name] as const),
        must: 1.05,
        aim: 0.95
      }
    ]
  })
)

const subject: Subject = {
  title: "Contended checkout",
  about:
    "Pools of 8 connections shared by 64 and by 1,000 borrowers, each of which borrows, holds for a microtask, a turn of " +
    "the event loop or a timer of 1 ms, returns, and starts again. Borrowers are fibers for PoolKit and Effect and async functions for the others. " +
    "Where they hold for 1 ms the pool is not what takes the time: look at the CPU. The longest gap is the longest time in which no timer and no " +
    "socket got its turn while 100,000 were served.",
  cases: [...turns, gaps],
  baseline: "CachePool.use",
  columns: [
    { figure: "time", title: "ns each" },
    { figure: "cpu", title: "CPU ns each" },
    { figure: "gap", title: "longest gap, ms" }
  ],
  targets,
  charts: [
    {
      title: "Contended checkout",
      kind: "bars",
      figure: "time",
      unit: "ns",
      cases: targets.filter((_, index) => index % 2 === 0).map(({ of }) => of[0])
    },
    {
      title: "The longest time without a turn of the event loop",
      kind: "bars",
      figure: "gap",
      unit: "ms",
      cases: [gaps.name]
    }
  ]
}

export default subject
