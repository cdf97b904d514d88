/**
 * The general-purpose pool of hyper's design over scripted hosts: expiry over
 * a map of negotiations between a shared pool and a cache, with a limit over
 * all of it. Hosts whose name begins with `h2` multiplex.
 */
import { assert } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as CachePool from "../../src/CachePool.ts"
import * as ExpirePool from "../../src/ExpirePool.ts"
import * as MapPool from "../../src/MapPool.ts"
import * as NegotiatePool from "../../src/NegotiatePool.ts"
import * as SharedPool from "../../src/SharedPool.ts"
import * as TestConnector from "../../src/testing/TestConnector.ts"
import { describeExit, settle } from "./scene.ts"

export interface Http {
  readonly id: number
  readonly host: string
  readonly protocol: "h2" | "http/1.1"
}

interface Socket extends TestConnector.TestConnection {
  readonly host: string
}

export interface GeneralOptions {
  readonly maxSize?: number
  readonly maxKeys?: number
  /** What closing a connection does. */
  readonly onClose?: (connection: TestConnector.TestConnection) => Effect.Effect<unknown>
}

/** Counts what every host sees: a connection from the start of its attempt until its close has ended. */
const makeHosts = (onClose: (connection: TestConnector.TestConnection) => Effect.Effect<unknown>) => {
  const peer = TestConnector.makeUnsafe()
  const attempts = new Map<string, number>()
  const opened = new Map<string, number>()
  const behaviours = new Map<string, TestConnector.Behaviour>()
  let now = 0
  let most = 0
  const leave = Effect.sync(() => void now--)
  let close = onClose
  peer.onClose((connection) => Effect.ensuring(close(connection), leave))
  const count = (counts: Map<string, number>, host: string) => void counts.set(host, (counts.get(host) ?? 0) + 1)
  const dial = (host: string): Effect.Effect<Socket, TestConnector.TestConnectError, Scope.Scope> =>
    Effect.suspend(() => {
      count(attempts, host)
      most = Math.max(most, ++now)
      const behaviour = behaviours.get(host)
      if (behaviour !== undefined) peer.script(behaviour)
      return Effect.map(
        Effect.onError(peer.connect(), () => leave),
        (connection): Socket => {
          count(opened, host)
          return {
            id: connection.id,
            host,
            get isOpen() {
              return connection.isOpen
            }
          }
        }
      )
    })
  return {
    peer,
    dial,
    attempts: (host: string) => attempts.get(host) ?? 0,
    opened: (host: string) => opened.get(host) ?? 0,
    live: () => peer.live(),
    /** The most connections that were open, opening or closing at once. */
    most: () => most,
    closeAtOnce: () => {
      close = () => Effect.void
    },
    behave: (host: string, behaviour: TestConnector.Behaviour) => void behaviours.set(host, behaviour),
    /** Makes the next attempt wait; the result lets it go on. */
    gate: () => {
      const gate = Deferred.makeUnsafe<void>()
      peer.script(TestConnector.gated(gate))
      return Effect.suspend(() => {
        Deferred.doneUnsafe(gate, Exit.void)
        return settle
      })
    }
  }
}

export const httpPool = ({ maxKeys = 500, maxSize = 200, onClose = () => Effect.void }: GeneralOptions = {}) =>
  Effect.gen(function* () {
    const hosts = makeHosts(onClose)
    const as =
      (protocol: Http["protocol"]) =>
      ({ host, id }: Socket): Http => ({ id, host, protocol })
    const pool = yield* MapPool.make({
      key: (host: string) => host,
      maxKeys,
      maxSize,
      pool: (host, { limit }) =>
        NegotiatePool.makeMerged({
          connect: () => hosts.dial(host),
          inspect: ({ host }) => host.startsWith("h2"),
          upgrade: (connect) =>
            SharedPool.make({ connect: () => Effect.map(connect(), as("h2")), concurrency: 1_000, maxSize: 1, limit }),
          fallback: (connect) =>
            CachePool.make({ connect: () => Effect.map(connect(), as("http/1.1")), maxSize: 6, limit })
        })
    }).pipe(ExpirePool.make({ idleTimeToLive: "90 seconds", maxLifetime: "300 seconds", jitter: 0 }))
    return { hosts, pool }
  })

/**
 * Sends callers with many keys through a small pool. Closes take time, so the
 * cap is under pressure; every call must be served and nothing be left.
 */
export const manyKeys = (given: {
  readonly keys: number
  readonly maxSize: number
  readonly maxKeys: number
  /** Callers at once; fewer than `maxKeys`, as a key in use does not make room. */
  readonly concurrency: number
}) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const { hosts, pool } = yield* Scope.provide(
      httpPool({
        ...given,
        onClose: ({ id }) => (id % 4 === 0 ? Effect.sleep(3) : id % 4 === 1 ? Effect.yieldNow : Effect.void)
      }),
      scope
    )
    let keys = 0
    let mostKeys = 0
    yield* pool.observe({
      keyAdded: () => {
        mostKeys = Math.max(mostKeys, ++keys)
      },
      keyRemoved: () => {
        keys--
      }
    })
    const outcomes = new Map<string, number>()
    const call = (n: number) =>
      Effect.flatMap(
        Effect.exit(pool.use(`${n % 3 === 0 ? "h2" : "h1"}-${n}.example`, () => Effect.sleep(1 + (n % 5)))),
        (exit) =>
          Effect.sync(() => {
            const outcome = describeExit(exit)
            outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
          })
      )
    const callers = yield* Effect.forkChild(
      Effect.forEach(Array.from({ length: given.keys }), (_, n) => call(n), {
        concurrency: given.concurrency,
        discard: true
      })
    )
    while (callers.pollUnsafe() === undefined) yield* TestClock.adjust(20)
    assert.deepStrictEqual(Array.from(outcomes), [["ok", given.keys]])
    assert.isTrue(hosts.most() <= given.maxSize, `${hosts.most()} connections`)
    assert.isTrue(mostKeys <= given.maxKeys, `${mostKeys} keys`)
    hosts.closeAtOnce()
    const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
    for (let i = 0; i < 100 && closing.pollUnsafe() === undefined; i++) yield* TestClock.adjust(100)
    assert.isTrue(closing.pollUnsafe() !== undefined)
    const { borrowers, closed, closing: left, connecting, created, idle, pending, used } = yield* pool.stats
    assert.deepStrictEqual(
      [hosts.live(), keys, borrowers, left, connecting, idle, pending, used, created - closed],
      [0, 0, 0, 0, 0, 0, 0, 0, 0]
    )
  })
