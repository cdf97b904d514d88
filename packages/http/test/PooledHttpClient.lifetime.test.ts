import { assert, describe, it } from "@effect/vitest"
import type { HttpConnection } from "@poolkit/http/HttpConnection"
import { request } from "@poolkit/http/HttpConnection"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { HttpClient, HttpClientRequest } from "effect/http"
import * as Scheduler from "effect/Scheduler"
import * as Stream from "effect/Stream"
import { collected, stalled, withServer } from "./dropIn/pooled.ts"
import { leakOracle } from "./leakOracle.ts"

const oracle = leakOracle()

/** Its response comes at once, and has come as a whole `turns` turns of the event loop later. */
const connection = (turns: number, onDiscard: () => void): HttpConnection => ({
  protocol: "h2",
  concurrency: () => 1,
  isOpen: () => true,
  watch: () => () => {},
  send: (_, _context, onEnd) => ({
    response: Effect.sync(() => {
      const later = (n: number): void => void (n === 0 ? onEnd?.() : setImmediate(() => later(n - 1)))
      queueMicrotask(() => later(turns))
      return {
        status: 200,
        headers: {},
        stream: Stream.empty,
        bytes: Effect.succeed(new Uint8Array()),
        text: Effect.succeed(""),
        json: Effect.succeed({}),
        discard: Effect.sync(onDiscard)
      }
    }),
    cancel: () => {}
  })
})

describe("HttpConnection", () => {
  describe("request", () => {
    it.live("does not drop a body that ends while the fiber that waits for the response yields", () =>
      Effect.gen(function* () {
        for (let budget = 3; budget <= 32; budget++) {
          for (let turns = 0; turns <= 3; turns++) {
            let dropped = 0
            const program = Effect.gen(function* () {
              yield* request(
                connection(turns, () => dropped++),
                { method: "GET", path: "/" }
              )
              yield* Effect.sleep(1)
              assert.strictEqual(dropped, 0, `${budget} operations before a yield, ${turns} turns`)
            })
            yield* Effect.provideService(Effect.scoped(program), Scheduler.MaxOpsBeforeYield, budget)
          }
        }
      })
    )
  })
})

describe("PooledHttpClient", () => {
  for (const protocol of ["http/1.1", "h2"] as const) {
    it.live(
      `gives back the connection of a response that was forgotten, of a request with a stream, over ${protocol}`,
      () =>
        withServer(oracle, protocol, stalled, { maxSizePerOrigin: 50 }, ({ pool, url }) =>
          Effect.gen(function* () {
            const send = HttpClient.execute(
              HttpClientRequest.post(url).pipe(HttpClientRequest.bodyStream(Stream.make(new Uint8Array(1000))))
            )
            yield* Fiber.join(
              yield* Effect.forkChild(
                Effect.replicateEffect(Effect.asVoid(send), 50, { concurrency: 50, discard: true })
              )
            )
            yield* collected(pool)
          })
        )
    )
  }
})
