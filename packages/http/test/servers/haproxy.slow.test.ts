import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leakOracle } from "../leakOracle.ts"
import { closePool, countConnections, recovery, whileRepeating } from "./client.ts"
import { haproxyPaths, haproxyRig } from "./haproxyRig.ts"
import { report } from "./report.ts"
import { missing } from "./serverProcess.ts"

const oracle = leakOracle()

const load = { callers: 32, methods: ["GET", "GET", "POST"] } as const

describe.skipIf(missing("haproxy", "nginx", "nghttpd"))("HAProxy", () => {
  for (const path of haproxyPaths) {
    describe(path.name, () => {
      it.live("loses no GET and does no POST twice over 20 reloads", () =>
        Effect.gen(function* () {
          const { backend, client, proxy } = yield* haproxyRig(oracle, path)
          yield* whileRepeating(client.ledger, { ...load, times: 20, action: proxy.reload })
          const connections = yield* countConnections(proxy.allConnections, client)
          const summary = client.ledger.settle(yield* backend.finish)
          report(`HAProxy, ${path.name}`, summary, { connections, reloads: 20 })
          assert.strictEqual(summary.failedGets, 0)
        })
      )

      it.live("settles every request over 10 restarts, and serves the next ones once it is back", () =>
        Effect.gen(function* () {
          const { backend, client, proxy } = yield* haproxyRig(oracle, path)
          let worst = 0
          const restart = Effect.gen(function* () {
            worst = Math.max(worst, yield* recovery(client.ledger, proxy.restart))
          })
          yield* whileRepeating(client.ledger, { ...load, times: 10, action: restart })
          const connections = yield* closePool(client)
          const summary = client.ledger.settle(yield* backend.finish)
          report(`HAProxy, ${path.name}`, summary, { connections, restarts: 10, "slowest recovery in ms": worst })
          assert.isAbove(summary.answered, 300)
          assert.isBelow(worst, 2_000)
        })
      )

      it.live("loses no GET over 10 restarts where callers ask again", () =>
        Effect.gen(function* () {
          const { backend, client, proxy } = yield* haproxyRig(oracle, path, true)
          yield* whileRepeating(client.ledger, { ...load, methods: ["GET"], times: 10, action: proxy.restart })
          const connections = yield* closePool(client)
          const summary = client.ledger.settle(yield* backend.finish)
          report(`HAProxy, ${path.name}, asked again`, summary, { connections, restarts: 10 })
          assert.strictEqual(summary.answered, summary.requests)
        })
      )

      it.live("settles every request while the server behind it comes and goes, and takes 503 for an answer", () =>
        Effect.gen(function* () {
          const { backend, client, proxy } = yield* haproxyRig(oracle, path)
          const outage = Effect.gen(function* () {
            yield* backend.process.stop(path.back === "http" ? "SIGQUIT" : "SIGTERM")
            yield* Effect.sleep(100)
            yield* backend.process.start
          })
          yield* whileRepeating(client.ledger, { ...load, times: 10, action: outage })
          const connections = yield* countConnections(proxy.connections, client)
          const summary = client.ledger.settle(yield* backend.finish)
          report(`HAProxy, ${path.name}`, summary, { connections, "restarts behind it": 10 })
          assert.isAbove(summary.unavailable, 0)
          if (path.front === "http") {
            // Over HTTP/1.1 HAProxy hangs up when its own reused connection turns out to be closed.
            assert.strictEqual(summary.failedGets, 0)
          } else {
            // Over HTTP/2 it refuses the request then, which is sent again once; what it refuses twice, it did not do.
            const { "HttpError/RequestRefused": refused = 0, ...others } = summary.errors
            assert.deepStrictEqual({ connections, others }, { connections: 1, others: {} })
            assert.isAtMost(refused, summary.requests / 100)
          }
        })
      )
    })
  }
})
