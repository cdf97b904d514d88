import { assert, describe, it } from "@effect/vitest"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Origin from "@poolkit/http/Origin"
import * as PoolMetrics from "@poolkit/pool/PoolMetrics"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import { mkdtempSync } from "node:fs"
import type { IncomingMessage, ServerResponse } from "node:http"
import { networkInterfaces, tmpdir } from "node:os"
import { join } from "node:path"
import { inspect } from "node:util"
import { certificates } from "./certificates.ts"
import { fetchText, makePool, start } from "./httpPool.ts"
import { get } from "./http1.ts"
import { leakOracle } from "./leakOracle.ts"

const oracle = leakOracle()

const { ca, client } = certificates

const hasIPv6 = Object.values(networkInterfaces()).some((addresses) =>
  addresses?.some(({ address }) => address === "::1")
)

describe("HttpPool", () => {
  describe("origins that differ in anything", () => {
    it.live("never share a connection, and the same one is shared", () =>
      Effect.gen(function* () {
        const server = yield* start(oracle, { kind: "both", tls: { requestCert: true, rejectUnauthorized: false } })
        const url = String(server.origin)
        const checkServerIdentity = () => undefined
        const variants: ReadonlyArray<Omit<Origin.OriginOptions, "url">> = [
          {},
          { address: `localhost:${server.port}` },
          { localAddress: "127.0.0.2" },
          { tenant: "a" },
          { tenant: "b" },
          { tls: { servername: "localhost" } },
          { tls: { servername: "127.0.0.1" } },
          { tls: { ca: [ca, ca] } },
          { tls: { cert: client.cert, key: client.key } },
          { tls: { cert: [client.cert], key: [{ pem: client.key, passphrase: "p" }] } },
          { tls: { passphrase: "p" } },
          { tls: { rejectUnauthorized: true } },
          { tls: { rejectUnauthorized: false } },
          { tls: { checkServerIdentity } },
          { tls: { checkServerIdentity: () => undefined } },
          { tls: { alpn: ["h2"] } },
          { tls: { alpn: ["http/1.1"] } },
          { tls: { alpn: ["http/1.1", "h2"] } },
          { tls: { minVersion: "TLSv1.3" } },
          { tls: { maxVersion: "TLSv1.2" } },
          { tls: { ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256", maxVersion: "TLSv1.2" } }
        ]
        const pool = yield* makePool(oracle)
        for (let round = 0; round < 2; round++) {
          for (const [i, variant] of variants.entries()) {
            const origin = Origin.make({ url, ...variant })
            assert.include(yield* fetchText(pool, origin), ` /`)
            assert.strictEqual(server.accepted(), round === 0 ? i + 1 : variants.length, inspect(variant))
          }
        }
        assert.lengthOf(yield* pool.keys, variants.length)
      })
    )

    it.live("are told apart by the server: own name, own certificate, own address, no resumed session", () =>
      Effect.gen(function* () {
        const server = yield* start(oracle, { kind: "both", tls: { requestCert: true, ca, rejectUnauthorized: false } })
        const url = `https://localhost:${server.port}`
        const address = `127.0.0.1:${server.port}`
        const pool = yield* makePool(oracle)
        const check = () => undefined
        const origins = [
          Origin.make({ url, address }),
          Origin.make({ url, address, localAddress: "127.0.0.3" }),
          Origin.make({ url, address, tls: { cert: client.cert, key: client.key } }),
          Origin.make({ url, address, tls: { servername: "other.test", checkServerIdentity: check } })
        ]
        for (const origin of origins) yield* fetchText(pool, origin)
        yield* pool.retain(() => false)
        // Once more, when there are sessions that could be resumed.
        for (const origin of origins) yield* fetchText(pool, origin)
        const own = { alpn: "h2", name: "localhost", from: "127.0.0.1", certificate: "undefined", resumed: false }
        const expected = [
          own,
          { ...own, from: "127.0.0.3" },
          { ...own, certificate: "client.test" },
          { ...own, name: "other.test" }
        ]
        assert.deepStrictEqual(server.handshakes, [...expected, ...expected])
      })
    )

    it.live("have connections of their own though one certificate covers them all", () =>
      Effect.gen(function* () {
        const server = yield* start(oracle, { kind: "h2" })
        const pool = yield* makePool(oracle)
        for (const host of ["localhost", "127.0.0.1"]) {
          assert.strictEqual(yield* fetchText(pool, Origin.make(`https://${host}:${server.port}`)), "2.0 /")
        }
        assert.strictEqual(server.accepted(), 2)
      })
    )

    it.live("verify a server again for every connection", () =>
      Effect.gen(function* () {
        const server = yield* start(oracle, { kind: "both" })
        let trusted = true
        const checkServerIdentity = () => (trusted ? undefined : new Error("no longer"))
        const origin = Origin.make({ url: String(server.origin), tls: { checkServerIdentity } })
        const pool = yield* makePool(oracle)
        yield* fetchText(pool, origin)
        trusted = false
        yield* fetchText(pool, origin)
        yield* pool.retain(() => false)
        assert.strictEqual((yield* Effect.flip(fetchText(pool, origin)))._tag, "SocketError")
      })
    )

    it.live("verify the name that they ask for, wherever they connect to", () =>
      Effect.gen(function* () {
        const server = yield* start(oracle, { kind: "https", tls: certificates.otherName })
        const pool = yield* makePool(oracle)
        const address = `127.0.0.1:${server.port}`
        assert.strictEqual(yield* fetchText(pool, Origin.make({ url: "https://EXAMPLE.test.", address })), "1.1 /")
        const tls = { servername: "example.test" }
        assert.strictEqual(yield* fetchText(pool, Origin.make({ url: "https://a.test", address, tls })), "1.1 /")
        for (const wrong of ["https://a.test", "https://example.test.a", String(server.origin)]) {
          const error = yield* Effect.flip(fetchText(pool, Origin.make({ url: wrong, address })))
          assert.strictEqual(error._tag === "SocketError" && error.reason._tag, "Tls")
        }
      })
    )

    it.live.skipIf(!hasIPv6)("may be IPv6 addresses (skipped where this machine has none)", () =>
      Effect.gen(function* () {
        const hosts: Array<string | undefined> = []
        const handler = (request: IncomingMessage, response: ServerResponse) => {
          hosts.push(request.headers.host)
          response.end()
        }
        const { port } = yield* start(oracle, { kind: "http", host: "::1", handler })
        const pool = yield* makePool(oracle)
        yield* fetchText(pool, Origin.make(`http://[0::1]:${port}`))
        yield* fetchText(pool, Origin.make({ url: "http://a.test", address: `[::1]:${port}`, localAddress: "::1" }))
        assert.deepStrictEqual(hosts, [`[::1]:${port}`, "a.test"])
      })
    )

    it.live("reach a Unix socket under the name of the URL", () =>
      Effect.gen(function* () {
        const socketPath = join(mkdtempSync(join(tmpdir(), "poolkit-")), "socket")
        const hosts: Array<string | undefined> = []
        yield* start(oracle, {
          kind: "http",
          path: socketPath,
          handler: (request, response) => {
            hosts.push(request.headers.host)
            response.end()
          }
        })
        const pool = yield* makePool(oracle)
        yield* fetchText(pool, Origin.make({ url: "http://a.test", socketPath }))
        yield* fetchText(pool, Origin.make({ url: "http://b.test:81", socketPath }))
        assert.deepStrictEqual(hosts, ["a.test", "b.test:81"])
      })
    )
  })

  describe("secrets of an origin", () => {
    const secret = "hunter2"
    /** All that could hold one, where a connection still comes about. (Handshakes tell everybody the rest.) */
    const usable = (url: string) =>
      Origin.make({
        url,
        tenant: `tenant-${secret}`,
        tls: {
          checkServerIdentity: () => undefined,
          ca: `${ca}\n# ${secret}`,
          cert: `# ${secret}\n${client.cert}`,
          key: `# ${secret}\n${client.key}`,
          passphrase: `passphrase-${secret}`
        }
      })
    /** And where it does not. */
    const broken = (url: string): ReadonlyArray<Origin.Origin> => [
      Origin.make({ url, tenant: secret, tls: { ca: secret } }),
      Origin.make({ url, tls: { ca: `-----BEGIN CERTIFICATE-----\n${secret}\n-----END CERTIFICATE-----` } }),
      Origin.make({ url, tls: { cert: secret, key: secret, passphrase: secret } }),
      Origin.make({ url, tls: { pfx: secret, passphrase: secret } }),
      Origin.make({ url, tls: { pfx: [{ buf: Buffer.from(secret), passphrase: secret }] } }),
      Origin.make({ url, tls: { key: [{ pem: secret, passphrase: secret }] } }),
      Origin.make({ url, tls: { ciphers: secret } })
    ]

    it.live("are in no error, event, stat, metric, key or log", () =>
      Effect.gen(function* () {
        const logs: Array<unknown> = []
        const outputs: Array<unknown> = [logs]
        const logger = Logger.make((options) => void logs.push({ ...options, fiber: undefined }))
        const server = yield* start(oracle, { kind: "both", tls: { requestCert: true, rejectUnauthorized: false } })
        const run = Effect.gen(function* () {
          const pool = yield* makePool(oracle, { leakWarning: 1, backoff: undefined, maxPending: 1, maxKeys: 9 })
          yield* PoolMetrics.observe(pool, { name: "secrets" })
          const keep = (...event: ReadonlyArray<unknown>) => void outputs.push(event)
          yield* pool.observe({
            connecting: keep,
            connected: keep,
            connectFailed: keep,
            borrowed: keep,
            returned: keep,
            evicted: keep,
            closed: keep,
            waitStarted: keep,
            waitEnded: keep,
            keyAdded: keep,
            keyRemoved: keep
          })
          const origin = usable(String(server.origin))
          assert.strictEqual(yield* fetchText(pool, origin), "2.0 /")
          yield* pool.use(origin, (connection, lease) => {
            outputs.push([connection, lease])
            return Effect.sleep(20)
          })
          assert.isTrue(logs.length > 0, "a leak warning")
          for (const alpn of ["h2", "http/1.1"]) {
            const { tls } = Origin.reveal(origin)
            const one = Origin.make({ ...Origin.reveal(origin), tls: { ...tls, alpn: [alpn] } })
            const response = yield* HttpRequest.execute(pool, one, get())
            outputs.push(response)
            outputs.push(yield* Effect.flip(HttpRequest.execute(pool, one, { method: "GET", path: "/\n" })))
            assert.include(yield* response.text, " /")
          }
          const exits = yield* Effect.forEach(broken(String(server.origin)), (origin) =>
            Effect.exit(fetchText(pool, origin))
          )
          for (const exit of exits) assert.isTrue(Exit.isFailure(exit))
          outputs.push(exits, yield* pool.stats, yield* pool.statsOf(origin), yield* pool.keys)
          outputs.push(yield* Metric.snapshot)
          yield* Effect.logInfo(pool, yield* pool.keys, origin)
          // With the name of the connection's own, so that the lookup fails.
          const nowhere = Origin.make({ ...Origin.reveal(origin), url: "https://nowhere.invalid" })
          outputs.push(yield* Effect.exit(fetchText(pool, nowhere)))
          yield* pool.drain()
          outputs.push(yield* Effect.exit(fetchText(pool, origin)))
        })
        yield* Effect.scoped(run).pipe(Effect.provide(Logger.layer([logger])))

        assert.isAtLeast(outputs.length, 40)
        for (const output of outputs) {
          const exit = output as Exit.Exit<unknown, unknown>
          const shown = [
            inspect(output, { depth: Infinity, showHidden: true, getters: true }),
            inspect(output, { depth: Infinity, customInspect: false }),
            JSON.stringify(output, (_, value: unknown) => (value instanceof Map ? [...value] : value)),
            Exit.isExit(exit) && Exit.isFailure(exit) ? Cause.pretty(exit.cause) : ""
          ]
          for (const text of shown) assert.notInclude(text ?? "", secret)
        }
        assert.include(inspect(outputs, { depth: 8 }), String(server.origin))
      })
    )
  })
})
