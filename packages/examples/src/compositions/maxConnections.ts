/**
 * At most so many connections, over all hosts together: connecting, in use,
 * idle and closing. At the cap an idle connection of another host makes room,
 * and where none is idle every host gets its fair share.
 */
import { CachePool, type Connector, MapPool } from "@poolkit/pool"
import { TestConnector } from "@poolkit/pool/testing"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"

export const makePool = <Conn, E, R>(connect: Connector.Connector<string, Conn, E, R>, maxConnections: number) =>
  MapPool.make({
    key: (host: string) => host,
    maxSize: maxConnections,
    pool: (host, { limit }) => CachePool.make({ connect: () => connect(host), maxSize: maxConnections, limit })
  })

export const program = Effect.gen(function* () {
  const peer = yield* TestConnector.make(TestConnector.delay("5 millis"))
  let most = 0
  const pool = yield* makePool(
    () => Effect.tap(peer.connect(), () => Effect.sync(() => (most = Math.max(most, peer.live())))),
    8
  )
  const served = new Map<string, number>()
  const request = (host: string) =>
    Effect.andThen(
      pool.use(host, () => Effect.sleep("10 millis")),
      Effect.sync(() => served.set(host, (served.get(host) ?? 0) + 1))
    )

  // One host is asked 400 times, seven others 10 times each, all at once.
  yield* Effect.forkChild(Effect.replicateEffect(request("busy"), 400, { concurrency: "unbounded" }))
  const quiet = Array.from({ length: 70 }, (_, i) => request(`quiet-${i % 7}`))
  yield* Effect.forkChild(Effect.all(quiet, { concurrency: "unbounded" }))

  yield* TestClock.adjust("250 millis")
  const soon = { busy: served.get("busy")!, quiet: quietOnes(served) }
  yield* TestClock.adjust("29 seconds")
  return { most, soon, atTheEnd: { busy: served.get("busy")!, quiet: quietOnes(served) } }
}).pipe(Effect.scoped, Effect.provide(TestClock.layer()))

const quietOnes = (served: ReadonlyMap<string, number>): number =>
  Array.from(served).reduce((sum, [host, count]) => (host === "busy" ? sum : sum + count), 0)

if (import.meta.main) console.log(await Effect.runPromise(program))
