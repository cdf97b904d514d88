/** One server that is 10,000 origins: it listens on all of 127.0.0.0/8. */
import { assert } from "@effect/vitest"
import * as Origin from "@poolkit/http/Origin"
import * as Effect from "effect/Effect"
import { emptied, fetchText, makePool, start } from "./httpPool.ts"
import type { LeakOracle } from "./leakOracle.ts"

/** Requests to so many origins at once and in turn, through a pool that is smaller. */
export const manyOrigins = (
  oracle: LeakOracle,
  options: {
    readonly origins: number
    readonly maxSize: number
    readonly maxKeys: number
    readonly concurrency: number
  }
) =>
  Effect.gen(function* () {
    const { concurrency, maxKeys, maxSize } = options
    const server = yield* start(oracle, { kind: "http", host: "0.0.0.0" })
    const origins = Array.from({ length: options.origins }, (_, i) =>
      Origin.make(`http://127.${1 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}:${server.port}`)
    )
    let keys = 0
    let mostKeys = 0
    const pool = yield* Effect.scoped(
      Effect.gen(function* () {
        const pool = yield* makePool(oracle, { maxKeys, maxSize })
        yield* pool.observe({
          keyAdded: () => (mostKeys = Math.max(mostKeys, ++keys)),
          keyRemoved: () => void keys--
        })
        const ask = (origin: Origin.Origin) =>
          Effect.map(fetchText(pool, origin, `/${origin.host}`), (text) =>
            assert.strictEqual(text, `1.1 /${origin.host}`)
          )
        yield* Effect.forEach(origins, ask, { concurrency, discard: true })
        // Whoever was last is still there, and answers without a new connection.
        const { created } = yield* pool.stats
        yield* ask(origins.at(-1)!)
        const stats = yield* pool.stats
        assert.strictEqual(stats.created, created)
        assert.strictEqual(stats.created, options.origins)
        assert.isAtMost(stats.idle, maxSize)
        assert.deepInclude(stats, { used: 0, pending: 0, connecting: 0, failed: 0, maxSize })
        return pool
      })
    )
    yield* emptied(pool)
    assert.deepStrictEqual(yield* pool.keys, [])
    assert.isAtMost(mostKeys, maxKeys)
    assert.strictEqual(server.accepted(), options.origins)
    assert.isAtMost(server.maxOpen(), maxSize)
    assert.isAtLeast(server.maxOpen(), maxSize - 1)
  })
