import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { leakOracle } from "../leakOracle.ts"
import { fetch, get, http2Pool } from "./client.ts"
import type { Listening } from "./faultServer.ts"
import { SettingId } from "./frames.ts"
import { type Http2Scenario, ok, type Script, settings, until } from "./http2Script.ts"
import { useFaultServer } from "./suite.ts"

const oracle = leakOracle()
const server = useFaultServer<Http2Scenario>("HTTP/2 limits", "./http2Server.ts")

type Pool = Effect.Success<ReturnType<typeof http2Pool>>

const max = (streams: number) => [SettingId.maxConcurrentStreams, streams] as const

/** Answers when the test says so. */
const held = (signal: string): Script => [until({ signal }), ...ok]

const start = (pool: Pool, paths: ReadonlyArray<string>) =>
  Effect.forkChild(
    Effect.forEach(paths, (path) => fetch(pool, get(path)), { concurrency: "unbounded" }),
    {
      startImmediately: true
    }
  )

/** Checks that so many requests arrive, and no more. */
const arrive = (target: Listening, requests: number) =>
  Effect.gen(function* () {
    yield* target.until("request", requests)
    yield* Effect.sleep(20)
    yield* target.sync
    assert.strictEqual(target.count("request"), requests)
  })

const texts = (responses: ReadonlyArray<{ readonly text: string }>) => responses.map(({ text }) => text)
const paths = (name: string, n: number) => Array.from({ length: n }, (_, i) => `/${name}/${i}`)

describe("SharedPool of HTTP/2 connections", () => {
  it.live("opens one connection for a cold burst", () =>
    Effect.gen(function* () {
      const target = yield* server.listen({})
      const pool = yield* http2Pool(oracle, target, { maxSize: 4 })
      const wanted = paths("cold", 90)
      assert.deepStrictEqual(texts(yield* Fiber.join(yield* start(pool, wanted))), wanted)
      assert.strictEqual(target.count("open"), 1)
    })
  )

  it.live("sends no more than 100 requests before the first SETTINGS, and the rest after them", () =>
    Effect.gen(function* () {
      const target = yield* server.listen({
        connections: [{ settings: "none", start: [until({ signal: "go" }), settings()] }],
        requests: { held: held("go") }
      })
      const pool = yield* http2Pool(oracle, target, { maxSize: 1 })
      const wanted = paths("held", 150)
      const fiber = yield* start(pool, wanted)
      yield* arrive(target, 100)
      // The others wait here, not inside node, which tells neither when it sends them nor that it did not.
      assert.deepInclude(yield* pool.stats, { borrowers: 100, pending: 50 })
      target.signal("go")
      assert.deepStrictEqual(texts(yield* Fiber.join(fiber)), wanted)
      assert.strictEqual(target.count("open"), 1)
    })
  )

  it.live("follows a limit that the first SETTINGS set, and one that is raised", () =>
    Effect.gen(function* () {
      const target = yield* server.listen({
        connections: [{ settings: [max(2)], start: [until({ signal: "raise" }), settings(max(5))] }],
        requests: { held: held("go") }
      })
      const pool = yield* http2Pool(oracle, target, { maxSize: 1 })
      yield* fetch(pool, get("/first"))
      const wanted = paths("held", 8)
      const fiber = yield* start(pool, wanted)
      yield* arrive(target, 1 + 2)
      target.signal("raise")
      yield* arrive(target, 1 + 5)
      target.signal("go")
      assert.deepStrictEqual(texts(yield* Fiber.join(fiber)), wanted)
    })
  )

  it.live("follows a limit that is lowered below what is in use", () =>
    Effect.gen(function* () {
      const target = yield* server.listen({
        connections: [{ start: [until({ signal: "lower" }), settings(max(2))] }],
        requests: { a: held("a"), b: held("b") }
      })
      const pool = yield* http2Pool(oracle, target, { maxSize: 1 })
      const first = yield* start(pool, paths("a", 4))
      yield* arrive(target, 4)
      target.signal("lower")
      // The acknowledgement of the first SETTINGS, and of these.
      yield* target.until("ack", 2)
      const second = yield* start(pool, paths("b", 4))
      yield* arrive(target, 4)
      target.signal("a")
      assert.deepStrictEqual(texts(yield* Fiber.join(first)), paths("a", 4))
      yield* arrive(target, 4 + 2)
      target.signal("b")
      assert.deepStrictEqual(texts(yield* Fiber.join(second)), paths("b", 4))
      assert.strictEqual(target.count("open"), 1)
    })
  )

  const zero = (connections: number) =>
    server.listen({
      connections: [
        { start: [until({ signal: "zero" }), settings(max(0)), until({ signal: "raise" }), settings(max(1))] },
        ...Array.from({ length: connections - 1 }, () => ({}))
      ]
    })

  it.live("waits while a limit is 0, and goes on when it is raised", () =>
    Effect.gen(function* () {
      const target = yield* zero(1)
      const pool = yield* http2Pool(oracle, target, { maxSize: 1 })
      yield* fetch(pool, get("/first"))
      target.signal("zero")
      yield* target.until("ack", 2)
      const fiber = yield* start(pool, paths("late", 3))
      yield* arrive(target, 1)
      target.signal("raise")
      assert.deepStrictEqual(texts(yield* Fiber.join(fiber)), paths("late", 3))
      assert.strictEqual(target.count("open"), 1)
    })
  )

  it.live("opens another connection where the limit of the first is 0", () =>
    Effect.gen(function* () {
      const target = yield* zero(2)
      const pool = yield* http2Pool(oracle, target, { maxSize: 2 })
      yield* fetch(pool, get("/first"))
      target.signal("zero")
      yield* target.until("ack", 2)
      yield* Effect.sleep(10)
      assert.deepStrictEqual(texts(yield* Fiber.join(yield* start(pool, paths("late", 3)))), paths("late", 3))
      assert.strictEqual(target.count("open"), 2)
    })
  )

  it.live("fails in time when a server allows no stream any more", () =>
    Effect.gen(function* () {
      const target = yield* server.listen({ connections: [{ settings: [max(0)] }] })
      const pool = yield* http2Pool(oracle, target, { maxSize: 1, waitTimeout: 200 })
      // This one is sent before the SETTINGS are there.
      yield* fetch(pool, get("/first"))
      const started = performance.now()
      const late = yield* Effect.flip(fetch(pool, get("/late")))
      assert.deepInclude(late, { _tag: "PoolError" })
      assert.isAtLeast(performance.now() - started, 198)
      yield* target.sync
      assert.strictEqual(target.count("request"), 1)
    })
  )
})
