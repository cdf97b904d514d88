/**
 * Makes random requests over one pool of a fault server that does random
 * things, and prints what became of them as one line of JSON. For programs of
 * their own, because a crash of node's HTTP/2 would end the tests.
 */
import type { HttpConnection } from "@poolkit/http/HttpConnection"
import { HttpError } from "@poolkit/http/HttpError"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import type { ConnectionPool } from "@poolkit/pool/ConnectionPool"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { FaultServer, Listening } from "./faultServer.ts"

export type Pool = ConnectionPool<void, HttpConnection, unknown>

/** The first segment of a path names what the server does with the request. */
export interface Rules {
  readonly pool: (target: Listening) => Effect.Effect<Pool, never, Scope.Scope>
  /** Drawn from; a name that is here more than once is drawn more often. */
  readonly names: ReadonlyArray<string>
  /** The whole body of an answer. */
  readonly whole: (name: string, path: string) => string
  /** Where a body that is cut short looks whole. */
  readonly undetectable: ReadonlySet<string>
  /** How often such a request may be sent. */
  readonly mostTimes: (name: string, method: string) => number
}

export interface Churn<Scenario> extends Rules {
  readonly scenario: Scenario
}

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

export type Ending = { readonly _tag: "text"; readonly text: string } | { readonly _tag: "dropped" }

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
  private readonly rules: Rules
  readonly wrong: Array<string> = []
  succeeded = 0
  failed = 0
  interrupted = 0
  undetectable = 0

  constructor(rules: Rules) {
    this.rules = rules
  }

  success(name: string, path: string, ending: Ending): void {
    if (ending._tag === "dropped") return void this.succeeded++
    const whole = this.rules.whole(name, path)
    const cutShort = ending.text !== whole && whole.startsWith(ending.text)
    if (cutShort && this.rules.undetectable.has(name)) this.undetectable++
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
    for (const { method, path } of target.facts("request")) {
      const count = (times.get(path) ?? 0) + 1
      times.set(path, count)
      const most = this.rules.mostTimes(path.split("/")[1] ?? "", method)
      if (count > most) this.wrong.push(`${method} ${path} was sent ${count} times`)
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

interface Size {
  readonly rounds: number
  readonly requests: number
}

const play = (rules: Rules, target: Listening, tally: Tally, seed: number, { requests, rounds }: Size) =>
  Effect.scoped(
    Effect.gen(function* () {
      const dice = random(seed)
      const pool = yield* rules.pool(target)
      for (let round = 0; round < rounds; round++) {
        const batch = Array.from({ length: requests }, (_, i) => {
          const name = rules.names[dice(rules.names.length)]!
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
      return pool
    })
  )

const run = <Scenario>(server: FaultServer<Scenario>, churn: Churn<Scenario>, seed: number, size: Size) =>
  Effect.gen(function* () {
    const tally = new Tally(churn)
    const target = yield* server.listen(churn.scenario)
    const pool = yield* play(churn, target, tally, seed, size)
    yield* target.sync
    tally.replays(target)
    const { borrowers, closed, closing, connecting, created, idle, pending, used } = yield* pool.stats
    if (idle + used + connecting + closing + pending + borrowers > 0 || created !== closed) {
      tally.wrong.push(`left in the pool: ${JSON.stringify(yield* pool.stats)}`)
    }
    const { failed, interrupted, succeeded, undetectable, wrong } = tally
    return { seed, succeeded, failed, interrupted, undetectable, wrong } satisfies Outcome
  }).pipe(Effect.scoped)

/** Runs the program as its arguments say: seeds, rounds, requests at once. */
export const main = async <Scenario>(server: FaultServer<Scenario>, churn: Churn<Scenario>): Promise<void> => {
  const [seeds = "1", rounds = "6", requests = "16"] = process.argv.slice(2)
  const size = { rounds: Number(rounds), requests: Number(requests) }
  const outcomes: Array<Outcome> = []
  for (const seed of seeds.split(",").map(Number)) {
    outcomes.push(await Effect.runPromise(run(server, churn, seed, size)))
  }
  const code = await server.stop()
  const open = process.getActiveResourcesInfo().filter((kind) => /TCP|Timeout|Immediate/.test(kind))
  console.log(JSON.stringify({ outcomes, counts: server.counts, code, open }))
}
