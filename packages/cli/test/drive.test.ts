import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { Refused, SocketError } from "@poolkit/http/SocketError"
import * as TestClock from "effect/testing/TestClock"
import { drive, type Target } from "../src/drive.ts"
import { RequestTimeout } from "../src/errors.ts"
import { Tally } from "../src/tally.ts"

const options = { requests: 10, concurrency: 3, patience: Duration.seconds(60) }
const timeout = new RequestTimeout({ after: Duration.seconds(1) })

/** Records when requests start and end. */
const target = (name: string, request: Target["request"], log: Array<string> = []): Target => ({
  name,
  tally: new Tally(),
  request: Effect.onExit(
    Effect.suspend(() => {
      log.push(`start ${name}`)
      return request
    }),
    (exit) => Effect.sync(() => log.push(`${Exit.isSuccess(exit) ? "end" : "cut"} ${name}`))
  )
})

describe("drive", () => {
  it.effect("spreads the requests over the targets in turn, so many at a time", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const targets = ["a", "b"].map((name) => target(name, Effect.as(Effect.sleep(10), 200), log))
      const fiber = yield* Effect.forkChild(drive(targets, options))
      yield* TestClock.adjust(9)
      assert.deepStrictEqual(log, ["start a", "start b", "start a"])
      yield* TestClock.adjust(31)
      yield* Fiber.join(fiber)
      assert.deepStrictEqual(
        targets.map(({ tally }) => [tally.requests, tally.failed, tally.latency.minNonZeroValue]),
        [
          [5, 0, 10_000],
          [5, 0, 10_000]
        ]
      )
    })
  )

  it.effect("counts failures and goes on", () =>
    Effect.gen(function* () {
      const bad = target("bad", Effect.fail(timeout))
      yield* drive([bad, target("good", Effect.succeed(200))], options)
      assert.deepStrictEqual([bad.tally.requests, bad.tally.failed, bad.tally.latency.totalCount], [5, 5, 0])
      assert.deepStrictEqual([...bad.tally.errors], [["no whole response within 1s", 5]])
    })
  )

  it.effect("gives up on an origin that has failed for too long", () =>
    Effect.gen(function* () {
      let sent = 0
      const refused = new SocketError({ endpoint: "dying", reason: new Refused({ code: "ECONNREFUSED" }) })
      // The fourth request, which ends at 40 ms, is the last one that is answered.
      const dying = target(
        "dying",
        Effect.suspend(() => {
          const count = ++sent
          return Effect.andThen(
            Effect.sleep(10),
            count <= 4 ? Effect.succeed(200) : Effect.fail(count === 6 ? refused : timeout)
          )
        })
      )
      const limits = { requests: 100, concurrency: 1, patience: Duration.millis(30) }
      const fiber = yield* Effect.forkChild(Effect.flip(drive([dying], limits)))
      yield* TestClock.adjust(69)
      assert.deepStrictEqual([dying.tally.requests, dying.tally.failed], [6, 2])
      yield* TestClock.adjust(1)
      const error = yield* Fiber.join(fiber)
      assert.deepStrictEqual([error._tag, error.name, error.last], ["GaveUp", "dying", refused])
      assert.deepStrictEqual([dying.tally.requests, dying.tally.failed], [7, 3])
    })
  )

  it.effect("starts no request after its time, and lets those under way end", () =>
    Effect.gen(function* () {
      const only = target("a", Effect.as(Effect.sleep(400), 200))
      const bounds = { ...options, requests: Infinity, duration: Duration.millis(1000) }
      const fiber = yield* Effect.forkChild(drive([only], bounds))
      yield* TestClock.adjust(1199)
      assert.strictEqual(only.tally.requests, 6)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* Fiber.join(fiber)
      assert.strictEqual(only.tally.requests, 9)
    })
  )

  it.effect("cuts what is under way half a second after its time, uncounted", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const hung = target("a", Effect.never, log)
      const fiber = yield* Effect.forkChild(drive([hung], { ...options, duration: Duration.millis(1000) }))
      yield* TestClock.adjust(1499)
      assert.deepStrictEqual(log, ["start a", "start a", "start a"])
      yield* TestClock.adjust(1)
      yield* Fiber.join(fiber)
      assert.deepStrictEqual([log.slice(3), hung.tally.requests], [["cut a", "cut a", "cut a"], 0])
    })
  )

  it.effect("lets the requests under way end when it is interrupted", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const gate = yield* Deferred.make<number>()
      const only = target("a", Deferred.await(gate), log)
      const fiber = yield* Effect.forkChild(drive([only], options))
      yield* TestClock.adjust(1)
      const interruption = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* TestClock.adjust(499)
      yield* Deferred.succeed(gate, 200)
      yield* Fiber.join(interruption)
      assert.deepStrictEqual(log, ["start a", "start a", "start a", "end a", "end a", "end a"])
      assert.strictEqual(only.tally.requests, 3)
      const exit = yield* Fiber.await(fiber)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
    })
  )

  it.effect("cuts the requests under way half a second after the interruption, uncounted", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const hung = target("a", Effect.never, log)
      const fiber = yield* Effect.forkChild(drive([hung], options))
      yield* TestClock.adjust(1)
      const interruption = yield* Effect.forkChild(Fiber.interrupt(fiber))
      yield* TestClock.adjust(499)
      assert.deepStrictEqual(log, ["start a", "start a", "start a"])
      yield* TestClock.adjust(1)
      yield* Fiber.join(interruption)
      assert.deepStrictEqual(log.slice(3), ["cut a", "cut a", "cut a"])
      assert.strictEqual(hung.tally.requests, 0)
    })
  )
})
