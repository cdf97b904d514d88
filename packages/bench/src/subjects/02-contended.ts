/**
 * More borrowers than connections.
 */
import * as CachePool from "@poolkit/pool/CachePool"
import * as Effect from "effect/Effect"
import * as EffectPool from "effect/Pool"
import type { Case, Contestant, Subject, Target } from "../harness/subject.ts"
import { type Hold, holdEffect, holdPromise, inFibers, inPromises } from "../harness/work.ts"
import { javaScriptPools } from "../peers/javascript.ts"

const connections = 8
const connect = () => Effect.succeed({})

const contestants = (fibers: number, hold: Hold): ReadonlyArray<Contestant> => {
  const effect = holdEffect(hold)
  const body = () => effect
  const promise = holdPromise(hold)
  const effects = <E>(name: string, borrow: Effect.Effect<() => Effect.Effect<void, E>, never, any>): Contestant => ({
    name,
    open: Effect.map(borrow, (one) => (operations) => Effect.runPromise(inFibers(fibers, operations, one)))
  })
  return [
    effects(
      "CachePool.use",
      Effect.map(CachePool.make({ connect, maxSize: connections }), (pool) => () => pool.use(body))
    ),
    effects(
      "CachePool.get, scoped",
      Effect.map(CachePool.make({ connect, maxSize: connections }), (pool) => {
        const one = Effect.scoped(Effect.flatMap(pool.get(), body))
        return () => one
      })
    ),
    effects(
      "Effect Pool.use",
      Effect.map(EffectPool.make({ acquire: connect(), size: connections }), (pool) => () => EffectPool.use(pool, body))
    ),
    ...javaScriptPools.map(({ name, open, setup }) => ({
      name,
      setup,
      open: Effect.map(open(connections), ({ acquire, release }) => (operations: number) =>
        inPromises(fibers, operations, async () => {
          const item = await acquire()
          try {
            await promise()
          } finally {
            release(item)
          }
        })
      )
    }))
  ]
}

const holds: ReadonlyArray<Hold> = ["microtask", "tick", "1 ms"]
const nameOf = (fibers: number, hold: Hold) => `${fibers.toLocaleString("en")} borrowers, ${hold}`

const cases: ReadonlyArray<Case> = [64, 1000].flatMap((fibers) =>
  holds.map((hold) => ({
    name: nameOf(fibers, hold),
    contestants: contestants(fibers, hold),
    ...(hold === "1 ms" ? { slow: true } : {})
  }))
)

const targets: ReadonlyArray<Target> = [64, 1000].flatMap((fibers) =>
  (["microtask", "tick"] as const).flatMap((hold): ReadonlyArray<Target> => {
    const name = nameOf(fibers, hold)
    const common = { figure: "time", of: [name, "CachePool.use"] as const }
    return [
      { ...common, what: `${name}: against Effect Pool.use`, against: [[name, "Effect Pool.use"]], must: 0.55, aim: 0.4 },
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
    "Where they hold for 1 ms the pool is not what takes the time: look at the CPU.",
  cases,
  baseline: "CachePool.use",
  columns: [
    { figure: "time", title: "ns each" },
    { figure: "cpu", title: "CPU ns each" }
  ],
  targets,
  charts: [
    {
      title: "Contended checkout",
      kind: "bars",
      figure: "time",
      unit: "ns",
      cases: targets.filter((_, index) => index % 2 === 0).map(({ of }) => of[0])
    }
  ]
}

export default subject
