/** Connections that a server takes its leave of at any moment around their reuse. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { LeakOracle } from "../leakOracle.ts"
import { fetch, get, http2Pool, post } from "./client.ts"
import type { FaultServer } from "./faultServer.ts"
import { delay, fin, goaway, type Http2Scenario, ok, type Script } from "./http2Script.ts"

type Server = Pick<FaultServer<Http2Scenario>, "listen">

/** `n` half milliseconds after the answer the server says goodbye. */
const goodbyes: Record<string, Script> = Object.fromEntries(
  Array.from({ length: 11 }, (_, n) => [`bye${n}`, [...ok, delay(n / 2), goaway("this"), fin]])
)

/**
 * Makes requests 0 to 5 ms apart of a server that takes its leave 0 to 5 ms
 * after each answer. Every request is served, and none acted on twice.
 */
export const gracefulCloses = (oracle: LeakOracle, server: Server, rounds: number) =>
  Effect.gen(function* () {
    const target = yield* server.listen({ requests: goodbyes })
    const pool = yield* http2Pool(oracle, target, { maxSize: 1 })
    for (let i = 0; i < rounds; i++) {
      const path = `/bye${(i * 7) % 11}/${i}`
      assert.strictEqual((yield* fetch(pool, i % 2 === 0 ? get(path) : post(path))).text, path)
      yield* Effect.sleep(((i * 5) % 11) / 2)
    }
    yield* target.sync
    assert.strictEqual(target.count("request"), rounds)
    // Less would mean that the connections were not used again at all.
    assert.isAbove(target.count("open"), rounds / 4)
    return target.count("ignored")
  }).pipe(Effect.scoped)
