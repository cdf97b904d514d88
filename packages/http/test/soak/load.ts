/** Callers that send one request after the other, and what became of each. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Inspectable from "effect/Inspectable"
import * as Result from "effect/Result"
import type { Dice } from "../../../pool/test/support/random.ts"
import { bodyOf } from "./connection.ts"

/** One request. Its path begins with its number. */
export interface Asked {
  readonly method: "GET" | "POST"
  readonly path: string
}

/** A service that callers ask. */
export interface Site {
  readonly name: string
  /** Asks in one of several ways; undefined where nobody reads the answer. */
  readonly ask: (request: Asked, dice: Dice) => Effect.Effect<string | undefined, unknown>
  /** Nothing befalls it that could cost a request. */
  readonly healthy: boolean
  readonly callers: number
}

export interface Tally {
  sent: number
  answered: number
  failed: number
  /** Interrupted, or with a body that nobody read. */
  abandoned: number
  readonly errors: Record<string, number>
}

export class Load {
  readonly tallies = new Map<string, Tally>()
  /** What must not be. */
  readonly wrong: Array<string> = []
  slowest = 0
  over = false
  private sent = 0

  get requests(): number {
    return this.sent
  }

  /** Runs the callers of a site until `over`. */
  run(site: Site, dice: (caller: number) => Dice): Effect.Effect<void> {
    const tally: Tally = { sent: 0, answered: 0, failed: 0, abandoned: 0, errors: {} }
    this.tallies.set(site.name, tally)
    const callers = Array.from({ length: site.callers }, (_, i) => this.caller(site, tally, dice(i)))
    return Effect.all(callers, { concurrency: "unbounded", discard: true })
  }

  private caller(site: Site, tally: Tally, dice: Dice): Effect.Effect<void> {
    return Effect.whileLoop({
      while: () => !this.over,
      body: () => this.request(site, tally, dice),
      step: () => {}
    })
  }

  private request(site: Site, tally: Tally, dice: Dice): Effect.Effect<void> {
    const request: Asked = {
      method: dice.below(5) === 0 ? "POST" : "GET",
      path: `/${++this.sent}${dice.oneIn(50) ? "/large" : ""}`
    }
    const asked = site.ask(request, dice)
    const interrupted = dice.oneIn(25)
    const exchange = interrupted ? givenUp(asked, dice.below(4)) : Effect.exit(asked)
    const start = performance.now()
    tally.sent++
    return Effect.map(exchange, (exit) => {
      this.slowest = Math.max(this.slowest, performance.now() - start)
      if (interrupted && Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)) tally.abandoned++
      else this.settle(site, tally, exit, bodyOf(request))
    })
  }

  private settle(
    { healthy, name }: Site,
    tally: Tally,
    exit: Exit.Exit<string | undefined, unknown>,
    expected: string
  ): void {
    if (Exit.isSuccess(exit)) {
      if (exit.value === undefined) tally.abandoned++
      else if (exit.value === expected) tally.answered++
      else this.wrong.push(`${expected.slice(0, 30)} got ${exit.value.slice(0, 30)} (${exit.value.length} bytes)`)
      return
    }
    const error = Cause.findError(exit.cause)
    // A defect, or an interruption by nobody, is a flaw of the test or of the library, never an outcome.
    if (Result.isFailure(error)) return void this.wrong.push(Cause.pretty(exit.cause))
    tally.failed++
    const what = nameOf(error.success)
    tally.errors[what] = (tally.errors[what] ?? 0) + 1
    if (healthy)
      this.wrong.push(
        `${expected.slice(0, 30)} of ${name}, which is healthy: ${Inspectable.toStringUnknown(error.success)}`
      )
    else if (!allowed.has(what)) this.wrong.push(`${expected.slice(0, 30)} of ${name}: ${String(error.success)}`)
  }
}

/** Interrupts it after some milliseconds, if it is not over by then. */
const givenUp = <A, E>(asked: Effect.Effect<A, E>, millis: number): Effect.Effect<Exit.Exit<A, E>> =>
  Effect.flatMap(Effect.forkChild(asked), (fiber) =>
    Effect.andThen(Effect.sleep(millis), Effect.andThen(Fiber.interrupt(fiber), Fiber.await(fiber)))
  )

/** What may become of a request whose server is in trouble. */
const allowed = new Set([
  "HttpError/ConnectionLost",
  "HttpError/InvalidResponse",
  "HttpError/RequestRefused",
  "HttpError/ResponseTimeout",
  "LineError",
  "PoolError/WaitTimeout",
  "SocketError/Refused",
  "SocketError/Reset",
  "SocketError/Timeout",
  "TimeoutError"
])

/** The reason of an error, and for Effect's client that of its cause. */
const nameOf = (error: unknown): string => {
  if (typeof error !== "object" || error === null) return String(error)
  const { _tag = String(error), reason } = error as {
    readonly _tag?: string
    readonly reason?: { readonly _tag?: string; readonly cause?: unknown }
  }
  if (_tag === "HttpClientError" && reason?.cause !== undefined) return nameOf(reason.cause)
  return reason?._tag === undefined ? _tag : `${_tag}/${reason._tag}`
}
