/**
 * What layers cost.
 */
import * as CachePool from "@poolkit/pool/CachePool"
import type * as ConnectionPool from "@poolkit/pool/ConnectionPool"
import type { ConnectionLimit } from "@poolkit/pool/ConnectionLimit"
import * as ExpirePool from "@poolkit/pool/ExpirePool"
import * as MapPool from "@poolkit/pool/MapPool"
import * as NegotiatePool from "@poolkit/pool/NegotiatePool"
import * as SharedPool from "@poolkit/pool/SharedPool"
import * as Effect from "effect/Effect"
import { effects } from "../harness/contestants.ts"
import type { Subject } from "../harness/subject.ts"
import { cache, connect, type Item } from "../peers/poolkit.ts"

const size = 8
const body = () => Effect.void

const expired = <P extends ConnectionPool.Any, E, R>(pool: Effect.Effect<P, E, R>) =>
  ExpirePool.make(pool, { idleTimeToLive: "30 seconds", maxLifetime: "10 minutes" })

const negotiated = (limit?: ConnectionLimit) =>
  NegotiatePool.makeMerged({
    connect,
    inspect: (_item: Item) => false,
    upgrade: (connect) => SharedPool.make({ connect, concurrency: 100, limit }),
    fallback: (connect) => CachePool.make({ connect, maxSize: size, limit })
  })

const key = (target: string) => target

const name = "use, nobody waiting"

const subject: Subject = {
  title: "Stacks",
  about:
    "What each layer adds to a `CachePool.use`: expiry (idle time and lifetime), a map of one key with its limit, a negotiation that " +
    "found connections which are not shared, and all of them.",
  cases: [
    {
      name,
      contestants: [
        effects(
          "bare CachePool",
          Effect.map(cache(size), (pool) => () => pool.use(body))
        ),
        effects(
          "CachePool, expire",
          Effect.map(expired(cache(size)), (pool) => () => pool.use(body))
        ),
        effects(
          "CachePool, map",
          Effect.map(
            MapPool.make({ key, pool: (_, { limit }) => CachePool.make({ connect, maxSize: size, limit }) }),
            (pool) => () => pool.use("a", body)
          )
        ),
        effects(
          "CachePool, negotiate",
          Effect.map(negotiated(), (pool) => () => pool.use(body))
        ),
        effects(
          "full stack",
          Effect.map(
            expired(MapPool.make({ key, maxSize: 256, pool: (_, { limit }) => negotiated(limit) })),
            (pool) => () => pool.use("a", body)
          ),
          { setup: "expire (map (negotiate (cache)))" }
        )
      ]
    }
  ],
  baseline: "bare CachePool",
  columns: [
    { figure: "time", title: "ns each" },
    { figure: "cpu", title: "CPU ns each" }
  ],
  targets: [
    {
      what: "the full stack against a bare CachePool",
      figure: "time",
      of: [name, "full stack"],
      against: [[name, "bare CachePool"]],
      must: 3,
      aim: 2
    }
  ],
  charts: [{ title: "What layers cost", kind: "bars", figure: "time", unit: "ns" }],
  rounds: 9,
  processes: 3
}

export default subject
