/** Connections that end, or speak unasked, at any moment around their reuse. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type { LeakOracle } from "../leakOracle.ts"
import { fetch, get, http1Pool, post, stall } from "./client.ts"
import type { FaultServer, Listening } from "./faultServer.ts"
import { answer, cut, delay, ended, fin, type Http1Scenario, type Script, text } from "./http1Script.ts"

type Server = Pick<FaultServer<Http1Scenario>, "listen">

const range = (n: number): ReadonlyArray<number> => Array.from({ length: n }, (_, i) => i)

/** How often each request was begun. */
const executions = (server: Listening): ReadonlyMap<string, number> => {
  const found = new Map<string, number>()
  for (const { path } of server.facts("request")) found.set(path, (found.get(path) ?? 0) + 1)
  return found
}

/** `n` half milliseconds after the answer the server hangs up, by FIN or RST. */
const hangUps: Record<string, Script> = Object.fromEntries(
  range(11).flatMap((n) => [
    [`fin${n}`, [ended, answer(), delay(n / 2), fin]],
    [`cut${n}`, [ended, answer(), delay(n / 2), cut]]
  ])
)

/**
 * Makes requests 0 to 5 ms apart of a server that hangs up 0 to 5 ms after each
 * answer. No GET fails, and no POST gets to the server twice.
 */
export const staleConnections = (oracle: LeakOracle, server: Server, method: "GET" | "POST", rounds: number) =>
  Effect.gen(function* () {
    const target = yield* server.listen({ requests: hangUps })
    const pool = yield* http1Pool(oracle, target)
    let failed = 0
    for (const i of range(rounds)) {
      const path = `/${i % 2 === 0 ? "fin" : "cut"}${(i * 7) % 11}/${i}`
      const result = yield* Effect.result(fetch(pool, method === "GET" ? get(path) : post(path)))
      if (result._tag === "Success") assert.strictEqual(result.success.text, path)
      else {
        assert.strictEqual(result.failure._tag, "HttpError")
        failed++
      }
      yield* Effect.sleep(((i * 5) % 11) / 2)
    }
    yield* target.sync
    const counts = [...executions(target).values()]
    if (method === "GET") assert.strictEqual(failed, 0)
    assert.isAtMost(Math.max(...counts), method === "GET" ? 2 : 1)
    // Less would mean that the connections were not used again at all.
    assert.isAbove(target.count("open"), rounds / 4)
    assert.isBelow(target.count("open"), rounds * 2)
  }).pipe(Effect.scoped)

/** Where in a turn of the event loop a caller asks for the next request. */
const phases: ReadonlyArray<Effect.Effect<void>> = [
  Effect.void,
  Effect.callback((resume) => void setTimeout(() => resume(Effect.void), 0)),
  Effect.callback((resume) => void setImmediate(() => resume(Effect.void))),
  Effect.callback((resume) => queueMicrotask(() => resume(Effect.void)))
]

/** What comes after an answer, though nobody asked. */
const surprises: Record<string, string> = {
  answer: "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison",
  head: "HTTP/1.1 200 OK\r\ncontent-le",
  timeout: "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 6\r\n\r\npoison",
  hint: "HTTP/1.1 103 Early Hints\r\n\r\n",
  byte: "x"
}

const poisons: Record<string, Script> = Object.fromEntries(
  Object.entries(surprises).flatMap(([name, surprise]) =>
    range(4).map((n) => [`${name}${n}`, [ended, answer(), delay(n), text(surprise)]])
  )
)

/** When the server had sent all that it sends on the connection of this request. */
const doneAt = (server: Listening, path: string): number => {
  const asked = server.seen.find(({ fact }) => fact.what === "request" && fact.path === path)
  const done = server.seen.find(({ connection, fact }) => connection === asked?.connection && fact.what === "done")
  return done?.fact.what === "done" ? done.fact.at : Infinity
}

/**
 * The server sends something unasked while the client's event loop stands
 * still, 60 ms from the answer on. Whoever asks next gets its own answer.
 */
export const poisonedConnections = (oracle: LeakOracle, server: Server, rounds: number) =>
  Effect.gen(function* () {
    const target = yield* server.listen({ requests: poisons })
    const pool = yield* http1Pool(oracle, target)
    const names = Object.keys(poisons)
    let late = 0
    for (const i of range(rounds)) {
      const path = `/${names[i % names.length]}/${i}`
      assert.strictEqual((yield* fetch(pool, get(path))).text, path)
      const before = i % 3 === 0
      if (before) stall(60)
      yield* phases[i % phases.length]!
      if (!before) stall(60)
      const sentAt = Date.now()
      const result = yield* Effect.result(fetch(pool, post(`/clean/${i}`)))
      if (result._tag === "Success" && result.success.text === `/clean/${i}`) continue
      // What comes after the next request was written cannot be told from its answer: a server too busy to be in time.
      yield* target.sync
      assert.isAtLeast(doneAt(target, path), sentAt, `${path}: ${JSON.stringify(result)}`)
      late++
    }
    yield* target.sync
    assert.isAtMost(late, rounds / 10)
    // Each surprise ends a connection, and nothing was asked twice.
    assert.isAtLeast(target.count("open"), rounds - late)
    assert.strictEqual(Math.max(...executions(target).values()), 1)
  }).pipe(Effect.scoped)
