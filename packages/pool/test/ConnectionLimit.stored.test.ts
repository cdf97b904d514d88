import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as CachePool from "../src/CachePool.ts"
import * as ConnectionLimit from "../src/ConnectionLimit.ts"
import * as SharedPool from "../src/SharedPool.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { fleet, lineTo, type Process } from "./support/fleet.ts"
import { VirtualClock } from "./support/virtualClock.ts"
import { borrow, borrowLater, borrowMany, once, settle, states } from "./support/scene.ts"

const granted = (process: Process) => Effect.map(process.limit.stats, ({ granted }) => granted)
const lease = (process: Process) => Effect.map(process.limit.stats, ({ lease }) => lease)
/** Exchanges, wakes and what follows from them. */
const talk = Effect.repeat(settle, { times: 9 })
const has = (borrowers: ReadonlyArray<{ readonly state: () => string }>) =>
  borrowers.filter((borrower) => borrower.state().startsWith("has")).length

describe("ConnectionLimit", () => {
  describe("makeStored", () => {
    for (const [options, message] of [
      [{ max: 0 }, "ConnectionLimit: max must be an integer from 1"],
      [{ max: Infinity }, "ConnectionLimit: max must be an integer from 1"],
      [{ key: "" }, "ConnectionLimit: key must be a string that is not empty"],
      [{ leaseTime: 99 }, "ConnectionLimit: leaseTime must be finite and at least 100 milliseconds"],
      [{ leaseTime: "0 seconds" }, "ConnectionLimit: leaseTime must be a duration longer than zero"],
      [{ leaseTime: Infinity }, "ConnectionLimit: leaseTime must be finite"],
      [
        { onStoreError: "fail" as never },
        `ConnectionLimit: onStoreError must be "failClosed" or "failOpen", got "fail"`
      ]
    ] as ReadonlyArray<readonly [Partial<ConnectionLimit.StoredLimitOptions>, string]>) {
      it.effect(`${JSON.stringify(options)} is a defect that names it`, () =>
        Effect.gen(function* () {
          const { start } = yield* fleet(5)
          const exit = yield* Effect.exit(start(options))
          const defect = Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : ""
          assert.isTrue(defect.startsWith(`RangeError: ${message}`), defect)
        })
      )
    }

    it.effect("fails with the store's error if the first exchange fails, at once", () =>
      Effect.gen(function* () {
        const { store } = yield* fleet(5)
        for (const state of ["down", "hang"] as const) {
          const line = lineTo(store)
          line.set(state)
          const fiber = yield* Effect.forkChild(
            Effect.flip(
              Effect.scoped(ConnectionLimit.makeStored({ key: "a", max: 1, leaseTime: "12 seconds" })).pipe(
                Effect.provideService(ConnectionLimit.ConnectionLimitStore, line.store)
              )
            )
          )
          yield* TestClock.adjust("2 seconds")
          const { message } = yield* Fiber.join(fiber)
          assert.strictEqual(
            message,
            state === "down" ? "down" : `connection limit "a": the store did not answer within 2s`
          )
          assert.strictEqual(line.claims.length, 1)
        }
      })
    )

    it.effect("processes that seed their random numbers alike are different members", () =>
      Effect.gen(function* () {
        const { start } = yield* fleet(3)
        const all = yield* Effect.replicateEffect(Random.withSeed(start(), "seed"), 2)
        assert.strictEqual(new Set(all.map(({ line }) => line.claims[0]!.member)).size, 2)
      })
    )

    it.effect("a layer provides it, also where only a ConnectionLimit is asked for", () =>
      Effect.gen(function* () {
        class Plain extends Context.Service<Plain, ConnectionLimit.ConnectionLimit>()("Plain") {
          static readonly layer: Layer.Layer<
            Plain,
            ConnectionLimit.ConnectionLimitStoreError,
            ConnectionLimit.ConnectionLimitStore
          > = ConnectionLimit.layerStored(this, { key: "a", max: 3 })
        }
        const max = yield* Effect.provide(
          Effect.map(Plain, ({ max }) => max),
          Plain.layer
        ).pipe(Effect.provide(ConnectionLimit.layerStoreMemory))
        assert.strictEqual(max, 3)
      })
    )
  })

  describe("slots of a fleet", () => {
    it.effect("processes together never have more than max, and the others' callers wait", () =>
      Effect.gen(function* () {
        const { open, start } = yield* fleet(3)
        const [a, b] = [yield* start(), yield* start()]
        const first = yield* borrowMany(a.pool, 2)
        yield* talk
        const second = yield* borrowMany(b.pool, 2)
        yield* talk
        assert.deepStrictEqual(
          [states(...first), states(...second)],
          [
            ["has 1", "has 2"],
            ["has 1", "waits"]
          ]
        )
        assert.strictEqual(open(), 3)
        assert.deepStrictEqual((yield* b.limit.stats).fleet, { used: 3, processes: 2 })
        yield* first[0]!.leave
        yield* TestClock.adjust("4 seconds")
        yield* talk
        assert.deepStrictEqual([states(...second), open()], [["has 1", "has 2"], 3])
      })
    )

    it.effect("one exchange per third of leaseTime, none for borrowing, one for a new connection", () =>
      Effect.gen(function* () {
        const { start } = yield* fleet(10)
        const a = yield* start()
        yield* settle
        const before = a.line.claims.length
        yield* once(a.pool)
        yield* talk
        const afterFirst = a.line.claims.length
        for (let i = 0; i < 100; i++) yield* once(a.pool)
        const afterMany = a.line.claims.length
        yield* TestClock.adjust(3_999)
        const beforeBeat = a.line.claims.length
        yield* TestClock.adjust(1)
        assert.deepStrictEqual([before, afterFirst, afterMany, beforeBeat, a.line.claims.length], [1, 2, 2, 2, 3])
        yield* TestClock.adjust("40 seconds")
        assert.strictEqual(a.line.claims.length, 13)
      })
    )

    it.effect("a burst is served in batches that double, and what is not used goes back with the next exchange", () =>
      Effect.gen(function* () {
        const { start } = yield* fleet(100)
        const a = yield* start()
        const arrive = a.line.hold()
        const callers = yield* borrowMany(a.pool, 20)
        arrive()
        yield* talk
        assert.strictEqual(has(callers), 20)
        assert.deepStrictEqual(
          a.line.claims.map(({ held, wanted }) => [held, wanted]),
          [
            [0, 0],
            [0, 1],
            [1, 2],
            [3, 4],
            [7, 8],
            [15, 8]
          ]
        )
        assert.strictEqual(yield* granted(a), 23)
        yield* TestClock.adjust("4 seconds")
        assert.strictEqual(yield* granted(a), 20)
      })
    )

    it.effect("callers that get nothing ask once per interval, however many come and go", () =>
      Effect.gen(function* () {
        const { start } = yield* fleet(1)
        const [a, b] = [yield* start(), yield* start()]
        yield* borrow(a.pool)
        yield* talk
        const before = b.line.claims.length
        for (let i = 0; i < 30; i++) {
          const caller = yield* borrow(b.pool)
          yield* talk
          yield* caller.interrupt
        }
        assert.strictEqual(b.line.claims.length, before + 1)
      })
    )

    it.effect("a process that holds the whole budget does not ask for more in a loop", () =>
      Effect.gen(function* () {
        const { start } = yield* fleet(2)
        const a = yield* start()
        yield* borrowMany(a.pool, 5)
        yield* talk
        assert.isBelow(a.line.claims.length, 6)
        const before = a.line.claims.length
        yield* TestClock.adjust("4 seconds")
        assert.strictEqual(a.line.claims.length, before + 1)
      })
    )

    it.effect("a slot that an exchange gives back is not taken while the answer is on its way", () =>
      Effect.gen(function* () {
        const { open, start } = yield* fleet(2)
        const [a, b] = [yield* start(), yield* start()]
        const [first] = yield* borrowMany(a.pool, 2)
        yield* talk
        yield* first!.lease().invalidate
        yield* first!.leave
        // a has a slot to spare, and gives it back; b gets it before a hears the answer.
        a.line.set("deaf")
        yield* TestClock.adjust("4 seconds")
        const theirs = yield* borrow(b.pool)
        yield* talk
        const mine = yield* borrow(a.pool)
        yield* talk
        assert.deepStrictEqual([states(theirs, mine), open()], [["has 1", "waits"], 2])
      })
    )

    it.effect("minSize takes what nobody waits for, and makes room for callers of other processes", () =>
      Effect.gen(function* () {
        const { open, start } = yield* fleet(3)
        const a = yield* start({ minSize: 2 })
        yield* talk
        assert.deepStrictEqual([(yield* a.pool.stats).idle, open()], [2, 2])
        const b = yield* start()
        const callers = yield* borrowMany(b.pool, 3)
        for (let i = 0; i < 4; i++) {
          yield* talk
          yield* TestClock.adjust("4 seconds")
        }
        yield* talk
        assert.deepStrictEqual([has(callers), open()], [3, 3])
      })
    )

    it.effect("a process that stops gives everything back at once", () =>
      Effect.gen(function* () {
        const { open, start } = yield* fleet(2)
        const [a, b] = [yield* start(), yield* start()]
        yield* once(a.pool)
        yield* once(a.pool)
        yield* a.stop
        const callers = yield* borrowMany(b.pool, 2)
        yield* talk
        assert.deepStrictEqual([has(callers), open()], [2, 2])
        assert.strictEqual((yield* b.limit.stats).fleet.processes, 1)
        assert.deepStrictEqual(a.line.claims.at(-1)!.leaving, true)
      })
    )

    it.effect("a process that falls silent gives its slots back when its lease ends, to the millisecond", () =>
      Effect.gen(function* () {
        const { start } = yield* fleet(2)
        const [a, b] = [yield* start(), yield* start()]
        for (const borrower of yield* borrowMany(a.pool, 2)) yield* borrower.leave
        yield* talk
        a.line.set("hang")
        yield* TestClock.adjust("1 second")
        const callers = yield* borrowMany(b.pool, 2)
        yield* TestClock.adjust(10_999)
        yield* talk
        assert.strictEqual(has(callers), 0)
        yield* TestClock.adjust(1)
        yield* talk
        assert.strictEqual(has(callers), 2)
      })
    )

    it.effect("what a process has no use for any more goes to one that waits at once, not with the next exchange", () =>
      Effect.gen(function* () {
        const { start } = yield* fleet(3)
        const [a, b] = [yield* start(), yield* start()]
        const mine = yield* borrow(a.pool)
        yield* talk
        const theirs = yield* borrowMany(b.pool, 3)
        // a hears that b waits for more than its share.
        yield* TestClock.adjust("4 seconds")
        yield* talk
        assert.deepStrictEqual([states(mine), has(theirs)], [["has 1"], 2])
        yield* mine.lease().invalidate
        yield* mine.leave
        yield* talk
        assert.strictEqual(has(theirs), 3)
      })
    )

    it.effect("pools of one process leave each other's idle connections alone while the fleet has slots", () =>
      Effect.gen(function* () {
        const { start } = yield* fleet(3)
        const a = yield* start()
        const peer = TestConnector.makeUnsafe()
        const pool = yield* CachePool.make({ ...peer.options, limit: a.limit })
        for (const borrower of yield* borrowMany(a.pool, 2)) yield* borrower.leave
        const callers = yield* borrowMany(pool, 1)
        yield* talk
        assert.deepStrictEqual([has(callers), a.peer.live(), peer.live()], [1, 2, 1])
        callers.push(...(yield* borrowMany(pool, 2)))
        yield* talk
        assert.deepStrictEqual([has(callers), a.peer.live(), peer.live()], [3, 0, 3])
      })
    )

    it.effect("shared pools get slots too", () =>
      Effect.gen(function* () {
        const { start } = yield* fleet(2)
        const a = yield* start()
        const peer = TestConnector.makeUnsafe()
        const pool = yield* SharedPool.make({ ...peer.options, limit: a.limit, concurrency: 2, maxSize: 5 })
        const callers = yield* borrowMany(pool, 5)
        yield* talk
        assert.deepStrictEqual([has(callers), peer.live()], [4, 2])
      })
    )
  })

  describe("fair shares of a fleet", () => {
    it.effect("idle connections of another process make room at once", () =>
      Effect.gen(function* () {
        const { open, start } = yield* fleet(3)
        const [a, b] = [yield* start(), yield* start()]
        for (const borrower of yield* borrowMany(a.pool, 3)) yield* borrower.leave
        yield* talk
        const callers = yield* borrowMany(b.pool, 3)
        yield* talk
        assert.isAtLeast(has(callers), 1)
        yield* TestClock.adjust("12 seconds")
        yield* talk
        assert.deepStrictEqual([has(callers), open()], [3, 3])
        assert.isTrue(a.events.includes("Reduced"))
      })
    )

    it.effect("used connections beyond the fair share close as they come back, and not the others", () =>
      Effect.gen(function* () {
        const { open, start } = yield* fleet(4)
        const [a, b] = [yield* start(), yield* start()]
        const mine = [...(yield* borrowMany(a.pool, 4)), ...(yield* borrowMany(a.pool, 8))]
        yield* talk
        const theirs = yield* borrowMany(b.pool, 8)
        yield* talk
        for (let i = 0; i < 8; i++) {
          yield* mine[i]!.leave
          yield* talk
        }
        assert.deepStrictEqual([has(mine), has(theirs), open()], [2, 2, 4])
        const closed = a.peer.closed().length
        // From here on everybody keeps what it has.
        yield* TestClock.adjust("20 seconds")
        for (const caller of [...mine, ...theirs].filter((one) => one.state().startsWith("has"))) yield* caller.leave
        yield* talk
        assert.deepStrictEqual([a.peer.closed().length, has(mine), has(theirs)], [closed, 2, 2])
      })
    )

    it.effect("without wakes it takes an interval longer, no more", () =>
      Effect.gen(function* () {
        const { start } = yield* fleet(2)
        const [a, b] = [yield* start(), yield* start()]
        a.line.loseWakes()
        b.line.loseWakes()
        for (const borrower of yield* borrowMany(a.pool, 2)) yield* borrower.leave
        yield* talk
        const caller = yield* borrow(b.pool)
        yield* talk
        assert.deepStrictEqual(states(caller), ["waits"])
        yield* TestClock.adjust("8 seconds")
        yield* talk
        assert.deepStrictEqual(states(caller), ["has 1"])
      })
    )

    it.effect("with more processes than connections everybody gets its turn", () =>
      Effect.gen(function* () {
        const { open, start } = yield* fleet(1)
        const all = yield* Effect.replicateEffect(start(), 4)
        const served = new Set<number>()
        yield* Effect.forEach(all, ({ pool }, i) =>
          Effect.forkScoped(
            Effect.forever(
              pool.use(() =>
                Effect.andThen(
                  Effect.sync(() => served.add(i)),
                  Effect.sleep("100 millis")
                )
              )
            )
          )
        )
        for (let i = 0; i < 600; i++) {
          yield* TestClock.adjust("100 millis")
          assert.isAtMost(open(), 1)
        }
        assert.strictEqual(served.size, 4)
      })
    )
  })

  describe("onStoreError", () => {
    it.effect("failClosed: after four fifths of the lease idle connections close, used ones when they come back", () =>
      Effect.gen(function* () {
        const { open, start } = yield* fleet(3)
        const a = yield* start()
        const [used] = yield* borrowMany(a.pool, 1)
        yield* talk
        for (const borrower of yield* borrowMany(a.pool, 2)) {
          yield* talk
          yield* borrower.leave
        }
        yield* TestClock.adjust("4 seconds")
        yield* TestClock.adjust("4 seconds")
        // The last exchange that went well was at 8 seconds.
        a.line.set("down")
        yield* TestClock.adjust(9_599)
        assert.deepStrictEqual([open(), yield* lease(a)], [3, "failing"])
        yield* TestClock.adjust(1)
        yield* settle
        assert.deepStrictEqual([open(), yield* lease(a), yield* granted(a)], [1, "lost", 0])
        const waiter = yield* borrow(a.pool)
        yield* used!.leave
        yield* talk
        assert.deepStrictEqual([open(), states(waiter)], [0, ["waits"]])
        a.line.set("up")
        yield* TestClock.adjust("4 seconds")
        yield* talk
        assert.deepStrictEqual([states(waiter), yield* lease(a)], [["has 4"], "held"])
        assert.deepStrictEqual(a.events, ["StoreFailed", "LeaseLost", "StoreRecovered"])
      })
    )

    it.effect("within the lease a process that lost sight of the store replaces what it had, and adds nothing", () =>
      Effect.gen(function* () {
        const { start } = yield* fleet(5)
        const a = yield* start()
        const borrowers = yield* borrowMany(a.pool, 2)
        yield* talk
        yield* TestClock.adjust("4 seconds")
        a.line.set("hang")
        yield* TestClock.adjust("6 seconds")
        assert.strictEqual(yield* lease(a), "failing")
        yield* borrowers[0]!.lease().invalidate
        yield* borrowers[0]!.leave
        // It tries again meanwhile, and fails.
        yield* TestClock.adjust("2 seconds")
        const more = yield* borrowMany(a.pool, 2)
        yield* talk
        assert.deepStrictEqual(states(...more), ["has 3", "waits"])
      })
    )

    it.effect("an outage of 0.3 of the lease costs no connection, whenever it begins and whatever it is", () =>
      Effect.gen(function* () {
        for (const state of ["down", "hang", "deaf", "die"] as const) {
          for (let begin = 0; begin < 4_000; begin += 250) {
            const { start } = yield* fleet(2)
            const a = yield* start()
            yield* once(a.pool)
            yield* TestClock.adjust(4_000 + begin)
            a.line.set(state)
            yield* TestClock.adjust(3_600)
            a.line.set("up")
            yield* TestClock.adjust(4_000)
            assert.deepStrictEqual([yield* lease(a), a.peer.live()], ["held", 1], `${state} at ${begin}`)
            assert.isFalse(a.events.includes("LeaseLost"))
          }
        }
      })
    )

    it.effect("failOpen: goes on with what it had, replaces it, and has its fair share at least", () =>
      Effect.gen(function* () {
        const { open, start } = yield* fleet(4, { onStoreError: "failOpen" })
        const [a, b] = [yield* start(), yield* start()]
        const mine = yield* borrowMany(a.pool, 4)
        yield* talk
        a.line.set("down")
        b.line.set("down")
        const theirs = yield* borrowMany(b.pool, 4)
        yield* TestClock.adjust("12 seconds")
        yield* talk
        assert.deepStrictEqual([yield* lease(a), yield* lease(b)], ["lost", "lost"])
        assert.deepStrictEqual([has(mine), has(theirs), open()], [4, 2, 6])
        a.line.set("up")
        b.line.set("up")
        yield* TestClock.adjust("4 seconds")
        for (const borrower of [...mine, ...theirs]) yield* borrower.leave
        yield* talk
        assert.isAtMost(open(), 4)
      })
    )

    it.effect("failOpen: what it gave back with an exchange whose answer was lost it does not go on with", () =>
      Effect.gen(function* () {
        const { open, start } = yield* fleet(4, { onStoreError: "failOpen" })
        const [a, b] = [yield* start(), yield* start()]
        const first = yield* borrowMany(a.pool, 4)
        yield* talk
        for (const borrower of first) {
          yield* borrower.lease().invalidate
          yield* borrower.leave
        }
        a.line.set("deaf")
        yield* TestClock.adjust("4 seconds")
        const theirs = yield* borrowMany(b.pool, 4)
        yield* talk
        a.line.set("down")
        b.line.set("down")
        yield* TestClock.adjust("12 seconds")
        const mine = yield* borrowMany(a.pool, 4)
        yield* talk
        assert.deepStrictEqual([yield* lease(a), has(mine), has(theirs), open()], ["lost", 2, 4, 6])
      })
    )

    it.effect("answers that get lost leave the store with more than is used, until the next one: never with less", () =>
      Effect.gen(function* () {
        const { open, start } = yield* fleet(2)
        const [a, b] = [yield* start(), yield* start()]
        a.line.set("deaf")
        const lost = yield* borrow(a.pool)
        yield* talk
        assert.deepStrictEqual(states(lost), ["waits"])
        const callers = yield* borrowMany(b.pool, 2)
        yield* talk
        assert.deepStrictEqual([has(callers), open()], [1, 1])
        a.line.set("up")
        yield* TestClock.adjust("4 seconds")
        yield* talk
        assert.deepStrictEqual([states(lost), has(callers), open()], [["has 1"], 1, 2])
      })
    )

    it.effect("tries again with a growing pause, up to a third of the lease, and gets back within it", () =>
      Effect.gen(function* () {
        const { start } = yield* fleet(2)
        const a = yield* start()
        a.line.set("down")
        yield* TestClock.adjust("8 seconds")
        const early = a.line.claims.length
        yield* TestClock.adjust("400 seconds")
        const perInterval = (a.line.claims.length - early) / 100
        // Pauses are from a half to the whole of 31, 62, 125, 250, 500 and, from then on, 1,000 ms.
        assert.isTrue(early > 4 && early < 16, `${early} in the first interval`)
        assert.isTrue(perInterval >= 1 && perInterval <= 2.1, `${perInterval} per interval`)
        a.line.set("up")
        yield* TestClock.adjust("4 seconds")
        assert.strictEqual(yield* lease(a), "held")
        const { exchanges, failures, lastError } = yield* a.limit.stats
        assert.deepStrictEqual([exchanges, failures, lastError?.message], [a.line.claims.length, exchanges - 2, "down"])
      })
    )

    it.effect("what a process lost while it was away it learns when it is back, and closes that much", () =>
      Effect.gen(function* () {
        const { open, start } = yield* fleet(4, { onStoreError: "failOpen" })
        const [a, b] = [yield* start(), yield* start()]
        const mine = yield* borrowMany(a.pool, 3)
        yield* talk
        a.line.set("down")
        yield* TestClock.adjust("12 seconds")
        const theirs = yield* borrowMany(b.pool, 4)
        yield* TestClock.adjust("4 seconds")
        yield* talk
        assert.deepStrictEqual([has(mine), has(theirs)], [3, 4])
        a.line.set("up")
        yield* TestClock.adjust("4 seconds")
        assert.strictEqual(yield* granted(a), 0)
        for (const borrower of mine) yield* borrower.leave
        yield* talk
        assert.deepStrictEqual([open(), a.peer.live()], [4, 0])
      })
    )

    it.effect("a process that was stopped beyond its lease opens nothing before it has spoken", () =>
      Effect.gen(function* () {
        const clock = new VirtualClock()
        yield* Effect.gen(function* () {
          const { store } = yield* fleet(2)
          const limit = yield* ConnectionLimit.makeStored({ key: "db", max: 2, leaseTime: "12 seconds" }).pipe(
            Effect.provideService(ConnectionLimit.ConnectionLimitStore, store)
          )
          const share = limit.join({
            offered: () => {},
            idleSince: () => undefined,
            giveUp: () => {},
            renewed: () => {}
          })
          share.want(true)
          yield* talk
          assert.strictEqual((yield* limit.stats).granted, 1)
          // As after SIGCONT: time has passed, and no timer has rung yet.
          clock.moveTo(9_600)
          assert.deepStrictEqual([share.take(), (yield* limit.stats).lease], [false, "lost"])
        }).pipe(Effect.scoped, Effect.provideService(Clock.Clock, clock))
      })
    )
  })

  describe("interruption", () => {
    it.effect("A1 of a caller at any instant loses no slot of the fleet", () =>
      Effect.gen(function* () {
        for (const budget of [3, 5, 8, 2_048]) {
          for (let turns = 0; turns < 14; turns++) {
            yield* Effect.gen(function* () {
              const { open, start } = yield* fleet(1)
              const [a, b] = [yield* start(), yield* start()]
              const holder = yield* borrow(a.pool)
              yield* talk
              const callers = yield* Effect.replicateEffect(borrowLater(b.pool), 3)
              for (let i = 0; i < turns; i++) {
                if (i === 3) holder.leaveUnsafe()
                yield* Effect.yieldNow
              }
              for (const caller of callers.slice(0, 2)) caller.fiber.interruptUnsafe()
              holder.leaveUnsafe()
              for (let i = 0; i < 4; i++) {
                yield* talk
                yield* TestClock.adjust("4 seconds")
              }
              assert.deepStrictEqual(
                [callers[2]!.state().slice(0, 3), open()],
                ["has", 1],
                `budget ${budget}, ${turns} turns`
              )
            }).pipe(Effect.scoped, Effect.provideService(Scheduler.MaxOpsBeforeYield, budget))
          }
        }
      })
    )

    it.effect("A1 of makeStored at any instant leaves no fiber and no timer, and no slot", () =>
      Effect.gen(function* () {
        for (const budget of [3, 5, 8, 2_048]) {
          for (let turns = 0; turns < 14; turns++) {
            yield* Effect.gen(function* () {
              const { start, store } = yield* fleet(1)
              const line = lineTo(store)
              const fiber = yield* Effect.forkChild(
                Effect.scoped(Effect.andThen(ConnectionLimit.makeStored({ key: "db", max: 1 }), Effect.never)).pipe(
                  Effect.provideService(ConnectionLimit.ConnectionLimitStore, line.store)
                )
              )
              for (let i = 0; i < turns; i++) yield* Effect.yieldNow
              yield* Fiber.interrupt(fiber)
              const spoken = line.claims.length
              yield* TestClock.adjust("1 minute")
              assert.strictEqual(line.claims.length, spoken, "goes on after its scope")
              const other = yield* start()
              yield* talk
              assert.strictEqual(yield* once(other.pool), "has 1")
            }).pipe(Effect.scoped, Effect.provideService(Scheduler.MaxOpsBeforeYield, budget))
          }
        }
      })
    )
  })

  describe("scope", () => {
    it.effect("pools that outlive their limit close what they have, and events end", () =>
      Effect.gen(function* () {
        const { store } = yield* fleet(2)
        const scope = Scope.makeUnsafe()
        const limit = yield* ConnectionLimit.makeStored({ key: "db", max: 2 }).pipe(
          Effect.provideService(ConnectionLimit.ConnectionLimitStore, store),
          Scope.provide(scope)
        )
        const peer = TestConnector.makeUnsafe()
        const pool = yield* CachePool.make({ ...peer.options, limit })
        assert.strictEqual(yield* once(pool), "has 1")
        yield* Scope.close(scope, Exit.void)
        yield* talk
        assert.strictEqual(peer.live(), 0)
        const waiter = yield* borrow(pool)
        yield* talk
        assert.deepStrictEqual(states(waiter), ["waits"])
      })
    )
  })
})
