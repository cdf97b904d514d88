import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leakOracle } from "../leakOracle.ts"
import { closePool, countConnections, makeClient, recovery, whileRepeating } from "./client.ts"
import { nghttpd, nghttpdDialect, type NghttpdOptions } from "./nghttpd.ts"
import { report } from "./report.ts"
import { missing } from "./serverProcess.ts"

const oracle = leakOracle()

const rig = Effect.fnUntraced(function* (options: NghttpdOptions) {
  const server = yield* nghttpd(options)
  return { client: yield* makeClient(oracle, server.origin, nghttpdDialect, { protocols: "http2" }), server }
})

describe.skipIf(missing("nghttpd"))("nghttpd", () => {
  for (const tls of [true, false]) {
    const name = tls ? "over TLS" : "in plain text"
    describe(name, () => {
      it.live("serves a cold burst of 500 over one connection", () =>
        Effect.gen(function* () {
          const { client, server } = yield* rig({ tls })
          yield* client.ledger.burst(500, ["GET", "POST"])
          const connections = yield* countConnections(server.connections, client)
          const summary = client.ledger.settle(yield* server.finish)
          report(`nghttpd ${name}, burst`, summary, { connections })
          assert.deepInclude(summary, { requests: 500, answered: 500, repeated: 0 })
          assert.strictEqual(connections, 1)
        })
      )

      it.live("settles every request while it hangs up without a word, and serves the next ones once it is back", () =>
        Effect.gen(function* () {
          const { client, server } = yield* rig({ tls })
          let worst = 0
          const restart = Effect.gen(function* () {
            worst = Math.max(worst, yield* recovery(client.ledger, server.restart))
          })
          yield* whileRepeating(client.ledger, {
            callers: 16,
            methods: ["GET", "GET", "POST"],
            times: 3,
            action: restart
          })
          const connections = yield* closePool(client)
          const summary = client.ledger.settle(yield* server.finish)
          report(`nghttpd ${name}`, summary, { connections, restarts: 3, "slowest recovery in ms": worst })
          assert.isAbove(summary.answered, 50)
          assert.isBelow(worst, 2_000)
        })
      )
    })
  }
})
