import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as TestConsole from "effect/testing/TestConsole"
import type { ConnectionPool, Observer } from "../src/ConnectionPool.ts"
import { delay, fail, hang } from "../src/testing/TestConnector.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import {
  borrow,
  type Borrower,
  borrowMany,
  cache,
  everySecond,
  once,
  settle,
  singleton,
  states,
  stats
} from "./support/scene.ts"

/** An observer that writes a line for everything it is told; ids are counted from 1. */
const recorder = () => {
  const log: Array<string> = []
  const ids: Array<number> = []
  const short = (id: number) => {
    if (!ids.includes(id)) ids.push(id)
    return ids.indexOf(id) + 1
  }
  const observer: Observer = {
    connecting: (id) => {
      log.push(`connecting ${short(id)}`)
    },
    connected: (info, elapsed) => {
      log.push(`connected ${short(info.id)} after ${elapsed}`)
    },
    connectFailed: (id, cause, elapsed) => {
      log.push(`connectFailed ${short(id)} ${Cause.hasFails(cause) ? "error" : "defect"} after ${elapsed}`)
    },
    borrowed: (info) => {
      log.push(`borrowed ${short(info.id)} uses ${info.uses}`)
    },
    returned: (info, elapsed) => {
      log.push(`returned ${short(info.id)} after ${elapsed}`)
    },
    evicted: (info, reason) => {
      log.push(`evicted ${short(info.id)} ${reason}`)
    },
    closed: (info) => {
      log.push(`closed ${short(info.id)}`)
    },
    waitStarted: (waiter) => {
      log.push(`waitStarted ${short(waiter)}`)
    },
    waitEnded: (waiter, outcome, elapsed) => {
      log.push(`waitEnded ${short(waiter)} ${outcome} after ${elapsed}`)
    }
  }
  const take = () => log.splice(0)
  return { observer, take }
}

const observed = (pool: ConnectionPool<void, unknown, unknown>) =>
  Effect.gen(function* () {
    const { observer, take } = recorder()
    yield* pool.observe(observer)
    return take
  })

describe("observers", () => {
  describe("CachePool", () => {
    it.effect("a first loan: wait, connect, serve, borrow, return", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({}, TestConnector.makeUnsafe(delay(7)))
        const take = yield* observed(pool)
        const borrower = yield* borrow(pool)
        yield* TestClock.adjust(7)
        yield* TestClock.adjust(5)
        yield* borrower.leave
        assert.deepStrictEqual(take(), [
          "waitStarted 1",
          "connecting 2",
          "connected 2 after 7",
          "waitEnded 1 served after 7",
          "borrowed 2 uses 1",
          "returned 2 after 5"
        ])
      })
    )

    it.effect("a reuse: borrow, return, no wait", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache()
        yield* once(pool)
        const take = yield* observed(pool)
        yield* once(pool)
        assert.deepStrictEqual(take(), ["borrowed 1 uses 2", "returned 1 after 0"])
      })
    )

    it.effect("a failed attempt", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({}, TestConnector.makeUnsafe(delay(3, fail)))
        const take = yield* observed(pool)
        yield* borrow(pool)
        yield* TestClock.adjust(3)
        assert.deepStrictEqual(take(), [
          "waitStarted 1",
          "connecting 2",
          "connectFailed 2 error after 3",
          "waitEnded 1 failed after 3"
        ])
      })
    )

    it.effect("an eviction, then the end of its close", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache()
        peer.onClose(() => Effect.sleep(4))
        yield* once(pool)
        const take = yield* observed(pool)
        yield* pool.retain(() => "lifetime")
        assert.deepStrictEqual(take(), ["evicted 1 lifetime"])
        yield* TestClock.adjust(4)
        assert.deepStrictEqual(take(), ["closed 1"])
      })
    )

    it.effect("a close that hangs is told as closed after closeTimeout, once", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache({ closeTimeout: 4 })
        const closing = yield* Deferred.make<void>()
        peer.onClose(() => Deferred.await(closing))
        yield* once(pool)
        const take = yield* observed(pool)
        yield* pool.retain(() => false)
        yield* TestClock.adjust(4)
        Deferred.doneUnsafe(closing, Exit.void)
        yield* settle
        assert.deepStrictEqual(take(), ["evicted 1 retain", "closed 1"])
      })
    )

    it.effect("how each wait ended: served, timed out, interrupted, failed, closed", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1, waitTimeout: 100 })
        const holder = yield* borrow(pool)
        const take = yield* observed(pool)
        const served = yield* borrow(pool)
        yield* TestClock.adjust(1)
        yield* borrow(pool)
        yield* TestClock.adjust(1)
        const interrupted = yield* borrow(pool)
        yield* TestClock.adjust(1)
        yield* interrupted.interrupt
        yield* holder.leave
        yield* TestClock.adjust(98)
        yield* borrow(pool)
        yield* TestClock.adjust(1)
        yield* pool.drain()
        assert.deepStrictEqual(
          take().filter((line) => line.startsWith("wait")),
          [
            "waitStarted 1",
            "waitStarted 2",
            "waitStarted 3",
            "waitEnded 3 interrupted after 1",
            "waitEnded 1 served after 3",
            "waitEnded 2 timedOut after 100",
            "waitStarted 5",
            "waitEnded 5 closed after 1"
          ]
        )
        assert.deepStrictEqual(states(served), ["has 1"])
      })
    )

    it.effect("every wait that started ends once, also one that was granted a connection and was interrupted", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        const holder = yield* borrow(pool, "lease")
        const take = yield* observed(pool)
        const waiter = yield* borrow(pool)
        holder.lease().releaseUnsafe()
        waiter.fiber.interruptUnsafe()
        yield* settle
        assert.deepStrictEqual(take(), ["waitStarted 1", "returned 2 after 0", "waitEnded 1 interrupted after 0"])
      })
    )

    it.effect("loans, waits and connections balance through a mixed life", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* cache(
          { maxSize: 2, backoff: everySecond, waitTimeout: "3 seconds" },
          TestConnector.makeUnsafe(delay(300))
        )
        const take = yield* observed(pool)
        peer.script(fail, hang)
        const borrowers = yield* borrowMany(pool, 8)
        for (const [index, borrower] of borrowers.entries()) {
          yield* TestClock.adjust("1 second")
          if (index % 3 === 0) yield* borrower.interrupt
          else yield* borrower.leave
          if (index === 5) yield* pool.retain(() => false)
        }
        yield* pool.drain()
        const log = take()
        const count = (word: string) => log.filter((line) => line.startsWith(`${word} `)).length
        assert.strictEqual(count("waitStarted"), count("waitEnded"))
        assert.strictEqual(count("borrowed"), count("returned"))
        assert.strictEqual(count("connected"), count("evicted"))
        assert.strictEqual(count("connected"), count("closed"))
        assert.isTrue(count("connecting") >= count("connected") + count("connectFailed"))
        assert.strictEqual(
          new Set(log.filter((line) => line.startsWith("waitEnded")).map((line) => line.split(" ")[1])).size,
          count("waitEnded")
        )
      })
    )

    it.effect("a wait that began before anybody observed is not told half", () =>
      Effect.gen(function* () {
        const { pool } = yield* cache({ maxSize: 1 })
        const [holder, waiter] = yield* borrowMany(pool, 2)
        const take = yield* observed(pool)
        yield* holder!.leave
        yield* waiter!.leave
        assert.deepStrictEqual(
          take().map((line) => line.split(" ")[0]),
          ["returned", "borrowed", "returned"]
        )
      })
    )

    it.effect("dead on arrival: connected, evicted, closed, and no attempt that failed with an error", () =>
      Effect.gen(function* () {
        let opened = 0
        const { pool } = yield* cache({ isOpen: () => ++opened > 1, backoff: everySecond })
        const take = yield* observed(pool)
        yield* borrow(pool)
        assert.deepStrictEqual(take(), [
          "waitStarted 1",
          "connecting 2",
          "connected 2 after 0",
          "evicted 2 closed",
          "closed 2"
        ])
      })
    )

    it.effect("may interrupt the caller that it is told of, whatever the pool was about to do with it", () =>
      Effect.gen(function* () {
        for (const failure of ["timedOut", "failed", "closed"] as const) {
          const { peer, pool } = yield* cache({ maxSize: 1, waitTimeout: "1 second", onAbandon: "cancel" })
          const waiters: Array<number> = []
          const callers: Array<Borrower> = []
          yield* pool.observe({
            waitStarted: (id) => {
              waiters.push(id)
            },
            waitEnded: (id, outcome) => {
              if (outcome === failure) callers[waiters.indexOf(id)]?.fiber.interruptUnsafe()
            }
          })
          if (failure === "failed") peer.script(delay("500 millis", fail))
          callers.push(yield* borrow(pool))
          callers.push(...(yield* borrowMany(pool, 2)))
          yield* TestClock.adjust("600 millis")
          callers.push(...(yield* borrowMany(pool, 2)))
          yield* TestClock.adjust("500 millis")
          if (failure === "closed") yield* pool.drain()
          yield* settle
          for (const caller of callers) yield* caller.leave
          yield* TestClock.adjust("10 seconds")
          assert.notInclude(states(...callers).join(), "waits", failure)
          assert.deepInclude(yield* pool.stats, { used: 0, pending: 0, borrowers: 0 }, failure)
        }
      })
    )
  })

  describe("SingletonPool", () => {
    it.effect("callers that share an attempt: each waits, one attempt", () =>
      Effect.gen(function* () {
        const { pool } = yield* singleton({}, TestConnector.makeUnsafe(delay(5)))
        const take = yield* observed(pool)
        const [a, b] = yield* borrowMany(pool, 2)
        yield* TestClock.adjust(5)
        yield* a!.leave
        yield* b!.leave
        assert.deepStrictEqual(take().toSorted(), [
          "borrowed 2 uses 1",
          "borrowed 2 uses 2",
          "connected 2 after 5",
          "connecting 2",
          "returned 2 after 0",
          "returned 2 after 0",
          "waitEnded 1 served after 5",
          "waitEnded 3 served after 5",
          "waitStarted 1",
          "waitStarted 3"
        ])
      })
    )

    it.effect("how each wait ended: failed for all, timed out, interrupted, closed", () =>
      Effect.gen(function* () {
        const { peer, pool } = yield* singleton({ waitTimeout: 100, backoff: everySecond })
        const take = yield* observed(pool)
        peer.script(delay(10, fail))
        yield* borrowMany(pool, 2)
        yield* TestClock.adjust(10)
        yield* borrow(pool)
        const interrupted = yield* borrow(pool)
        yield* interrupted.interrupt
        yield* TestClock.adjust(100)
        yield* borrow(pool)
        yield* pool.drain()
        assert.deepStrictEqual(
          take().filter((line) => line.startsWith("waitEnded")),
          [
            "waitEnded 1 failed after 10",
            "waitEnded 3 failed after 10",
            "waitEnded 5 interrupted after 0",
            "waitEnded 4 timedOut after 100",
            "waitEnded 6 closed after 0"
          ]
        )
      })
    )
  })

  for (const [name, make] of [
    ["CachePool", cache],
    ["SingletonPool", singleton]
  ] as const) {
    describe(`observe (${name})`, () => {
      it.effect("tells several observers, each until its own scope closes", () =>
        Effect.gen(function* () {
          const { pool } = yield* make()
          const first = recorder()
          const second = recorder()
          const scope = yield* Scope.make()
          yield* Scope.provide(pool.observe(first.observer), scope)
          yield* pool.observe(second.observer)
          yield* once(pool)
          assert.deepStrictEqual(first.take(), second.take())
          yield* Scope.close(scope, Exit.void)
          yield* once(pool)
          assert.deepStrictEqual([first.take().length, second.take().length], [0, 2])
        })
      )

      it.effect("the same observer installed twice is told twice and leaves once at a time", () =>
        Effect.gen(function* () {
          const { pool } = yield* make()
          const { observer, take } = recorder()
          const scope = yield* Scope.make()
          yield* Scope.provide(pool.observe(observer), scope)
          yield* pool.observe(observer)
          yield* once(pool)
          take()
          yield* once(pool)
          assert.strictEqual(take().length, 4)
          yield* Scope.close(scope, Exit.void)
          yield* once(pool)
          assert.strictEqual(take().length, 2)
        })
      )

      for (const callback of [
        "connecting",
        "connected",
        "connectFailed",
        "borrowed",
        "returned",
        "evicted",
        "closed",
        "waitStarted",
        "waitEnded"
      ] as const) {
        it.effect(`${callback} that throws is isolated: pool and other observers go on, a debug log says so`, () =>
          Effect.gen(function* () {
            const { peer, pool } = yield* make({ backoff: everySecond })
            yield* pool.observe({
              [callback]: () => {
                throw new Error(`from ${callback}`)
              }
            })
            const take = yield* observed(pool)
            peer.script(fail)
            assert.strictEqual(yield* once(pool), "TestConnectError 1")
            const borrower = yield* borrow(pool)
            yield* TestClock.adjust("1 second")
            assert.strictEqual(borrower.state(), "has 2")
            yield* borrower.leave
            yield* pool.retain(() => false)
            const { closed, created, failed, idle } = yield* pool.stats
            assert.deepStrictEqual([idle, created, closed, failed], [0, 1, 1, 1])
            assert.isTrue(take().some((line) => line.startsWith(callback)))
            const logged = (yield* TestConsole.logLines).map(String).join("\n")
            assert.isTrue(logged.includes("A callback given to a pool threw"), logged)
            assert.isTrue(logged.includes(`from ${callback}`), logged)
          }).pipe(Effect.provideService(References.MinimumLogLevel, "Debug"))
        )
      }

      it.effect("an observer may look at the pool, and sees consistent levels", () =>
        Effect.gen(function* () {
          const { pool } = yield* make()
          const seen: Array<string> = []
          const look = () => {
            const { borrowers, idle, used } = Effect.runSync(pool.stats)
            seen.push(`${idle} idle, ${used} used, ${borrowers} borrowers`)
          }
          yield* pool.observe({ borrowed: look })
          yield* once(pool)
          yield* once(pool)
          assert.deepStrictEqual(seen, ["0 idle, 1 used, 1 borrowers", "0 idle, 1 used, 1 borrowers"])
        })
      )

      it.effect("an observer that drains the pool from a callback does no harm", () =>
        Effect.gen(function* () {
          const { peer, pool } = yield* make()
          yield* pool.observe({
            returned: () => {
              Effect.runFork(pool.drain())
            }
          })
          yield* once(pool)
          yield* settle
          assert.deepStrictEqual([peer.closed(), yield* once(pool)], [[1], "Closed"])
        })
      )
    })
  }

  it.effect("stats are the same whether somebody observes or not", () =>
    Effect.gen(function* () {
      const run = (observing: boolean) =>
        Effect.gen(function* () {
          const { peer, pool } = yield* cache({ maxSize: 2, backoff: everySecond })
          if (observing) yield* observed(pool)
          peer.script(fail)
          const borrowers = yield* borrowMany(pool, 5)
          yield* TestClock.adjust("1 second")
          for (const borrower of borrowers) yield* borrower.leave
          return [yield* pool.stats, peer.log()]
        })
      const [quiet, loud] = [yield* run(false), yield* run(true)]
      assert.deepStrictEqual(quiet, loud)
      assert.deepStrictEqual(quiet[0], stats({ idle: 2, maxSize: 2, created: 2, reused: 2, failed: 1 }))
    })
  )
})
