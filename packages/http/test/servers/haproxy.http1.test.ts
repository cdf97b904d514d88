import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leakOracle } from "../leakOracle.ts"
import { countConnections, makeClient, whileRepeating } from "./client.ts"
import { haproxy } from "./haproxy.ts"
import { nginx, nginxDialect } from "./nginx.ts"
import { report } from "./report.ts"
import { missing } from "./serverProcess.ts"

const oracle = leakOracle()

const rig = Effect.gen(function* () {
  const backend = yield* nginx()
  const proxy = yield* haproxy({ backend, directives: "http-reuse safe" })
  return { backend, client: yield* makeClient(oracle, proxy.http, nginxDialect), proxy }
})

describe.skipIf(missing("haproxy", "nginx"))("HAProxy over HTTP/1.1", () => {
  it.live("counts the connections that the pool counts", () =>
    Effect.gen(function* () {
      const { backend, client, proxy } = yield* rig
      const { ledger } = client
      yield* ledger.load({ callers: 16, methods: ["GET", "POST"], over: () => ledger.requests >= 200 })
      assert.isAtMost(yield* countConnections(proxy.connections, client), 16)
      assert.deepInclude(ledger.settle(yield* backend.finish), { answered: ledger.requests, repeated: 0 })
    })
  )

  describe("reload", () => {
    it.live("loses no GET under load and does no POST twice", () =>
      Effect.gen(function* () {
        const { backend, client, proxy } = yield* rig
        yield* whileRepeating(client.ledger, {
          callers: 32,
          methods: ["GET", "GET", "POST"],
          times: 10,
          action: Effect.andThen(proxy.reload, Effect.sleep(50))
        })
        const connections = yield* countConnections(proxy.allConnections, client)
        const summary = client.ledger.settle(yield* backend.finish)
        report("HAProxy, HTTP/1.1", summary, { connections, reloads: 10 })
        assert.strictEqual(summary.failedGets, 0)
        assert.isAbove(connections, 32)
      })
    )
  })
})
