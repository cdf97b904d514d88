import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Http2 from "node:http2"
import { createRequire, syncBuiltinESMExports } from "node:module"
import { leakOracle } from "../leakOracle.ts"
import { fetch, get, http2Pool } from "./client.ts"
import { maxStreamId } from "./frames.ts"
import { calmedCancels, cappedCancels } from "./http2Cancel.ts"
import type { Http2Scenario } from "./http2Script.ts"
import { useFaultServer } from "./suite.ts"

const oracle = leakOracle()
const server = useFaultServer<Http2Scenario>("HTTP/2 resets", "./http2Server.ts")

const http2: typeof Http2 = createRequire(import.meta.url)("node:http2")

const replaceConnect = (connect: unknown): void => {
  Reflect.set(http2, "connect", connect)
  syncBuiltinESMExports()
}

/** Keeps node's sessions, which a connection does not show. */
const watchSessions = Effect.acquireRelease(
  Effect.sync(() => {
    const { connect } = http2
    const sessions: Array<Http2.ClientHttp2Session> = []
    replaceConnect((...args: Parameters<typeof connect>) => {
      const session = connect(...args)
      sessions.push(session)
      return session
    })
    return { connect, sessions }
  }),
  ({ connect }) => Effect.sync(() => replaceConnect(connect))
)

/** So many streams from now on the session has none left. */
const leaveStreams = (session: Http2.ClientHttp2Session, left: number): void => {
  const symbol = Object.getOwnPropertySymbols(session).find(({ description }) => description === "kHandle")!
  const handle: unknown = Reflect.get(session, symbol)
  const setNext: unknown = Reflect.get(Object(handle), "setNextStreamID")
  assert.isFunction(setNext)
  Reflect.apply(setNext as () => void, handle, [maxStreamId - 2 * (left - 1)])
}

describe("HttpRequest over HTTP/2", () => {
  it.live("given up again and again does not make a server angry", () => cappedCancels(oracle, server, 1_000))

  it.live("given up again and again costs no more than connections where the server is angry", () =>
    calmedCancels(oracle, server, 600)
  )

  for (const left of [1, 2, 5, 999, 1_001]) {
    it.live(`moves to another connection when stream ids run out: ${left} left`, () =>
      Effect.gen(function* () {
        const { sessions } = yield* watchSessions
        const target = yield* server.listen({})
        const pool = yield* http2Pool(oracle, target)
        yield* fetch(pool, get("/first"))
        leaveStreams(sessions[0]!, left)
        const paths = Array.from({ length: 40 }, (_, i) => `/${i}`)
        const responses = yield* Effect.forEach(paths, (path) => fetch(pool, get(path)), { concurrency: 10 })
        assert.deepStrictEqual(
          responses.map(({ text }) => text),
          paths
        )
        yield* target.sync
        assert.strictEqual(target.count("request"), 41)
        assert.strictEqual(target.count("open"), 2)
      })
    )
  }
})
