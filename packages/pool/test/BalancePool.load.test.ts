/**
 * Three addresses under load: one refuses, one is slow, one is removed and
 * added back. Every request succeeds, and connections are where the rules say.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import * as BalancePool from "../src/BalancePool.ts"
import * as CachePool from "../src/CachePool.ts"
import type { ConnectionPool } from "../src/ConnectionPool.ts"
import type { Connector } from "../src/Connector.ts"
import * as ExpirePool from "../src/ExpirePool.ts"
import * as RequestQueue from "../src/RequestQueue.ts"
import * as SharedPool from "../src/SharedPool.ts"

interface Conn {
  readonly address: string
  readonly id: number
}

/** Each address as its peer sees it. */
const service = () => {
  const live: Record<string, number> = { refuses: 0, slow: 0, moves: 0 }
  const most: Record<string, number> = { refuses: 0, slow: 0, moves: 0 }
  const tries: Record<string, number> = { refuses: 0, slow: 0, moves: 0 }
  const refusing = new Set(["refuses"])
  let id = 0
  const connect = (address: string): Effect.Effect<Conn, string, Scope.Scope> =>
    Effect.gen(function* () {
      tries[address]!++
      // Handshakes take time, and so do refusals.
      yield* Effect.sleep(address === "slow" ? "800 millis" : "2 millis")
      if (refusing.has(address)) return yield* Effect.fail(`${address} refused`)
      return yield* Effect.acquireRelease(
        Effect.sync((): Conn => {
          most[address] = Math.max(most[address]!, ++live[address]!)
          return { address, id: ++id }
        }),
        () =>
          Effect.sync(() => {
            live[address]!--
          })
      )
    })
  return { connect, live, most, tries, refusing }
}

type Build = <E>(
  connect: Connector<void, Conn, E, Scope.Scope>,
  grant: BalancePool.Grant
) => Effect.Effect<ConnectionPool<void, Conn, unknown>, never, Scope.Scope>

const inner: Readonly<Record<string, Build>> = {
  CachePool: (connect, { limit }) => CachePool.make({ connect, limit, maxSize: 12, order: "fifo" }),
  SharedPool: (connect, { limit }) => SharedPool.make({ connect, limit, maxSize: 12, concurrency: 2 }),
  "ExpirePool of CachePool": (connect, { limit }) =>
    ExpirePool.make(CachePool.make({ connect, limit, maxSize: 12 }), { maxUses: 40 })
}

/** Runs for so long in steps of a millisecond, so that nothing is lumped together. */
const pass = (millis: number) => Effect.replicateEffect(TestClock.adjust(1), millis, { discard: true })

describe("BalancePool", () => {
  describe("under load", () => {
    for (const [name, build] of Object.entries(inner)) {
      it.effect(`every request succeeds while addresses refuse, lag, go and come back: over ${name}`, () =>
        Effect.gen(function* () {
          const { connect, live, most, refusing, tries } = service()
          const lists = yield* Queue.unbounded<ReadonlyArray<string>>()
          const list = (...addresses: ReadonlyArray<string>) => Queue.offer(lists, addresses)
          const pool = yield* BalancePool.make({
            addresses: Stream.fromQueue(lists),
            connect,
            connectionsPerAddress: 4,
            setAside: Schedule.spaced("200 millis"),
            pool: build
          })
          yield* list("refuses", "slow", "moves")

          const answers: Record<string, number> = { refuses: 0, slow: 0, moves: 0 }
          let failures = 0
          const ask = pool.use(({ address }) =>
            Effect.delay(
              Effect.sync(() => answers[address]!++),
              "3 millis"
            )
          )
          const load = yield* Effect.forkChild(
            Effect.replicateEffect(Effect.forever(Effect.catchCause(ask, () => Effect.sync(() => failures++))), 20, {
              concurrency: "unbounded"
            })
          )

          yield* pass(2_000)
          assert.strictEqual(live["refuses"], 0)
          assert.isTrue(
            tries["refuses"]! >= 9 && tries["refuses"]! <= 50,
            `${tries["refuses"]} tries at the bad address`
          )
          if (name === "CachePool") assert.deepStrictEqual({ ...live }, { refuses: 0, slow: 4, moves: 4 })

          // It leaves: no connection and no try there any more.
          yield* list("refuses", "slow")
          yield* pass(20)
          const left = { answers: answers["moves"]!, tries: tries["moves"]! }
          yield* pass(1_500)
          assert.deepStrictEqual(live["moves"], 0)
          assert.deepStrictEqual({ answers: answers["moves"], tries: tries["moves"] }, left)
          if (name === "CachePool") assert.deepStrictEqual({ ...live }, { refuses: 0, slow: 4, moves: 0 })

          // It comes back, and gets what there is room for.
          yield* list("refuses", "slow", "moves")
          yield* pass(1_000)
          assert.isAbove(answers["moves"]!, left.answers)
          if (name === "CachePool") assert.deepStrictEqual({ ...live }, { refuses: 0, slow: 4, moves: 4 })

          // The bad one is well again.
          refusing.clear()
          yield* pass(1_000)
          assert.isAbove(answers["refuses"]!, 0)
          if (name === "CachePool") assert.deepStrictEqual({ ...live }, { refuses: 4, slow: 4, moves: 4 })

          yield* Fiber.interrupt(load)
          assert.strictEqual(failures, 0)
          assert.isTrue(
            Object.values(most).every((count) => count <= 4 || name !== "CachePool"),
            JSON.stringify(most)
          )
        })
      )
    }

    it.effect("every request succeeds through a queue too", () =>
      Effect.gen(function* () {
        const { connect, live } = service()
        const lists = yield* Queue.unbounded<ReadonlyArray<string>>()
        const queue = yield* RequestQueue.make({
          pool: BalancePool.make({
            addresses: Stream.fromQueue(lists),
            connect,
            connectionsPerAddress: 2,
            setAside: Schedule.spaced("200 millis"),
            pool: (connect, { limit }) => CachePool.make({ connect, limit, maxSize: 6, order: "fifo" })
          }),
          send: (_, n: number) => Effect.delay(Effect.succeed(-n), "3 millis")
        })
        yield* Queue.offer(lists, ["refuses", "slow", "moves"])
        const all = yield* Effect.forkChild(
          Effect.forEach(
            Array.from({ length: 1_000 }, (_, n) => n),
            queue.send,
            { concurrency: 150 }
          )
        )
        yield* pass(400)
        yield* Queue.offer(lists, ["refuses", "slow"])
        yield* pass(400)
        yield* Queue.offer(lists, ["refuses", "slow", "moves"])
        yield* pass(2_000)
        assert.deepStrictEqual(
          yield* Fiber.join(all),
          Array.from({ length: 1_000 }, (_, n) => -n)
        )
        assert.deepStrictEqual({ ...live }, { refuses: 0, slow: 2, moves: 2 })
      })
    )
  })
})
