/**
 * From ten to a hundred thousand waiters: what each costs to come, to be served, to leave.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as EffectPool from "effect/Pool"
import type { Case, Contestant, Entry, Figures, Run, Subject, Target } from "../harness/subject.ts"
import { generic, javaScriptPools, lightning, type PromisePool } from "../peers/javascript.ts"
import { cache, effectPool } from "../peers/poolkit.ts"

const size = 8
/** Small crowds come often enough to fill a sample. */
const leastWaiters = 10_000
const sizes = [10, 100, 1000, 10_000, 100_000]

/** Repeats one round of `n` waiters, and gives the mean per waiter of what each phase took. */
const phases =
  (n: number, once: () => Promise<ReadonlyArray<readonly [string, number]>>): Run =>
  async () => {
    const times = Math.max(1, Math.round(leastWaiters / n))
    const sums: Record<string, number> = {}
    for (let i = 0; i < times; i++) for (const [name, ms] of await once()) sums[name] = (sums[name] ?? 0) + ms
    return Object.fromEntries(Object.entries(sums).map(([name, ms]) => [name, (ms * 1e6) / times / n])) as Figures
  }

const timed = async (body: () => Promise<unknown> | void): Promise<number> => {
  const start = performance.now()
  await body()
  return performance.now() - start
}

type Use = (body: () => Effect.Effect<void>) => Effect.Effect<void, unknown>

/** All connections are held while the waiters come; then either they are let go, or the waiters leave. */
const ofFibers = (name: string, n: number, make: Effect.Effect<Use, never, any>): Contestant => ({
  name,
  open: Effect.map(make, (use) =>
    phases(n, async () => {
      const found: Array<readonly [string, number]> = []
      for (const end of ["drain", "cancel"] as const) {
        let letGo = () => {}
        const held = new Promise<void>((resolve) => (letGo = resolve))
        const hold = Effect.promise(() => held)
        const holders = Array.from({ length: size }, () => Effect.runFork(use(() => hold)))
        let waiters: ReadonlyArray<Fiber.Fiber<void, unknown>> = []
        const enqueue = await timed(() => {
          waiters = Array.from({ length: n }, () => Effect.runFork(use(() => Effect.void)))
        })
        if (end === "drain") {
          const all = Effect.runPromise(Fiber.awaitAll(waiters))
          found.push(["enqueue", enqueue], [end, await timed(() => (letGo(), all))])
        } else {
          found.push([end, await timed(() => Effect.runPromise(Fiber.interruptAll(waiters)))])
          letGo()
        }
        await Effect.runPromise(Fiber.awaitAll(holders))
      }
      return found
    })
  )
})

const ofPromises = (
  name: string,
  setup: string,
  n: number,
  make: Effect.Effect<PromisePool, never, any>
): Contestant => ({
  name,
  setup,
  open: Effect.map(make, ({ acquire, release }) =>
    phases(n, async () => {
      const held = await Promise.all(Array.from({ length: size }, acquire))
      let all: Promise<unknown> = Promise.resolve()
      const enqueue = await timed(() => {
        all = Promise.all(Array.from({ length: n }, async () => release(await acquire())))
      })
      return [
        ["enqueue", enqueue],
        ["drain", await timed(() => (held.forEach(release), all))]
      ]
    })
  )
})

const nameOf = (n: number) => `${n.toLocaleString("en")} waiters`

const cases: ReadonlyArray<Case> = sizes.map((n) => ({
  name: nameOf(n),
  n,
  operations: 1,
  slow: n === 1000 || n === 100_000,
  contestants: [
    ofFibers(
      "CachePool.use",
      n,
      Effect.map(
        cache(size),
        (pool): Use =>
          (body) =>
            pool.use(body)
      )
    ),
    ofFibers(
      "Effect Pool.use",
      n,
      Effect.map(
        effectPool(size),
        (pool): Use =>
          (body) =>
            EffectPool.use(pool, body)
      )
    ),
    ...(n < 100_000 ? javaScriptPools : [generic, lightning]).map(({ name, open, setup }) =>
      ofPromises(name, setup, n, open(size))
    )
  ]
}))

const targets: ReadonlyArray<Target> = ["enqueue", "drain", "cancel"].map((figure) => ({
  what: `${figure}: each of 100,000 waiters against each of 100`,
  figure,
  of: [nameOf(100_000), "CachePool.use"],
  against: [[nameOf(100), "CachePool.use"] satisfies Entry],
  must: 3,
  aim: 2
}))

const subject: Subject = {
  title: "Waiters",
  about:
    "8 connections are held while so many borrowers come (enqueue); then the connections are returned and everybody is served " +
    "(drain), or everybody is interrupted (cancel). Small crowds come again and again until 10,000 have been there. Times are per " +
    "waiter and include its fiber or async function. The pools for JavaScript cannot take a waiter out of the line; tarn and pg-pool need seconds for 100,000, and are left out there.",
  cases,
  baseline: "CachePool.use",
  columns: [
    { figure: "drain", title: "drain, ns" },
    { figure: "enqueue", title: "enqueue, ns" },
    { figure: "cancel", title: "cancel, ns" }
  ],
  targets,
  charts: ["enqueue", "drain", "cancel"].map((figure) => ({
    title: `Waiters: ${figure}`,
    kind: "lines",
    figure,
    unit: "ns per waiter",
    x: "waiters"
  }))
}

export default subject
