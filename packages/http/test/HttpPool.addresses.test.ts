import { assert, describe, it } from "@effect/vitest"
import * as HttpPool from "@poolkit/http/HttpPool"
import * as Origin from "@poolkit/http/Origin"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { certificates } from "./certificates.ts"
import { burst, fetchText, type Kind, makePool, type OriginServer, start, until } from "./httpPool.ts"
import { leakOracle } from "./leakOracle.ts"

const oracle = leakOracle()

/** Three servers of one service, which have proof of its name and not of their addresses. */
const service = (kind: Kind) =>
  Effect.forEach(["127.0.0.1", "127.0.0.2", "127.0.0.3"], (host) =>
    Effect.map(start(oracle, { kind, host, tls: certificates.otherName }), (server) => ({
      ...server,
      address: `${host}:${server.port}`
    }))
  )

const https = Origin.make("https://example.test")

const opened = (servers: ReadonlyArray<OriginServer>) => servers.map(({ accepted }) => accepted())

/** A pool whose list of addresses is what was last given to `set`. */
const listed = (options: HttpPool.HttpPoolOptions = {}) =>
  Effect.gen(function* () {
    const lists = yield* Queue.unbounded<ReadonlyArray<string>>()
    const pool = yield* makePool(oracle, { ...options, addresses: () => Stream.fromQueue(lists) })
    return { pool, set: (...list: ReadonlyArray<string>) => Queue.offer(lists, list) }
  })

describe("HttpPool", () => {
  describe("addresses", () => {
    it.live("spreads the connections of an origin, each of which has to prove the name", () =>
      Effect.gen(function* () {
        const servers = yield* service("https")
        const { pool, set } = yield* listed({ maxSizePerOrigin: 6 })
        yield* set(...servers.map(({ address }) => address))
        assert.lengthOf(yield* burst(pool, https, 60), 60)
        assert.deepStrictEqual(opened(servers), [2, 2, 2])
        for (const { handshakes } of servers) assert.strictEqual(handshakes[0]!.name, "example.test")
        assert.deepStrictEqual(yield* pool.keys, [https])
      })
    )

    it.live("spreads shared connections, of which one more is opened before the others are full", () =>
      Effect.gen(function* () {
        for (const kind of ["h2", "both"] as const) {
          const servers = yield* service(kind)
          const { pool, set } = yield* listed({ maxSharedPerOrigin: 3, saturation: 0.001 })
          yield* set(...servers.map(({ address }) => address))
          assert.lengthOf(yield* burst(pool, https, 60), 60)
          yield* until(Effect.map(pool.stats, ({ connecting }) => connecting === 0))
          yield* burst(pool, https, 60)
          assert.deepStrictEqual(opened(servers), [1, 1, 1])
        }
      })
    )

    it.live("serves every request although one address refuses, one is no address, and one proves another name", () =>
      Effect.gen(function* () {
        const servers = yield* service("both")
        const gone = yield* start(oracle, { kind: "both" })
        yield* gone.stop
        const impostor = yield* start(oracle, { kind: "both" })
        const { pool, set } = yield* listed({ protocols: "http1", maxSizePerOrigin: 9 })
        const wrong = [`127.0.0.1:${gone.port}`, "no address", `127.0.0.1:${impostor.port}`]
        yield* set(...servers.map(({ address }) => address), ...wrong)
        assert.lengthOf(yield* burst(pool, https, 90), 90)
        assert.deepStrictEqual(opened(servers), [3, 3, 3])
        assert.isAtLeast(impostor.accepted(), 1)
      })
    )

    it.live("follows the list: an address that is gone is left, one that is back is used", () =>
      Effect.gen(function* () {
        const servers = yield* service("https")
        const [a, b, c] = servers.map(({ address }) => address) as [string, string, string]
        const { pool, set } = yield* listed({ maxSizePerOrigin: 6 })
        yield* set(a, b, c)
        yield* burst(pool, https, 30)
        yield* set(a, b)
        yield* until(Effect.sync(() => servers[2]!.open() === 0))
        yield* burst(pool, https, 30)
        assert.deepStrictEqual(opened(servers), [3, 3, 2])
        yield* set(c)
        yield* until(Effect.sync(() => servers[0]!.open() + servers[1]!.open() === 0))
        yield* burst(pool, https, 30)
        assert.deepStrictEqual(opened(servers), [3, 3, 8])
      })
    )

    it.live("leaves an origin without a list to its URL", () =>
      Effect.gen(function* () {
        const server = yield* start(oracle, { kind: "http" })
        const asked: Array<string> = []
        const pool = yield* makePool(oracle, {
          addresses: (origin) => {
            asked.push(String(origin))
            return undefined
          }
        })
        yield* fetchText(pool, server.origin)
        assert.deepStrictEqual([asked, server.accepted()], [[String(server.origin)], 1])
      })
    )

    it.live("tells observers the origin that was asked for, and the address", () =>
      Effect.gen(function* () {
        const [server] = yield* service("https")
        const { pool, set } = yield* listed()
        yield* set(server!.address)
        const seen: Array<unknown> = []
        yield* pool.observe({
          connected: ({ annotations }) => {
            seen.push(annotations.get("origin"), annotations.get("address"), annotations.get("protocol"))
          }
        })
        yield* fetchText(pool, https)
        assert.deepStrictEqual(seen, [https, server!.address, "http/1.1"])
      })
    )

    it.effect("saturation is checked when the pool is made", () =>
      Effect.gen(function* () {
        const exit = yield* Effect.exit(HttpPool.make({ saturation: 0 }))
        assert.isTrue(Exit.hasDies(exit))
        assert.include(String(exit), "saturation must be a number above 0 and at most 1, got 0")
      })
    )
  })
})
