/** Processes of a fleet in one test: limits with a store in common, each with a line to it that the test can cut. */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as CachePool from "../../src/CachePool.ts"
import * as ConnectionLimit from "../../src/ConnectionLimit.ts"
import type { LimitClaim, StoredLimitEvent, StoredLimitOptions } from "../../src/ConnectionLimit.ts"
import * as TestConnector from "../../src/testing/TestConnector.ts"

type Store = ConnectionLimit.ConnectionLimitStore["Service"]

/** `down`: refuses at once. `die`: has a defect. `hang`: hears nothing. `deaf`: what is said arrives, the answers do not. */
export type LineState = "up" | "down" | "hang" | "deaf" | "die"

export interface Line {
  readonly store: Store
  /** What was said, whether it arrived or not. */
  readonly claims: Array<LimitClaim>
  readonly set: (state: LineState) => void
  /** From now on wakes get lost. */
  readonly loseWakes: () => void
  /** Claims arrive when this is called, in the order they were made. */
  readonly hold: () => () => void
}

export const lineTo = (store: Store): Line => {
  const claims: Array<LimitClaim> = []
  let state: LineState = "up"
  let wakes = true
  let held: Deferred.Deferred<void> | undefined
  return {
    claims,
    set: (next) => void (state = next),
    loseWakes: () => void (wakes = false),
    hold: () => {
      const gate = Deferred.makeUnsafe<void>()
      held = gate
      return () => {
        held = undefined
        Deferred.doneUnsafe(gate, Exit.void)
      }
    },
    store: {
      exchange: (claim) =>
        Effect.suspend(() => {
          claims.push(claim)
          if (state === "down") return Effect.fail(new ConnectionLimit.ConnectionLimitStoreError({ message: "down" }))
          if (state === "hang") return Effect.never
          if (state === "die") return Effect.die(new Error("a bug"))
          if (state === "deaf") return Effect.andThen(store.exchange(claim), Effect.never)
          return held === undefined
            ? store.exchange(claim)
            : Effect.andThen(Deferred.await(held), store.exchange(claim))
        }),
      wakes: (key, member) => Stream.filter(store.wakes(key, member), () => wakes)
    }
  }
}

export interface Process {
  readonly line: Line
  readonly limit: ConnectionLimit.StoredConnectionLimit
  readonly pool: CachePool.CachePool<TestConnector.TestConnection, TestConnector.TestConnectError>
  readonly peer: TestConnector.TestConnector
  readonly events: Array<StoredLimitEvent["_tag"]>
  /** Ends in good order. */
  readonly stop: Effect.Effect<void>
}

export type FleetOptions = Partial<StoredLimitOptions> &
  Pick<CachePool.CachePoolOptions<unknown, unknown, unknown>, "minSize" | "maxSize">

export interface Fleet {
  readonly store: Store
  readonly start: (options?: FleetOptions) => Effect.Effect<Process, ConnectionLimit.ConnectionLimitStoreError>
  /** Connections that the server sees. */
  readonly open: () => number
}

/** A lease lasts 12 seconds here: an exchange every 4, and the end after 9.6. */
export const fleet = (max: number, defaults: FleetOptions = {}): Effect.Effect<Fleet, never, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const store = Context.get(
      yield* Layer.build(ConnectionLimit.layerStoreMemory),
      ConnectionLimit.ConnectionLimitStore
    )
    const peers: Array<TestConnector.TestConnector> = []
    const start = Effect.fnUntraced(function* (options: FleetOptions = {}) {
      const { maxSize, minSize, ...given } = { ...defaults, ...options }
      const line = lineTo(store)
      const own = yield* Scope.fork(scope)
      const limit = yield* ConnectionLimit.makeStored({ key: "db", max, leaseTime: "12 seconds", ...given }).pipe(
        Effect.provideService(ConnectionLimit.ConnectionLimitStore, line.store),
        Scope.provide(own)
      )
      const events: Array<StoredLimitEvent["_tag"]> = []
      yield* Effect.forkIn(
        Stream.runForEach(limit.events, ({ _tag }) => Effect.sync(() => void events.push(_tag))),
        own
      )
      const peer = TestConnector.makeUnsafe()
      peers.push(peer)
      const pool = yield* Scope.provide(
        CachePool.make({ ...peer.options, limit, maxSize: maxSize ?? 100, ...(minSize !== undefined && { minSize }) }),
        own
      )
      // Its last word would otherwise wait for a clock that nobody moves.
      yield* Scope.addFinalizer(
        own,
        Effect.sync(() => line.set("up"))
      )
      return { line, limit, pool, peer, events, stop: Scope.close(own, Exit.void) }
    })
    return { store, start, open: () => peers.reduce((sum, peer) => sum + peer.live(), 0) }
  })
