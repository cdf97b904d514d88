/**
 * Evicting whenever one wants: `retain` drops now what a predicate rejects,
 * `guard` rejects from now on. Both know what the connector said about a
 * connection, here its address and the credentials it was opened with.
 */
import { CachePool, type ConnectionPool, Connector } from "@poolkit/pool"
import { TestConnector } from "@poolkit/pool/testing"
import * as Effect from "effect/Effect"
import { TestClock } from "effect/testing"

export interface Facts {
  readonly address: string
  readonly credentials: number
}

export const makePool = <Conn, E, R>(connect: Connector.Connector<void, Conn, E, R>, facts: () => Facts) =>
  CachePool.make({ connect: Connector.annotate(connect, () => ({ ...facts() })), maxSize: 10 })

/** Drops all connections to a server that is about to go; used ones when they come back. */
export const leave = (pool: ConnectionPool.ConnectionPool<void, unknown, unknown>, address: string) =>
  pool.retain((_, { annotations }) => annotations.get("address") !== address)

/** From now on, and until the scope closes, only connections that were opened with these credentials. */
export const require = (pool: ConnectionPool.ConnectionPool<void, unknown, unknown>, credentials: number) =>
  pool.guard((_, { annotations }) => annotations.get("credentials") === credentials)

/** Drops everything that is open now, the used ones when they come back; what is opened from now on stays. */
export const clear = (pool: ConnectionPool.ConnectionPool<void, unknown, unknown>) => pool.retain(() => false)

export const program = Effect.gen(function* () {
  const peer = yield* TestConnector.make()
  let facts: Facts = { address: "10.0.0.1", credentials: 1 }
  const pool = yield* makePool(peer.connect, () => facts)
  const hold = (connections: number) =>
    Effect.all(
      Array.from({ length: connections }, () => pool.get()),
      { discard: true }
    )
  const closed: Array<string> = []
  const note = (when: string) => Effect.sync(() => closed.push(`${when}: closed ${peer.closed().join(" ")}`))

  yield* Effect.scoped(hold(2))
  facts = { ...facts, address: "10.0.0.2" }
  yield* Effect.scoped(hold(4))

  yield* Effect.scoped(
    Effect.gen(function* () {
      const { info, release } = yield* pool.lease()
      yield* leave(pool, "10.0.0.1")
      yield* note(`${info.annotations.get("address")} in use`)
      yield* release
    })
  )
  yield* note("left 10.0.0.1")

  facts = { ...facts, credentials: 2 }
  yield* require(pool, 2)
  yield* pool.use(({ id }) => note(`new credentials, borrowed ${id}`))

  yield* pool.use(() => Effect.andThen(clear(pool), note("cleared while in use")))
  yield* note("returned")
  return closed
}).pipe(Effect.scoped, Effect.provide(TestClock.layer()))

if (import.meta.main) console.log(await Effect.runPromise(program))
