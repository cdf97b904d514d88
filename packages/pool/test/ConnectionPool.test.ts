import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as ConnectionPool from "../src/ConnectionPool.ts"
import { Closed, PoolError, QueueFull, TooManyKeys, WaitTimeout } from "../src/ConnectionPool.ts"
import { fail, hang } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import type { TestConnection } from "../src/testing/TestConnector.ts"
import { borrow, borrowMany, cache, once, settle, singleton, states, stats } from "./support/scene.ts"

const upper = (connection: TestConnection) => ({ id: connection.id * 100, inner: connection })

/** A pool with a target, which lends `target/n` and remembers what it was asked for. */
const targeted = () => {
  const asked: Array<string> = []
  const lease = (target: string): ConnectionPool.Lease<string> => ({
    connection: `${target}/1`,
    info: { id: 1, createdAt: 0, idleSince: undefined, uses: 1, borrowers: 1, annotations: new Map() },
    release: Effect.void,
    releaseUnsafe: () => {},
    invalidate: Effect.void
  })
  const pool: ConnectionPool.ConnectionPool<string, string> = {
    get: (target) => Effect.sync(() => (asked.push(`get ${target}`), `${target}/1`)),
    lease: (target) => Effect.sync(() => (asked.push(`lease ${target}`), lease(target))),
    use: ((target: string, body: (connection: string, lease: ConnectionPool.Lease<string>) => Effect.Effect<unknown>) =>
      Effect.suspend(() => {
        asked.push(`use ${target}`)
        return body(`${target}/1`, lease(target))
      })) as unknown as ConnectionPool.Use<string, string, never>,
    retain: () => Effect.void,
    guard: () => Effect.void,
    observe: () => Effect.void,
    drain: () => Effect.void,
    stats: Effect.succeed(stats({})),
    pipe() {
      return this as never
    }
  }
  return { asked, pool }
}

describe("ConnectionPool", () => {
  describe("stats", () => {
    it.effect("are levels and counters of the moment at which they are read", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 3, onAbandon: "cancel", waitTimeout: "1 second" })
        const seen: Array<ConnectionPool.PoolStats> = [yield* pool.stats]
        const [a, b] = yield* borrowMany(pool, 2)
        seen.push(yield* pool.stats)
        yield* a!.leave
        yield* once(pool)
        seen.push(yield* pool.stats)
        peer.script(fail)
        yield* borrow(pool)
        yield* once(pool)
        seen.push(yield* pool.stats)
        const waiter = yield* borrow(pool)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(states(waiter, b!), ["has 4", "has 2"])
        seen.push(yield* pool.stats)
        assert.deepStrictEqual(seen, [
          stats({ maxSize: 3 }),
          stats({ maxSize: 3, used: 2, borrowers: 2, created: 2 }),
          stats({ maxSize: 3, idle: 1, used: 1, borrowers: 1, created: 2, reused: 1 }),
          stats({ maxSize: 3, used: 2, borrowers: 2, created: 2, reused: 2, failed: 1 }),
          stats({ maxSize: 3, used: 3, borrowers: 3, created: 3, reused: 2, failed: 1 })
        ])
      })
    )

    it.effect("are snapshots: what was read does not change", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const before = yield* pool.stats
        yield* once(pool)
        assert.deepStrictEqual(before, stats({}))
      })
    )
  })

  describe("info", () => {
    it.effect("ids are unique in the process and never reused", () =>
      Effect.gen(function* () {
        const a = yield* cache()
        const b = yield* singleton()
        const ids = new Set<number>()
        for (let round = 0; round < 5; round++) {
          for (const pool of [a.pool, b.pool]) {
            yield* pool.use((_, lease) =>
              Effect.andThen(
                Effect.sync(() => ids.add(lease.info.id)),
                lease.invalidate
              )
            )
          }
        }
        assert.strictEqual(ids.size, 10)
      })
    )

    it.effect("times come from the Clock that the pool was made with", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        yield* TestClock.adjust("1 minute")
        yield* once(pool)
        yield* TestClock.adjust("1 minute")
        const seen: Array<unknown> = []
        yield* pool.retain((_, info, now) => {
          seen.push(info.createdAt, info.idleSince, now)
          return true
        })
        assert.deepStrictEqual(seen, [60_000, 60_000, 120_000])
      })
    )
  })

  describe("events", () => {
    it.effect("are what an observer is told, as values, in order", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ maxSize: 1 })
        const collected = yield* Effect.forkChild(Stream.runCollect(Stream.take(ConnectionPool.events(pool), 15)))
        yield* settle
        yield* TestClock.adjust(5)
        const holder = yield* borrow(pool)
        const waiter = yield* borrow(pool)
        yield* TestClock.adjust(10)
        yield* holder.leave
        yield* waiter.lease().invalidate
        yield* TestClock.adjust(20)
        yield* waiter.leave
        peer.script(fail)
        yield* once(pool)
        const events = yield* Fiber.join(collected)
        assert.deepStrictEqual(
          events.map((event) => event._tag),
          [
            "WaitStarted",
            "Connecting",
            "Connected",
            "WaitEnded",
            "Borrowed",
            "WaitStarted",
            "Returned",
            "WaitEnded",
            "Borrowed",
            "Returned",
            "Evicted",
            "Closed",
            "WaitStarted",
            "Connecting",
            "ConnectFailed"
          ]
        )
        const evicted = events[10]!
        assert.isTrue(evicted._tag === "Evicted" && evicted.reason === "invalidated" && evicted.connection.uses === 2)
        const served = events[7]!
        assert.isTrue(served._tag === "WaitEnded" && served.outcome === "served" && served.elapsed === 10)
        const returned = events[9]!
        assert.isTrue(returned._tag === "Returned" && returned.elapsed === 20)
        const failed = events[14]!
        assert.isTrue(failed._tag === "ConnectFailed" && Cause.hasFails(failed.cause))
      })
    )

    it.effect("hold snapshots of connections, which later events do not change", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const collected = yield* Effect.forkChild(
          Stream.runCollect(
            Stream.take(
              Stream.filter(ConnectionPool.events(pool), (event) => event._tag === "Borrowed"),
              3
            )
          )
        )
        yield* settle
        for (let round = 0; round < 3; round++) yield* once(pool)
        const uses = (yield* Fiber.join(collected)).map((event) =>
          event._tag === "Borrowed" ? event.connection.uses : 0
        )
        assert.deepStrictEqual(uses, [1, 2, 3])
      })
    )

    it.effect("observe only while the stream runs", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        yield* once(pool)
        const first = yield* Effect.forkChild(Stream.runHead(ConnectionPool.events(pool)))
        yield* settle
        assert.isUndefined(first.pollUnsafe())
        yield* once(pool)
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(first)))
      })
    )

    it.effect("a consumer that falls behind loses the oldest and never slows the pool", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const seen: Array<string> = []
        const slow = yield* Effect.forkChild(
          Stream.runForEach(ConnectionPool.events(pool), (event) =>
            Effect.andThen(
              Effect.sync(() => seen.push(event._tag)),
              Effect.sleep("1 hour")
            )
          )
        )
        yield* settle
        yield* Effect.repeat(
          pool.use(() => Effect.void),
          { times: 5_000 }
        )
        assert.strictEqual((yield* pool.stats).reused, 5_000)
        assert.strictEqual(seen.length, 1)
        yield* Fiber.interrupt(slow)
      })
    )
  })

  describe("map", () => {
    it.effect("lends f(connection) by use, get and lease", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const mapped = ConnectionPool.map(pool, upper)
        const ids = [
          yield* mapped.use((connection, lease) => Effect.succeed([connection.id, lease.connection.id])),
          yield* Effect.scoped(Effect.map(mapped.get(), ({ id }) => [id])),
          yield* Effect.scoped(Effect.map(mapped.lease(), (lease) => [lease.connection.id]))
        ]
        assert.deepStrictEqual(ids, [[100, 100], [100], [100]])
        assert.deepStrictEqual(yield* mapped.stats, stats({ idle: 1, created: 1, reused: 2 }))
      })
    )

    it.effect("data-last does the same", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const mapped = pool.pipe(ConnectionPool.map(upper))
        assert.strictEqual(yield* once(mapped), "has 100")
      })
    )

    it.effect("leases still act on the connection: invalidate and release", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const mapped = ConnectionPool.map(pool, upper)
        const borrower = yield* borrow(mapped)
        yield* borrower.lease().invalidate
        yield* borrower.lease().release
        assert.deepStrictEqual([peer.closed(), (yield* mapped.stats).borrowers], [[1], 0])
        const scoped = yield* borrow(mapped, "lease")
        scoped.lease().releaseUnsafe()
        assert.strictEqual((yield* mapped.stats).idle, 1)
      })
    )

    it.effect("retain and guard see f(connection)", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const mapped = ConnectionPool.map(pool, upper)
        for (const borrower of yield* borrowMany(pool, 3)) yield* borrower.leave
        yield* mapped.retain(({ id }) => id !== 100)
        yield* mapped.guard(({ id }) => id !== 300)
        assert.strictEqual(yield* once(mapped), "has 200")
        assert.deepStrictEqual(peer.closed(), [1, 3])
      })
    )

    it.effect("observe, stats and drain are the pool's own", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const mapped = ConnectionPool.map(pool, upper)
        let borrowed = 0
        yield* mapped.observe({
          borrowed: () => {
            borrowed++
          }
        })
        yield* once(pool)
        yield* mapped.drain()
        assert.deepStrictEqual([borrowed, yield* once(pool), yield* once(mapped)], [1, "Closed", "Closed"])
        assert.deepStrictEqual(yield* mapped.stats, yield* pool.stats)
      })
    )

    it.effect("of a pool with a target passes the target on, by use, get and lease", () =>
      Effect.gen(function* () {
        const { asked, pool } = targeted()
        const mapped = ConnectionPool.map(pool, (connection) => connection.length)
        const seen = [
          yield* mapped.use("abc", (length) => Effect.succeed(length)),
          yield* Effect.scoped(mapped.get("de")),
          yield* Effect.scoped(Effect.map(mapped.lease("f"), (lease) => lease.connection))
        ]
        assert.deepStrictEqual(
          [seen, asked],
          [
            [5, 4, 3],
            ["use abc", "get de", "lease f"]
          ]
        )
      })
    )

    it.effect("f that throws is a defect of the borrower and loses no connection", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        const mapped = ConnectionPool.map(pool, (): TestConnection => {
          throw new Error("boom")
        })
        const borrowers = [yield* borrow(mapped, "use"), yield* borrow(mapped, "get"), yield* borrow(mapped, "lease")]
        assert.deepStrictEqual(states(...borrowers), ["die boom", "die boom", "die boom"])
        assert.deepStrictEqual(yield* pool.stats, stats({ idle: 1, created: 1, reused: 2 }))
      })
    )

    it.effect("composes", () =>
      Effect.gen(function* () {
        const { pool } = yield* singleton()
        const mapped = pool.pipe(
          ConnectionPool.map(({ id }) => id),
          ConnectionPool.map((id) => ({ id: id + 1 }))
        )
        assert.strictEqual(yield* once(mapped), "has 2")
      })
    )
  })

  describe("PoolError", () => {
    const reason = <E>(error: E | PoolError) => {
      assert.isTrue(error instanceof PoolError)
      return (error as PoolError).reason
    }

    it.effect("is one tagged error with a tagged reason", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxPending: 0 })
        const full = yield* Effect.flip(pool.use(() => Effect.void))
        assert.isTrue(reason(full) instanceof QueueFull)
        yield* pool.drain()
        const closed = yield* Effect.flip(pool.use(() => Effect.void))
        assert.isTrue(reason(closed) instanceof Closed)
      })
    )

    it.effect("is caught with catchTag, the connector's error with its own tag", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        peer.script(fail)
        const body = pool
          .use(() => Effect.succeed("ok"))
          .pipe(
            Effect.catchTag("TestConnectError", (error) => Effect.succeed(error._tag)),
            Effect.catchTag("PoolError", (error) => Effect.succeed(error.reason._tag))
          )
        const first = yield* body
        yield* pool.drain()
        assert.deepStrictEqual([first, yield* body], ["TestConnectError", "Closed"])
      })
    )

    it.effect("one reason is caught with catchReason", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ waitTimeout: "1 second" }, TestConnector.makeUnsafe(hang))
        const fiber = yield* Effect.forkChild(
          pool
            .use(() => Effect.succeed("ok"))
            .pipe(Effect.catchReason("PoolError", "WaitTimeout", (timeout) => Effect.succeed(`phase ${timeout.phase}`)))
        )
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Fiber.join(fiber), "phase connect")
      })
    )

    it("messages say what was asked, what the pool looked like and what to change", () => {
      const levels = stats({ used: 3, idle: 2, connecting: 1, closing: 4, maxSize: 6, pending: 5 })
      const timeout = (phase: "wait" | "connect" | "validate", lastFailure?: Cause.Cause<unknown>) =>
        new PoolError({
          reason: new WaitTimeout({ phase, after: Duration.seconds(30), stats: levels, lastFailure })
        }).message
      assert.strictEqual(
        timeout("wait"),
        "WaitTimeout: no connection after 30s (phase: wait; 3 used, 2 idle, 1 connecting, 4 closing of at most 6; " +
          "5 waiting); raise maxSize or waitTimeout, or look for borrowers that keep connections too long (leakWarning)"
      )
      assert.strictEqual(
        timeout("connect", Cause.fail("refused")),
        "WaitTimeout: no connection after 30s (phase: connect; 3 used, 2 idle, 1 connecting, 4 closing of at most 6; " +
          "5 waiting; the last attempt failed); check that the peer is reachable, or raise connectTimeout or waitTimeout"
      )
      assert.strictEqual(
        timeout("validate"),
        "WaitTimeout: no connection after 30s (phase: validate; 3 used, 2 idle, 1 connecting, 4 closing of at most 6; " +
          "5 waiting); check what validate waits for, or raise validateAfter or waitTimeout"
      )
      assert.strictEqual(
        new PoolError({ reason: new QueueFull({ maxPending: 7 }) }).message,
        "QueueFull: maxPending (7) callers are in line already; raise it, or slow the callers down"
      )
      assert.strictEqual(
        new PoolError({ reason: new Closed() }).message,
        "Closed: the pool is closed, or draining; it was used after drain or outside the scope that made it"
      )
      assert.strictEqual(
        new PoolError({ reason: new TooManyKeys({ maxKeys: 9 }) }).message,
        "TooManyKeys: maxKeys (9) keys are in use and none can make room; raise it"
      )
    })

    it.effect("of a wait shows the pool as it was when the wait ended", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 2 })
        yield* borrowMany(pool, 2)
        const fiber = yield* Effect.forkChild(Effect.flip(pool.use(() => Effect.void)))
        yield* TestClock.adjust("30 seconds")
        const error = yield* Fiber.join(fiber)
        assert.strictEqual(
          error.message,
          "WaitTimeout: no connection after 30s (phase: wait; 2 used, 0 idle, 0 connecting, 0 closing of at most 2; " +
            "1 waiting); raise maxSize or waitTimeout, or look for borrowers that keep connections too long (leakWarning)"
        )
      })
    )
  })

  describe("use outside its scope", () => {
    it.effect("a lease that outlives its scope is harmless", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        const scope = yield* Scope.make()
        const lease = yield* Scope.provide(pool.lease(), scope)
        yield* Scope.close(scope, Exit.void)
        yield* lease.invalidate
        yield* lease.release
        lease.releaseUnsafe()
        assert.deepStrictEqual([peer.closed(), yield* once(pool)], [[], "has 1"])
      })
    )
  })
})
