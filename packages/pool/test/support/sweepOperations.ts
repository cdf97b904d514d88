/**
 * Every public operation of the pools, each as what one caller does.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { CachePool } from "../../src/CachePool.ts"
import * as ConnectionPool from "../../src/ConnectionPool.ts"
import * as TestConnector from "../../src/testing/TestConnector.ts"
import { type Bench, type ConnectError, yields } from "./bench.ts"
import type { RigName } from "./rigs.ts"

type Operation = (bench: Bench) => Effect.Effect<unknown, unknown>

type TestCache = CachePool<TestConnector.TestConnection, ConnectError>

const cache = (bench: Bench): TestCache => bench.pool as TestCache

const two: () => Effect.Effect<void> = () => yields(2)

/** What both kinds offer. */
const common: Readonly<Record<string, Operation>> = {
  use: (bench) => bench.pool.use((c) => bench.stay(c, two)),
  "use that fails": (bench) =>
    bench.pool.use((c) => bench.stay(c, () => Effect.andThen(Effect.yieldNow, Effect.fail("no")))),
  "use that dies": (bench) => bench.pool.use((c) => bench.stay(c, () => Effect.die("no"))),
  "use whose body is interrupted": (bench) =>
    bench.pool.use((c) => bench.stay(c, () => Effect.andThen(Effect.yieldNow, Effect.interrupt))),
  "use three times": (bench) =>
    Effect.replicateEffect(
      bench.pool.use((c) => bench.stay(c, () => Effect.yieldNow)),
      3
    ),
  "use that releases early": (bench) =>
    bench.pool.use((c, lease) =>
      bench.stay(c, (stay) => {
        bench.leave(stay)
        return Effect.andThen(lease.release, two())
      })
    ),
  "use of a failing connector": (bench) => {
    bench.script(TestConnector.fail)
    bench.mayFail = true
    return bench.pool.use((c) => bench.stay(c, two))
  },
  "use of a mapped pool": (bench) => {
    const mapped = ConnectionPool.map(bench.pool, (connection) => ({ connection }))
    return mapped.use(({ connection }) => bench.stay(connection, two))
  },
  get: (bench) => Effect.scoped(Effect.flatMap(bench.pool.get(), (c) => bench.stay(c, two))),
  "get in a scope that closes meanwhile": (bench) => {
    const scope = Scope.makeUnsafe()
    const get = Scope.provide(bench.pool.get(), scope)
    return Effect.all([get, Effect.andThen(Effect.yieldNow, Scope.close(scope, Exit.void))], { concurrency: 2 }).pipe(
      Effect.ensuring(Scope.close(scope, Exit.void))
    )
  },
  lease: (bench) =>
    Effect.scoped(
      Effect.flatMap(bench.pool.lease(), (lease) =>
        Effect.andThen(
          bench.stay(lease.connection, () => Effect.yieldNow),
          Effect.andThen(lease.release, Effect.andThen(Effect.yieldNow, Effect.sync(lease.releaseUnsafe)))
        )
      )
    ),
  "lease that is invalidated": (bench) =>
    Effect.scoped(
      Effect.flatMap(bench.pool.lease(), (lease) =>
        bench.stay(lease.connection, () => Effect.andThen(lease.invalidate, Effect.yieldNow))
      )
    ),
  retain: (bench) =>
    Effect.andThen(
      bench.pool.retain((connection) => connection.id % 2 === 0),
      bench.pool.retain(() => false)
    ),
  guard: (bench) =>
    Effect.scoped(
      Effect.andThen(
        bench.pool.guard((connection) => connection.id % 2 === 0),
        Effect.andThen(
          Effect.yieldNow,
          bench.pool.use((c) => bench.stay(c, () => Effect.yieldNow))
        )
      )
    ),
  observe: (bench) =>
    Effect.scoped(
      Effect.andThen(
        bench.pool.observe({
          borrowed: () => {
            throw new Error("an observer that throws")
          }
        }),
        bench.pool.use((c) => bench.stay(c, two))
      )
    ),
  events: (bench) =>
    Effect.raceFirst(
      Stream.runDrain(ConnectionPool.events(bench.pool)),
      bench.pool.use((c) => bench.stay(c, two))
    ),
  stats: (bench) => Effect.andThen(bench.pool.stats, bench.pool.stats),
  drain: (bench) => {
    bench.mayBeClosed = true
    return bench.pool.drain()
  },
  "drain with a deadline": (bench) => {
    bench.mayBeClosed = true
    return Effect.andThen(bench.pool.drain({ deadline: "1 second" }), bench.pool.drain())
  },
  "closing the scope": (bench) => {
    bench.mayBeClosed = true
    return Scope.close(bench.scope, Exit.void)
  },
  make: (bench) => {
    const peer = TestConnector.makeUnsafe()
    const use = Effect.flatMap(bench.makePool(peer), (pool) => pool.use(() => two()))
    return Effect.ensuring(
      Effect.scoped(use),
      Effect.sync(() => {
        if (peer.live() > 0) bench.wrongs.push("a pool whose scope closed left a connection open")
      })
    )
  }
}

const ofCache: Readonly<Record<string, Operation>> = {
  "use within use": (bench) =>
    bench.pool.use((a) => bench.stay(a, () => bench.pool.use((b) => bench.stay(b, () => Effect.yieldNow)))),
  takeIdle: (bench) =>
    Effect.scoped(Effect.flatMap(cache(bench).takeIdle, (c) => (Option.isSome(c) ? bench.stay(c.value, two) : two()))),
  adopt: (bench) =>
    Effect.andThen(
      // Whoever opened a connection owns it until it is adopted.
      Effect.uninterruptible(
        Effect.flatMap(bench.openOutside, ({ connection, close }) => cache(bench).adopt(connection, close))
      ),
      bench.pool.use((c) => bench.stay(c, () => Effect.yieldNow))
    )
}

const other = (bench: Bench) => bench.made.others[0]!

const brief = (bench: Bench, pool = bench.pool) => pool.use((c) => bench.stay(c, () => Effect.yieldNow))

/** Of pools that share a limit. */
const ofNeighbours: Readonly<Record<string, Operation>> = {
  "use of each target": (bench) => Effect.forEach([bench.pool, ...bench.made.others], (pool) => brief(bench, pool)),
  "use of all targets at once": (bench) =>
    Effect.forEach([bench.pool, ...bench.made.others], (pool) => brief(bench, pool), { concurrency: "unbounded" }),
  "use within use of another target": (bench) =>
    bench.pool.use((a) => bench.stay(a, () => other(bench).use((b) => bench.stay(b, two))))
}

const map = (bench: Bench) => bench.made.map!

const ofMap: Readonly<Record<string, Operation>> = {
  ...ofNeighbours,
  remove: (bench) => {
    bench.mayBeClosed = true
    return map(bench).remove("a")
  },
  "remove between uses": (bench) => {
    bench.mayBeClosed = true
    return Effect.andThen(brief(bench), Effect.andThen(map(bench).remove("a"), brief(bench)))
  },
  "use while the key is removed": (bench) => {
    bench.mayBeClosed = true
    return Effect.all([brief(bench), Effect.andThen(Effect.yieldNow, map(bench).remove("a")), brief(bench)], {
      concurrency: 3
    })
  },
  "keys and statsOf": (bench) =>
    Effect.flatMap(map(bench).keys, (keys) => Effect.forEach(keys, (key) => map(bench).statsOf(key))),
  "use of more keys than there may be": (bench) => {
    bench.mayBeCrowded = true
    return Effect.forEach(["x", "y", "z", "a"], (target) => map(bench).use(target, (c) => bench.stay(c, two)))
  },
  "use of a key whose build dies": (bench) => {
    bench.controls.build = Effect.andThen(Effect.yieldNow, Effect.die("no"))
    bench.mayFail = true
    return Effect.ensuring(
      map(bench).use("x", (c) => bench.stay(c, two)),
      Effect.sync(() => {
        bench.controls.build = Effect.void
      })
    )
  }
}

export const operations: Readonly<Record<RigName, Readonly<Record<string, Operation>>>> = {
  singleton: common,
  cache: { ...common, ...ofCache },
  shared: common,
  limited: { ...common, ...ofNeighbours },
  map: { ...common, ...ofMap },
  negotiate: common,
  expire: common,
  stack: { ...common, ...ofMap }
}
