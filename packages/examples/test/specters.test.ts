/**
 * The operations of the `ConnectionPool` of specters, a Rust HTTP client, each
 * with what does the same here. docs/specters.md has them as a table.
 */
import { assert, describe, it } from "@effect/vitest"
import { CachePool, ConnectionPool, ExpirePool, MapPool, SharedPool } from "@poolkit/pool"
import { TestConnector } from "@poolkit/pool/testing"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import { TestClock } from "effect/testing"

const idOf = ({ id }: TestConnector.TestConnection) => Effect.succeed(id)

describe("specters", () => {
  it.effect("get_h1: takeIdle borrows what was used last, and is none where nothing is idle", () =>
    Effect.gen(function* () {
      const peer = yield* TestConnector.make()
      const pool = yield* CachePool.make({ ...peer.options, maxSize: 6 })
      assert.isTrue(Option.isNone(yield* pool.takeIdle))
      yield* Effect.scoped(Effect.andThen(pool.get(), pool.get()))
      const last = yield* pool.use(idOf)
      assert.deepStrictEqual(
        Option.map(yield* pool.takeIdle, ({ id }) => id),
        Option.some(last)
      )
      assert.strictEqual(peer.attempts(), 2)
    })
  )

  it.effect("put_h1: adopt takes a connection in; at the cap the least recently used one makes room", () =>
    Effect.gen(function* () {
      const closed: Array<string> = []
      const pool = yield* CachePool.make({ connect: () => Effect.succeed("opened"), maxSize: 2 })
      const put = (name: string) =>
        pool.adopt(
          name,
          Effect.sync(() => closed.push(name))
        )
      yield* put("a")
      yield* TestClock.adjust("1 second")
      yield* put("b")
      yield* put("c")
      assert.deepStrictEqual(closed, ["a"])
      assert.strictEqual(yield* pool.use(Effect.succeed), "c")
    })
  )

  it.effect("get_or_create: as many as a connection has streams share it, its creator included", () =>
    Effect.gen(function* () {
      const peer = yield* TestConnector.make(TestConnector.delay("10 millis"))
      const pool = yield* SharedPool.make({ ...peer.options, concurrency: 3, maxSize: 2 })
      const streams = yield* Effect.forkChild(
        Effect.replicateEffect(
          pool.use((connection) => Effect.delay(idOf(connection), "1 second")),
          6,
          { concurrency: "unbounded" }
        )
      )
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual((yield* Fiber.join(streams)).toSorted(), [1, 1, 1, 2, 2, 2])
    })
  )

  it.effect("release: a slot goes back to the connection it came from, once", () =>
    Effect.gen(function* () {
      const peer = yield* TestConnector.make()
      const pool = yield* SharedPool.make({ ...peer.options, concurrency: 2, maxSize: 1 })
      const first = yield* pool.lease()
      yield* pool.lease()
      yield* first.release
      yield* first.release
      assert.strictEqual((yield* pool.stats).borrowers, 1)
      assert.strictEqual(first.info.borrowers, 1)
    })
  )

  it.effect("invalidate: no new streams on it; those it has finish", () =>
    Effect.gen(function* () {
      const peer = yield* TestConnector.make()
      const pool = yield* SharedPool.make({ ...peer.options, concurrency: 10, maxSize: 1 })
      const [first, second] = [yield* pool.lease(), yield* pool.lease()]
      yield* first.invalidate
      assert.strictEqual(yield* pool.use(idOf), 2)
      yield* first.release
      assert.deepStrictEqual(peer.closed(), [])
      yield* second.release
      assert.deepStrictEqual(peer.closed(), [1])
    })
  )

  it.effect("cleanup: retain drops now what was idle for too long", () =>
    Effect.gen(function* () {
      const peer = yield* TestConnector.make()
      const pool = yield* CachePool.make(peer.options)
      const cleanup = pool.retain((_, { idleSince }, now) => idleSince === undefined || now - idleSince < 30_000)
      yield* Effect.scoped(Effect.andThen(pool.get(), pool.get()))
      yield* TestClock.adjust("29 seconds")
      yield* pool.use(() => Effect.void)
      yield* TestClock.adjust("1 second")
      yield* cleanup
      assert.deepStrictEqual(peer.closed().length, 1)
      assert.strictEqual((yield* pool.stats).idle, 1)
    })
  )

  it.effect("spawn_cleanup_task: ExpirePool looks every interval, for as long as the scope is open", () =>
    Effect.gen(function* () {
      const peer = yield* TestConnector.make()
      const pool = yield* CachePool.make(peer.options).pipe(
        ExpirePool.make({ idleTimeToLive: "30 seconds", schedule: Schedule.spaced("10 seconds") })
      )
      yield* pool.use(() => Effect.void)
      yield* TestClock.adjust("29 seconds")
      assert.strictEqual(peer.live(), 1)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(peer.live(), 0)
    })
  )

  it.effect("stats: of all hosts and of one", () =>
    Effect.gen(function* () {
      const peer = yield* TestConnector.make()
      const pool = yield* MapPool.make({ key: (host: string) => host, pool: () => CachePool.make(peer.options) })
      yield* pool.use("a", () => Effect.void)
      yield* pool.get("b")
      const { borrowers, created, idle, used } = yield* pool.stats
      assert.deepStrictEqual({ borrowers, created, idle, used }, { borrowers: 1, created: 2, idle: 1, used: 1 })
      assert.strictEqual((yield* pool.statsOf("a"))?.idle, 1)
    })
  )

  it.effect("per-host cap: maxSize counts used and idle connections, and the wait is bounded", () =>
    Effect.gen(function* () {
      const peer = yield* TestConnector.make()
      const pool = yield* MapPool.make({
        key: (host: string) => host,
        pool: () => CachePool.make({ ...peer.options, maxSize: 6, waitTimeout: "5 seconds" })
      })
      yield* Effect.replicateEffect(pool.get("a"), 6)
      const seventh = yield* Effect.forkChild(Effect.flip(pool.use("a", () => Effect.void)))
      yield* pool.use("b", () => Effect.void) // another host is not held up
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(seventh.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const error = yield* Fiber.join(seventh)
      assert.isTrue(error instanceof ConnectionPool.PoolError && error.reason._tag === "WaitTimeout")
      assert.strictEqual(peer.attempts(), 7)
    })
  )

  it.effect("origin-fair order: where all wait for one place, a1 a2 b1 are served a1 b1 a2", () =>
    Effect.gen(function* () {
      const peer = yield* TestConnector.make()
      const pool = yield* MapPool.make({
        key: (request: string) => request[0]!,
        maxSize: 1,
        pool: (_, { limit }) => CachePool.make({ ...peer.options, limit })
      })
      const gate = yield* Deferred.make<void>()
      const served: Array<string> = []
      const requests = yield* Effect.forEach(["a1", "a2", "b1"], (request) =>
        Effect.forkChild(
          pool.use(request, () =>
            Effect.andThen(
              Effect.sync(() => served.push(request)),
              Deferred.await(gate)
            )
          ),
          { startImmediately: true }
        )
      )
      yield* Deferred.succeed(gate, undefined)
      yield* TestClock.adjust("1 minute")
      yield* Effect.forEach(requests, Fiber.join)
      assert.deepStrictEqual(served, ["a1", "b1", "a2"])
    })
  )
})
