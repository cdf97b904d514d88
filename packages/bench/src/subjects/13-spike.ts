/**
 * Fifty borrowers at once, where a connect takes long and the work does not.
 */
import * as CachePool from "@poolkit/pool/CachePool"
import * as Effect from "effect/Effect"
import * as EffectPool from "effect/Pool"
import type { Scope } from "effect/Scope"
import { setTimeout as sleep } from "node:timers/promises"
import type { Contestant, Figures, Subject, Target } from "../harness/subject.ts"
import { javaScriptPools } from "../peers/javascript.ts"

const borrowers = 50
const connectTime = 150
const workTime = 2

interface Opened {
  count: number
}

/** How often a connection is opened, and how. */
const connecting = (opened: Opened, time: () => number) => async () => {
  opened.count++
  const ms = time()
  if (ms > 0) await sleep(ms)
  return { id: opened.count }
}

/** Borrows once: waits, works, returns. */
type Borrow = () => Promise<unknown>
type MakePool = (connect: () => Promise<{ readonly id: number }>) => Effect.Effect<Borrow, never, Scope>

/** Sends the crowd, to a new pool each time. */
const contestant = (name: string, warm: number, make: MakePool, setup?: string): Contestant => ({
  name,
  ...(setup === undefined ? {} : { setup }),
  open: Effect.succeed(() =>
    Effect.runPromise(
      Effect.scoped(
        Effect.gen(function* () {
          const opened: Opened = { count: 0 }
          let time = 0
          const borrow = yield* make(connecting(opened, () => time))
          yield* Effect.promise(() => Promise.all(Array.from({ length: warm }, borrow)))
          const before = opened.count
          time = connectTime
          const latencies = yield* Effect.promise(() => arrive(borrow))
          const figures: Record<string, number> = { opened: opened.count - before, last: Math.max(...latencies) }
          latencies.sort((a, b) => a - b).forEach((ms, i) => (figures[`latency${i + 1}`] = ms))
          figures["median"] = latencies[Math.floor(borrowers / 2)]!
          // Connects that nobody waits for end before the next contestant's turn.
          yield* Effect.promise(() => sleep(connectTime))
          return figures as Figures
        })
      )
    )
  )
})

const arrive = (borrow: Borrow): Promise<Array<number>> => {
  const start = performance.now()
  return Promise.all(
    Array.from({ length: borrowers }, async () => {
      await borrow()
      return performance.now() - start
    })
  )
}

const work = Effect.promise(() => sleep(workTime))

const cache =
  (onAbandon: "keep" | "cancel"): MakePool =>
  (connect) =>
    Effect.map(
      CachePool.make({ connect: () => Effect.promise(connect), maxSize: borrowers, onAbandon }),
      (pool) => () => Effect.runPromise(pool.use(() => work))
    )

const contestants = (warm: number): ReadonlyArray<Contestant> => [
  contestant("CachePool", warm, cache("keep")),
  contestant(
    "CachePool, cancelling",
    warm,
    cache("cancel"),
    '`onAbandon: "cancel"`: a connect whose caller was served is given up'
  ),
  contestant(
    "Effect Pool",
    warm,
    (connect) =>
      Effect.map(
        EffectPool.makeWithTTL({
          acquire: Effect.promise(connect),
          min: 0,
          max: borrowers,
          timeToLive: "1 minute"
        }),
        (pool) => () => Effect.runPromise(EffectPool.use(pool, () => work))
      ),
    "`makeWithTTL` from 0 to 50"
  ),
  ...javaScriptPools.map(({ name, open, setup }) =>
    contestant(
      name,
      warm,
      (connect) =>
        Effect.map(open(borrowers, connect), ({ acquire, release }) => async () => {
          const item = await acquire()
          await sleep(workTime)
          release(item)
        }),
      setup
    )
  )
]

const cold = "nothing open"
const warm = "5 open"

const against = (subjectCase: string, figure: string, must: number, aim: number): Target => ({
  what: `${subjectCase}: last borrower done, against the best peer`,
  figure,
  of: [subjectCase, "CachePool"],
  against: ["Effect Pool", ...javaScriptPools.map(({ name }) => name)].map((name) => [subjectCase, name] as const),
  must,
  aim
})

const subject: Subject = {
  title: "The spike",
  about:
    `${borrowers} borrowers arrive at once at a pool of up to ${borrowers}. A connect takes ${connectTime} ms, the work ${workTime} ms. ` +
    "Where 5 connections are open already, they could serve everybody within 20 ms, ten times each: a pool that makes each borrower wait for the " +
    "connection that was opened for it takes as long as a connect. The least connections that the queueing needs are then none.",
  cases: [
    { name: cold, operations: 1, contestants: contestants(0) },
    { name: warm, operations: 1, contestants: contestants(5) }
  ],
  baseline: "CachePool",
  columns: [
    { figure: "last", title: "last done, ms", digits: 1 },
    { figure: "median", title: "median done, ms", digits: 1 },
    { figure: "opened", title: "connects", digits: 0 }
  ],
  targets: [
    {
      what: `${cold}: connections opened`,
      figure: "opened",
      of: [cold, "CachePool"],
      against: [],
      must: 50,
      aim: 50
    },
    {
      what: `${warm}: connections opened`,
      figure: "opened",
      of: [warm, "CachePool"],
      against: [],
      must: 50,
      aim: 0
    },
    against(cold, "last", 1.1, 1),
    against(warm, "last", 1.1, 1)
  ],
  charts: [
    {
      title: "When each borrower is done",
      kind: "curves",
      figure: "latency",
      unit: "ms",
      x: "borrowers, in the order in which they were done"
    }
  ]
}

export default subject
