import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leakOracle } from "../leakOracle.ts"
import { countConnections, makeClient, whileRepeating } from "./client.ts"
import { nginx, nginxDialect } from "./nginx.ts"
import { report } from "./report.ts"
import { missing } from "./serverProcess.ts"

const oracle = leakOracle()

const range = (length: number) => Array.from({ length }, (_, i) => i)

describe.skipIf(missing("nginx"))("nginx over HTTP/1.1", () => {
  describe("keepalive_requests", () => {
    it.live("costs a connection for so many requests, and no request", () =>
      Effect.gen(function* () {
        const server = yield* nginx({ server: "keepalive_requests 10;" })
        const client = yield* makeClient(oracle, server.origin, nginxDialect, { maxSizePerOrigin: 1 })
        for (const i of range(100)) yield* client.ledger.request(i % 2 === 0 ? "GET" : "POST")
        const connections = yield* countConnections(server.connections, client)
        const seen = yield* server.finish
        const summary = client.ledger.settle(seen)
        assert.strictEqual(new Set(seen.map(({ connection }) => connection)).size, 10)
        assert.strictEqual(connections, 10)
        assert.deepInclude(summary, { answered: 100, repeated: 0 })
      })
    )
  })

  describe("keepalive_timeout", () => {
    it.live("fails no GET that comes when the server hangs up, and does no POST twice", () =>
      Effect.gen(function* () {
        const server = yield* nginx({ server: "keepalive_timeout 1s;" })
        // One connection for each caller, which uses it again at about the time when nginx closes it.
        const clients = yield* Effect.forEach(range(32), () => makeClient(oracle, server.origin, nginxDialect))
        const { ledger } = clients[0]!
        const caller = (index: number) =>
          Effect.gen(function* () {
            for (const _ of range(2)) {
              yield* ledger.request(index % 2 === 0 ? "GET" : "POST", clients[index]!.send)
              yield* Effect.sleep(985 + index)
            }
          })
        yield* Effect.forEach(range(32), caller, { concurrency: 32, discard: true })
        const connections = yield* countConnections(server.connections, ...clients)
        const summary = ledger.settle(yield* server.finish)
        report("nginx, HTTP/1.1, keepalive_timeout", summary, { connections })
        assert.deepInclude(summary, { requests: 64, failedGets: 0 })
        assert.isAbove(connections, 32)
      })
    )
  })

  describe("reload", () => {
    it.live("loses no GET under load and does no POST twice", () =>
      Effect.gen(function* () {
        const server = yield* nginx({ speaks: "https" })
        const client = yield* makeClient(oracle, server.origin, nginxDialect)
        yield* whileRepeating(client.ledger, {
          callers: 32,
          methods: ["GET", "GET", "POST"],
          times: 10,
          action: server.reload
        })
        const connections = yield* countConnections(server.connections, client)
        const summary = client.ledger.settle(yield* server.finish)
        report("nginx, HTTP/1.1", summary, { connections, reloads: 10 })
        assert.strictEqual(summary.failedGets, 0)
        assert.isAbove(connections, 32)
      })
    )
  })
})
