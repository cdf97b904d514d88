/** Callers that give up, over and over. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { LeakOracle } from "../leakOracle.ts"
import { fetch, get, http2Pool, post } from "./client.ts"
import type { FaultServer, Listening } from "./faultServer.ts"
import { ErrorCode } from "./frames.ts"
import { fin, goaway, type Http2Scenario, until } from "./http2Script.ts"

type Server = Pick<FaultServer<Http2Scenario>, "listen">

const together = 20

/** The most resets that one connection has seen. */
const mostResets = (target: Listening): number => {
  const found = new Map<number, number>()
  for (const { connection, fact } of target.seen) {
    if (fact.what === "reset") found.set(connection, (found.get(connection) ?? 0) + 1)
  }
  return Math.max(...found.values())
}

/**
 * Gives up so many requests that the server has taken, while it goes on making
 * others. The server calms down whoever resets `patience` streams of one
 * connection, as all servers do since the rapid reset attacks.
 */
export const cancels = (oracle: LeakOracle, server: Server, count: number, patience: number) =>
  Effect.gen(function* () {
    const target = yield* server.listen({
      connections: [{ start: [until({ resets: patience }), goaway("this", ErrorCode.enhanceYourCalm), fin] }],
      requests: { never: [until({ signal: "never" })] }
    })
    const pool = yield* http2Pool(oracle, target)
    let lost = 0
    let fine = 0
    for (let i = 0; i < count; i += together) {
      const before = target.count("request")
      const requests = yield* Effect.forEach(
        Array.from({ length: together }, (_, n) => `/never/${i + n}`),
        (path) => Effect.forkChild(fetch(pool, i % 40 === 0 ? get(path) : post(path)), { startImmediately: true })
      )
      yield* target.until("request", before + together)
      yield* Effect.forEach(requests, Fiber.interrupt, { concurrency: "unbounded" })
      const result = yield* Effect.result(fetch(pool, get(`/fine/${i}`)))
      if (result._tag === "Success") fine++
      else lost++
    }
    yield* target.sync
    return { connections: target.count("open"), fine, lost, mostResets: mostResets(target) }
  }).pipe(Effect.scoped)

/** A server that is more patient than the connection's own cap never has to say a word. */
export const cappedCancels = (oracle: LeakOracle, server: Server, count: number) =>
  Effect.map(cancels(oracle, server, count, 150), ({ connections, fine, lost, mostResets }) => {
    assert.deepStrictEqual({ fine, lost }, { fine: count / together, lost: 0 })
    assert.isAtMost(mostResets, 100 + together)
    assert.isAtMost(connections, 2 + count / 100)
  })

/** One that is not ends the connection, and that is all. */
export const calmedCancels = (oracle: LeakOracle, server: Server, count: number) =>
  Effect.map(cancels(oracle, server, count, 40), ({ connections, fine }) => {
    // A request that meets the end of a connection may be lost.
    assert.isAtLeast(fine, count / together / 3)
    assert.isAtMost(connections, 2 + count / 40)
  })
