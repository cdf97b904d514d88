import { assert, describe, it } from "@effect/vitest"
import type { PoolStats } from "@poolkit/pool/ConnectionPool"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { type Goal, type Screen, show } from "../src/progress.ts"
import { Tally } from "../src/tally.ts"

const stats: PoolStats = {
  idle: 1,
  used: 2,
  connecting: 3,
  closing: 0,
  pending: 4,
  borrowers: 2,
  maxSize: 6,
  created: 3,
  closed: 0,
  reused: 0,
  failed: 0,
  timedOut: 0
}

const setup = (
  screen: Partial<Screen>,
  names: ReadonlyArray<string> = ["http://a"],
  goal: Goal = { requests: 2000 }
) => {
  const written: Array<string> = []
  const tally = new Tally()
  const sources = names.map((name) => ({ name, tally, stats: Effect.succeed(stats) }))
  const write = (text: string) => written.push(text)
  return { effect: show(sources, goal, { isTTY: false, columns: 100, write, ...screen }), tally, written }
}

const answer = (tally: Tally, times: number) => {
  for (let i = 0; i < times; i++) tally.answered(200, 1)
}

describe("progress", () => {
  it.effect("writes a line per second where there is no terminal", () =>
    Effect.gen(function* () {
      const { effect, tally, written } = setup({})
      yield* effect
      yield* TestClock.adjust(999)
      assert.deepStrictEqual(written, [])
      answer(tally, 1500)
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(written.splice(0), [
        "1,500/2,000 requests | 1,500/s | http://a: 1 idle, 2 used, 3 connecting, 4 waiting\n"
      ])
      answer(tally, 20)
      yield* TestClock.adjust(1000)
      assert.match(written[0]!, /^1,520\/2,000 requests \| 20\/s \| /)
    }).pipe(Effect.scoped)
  )

  it.effect("counts the seconds where the run has an end in time", () =>
    Effect.gen(function* () {
      for (const [requests, text] of [
        [Infinity, "1,500 requests 1/3s"],
        [2000, "1,500/2,000 requests 1/3s"]
      ] as const) {
        const { effect, tally, written } = setup({}, ["http://a"], { requests, duration: Duration.millis(2500) })
        yield* effect
        answer(tally, 1500)
        yield* TestClock.adjust(1000)
        assert.isTrue(written[0]!.startsWith(`${text} | 1,500/s | http://a: 1 idle`), written[0])
      }
    }).pipe(Effect.scoped)
  )

  it.effect("changes one line on a terminal, and leaves nothing behind", () =>
    Effect.gen(function* () {
      const { effect, tally, written } = setup({ isTTY: true })
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* effect
          answer(tally, 5)
          yield* TestClock.adjust(200)
        })
      )
      assert.deepStrictEqual(written, [
        "\r\x1b[2K5/2,000 requests | 50/s | http://a: 1 idle, 2 used, 3 connecting, 4 waiting",
        "\r\x1b[2K5/2,000 requests | 25/s | http://a: 1 idle, 2 used, 3 connecting, 4 waiting",
        "\r\x1b[2K"
      ])
    })
  )

  it.effect("says less where the terminal is narrow", () =>
    Effect.gen(function* () {
      const { effect, tally, written } = setup({ isTTY: true, columns: 80 }, [
        "http://127.0.0.1:40001",
        "https://127.0.0.1:40002"
      ])
      yield* effect
      answer(tally, 750)
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(written, [
        "\r\x1b[2K1,500/2,000 15,000/s  idle/used/conn/wait  :40001 1/2/3/4  :40002 1/2/3/4"
      ])
    }).pipe(Effect.scoped)
  )

  it.effect("cuts a line that is too long for the terminal all the same", () =>
    Effect.gen(function* () {
      const { effect, written } = setup({ isTTY: true, columns: 40 }, ["http://a", "http://b"])
      yield* effect
      yield* TestClock.adjust(100)
      assert.deepStrictEqual(written, ["\r\x1b[2K0/2,000 0/s  idle/used/conn/wait  a 1/…"])
    }).pipe(Effect.scoped)
  )
})
