/**
 * Keeps a change that makes something twice as slow from going unseen. Bounds
 * are ratios to peers, far above what `docs/benchmarks.md` shows, of the CPU time
 * of the best of several rounds: that of a busy machine says little more.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { runCase } from "../src/harness/runSubject.ts"
import type { Entry } from "../src/harness/subject.ts"
import { valuesOf } from "../src/harness/verdict.ts"

const settings = { rounds: 5, processes: 1, sampleTime: 30, warmUp: 300, leadIn: 0 }
const attempts = 3

/** The least that was found: noise only adds. */
const least = (subject: string, name: string, contestants: ReadonlyArray<string>, figure: string) =>
  Effect.map(runCase(subject, name, settings, contestants), (measured) =>
    contestants.map((contestant) => {
      const one = measured.find((one) => one.contestant === contestant)
      assert.isDefined(one, `${contestant} took no part`)
      return Math.min(...valuesOf(one!, figure))
    })
  )

/** Measures until the bound is kept, or often enough to say that it is not. */
const atMost = Effect.fnUntraced(function* (
  bound: number,
  figure: string,
  subject: string,
  of: Entry,
  against?: string
) {
  const [name, contestant] = of
  let found = Infinity
  for (let i = 0; i < attempts && found > bound; i++) {
    const names = against === undefined ? [contestant] : [contestant, against]
    const [value, other = 1] = yield* least(subject, name, names, figure)
    found = Math.min(found, value! / other)
  }
  assert.isAtMost(found, bound, `${contestant}${against === undefined ? "" : ` against ${against}`}: ${figure}`)
})

const options = { timeout: 120_000 }

describe("speed", () => {
  it.live(
    "borrowing without waiting costs about as much as in Effect's Pool",
    () => atMost(1.3, "cpu", "01-checkout", ["use", "CachePool.use"], "Effect Pool.use"),
    options
  )
  it.live(
    "borrowing for a scope costs little more than Effect's Pool",
    () => atMost(1.6, "cpu", "01-checkout", ["get, scoped", "CachePool.get"], "Effect Pool.get"),
    options
  )
  it.live(
    "waiting costs less than in Effect's Pool",
    () => atMost(0.8, "cpu", "02-contended", ["64 borrowers, microtask", "CachePool.use"], "Effect Pool.use"),
    options
  )
  it.live(
    "each of 10,000 waiters is served faster than by Effect's Pool",
    () => atMost(1, "drain", "03-waiters", ["10,000 waiters", "CachePool.use"], "Effect Pool.use"),
    options
  )
  it.live(
    "a keyed pool costs less than an RcMap",
    () => atMost(0.9, "cpu", "04-keyed", ["1 key", "MapPool.use"], "RcMap.get, scoped"),
    options
  )
  it.live(
    "a singleton costs less than an RcRef",
    () => atMost(0.6, "cpu", "05-shared", ["one connection for all", "SingletonPool.use"], "RcRef.get, scoped"),
    options
  )
  it.live(
    "the full stack costs less than three times a bare cache",
    () => atMost(3, "cpu", "06-stack", ["use, nobody waiting", "full stack"], "bare CachePool"),
    options
  )
  it.live(
    "a look at 10,000 idle connections costs less than an effect for each",
    () => atMost(0.8, "cpu", "08-expiry", ["10,000 idle", "ExpirePool"], "an effect for each"),
    options
  )
  it.live(
    "a request over an HTTP pool costs about as much as over undici's",
    () => atMost(1.8, "cpu", "09-http1", ["100 bytes, 10 at once", "HttpPool"], "undici Pool.request"),
    options
  )
})

describe("memory", () => {
  it.live(
    "an idle connection costs less than 1.7 KiB",
    () => atMost(1.7, "heap", "11-memory", ["objects", "CachePool of objects"]),
    options
  )
})
