import { assert, describe, it } from "@effect/vitest"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as diagnostics from "node:diagnostics_channel"
import type * as Net from "node:net"
import { leakOracle } from "../leakOracle.ts"
import { fetch, get, http1Pool, http2Pool } from "./client.ts"
import type { Http1Scenario } from "./http1Script.ts"
import type { Http2Scenario } from "./http2Script.ts"
import { useFaultServer } from "./suite.ts"

const oracle = leakOracle()
const server1 = useFaultServer<Http1Scenario>("HTTP/1.1 listeners", "./http1Server.ts")
const server2 = useFaultServer<Http2Scenario>("HTTP/2 listeners", "./http2Server.ts")

/** Sockets that are opened from now on. */
const watchSockets = Effect.acquireRelease(
  Effect.sync(() => {
    const sockets: Array<Net.Socket> = []
    const watch = (message: unknown) => void sockets.push((message as { readonly socket: Net.Socket }).socket)
    diagnostics.subscribe("net.client.socket", watch)
    return { sockets, watch }
  }),
  ({ watch }) => Effect.sync(() => diagnostics.unsubscribe("net.client.socket", watch))
)

const listeners = (socket: Net.Socket): Readonly<Record<string, number>> =>
  Object.fromEntries(socket.eventNames().map((name) => [String(name), socket.listenerCount(name)]))

const pools = {
  "HTTP/1.1": Effect.suspend(() => Effect.flatMap(server1.listen({}), (target) => http1Pool(oracle, target))),
  "HTTP/2": Effect.suspend(() =>
    Effect.flatMap(server2.listen({}), (target) => http2Pool(oracle, target, { maxSize: 1 }))
  )
}

describe("HttpRequest", () => {
  for (const [protocol, make] of Object.entries(pools)) {
    it.live(`leaves no listener on the socket when a loan is over, over ${protocol}`, () =>
      Effect.gen(function* () {
        const { sockets } = yield* watchSockets
        const pool = yield* make
        const requests = Effect.gen(function* () {
          yield* fetch(pool, get("/read"))
          yield* Effect.scoped(HttpRequest.execute(pool, get("/dropped")))
          // Before it is written, so that the connection lives on.
          const fiber = yield* Effect.forkChild(fetch(pool, get("/given-up")), { startImmediately: true })
          yield* Fiber.interrupt(fiber)
          yield* fetch(pool, get("/read"))
        })
        yield* requests
        const before = listeners(sockets.at(-1)!)
        yield* Effect.replicateEffect(requests, 9, { discard: true })
        assert.deepStrictEqual(listeners(sockets.at(-1)!), before)
        assert.lengthOf(sockets, 1)
      })
    )
  }
})
