import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as AddressResolver from "effect/net/AddressResolver"
import * as Dns from "effect/net/Dns"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import * as Addresses from "../src/Addresses.ts"
import * as BalancePool from "../src/BalancePool.ts"
import * as CachePool from "../src/CachePool.ts"
import { fiberCounter, settle } from "./support/scene.ts"

/** Answers what a test says, from then on. */
const scripted = <A>(first: Effect.Effect<A, string>) => {
  let answer = first
  let asked = 0
  return {
    lookup: Effect.suspend(() => {
      asked++
      return answer
    }),
    say: (next: Effect.Effect<A, string>) => {
      answer = next
    },
    asked: () => asked
  }
}

/** Runs a stream, and collects the lists that it emits. */
const collect = <A>(stream: Stream.Stream<A>) =>
  Effect.gen(function* () {
    const lists: Array<A> = []
    const fiber = yield* Effect.forkScoped(
      Stream.runForEach(stream, (list) => Effect.sync(() => lists.push(list))),
      { startImmediately: true }
    )
    yield* settle
    return { lists, fiber, ended: () => fiber.pollUnsafe() !== undefined }
  })

const every = (duration: "1 second" | "10 seconds") => ({
  schedule: Schedule.spaced(duration),
  retry: Schedule.exponential("1 second")
})

const list = (...addresses: ReadonlyArray<string>) => Effect.succeed(addresses)

describe("Addresses", () => {
  describe("fromLookup", () => {
    it.effect("looks up at once, then on schedule, and emits changes only", () =>
      Effect.gen(function* () {
        const { asked, lookup, say } = scripted(list("a", "b"))
        const { lists } = yield* collect(Addresses.fromLookup(lookup, every("10 seconds")))
        assert.deepStrictEqual([lists, asked()], [[["a", "b"]], 1])
        yield* TestClock.adjust("9999 millis")
        assert.strictEqual(asked(), 1)
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual([lists, asked()], [[["a", "b"]], 2])
        say(list("b", "a"))
        yield* TestClock.adjust("10 seconds")
        say(list("a", "b", "b", "a"))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual([lists.length, asked()], [1, 4], "another order, and twice, is no change")
        say(list("c", "a", "c"))
        yield* TestClock.adjust("10 seconds")
        say(list("a"))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(lists, [["a", "b"], ["c", "a"], ["a"]])
      })
    )

    it.effect("compares addresses by value", () =>
      Effect.gen(function* () {
        const lookup = Effect.sync(() => [{ host: "a", port: 1 }])
        const { lists } = yield* collect(Addresses.fromLookup(lookup, every("1 second")))
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(lists, [[{ host: "a", port: 1 }]])
      })
    )

    it.effect("looks up every 30 seconds, jittered, where nothing else is said", () =>
      Effect.gen(function* () {
        const { asked, lookup } = scripted(list("a"))
        yield* collect(Addresses.fromLookup(lookup))
        yield* TestClock.adjust("23 seconds")
        assert.strictEqual(asked(), 1)
        yield* TestClock.adjust("14 seconds")
        assert.strictEqual(asked(), 2)
      })
    )

    const bad: ReadonlyArray<readonly [string, Effect.Effect<ReadonlyArray<string>, string>]> = [
      ["fails", Effect.fail("SERVFAIL")],
      ["dies", Effect.die(new Error("a lookup that dies"))],
      ["throws", Effect.suspend(() => JSON.parse("{") as Effect.Effect<never>)],
      ["is interrupted", Effect.interrupt],
      ["does not answer", Effect.never],
      ["answers too late", Effect.delay(list("z"), "5001 millis")],
      ["answers nothing", list()],
      ["answers what is no list", Effect.succeed(undefined as unknown as ReadonlyArray<string>)]
    ]
    for (const [what, answer] of bad) {
      it.effect(`a lookup that ${what} keeps the last good list, and is repeated under retry`, () =>
        Effect.gen(function* () {
          const { asked, lookup, say } = scripted(list("a"))
          const { lists } = yield* collect(Addresses.fromLookup(lookup, every("10 seconds")))
          say(answer)
          yield* TestClock.adjust("30 seconds")
          assert.deepStrictEqual(lists, [["a"]])
          assert.isAtLeast(asked(), 3)
          say(list("b"))
          yield* TestClock.adjust("30 seconds")
          assert.deepStrictEqual(lists, [["a"], ["b"]])
        })
      )

      it.effect(`a first lookup that ${what} is repeated until one succeeds`, () =>
        Effect.gen(function* () {
          const { lookup, say } = scripted(answer)
          const { ended, lists } = yield* collect(Addresses.fromLookup(lookup, every("10 seconds")))
          yield* TestClock.adjust("10 seconds")
          assert.deepStrictEqual([lists, ended()], [[], false])
          say(list("a"))
          yield* TestClock.adjust("20 seconds")
          assert.deepStrictEqual(lists, [["a"]])
        })
      )
    }

    it.effect("retry starts again after an answer, and at its end", () =>
      Effect.gen(function* () {
        const { asked, lookup, say } = scripted(Effect.fail("no") as Effect.Effect<ReadonlyArray<string>, string>)
        yield* collect(
          Addresses.fromLookup(lookup, {
            schedule: Schedule.spaced("10 seconds"),
            retry: Schedule.exponential("1 second")
          })
        )
        yield* TestClock.adjust("3 seconds")
        assert.strictEqual(asked(), 3, "at 0, 1 and 3 seconds")
        say(list("a"))
        yield* TestClock.adjust("4 seconds")
        say(Effect.fail("no"))
        yield* TestClock.adjust("10 seconds")
        const before = asked()
        yield* TestClock.adjust("1 second")
        assert.strictEqual(asked(), before + 1)
      })
    )

    it.effect("never asks more often than every 100 ms, whatever the schedules say", () =>
      Effect.gen(function* () {
        const { asked, lookup, say } = scripted(list("a"))
        yield* collect(Addresses.fromLookup(lookup, { schedule: Schedule.forever, retry: Schedule.recurs(0) }))
        yield* TestClock.adjust("1 second")
        assert.strictEqual(asked(), 11)
        say(Effect.fail("no"))
        yield* TestClock.adjust("1 second")
        assert.strictEqual(asked(), 21)
      })
    )

    it.effect("the end of schedule ends the stream", () =>
      Effect.gen(function* () {
        const { lookup } = scripted(list("a"))
        const { ended, lists } = yield* collect(Addresses.fromLookup(lookup, { schedule: Schedule.recurs(0) }))
        assert.deepStrictEqual([lists, ended()], [[["a"]], true])
      })
    )

    it.effect("empty: accept emits an empty list", () =>
      Effect.gen(function* () {
        const { lookup, say } = scripted(list("a"))
        const { lists } = yield* collect(Addresses.fromLookup(lookup, { ...every("1 second"), empty: "accept" }))
        say(list())
        yield* TestClock.adjust("3 seconds")
        say(list("a"))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(lists, [["a"], [], ["a"]])
      })
    )

    it.effect("misses: an address leaves the list when so many answers in a row have left it out", () =>
      Effect.gen(function* () {
        const { lookup, say } = scripted(list("a", "b"))
        const { lists } = yield* collect(Addresses.fromLookup(lookup, { ...every("1 second"), misses: 3 }))
        const answers = [["c"], ["c", "a"], ["c"], ["d"], ["d"]]
        for (const answer of answers) {
          say(list(...answer))
          yield* TestClock.adjust("1 second")
        }
        assert.deepStrictEqual(lists, [
          ["a", "b"],
          ["c", "a", "b"],
          ["c", "a"],
          ["d", "c", "a"],
          // a was left out by the last three.
          ["d", "c"]
        ])
      })
    )

    it.effect("misses: a lookup that fails leaves nothing out", () =>
      Effect.gen(function* () {
        const { lookup, say } = scripted(list("a", "b"))
        const { lists } = yield* collect(Addresses.fromLookup(lookup, { ...every("1 second"), misses: 2 }))
        say(list("a"))
        yield* TestClock.adjust("1 second")
        say(Effect.fail("no"))
        yield* TestClock.adjust("5 seconds")
        say(list("a", "b"))
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual(lists, [["a", "b"]])
      })
    )

    it.effect("one warning is logged for a row of failures", () =>
      Effect.gen(function* () {
        const logged: Array<string> = []
        const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
          logged.push(`${logLevel} ${String((message as ReadonlyArray<unknown>)[0] ?? message)}`)
        })
        const { lookup, say } = scripted(list("a"))
        const run = collect(Addresses.fromLookup(lookup, every("1 second")))
        yield* Effect.provide(run, Logger.layer([logger]))
        say(Effect.fail("no"))
        yield* TestClock.adjust("20 seconds")
        say(list("a"))
        yield* TestClock.adjust("20 seconds")
        assert.deepStrictEqual(logged, [
          "Warn Looking up addresses failed; the last list stays",
          "Info Addresses can be looked up again"
        ])
      })
    )

    it.effect("takes thousands of addresses, most of them again and again", () =>
      Effect.gen(function* () {
        const many = Array.from({ length: 20_000 }, (_, i) => ({ host: `10.0.${i % 100}.${i % 7}`, port: i % 13 }))
        const { lists } = yield* collect(Addresses.fromLookup(Effect.succeed(many), every("1 second")))
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(
          lists.map((list) => list.length),
          [9_100]
        )
      })
    )

    it.effect("two runs of a stream do not know of each other", () =>
      Effect.gen(function* () {
        const { lookup } = scripted(list("a"))
        const stream = Addresses.fromLookup(lookup, every("1 second"))
        const first = yield* collect(stream)
        const second = yield* collect(stream)
        assert.deepStrictEqual([first.lists, second.lists], [[["a"]], [["a"]]])
      })
    )

    it.effect("leaves nothing behind when it is interrupted while it asks or waits", () =>
      Effect.gen(function* () {
        yield* TestClock.adjust("1 milli")
        const { counted, running } = fiberCounter()
        for (const answer of [list("a"), Effect.never]) {
          const scope = yield* Scope.make()
          yield* counted(Scope.provide(collect(Addresses.fromLookup(answer, every("1 second"))), scope))
          yield* Scope.close(scope, { _tag: "Success", value: undefined } as never)
          assert.strictEqual(running(), 0)
        }
      })
    )

    it.effect("a bad option is a defect that names it", () =>
      Effect.gen(function* () {
        const say = (options: object) =>
          Effect.map(Effect.exit(Stream.runDrain(Addresses.fromLookup(list("a"), options))), String)
        assert.include(yield* say({ timeout: -1 }), "Addresses: timeout must be a duration longer than zero, got -1")
        assert.include(yield* say({ misses: 0 }), "Addresses: misses must be an integer of at least 1, got 0")
        assert.include(yield* say({ empty: "yes" }), 'Addresses: empty must be "keep" or "accept", got "yes"')
      })
    )
  })

  describe("Effect's AddressResolver", () => {
    const ip = NetAddress.ipFromStringUnsafe

    it.effect("is a lookup, whose lies keep the last good list", () =>
      Effect.gen(function* () {
        type Answer = Effect.Effect<ReadonlyArray<NetAddress.IpAddress>, Dns.DnsError>
        const refuse = (reason: Dns.DnsErrorReason): Answer =>
          Effect.fail(new Dns.DnsError({ reason, method: "lookup", hostname: "db.internal" }))
        let answer: Answer = Effect.succeed([ip("127.0.0.2"), ip("127.0.0.1")])
        const resolver = AddressResolver.make(Dns.make({ lookup: () => Effect.suspend(() => answer) }))
        const lookup = Effect.flatMap(AddressResolver.AddressResolver, (service) => service.resolve("db.internal:5432"))
        const { lists } = yield* collect(
          Addresses.fromLookup(
            Effect.provideService(lookup, AddressResolver.AddressResolver, resolver),
            every("1 second")
          )
        )
        const lies: ReadonlyArray<Answer> = [
          refuse("NotFound"),
          refuse("ServerFailure"),
          refuse("Refused"),
          refuse("InvalidResponse"),
          Effect.succeed([]),
          // Only link-local, which nobody can connect to.
          Effect.succeed([ip("fe80::1")]),
          Effect.never,
          Effect.succeed([ip("127.0.0.1"), ip("127.0.0.2"), ip("127.0.0.1")])
        ]
        for (const lie of lies) {
          answer = lie
          yield* TestClock.adjust("20 seconds")
          assert.deepStrictEqual(
            lists.map((list) => list.map(NetAddress.formatInet)),
            [["127.0.0.2:5432", "127.0.0.1:5432"]]
          )
        }
        answer = Effect.succeed([ip("127.0.0.1"), ip("::1")])
        yield* TestClock.adjust("10 minutes")
        assert.deepStrictEqual(lists.at(-1)!.map(NetAddress.formatInet), ["127.0.0.1:5432", "[::1]:5432"])
      })
    )

    it.effect("feeds a balance, which goes on while DNS is down", () =>
      Effect.gen(function* () {
        let answer: Effect.Effect<ReadonlyArray<NetAddress.IpAddress>, Dns.DnsError> = Effect.succeed([ip("127.0.0.1")])
        const resolver = AddressResolver.make(Dns.make({ lookup: () => Effect.suspend(() => answer) }))
        const pool = yield* BalancePool.make({
          addresses: Addresses.fromLookup(resolver.resolve("db.internal:5432"), every("1 second")),
          connect: (address) => Effect.succeed(NetAddress.formatInet(address)),
          pool: (connect, { limit }) => CachePool.make({ connect, limit })
        })
        const ask = pool.use((connection) => Effect.succeed(connection))
        assert.strictEqual(yield* ask, "127.0.0.1:5432")
        answer = Effect.fail(new Dns.DnsError({ reason: "Timeout", method: "lookup", hostname: "db.internal" }))
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* ask, "127.0.0.1:5432")
        answer = Effect.succeed([ip("127.0.0.9")])
        yield* TestClock.adjust("2 minutes")
        assert.strictEqual(yield* ask, "127.0.0.9:5432")
      })
    )
  })

  describe("fromSrv", () => {
    const srv = (target: string, port: number, priority = 0) => ({ target, port, priority, weight: 0 })
    const records = (...records: ReadonlyArray<Addresses.SrvRecord>) => Effect.succeed(records)

    it.effect("emits targets with the best priority, by name and port", () =>
      Effect.gen(function* () {
        const { lookup, say } = scripted(
          records(srv("late.example.org.", 5, 20), srv("b.example.org.", 2, 10), srv("a.example.org", 1, 10))
        )
        const { lists } = yield* collect(Addresses.fromSrv(lookup, every("1 second")))
        assert.deepStrictEqual(lists, [
          [
            { host: "b.example.org", port: 2 },
            { host: "a.example.org", port: 1 }
          ]
        ])
        say(records(srv("late.example.org.", 5, 20)))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(lists.at(-1), [{ host: "late.example.org", port: 5 }])
      })
    )

    it.effect("leaves out what nobody can connect to; where nothing is left the last list stays", () =>
      Effect.gen(function* () {
        const { lookup, say } = scripted(
          records(srv("a.", 1), srv("a.", 1), srv("a", 1), srv("b.", 0), srv("c.", 65_536), srv("d.", 1.5), srv(".", 7))
        )
        const { lists } = yield* collect(Addresses.fromSrv(lookup, every("1 second")))
        assert.deepStrictEqual(lists, [[{ host: "a", port: 1 }]])
        for (const lie of [
          records(srv(".", 0)),
          records(srv("", 80)),
          records(srv("b.", -1), srv("c.", Number.NaN)),
          records(),
          records(undefined as never)
        ]) {
          say(lie)
          yield* TestClock.adjust("10 seconds")
          assert.strictEqual(lists.length, 1)
        }
      })
    )

    it.effect("takes the records of Effect's Dns", () =>
      Effect.gen(function* () {
        const record = Dns.makeRecordUnsafe("SRV", {
          target: Host.domainNameFromStringUnsafe("db1.example.org."),
          port: 5432,
          priority: 1,
          weight: 5
        })
        const dns = Dns.make({ lookup: () => Effect.succeed([]), resolve: () => Effect.succeed([record]) })
        const { lists } = yield* collect(Addresses.fromSrv(dns.resolve("_db._tcp.example.org", "SRV")))
        assert.deepStrictEqual(lists, [[{ host: "db1.example.org", port: 5432 }]])
      })
    )

    describe("resolve", () => {
      /** Targets a and b at priority 1, c at 2; each resolves to what a test says. */
      const resolving = () => {
        const answers = new Map<string, Effect.Effect<ReadonlyArray<string>, string>>()
        const { lookup, say } = scripted(records(srv("a.", 1, 1), srv("b.", 1, 1), srv("c.", 1, 2)))
        const stream = Addresses.fromSrv(lookup, {
          ...every("1 second"),
          resolve: ({ host, port }) =>
            Effect.map(answers.get(host) ?? list(`${host}1`), (list) => list.map((name) => `${name}:${port}`))
        })
        return { answers, say, stream }
      }

      it.effect("emits the addresses of all targets with the best priority", () =>
        Effect.gen(function* () {
          const { answers, stream } = resolving()
          answers.set("a", list("a1", "a2"))
          const { lists } = yield* collect(stream)
          assert.deepStrictEqual(lists, [["a1:1", "a2:1", "b1:1"]])
        })
      )

      it.effect(
        "a target that cannot be resolved keeps its last addresses, and does not keep the others from changing",
        () =>
          Effect.gen(function* () {
            const { answers, stream } = resolving()
            const { lists } = yield* collect(stream)
            for (const [i, lie] of [Effect.fail("no"), list(), Effect.die("no"), Effect.never].entries()) {
              answers.set("a", lie)
              answers.set("b", list(`b${i + 2}`))
              yield* TestClock.adjust("20 seconds")
              assert.deepStrictEqual(lists.at(-1), ["a1:1", `b${i + 2}:1`])
            }
          })
      )

      it.effect("the next priority is taken where the best has no addresses; where none has, the last list stays", () =>
        Effect.gen(function* () {
          const { answers, say, stream } = resolving()
          answers.set("a", Effect.fail("no")).set("b", list())
          const { lists } = yield* collect(stream)
          assert.deepStrictEqual(lists, [["c1:1"]])
          say(records(srv("b.", 1)))
          yield* TestClock.adjust("10 seconds")
          assert.deepStrictEqual(lists, [["c1:1"]])
        })
      )

      it.effect("a target that was gone for a while starts clean", () =>
        Effect.gen(function* () {
          const { answers, say, stream } = resolving()
          const { lists } = yield* collect(stream)
          say(records(srv("b.", 1)))
          yield* TestClock.adjust("1 second")
          answers.set("a", Effect.fail("no"))
          say(records(srv("a.", 1), srv("b.", 1)))
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual(lists, [["a1:1", "b1:1"], ["b1:1"]])
        })
      )
    })
  })

  describe("constant", () => {
    it.effect("emits one list, each address once", () =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* Stream.runCollect(Addresses.constant(["a", "b", "a"])), [["a", "b"]])
      })
    )
  })
})
