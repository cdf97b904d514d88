/** Callers that send one request after the other, and what became of each. */
import type { HttpConnections } from "@poolkit/http/HttpPool"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Origin from "@poolkit/http/Origin"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Inspectable from "effect/Inspectable"
import { type HttpClient, HttpClientRequest } from "effect/http"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { Dice } from "../../../pool/test/support/random.ts"
import { bodyOf } from "./connection.ts"

/** An origin that callers ask. */
export interface Site {
  readonly name: string
  readonly url: string
  readonly pool: HttpConnections
  readonly client: HttpClient.HttpClient
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
    const origin = Origin.make(site.url)
    const callers = Array.from({ length: site.callers }, (_, i) => this.caller(site, origin, tally, dice(i)))
    return Effect.all(callers, { concurrency: "unbounded", discard: true })
  }

  private caller(site: Site, origin: Origin.Origin, tally: Tally, dice: Dice): Effect.Effect<void> {
    return Effect.whileLoop({
      while: () => !this.over,
      body: () => this.request(site, origin, tally, dice),
      step: () => {}
    })
  }

  private request(site: Site, origin: Origin.Origin, tally: Tally, dice: Dice): Effect.Effect<void> {
    const way = dice.below(100)
    const method = dice.below(5) === 0 ? "POST" : "GET"
    const path = `/${++this.sent}${dice.oneIn(50) ? "/large" : ""}`
    const request = { method, path, ...(method === "POST" && { body: `body of ${path}` }) }
    const response = HttpRequest.execute(site.pool, origin, request)
    const text = Effect.scoped(Effect.flatMap(response, (response) => response.text))
    const expected = bodyOf(request)
    const start = performance.now()
    const settled = (exit: Exit.Exit<string | undefined, unknown>) => {
      this.slowest = Math.max(this.slowest, performance.now() - start)
      this.settle(site, tally, exit, expected)
    }
    tally.sent++
    const read: Effect.Effect<string, unknown> | undefined =
      way < 80 ? text : way < 88 ? viaClient(site, request) : undefined
    if (read !== undefined) return Effect.map(Effect.exit(read), settled)
    if (way < 92)
      return Effect.map(
        Effect.exit(
          Effect.scoped(Effect.flatMap(response, ({ stream }) => Stream.mkString(Stream.decodeText(stream))))
        ),
        settled
      )
    if (way < 96) return Effect.map(Effect.exit(Effect.scoped(Effect.as(response, undefined))), settled)
    return Effect.flatMap(Effect.forkChild(text), (fiber) =>
      Effect.andThen(
        Effect.sleep(dice.below(4)),
        Effect.map(Effect.andThen(Fiber.interrupt(fiber), Fiber.await(fiber)), settled)
      )
    )
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
    if (Cause.hasInterruptsOnly(exit.cause)) return void tally.abandoned++
    const error = Cause.findError(exit.cause)
    // A defect is a flaw of the test or of the library, never an outcome.
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

const viaClient = ({ client, url }: Site, { body, method, path }: { method: string; path: string; body?: string }) => {
  const bare = HttpClientRequest.make(method as "GET" | "POST")(url + path)
  const request = body === undefined ? bare : HttpClientRequest.bodyText(bare, body)
  return Effect.flatMap(client.execute(request), (response) => response.text)
}

/** What may become of a request whose server is in trouble. */
const allowed = new Set([
  "HttpError/ConnectionLost",
  "HttpError/InvalidResponse",
  "HttpError/RequestRefused",
  "HttpError/ResponseTimeout",
  "PoolError/WaitTimeout",
  "SocketError/Refused",
  "SocketError/Reset",
  "SocketError/Timeout"
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
