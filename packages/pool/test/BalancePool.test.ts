import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import * as BalancePool from "../src/BalancePool.ts"
import * as CachePool from "../src/CachePool.ts"
import type { ConnectionInfo, ConnectionPool } from "../src/ConnectionPool.ts"
import * as SharedPool from "../src/SharedPool.ts"
import { borrow, settle } from "./support/scene.ts"

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
  BalancePool.BalancePoolOptions<string, Conn, string, Scope.Scope, Conn, string, Scope.Scope, never>
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

    it.effect(
      "B1 a connection that opens to an address that is gone by then is closed, and another address tried",
      () =>
        Effect.gen(function* () {
          const { hanging, list, live, log, pool } = yield* balance()
          const gate = yield* Deferred.make<void>()
          hanging.set("a", gate)
          yield* list("a")
          const [caller] = yield* borrowMany(pool, 1)
          yield* list("b")
          yield* Deferred.succeed(gate, undefined)
          yield* settle
          assert.strictEqual(caller!.connection().address, "b")
          assert.deepStrictEqual([live, log], [{ a: 0, b: 1 }, ["connect a", "connect b"]])
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
        const { pool, list, live } = yield* balance()
        yield* list("a", "b", "c", "d", "e")
        for (let i = 1; i <= 5; i++) {
          yield* borrowMany(pool, 1)
          assert.deepStrictEqual([Object.keys(live).length, Math.max(...Object.values(live))], [i, 1])
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
  })

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
      assert.deepStrictEqual([second!.state(), live], ["has 1", { a: 1 }])
    })
  )

  it.effect("A bad connectionsPerAddress is a defect that names the option", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(balance({ connectionsPerAddress: 0 }))
      assert.include(String(exit), "BalancePool: connectionsPerAddress must be an integer of at least 1, got 0")
    })
  )
})
