/** Strict accounts of requests: what became of each here, and how often the server did it. */
import { assert } from "@effect/vitest"
import type { HttpRequest, HttpResponse } from "@poolkit/http/HttpConnection"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"

/** One request, as a server logged it. */
export interface Seen {
  readonly method: string
  readonly path: string
  /** Unique among all connections of that server. */
  readonly connection: string
  readonly protocol: string
}

/** Sends over some pool. */
export type Send = (request: HttpRequest) => Effect.Effect<HttpResponse, unknown, Scope.Scope>

/** How a server is asked, and what it answers. */
export interface Dialect {
  readonly path: (id: number, method: Method) => string
  /** Asserts that this is the answer to that request and to no other. */
  readonly check: (request: HttpRequest, response: HttpResponse, text: string) => void
}

export type Method = "GET" | "POST"

interface Entry {
  readonly method: Method
  /** `undefined` until it settled. */
  outcome: "answered" | "unavailable" | "failed" | undefined
}

export interface Summary {
  readonly requests: number
  readonly answered: number
  /** Answered by a proxy, with 502, 503 or 504, because it had no server. */
  readonly unavailable: number
  /** Failures of idempotent requests, and of others. */
  readonly failedGets: number
  readonly failedPosts: number
  /** Requests that the server did twice. */
  readonly repeated: number
  readonly errors: Readonly<Record<string, number>>
}

export class Ledger {
  private readonly entries = new Map<string, Entry>()
  private readonly errors: Record<string, number> = {}
  private settledCount = 0
  private readonly send: Send
  private readonly dialect: Dialect
  private readonly insists: boolean

  /** `insists`: GETs are asked again until they are answered, however often the server did them by then. */
  constructor(send: Send, dialect: Dialect, insists = false) {
    this.send = send
    this.dialect = dialect
    this.insists = insists
  }

  get requests(): number {
    return this.entries.size
  }

  /** Requests that were answered or failed. */
  get settled(): number {
    return this.settledCount
  }

  /** Sends one request with a path that no other has, reads the answer to its end and tells whether it came. */
  request(method: Method, send = this.send): Effect.Effect<boolean> {
    return Effect.suspend(() => {
      const path = this.dialect.path(this.entries.size + 1, method)
      const entry: Entry = { method, outcome: undefined }
      assert.isFalse(this.entries.has(path))
      this.entries.set(path, entry)
      const request: HttpRequest = { method, path, ...(method === "POST" && { body: `body of ${path}` }) }
      const exchange = Effect.scoped(
        Effect.flatMap(send(request), (response) =>
          Effect.map(response.text, (text) => {
            if (response.status > 500) return "unavailable" as const
            this.dialect.check(request, response, text)
            return "answered" as const
          })
        )
      )
      const tries = this.insists && method === "GET" ? Effect.retry(exchange, Schedule.spaced(20)) : exchange
      const settled = Effect.timeoutOrElse(tries, {
        duration: "15 seconds",
        orElse: () => Effect.die(new Error(`${method} ${path} does not settle`))
      })
      return Effect.flatMap(Effect.exit(settled), (exit) => {
        assert.isUndefined(entry.outcome, `${path} settled twice`)
        this.settledCount++
        entry.outcome = Exit.isSuccess(exit) ? exit.value : "failed"
        if (Exit.isSuccess(exit)) return Effect.succeed(exit.value === "answered")
        // A defect is a flaw of the test or of the library, never an outcome.
        const error = Cause.findError(exit.cause)
        if (Result.isFailure(error)) return Effect.failCause(error.failure)
        const name = nameOf(error.success)
        this.errors[name] = (this.errors[name] ?? 0) + 1
        return Effect.succeed(false)
      })
    })
  }

  /** Sends so many requests at once. */
  burst(count: number, methods: ReadonlyArray<Method>): Effect.Effect<void> {
    const requests = Array.from({ length: count }, (_, i) => this.request(methods[i % methods.length]!))
    return Effect.all(requests, { concurrency: "unbounded", discard: true })
  }

  /** Callers that send one request after the other, with pauses of up to 10 ms, until `over`. */
  load(options: { callers: number; methods: ReadonlyArray<Method>; over: () => boolean }): Effect.Effect<void> {
    const { callers, methods, over } = options
    const caller = (index: number) =>
      Effect.gen({ self: this }, function* () {
        for (let i = index; !over(); i++) {
          yield* this.request(methods[i % methods.length]!)
          yield* Effect.sleep((i * 7) % 11)
        }
      })
    return Effect.forEach(
      Array.from({ length: callers }, (_, i) => i),
      caller,
      { concurrency: callers, discard: true }
    )
  }

  /**
   * Compares with what the server saw. Holds whatever happened; failures are
   * the test's to judge. A server that was killed may not have logged all.
   */
  settle(seen: ReadonlyArray<Seen>, log: "complete" | "partial" = "complete"): Summary {
    const done = new Map<string, number>()
    for (const { method, path } of seen) {
      const entry = this.entries.get(path)
      assert.strictEqual(method, entry?.method, `the server saw ${method} ${path}`)
      done.set(path, (done.get(path) ?? 0) + 1)
    }
    const summary = { requests: this.requests, answered: 0, unavailable: 0, failedGets: 0, failedPosts: 0, repeated: 0 }
    for (const [path, { method, outcome }] of this.entries) {
      const times = done.get(path) ?? 0
      assert.isDefined(outcome, `${path} never settled`)
      if (outcome === "answered") {
        summary.answered++
        if (log === "complete") assert.isAtLeast(times, 1, `${path} was answered and never done`)
      } else if (outcome === "unavailable") summary.unavailable++
      else summary[method === "POST" ? "failedPosts" : "failedGets"]++
      const most = method === "POST" ? 1 : this.insists ? Infinity : 2
      assert.isAtMost(times, most, `${path} was done too often`)
      if (times > 1) summary.repeated++
    }
    return { ...summary, errors: this.errors }
  }
}

const nameOf = (error: unknown): string => {
  if (typeof error !== "object" || error === null) return String(error)
  const { _tag, reason } = error as { readonly _tag?: string; readonly reason?: { readonly _tag?: string } }
  return [_tag ?? String(error), reason?._tag].filter((part) => part !== undefined).join("/")
}
