import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leakOracle } from "../leakOracle.ts"
import { countConnections, whileRepeating } from "./client.ts"
import { haproxyPaths, haproxyRig } from "./haproxyRig.ts"
import { report } from "./report.ts"
import { missing } from "./serverProcess.ts"

const oracle = leakOracle()

describe.skipIf(missing("haproxy", "nginx", "nghttpd"))("HAProxy", () => {
  for (const path of haproxyPaths) {
    describe(path.name, () => {
      it.live("counts the connections that the pool counts", () =>
        Effect.gen(function* () {
          const { backend, client, proxy } = yield* haproxyRig(oracle, path)
          yield* client.ledger.burst(200, ["GET", "POST"])
          const connections = yield* countConnections(proxy.connections, client)
          const summary = client.ledger.settle(yield* backend.finish)
          assert.deepInclude(summary, { answered: 200, repeated: 0 })
          assert.strictEqual(connections, path.front === "http" ? 32 : 1)
        })
      )

      it.live("reloads under load and loses no GET and does no POST twice", () =>
        Effect.gen(function* () {
          const { backend, client, proxy } = yield* haproxyRig(oracle, path)
          yield* whileRepeating(client.ledger, {
            callers: 32,
            methods: ["GET", "GET", "POST"],
            times: 5,
            action: proxy.reload
          })
          const connections = yield* countConnections(proxy.allConnections, client)
          const summary = client.ledger.settle(yield* backend.finish)
          report(`HAProxy, ${path.name}`, summary, { connections, reloads: 5 })
          assert.strictEqual(summary.failedGets, 0)
          assert.isAtLeast(connections, 5)
        })
      )
    })
  }
})
