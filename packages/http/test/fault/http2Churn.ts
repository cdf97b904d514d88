/**
 * A program: makes random requests of a fault server that does random things,
 * over one pool, and prints what became of them as one line of JSON. In a
 * process of its own, because a crash of node's HTTP/2 would end the tests.
 */
import type { HttpConnection } from "@poolkit/http/HttpConnection"
import { HttpError } from "@poolkit/http/HttpError"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import type { ConnectionPool } from "@poolkit/pool/ConnectionPool"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { http2Pool } from "./client.ts"
import { type FaultServer, type Listening, startFaultServer } from "./faultServer.ts"
import {
  body,
  cut,
  data,
  delay,
  ended,
  fin,
  goaway,
  head,
  type Http2Scenario,
  ok,
  ping,
  rst,
  type Script,
  settings,
  trailers
} from "./http2Script.ts"

export interface Outcome {
  readonly seed: number
  readonly succeeded: number
  readonly failed: number
  readonly interrupted: number
  /** Bodies that node could not tell from whole ones. */
  readonly undetectable: number
  /** What must not be. */
  readonly wrong: ReadonlyArray<string>
}

const size = 120_000
const half = [head(200, { "content-length": "{length}" }), data("/")]

/** 14 things that a server may do with a request. */
const actions: Record<string, Script> = {
  ok,
  large: [ended, head(), body(size, { end: true })],
  slow: [ended, head(103), head(), delay(1), data("{path}"), delay(1), trailers({ x: "y" })],
  refused: [rst(7)],
  failed: [ended, rst(2)],
  cancelled: [ended, ...half, delay(1), rst(8)],
  short: [ended, head(), body(size / 2), rst(11)],
  unseen: [ended, head(), body(size / 2), rst(0)],
  goodbye: [goaway("latest"), ...ok],
  turnedAway: [goaway("others"), delay(2), fin],
  broken: [ended, goaway("latest", 2), fin],
  limited: [settings([3, 2]), ...ok, delay(3), settings([3, 100]), ping],
  closed: [ended, ...half, fin],
  reset: [ended, ...half, delay(1), cut]
}
/** Those that end a connection are drawn less often than the others: they end the requests of others too. */
const severe = new Set(["goodbye", "turnedAway", "broken", "closed", "reset"])
const names = Object.keys(actions).flatMap((name) => (severe.has(name) ? [name] : [name, name, name]))
/** A request that is refused is sent once more, and one that a GOAWAY does not name moves on for some time. */
const mostTimes: Record<string, number> = { refused: 2, turnedAway: 22 }
const large = "x".repeat(size)

/** Mulberry32. */
const random = (seed: number) => {
  let state = seed >>> 0
  return (below: number): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

type Pool = ConnectionPool<void, HttpConnection, unknown>
type Ending = { readonly _tag: "text"; readonly text: string } | { readonly _tag: "dropped" }

/** One request, read, read late, dropped, or given up after some milliseconds. */
const exchange = (pool: Pool, path: string, dice: (below: number) => number) => {
  const reader = dice(6)
  const patience = dice(8)
  const request = { method: dice(2) === 0 ? "GET" : "POST", path, ...(dice(2) === 0 && { body: "body" }) }
  const run = Effect.scoped(
    Effect.gen(function* () {
      const response = yield* HttpRequest.execute(pool, request)
      if (reader === 0) return { _tag: "dropped" } satisfies Ending
      if (reader === 1) yield* Effect.sleep(5)
      return { _tag: "text", text: yield* response.text } satisfies Ending
    })
  )
  if (reader !== 2) return run
  return Effect.flatMap(Effect.forkChild(run), (fiber) =>
    Effect.andThen(Effect.sleep(patience), Effect.andThen(Fiber.interrupt(fiber), Fiber.join(fiber)))
  )
}

class Tally {
  readonly wrong: Array<string> = []
  succeeded = 0
  failed = 0
  interrupted = 0
  undetectable = 0

  success(name: string, path: string, ending: Ending): void {
    if (ending._tag === "dropped") return void this.succeeded++
    const whole = name === "large" || name === "short" || name === "unseen" ? large : path
    const cutShort = ending.text !== whole && whole.startsWith(ending.text)
    if (name === "unseen" && cutShort) this.undetectable++
    else if (cutShort) this.wrong.push(`${path} was cut short to ${ending.text.length} bytes`)
    else if (ending.text !== whole) this.wrong.push(`${path} got ${ending.text.slice(0, 50)}`)
    else this.succeeded++
  }

  failure(path: string, error: unknown): void {
    this.failed++
    if (!(error instanceof HttpError)) return void this.wrong.push(`${path}: ${String(error)}`)
    const { _tag } = error.reason
    if (_tag !== "ConnectionLost" && _tag !== "RequestRefused" && _tag !== "InvalidResponse") {
      this.wrong.push(`${path}: ${error.message}`)
    }
  }

  replays(target: Listening): void {
    const times = new Map<string, number>()
    for (const { path } of target.facts("request")) times.set(path, (times.get(path) ?? 0) + 1)
    for (const [path, count] of times) {
      if (count > (mostTimes[path.split("/")[1] ?? ""] ?? 1)) this.wrong.push(`${path} was sent ${count} times`)
    }
    for (const { detail } of target.facts("invalid")) this.wrong.push(detail)
  }
}

const settleOne = (tally: Tally, name: string, path: string, run: Effect.Effect<Ending, unknown>) =>
  Effect.matchCauseEffect(Effect.timeoutOption(run, "8 seconds"), {
    onSuccess: (ending) =>
      Effect.sync(() => {
        if (ending._tag === "Some") tally.success(name, path, ending.value)
        else tally.wrong.push(`${path} did not settle`)
      }),
    onFailure: (cause) =>
      Effect.sync(() => {
        const fail = cause.reasons.find((reason) => reason._tag === "Fail")
        if (fail !== undefined) tally.failure(path, fail.error)
        else if (cause.reasons.every((reason) => reason._tag === "Interrupt")) tally.interrupted++
        else tally.wrong.push(`${path}: ${String(cause)}`)
      })
  })

const run = (server: FaultServer<Http2Scenario>, seed: number, rounds: number, requests: number) =>
  Effect.gen(function* () {
    const dice = random(seed)
    const tally = new Tally()
    const target = yield* server.listen({ connections: [{ settings: [[3, 6]] }], requests: actions })
    let left: Pool | undefined
    yield* Effect.scoped(
      Effect.gen(function* () {
        const pool = yield* http2Pool({ pool: (pool) => pool }, target, {
          maxSize: 4,
          headersTimeout: 3_000,
          bodyTimeout: 3_000
        })
        left = pool
        for (let round = 0; round < rounds; round++) {
          const batch = Array.from({ length: requests }, (_, i) => {
            const name = names[dice(names.length)]!
            const path = `/${name}/${seed}-${round}-${i}`
            const start = Effect.sleep(dice(8))
            return settleOne(tally, name, path, Effect.andThen(start, exchange(pool, path, dice)))
          })
          yield* Effect.all(batch, { concurrency: "unbounded" })
        }
        // What was dropped may come off the wire for a while.
        const used = Effect.map(pool.stats, ({ borrowers }) => borrowers)
        for (let i = 0; i < 100 && (yield* used) > 0; i++) yield* Effect.sleep(10)
        if ((yield* used) > 0) tally.wrong.push(`${yield* used} connections were not given back`)
      })
    )
    yield* target.sync
    tally.replays(target)
    const stats = yield* left!.stats
    const { borrowers, closing, connecting, idle, pending, used } = stats
    if (idle + used + connecting + closing + pending + borrowers > 0 || stats.created !== stats.closed) {
      tally.wrong.push(`left in the pool: ${JSON.stringify(stats)}`)
    }
    const { failed, interrupted, succeeded, undetectable, wrong } = tally
    return { seed, succeeded, failed, interrupted, undetectable, wrong } satisfies Outcome
  }).pipe(Effect.scoped)

const main = async (seeds: ReadonlyArray<number>, rounds: number, requests: number): Promise<void> => {
  const server = startFaultServer<Http2Scenario>("./http2Server.ts")
  const outcomes: Array<Outcome> = []
  for (const seed of seeds) outcomes.push(await Effect.runPromise(run(server, seed, rounds, requests)))
  const code = await server.stop()
  const open = process.getActiveResourcesInfo().filter((kind) => /TCP|Timeout|Immediate/.test(kind))
  console.log(JSON.stringify({ outcomes, counts: server.counts, code, open }))
}

const [seeds = "1", rounds = "6", requests = "16"] = process.argv.slice(2)
await main(seeds.split(",").map(Number), Number(rounds), Number(requests))
