import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Scheduler from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as CachePool from "../src/CachePool.ts"
import * as ConnectionLimit from "../src/ConnectionLimit.ts"
import type { ConnectionPool } from "../src/ConnectionPool.ts"
import * as Connector from "../src/Connector.ts"
import * as ExpirePool from "../src/ExpirePool.ts"
import * as NegotiatePool from "../src/NegotiatePool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import * as SingletonPool from "../src/SingletonPool.ts"
import { delay, fail, gated, hang, succeed } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import type { TestConnection, TestConnectError } from "../src/testing/TestConnector.ts"
import { eventsOf, inScope, over, settableClock, type SharedOptions } from "./support/kinds.ts"
import {
  borrow,
  borrowLater,
  borrowMany,
  describeExit,
  everySecond,
  fiberCounter,
  gates,
  once,
  settle,
  states,
  stats
} from "./support/scene.ts"

type Connect = Connector.Connector<void, TestConnection, TestConnectError, Scope.Scope>
type Pool = ConnectionPool<void, TestConnection, TestConnectError>
type CacheOptions = Partial<CachePool.CachePoolOptions<TestConnection, TestConnectError, Scope.Scope>>

interface Given {
  /** Which connections are for the upgrade side; all where it is not given. */
  readonly upgrades?: (connection: TestConnection) => boolean
  readonly upgrade?: SharedOptions
  readonly fallback?: CacheOptions
  readonly limit?: ConnectionLimit.ConnectionLimit
  /** What the user puts around the connector that a side is given. */
  readonly around?: (connect: Connect, side: "upgrade" | "fallback") => Connect
  readonly policy?: (connect: Connect) => Connect
}

/** A shared pool and a cache over one scripted peer, and both sides to look into. */
const negotiated = (given: Given = {}, peer = TestConnector.makeUnsafe()) =>
  Effect.gen(function* () {
    const sides: { upgrade?: Pool; fallback?: Pool } = {}
    const around = given.around ?? ((connect: Connect) => connect)
    const { isOpen, watch } = peer.options
    const { pool } = yield* over(
      () =>
        NegotiatePool.makeMerged({
          connect: (given.policy ?? ((connect: Connect) => connect))(peer.connect),
          inspect: given.upgrades ?? (() => true),
          upgrade: (connect) =>
            Effect.tap(
              SharedPool.make({
                connect: around(connect, "upgrade"),
                concurrency: 100,
                isOpen,
                watch,
                limit: given.limit,
                maxSize: 1,
                ...given.upgrade
              }),
              (pool) => Effect.sync(() => void (sides.upgrade = pool))
            ),
          fallback: (connect) =>
            Effect.tap(
              CachePool.make({
                connect: around(connect, "fallback"),
                isOpen,
                watch,
                limit: given.limit,
                ...given.fallback
              }),
              (pool) => Effect.sync(() => void (sides.fallback = pool))
            )
        }),
      peer
    )
    return { peer, pool, upgrade: sides.upgrade!, fallback: sides.fallback! }
  })

const never = () => false

/** A pool whose both sides hold an open connection: 1 is the fallback's and idle, 2 the upgrade's and lent. */
const mixed = (given: Given = {}) =>
  Effect.gen(function* () {
    const made = yield* negotiated({ upgrades: ({ id }) => id === 2, ...given })
    const holder = yield* borrow(made.pool)
    const upgraded = yield* borrow(made.pool)
    yield* holder.leave
    assert.deepStrictEqual(
      [states(upgraded), (yield* made.fallback.stats).idle, (yield* made.upgrade.stats).used],
      [["has 2"], 1, 1]
    )
    return { ...made, upgraded }
  })

describe("NegotiatePool", () => {
  describe("make", () => {
    const tagged = (upgrades: boolean) =>
      over((peer) =>
        NegotiatePool.make({
          connect: peer.connect,
          inspect: () => upgrades,
          upgrade: (connect) => SingletonPool.make({ connect }),
          fallback: (connect) => CachePool.make({ connect: () => Effect.map(connect(), (inner) => ({ inner })) })
        })
      )

    it.effect("N1 the result says which side it came from, by use, get and lease", () =>
      Effect.gen(function* () {
        const { pool } = yield* tagged(true)
        const seen = yield* Effect.scoped(
          Effect.all([
            pool.use((connection, lease) => Effect.succeed([connection._tag, lease.connection._tag])),
            Effect.map(pool.get(), ({ _tag }) => [_tag]),
            Effect.map(pool.lease(), ({ connection }) => [connection._tag])
          ])
        )
        assert.deepStrictEqual(seen, [["Upgraded", "Upgraded"], ["Upgraded"], ["Upgraded"]])
      })
    )

    it.effect("N1 each side lends what its own pool makes of the connection", () =>
      Effect.gen(function* () {
        const { pool } = yield* tagged(false)
        const seen = yield* pool.use((result) =>
          Effect.succeed(result._tag === "Fallback" ? result.connection.inner.id : result._tag)
        )
        assert.strictEqual(seen, 1)
      })
    )

    it.effect("N1 makeMerged lends the connection as it is", () =>
      Effect.gen(function* () {
        const { pool, upgrade, fallback } = yield* negotiated({ upgrades: ({ id }) => id > 1 })
        const first = yield* borrow(pool)
        const second = yield* borrow(pool)
        assert.deepStrictEqual(states(first, second), ["has 1", "has 2"])
        assert.deepStrictEqual([(yield* fallback.stats).used, (yield* upgrade.stats).used], [1, 1])
      })
    )

    it.effect("N1 a layer provides it and closes both sides", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        class Tag extends Context.Service<
          Tag,
          ConnectionPool<void, NegotiatePool.Negotiated<TestConnection, TestConnection>, TestConnectError>
        >()("Tag") {
          static readonly layer: Layer.Layer<Tag> = NegotiatePool.layer(this, {
            connect: peer.connect,
            inspect: ({ id }) => id > 1,
            upgrade: (connect) => SharedPool.make({ connect, concurrency: 10 }),
            fallback: (connect) => CachePool.make({ connect })
          })
        }
        const tags = yield* Effect.provide(
          Tag.use((pool) =>
            pool.use(({ _tag }) =>
              Effect.flatMap(
                pool.use((second) => Effect.succeed(second._tag)),
                (second) => Effect.succeed([_tag, second])
              )
            )
          ),
          Tag.layer
        )
        assert.deepStrictEqual(
          [tags, peer.closed().toSorted()],
          [
            ["Fallback", "Upgraded"],
            [1, 2]
          ]
        )
      })
    )

    it.effect("N1 what the connector needs comes from where the pool was made; its scope is the connection's own", () =>
      Effect.gen(function* () {
        class Host extends Context.Service<Host, string>()("Host") {}
        const seen: Array<string> = []
        const { peer, pool } = yield* over((peer) =>
          Effect.provideService(
            NegotiatePool.makeMerged({
              connect: () =>
                Effect.flatMap(Host, (host) => {
                  seen.push(host)
                  return peer.connect()
                }),
              inspect: () => true,
              upgrade: (connect) => SingletonPool.make({ connect }),
              fallback: (connect) => CachePool.make({ connect })
            }),
            Host,
            "made"
          )
        )
        yield* Effect.provideService(
          pool.use((_, lease) => lease.invalidate),
          Host,
          "called"
        )
        assert.deepStrictEqual([seen, peer.closed()], [["made"], [1]])
      })
    )

    it.effect("N1 an inspect that throws is the attempt's failure, and the connection is closed", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({
          upgrades: ({ id }) => {
            if (id === 1) throw new Error("what is this")
            return true
          },
          upgrade: { backoff: everySecond }
        })
        assert.deepStrictEqual([yield* once(pool), peer.closed()], ["die what is this", [1]])
        const next = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(next), ["has 2"])
      })
    )
  })

  describe("where a call goes", () => {
    it.effect("N2 with a live upgraded connection a call opens nothing", () =>
      Effect.gen(function* () {
        const { peer, pool, fallback } = yield* negotiated()
        yield* borrowMany(pool, 20)
        for (let i = 0; i < 10; i++) yield* once(pool)
        assert.deepStrictEqual([peer.attempts(), (yield* fallback.stats).created], [1, 0])
      })
    )

    it.effect("N2 what the fallback has idle is used again; nothing is opened", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({ upgrades: never })
        const seen: Array<string> = []
        for (let i = 0; i < 5; i++) seen.push(yield* once(pool))
        assert.deepStrictEqual([seen, peer.attempts()], [["has 1", "has 1", "has 1", "has 1", "has 1"], 1])
      })
    )

    it.effect("N2 each connection goes to the side that inspect picks, whatever the one before was", () =>
      Effect.gen(function* () {
        const { peer, pool, fallback, upgrade } = yield* negotiated({
          upgrades: ({ id }) => id % 2 === 0,
          upgrade: { concurrency: 1 }
        })
        const log: Array<readonly [string, number, number]> = []
        for (let i = 0; i < 3; i++) {
          const borrower = yield* borrow(pool)
          log.push([borrower.state(), (yield* fallback.stats).created, (yield* upgrade.stats).created])
          yield* borrower.lease().invalidate
          yield* borrower.leave
        }
        assert.deepStrictEqual(log, [
          ["has 1", 1, 0],
          ["has 2", 1, 1],
          ["has 3", 2, 1]
        ])
        assert.deepStrictEqual(peer.closed(), [1, 2, 3])
      })
    )

    it.effect("N2 a live upgraded connection comes before what the fallback has idle", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* mixed()
        assert.deepStrictEqual([yield* once(pool), peer.attempts()], ["has 2", 2])
      })
    )

    for (const [what, end] of [
      ["is closed", (peer, borrower) => Effect.sync(() => peer.kill(borrower.connection()))],
      ["was invalidated", (_, borrower) => borrower.lease().invalidate]
    ] as ReadonlyArray<
      readonly [
        string,
        (
          peer: TestConnector.TestConnector,
          borrower: Effect.Success<ReturnType<typeof borrow<TestConnection, unknown>>>
        ) => Effect.Effect<void>
      ]
    >) {
      it.effect(
        `N2 when the upgraded connection ${what} and gone, what the fallback has idle is used, nothing opened`,
        () =>
          Effect.gen(function* () {
            const { peer, pool, upgraded } = yield* mixed()
            yield* end(peer, upgraded)
            yield* upgraded.leave
            assert.deepStrictEqual([yield* once(pool), peer.attempts()], ["has 1", 2])
          })
      )

      it.effect(`N2 when the upgraded connection ${what} and still drains, it is not live: the same`, () =>
        Effect.gen(function* () {
          const { peer, pool, upgraded } = yield* mixed()
          yield* end(peer, upgraded)
          assert.deepStrictEqual([yield* once(pool), peer.attempts()], ["has 1", 2])
        })
      )
    }

    it.effect("N2 an idle connection of the fallback that has died is replaced by whatever the peer speaks now", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({ upgrades: ({ id }) => id > 1 })
        const first = yield* borrow(pool)
        const connection = first.connection()
        yield* first.leave
        peer.killSilently(connection)
        assert.deepStrictEqual([yield* once(pool), peer.closed(), peer.attempts()], ["has 2", [1], 2])
      })
    )

    it.effect("N2 S3 an upgraded connection that drains finishes its borrowers", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated()
        const old = yield* borrow(pool)
        peer.kill(old.connection())
        const young = yield* borrow(pool)
        assert.deepStrictEqual([states(old, young), peer.closed()], [["has 1", "has 2"], []])
        yield* old.leave
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("N2 growth of the upgrade side goes to the side that inspect picks, and stays open there", () =>
      Effect.gen(function* () {
        const { peer, pool, fallback } = yield* negotiated({
          upgrades: ({ id }) => id === 1,
          upgrade: { concurrency: 1, maxSize: 2, backoff: everySecond }
        })
        const first = yield* borrow(pool)
        const second = yield* borrow(pool)
        yield* TestClock.adjust("10 seconds")
        yield* settle
        assert.deepStrictEqual(states(first, second), ["has 1", "has 2"])
        assert.deepStrictEqual([peer.closed(), (yield* fallback.stats).used], [[], 1])
      })
    )
  })

  describe("the hand-over", () => {
    const sidesOf = (upgrades: boolean): Given => ({ upgrades: () => upgrades })

    it.effect("N2 I3 every connection that was opened is idle, in use or closed, in exactly one side", () =>
      Effect.gen(function* () {
        const { peer, pool, fallback, upgrade } = yield* negotiated({
          upgrades: ({ id }) => id % 3 === 0,
          upgrade: { concurrency: 2, maxSize: 2 },
          fallback: { maxSize: 2 }
        })
        for (let round = 0; round < 30; round++) {
          const borrowers = yield* borrowMany(pool, 1 + (round % 4))
          if (round % 5 === 0) yield* pool.retain((_, { id }) => id % 2 === 0)
          yield* TestClock.adjust("6 seconds")
          const { closing, idle, used } = yield* pool.stats
          assert.strictEqual(idle + used + closing, peer.live(), `round ${round}`)
          for (const borrower of borrowers) borrower.leaveUnsafe()
          yield* settle
          assert.strictEqual((yield* fallback.stats).borrowers + (yield* upgrade.stats).borrowers, 0)
        }
      })
    )

    it.effect("N2 costs no attempt, no failure and no loan: it was opened once and lent once", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated(sidesOf(false))
        const events = yield* eventsOf(pool)
        const uses = yield* pool.use((_, lease) => Effect.succeed(lease.info.uses))
        assert.deepStrictEqual([peer.log(), uses], [["connect 1", "open 1"], 1])
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1, maxSize: 11 }))
        assert.deepStrictEqual(
          events
            .filter((event) => /^(borrowed|returned|connected|connectFailed)/.test(event))
            .map((e) => e.split(" ")[0]),
          ["connected", "borrowed", "returned"]
        )
      })
    )

    it.effect("N2 E1 a connection for one use is used once, not thrown away before", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* over((peer) =>
          NegotiatePool.makeMerged({
            connect: peer.connect,
            inspect: never,
            upgrade: (connect) => SingletonPool.make({ connect }),
            fallback: (connect) => ExpirePool.make(CachePool.make({ connect }), { maxUses: 1 })
          })
        )
        assert.deepStrictEqual([yield* once(pool), peer.log()], ["has 1", ["connect 1", "open 1", "close 1"]])
      })
    )

    it.effect("N2 keeps what the connector attached", () =>
      Effect.gen(function* () {
        for (const upgrades of [true, false]) {
          const { pool } = yield* negotiated({
            ...sidesOf(upgrades),
            policy: Connector.annotate(({ id }: TestConnection) => ({ address: `10.0.0.${id}` }))
          })
          const address = yield* pool.use((_, lease) => Effect.succeed(lease.info.annotations.get("address")))
          assert.strictEqual(address, "10.0.0.1")
        }
      })
    )

    const policies: ReadonlyArray<readonly [string, (connect: Connect) => Connect]> = [
      ["a limit of connects", (connect) => Connector.limitConnecting(connect, 1)],
      [
        "a timeout",
        (connect) => () =>
          Effect.catchTag(Connector.timeout(connect, "1 second")(), "TimeoutError", () => Effect.die("timed out"))
      ],
      ["a retry", (connect) => Connector.retry(connect, Schedule.recurs(3))],
      ["an annotation", (connect) => Connector.annotate(connect, () => ({ policy: true }))],
      ["something asynchronous before", (connect) => () => Effect.andThen(Effect.yieldNow, connect())],
      ["something asynchronous after", (connect) => () => Effect.tap(connect(), () => Effect.yieldNow)],
      ["a delay", (connect) => () => Effect.delay(connect(), 10)]
    ]
    for (const [what, policy] of policies) {
      for (const upgrades of [true, false]) {
        const side = upgrades ? "upgrade" : "fallback"
        it.effect(`N2 I4 with ${what} around the sides' connectors, one connection is opened for the ${side}`, () =>
          Effect.gen(function* () {
            const { peer, pool } = yield* negotiated({ ...sidesOf(upgrades), around: policy })
            const first = yield* borrow(pool)
            yield* TestClock.adjust(100)
            yield* settle
            assert.deepStrictEqual([states(first), peer.log()], [["has 1"], ["connect 1", "open 1"]])
            yield* first.leave
            // The other way round: what was opened turns out to be for the side that did not open it.
            assert.strictEqual(yield* once(pool), "has 1")
          })
        )

        it.effect(`N2 I4 with ${what} around the connector, one connection is opened for the ${side}`, () =>
          Effect.gen(function* () {
            const { peer, pool } = yield* negotiated({ ...sidesOf(upgrades), policy })
            const first = yield* borrow(pool)
            yield* TestClock.adjust(100)
            yield* settle
            assert.deepStrictEqual([states(first), peer.log()], [["has 1"], ["connect 1", "open 1"]])
          })
        )
      }

      it.effect(`N2 I4 with ${what} around the sides' connectors, a contradiction costs no connection either`, () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* negotiated({ upgrades: ({ id }) => id > 1, around: policy })
          const first = yield* borrow(pool)
          yield* TestClock.adjust(100)
          yield* settle
          const second = yield* borrow(pool)
          yield* TestClock.adjust(100)
          yield* settle
          assert.deepStrictEqual(states(first, second), ["has 1", "has 2"])
          assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "connect 2", "open 2"])
        })
      )
    }

    it.effect("N2 I4 policies see no failure", () =>
      Effect.gen(function* () {
        const errors: Array<unknown> = []
        const { pool } = yield* negotiated({
          ...sidesOf(false),
          around: (connect) => () => Effect.tapError(connect(), (error) => Effect.sync(() => errors.push(error)))
        })
        yield* borrowMany(pool, 3)
        assert.deepStrictEqual([errors, (yield* pool.stats).failed], [[], 0])
      })
    )

    it.effect("N2 with fibers that yield after every few steps, too", () =>
      Effect.gen(function* () {
        for (const budget of [3, 4, 5, 8, 16, 64]) {
          for (const upgrades of [true, false]) {
            const { peer, pool } = yield* Effect.provideService(
              negotiated(sidesOf(upgrades)),
              Scheduler.MaxOpsBeforeYield,
              budget
            )
            const caller = yield* borrow(pool)
            for (let i = 0; i < 10; i++) yield* settle
            assert.deepStrictEqual([states(caller), peer.log()], [["has 1"], ["connect 1", "open 1"]], `${budget}`)
          }
        }
      })
    )

    it.effect("N2 while the other side is in its pause after a failure: the connection is not lost", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({
          upgrades: ({ id }) => id !== 2,
          upgrade: { backoff: Schedule.spaced("1 minute") },
          fallback: { backoff: everySecond }
        })
        // The upgrade side opens 1, which dies; then its attempt 2 turns out to be the fallback's, 3 is an upgrade again.
        const first = yield* borrow(pool)
        peer.kill(first.connection())
        yield* first.leave
        const second = yield* borrow(pool)
        assert.deepStrictEqual(states(second), ["has 2"])
        const third = yield* borrow(pool)
        assert.deepStrictEqual(states(third), ["has 3"])
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("N2 a full fallback: a connection that it cannot keep is closed, and nobody waits for it by proxy", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({
          upgrades: ({ id }) => id === 1,
          upgrade: { concurrency: 1, maxSize: 2, backoff: everySecond },
          fallback: { maxSize: 1 }
        })
        const inUpgrade = yield* borrow(pool)
        const inFallback = yield* borrow(pool)
        assert.deepStrictEqual(states(inUpgrade, inFallback), ["has 1", "has 2"])
        const waiter = yield* borrow(pool)
        assert.deepStrictEqual([states(waiter), (yield* pool.stats).pending], [["waits"], 1])
        assert.strictEqual(peer.live(), 2)
        yield* inUpgrade.leave
        yield* inFallback.leave
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(waiter.state().slice(0, 3), "has")
        assert.strictEqual(peer.live(), 2)
      })
    )

    it.effect("N2 two connections that turn out to be for the other side at once both get there", () =>
      Effect.gen(function* () {
        for (const around of [
          (connect: Connect) => connect,
          (connect: Connect) => () => Effect.delay(connect(), 10),
          (connect: Connect) => () => Effect.tap(connect(), () => Effect.sleep(10))
        ]) {
          const { peer, pool } = yield* negotiated({
            upgrades: ({ id }) => id > 1,
            upgrade: { concurrency: 1, maxSize: 2 },
            around
          })
          const first = yield* Effect.tap(borrowLater(pool), () => TestClock.adjust("1 second"))
          const gate = yield* Deferred.make<void>()
          peer.script(gated(gate), gated(gate))
          const both = yield* borrowMany(pool, 2)
          yield* TestClock.adjust("1 second")
          assert.strictEqual(peer.attempts(), 3)
          Deferred.doneUnsafe(gate, Exit.void)
          yield* TestClock.adjust("1 second")
          yield* settle
          assert.deepStrictEqual(states(first, ...both), ["has 1", "has 2", "has 3"])
          assert.deepStrictEqual([peer.attempts(), peer.closed()], [3, []])
        }
      })
    )

    it.effect("N2 between pools of other kinds than this package's, too", () =>
      Effect.gen(function* () {
        const foreign = <P extends Pool>(make: Effect.Effect<P, never, Scope.Scope>) =>
          Effect.map(make, ({ drain, get, guard, lease, observe, pipe, retain, stats, use }): Pool => {
            return { drain, get, guard, lease, observe, pipe, retain, stats, use }
          })
        for (const upgrades of [true, false]) {
          const { peer, pool } = yield* over((peer) =>
            NegotiatePool.makeMerged({
              connect: peer.connect,
              inspect: ({ id }) => upgrades || id === 2,
              upgrade: (connect) => foreign(SharedPool.make({ connect, concurrency: 10, maxSize: 1 })),
              fallback: (connect) => foreign(CachePool.make({ connect, maxSize: 3 }))
            })
          )
          const first = yield* borrow(pool)
          const second = yield* borrow(pool)
          assert.deepStrictEqual(states(first, second), upgrades ? ["has 1", "has 1"] : ["has 1", "has 2"])
          assert.strictEqual(yield* once(pool), upgrades ? "has 1" : "has 2")
          yield* first.leave
          yield* second.leave
          assert.deepStrictEqual(peer.closed(), [])
        }
      })
    )

    it.effect("N2 M4 under a shared limit of 1 a connection changes sides without a second slot", () =>
      Effect.gen(function* () {
        const limit = yield* ConnectionLimit.make({ max: 1 })
        const { peer, pool } = yield* negotiated({ upgrades: ({ id }) => id > 1, limit })
        let most = 0
        yield* pool.observe({
          connected: () => {
            most = Math.max(most, peer.live())
          }
        })
        const first = yield* borrow(pool)
        assert.deepStrictEqual([states(first), yield* limit.stats], [["has 1"], { max: 1, used: 1, waiting: 0 }])
        yield* first.lease().invalidate
        yield* first.leave
        const second = yield* borrow(pool)
        assert.deepStrictEqual([states(second), yield* limit.stats], [["has 2"], { max: 1, used: 1, waiting: 0 }])
        assert.strictEqual(most, 1)
        yield* second.lease().invalidate
        yield* second.leave
        assert.deepStrictEqual(yield* limit.stats, { max: 1, used: 0, waiting: 0 })
      })
    )

    it.effect("N2 C5 what a minimum of the fallback opened for the other side serves it", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({ fallback: { minSize: 2, backoff: everySecond } })
        yield* TestClock.adjust("10 seconds")
        const opened = peer.opened().length
        assert.strictEqual(opened - peer.closed().length, peer.live())
        assert.strictEqual(yield* once(pool), "has 1")
        assert.deepStrictEqual([peer.attempts(), peer.closed()], [1, []])
      })
    )
  })

  describe("a cold burst", () => {
    it.effect("N3 I15 makes one probe; on an upgrade all share it", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({ upgrade: { concurrency: 1_000 } })
        const [open] = gates(peer, succeed)
        const callers = yield* Effect.replicateEffect(borrowLater(pool), 500)
        yield* settle
        assert.strictEqual(peer.attempts(), 1)
        yield* open!
        yield* settle
        assert.deepStrictEqual(new Set(states(...callers)), new Set(["has 1"]))
        assert.strictEqual(peer.attempts(), 1)
      })
    )

    it.effect("N3 I15 makes one probe where the upgrade side is exclusive and the fallback has a minimum, too", () =>
      Effect.gen(function* () {
        for (const upgrades of [true, false]) {
          const { peer, pool } = yield* over((peer) => {
            peer.script(delay(10), delay(10))
            return NegotiatePool.makeMerged({
              connect: peer.connect,
              inspect: () => upgrades,
              upgrade: (connect) => CachePool.make({ connect, maxSize: 3 }),
              fallback: (connect) => CachePool.make({ connect, maxSize: 3, minSize: 2 })
            })
          })
          const callers = yield* borrowMany(pool, 3)
          assert.strictEqual(peer.attempts(), 1)
          yield* TestClock.adjust("1 second")
          yield* settle
          assert.deepStrictEqual(states(...callers).toSorted(), ["has 1", "has 2", "has 3"])
          assert.deepStrictEqual([peer.attempts(), peer.closed()], [3, []])
        }
      })
    )

    it.effect("N3 I15 on the fallback it fans out up to the limit, the probe's connection included", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({ upgrades: never, fallback: { maxSize: 6 } })
        const [open] = gates(peer, succeed)
        const callers = yield* Effect.replicateEffect(borrowLater(pool), 500)
        yield* settle
        assert.strictEqual(peer.attempts(), 1)
        yield* open!
        yield* settle
        assert.deepStrictEqual([peer.attempts(), peer.live()], [6, 6])
        assert.deepStrictEqual(states(...callers.slice(0, 7)), [
          "has 1",
          "has 2",
          "has 3",
          "has 4",
          "has 5",
          "has 6",
          "waits"
        ])
        for (const caller of callers) caller.leaveUnsafe()
        for (let i = 0; i < 30; i++) yield* settle
        assert.deepStrictEqual(new Set(states(...callers)), new Set(["ok"]))
        assert.strictEqual(peer.attempts(), 6)
      })
    )

    it.effect("N3 A6 callers are served in the order in which they came, whichever side it turns out to be", () =>
      Effect.gen(function* () {
        for (const upgrades of [true, false]) {
          const { peer, pool } = yield* negotiated({
            upgrades: () => upgrades,
            upgrade: { concurrency: 1 },
            fallback: { maxSize: 1 }
          })
          const [open] = gates(peer, succeed)
          const callers = yield* Effect.replicateEffect(borrowLater(pool), 300)
          yield* settle
          yield* open!
          yield* settle
          for (const caller of callers) {
            assert.strictEqual(caller.state(), "has 1")
            yield* caller.leave
          }
        }
      })
    )

    it.effect("N3 A6 nobody who comes when the outcome is known overtakes those who waited for it", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({ upgrades: never, fallback: { maxSize: 1 } })
        const gate = yield* Deferred.make<void>()
        peer.script(gated(gate))
        const order: Array<number> = []
        const call = (n: number) => pool.use(() => Effect.sync(() => void order.push(n)))
        for (let n = 0; n < 300; n++) yield* Effect.forkChild(call(n))
        yield* settle
        Deferred.doneUnsafe(gate, Exit.void)
        for (let n = 300; n < 320; n++) {
          yield* Effect.forkChild(call(n))
          yield* Effect.yieldNow
        }
        for (let i = 0; i < 20; i++) yield* settle
        assert.deepStrictEqual(
          order,
          Array.from({ length: 320 }, (_, n) => n)
        )
      })
    )

    it.effect("N3 A7 each waits for the probe no longer than its deadline", () =>
      Effect.gen(function* () {
        const { pool } = yield* negotiated(
          { upgrade: { waitTimeout: "3 seconds", connectTimeout: "1 hour" } },
          TestConnector.makeUnsafe(hang)
        )
        const early = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        const late = yield* borrow(pool)
        yield* TestClock.adjust(1_999)
        assert.deepStrictEqual(states(early, late), ["waits", "waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(early, late), ["WaitTimeout connect", "waits"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(early, late), ["WaitTimeout connect", "WaitTimeout connect"])
      })
    )

    for (const via of ["use", "get", "lease"] as const) {
      it.effect(`N3 A7 the wait for the probe counts against the wait on the side that it picks (${via})`, () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* negotiated({
            upgrades: never,
            fallback: { maxSize: 1, waitTimeout: "3 seconds" }
          })
          peer.script(delay("2 seconds"))
          const first = yield* borrow(pool, via)
          const second = yield* borrow(pool, via)
          yield* TestClock.adjust("1 second")
          const third = yield* borrow(pool, via)
          yield* TestClock.adjust(1_999)
          assert.deepStrictEqual(states(first, second, third), ["has 1", "waits", "waits"])
          yield* TestClock.adjust(1)
          assert.deepStrictEqual(states(second, third), ["WaitTimeout wait", "waits"])
          // It came when the outcome was known, and waits on one side only.
          const fourth = yield* borrow(pool, via)
          yield* TestClock.adjust(999)
          assert.deepStrictEqual(states(third), ["waits"])
          yield* TestClock.adjust(1)
          assert.deepStrictEqual(states(third, fourth), ["WaitTimeout wait", "waits"])
          yield* TestClock.adjust("2 seconds")
          assert.deepStrictEqual(states(fourth), ["WaitTimeout wait"])
        })
      )
    }

    it.effect("N3 A7 the wait counts on, too, where both sides are singletons", () =>
      Effect.gen(function* () {
        let fallback: Pool | undefined
        const { peer, pool } = yield* over((peer) =>
          NegotiatePool.makeMerged({
            connect: peer.connect,
            inspect: never,
            upgrade: (connect) => SingletonPool.make({ connect, waitTimeout: "9 seconds" }),
            fallback: (connect) =>
              Effect.tap(
                SingletonPool.make({ connect: () => Effect.delay(connect(), "8 seconds"), waitTimeout: "3 seconds" }),
                (pool) => Effect.sync(() => void (fallback = pool))
              )
          })
        )
        peer.script(delay("2 seconds"))
        const caller = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        // Keeps the fallback busy, so that there is no handing over and the caller has to join.
        const direct = yield* borrow(fallback!)
        yield* TestClock.adjust(1_999)
        assert.deepStrictEqual(states(caller, direct), ["waits", "waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(caller, direct), ["WaitTimeout connect", "waits"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(direct), ["WaitTimeout connect"])
      })
    )

    it.effect(
      "N3 A7 who has used up its time on the one side gets from the other what is there at once, or nothing",
      () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* negotiated({
            upgrades: never,
            upgrade: { waitTimeout: "9 seconds" },
            fallback: { maxSize: 1, waitTimeout: "1 second" }
          })
          peer.script(delay("2 seconds"))
          const callers = yield* borrowMany(pool, 2)
          yield* TestClock.adjust("2 seconds")
          yield* settle
          assert.deepStrictEqual(states(...callers), ["has 1", "WaitTimeout wait"])
        })
    )

    it.effect("N3 A7 who comes from the other side times out at its own time behind others who wait longer", () =>
      Effect.gen(function* () {
        const { fallback, peer, pool } = yield* negotiated({
          upgrades: never,
          fallback: { maxSize: 1, waitTimeout: "4 seconds" }
        })
        peer.script(delay("2 seconds"))
        const early = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        // Straight to the fallback, for which only its builder can ask.
        const late = yield* borrowMany(fallback, 2)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(early, ...late), ["waits", "has 1", "waits"])
        yield* TestClock.adjust(1_999)
        assert.deepStrictEqual(states(early, ...late), ["waits", "has 1", "waits"])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(states(early, ...late), ["WaitTimeout wait", "has 1", "waits"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(late[1]!), ["WaitTimeout wait"])
      })
    )

    it.effect("N3 the outcome is remembered: the next burst on a fallback fans out without a probe", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({ upgrades: never, fallback: { maxSize: 4 } })
        yield* pool.use((_, lease) => lease.invalidate)
        peer.script(hang, hang, hang, hang)
        yield* borrowMany(pool, 10)
        assert.deepStrictEqual([peer.attempts(), (yield* pool.stats).connecting], [5, 4])
      })
    )

    it.effect("N3 the outcome is remembered: after an upgraded connection is gone, one connect for all", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated()
        yield* pool.use((_, lease) => lease.invalidate)
        const [open] = gates(peer, succeed)
        const callers = yield* borrowMany(pool, 10)
        assert.strictEqual(peer.attempts(), 2)
        yield* open!
        assert.deepStrictEqual(new Set(states(...callers)), new Set(["has 2"]))
      })
    )

    it.effect("N3 until contradicted: a fallback connect that turns out to be an upgrade serves all from then on", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({ upgrades: ({ id }) => id > 1, fallback: { maxSize: 1 } })
        const first = yield* borrow(pool)
        yield* first.lease().invalidate
        yield* first.leave
        const callers = yield* borrowMany(pool, 3)
        assert.deepStrictEqual([states(...callers), peer.attempts()], [["has 2", "has 2", "has 2"], 2])
      })
    )

    it.effect("N3 until contradicted: an upgrade connect that turns out to be a fallback fans out", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({ upgrades: ({ id }) => id === 1, fallback: { maxSize: 2 } })
        yield* pool.use((_, lease) => lease.invalidate)
        const callers = yield* borrowMany(pool, 3)
        assert.deepStrictEqual([states(...callers), peer.attempts()], [["has 2", "has 3", "waits"], 3])
      })
    )

    it.effect("N3 callers that wait on a full fallback share an upgrade as soon as one is there", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({ upgrades: ({ id }) => id > 2, fallback: { maxSize: 2 } })
        const holders = yield* borrowMany(pool, 2)
        const waiters = yield* borrowMany(pool, 2)
        assert.deepStrictEqual(states(...holders, ...waiters), ["has 1", "has 2", "waits", "waits"])
        yield* holders[0]!.lease().invalidate
        yield* holders[0]!.leave
        yield* settle
        const late = yield* borrow(pool)
        assert.deepStrictEqual(states(...waiters, late), ["has 3", "has 3", "has 3"])
        assert.strictEqual(peer.attempts(), 3)
      })
    )

    it.effect("N3 a failed probe decides nothing: the next call probes again", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({ upgrades: never, upgrade: { backoff: everySecond } })
        peer.script(fail)
        assert.strictEqual(yield* once(pool), "TestConnectError 1")
        const callers = yield* borrowMany(pool, 2)
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.deepStrictEqual(states(...callers), ["has 2", "has 3"])
      })
    )
  })

  describe("errors and interruption", () => {
    it.effect("N4 a failed connect passes unchanged, to all who waited for the probe", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({ upgrades: never })
        const [end] = gates(peer, fail)
        const callers = yield* borrowMany(pool, 3)
        yield* end!
        assert.deepStrictEqual(states(...callers), ["TestConnectError 1", "TestConnectError 1", "TestConnectError 1"])
      })
    )

    it.effect("N4 on a known fallback an error reaches only the owner of the attempt", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({ upgrades: never, fallback: { maxSize: 3 } })
        const holder = yield* borrow(pool)
        const [end, open] = gates(peer, fail, succeed)
        const callers = yield* borrowMany(pool, 2)
        yield* end!
        yield* open!
        assert.deepStrictEqual(states(holder, ...callers), ["has 1", "TestConnectError 2", "has 3"])
      })
    )

    it.effect("N4 what a side's own handshake fails with passes unchanged, and the connection is closed", () =>
      Effect.gen(function* () {
        class Handshake extends Data.TaggedError("Handshake")<{ readonly side: string }> {}
        for (const upgrades of [true, false]) {
          const { peer, pool } = yield* over((peer) =>
            NegotiatePool.makeMerged({
              connect: peer.connect,
              inspect: () => upgrades,
              upgrade: (connect) =>
                SingletonPool.make({
                  connect: () =>
                    Effect.flatMap(connect(), (): Effect.Effect<TestConnection, Handshake> =>
                      Effect.fail(new Handshake({ side: "upgrade" }))
                    )
                }),
              fallback: (connect) =>
                CachePool.make({
                  connect: () =>
                    Effect.flatMap(connect(), (): Effect.Effect<TestConnection, Handshake> =>
                      Effect.fail(new Handshake({ side: "fallback" }))
                    )
                })
            })
          )
          const error = yield* Effect.flip(pool.use(() => Effect.void))
          assert.deepStrictEqual(
            [error._tag, error._tag === "Handshake" ? error.side : ""],
            ["Handshake", upgrades ? "upgrade" : "fallback"]
          )
          assert.strictEqual(peer.live(), 0)
        }
      })
    )

    it.effect("N4 a defect of the connector is a defect of the caller", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({ upgrades: never, fallback: { backoff: everySecond } })
        peer.script(TestConnector.die(new Error("no dns")))
        assert.strictEqual(yield* once(pool), "die no dns")
      })
    )

    it.effect(
      "N4 a caller that is interrupted on its way to the other side ends as interrupted, at whatever operation",
      () =>
        Effect.gen(function* () {
          const seen = new Set<string>()
          for (let budget = 3; budget < 24; budget++) {
            for (let turn = 0; turn < 14; turn++) {
              const run = Effect.gen(function* () {
                const { pool } = yield* negotiated({ upgrades: never })
                const limited = Effect.provideService(
                  pool.use(() => Effect.never),
                  Scheduler.MaxOpsBeforeYield,
                  budget
                )
                const fiber = yield* Effect.forkChild(limited)
                for (let i = 0; i < turn; i++) yield* Effect.yieldNow
                fiber.interruptUnsafe()
                yield* settle
                seen.add(describeExit(fiber.pollUnsafe()!))
              })
              yield* Effect.scoped(run)
            }
          }
          assert.deepStrictEqual([...seen], ["interrupted"])
        })
    )

    it.effect("N4 errors of a body pass unchanged, defects, too", () =>
      Effect.gen(function* () {
        const { pool } = yield* negotiated()
        assert.deepStrictEqual(yield* Effect.exit(pool.use(() => Effect.fail("mine"))), Exit.fail("mine"))
        assert.deepStrictEqual(yield* Effect.exit(pool.use(() => Effect.die("mine"))), Exit.die("mine"))
      })
    )

    for (const upgrades of [true, false]) {
      const side = upgrades ? "upgrade" : "fallback"
      for (const victim of [0, 1, 2]) {
        it.effect(`N4 N3 interrupting caller ${victim + 1} of 3 keeps the probe for the rest (${side})`, () =>
          Effect.gen(function* () {
            const { peer, pool } = yield* negotiated({ upgrades: () => upgrades, fallback: { maxSize: 2 } })
            const [open] = gates(peer, succeed)
            const callers = yield* borrowMany(pool, 3)
            yield* callers[victim]!.interrupt
            yield* open!
            yield* settle
            const rest = callers.filter((_, i) => i !== victim)
            assert.deepStrictEqual(states(...rest), upgrades ? ["has 1", "has 1"] : ["has 1", "has 2"])
            assert.strictEqual(peer.attempts(), upgrades ? 1 : 2)
          })
        )
      }

      it.effect(`N4 A2 all callers may leave: what the probe opened serves the next call (${side})`, () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* negotiated({ upgrades: () => upgrades })
          const [open] = gates(peer, succeed)
          const callers = yield* borrowMany(pool, 3)
          for (const caller of callers) yield* caller.interrupt
          yield* open!
          assert.deepStrictEqual([yield* once(pool), peer.log()], ["has 1", ["connect 1", "open 1"]])
        })
      )

      it.effect(`N4 A1 interruption at any instant loses nothing (${side})`, () =>
        Effect.gen(function* () {
          for (const budget of [3, 5, 8, 2_048]) {
            for (let turns = 0; turns < 14; turns++) {
              const { peer, pool } = yield* Effect.provideService(
                negotiated({ upgrades: () => upgrades, fallback: { maxSize: 2 } }),
                Scheduler.MaxOpsBeforeYield,
                budget
              )
              const callers = yield* Effect.provideService(
                Effect.forEach(["use", "get", "lease", "use"] as const, (via) => borrowLater(pool, via)),
                Scheduler.MaxOpsBeforeYield,
                budget
              )
              for (let i = 0; i < turns; i++) yield* Effect.yieldNow
              for (const caller of callers.slice(0, 3)) caller.fiber.interruptUnsafe()
              for (let i = 0; i < 6; i++) yield* settle
              const at = `budget ${budget}, ${turns} turns`
              assert.strictEqual(callers[3]!.state().slice(0, 3), "has", at)
              assert.strictEqual((yield* pool.stats).borrowers, 1, at)
              yield* callers[3]!.leave
              const { closed, created, idle } = yield* pool.stats
              assert.deepStrictEqual([created - closed, idle], [peer.live(), peer.live()], at)
            }
          }
        })
      )
    }

    it.effect("N4 A2 with onAbandon cancel a probe that nobody waits for is cancelled, and the next call probes", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({ upgrades: never, upgrade: { onAbandon: "cancel" } })
        peer.script(hang)
        const caller = yield* borrow(pool)
        yield* caller.interrupt
        assert.deepStrictEqual(peer.log(), ["connect 1", "cancel 1"])
        assert.strictEqual(yield* once(pool), "has 2")
      })
    )

    it.effect("I4 no caller ever sees how the sides tell each other, whatever the peer does", () =>
      Effect.gen(function* () {
        const behaviours = [succeed, fail, delay(300), delay(900, fail), succeed, hang, succeed]
        let next = 0
        const peer = TestConnector.makeUnsafe((attempt) => behaviours[next++ % behaviours.length]!(attempt))
        const { pool } = yield* negotiated(
          {
            upgrades: ({ id }) => id % 5 < 2,
            upgrade: { concurrency: 2, maxSize: 2, connectTimeout: "2 seconds" },
            fallback: { maxSize: 3, connectTimeout: "2 seconds" }
          },
          peer
        )
        const seen = new Set<string>()
        for (let round = 0; round < 60; round++) {
          const callers = yield* borrowMany(pool, 1 + (round % 5))
          if (round % 3 === 0) yield* pool.retain(() => round % 2 === 0)
          if (round % 4 === 0) yield* callers[0]!.interrupt
          yield* TestClock.adjust("500 millis")
          for (const caller of callers) caller.leaveUnsafe()
          yield* TestClock.adjust("31 seconds")
          for (const caller of callers) seen.add(caller.state().replace(/\d+/, "n"))
        }
        assert.deepStrictEqual(
          Array.from(seen).filter((state) => !/^(ok|interrupted|TestConnectError n|WaitTimeout connect)$/.test(state)),
          []
        )
      })
    )
  })

  describe("both sides", () => {
    it.effect("stats are the sum, retain reaches both", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* mixed()
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, used: 1, borrowers: 1, created: 2, maxSize: 11 }))
        yield* pool.retain(() => false)
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("guard holds on both sides while its scope is open", () =>
      Effect.gen(function* () {
        const { peer, pool, upgraded } = yield* mixed()
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* pool.guard(({ id }) => id > 2)
            yield* upgraded.leave
            assert.deepStrictEqual(peer.closed(), [2])
            const next = yield* borrow(pool)
            assert.deepStrictEqual([states(next), peer.closed()], [["has 3"], [2, 1]])
            yield* next.leave
          })
        )
        assert.strictEqual(yield* once(pool), "has 3")
      })
    )

    it.effect("A8 drain fails those who wait for the probe, cancels it, and closes both sides", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* negotiated({}, TestConnector.makeUnsafe(hang))
        const callers = yield* borrowMany(pool, 2)
        yield* pool.drain()
        yield* settle
        assert.deepStrictEqual(states(...callers), ["Closed", "Closed"])
        assert.deepStrictEqual([peer.log(), yield* once(pool)], [["connect 1", "cancel 1"], "Closed"])
      })
    )

    it.effect("A8 borrowers of both sides finish until the deadline", () =>
      Effect.gen(function* () {
        const { peer, pool, upgraded } = yield* mixed()
        const draining = yield* Effect.forkChild(pool.drain({ deadline: "5 seconds" }))
        yield* TestClock.adjust(4_999)
        assert.deepStrictEqual([peer.closed(), draining.pollUnsafe()], [[1], undefined])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual([peer.closed(), states(upgraded)], [[1, 2], ["has 2"]])
        assert.isTrue(draining.pollUnsafe() !== undefined)
      })
    )

    it.effect("A8 a connection that opens while the pool drains is closed, whichever side it is for", () =>
      Effect.gen(function* () {
        for (const upgrades of [true, false]) {
          const peer = TestConnector.makeUnsafe()
          const { pool } = yield* negotiated(
            { upgrades: () => upgrades, policy: (connect) => () => Effect.uninterruptible(connect()) },
            peer
          )
          const [open] = gates(peer, succeed)
          const caller = yield* borrow(pool)
          const draining = yield* Effect.forkChild(pool.drain())
          yield* settle
          assert.deepStrictEqual([states(caller), draining.pollUnsafe()], [["Closed"], undefined])
          yield* open!
          yield* settle
          assert.deepStrictEqual(
            [peer.log(), draining.pollUnsafe() !== undefined],
            [["connect 1", "open 1", "close 1"], true]
          )
        }
      })
    )

    it.effect("A8 closing the scope closes everything, with nothing left running", () =>
      Effect.gen(function* () {
        yield* TestClock.adjust(1)
        const { counted, running } = fiberCounter()
        const peer = TestConnector.makeUnsafe()
        const { close, pool } = yield* counted(
          inScope(
            NegotiatePool.makeMerged({
              connect: peer.connect,
              inspect: ({ id }) => id > 1,
              upgrade: (connect) => SharedPool.make({ connect, concurrency: 1, maxSize: 2 }),
              fallback: (connect) => CachePool.make({ connect, maxSize: 1 })
            })
          )
        )
        const borrowers = yield* borrowMany(pool, 6)
        yield* close
        yield* settle
        assert.deepStrictEqual([peer.live(), running()], [0, 0])
        for (const borrower of borrowers) yield* borrower.leave
        assert.deepStrictEqual(
          states(...borrowers).filter((state) => state !== "ok" && state !== "Closed"),
          []
        )
      })
    )

    it.effect("A10 nothing runs for an empty pool, before, and after a probe that went either way", () =>
      Effect.gen(function* () {
        for (const upgrades of [true, false]) {
          const clock = yield* settableClock
          const { pool } = yield* clock.provide(negotiated({ upgrades: () => upgrades }))
          assert.strictEqual(clock.timers(), 0)
          yield* pool.use((_, lease) => lease.invalidate)
          yield* settle
          assert.strictEqual(clock.timers(), 0)
        }
      })
    )
  })
})
