/**
 * One connection, or a few, for all borrowers at once.
 */
import * as SharedPool from "@poolkit/pool/SharedPool"
import * as SingletonPool from "@poolkit/pool/SingletonPool"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as EffectPool from "effect/Pool"
import * as RcRef from "effect/RcRef"
import { effects } from "../harness/contestants.ts"
import type { Subject } from "../harness/subject.ts"
import { connect, type Item } from "../peers/poolkit.ts"

const body = () => Effect.void
const concurrency = 100

const subject: Subject = {
  title: "Singleton and shared",
  about:
    "One borrower uses a connection that everybody shares. The first rows are bare: reading a value that is there, with no loan, no " +
    "count of borrowers and nothing that could be closed under anybody.",
  cases: [
    {
      name: "one connection for all",
      contestants: [
        effects(
          "SingletonPool.use",
          Effect.map(SingletonPool.make({ connect }), (pool) => () => pool.use(body))
        ),
        effects(
          "SingletonPool.get, scoped",
          Effect.map(SingletonPool.make({ connect }), (pool) => () => Effect.scoped(pool.get()))
        ),
        effects(
          "flatMap(succeed)",
          Effect.map(connect(), (item) => () => Effect.flatMap(Effect.succeed(item), body)),
          { setup: "the connection is a constant" }
        ),
        effects(
          "Effect.cached",
          Effect.map(Effect.cached(connect()), (cached) => () => Effect.flatMap(cached, body))
        ),
        effects(
          "Deferred.await",
          Effect.gen(function* () {
            const deferred = yield* Deferred.make<Item>()
            yield* Deferred.complete(deferred, connect())
            return () => Effect.flatMap(Deferred.await(deferred), body)
          })
        ),
        effects(
          "RcRef.get, scoped",
          Effect.gen(function* () {
            const ref = yield* RcRef.make({ acquire: connect(), idleTimeToLive: Infinity })
            return () => Effect.scoped(Effect.flatMap(RcRef.get(ref), body))
          })
        )
      ]
    },
    {
      name: "up to 100 borrowers on a connection",
      contestants: [
        effects(
          "SharedPool.use",
          Effect.map(SharedPool.make({ connect, concurrency }), (pool) => () => pool.use(body))
        ),
        effects(
          "Effect Pool.use",
          Effect.map(
            EffectPool.make({ acquire: connect(), size: 1, concurrency }),
            (pool) => () => EffectPool.use(pool, body)
          ),
          { setup: "`size: 1, concurrency: 100`" }
        )
      ]
    }
  ],
  baseline: "SingletonPool.use",
  columns: [
    { figure: "time", title: "ns each" },
    { figure: "cpu", title: "CPU ns each" }
  ],
  targets: [
    {
      what: "SingletonPool.use against flatMap(succeed)",
      figure: "time",
      of: ["one connection for all", "SingletonPool.use"],
      against: [["one connection for all", "flatMap(succeed)"]],
      must: 2.2,
      aim: 1.8
    },
    {
      what: "SingletonPool.use against RcRef.get, scoped",
      figure: "time",
      of: ["one connection for all", "SingletonPool.use"],
      against: [["one connection for all", "RcRef.get, scoped"]],
      must: 0.4,
      aim: 0.3
    }
  ],
  charts: [{ title: "Singleton and shared", kind: "bars", figure: "time", unit: "ns" }],
  rounds: 9,
  processes: 3
}

export default subject
