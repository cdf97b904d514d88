import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redis from "effect/persistence/Redis"
import * as fc from "fast-check"
import { redis } from "../../http/test/servers/redis.ts"
import { missing } from "../../http/test/servers/serverProcess.ts"
import { type Book, enter } from "../../pool/src/internal/storedLimitBook.ts"
import { exchangeLua, redisTime } from "../src/internal/exchangeScript.ts"
import { makeStoreRedis } from "../src/internal/storeRedis.ts"

interface Step {
  readonly member: number
  /** Since the step before; milliseconds. */
  readonly passed: number
  /** 0: says the same as before, as a claim does that is sent twice. */
  readonly ahead: number
  readonly max: number
  readonly held: number
  readonly idle: number
  readonly wanted: number
  readonly spare: number
  readonly leaving: boolean
}

const step: fc.Arbitrary<Step> = fc.record({
  member: fc.nat(4),
  passed: fc.oneof(fc.nat(50), fc.nat(700)),
  ahead: fc.oneof({ weight: 9, arbitrary: fc.constant(1) }, { weight: 1, arbitrary: fc.constant(0) }),
  max: fc.oneof({ weight: 9, arbitrary: fc.constant(7) }, { weight: 1, arbitrary: fc.integer({ min: 1, max: 12 }) }),
  held: fc.nat(5),
  idle: fc.nat(2),
  wanted: fc.oneof(fc.constant(0), fc.nat(4)),
  spare: fc.oneof(fc.constant(0), fc.nat(2)),
  leaving: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) })
})

const leaseTime = 1_000
const runs = 300

describe.skipIf(missing("redis-server"))("exchangeScript", () => {
  it.live("does the same arithmetic as the store in memory, exchange by exchange", () =>
    Effect.gen(function* () {
      const server = yield* redis()
      let now = 0
      let keys = 0
      let late = 0
      yield* Effect.gen(function* () {
        const store = yield* makeStoreRedis(
          { prefix: "model:", gracePeriod: undefined },
          exchangeLua("local now = tonumber(ARGV[12])"),
          () => [String(now)]
        )
        const compare = Effect.fnUntraced(function* (steps: ReadonlyArray<Step>) {
          const key = String(++keys)
          // Larger than any other number here, and not a whole number of anything.
          now = 1_795_183_545_123
          let book: Book | undefined
          const sequences = new Map<string, number>()
          for (const [i, { ahead, leaving, member: n, passed, ...said }] of steps.entries()) {
            now += passed
            const member = `m${n}`
            const sequence = Math.max(1, (sequences.get(member) ?? 0) + ahead)
            sequences.set(member, sequence)
            const claim = { ...said, key, member, sequence, leaseTime, leaving }
            book ??= { members: new Map(), recoversUntil: now + leaseTime }
            const expected = enter(book, claim, now)
            if (expected === undefined) late++
            const answer = yield* Effect.result(store.exchange(claim))
            assert.deepStrictEqual(
              answer._tag === "Success" ? answer.success : undefined,
              expected,
              `exchange ${i} of ${JSON.stringify(steps)}`
            )
          }
        })
        const run = Effect.runPromiseWith(yield* Effect.context<never>())
        yield* Effect.promise(() =>
          fc.assert(
            fc.asyncProperty(fc.array(step, { maxLength: 40, size: "max" }), (steps) => run(compare(steps))),
            { numRuns: runs }
          )
        )
      }).pipe(Effect.provide(NodeRedis.layer({ url: server.url })), Effect.scoped)
      assert.isAbove(late, 10)
    })
  )

  it.live("is one step with 200 members, in well under a millisecond each", () =>
    Effect.gen(function* () {
      const server = yield* redis()
      yield* Effect.gen(function* () {
        const store = yield* makeStoreRedis({ prefix: "", gracePeriod: 0 }, exchangeLua(redisTime))
        const client = yield* Redis.Redis
        const claim = (i: number, sequence: number, members: number) => ({
          key: `of ${members}`,
          member: `member-${i}`,
          sequence,
          max: 500,
          leaseTime: 60_000,
          held: 2,
          idle: 1,
          wanted: i % 3,
          spare: 0,
          leaving: false
        })
        const micros = Effect.fnUntraced(function* (members: number) {
          yield* client.send("CONFIG", "RESETSTAT")
          for (let sequence = 1; sequence <= 600 / members; sequence++) {
            for (let i = 0; i < members; i++) yield* store.exchange(claim(i, sequence, members))
          }
          const info = yield* client.send<string>("INFO", "commandstats")
          return Number(/cmdstat_evalsha:.*usec_per_call=([\d.]+)/.exec(info)?.[1])
        })
        const [few, many] = [yield* micros(10), yield* micros(200)]
        console.log(`an exchange takes Redis ${few} µs among 10 members, ${many} µs among 200`)
        assert.isBelow(many, 5_000)
      }).pipe(Effect.provide(NodeRedis.layer({ url: server.url })), Effect.scoped)
    })
  )
})
