/** A server that closes idle connections, and how many requests that costs. */
import { assert } from "@effect/vitest"
import * as Http1Pool from "@poolkit/http/Http1Pool"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Effect from "effect/Effect"
import type { LeakOracle } from "./leakOracle.ts"
import { answer, httpServer } from "./servers.ts"

export interface Outcome {
  readonly rounds: number
  readonly failed: number
  /** Requests that the server saw more than once. */
  readonly repeated: number
  /** Connections that were closed by the server before another request. */
  readonly closed: number
}

/**
 * Makes two requests per round, `gap` apart; the server hangs up some time in
 * 0 to 5 ms after each answer, by FIN or by RST, in all of the ways that this
 * can fall around the second request.
 */
export const staleKeepAlive = (
  oracle: LeakOracle,
  options: { readonly method: "GET" | "POST"; readonly rounds: number }
): Effect.Effect<Outcome> =>
  Effect.gen(function* () {
    const executions = new Map<string, number>()
    const server = yield* httpServer(oracle, ({ index, path }, socket) => {
      executions.set(path, (executions.get(path) ?? 0) + 1)
      socket.write(answer(path))
      const hangUp = () => void (index % 2 === 0 ? socket.end() : socket.resetAndDestroy())
      const delay = (index * 7) % 12
      // Half milliseconds by way of immediates, which fall between the timers.
      if (delay % 2 === 0) setTimeout(hangUp, delay / 2)
      else setTimeout(() => setImmediate(hangUp), (delay - 1) / 2)
    })
    const pool = oracle.pool(yield* Http1Pool.make({ origin: server.origin, backoff: undefined }))
    let failed = 0
    for (let i = 0; i < options.rounds; i++) {
      const path = `/${i}`
      const body = options.method === "POST" ? "body" : undefined
      const request = Effect.scoped(
        Effect.flatMap(HttpRequest.execute(pool, { method: options.method, path, body }), (response) => response.text)
      )
      const result = yield* Effect.result(request)
      if (result._tag === "Failure") {
        assert.strictEqual(result.failure._tag, "HttpError")
        failed++
      } else assert.strictEqual(result.success, path)
      const gap = (i * 5) % 11
      if (gap > 0) yield* Effect.sleep(gap / 2)
    }
    const repeated = [...executions.values()].filter((count) => count > 1).length
    return { rounds: options.rounds, failed, repeated, closed: server.accepted() - 1 }
  }).pipe(Effect.scoped)
