import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leakOracle } from "../leakOracle.ts"
import { countConnections, makeClient, whileRepeating } from "./client.ts"
import { haproxy } from "./haproxy.ts"
import { nghttpd, nghttpdDialect } from "./nghttpd.ts"
import { nginx, nginxDialect } from "./nginx.ts"
import { report } from "./report.ts"
import { missing } from "./serverProcess.ts"

const oracle = leakOracle()

/** What clients speak with HAProxy, and HAProxy with the server behind it. */
const paths = [
  { front: "http", back: "http" },
  { front: "https", back: "http" },
  { front: "https", back: "h2c" }
] as const

const rig = Effect.fnUntraced(function* ({ back, front }: (typeof paths)[number]) {
  const backend = yield* back === "http" ? nginx() : nghttpd({ tls: false })
  const proxy = yield* haproxy({ backend: { port: backend.port, speaks: back }, directives: "http-reuse safe" })
  const client = yield* makeClient(oracle, proxy[front], back === "http" ? nginxDialect : nghttpdDialect)
  return { backend, client, proxy }
})

describe.skipIf(missing("haproxy", "nginx", "nghttpd"))("HAProxy", () => {
  for (const path of paths) {
    const name = `${path.front === "http" ? "HTTP/1.1" : "HTTP/2"}, ${path.back} behind`
    describe(name, () => {
      it.live("counts the connections that the pool counts", () =>
        Effect.gen(function* () {
          const { backend, client, proxy } = yield* rig(path)
          yield* client.ledger.burst(200, ["GET", "POST"])
          const connections = yield* countConnections(proxy.connections, client)
          const summary = client.ledger.settle(yield* backend.finish)
          assert.deepInclude(summary, { answered: 200, repeated: 0 })
          assert.strictEqual(connections, path.front === "http" ? 32 : 1)
        })
      )

      it.live("reloads under load and loses no GET and does no POST twice", () =>
        Effect.gen(function* () {
          const { backend, client, proxy } = yield* rig(path)
          yield* whileRepeating(client.ledger, {
            callers: 32,
            methods: ["GET", "GET", "POST"],
            times: 10,
            action: Effect.andThen(proxy.reload, Effect.sleep(30))
          })
          const connections = yield* countConnections(proxy.allConnections, client)
          const summary = client.ledger.settle(yield* backend.finish)
          report(`HAProxy, ${name}`, summary, { connections, reloads: 10 })
          assert.strictEqual(summary.failedGets, 0)
          assert.isAtLeast(connections, 10)
        })
      )
    })
  }
})
