import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leakOracle } from "../leakOracle.ts"
import { countConnections, makeClient, whileRepeating } from "./client.ts"
import type { Seen } from "./ledger.ts"
import { nginx, nginxDialect } from "./nginx.ts"
import { report } from "./report.ts"
import { missing } from "./serverProcess.ts"

const oracle = leakOracle()

const rig = Effect.fnUntraced(function* (directives = "") {
  const server = yield* nginx({ speaks: "h2", server: directives })
  return { client: yield* makeClient(oracle, server.origin, nginxDialect), server }
})

const assertHttp2 = (seen: ReadonlyArray<Seen>) => {
  assert.deepStrictEqual([...new Set(seen.map(({ protocol }) => protocol))], ["HTTP/2.0"])
  return seen
}

describe.skipIf(missing("nginx"))("nginx over HTTP/2", () => {
  it.live("serves a cold burst over one connection, however few streams it allows", () =>
    Effect.gen(function* () {
      const { client, server } = yield* rig("http2_max_concurrent_streams 4;")
      yield* client.ledger.burst(200, ["GET", "POST"])
      const connections = yield* countConnections(server.connections, client)
      const summary = client.ledger.settle(assertHttp2(yield* server.finish))
      report("nginx, HTTP/2, 4 streams", summary, { connections })
      assert.deepInclude(summary, { requests: 200, answered: 200, repeated: 0 })
      assert.strictEqual(connections, 1)
    })
  )

  describe("keepalive_requests", () => {
    it.live("costs a connection for so many requests, and no request", () =>
      Effect.gen(function* () {
        const { client, server } = yield* rig("keepalive_requests 10;")
        for (let i = 0; i < 100; i++) yield* client.ledger.request(i % 2 === 0 ? "GET" : "POST")
        const connections = yield* countConnections(server.connections, client)
        const summary = client.ledger.settle(assertHttp2(yield* server.finish))
        assert.deepInclude(summary, { answered: 100, repeated: 0 })
        assert.strictEqual(connections, 10)
      })
    )

    for (const { callers, limit } of [
      { callers: 32, limit: 40 },
      { callers: 32, limit: 10 }
    ]) {
      const outcome = limit > callers ? "fails nothing" : "does nothing twice and refuses the rest"
      it.live(`${outcome} where ${callers} callers find that every connection takes ${limit} requests`, () =>
        Effect.gen(function* () {
          const { client, server } = yield* rig(`keepalive_requests ${limit};`)
          const { ledger } = client
          yield* ledger.load({ callers, methods: ["GET", "POST"], over: () => ledger.requests >= 400 })
          const connections = yield* countConnections(server.connections, client)
          const summary = ledger.settle(assertHttp2(yield* server.finish))
          report(`nginx, HTTP/2, keepalive_requests ${limit}`, summary, { connections })
          const refused = summary.errors["HttpError/RequestRefused"] ?? 0
          assert.deepInclude(summary, { answered: summary.requests - refused, repeated: 0 })
          // What was refused twice is not sent a third time.
          if (limit > callers) assert.strictEqual(refused, 0)
          assert.isAtLeast(connections, summary.answered / limit)
        })
      )
    }
  })

  describe("reload", () => {
    it.live("loses no request under load and does none twice", () =>
      Effect.gen(function* () {
        const { client, server } = yield* rig()
        yield* whileRepeating(client.ledger, {
          callers: 32,
          methods: ["GET", "GET", "POST"],
          times: 10,
          action: server.reload
        })
        const connections = yield* countConnections(server.connections, client)
        const summary = client.ledger.settle(assertHttp2(yield* server.finish))
        report("nginx, HTTP/2", summary, { connections, reloads: 10 })
        assert.deepInclude(summary, { answered: summary.requests, repeated: 0 })
        // A worker that shuts down keeps a connection as long as it is never without a request.
        assert.isAbove(connections, 1)
      })
    )
  })
})
