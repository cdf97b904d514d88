/**
 * What it costs to be watched.
 */
import * as ConnectionPool from "@poolkit/pool/ConnectionPool"
import * as PoolMetrics from "@poolkit/pool/PoolMetrics"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Scope } from "effect/Scope"
import { effects } from "../harness/contestants.ts"
import type { Contestant, Subject } from "../harness/subject.ts"
import { cache } from "../peers/poolkit.ts"

const size = 8
const body = () => Effect.void
type Watch = (pool: ConnectionPool.Any) => Effect.Effect<unknown, never, Scope>

/**
 * What every program does sooner or later, whether it observes or not. Where no
 * finalizer ever returned an effect, Effect's run loop is compiled without that
 * case, and a loan takes less.
 */
const seasoned = Effect.scoped(Effect.acquireRelease(Effect.void, () => Effect.void))

const watched = (name: string, setup: string, watch: Watch): Contestant =>
  effects(
    name,
    Effect.gen(function* () {
      yield* seasoned
      const pool = yield* cache(size)
      yield* watch(pool)
      return () => pool.use(body)
    }),
    { setup }
  )

/** Counts, so that nobody can compile it away. */
const counting = () => {
  const counts = { borrowed: 0, returned: 0 }
  return {
    borrowed: () => void counts.borrowed++,
    returned: () => void counts.returned++
  }
}

const name = "use, nobody waiting"
const target = (what: string, contestant: string, must: number, aim: number) => ({
  what: `${what} against absent`,
  figure: "time",
  of: [name, contestant] as const,
  against: [[name, "absent"] as const],
  must,
  aim
})

const subject: Subject = {
  title: "Observation",
  about:
    "The same `CachePool.use`, watched in different ways. Each contestant has closed a scope with a finalizer before, as every program " +
    "does sooner or later: Effect's run loop is faster only until then.",
  cases: [
    {
      name,
      contestants: [
        watched("absent", "never observed", () => Effect.void),
        watched("off", "was observed, by callbacks on loans, until before the first sample", (pool) =>
          Effect.scoped(pool.observe(counting()))
        ),
        watched("connections", "callbacks on connections, none on loans", (pool) =>
          pool.observe({ connected: () => {}, closed: () => {} })
        ),
        watched("callbacks", "callbacks on borrow and return that count", (pool) => pool.observe(counting())),
        watched("stream", "`ConnectionPool.events`, consumed by a fiber", (pool) =>
          Effect.andThen(
            Effect.forkScoped(Stream.runDrain(ConnectionPool.events(pool)), { startImmediately: true }),
            Effect.yieldNow
          )
        ),
        watched("metrics", "`PoolMetrics.observe`", (pool) => PoolMetrics.observe(pool, { name: "bench" }))
      ]
    }
  ],
  baseline: "absent",
  columns: [
    { figure: "time", title: "ns each" },
    { figure: "cpu", title: "CPU ns each" }
  ],
  targets: [
    target("off", "off", 1.03, 1),
    target("callbacks", "callbacks", 1.25, 1.15),
    target("a consumed stream", "stream", 2, 1.7)
  ],
  charts: [{ title: "What observation costs", kind: "bars", figure: "time", unit: "ns" }],
  rounds: 9,
  processes: 3
}

export default subject
