/**
 * Borrowing and returning when nobody waits.
 */
import * as Effect from "effect/Effect"
import * as EffectPool from "effect/Pool"
import { effects, promises } from "../harness/contestants.ts"
import type { Case, Subject } from "../harness/subject.ts"
import { javaScriptPools } from "../peers/javascript.ts"
import { cache, effectPool } from "../peers/poolkit.ts"

const size = 8
const body = () => Effect.void

const use: Case = {
  name: "use",
  contestants: [
    effects(
      "CachePool.use",
      Effect.map(cache(size), (pool) => () => pool.use(body))
    ),
    effects(
      "Effect Pool.use",
      Effect.map(effectPool(size), (pool) => () => EffectPool.use(pool, body))
    ),
    ...javaScriptPools.flatMap(({ name, open, setup }) => [
      promises(
        name,
        Effect.map(
          open(size),
          ({ acquire, release }) =>
            async () =>
              release(await acquire())
        ),
        { setup }
      )
    ]),
    promises(
      "generic-pool use",
      Effect.map(javaScriptPools[0]!.open(size), (pool) => () => pool.use!(() => Promise.resolve())),
      { setup: "its own `use`, otherwise as generic-pool" }
    ),
    effects("no pool: fiber", Effect.succeed(body), { setup: "what a step of the measuring fiber costs" }),
    promises(
      "no pool: async function",
      Effect.succeed(async () => {}),
      { setup: "what a step of the measuring async function costs" }
    )
  ]
}

const get: Case = {
  name: "get, scoped",
  contestants: [
    effects(
      "CachePool.get",
      Effect.map(cache(size), (pool) => () => Effect.scoped(pool.get()))
    ),
    effects(
      "CachePool.lease",
      Effect.map(cache(size), (pool) => () => Effect.scoped(pool.lease()))
    ),
    effects(
      "Effect Pool.get",
      Effect.map(effectPool(size), (pool) => () => Effect.scoped(EffectPool.get(pool)))
    ),
    effects(
      "no pool: fiber",
      Effect.succeed(() => Effect.scoped(Effect.void)),
      { setup: "an empty scope" }
    )
  ]
}

const subject: Subject = {
  title: "Checkout, nobody waiting",
  about:
    "One borrower, a pool of 8, connections that cost nothing. An operation borrows and returns: with `use` for an effect " +
    "that does nothing, or with `get` for a scope. The pools for JavaScript acquire and release in an async function.",
  cases: [use, get],
  baseline: "CachePool.use",
  columns: [
    { figure: "time", title: "ns each" },
    { figure: "cpu", title: "CPU ns each" }
  ],
  targets: [
    {
      what: "CachePool.use against Effect Pool.use",
      figure: "time",
      of: ["use", "CachePool.use"],
      against: [["use", "Effect Pool.use"]],
      must: 0.95,
      aim: 0.75
    },
    {
      what: "CachePool.use against generic-pool use",
      figure: "time",
      of: ["use", "CachePool.use"],
      against: [["use", "generic-pool use"]],
      must: 0.5,
      aim: 0.38
    },
    {
      what: "CachePool.get against Effect Pool.get, scoped",
      figure: "time",
      of: ["get, scoped", "CachePool.get"],
      against: [["get, scoped", "Effect Pool.get"]],
      must: 1.1,
      aim: 0.8
    }
  ],
  charts: [{ title: "Checkout, nobody waiting", kind: "bars", figure: "time", unit: "ns" }],
  rounds: 9,
  processes: 3
}

export default subject
