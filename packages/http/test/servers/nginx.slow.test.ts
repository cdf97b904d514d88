import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leakOracle } from "../leakOracle.ts"
import { closePool, countConnections, makeClient, recovery, whileRepeating } from "./client.ts"
import { nginx, nginxDialect } from "./nginx.ts"
import { report } from "./report.ts"
import { missing } from "./serverProcess.ts"

const oracle = leakOracle()

const load = { callers: 32, methods: ["GET", "GET", "POST"] } as const

describe.skipIf(missing("nginx"))("nginx", () => {
  for (const speaks of ["http", "https", "h2"] as const) {
    describe(speaks, () => {
      const rigFor = Effect.fnUntraced(function* (insists: boolean) {
        const server = yield* nginx({ speaks })
        return { client: yield* makeClient(oracle, server.origin, nginxDialect, {}, insists), server }
      })
      const rig = rigFor(false)

      it.live("loses no GET and does no POST twice over 40 reloads", () =>
        Effect.gen(function* () {
          const { client, server } = yield* rig
          yield* whileRepeating(client.ledger, { ...load, times: 40, action: server.reload })
          const connections = yield* countConnections(server.connections, client)
          const summary = client.ledger.settle(yield* server.finish)
          report(`nginx, ${speaks}`, summary, { connections, reloads: 40 })
          assert.strictEqual(summary.failedGets, 0)
        })
      )

      it.live("settles every request over 10 restarts, and serves the next ones once nginx is back", () =>
        Effect.gen(function* () {
          const { client, server } = yield* rig
          let worst = 0
          const restart = Effect.gen(function* () {
            worst = Math.max(worst, yield* recovery(client.ledger, server.restart))
          })
          yield* whileRepeating(client.ledger, { ...load, times: 10, action: restart })
          const connections = yield* closePool(client)
          const summary = client.ledger.settle(yield* server.finish, "partial")
          report(`nginx, ${speaks}`, summary, { connections, restarts: 10, "slowest recovery in ms": worst })
          assert.isAbove(summary.answered, 300)
          assert.isBelow(worst, 2_000)
        })
      )

      it.live("loses no GET over 10 restarts where callers ask again", () =>
        Effect.gen(function* () {
          const { client, server } = yield* rigFor(true)
          yield* whileRepeating(client.ledger, { ...load, methods: ["GET"], times: 10, action: server.restart })
          const connections = yield* closePool(client)
          const summary = client.ledger.settle(yield* server.finish, "partial")
          report(`nginx, ${speaks}, asked again`, summary, { connections, restarts: 10 })
          assert.strictEqual(summary.answered, summary.requests)
        })
      )

      if (speaks === "https") return
      it.live("connects seldom while nginx is down for 3 seconds, and is back soon after it", () =>
        Effect.gen(function* () {
          const { client, server } = yield* rig
          let after = 0
          const outage = Effect.gen(function* () {
            yield* server.process.stop("SIGQUIT")
            yield* Effect.sleep(3_000)
            after = yield* recovery(client.ledger, server.process.start)
          })
          yield* whileRepeating(client.ledger, { ...load, times: 1, action: outage })
          const { failed } = yield* client.pool.stats
          const connections = yield* closePool(client)
          const summary = client.ledger.settle(yield* server.finish)
          report(`nginx, ${speaks}`, summary, { connections, "failed connects": failed, "recovery in ms": after })
          // 32 may be under way when it goes down; from then on there is one attempt per pause, of up to 5 seconds.
          assert.isAtMost(failed, 48)
          assert.isBelow(after, 5_500)
        })
      )
    })
  }
})
