import { assert, describe, it } from "@effect/vitest"
import type { TimeoutError } from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import * as BalancePool from "../src/BalancePool.ts"
import * as CachePool from "../src/CachePool.ts"
import * as ConnectionLimit from "../src/ConnectionLimit.ts"
import type { ConnectionInfo, ConnectionPool } from "../src/ConnectionPool.ts"
import { AddressBook } from "../src/internal/addressBook.ts"
import * as NegotiatePool from "../src/NegotiatePool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import { borrow, fiberCounter, settle } from "./support/scene.ts"

interface Conn {
  readonly id: number
  readonly address: string
  readonly isOpen: boolean
}

/** A service with several addresses, each of which can be told to refuse or to hang. */
const service = () => {
  const log: Array<string> = []
  const live: Record<string, number> = {}
  const refusing = new Set<string>()
  const hanging = new Map<string, Deferred.Deferred<void>>()
  let id = 0
  const connect = (address: string) =>
    Effect.suspend(() => {
      log.push(`connect ${address}`)
      if (refusing.has(address)) return Effect.fail(`refused ${address}`)
      const gate = hanging.get(address)
      const open = Effect.acquireRelease(
        Effect.sync((): Conn => {
          live[address] = (live[address] ?? 0) + 1
          return { id: ++id, address, isOpen: true }
        }),
        () =>
          Effect.sync(() => {
            live[address]!--
          })
      )
      return gate === undefined ? open : Effect.andThen(Deferred.await(gate), open)
    })
  return { connect, log, live, refusing, hanging }
}

type Options = Partial<
  BalancePool.BalancePoolOptions<string, Conn, string, Scope.Scope, Conn, string | TimeoutError, Scope.Scope, never>
>

/** A balance over a cache, whose address list a test replaces with `list`. */
const balance = (options: Options = {}, maxSize = 100) =>
  Effect.gen(function* () {
    const peer = service()
    const lists = yield* Queue.unbounded<ReadonlyArray<string>>()
    const pool = yield* BalancePool.make({
      addresses: Stream.fromQueue(lists),
      connect: peer.connect,
      setAside: Schedule.spaced("1 second"),
      pool: (connect, { limit }) =>
        CachePool.make({ connect, maxSize, limit, order: "fifo", backoff: Schedule.spaced("100 millis") }),
      ...options
    })
    const list = (...addresses: ReadonlyArray<string>) => Effect.andThen(Queue.offer(lists, addresses), settle)
    return { ...peer, pool, list, lists }
  })

const borrowMany = (pool: ConnectionPool<void, Conn, unknown>, count: number) =>
  Effect.forEach(Array.from({ length: count }), () => borrow<Conn, unknown>(pool as never))

const states = (borrowers: ReadonlyArray<{ readonly state: () => string }>) => borrowers.map((b) => b.state())

describe("BalancePool", () => {
  describe("addresses", () => {
    it.effect("B1 without a list callers wait, and are served as soon as one comes", () =>
      Effect.gen(function* () {
        const { pool, list } = yield* balance()
        const [caller] = yield* borrowMany(pool, 1)
        assert.deepStrictEqual([caller!.state(), (yield* pool.stats).connecting], ["waits", 0])
        yield* list("a")
        assert.strictEqual(caller!.connection().address, "a")
      })
    )

    it.effect("B1 A7 with an empty list callers wait for waitTimeout, no longer", () =>
      Effect.gen(function* () {
        const { pool, list } = yield* balance()
        yield* list()
        const [caller] = yield* borrowMany(pool, 1)
        yield* TestClock.adjust("29999 millis")
        assert.strictEqual(caller!.state(), "waits")
        yield* TestClock.adjust("1 millis")
        yield* settle
        assert.strictEqual(caller!.state(), "WaitTimeout wait")
      })
    )

    it.effect("B1 an added address is eligible at once", () =>
      Effect.gen(function* () {
        const { pool, list, live } = yield* balance({ connectionsPerAddress: 1 })
        yield* list("a")
        const callers = yield* borrowMany(pool, 2)
        assert.deepStrictEqual(states(callers), ["has 1", "waits"])
        yield* list("a", "b")
        assert.deepStrictEqual([states(callers), live], [["has 1", "has 2"], { a: 1, b: 1 }])
      })
    )

    it.effect("B1 connections of a removed address retire: idle ones at once, used ones on return", () =>
      Effect.gen(function* () {
        const { pool, list, live } = yield* balance()
        yield* list("a")
        const [used, idle] = yield* borrowMany(pool, 2)
        yield* idle!.leave
        yield* list("b")
        assert.deepStrictEqual(live, { a: 1 })
        yield* used!.leave
        assert.deepStrictEqual(live, { a: 0 })
        const [next] = yield* borrowMany(pool, 1)
        assert.strictEqual(next!.connection().address, "b")
      })
    )

    it.effect("B1 a connect to an address that leaves the list is aborted, and another address tried at once", () =>
      Effect.gen(function* () {
        const { hanging, list, live, log, pool } = yield* balance()
        hanging.set("a", yield* Deferred.make<void>())
        yield* list("a")
        const [caller] = yield* borrowMany(pool, 1)
        yield* list("b")
        assert.strictEqual(caller!.connection().address, "b")
        assert.deepStrictEqual({ ...live }, { b: 1 })
        assert.deepStrictEqual(log, ["connect a", "connect b"])
        assert.strictEqual((yield* pool.stats).failed, 0)
      })
    )

    it.effect("B1 a connection that opens to an address that is gone by then is closed", () =>
      Effect.gen(function* () {
        const { connect, hanging, live } = service()
        const lists = yield* Queue.unbounded<ReadonlyArray<string>>()
        const { list, pool } = yield* balance({
          addresses: Stream.fromQueue(lists),
          connect: (address) => Effect.uninterruptible(connect(address))
        })
        const gate = yield* Deferred.make<void>()
        hanging.set("a", gate)
        yield* Queue.offer(lists, ["a"])
        yield* list()
        const [caller] = yield* borrowMany(pool, 1)
        yield* Queue.offer(lists, ["b"])
        yield* settle
        assert.strictEqual(caller!.state(), "waits")
        yield* Deferred.succeed(gate, undefined)
        yield* settle
        assert.strictEqual(caller!.connection().address, "b")
        assert.deepStrictEqual({ ...live }, { a: 0, b: 1 })
      })
    )

    it.effect("B1 addresses are compared by value", () =>
      Effect.gen(function* () {
        const log: Array<string> = []
        const lists = yield* Queue.unbounded<ReadonlyArray<{ readonly host: string; readonly port: number }>>()
        const pool = yield* BalancePool.make({
          addresses: Stream.fromQueue(lists),
          connect: ({ host, port }) => Effect.sync(() => log.push(`${host}:${port}`)),
          connectionsPerAddress: 1,
          pool: (connect, { limit }) => CachePool.make({ connect, limit })
        })
        for (let i = 0; i < 3; i++) {
          yield* Queue.offer(lists, [{ host: "a", port: 1 }])
          yield* settle
          yield* pool.use(() => Effect.void)
        }
        assert.deepStrictEqual(log, ["a:1"])
      })
    )

    it.effect("B1 a list that is known from the start is there when the pool is", () =>
      Effect.gen(function* () {
        const { pool } = yield* balance({ addresses: Stream.make(["a"]) })
        assert.strictEqual(Effect.runSync(pool.use(({ address }) => Effect.succeed(address))), "a")
      })
    )

    it.effect("B1 a connection of an address that leaves on its way into the pool is not lent", () =>
      Effect.gen(function* () {
        const { list, live, pool } = yield* balance({
          pool: (connect, { limit }) =>
            CachePool.make({
              connect: () => Effect.tap(connect(), ({ address }) => Effect.sleep(address === "a" ? "1 second" : 0)),
              limit
            })
        })
        yield* list("a")
        const [caller] = yield* borrowMany(pool, 1)
        yield* list("b")
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual(caller!.connection().address, "b")
        assert.deepStrictEqual({ ...live }, { a: 0, b: 1 })
      })
    )

    it.effect("B1 connections of a removed address retire where pools hand them to each other", () =>
      Effect.gen(function* () {
        const { list, live, pool } = yield* balance({
          pool: (connect, { limit }) =>
            NegotiatePool.makeMerged({
              connect,
              inspect: () => true,
              upgrade: (connect) => SharedPool.make({ connect, limit, concurrency: 10, maxSize: 1 }),
              fallback: (connect) => CachePool.make({ connect, limit })
            })
        })
        yield* list("a")
        yield* borrowMany(pool, 3)
        assert.deepStrictEqual({ ...live }, { a: 1 })
        yield* list("b")
        const [next] = yield* borrowMany(pool, 1)
        assert.strictEqual(next!.connection().address, "b")
      })
    )

    it.effect("B1 an address that returns starts clean: not set aside, its old connections not counted", () =>
      Effect.gen(function* () {
        const { list, log, pool, refusing } = yield* balance({ connectionsPerAddress: 1 })
        yield* list("a", "b")
        const [one, two] = yield* borrowMany(pool, 2)
        const old = [one!, two!].find((b) => b.connection().address === "a")!
        yield* list("b")
        yield* list("a", "b")
        const [three] = yield* borrowMany(pool, 1)
        assert.deepStrictEqual([three!.state(), three!.connection().address], ["has 3", "a"])
        yield* old.leave
        assert.strictEqual(three!.state(), "has 3")

        refusing.add("c")
        yield* list("c")
        yield* borrowMany(pool, 1)
        yield* list("a")
        refusing.clear()
        yield* list("c")
        yield* TestClock.adjust("100 millis")
        yield* borrowMany(pool, 1)
        assert.deepStrictEqual(log.slice(-2), ["connect c", "connect c"])
      })
    )

    it.effect("B1 the end of the stream keeps the last list", () =>
      Effect.gen(function* () {
        const { connect } = service()
        const pool = yield* BalancePool.make({
          addresses: Stream.make(["a"]),
          connect,
          pool: (connect, { limit }) => CachePool.make({ connect, limit })
        })
        yield* settle
        assert.strictEqual(yield* pool.use(({ address }) => Effect.succeed(address)), "a")
      })
    )

    it.effect("B1 the failure of the stream keeps the last list", () =>
      Effect.gen(function* () {
        const { connect } = service()
        const pool = yield* BalancePool.make({
          addresses: Stream.concat(Stream.make(["a"]), Stream.fail("DNS is down")),
          connect,
          pool: (connect, { limit }) => CachePool.make({ connect, limit })
        })
        yield* settle
        assert.strictEqual(yield* pool.use(({ address }) => Effect.succeed(address)), "a")
      })
    )
  })

  describe("spread", () => {
    it.effect("B2 the address is in the annotations", () =>
      Effect.gen(function* () {
        const { pool, list } = yield* balance()
        yield* list("a")
        const info = yield* pool.use((_, lease) => Effect.succeed(lease.info as ConnectionInfo))
        assert.deepStrictEqual([...info.annotations], [["address", "a"]])
      })
    )

    it.effect("B2 requests are spread by the inner pool: a shared one keeps connections to all addresses busy", () =>
      Effect.gen(function* () {
        const { pool, list, live } = yield* balance({
          connectionsPerAddress: 1,
          pool: (connect, { limit }) => SharedPool.make({ connect, limit, concurrency: 2, maxSize: 3 })
        })
        yield* list("a", "b", "c")
        const callers = yield* borrowMany(pool, 6)
        assert.deepStrictEqual([callers.every((c) => c.state() !== "waits"), live], [true, { a: 1, b: 1, c: 1 }])
      })
    )

    it.effect("B3 aligner `normal`: 30 connections over 3 addresses are 10 each", () =>
      Effect.gen(function* () {
        const { pool, list, live } = yield* balance()
        yield* list("a", "b", "c")
        yield* borrowMany(pool, 30)
        assert.deepStrictEqual(live, { a: 10, b: 10, c: 10 })
      })
    )

    it.effect("B3 no address gets its second connection before all have a first", () =>
      Effect.gen(function* () {
        // Chance can make one round right.
        for (let round = 0; round < 20; round++) {
          const { pool, list, live } = yield* balance()
          yield* list("a", "b", "c", "d", "e")
          for (let i = 1; i <= 5; i++) {
            yield* borrowMany(pool, 1)
            assert.deepStrictEqual([Object.keys(live).length, Math.max(...Object.values(live))], [i, 1])
          }
        }
      })
    )

    it.effect("B3 ties are broken at random", () =>
      Effect.gen(function* () {
        const firsts = new Set<string>()
        for (let i = 0; i < 30; i++) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              const { pool, list, log } = yield* balance()
              yield* list("a", "b", "c")
              yield* pool.use(() => Effect.void)
              firsts.add(log[0]!)
            })
          )
        }
        assert.strictEqual(firsts.size, 3)
      })
    )

    it.effect("B3 aligner `blacklisting`: an address that comes back catches up, 2/5/5 to 7/7/7", () =>
      Effect.gen(function* () {
        const { list, live, pool, refusing } = yield* balance()
        yield* list("a", "b", "c")
        yield* borrowMany(pool, 6)
        assert.deepStrictEqual(live, { a: 2, b: 2, c: 2 })
        refusing.add("a")
        yield* borrowMany(pool, 6)
        assert.deepStrictEqual(live, { a: 2, b: 5, c: 5 })
        refusing.clear()
        yield* TestClock.adjust("1 second")
        yield* borrowMany(pool, 9)
        assert.deepStrictEqual(live, { a: 7, b: 7, c: 7 })
      })
    )

    it.effect("B3 aligner `update`: add one, remove one, 8 more are 4/4/4", () =>
      Effect.gen(function* () {
        const { list, live, pool } = yield* balance()
        yield* list("a", "b", "c")
        yield* borrowMany(pool, 6)
        yield* list("a", "c", "d")
        yield* borrowMany(pool, 8)
        assert.deepStrictEqual(live, { a: 4, b: 2, c: 4, d: 4 })
      })
    )

    it.effect("B3 connectionsPerAddress caps each, and callers beyond wait in the pool's line", () =>
      Effect.gen(function* () {
        const { pool, list, live } = yield* balance({ connectionsPerAddress: 2 })
        yield* list("a", "b")
        const callers = yield* borrowMany(pool, 5)
        assert.deepStrictEqual(live, { a: 2, b: 2 })
        assert.deepStrictEqual([states(callers)[4], (yield* pool.stats).connecting], ["waits", 0])
        yield* callers[0]!.leave
        assert.strictEqual(callers[4]!.state(), `has ${1}`)
      })
    )

    it.effect("B3 minSize opens connections eagerly, over all addresses", () =>
      Effect.gen(function* () {
        const { list, live } = yield* balance({
          pool: (connect, { limit }) => CachePool.make({ connect, limit, minSize: 6 })
        })
        yield* list("a", "b", "c")
        assert.deepStrictEqual(live, { a: 2, b: 2, c: 2 })
      })
    )
  })

  describe("failures", () => {
    it.effect("B4 a connect that fails goes on to another address at once; its caller does not notice", () =>
      Effect.gen(function* () {
        const { list, log, pool, refusing } = yield* balance()
        refusing.add("a").add("b")
        yield* list("a", "b", "c")
        const callers = yield* borrowMany(pool, 3)
        assert.isTrue(callers.every((c) => c.connection().address === "c"))
        assert.strictEqual((yield* pool.stats).failed, 0)
        assert.isTrue(log.filter((entry) => entry !== "connect c").length <= 2, "each is tried once, then set aside")
      })
    )

    it.effect("B4 a connect fails when every address failed, with the last one's error", () =>
      Effect.gen(function* () {
        const { list, log, pool, refusing } = yield* balance()
        refusing.add("a").add("b")
        yield* list("a", "b")
        const error = yield* Effect.flip(pool.use(() => Effect.void))
        assert.strictEqual(error, log[1]!.replace("connect", "refused"))
        assert.strictEqual(log.length, 2)
      })
    )

    it.effect("B4 an address is set aside for as long as the schedule says, not a millisecond longer", () =>
      Effect.gen(function* () {
        const { list, log, pool, refusing } = yield* balance()
        refusing.add("a")
        yield* list("a", "b")
        while (!log.includes("connect a")) yield* borrowMany(pool, 1)
        const before = log.length
        refusing.clear()
        yield* TestClock.adjust("999 millis")
        yield* borrowMany(pool, 3)
        assert.deepStrictEqual(log.slice(before), ["connect b", "connect b", "connect b"])
        yield* TestClock.adjust("1 millis")
        yield* borrowMany(pool, 1)
        assert.strictEqual(log.at(-1), "connect a")
      })
    )

    it.effect("B4 of addresses that are all set aside the one that is back first stays eligible", () =>
      Effect.gen(function* () {
        const { list, log, pool, refusing } = yield* balance({ setAside: Schedule.spaced("10 seconds") })
        refusing.add("a")
        yield* list("a")
        yield* Effect.exit(pool.use(() => Effect.void))
        yield* TestClock.adjust("1 second")
        refusing.add("b")
        yield* list("a", "b")
        yield* Effect.exit(pool.use(() => Effect.void))
        yield* TestClock.adjust("1 second")
        refusing.clear()
        const before = log.length
        yield* pool.use(() => Effect.void)
        assert.deepStrictEqual(log.slice(before), ["connect a"])
      })
    )

    it.effect("B4 a success forgets the failures before it", () =>
      Effect.gen(function* () {
        const { list, log, pool, refusing } = yield* balance({ setAside: Schedule.exponential("1 second") })
        refusing.add("a")
        yield* list("a")
        yield* Effect.exit(pool.use(() => Effect.void))
        yield* TestClock.adjust("1 second")
        refusing.clear()
        const holder = yield* borrow<Conn, unknown>(pool as never)
        refusing.add("a")
        yield* list("a", "b")
        while (log.filter((entry) => entry === "connect a").length < 3) yield* borrowMany(pool, 1)
        refusing.clear()
        const before = log.length
        // The first pause of the schedule again, where the second would be two seconds.
        yield* TestClock.adjust("1 second")
        yield* borrowMany(pool, 4)
        assert.include(log.slice(before), "connect a")
        assert.strictEqual(holder.state(), "has 1")
      })
    )

    it.effect("B4 an address that does not answer is set aside after connectTimeout, and another one tried", () =>
      Effect.gen(function* () {
        const { hanging, list, log, pool } = yield* balance({
          connectTimeout: "2 seconds",
          setAside: Schedule.spaced("5 seconds")
        })
        hanging.set("a", yield* Deferred.make<void>())
        yield* list("a")
        const [caller] = yield* borrowMany(pool, 1)
        yield* list("a", "b")
        yield* TestClock.adjust("1999 millis")
        assert.strictEqual(caller!.state(), "waits")
        yield* TestClock.adjust("1 millis")
        yield* settle
        assert.strictEqual(caller!.connection().address, "b")
        assert.strictEqual((yield* pool.stats).failed, 0)
        yield* borrowMany(pool, 3)
        assert.deepStrictEqual(log.slice(1), ["connect b", "connect b", "connect b", "connect b"])
      })
    )

    it.effect("B4 a connect that no address answers fails with an error that names the last one", () =>
      Effect.gen(function* () {
        const { hanging, list, pool } = yield* balance({ connectTimeout: "2 seconds" })
        hanging.set("a", yield* Deferred.make<void>())
        yield* list("a")
        const call = yield* Effect.forkChild(Effect.flip(pool.use(() => Effect.void)))
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual(
          String(yield* Fiber.join(call)),
          'TimeoutError: connecting to "a" took longer than connectTimeout (2s)'
        )
      })
    )

    it.effect("B4 nobody fails because of a bad address while the good ones are merely full", () =>
      Effect.gen(function* () {
        const { list, log, pool, refusing } = yield* balance({ connectionsPerAddress: 1 })
        refusing.add("b")
        yield* list("a", "b")
        const callers = yield* borrowMany(pool, 4)
        const [first] = callers
        assert.deepStrictEqual(states(callers), ["has 1", "waits", "waits", "waits"])
        // The bad one is tried again each time its pause is over, by one attempt.
        yield* TestClock.adjust("3 seconds")
        assert.deepStrictEqual(states(callers), ["has 1", "waits", "waits", "waits"])
        const tries = log.filter((entry) => entry === "connect b").length
        assert.isTrue(tries >= 3 && tries <= 5, `${tries} tries`)
        yield* first!.leave
        assert.deepStrictEqual(states(callers), ["ok", "has 1", "waits", "waits"])
        refusing.clear()
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.deepStrictEqual(states(callers), ["ok", "has 1", "has 2", "waits"])
      })
    )

    it.effect(
      "B4 A7 beside a bad address callers of a full service wait for waitTimeout, whatever connectTimeout is",
      () =>
        Effect.gen(function* () {
          const { list, pool, refusing } = yield* balance({
            connectionsPerAddress: 1,
            pool: (connect, { limit }) =>
              CachePool.make({ connect, limit, connectTimeout: "5 seconds", waitTimeout: "30 seconds" })
          })
          refusing.add("b")
          yield* list("a", "b")
          const [first, second, third] = yield* borrowMany(pool, 3)
          yield* TestClock.adjust("29999 millis")
          assert.deepStrictEqual(states([first!, second!, third!]), ["has 1", "waits", "waits"])
          yield* first!.leave
          yield* TestClock.adjust("1 millis")
          yield* settle
          assert.strictEqual(second!.state(), "has 1")
          assert.match(third!.state(), /^WaitTimeout/)
        })
    )

    it.effect("B4 callers in line get an address that was set aside as soon as its time is over", () =>
      Effect.gen(function* () {
        const { list, pool, refusing } = yield* balance({ connectionsPerAddress: 1 })
        refusing.add("b")
        yield* list("a", "b")
        yield* borrowMany(pool, 1)
        // Fails at b, or never asked it.
        const second = yield* borrow<Conn, unknown>(pool as never)
        refusing.clear()
        assert.strictEqual(second.state(), "waits")
        yield* TestClock.adjust("999 millis")
        assert.strictEqual(second.state(), "waits")
        yield* TestClock.adjust("1 millis")
        yield* settle
        assert.strictEqual(second.connection().address, "b")
      })
    )

    it.effect(
      "B1 an address that is added while all others refuse is tried at once, whatever pause the pool makes",
      () =>
        Effect.gen(function* () {
          const { list, pool, refusing } = yield* balance({
            pool: (connect, { limit }) => CachePool.make({ connect, limit, backoff: Schedule.spaced("1 hour") })
          })
          refusing.add("a")
          yield* list("a")
          const [first, second] = yield* borrowMany(pool, 2)
          assert.deepStrictEqual(states([first!, second!]), ["refused a", "waits"])
          yield* list("a", "b")
          assert.strictEqual(second!.connection().address, "b")
        })
    )

    it.effect("B4 a schedule without pauses does not make attempts spin", () =>
      Effect.gen(function* () {
        const { connect, log, refusing } = service()
        const { pool } = yield* balance({
          addresses: Stream.make(["a", "b", "c"]),
          connect: (address) => Effect.andThen(Effect.yieldNow, connect(address)),
          connectionsPerAddress: 1,
          setAside: Schedule.forever
        })
        refusing.add("b").add("c")
        yield* borrowMany(pool, 4)
        yield* Effect.repeat(settle, { times: 20 })
        assert.isBelow(log.length, 20)
      })
    )

    it.effect("B4 a connect whose address failed does not fall back on one that is set aside", () =>
      Effect.gen(function* () {
        const { list, log, pool, refusing } = yield* balance({ setAside: Schedule.spaced("10 seconds") })
        refusing.add("a").add("b")
        yield* list("a")
        yield* Effect.exit(pool.use(() => Effect.void))
        yield* list("a", "b")
        yield* TestClock.adjust("100 millis")
        assert.strictEqual(yield* Effect.flip(pool.use(() => Effect.void)), "refused b")
        assert.deepStrictEqual(log, ["connect a", "connect b"])
      })
    )

    it.effect("B4 nobody connects to an address that is set aside while others are full", () =>
      Effect.gen(function* () {
        const { list, log, pool, refusing } = yield* balance({ connectionsPerAddress: 1 })
        refusing.add("b")
        yield* list("b")
        yield* Effect.exit(pool.use(() => Effect.void))
        // The pool's own pause after an attempt that failed.
        yield* TestClock.adjust("100 millis")
        yield* list("a", "b")
        const callers = yield* borrowMany(pool, 3)
        assert.deepStrictEqual(states(callers), ["has 1", "waits", "waits"])
        assert.strictEqual((yield* pool.stats).connecting, 0, "they wait in the pool's line")
        assert.deepStrictEqual(log, ["connect b", "connect a"])
      })
    )

    it.effect("B4 neither where the pool does not know the limit, and attempts wait", () =>
      Effect.gen(function* () {
        yield* TestClock.adjust("1 milli")
        const { counted, running } = fiberCounter()
        const { list, log, pool, refusing } = yield* counted(
          balance({
            connectionsPerAddress: 1,
            setAside: Schedule.spaced("5 seconds"),
            pool: (connect) => CachePool.make({ connect, onAbandon: "cancel" })
          })
        )
        const idle = running()
        refusing.add("b")
        yield* list("b")
        yield* Effect.exit(pool.use(() => Effect.void))
        yield* TestClock.adjust("1 second")
        yield* list("a", "b")
        const [first, second, third] = yield* borrowMany(pool, 3)
        assert.deepStrictEqual(states([first!, second!]), ["has 1", "waits"])
        assert.deepStrictEqual([log, (yield* pool.stats).connecting], [["connect b", "connect a"], 2])
        yield* third!.interrupt
        yield* Effect.ignore(first!.lease().invalidate)
        yield* first!.leave
        assert.deepStrictEqual([second!.connection().address, log.slice(2)], ["a", ["connect a"]])
        yield* second!.leave
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* pool.stats).connecting, 0)
        yield* pool.retain(() => false)
        yield* settle
        assert.strictEqual(running(), idle, "no timer for an address while nobody waits")
      })
    )

    it.effect("B4 an attempt that is given up is not its address's failure", () =>
      Effect.gen(function* () {
        const told: Array<string> = []
        const { hanging, list, pool } = yield* balance({
          pool: (connect, { limit }) => CachePool.make({ connect, limit, onAbandon: "cancel" }),
          observer: { aborted: (address) => told.push(`aborted ${address}`), setAside: () => told.push("set aside") }
        })
        hanging.set("a", yield* Deferred.make<void>())
        yield* list("a")
        const [caller] = yield* borrowMany(pool, 1)
        yield* caller!.interrupt
        assert.deepStrictEqual(told, ["aborted a"])
      })
    )
  })

  describe("defects of tk-pool", () => {
    it.effect("addresses that are set aside come back each at its own time, earliest first", () =>
      Effect.gen(function* () {
        const back: Array<string> = []
        const { list, pool, refusing } = yield* balance({
          setAside: Schedule.spaced("3 seconds"),
          observer: { back: (address) => back.push(address) }
        })
        for (const address of ["a", "b", "c"]) refusing.add(address)
        for (const addresses of [["a"], ["a", "b"], ["a", "b", "c"]]) {
          yield* list(...addresses)
          yield* Effect.exit(pool.use(() => Effect.void))
          yield* TestClock.adjust("1 second")
        }
        assert.deepStrictEqual(back, ["a"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(back, ["a", "b"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(back, ["a", "b", "c"])
      })
    )

    it.effect("an old connection of an address that left and came back breaks: nobody's count is wrong", () =>
      Effect.gen(function* () {
        const { list, live, pool } = yield* balance({ connectionsPerAddress: 2 })
        yield* list("a")
        const old = yield* borrowMany(pool, 2)
        yield* list("b")
        yield* list("a", "b")
        const fresh = yield* borrowMany(pool, 3)
        const addresses = fresh.map((caller) => caller.connection().address).toSorted()
        assert.deepInclude(
          [
            ["a", "a", "b"],
            ["a", "b", "b"]
          ],
          addresses
        )
        for (const caller of old) {
          yield* caller.lease().invalidate
          yield* caller.leave
        }
        yield* borrowMany(pool, 2)
        assert.deepStrictEqual({ ...live }, { a: 2, b: 2 })
      })
    )

    it.effect("news about addresses opens no connection that nobody needs", () =>
      Effect.gen(function* () {
        const { hanging, list, log, pool } = yield* balance()
        const gate = yield* Deferred.make<void>()
        for (const address of ["a", "b", "c"]) hanging.set(address, gate)
        yield* list("a", "b", "c")
        yield* borrowMany(pool, 2)
        for (let i = 0; i < 5; i++) {
          yield* list("a", "b", "c", `d${i}`)
          yield* list("c", "b", "a")
        }
        assert.strictEqual(log.length, 2)
        yield* Deferred.succeed(gate, undefined)
        yield* settle
        assert.strictEqual((yield* pool.stats).created, 2)
      })
    )

    it.effect("requests are given to the connections of all addresses in turn", () =>
      Effect.gen(function* () {
        const { list, pool } = yield* balance({ connectionsPerAddress: 1 }, 3)
        yield* list("a", "b", "c")
        for (const caller of yield* borrowMany(pool, 3)) yield* caller.leave
        const asked = yield* Effect.replicateEffect(
          pool.use(({ address }) => Effect.succeed(address)),
          9
        )
        assert.strictEqual(new Set(asked.slice(0, 3)).size, 3)
        assert.deepStrictEqual([asked.slice(3, 6), asked.slice(6)], [asked.slice(0, 3), asked.slice(0, 3)])
      })
    )
  })

  describe("observer", () => {
    /** A balance that writes down what its observer is told. */
    const observed = (options: Options = {}) =>
      Effect.gen(function* () {
        const told: Array<string> = []
        const note = (name: string) => (address: string) => void told.push(`${name} ${address}`)
        const made = yield* balance({
          ...options,
          observer: {
            added: note("added"),
            removed: note("removed"),
            connecting: note("connecting"),
            connected: note("connected"),
            failed: note("failed"),
            aborted: note("aborted"),
            disconnected: note("disconnected"),
            setAside: (address, duration) => void told.push(`set aside ${address} for ${duration}`),
            back: note("back")
          }
        })
        return { ...made, told, news: () => told.splice(0) }
      })

    it.effect("is told of all that happens to addresses", () =>
      Effect.gen(function* () {
        const { hanging, list, news, pool, refusing } = yield* observed()
        yield* list("a")
        const [caller] = yield* borrowMany(pool, 1)
        assert.deepStrictEqual(news(), ["added a", "connecting a", "connected a"])
        yield* caller!.leave
        yield* list()
        assert.deepStrictEqual(news(), ["removed a", "disconnected a"])

        refusing.add("b")
        yield* list("b")
        yield* Effect.exit(pool.use(() => Effect.void))
        assert.deepStrictEqual(news(), ["added b", "connecting b", "failed b", "set aside b for 1000"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(news(), ["back b"])

        refusing.clear()
        hanging.set("b", yield* Deferred.make<void>())
        yield* Effect.forkChild(Effect.exit(pool.use(() => Effect.void)))
        yield* settle
        yield* list("c")
        assert.deepStrictEqual(news(), [
          "connecting b",
          "added c",
          "removed b",
          "aborted b",
          "connecting c",
          "connected c"
        ])
      })
    )

    it.effect("an address that answers although it is set aside is back", () =>
      Effect.gen(function* () {
        const { list, news, pool, refusing } = yield* observed({ setAside: Schedule.spaced("1 hour") })
        refusing.add("a")
        yield* list("a")
        yield* Effect.exit(pool.use(() => Effect.void))
        refusing.clear()
        yield* TestClock.adjust("100 millis")
        news()
        yield* pool.use(() => Effect.void)
        assert.deepStrictEqual(news(), ["connecting a", "connected a", "back a"])
      })
    )

    it.effect("callbacks that throw harm nobody", () =>
      Effect.gen(function* () {
        const bad = () => {
          throw new Error("an observer that throws")
        }
        const { list, pool } = yield* balance({
          observer: { added: bad, removed: bad, connecting: bad, connected: bad, disconnected: bad }
        })
        yield* list("a")
        yield* pool.use(() => Effect.void)
        yield* list("b")
        assert.strictEqual(yield* pool.use(({ address }) => Effect.succeed(address)), "b")
      })
    )
  })

  describe("resources", () => {
    it.effect(
      "B4 an attempt that ends because all other addresses are full gives back its slot of a shared limit",
      () =>
        Effect.gen(function* () {
          const limit = yield* ConnectionLimit.make({ max: 5 })
          const { pool, list, refusing } = yield* balance({ limit, connectionsPerAddress: 1 })
          refusing.add("a")
          yield* list("b")
          const [holder] = yield* borrowMany(pool, 1)
          yield* list("a", "b")
          const [waiter] = yield* borrowMany(pool, 1)
          assert.deepStrictEqual(states([holder!, waiter!]), ["has 1", "waits"])
          assert.deepInclude(yield* limit.stats, { used: 1 })
          yield* holder!.leave
          assert.deepStrictEqual(states([waiter!]), ["has 1"])
          yield* waiter!.leave
        })
    )

    it.effect("A10 a timer for an address that is set aside runs only while somebody waits for it", () =>
      Effect.gen(function* () {
        yield* TestClock.adjust("1 milli")
        const { counted, running } = fiberCounter()
        const { list, pool, refusing } = yield* counted(balance({ connectionsPerAddress: 1 }))
        yield* list("a", "b")
        const idle = running()
        refusing.add("b").add("a")
        yield* Effect.exit(pool.use(() => Effect.void))
        yield* TestClock.adjust("100 millis")
        assert.strictEqual(running(), idle, "nobody waits")
        refusing.delete("a")
        yield* TestClock.adjust("1 second")
        refusing.add("b")
        const [holder, waiter] = yield* borrowMany(pool, 2)
        assert.deepStrictEqual(states([holder!, waiter!]), ["has 1", "waits"])
        assert.isAbove(running(), idle)
        yield* holder!.leave
        yield* waiter!.leave
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(running(), idle, "nobody waits any more")
      })
    )

    it.effect("A10 no timer for an address is left when the pool has drained", () =>
      Effect.gen(function* () {
        yield* TestClock.adjust("1 milli")
        const { counted, running } = fiberCounter()
        const { list, pool, refusing } = yield* counted(
          balance({
            connectionsPerAddress: 1,
            pool: (connect, { limit }) => CachePool.make({ connect, limit, minSize: 5 })
          })
        )
        const idle = running()
        refusing.add("b")
        yield* list("a", "b")
        const callers = yield* borrowMany(pool, 3)
        assert.deepStrictEqual(states(callers), ["has 1", "waits", "waits"])
        yield* pool.drain()
        yield* settle
        assert.strictEqual(running(), idle)
      })
    )

    it.effect("an address that has left is forgotten when its last connection has closed", () =>
      Effect.gen(function* () {
        const clock = yield* Clock.Clock
        const book = new AddressBook<string>(Infinity, Schedule.forever, Effect.runFork, clock, undefined)
        book.update(["a"])
        const entry = book.choose(new Set(), false, () => 0)!
        book.occupy(entry)
        book.update([])
        book.occupy(entry)
        assert.isTrue(book.hasLeft("a"))
        book.vacate(entry)
        assert.isTrue(book.hasLeft("a"))
        book.vacate(entry)
        assert.isFalse(book.hasLeft("a"))
      })
    )

    it.effect("A8 nothing is left after the scope has closed, whatever was going on", () =>
      Effect.gen(function* () {
        yield* TestClock.adjust("1 milli")
        const { counted, running } = fiberCounter()
        const scope = yield* Scope.make()
        const { hanging, list, live, pool, refusing } = yield* counted(
          Scope.provide(balance({ connectionsPerAddress: 1, observer: { back: () => {} } }), scope)
        )
        refusing.add("b")
        hanging.set("c", yield* Deferred.make<void>())
        yield* list("a", "b", "c")
        const callers = yield* borrowMany(pool, 4)
        yield* Scope.close(scope, Exit.void)
        yield* settle
        assert.strictEqual(running(), 0)
        assert.strictEqual(live["a"], 0)
        assert.deepStrictEqual(
          callers.map((c) => c.state()).filter((state) => state !== "Closed"),
          ["has 1"]
        )
      })
    )

    it.effect("A5 interrupting a connect gives its address back", () =>
      Effect.gen(function* () {
        const { hanging, list, live, pool } = yield* balance({
          connectionsPerAddress: 1,
          pool: (connect, { limit }) => CachePool.make({ connect, limit, onAbandon: "cancel" })
        })
        hanging.set("a", yield* Deferred.make<void>())
        yield* list("a")
        const [first] = yield* borrowMany(pool, 1)
        yield* first!.interrupt
        hanging.clear()
        const [second] = yield* borrowMany(pool, 1)
        assert.deepStrictEqual([second!.state(), { ...live }], ["has 1", { a: 1 }])
      })
    )

    it.effect("limit is shared with other pools, and asked only where an address has room", () =>
      Effect.gen(function* () {
        const limit = yield* ConnectionLimit.make({ max: 2 })
        const other = yield* CachePool.make({ connect: () => Effect.succeed({ id: 0 }), limit })
        const { list, pool } = yield* balance({ limit, connectionsPerAddress: 1 })
        yield* list("a")
        const callers = yield* borrowMany(pool, 2)
        assert.deepStrictEqual(states(callers), ["has 1", "waits"])
        assert.deepStrictEqual(yield* limit.stats, { max: 2, used: 1, waiting: 0 })
        const foreign = yield* borrow(other)
        yield* list("a", "b")
        assert.deepStrictEqual([states(callers), foreign.state()], [["has 1", "waits"], "has 0"])
        assert.strictEqual((yield* limit.stats).waiting, 1)
        yield* foreign.leave
        assert.deepStrictEqual(states(callers), ["has 1", "has 2"])
      })
    )
  })

  describe("make", () => {
    it.effect("a bad option is a defect that names it", () =>
      Effect.gen(function* () {
        const say = (options: Options) => Effect.map(Effect.exit(balance(options)), String)
        assert.include(
          yield* say({ connectionsPerAddress: 0 }),
          "BalancePool: connectionsPerAddress must be an integer of at least 1, got 0"
        )
        assert.include(
          yield* say({ connectTimeout: 0 }),
          "BalancePool: connectTimeout must be a duration longer than zero, got 0"
        )
      })
    )

    it.effect("layer provides a balance", () =>
      Effect.gen(function* () {
        const { connect } = service()
        class Service extends Context.Service<Service, ConnectionPool<void, Conn, string | TimeoutError>>()(
          "Service"
        ) {}
        const layer = BalancePool.layer(Service, {
          addresses: Stream.make(["a"]),
          connect,
          pool: (connect, { limit }) => CachePool.make({ connect, limit })
        })
        const program = Effect.flatMap(Service, (pool) => pool.use(({ address }) => Effect.succeed(address)))
        assert.strictEqual(yield* Effect.provide(program, layer), "a")
      })
    )
  })
})
