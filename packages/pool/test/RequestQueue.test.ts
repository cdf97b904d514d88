import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { TestClock } from "effect/testing"
import * as CachePool from "../src/CachePool.ts"
import type { Lease } from "../src/ConnectionPool.ts"
import * as RequestQueue from "../src/RequestQueue.ts"
import * as SharedPool from "../src/SharedPool.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { describeExit, fiberCounter, settle } from "./support/scene.ts"

type Conn = TestConnector.TestConnection

class Unsent {
  readonly _tag = "Unsent"
}
class Broken {
  readonly _tag = "Broken"
}
type SendError = Unsent | Broken

/** What a connection does with a request: nothing until the test says so, unless it was told before. */
const exchange = () => {
  const log: Array<string> = []
  const open = new Map<string, Deferred.Deferred<string, SendError>>()
  const scripted = new Map<string, Effect.Effect<string, SendError>>()
  const send = (connection: Conn, request: string): Effect.Effect<string, SendError> =>
    Effect.suspend(() => {
      log.push(`${request} on ${connection.id}`)
      const script = scripted.get(request)
      if (script !== undefined) {
        scripted.delete(request)
        return script
      }
      const reply = Deferred.makeUnsafe<string, SendError>()
      open.set(request, reply)
      return Effect.onInterrupt(Deferred.await(reply), () => Effect.sync(() => log.push(`${request} interrupted`)))
    })
  const end = (request: string, effect: Effect.Effect<string, SendError>) =>
    Effect.andThen(Deferred.complete(open.get(request)!, effect), settle)
  return {
    log,
    send,
    scripted,
    reply: (request: string) => end(request, Effect.succeed(`re: ${request}`)),
    failWith: (request: string, error: SendError) => end(request, Effect.fail(error))
  }
}

type Options = Partial<
  RequestQueue.RequestQueueOptions<
    Conn,
    string,
    string,
    SendError,
    never,
    TestConnector.TestConnectError,
    never,
    Scope.Scope
  >
>

const queue = (options: Options = {}, maxSize = 2) =>
  Effect.gen(function* () {
    const peer = TestConnector.makeUnsafe()
    const pool = yield* CachePool.make({ ...peer.options, maxSize })
    const wire = exchange()
    const made = yield* RequestQueue.make({
      pool: Effect.succeed(pool),
      send: wire.send,
      isUnsent: (error) => error._tag === "Unsent",
      ...options
    })
    const levels = Effect.map(made.stats, ({ queued, suspended, inFlight }) => ({ queued, suspended, inFlight }))
    return { ...wire, peer, pool, queue: made, levels }
  })

/** A sender, and how it ended, if it has. */
const sending = <E>(queue: RequestQueue.RequestQueue<string, string, E>, request: string) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(queue.send(request))
    yield* settle
    return {
      fiber,
      state: () => {
        const exit = fiber.pollUnsafe()
        return exit === undefined ? "waits" : Exit.isSuccess(exit) ? exit.value : describeExit(exit)
      },
      interrupt: Effect.andThen(Fiber.interrupt(fiber), settle)
    }
  })

const sendAll = <E>(queue: RequestQueue.RequestQueue<string, string, E>, ...requests: ReadonlyArray<string>) =>
  Effect.forEach(requests, (request) => sending(queue, request))

const states = (senders: ReadonlyArray<{ readonly state: () => string }>) => senders.map(({ state }) => state())

describe("RequestQueue", () => {
  describe("send", () => {
    it.effect("sends in the order of arrival, as many at once as the pool has connections", () =>
      Effect.gen(function* () {
        const { levels, log, queue: q, reply } = yield* queue()
        const senders = yield* sendAll(q, "a", "b", "c", "d")
        assert.deepStrictEqual(log, ["a on 1", "b on 2"])
        assert.deepStrictEqual(yield* levels, { queued: 2, suspended: 0, inFlight: 2 })
        yield* reply("b")
        assert.deepStrictEqual([log.at(-1), states(senders)], ["c on 2", ["waits", "re: b", "waits", "waits"]])
        yield* reply("a")
        yield* reply("c")
        yield* reply("d")
        assert.deepStrictEqual(states(senders), ["re: a", "re: b", "re: c", "re: d"])
        assert.deepStrictEqual(yield* q.stats, {
          queued: 0,
          suspended: 0,
          inFlight: 0,
          capacity: 100,
          concurrency: 2,
          forwarded: 4,
          retried: 0,
          succeeded: 4,
          failed: 0,
          dropped: 0,
          interrupted: 0
        })
      })
    )

    it.effect("an error goes to its sender only, and its connection carries the next request", () =>
      Effect.gen(function* () {
        const { failWith, log, queue: q, peer } = yield* queue({}, 1)
        const senders = yield* sendAll(q, "a", "b")
        yield* failWith("a", new Broken())
        assert.deepStrictEqual(
          [log, states(senders)],
          [
            ["a on 1", "b on 1"],
            ["Broken", "waits"]
          ]
        )
        assert.deepStrictEqual(peer.closed(), [])
      })
    )

    it.effect("a defect goes to its sender only, and its connection is not used again", () =>
      Effect.gen(function* () {
        const { log, queue: q, peer, scripted } = yield* queue({}, 1)
        scripted.set("a", Effect.die(new Error("a bug")))
        const senders = yield* sendAll(q, "a", "b")
        assert.deepStrictEqual(
          [log, states(senders)],
          [
            ["a on 1", "b on 2"],
            ["die a bug", "waits"]
          ]
        )
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )

    it.effect("a send that throws is a defect", () =>
      Effect.gen(function* () {
        const { queue: q } = yield* queue({
          send: () => {
            throw new Error("a send that throws")
          }
        })
        const [sender] = yield* sendAll(q, "a")
        assert.strictEqual(sender!.state(), "die a send that throws")
      })
    )

    it.effect("the pool's errors reach the sender", () =>
      Effect.gen(function* () {
        const { peer, queue: q, pool } = yield* queue()
        peer.script(TestConnector.fail)
        const [first] = yield* sendAll(q, "a")
        assert.strictEqual(first!.state(), "TestConnectError 1")
        yield* pool.drain()
        const [second] = yield* sendAll(q, "b")
        assert.strictEqual(second!.state(), "Closed")
      })
    )

    it.effect("send sees the sender's context, and the services that make had", () =>
      Effect.gen(function* () {
        class Codec extends Context.Service<Codec, string>()("Codec") {}
        const Caller = Context.Reference<string>("Caller", { defaultValue: () => "nobody" })
        const q = yield* RequestQueue.make({
          pool: CachePool.make({ connect: () => Effect.succeed(1) }),
          send: (_, request: string) =>
            Effect.gen(function* () {
              return `${yield* Codec} ${yield* Caller} ${request}`
            })
        }).pipe(Effect.provideService(Codec, "json"))
        const reply = Effect.provideService(q.send("a"), Caller, "me")
        assert.strictEqual(yield* Effect.provideService(reply, Codec, "xml"), "json me a")
      })
    )

    it.effect("the lease of its connection is there for whoever knows better", () =>
      Effect.gen(function* () {
        const { peer, queue: q } = yield* queue({
          send: (_: Conn, request: string, lease: Lease<Conn>) => Effect.as(lease.invalidate, request)
        })
        yield* q.send("a")
        yield* settle
        assert.deepStrictEqual(peer.closed(), [1])
      })
    )
  })

  describe("capacity and strategy", () => {
    it.effect("suspend: senders wait for room, and all are answered in order", () =>
      Effect.gen(function* () {
        const { levels, log, queue: q, reply } = yield* queue({ capacity: 1, concurrency: 1 })
        const senders = yield* sendAll(q, "a", "b", "c", "d")
        assert.deepStrictEqual(yield* levels, { queued: 1, suspended: 2, inFlight: 1 })
        for (const request of ["a", "b", "c", "d"]) yield* reply(request)
        assert.deepStrictEqual(states(senders), ["re: a", "re: b", "re: c", "re: d"])
        assert.deepStrictEqual(log, ["a on 1", "b on 1", "c on 1", "d on 1"])
      })
    )

    it.effect("names its own option where it is full", () =>
      Effect.gen(function* () {
        const { queue: q } = yield* queue({ capacity: 0, concurrency: 1, strategy: "dropping" })
        yield* sending(q, "a")
        const error = yield* Effect.flip(q.send("b"))
        assert.match(String((error as Error).message), /capacity \(0\) callers are in line already/)
      })
    )

    it.effect("dropping: a request too many fails with QueueFull at once", () =>
      Effect.gen(function* () {
        const { queue: q, reply } = yield* queue({ capacity: 1, concurrency: 1, strategy: "dropping" })
        const senders = yield* sendAll(q, "a", "b", "c")
        assert.deepStrictEqual(states(senders), ["waits", "waits", "QueueFull"])
        yield* reply("a")
        const later = yield* sending(q, "d")
        yield* reply("b")
        yield* reply("d")
        assert.deepStrictEqual(states([...senders, later]), ["re: a", "re: b", "QueueFull", "re: d"])
        assert.strictEqual((yield* q.stats).dropped, 1)
      })
    )

    it.effect("sliding: the oldest request in the queue makes room, and fails with QueueFull", () =>
      Effect.gen(function* () {
        const { log, queue: q, reply } = yield* queue({ capacity: 2, concurrency: 1, strategy: "sliding" })
        const senders = yield* sendAll(q, "a", "b", "c", "d", "e")
        assert.deepStrictEqual(states(senders), ["waits", "QueueFull", "QueueFull", "waits", "waits"])
        yield* reply("a")
        yield* reply("d")
        assert.deepStrictEqual(log, ["a on 1", "d on 1", "e on 1"])
      })
    )

    it.effect("capacity 0: nothing waits; what can be sent at once is sent", () =>
      Effect.gen(function* () {
        for (const strategy of ["dropping", "sliding"] as const) {
          const { queue: q, reply } = yield* queue({ capacity: 0, concurrency: 1, strategy })
          const senders = yield* sendAll(q, "a", "b")
          assert.deepStrictEqual(states(senders), ["waits", "QueueFull"])
          yield* reply("a")
          const [third] = yield* sendAll(q, "c")
          assert.strictEqual(third!.state(), "waits")
        }
      })
    )

    it.effect("a sender that slid out can send again from there", () =>
      Effect.gen(function* () {
        const { levels, queue: q } = yield* queue({ capacity: 1, concurrency: 1, strategy: "sliding" })
        yield* sendAll(q, "a")
        const stubborn = yield* Effect.forkChild(
          Effect.catch(q.send("b"), () => Effect.catch(q.send("b again"), () => Effect.succeed("gave up")))
        )
        yield* settle
        const [c] = yield* sendAll(q, "c")
        assert.strictEqual(c!.state(), "QueueFull")
        assert.isUndefined(stubborn.pollUnsafe())
        assert.deepStrictEqual(yield* levels, { queued: 1, suspended: 0, inFlight: 1 })
      })
    )
  })

  describe("concurrency", () => {
    it.effect("more than one request on each connection of a shared pool", () =>
      Effect.gen(function* () {
        const peer = TestConnector.makeUnsafe()
        const { log, send } = exchange()
        const q = yield* RequestQueue.make({
          pool: SharedPool.make({ ...peer.options, concurrency: 3, maxSize: 2 }),
          send,
          concurrency: 6
        })
        yield* sendAll(q, "a", "b", "c", "d", "e", "f", "g")
        assert.strictEqual(log.length, 6)
        assert.strictEqual(peer.attempts(), 2)
      })
    )

    it.effect("is the pool's maxSize by default, so that nobody waits in two lines", () =>
      Effect.gen(function* () {
        const { pool, queue: q } = yield* queue({}, 3)
        yield* sendAll(q, "a", "b", "c", "d", "e")
        const { inFlight, queued } = yield* q.stats
        assert.deepStrictEqual([inFlight, queued, (yield* pool.stats).pending], [3, 2, 0])
      })
    )
  })

  describe("isUnsent", () => {
    it.effect("a request that was not sent goes to another connection, ahead of those in line", () =>
      Effect.gen(function* () {
        const { failWith, log, peer, queue: q, reply } = yield* queue({}, 1)
        const senders = yield* sendAll(q, "a", "b")
        yield* failWith("a", new Unsent())
        assert.deepStrictEqual([log, peer.closed()], [["a on 1", "a on 2"], [1]])
        yield* reply("a")
        assert.deepStrictEqual(states(senders), ["re: a", "waits"])
        const { forwarded, retried } = yield* q.stats
        assert.deepStrictEqual([forwarded, retried], [2, 1])
      })
    )

    it.effect("at most maxTries connections try; then the sender gets the error", () =>
      Effect.gen(function* () {
        const { log, queue: q } = yield* queue({
          maxTries: 2,
          send: (connection, request) =>
            Effect.suspend(() => {
              log.push(`${request} on ${connection.id}`)
              return Effect.fail(new Unsent())
            })
        })
        const [sender] = yield* sendAll(q, "a")
        assert.deepStrictEqual([sender!.state(), log], ["Unsent", ["a on 1", "a on 2"]])
      })
    )

    it.effect("what may have been sent is not sent again", () =>
      Effect.gen(function* () {
        const { failWith, log, queue: q } = yield* queue()
        const [sender] = yield* sendAll(q, "a")
        yield* failWith("a", new Broken())
        assert.deepStrictEqual([sender!.state(), log], ["Broken", ["a on 1"]])
      })
    )

    it.effect("a failed connect counts where isUnsent says so", () =>
      Effect.gen(function* () {
        const { peer, queue: q, reply } = yield* queue({ isUnsent: (error) => error._tag === "TestConnectError" })
        peer.script(TestConnector.fail)
        const [sender] = yield* sendAll(q, "a")
        assert.strictEqual(sender!.state(), "waits")
        yield* TestClock.adjust("1 second")
        yield* reply("a")
        assert.strictEqual(sender!.state(), "re: a")
        const { forwarded, retried } = yield* q.stats
        assert.deepStrictEqual([forwarded, retried], [1, 1])
      })
    )

    it.effect("one that throws fails the sender, not the queue", () =>
      Effect.gen(function* () {
        const {
          failWith,
          queue: q,
          reply
        } = yield* queue({
          isUnsent: () => {
            throw new Error("a predicate that throws")
          }
        })
        const [a] = yield* sendAll(q, "a")
        yield* failWith("a", new Broken())
        assert.isTrue(a!.state().startsWith("die"))
        const [b] = yield* sendAll(q, "b")
        yield* reply("b")
        assert.strictEqual(b!.state(), "re: b")
      })
    )
  })

  describe("interruption", () => {
    it.effect("of a sender in the queue removes its request", () =>
      Effect.gen(function* () {
        const { levels, log, queue: q, reply } = yield* queue({ concurrency: 1, capacity: 1 })
        const [, b, c] = yield* sendAll(q, "a", "b", "c", "d")
        yield* b!.interrupt
        yield* c!.interrupt
        assert.deepStrictEqual(yield* levels, { queued: 1, suspended: 0, inFlight: 1 })
        yield* reply("a")
        assert.deepStrictEqual(log, ["a on 1", "d on 1"])
        assert.strictEqual((yield* q.stats).interrupted, 2)
      })
    )

    it.effect("of a sender whose request is under way interrupts the send; its connection is not used again", () =>
      Effect.gen(function* () {
        const { levels, log, peer, queue: q, reply } = yield* queue({}, 1)
        const [a, b] = yield* sendAll(q, "a", "b")
        yield* a!.interrupt
        assert.deepStrictEqual([log, peer.closed()], [["a on 1", "a interrupted", "b on 2"], [1]])
        yield* reply("b")
        assert.strictEqual(b!.state(), "re: b")
        assert.deepStrictEqual(yield* levels, { queued: 0, suspended: 0, inFlight: 0 })
      })
    )

    it.effect("waits for the end of a send that cannot be interrupted", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<string>()
        const { levels, queue: q, scripted } = yield* queue({}, 1)
        scripted.set("a", Effect.uninterruptible(Deferred.await(gate)))
        const [a] = yield* sendAll(q, "a")
        yield* Effect.forkChild(Fiber.interrupt(a!.fiber))
        yield* settle
        assert.deepStrictEqual([a!.state(), (yield* levels).inFlight], ["waits", 1])
        yield* Deferred.succeed(gate, "late")
        yield* settle
        assert.deepStrictEqual([a!.state(), (yield* levels).inFlight], ["interrupted", 0])
      })
    )

    it.effect("of a sender that waits for a connection leaves the pool's line", () =>
      Effect.gen(function* () {
        const { levels, peer, pool, queue: q } = yield* queue({}, 1)
        peer.script(TestConnector.hang)
        const [a] = yield* sendAll(q, "a")
        assert.strictEqual((yield* pool.stats).pending, 1)
        yield* a!.interrupt
        assert.deepStrictEqual([(yield* pool.stats).pending, (yield* levels).inFlight], [0, 0])
      })
    )

    it.effect("Effect.timeout bounds the time in the queue", () =>
      Effect.gen(function* () {
        const { levels, queue: q } = yield* queue({}, 1)
        yield* sendAll(q, "a")
        const late = yield* Effect.forkChild(Effect.flip(Effect.timeout(q.send("b"), "1 second")))
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Fiber.join(late))._tag, "TimeoutError")
        assert.deepStrictEqual(yield* levels, { queued: 0, suspended: 0, inFlight: 1 })
      })
    )

    it.effect("reusable: a protocol that survives interrupted sends keeps its connection", () =>
      Effect.gen(function* () {
        const seen: Array<boolean> = []
        const { peer, queue: q } = yield* queue({
          reusable: (cause) => {
            seen.push(Cause.hasInterruptsOnly(cause))
            return true
          }
        })
        const [a] = yield* sendAll(q, "a")
        yield* a!.interrupt
        assert.deepStrictEqual([peer.closed(), seen], [[], [true]])
      })
    )
  })

  describe("drain", () => {
    it.effect("answers everybody: those in line with Closed, those in flight with their reply until the deadline", () =>
      Effect.gen(function* () {
        const { levels, log, queue: q, reply } = yield* queue({ capacity: 1 })
        const senders = yield* sendAll(q, "a", "b", "c", "d", "e")
        const drained = yield* Effect.forkChild(q.drain({ deadline: "10 seconds" }))
        yield* settle
        assert.deepStrictEqual(states(senders), ["waits", "waits", "Closed", "Closed", "Closed"])
        const [late] = yield* sendAll(q, "f")
        assert.strictEqual(late!.state(), "Closed")
        yield* reply("a")
        assert.isUndefined(drained.pollUnsafe())
        yield* TestClock.adjust("9999 millis")
        assert.deepStrictEqual(states(senders).slice(0, 2), ["re: a", "waits"])
        yield* TestClock.adjust("1 millis")
        yield* settle
        assert.deepStrictEqual(states(senders).slice(0, 2), ["re: a", "Closed"])
        assert.strictEqual(log.at(-1), "b interrupted")
        assert.isDefined(drained.pollUnsafe())
        assert.deepStrictEqual(yield* levels, { queued: 0, suspended: 0, inFlight: 0 })
      })
    )

    it.effect("is what closing the scope does, at once where nothing else is said, and the pool lives on", () =>
      Effect.gen(function* () {
        const { pool } = yield* queue()
        const { send } = exchange()
        const scope = yield* Scope.make()
        const q = yield* Scope.provide(RequestQueue.make({ pool: Effect.succeed(pool), send }), scope)
        const senders = yield* sendAll(q, "a", "b", "c")
        yield* Scope.close(scope, Exit.void)
        yield* settle
        assert.deepStrictEqual(states(senders), ["Closed", "Closed", "Closed"])
        yield* pool.use(() => Effect.void)
      })
    )

    it.effect("drainDeadline lets requests in flight finish when the scope closes", () =>
      Effect.gen(function* () {
        const { pool } = yield* queue()
        const { reply, send } = exchange()
        const scope = yield* Scope.make()
        const q = yield* Scope.provide(
          RequestQueue.make({ pool: Effect.succeed(pool), send, drainDeadline: "1 second" }),
          scope
        )
        const senders = yield* sendAll(q, "a", "b", "c")
        const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
        yield* settle
        assert.deepStrictEqual(states(senders), ["waits", "waits", "Closed"])
        yield* reply("a")
        yield* reply("b")
        assert.deepStrictEqual(
          [states(senders), closing.pollUnsafe() !== undefined],
          [["re: a", "re: b", "Closed"], true]
        )
      })
    )

    it.effect("answers those whose send cannot be interrupted, and waits for its end", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<string>()
        const { queue: q, scripted } = yield* queue({}, 1)
        scripted.set("a", Effect.uninterruptible(Deferred.await(gate)))
        const [a] = yield* sendAll(q, "a")
        const drained = yield* Effect.forkChild(q.drain())
        yield* settle
        assert.deepStrictEqual([a!.state(), drained.pollUnsafe()], ["Closed", undefined])
        yield* Deferred.succeed(gate, "late")
        yield* settle
        assert.isDefined(drained.pollUnsafe())
      })
    )

    it.effect("twice is fine, from within a send too", () =>
      Effect.gen(function* () {
        const { queue: q, scripted } = yield* queue({}, 1)
        scripted.set("a", Effect.as(Effect.forkDetach(q.drain(), { startImmediately: true }), "re: a"))
        const senders = yield* sendAll(q, "a", "b")
        assert.deepStrictEqual(states(senders), ["Closed", "Closed"])
        yield* Effect.andThen(q.drain(), q.drain())
      })
    )
  })

  it.effect("a send that drains its own queue before it waits is interrupted", () =>
    Effect.gen(function* () {
      const { levels, queue: q, scripted } = yield* queue({}, 1)
      const drain = Effect.forkDetach(q.drain(), { startImmediately: true })
      scripted.set("a", Effect.andThen(drain, Effect.never))
      const [a] = yield* sendAll(q, "a")
      assert.strictEqual(a!.state(), "Closed")
      assert.strictEqual((yield* levels).inFlight, 0)
    })
  )

  describe("resources", () => {
    it.effect("no fiber and no timer is alive while nothing is in flight", () =>
      Effect.gen(function* () {
        yield* TestClock.adjust("1 milli")
        const { counted, running } = fiberCounter()
        const { pool, reply, send } = { ...(yield* queue()), ...exchange() }
        const q = yield* counted(RequestQueue.make({ pool: Effect.succeed(pool), send }))
        assert.strictEqual(running(), 0)
        const senders = yield* counted(Effect.provide(sendAll(q, "a", "b", "c"), Layer.empty))
        for (const request of ["a", "b", "c"]) yield* reply(request)
        assert.deepStrictEqual(states(senders), ["re: a", "re: b", "re: c"])
        assert.strictEqual(running(), 0)
      })
    )

    it.effect("20,000 requests that are answered at once do not overflow the stack", () =>
      Effect.gen(function* () {
        const { pool } = yield* queue({}, 1)
        const gate = yield* Deferred.make<void>()
        const q = yield* RequestQueue.make({
          pool: Effect.succeed(pool),
          send: (_, n: number) => (n === 0 ? Effect.as(Deferred.await(gate), n) : Effect.succeed(n))
        })
        const all = yield* Effect.forkChild(
          Effect.forEach(
            Array.from({ length: 20_000 }, (_, n) => n),
            q.send,
            { concurrency: "unbounded" }
          )
        )
        yield* settle
        yield* Deferred.succeed(gate, undefined)
        assert.strictEqual((yield* Fiber.join(all)).length, 20_000)
      })
    )

    it.live("senders that send again and again do not keep timers from ringing", () =>
      Effect.gen(function* () {
        const gate = yield* Deferred.make<void>()
        let first = true
        const q = yield* RequestQueue.make({
          pool: CachePool.make({ connect: () => Effect.succeed(1), maxSize: 1 }),
          send: () => {
            if (!first) return Effect.void
            first = false
            return Deferred.await(gate)
          }
        })
        const busy = yield* Effect.forkChild(
          Effect.all([Effect.forever(q.send("a")), Effect.forever(q.send("b"))], { concurrency: 2 })
        )
        yield* Effect.yieldNow
        yield* Deferred.succeed(gate, undefined)
        // Each of these rings.
        while ((yield* q.stats).succeeded <= 100) yield* Effect.sleep(1)
        yield* Fiber.interrupt(busy)
      })
    )

    it.effect("a sender that leaves from the middle of a long line costs nothing", () =>
      Effect.gen(function* () {
        const { levels, queue: q } = yield* queue({ capacity: Infinity }, 1)
        const line = yield* Effect.forEach(Array.from({ length: 5_000 }), () =>
          Effect.forkChild(q.send("x"), { startImmediately: true })
        )
        yield* Fiber.interruptAll(line.slice(1).filter((_, i) => i % 2 === 0))
        assert.deepStrictEqual(yield* levels, { queued: 2_499, suspended: 0, inFlight: 1 })
        yield* q.drain()
      })
    )
  })

  describe("observer", () => {
    it.effect("is told of all that happens to requests", () =>
      Effect.gen(function* () {
        const told: Array<string> = []
        const {
          failWith,
          queue: q,
          reply
        } = yield* queue({
          capacity: 1,
          concurrency: 1,
          strategy: "dropping",
          observer: {
            queued: (request) => void told.push(`queued ${request}`),
            forwarded: (request, elapsed) => void told.push(`forwarded ${request} after ${elapsed}`),
            retried: (request, error, tries) => void told.push(`retried ${request}: ${error._tag} ${tries}`),
            dropped: (request) => void told.push(`dropped ${request}`),
            answered: (request, exit, elapsed) => void told.push(`answered ${request} ${exit._tag} after ${elapsed}`),
            closed: () => void told.push("closed")
          }
        })
        const news = () => told.splice(0)
        yield* sendAll(q, "a", "b", "c")
        assert.deepStrictEqual(news(), ["queued a", "forwarded a after 0", "queued b", "dropped c"])
        yield* TestClock.adjust("1 second")
        yield* failWith("a", new Unsent())
        assert.deepStrictEqual(news(), ["retried a: Unsent 1", "forwarded a after 1000"])
        yield* reply("a")
        assert.deepStrictEqual(news(), ["answered a Success after 1000", "forwarded b after 1000"])
        yield* sendAll(q, "d")
        yield* q.drain()
        assert.deepStrictEqual(news(), [
          "queued d",
          "answered d Failure after 0",
          "answered b Failure after 1000",
          "closed"
        ])
      })
    )

    it.effect("one that throws harms nobody", () =>
      Effect.gen(function* () {
        const bad = () => {
          throw new Error("an observer that throws")
        }
        const { queue: q, scripted } = yield* queue({ observer: { queued: bad, forwarded: bad, answered: bad } })
        scripted.set("a", Effect.succeed("fine"))
        assert.strictEqual(yield* q.send("a"), "fine")
      })
    )
  })

  describe("make", () => {
    it.effect("a bad option is a defect that names it", () =>
      Effect.gen(function* () {
        const say = (options: Options) => Effect.map(Effect.exit(queue(options)), String)
        assert.include(yield* say({ capacity: -1 }), "RequestQueue: capacity must be an integer of at least 0, got -1")
        assert.include(
          yield* say({ concurrency: 0 }),
          "RequestQueue: concurrency must be an integer of at least 1, got 0"
        )
        assert.include(
          yield* say({ maxTries: 1.5 }),
          "RequestQueue: maxTries must be an integer of at least 1, got 1.5"
        )
        assert.include(
          yield* say({ strategy: "fast" as never }),
          'RequestQueue: strategy must be "suspend", "dropping" or "sliding", got "fast"'
        )
        assert.include(
          yield* say({ drainDeadline: -1 }),
          "RequestQueue: drainDeadline must be a duration of zero or longer"
        )
      })
    )

    it.effect("layer provides a queue", () =>
      Effect.gen(function* () {
        class Echo extends Context.Service<Echo, RequestQueue.RequestQueue<string, string>>()("Echo") {}
        const layer = RequestQueue.layer(Echo, {
          pool: CachePool.make({ connect: () => Effect.succeed("a connection") }),
          send: (connection, request: string) => Effect.succeed(`${request} over ${connection}`)
        })
        const reply = yield* Effect.provide(
          Effect.flatMap(Echo, (echo) => echo.send("hello")),
          layer
        )
        assert.strictEqual(reply, "hello over a connection")
      })
    )
  })
})
