import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as CachePool from "../src/CachePool.ts"
import * as Connector from "../src/Connector.ts"
import { delay, fail, hang } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import type { TestConnection } from "../src/testing/TestConnector.ts"
import {
  borrow,
  borrowMany,
  cache,
  describeExit,
  gates,
  once,
  settle,
  singleton,
  states,
  stats
} from "./support/scene.ts"

/** Opens `name`, then behaves like `then`; records opening and closing. */
const part = <A, E>(log: Array<string>, name: string, then: Effect.Effect<A, E>) =>
  Effect.andThen(
    Effect.acquireRelease(
      Effect.sync(() => log.push(`open ${name}`)),
      () => Effect.sync(() => log.push(`close ${name}`))
    ),
    then
  )

describe("Connector", () => {
  describe("annotate", () => {
    it.effect("attaches facts to the connections of a pool", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const connect = Connector.annotate(peer.connect, (connection) => ({ address: `10.0.0.${connection.id}` }))
        const { pool } = yield* cache({ connect }, peer)
        const borrowers = yield* borrowMany(pool, 2)
        assert.deepStrictEqual(
          borrowers.map((borrower) => borrower.lease().info.annotations),
          [new Map([["address", "10.0.0.1"]]), new Map([["address", "10.0.0.2"]])]
        )
      })
    )

    it.effect("is told the target", () =>
      Effect.gen(function* () {
        const connect = Connector.annotate(
          (host: string) => Effect.succeed(host.length),
          (length, host) => ({ host, length })
        )
        const pool = yield* CachePool.make({ connect: () => connect("example") })
        const facts = yield* pool.use((_, lease) => Effect.succeed(lease.info.annotations))
        assert.deepStrictEqual(
          facts,
          new Map<string, unknown>([
            ["host", "example"],
            ["length", 7]
          ])
        )
      })
    )

    it.effect("adds up over several layers, and the outer one wins", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const connect = peer.connect.bind(undefined)
        const annotated = Connector.annotate(
          Connector.annotate(connect, () => ({ a: 1, b: 1 })),
          () => ({ b: 2, c: 2 })
        )
        const { pool } = yield* singleton({ connect: annotated }, peer)
        const facts = yield* pool.use((_, lease) => Effect.succeed(lease.info.annotations))
        assert.deepStrictEqual(
          facts,
          new Map([
            ["a", 1],
            ["b", 2],
            ["c", 2]
          ])
        )
      })
    )

    it.effect("data-last does the same", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const connect = Connector.annotate(({ id }: TestConnection, target: void) => ({ id, target }))(peer.connect)
        const { pool } = yield* cache({ connect }, peer)
        const facts = yield* pool.use((_, lease) => Effect.succeed(lease.info.annotations))
        assert.deepStrictEqual(
          facts,
          new Map([
            ["id", 1],
            ["target", undefined]
          ] as ReadonlyArray<[string, unknown]>)
        )
      })
    )

    it.effect("facts of a failed attempt do not stick to the next connection", () =>
      Effect.gen(function* () {
        let attempts = 0
        const first = Connector.annotate(
          () => Effect.sync(() => ++attempts),
          (attempt) => ({ [`attempt ${attempt}`]: true })
        )
        const connect = () => Effect.flatMap(first(undefined), (n) => (n === 1 ? Effect.fail("no") : Effect.succeed(n)))
        const pool = yield* CachePool.make({ connect, backoff: Schedule.forever })
        yield* Effect.exit(pool.use(() => Effect.void))
        const facts = yield* pool.use((_, lease) => Effect.succeed(lease.info.annotations))
        assert.deepStrictEqual(facts, new Map([["attempt 2", true]]))
      })
    )

    it.effect("outside a pool goes nowhere and changes nothing", () =>
      Effect.gen(function* () {
        const connect = Connector.annotate(
          () => Effect.succeed("open"),
          () => ({ address: "here" })
        )
        assert.strictEqual(yield* connect(undefined), "open")
      })
    )

    it.effect("where a pool is stacked on another, the facts belong to the inner connection", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const connect = Connector.annotate(peer.connect, () => ({ address: "here" }))
        const { pool: inner } = yield* cache({ connect }, peer)
        const outer = yield* CachePool.make({ connect: inner.get })
        const facts = yield* outer.use((_, lease) => Effect.succeed(lease.info.annotations))
        const innerFacts: Array<unknown> = []
        yield* inner.retain((_, info) => {
          innerFacts.push(info.annotations)
          return true
        })
        assert.deepStrictEqual([facts, innerFacts], [new Map(), [new Map([["address", "here"]])]])
      })
    )
  })

  describe("timeout", () => {
    it.effect("fails an attempt that takes too long with TimeoutError, not a millisecond earlier", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe(hang)
        const connect = Connector.timeout(peer.connect, "2 seconds")
        const fiber = yield* Effect.forkChild(Effect.scoped(connect()))
        yield* TestClock.adjust(1_999)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual(describeExit(fiber.pollUnsafe()!), "TimeoutError")
        assert.deepStrictEqual(peer.log(), ["connect 1", "cancel 1"])
      })
    )

    it.effect("does not end a connection that was opened in time", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe(delay("1 second"))
        const connect = Connector.timeout("2 seconds")(peer.connect)
        const scope = yield* Scope.make()
        const fiber = yield* Effect.forkChild(Scope.provide(connect(), scope))
        yield* TestClock.adjust("1 hour")
        assert.isTrue(fiber.pollUnsafe()?._tag === "Success")
        assert.deepStrictEqual(peer.closed(), [])
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(peer.log(), ["connect 1", "open 1", "close 1"])
      })
    )

    it.effect("closes what the attempt had opened before it was over, at once", () =>
      Effect.gen(function* () {
        const log: Array<string> = []
        const connect = Connector.timeout(() => part(log, "socket", Effect.never), "1 second")
        const scope = yield* Scope.make()
        const fiber = yield* Effect.forkChild(Scope.provide(connect(undefined), scope))
        yield* TestClock.adjust("1 second")
        assert.strictEqual(describeExit(fiber.pollUnsafe()!), "TimeoutError")
        assert.deepStrictEqual(log, ["open socket", "close socket"])
      })
    )

    it.effect("is the error of a pool's caller, unwrapped", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe(hang)
        const pool = yield* CachePool.make({ connect: Connector.timeout(peer.connect, "1 second") })
        const borrower = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(borrower), ["TimeoutError"])
      })
    )
  })

  describe("retry", () => {
    it.effect("tries again as often as the schedule says", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        peer.script(fail, fail)
        const connect = Connector.retry(peer.connect, Schedule.recurs(2))
        const connection = yield* connect()
        assert.strictEqual(connection.id, 3)
        assert.deepStrictEqual(peer.log(), ["connect 1", "fail 1", "connect 2", "fail 2", "connect 3", "open 3"])
      })
    )

    it.effect("fails with the last failure when the schedule has ended", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe(fail)
        const connect = Connector.retry(Schedule.recurs(1))(peer.connect)
        assert.strictEqual(describeExit(yield* Effect.exit(connect())), "TestConnectError 2")
      })
    )

    it.effect("waits as long as the schedule says", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        peer.script(fail)
        const connect = Connector.retry(peer.connect, Schedule.spaced("1 second"))
        yield* Effect.forkChild(Effect.scoped(Effect.andThen(connect(), Effect.never)))
        yield* TestClock.adjust(999)
        assert.strictEqual(peer.attempts(), 1)
        yield* TestClock.adjust(1)
        assert.strictEqual(peer.attempts(), 2)
      })
    )

    it.effect("closes what a failed try had opened before the next one starts", () =>
      Effect.gen(function* () {
        const log: Array<string> = []
        let tries = 0
        const connect = Connector.retry(
          () =>
            Effect.suspend(() => {
              const n = ++tries
              return part(log, `socket ${n}`, n < 3 ? Effect.fail("handshake") : Effect.succeed(n))
            }),
          Schedule.recurs(5)
        )
        const pool = yield* CachePool.make({ connect })
        assert.strictEqual(yield* pool.use(Effect.succeed), 3)
        assert.deepStrictEqual(log, [
          "open socket 1",
          "close socket 1",
          "open socket 2",
          "close socket 2",
          "open socket 3"
        ])
        yield* pool.drain()
        assert.strictEqual(log.at(-1), "close socket 3")
      })
    )

    it.effect("calls the connector for each try", () =>
      Effect.gen(function* () {
        const addresses = ["a", "b", "c"]
        const connect = Connector.retry(() => {
          const address = addresses.shift()!
          return address === "c" ? Effect.succeed(address) : Effect.fail(`${address} is down`)
        }, Schedule.recurs(5))
        assert.strictEqual(yield* connect(undefined), "c")
      })
    )

    it.effect("interrupting it during a try closes what that try had opened", () =>
      Effect.gen(function* () {
        const log: Array<string> = []
        const connect = Connector.retry(() => part(log, "socket", Effect.never), Schedule.forever)
        const fiber = yield* Effect.forkChild(Effect.scoped(connect(undefined)))
        yield* settle
        fiber.interruptUnsafe()
        yield* settle
        assert.deepStrictEqual(log, ["open socket", "close socket"])
      })
    )
  })

  describe("limitConnecting", () => {
    it.effect("lets that many attempts run at once, over all pools that share it", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const [openFirst, openSecond] = gates(peer, TestConnector.succeed, TestConnector.succeed)
        const connect = Connector.limitConnecting(peer.connect, 2)
        const a = yield* CachePool.make({ connect })
        const b = yield* CachePool.make({ connect })
        const borrowers = [yield* borrow(a), yield* borrow(b), yield* borrow(a), yield* borrow(b)]
        assert.strictEqual(peer.attempts(), 2)
        yield* openFirst!
        yield* openSecond!
        assert.strictEqual(peer.attempts(), 4)
        assert.isTrue(borrowers.every((borrower) => borrower.state().startsWith("has")))
      })
    )

    it.effect("gives its permit back when the connection is open, not when it closes", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const { pool } = yield* cache({ connect: Connector.limitConnecting(1)(peer.connect) }, peer)
        assert.deepStrictEqual(states(...(yield* borrowMany(pool, 3))), ["has 1", "has 2", "has 3"])
      })
    )

    it.effect("gives its permit back when an attempt fails, dies or is cancelled", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const connect = Connector.limitConnecting(peer.connect, 1)
        const { pool } = yield* cache({ connect, onAbandon: "cancel", backoff: Schedule.forever }, peer)
        peer.script(fail, TestConnector.die("boom"), hang)
        assert.deepStrictEqual([yield* once(pool), yield* once(pool)], ["TestConnectError 1", "die boom"])
        const hanging = yield* borrow(pool)
        yield* hanging.interrupt
        assert.strictEqual(yield* once(pool), "has 4")
      })
    )

    it.effect("waiting for a permit counts as connecting, within connectTimeout", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe(hang)
        const connect = Connector.limitConnecting(peer.connect, 1)
        const { pool } = yield* cache({ connect, connectTimeout: "2 seconds", waitTimeout: "1 minute" }, peer)
        const borrowers = yield* borrowMany(pool, 2)
        assert.deepStrictEqual([(yield* pool.stats).connecting, peer.attempts()], [2, 1])
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(states(...borrowers), ["WaitTimeout connect", "WaitTimeout connect"])
      })
    )

    it("a bad number of permits is an error that names it", () => {
      for (const permits of [0, -1, 1.5, NaN, Infinity]) {
        assert.throws(
          () => Connector.limitConnecting(() => Effect.void, permits),
          RangeError,
          `permits must be an integer of at least 1, got ${permits}`
        )
      }
    })
  })

  describe("a pool's get", () => {
    it.effect("is a connector: closing the outer connection returns the inner one", () =>
      Effect.gen(function* () {
        const { peer, pool: inner } = yield* cache({ maxSize: 1 })
        const outer = yield* CachePool.make({ connect: inner.get })
        const borrower = yield* borrow(outer)
        assert.deepStrictEqual(yield* inner.stats, stats({ used: 1, borrowers: 1, maxSize: 1, created: 1 }))
        yield* borrower.lease().invalidate
        yield* borrower.leave
        assert.deepStrictEqual(yield* inner.stats, stats({ idle: 1, maxSize: 1, created: 1 }))
        assert.deepStrictEqual(peer.closed(), [])
      })
    )

    it.effect("takes policies like any connector", () =>
      Effect.gen(function* () {
        const { pool: inner } = yield* cache({ maxSize: 1 })
        yield* borrow(inner)
        const outer = yield* CachePool.make({ connect: Connector.timeout(inner.get, "1 second") })
        const borrower = yield* borrow(outer)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(borrower), ["TimeoutError"])
        assert.strictEqual((yield* inner.stats).pending, 0)
      })
    )

    it.effect("an attempt that is cancelled leaves the inner pool's line", () =>
      Effect.gen(function* () {
        const { pool: inner } = yield* cache({ maxSize: 1 })
        const holder = yield* borrow(inner)
        const outer = yield* CachePool.make({ connect: inner.get, onAbandon: "cancel" })
        const borrower = yield* borrow(outer)
        assert.strictEqual((yield* inner.stats).pending, 1)
        yield* borrower.interrupt
        assert.strictEqual((yield* inner.stats).pending, 0)
        const gate = yield* Deferred.make<void>()
        Deferred.doneUnsafe(gate, Exit.void)
        yield* holder.leave
        assert.strictEqual((yield* inner.stats).idle, 1)
      })
    )
  })
})
