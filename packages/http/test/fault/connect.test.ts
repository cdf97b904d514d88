import { assert, describe, it } from "@effect/vitest"
import * as SocketConnector from "@poolkit/http/SocketConnector"
import * as Effect from "effect/Effect"
import * as Dns from "effect/net/Dns"
import * as Net from "node:net"
import { blackhole } from "../blackhole.ts"
import { leakOracle } from "../leakOracle.ts"

const oracle = leakOracle()

/** Listens on an address of this machine, on a port that is taken on another one. */
const listenBeside = (port: number, host: string) =>
  Effect.callback<void>((resume) => {
    const server = Net.createServer((socket) => socket.resume())
    oracle.server(server)
    server.listen(port, host, () => resume(Effect.void))
  })

describe("SocketConnector", () => {
  describe("addresses", () => {
    it.live("one that does not answer holds a connect up for a moment only", () =>
      Effect.gen(function* () {
        const hole = yield* blackhole
        yield* listenBeside(hole.port, "127.0.0.9")
        const dns = Dns.layerStatic({ hosts: { "db.internal": ["127.0.0.1", "127.0.0.9"] } })
        const started = performance.now()
        const to = { host: "db.internal", port: hole.port, connectTimeout: 4_000 }
        const connect = Effect.provide(SocketConnector.tcp(to)(), dns)
        assert.strictEqual((yield* connect).remoteAddress, "127.0.0.9")
        assert.isBelow(performance.now() - started, 3_000)
      }).pipe(Effect.scoped)
    )
  })
})
