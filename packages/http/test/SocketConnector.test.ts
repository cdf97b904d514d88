import { assert, describe, it } from "@effect/vitest"
import * as SocketConnector from "@poolkit/http/SocketConnector"
import type { SocketError } from "@poolkit/http/SocketError"
import type { Connector } from "@poolkit/pool/Connector"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as AddressResolver from "effect/net/AddressResolver"
import * as Dns from "effect/net/Dns"
import * as NetAddress from "effect/net/NetAddress"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { mkdtempSync } from "node:fs"
import * as Net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { inspect } from "node:util"
import { certificates } from "./certificates.ts"
import { blackhole } from "./blackhole.ts"
import { leakOracle } from "./leakOracle.ts"
import { nextTurn, once, rawServer, tlsServer } from "./servers.ts"

const oracle = leakOracle()

const host = "127.0.0.1"

const failureOf = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.flip(Effect.scoped(effect))

/** A port that nobody listens on: it was free a moment ago. */
const closedPort = Effect.callback<number>((resume) => {
  const server = Net.createServer().listen(0, host, () => {
    const { port } = server.address() as Net.AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

const loopback = NetAddress.ipFromStringUnsafe(host)

const tlsTo = (port: number, options: SocketConnector.TlsOptions, name = "localhost") =>
  SocketConnector.tls(SocketConnector.tcp({ host: name, port }), options)

const neverDns = Dns.make({ lookup: () => Effect.never })

describe("SocketConnector", () => {
  describe("tcp", () => {
    it.live("opens a connection that closes with its scope", () =>
      Effect.gen(function* () {
        const server = yield* rawServer(oracle, (socket) => socket.resume())
        const scope = yield* Scope.make()
        const socket = yield* Scope.provide(SocketConnector.tcp({ host, port: server.port })(), scope)
        assert.strictEqual(socket.readyState, "open")
        assert.strictEqual(socket.remotePort, server.port)
        yield* Scope.close(scope, Exit.void)
        assert.isTrue(socket.destroyed)
      })
    )

    it.live("connects to a Unix socket", () =>
      Effect.gen(function* () {
        const path = join(mkdtempSync(join(tmpdir(), "poolkit-")), "socket")
        const server = Net.createServer((socket) => socket.resume())
        oracle.server(server)
        yield* Effect.callback<void>((resume) => void server.listen(path, () => resume(Effect.void)))
        const socket = yield* SocketConnector.tcp({ path })()
        assert.strictEqual(socket.readyState, "open")
      })
    )

    it.live("looks names up with the operating system where no service is given", () =>
      Effect.gen(function* () {
        const server = yield* rawServer(oracle, (socket) => socket.resume())
        const socket = yield* SocketConnector.tcp({ host: "localhost", port: server.port })()
        assert.strictEqual(socket.remotePort, server.port)
      })
    )

    it.live("tries all addresses that the Dns service gives", () =>
      Effect.gen(function* () {
        const server = yield* rawServer(oracle, (socket) => socket.resume())
        // Nothing listens on the first two.
        const layer = Dns.layerStatic({ hosts: { "db.internal": ["127.0.0.9", "::1", "127.0.0.1"] } })
        const socket = yield* Effect.provide(SocketConnector.tcp({ host: "db.internal", port: server.port })(), layer)
        assert.strictEqual(socket.remoteAddress, "127.0.0.1")
      })
    )

    it.live("prefers the AddressResolver service", () =>
      Effect.gen(function* () {
        const server = yield* rawServer(oracle, (socket) => socket.resume())
        const found = Effect.runSync(Effect.fromResult(Dns.makeStatic({ hosts: { "db.internal": ["127.0.0.1"] } })))
        const socket = yield* SocketConnector.tcp({ host: "db.internal", port: server.port })().pipe(
          Effect.provideService(AddressResolver.AddressResolver, AddressResolver.make(found)),
          Effect.provideService(Dns.Dns, neverDns)
        )
        assert.strictEqual(socket.readyState, "open")
      })
    )

    it.live("connects from localAddress", () =>
      Effect.gen(function* () {
        const from = yield* Deferred.make<string | undefined>()
        const server = yield* rawServer(oracle, (socket) => {
          socket.resume()
          Deferred.doneUnsafe(from, Exit.succeed(socket.remoteAddress))
        })
        yield* SocketConnector.tcp({ host, port: server.port, localAddress: "127.0.0.7" })()
        assert.strictEqual(yield* Deferred.await(from), "127.0.0.7")
      })
    )

    it.live("survives a reset after it has connected", () =>
      Effect.gen(function* () {
        const server = yield* rawServer(oracle, (socket) => void setImmediate(() => socket.resetAndDestroy()))
        const socket = yield* SocketConnector.tcp({ host, port: server.port })()
        yield* once(socket, "close")
        assert.strictEqual((socket.errored as NodeJS.ErrnoException | null)?.code, "ECONNRESET")
      })
    )

    it.live("leaves nothing on the socket that waits for it to connect", () =>
      Effect.gen(function* () {
        const server = yield* rawServer(oracle, (socket) => socket.resume())
        const socket = yield* SocketConnector.tcp({ host, port: server.port })()
        const left = ["connect", "close", "error"].map((event) => socket.listenerCount(event))
        // The one that keeps a reset from ending the process.
        assert.deepStrictEqual(left, [0, 0, 1])
      })
    )

    it.live("says who refused", () =>
      Effect.gen(function* () {
        const port = yield* closedPort
        const error = yield* failureOf(SocketConnector.tcp({ host, port })())
        assert.strictEqual(error.reason._tag, "Refused")
        assert.strictEqual(
          error.message,
          `127.0.0.1:${port}: the connection was refused (ECONNREFUSED); check that the server runs and listens there`
        )
      })
    )

    it.live("fails with Dns where a name has no address", () =>
      Effect.gen(function* () {
        const connect = SocketConnector.tcp({ host: "nobody.internal", port: 1 })()
        const error = yield* Effect.provide(failureOf(connect), Dns.layerStatic({}))
        assert.strictEqual(
          (error as SocketError).message,
          "nobody.internal:1: the host name was not resolved (NotFound); check its spelling and the DNS server"
        )
      })
    )

    it.live("fails with Dns where a resolver finds nothing", () =>
      Effect.gen(function* () {
        const empty = { resolve: () => Effect.succeed([]) } as unknown as AddressResolver.AddressResolver["Service"]
        const error = yield* failureOf(SocketConnector.tcp({ host: "db.internal", port: 1 })()).pipe(
          Effect.provideService(AddressResolver.AddressResolver, empty)
        )
        assert.deepInclude(error.reason, { _tag: "Dns", code: "ENODATA" })
      })
    )

    it.live("turns what Node rejects at once into an error", () =>
      Effect.gen(function* () {
        const error = yield* failureOf(SocketConnector.tcp({ host, port: 70_000 })())
        assert.strictEqual(error.reason._tag, "Other")
        assert.include(error.message, "ERR_SOCKET_BAD_PORT")
      })
    )

    it("rejects a bad connectTimeout by name", () => {
      assert.throws(
        () => SocketConnector.tcp({ host, port: 1, connectTimeout: -1 }),
        "SocketConnector: connectTimeout must be a duration longer than zero, got -1"
      )
    })
  })

  describe("connectTimeout", () => {
    it.effect("covers the lookup, 10 seconds by default", () =>
      Effect.gen(function* () {
        const fiber = yield* failureOf(SocketConnector.tcp({ host: "db.internal", port: 1 })()).pipe(
          Effect.provideService(Dns.Dns, neverDns),
          Effect.forkChild
        )
        yield* TestClock.adjust(9_999)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        const error = yield* Fiber.join(fiber)
        assert.strictEqual(
          error.message,
          "db.internal:1: not connected after 10s (phase: dns); check the DNS server, or raise connectTimeout"
        )
      })
    )

    it.live("ends an attempt that nobody answers", () =>
      Effect.gen(function* () {
        const hole = yield* blackhole
        const error = yield* failureOf(SocketConnector.tcp({ host, port: hole.port, connectTimeout: 100 })())
        assert.deepInclude(error.reason, { _tag: "Timeout", phase: "connect" })
      }).pipe(Effect.scoped)
    )

    it.effect("is one deadline for a server that accepts and never speaks TLS", () =>
      Effect.gen(function* () {
        const accepted = yield* Deferred.make<void>()
        const server = yield* rawServer(oracle, (socket) => {
          socket.resume()
          socket.once("data", () => Deferred.doneUnsafe(accepted, Exit.void))
        })
        const slowDns = Dns.make({
          lookup: () => Effect.delay(Effect.succeed([loopback]), 4_000)
        })
        const fiber = yield* failureOf(
          SocketConnector.tls(SocketConnector.tcp({ host: "db.internal", port: server.port }))()
        ).pipe(Effect.provideService(Dns.Dns, slowDns), Effect.forkChild)
        yield* TestClock.adjust(4_000)
        yield* Deferred.await(accepted)
        yield* TestClock.adjust(5_999)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.deepInclude((yield* Fiber.join(fiber)).reason, { _tag: "Timeout", phase: "tls" })
      })
    )

    it.effect("of the outer stage says what the inner one was doing", () =>
      Effect.gen(function* () {
        const fiber = yield* failureOf(tlsTo(1, {}, "db.internal")()).pipe(
          Effect.provideService(Dns.Dns, neverDns),
          Effect.forkChild
        )
        yield* TestClock.adjust(10_000)
        const error = yield* Fiber.join(fiber)
        assert.isTrue(error.message.startsWith("db.internal:1: not connected after 10s (phase: dns)"))
      })
    )

    it.effect("of the outer stage replaces the default of the inner one", () =>
      Effect.gen(function* () {
        const fiber = yield* failureOf(tlsTo(1, { connectTimeout: "20 seconds" }, "db.internal")()).pipe(
          Effect.provideService(Dns.Dns, neverDns),
          Effect.forkChild
        )
        yield* TestClock.adjust(19_999)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual((yield* Fiber.join(fiber)).reason._tag, "Timeout")
      })
    )

    it.effect("of a stage underneath holds too", () =>
      Effect.gen(function* () {
        const tcp = SocketConnector.tcp({ host: "db.internal", port: 1, connectTimeout: 50 })
        const fiber = yield* failureOf(SocketConnector.tls(tcp)()).pipe(
          Effect.provideService(Dns.Dns, neverDns),
          Effect.forkChild
        )
        yield* TestClock.adjust(49)
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.deepInclude((yield* Fiber.join(fiber)).reason, { _tag: "Timeout", phase: "dns" })
      })
    )
  })

  describe("interruption", () => {
    it.live("returns at once where nobody answers", () =>
      Effect.gen(function* () {
        const hole = yield* blackhole
        const fiber = yield* Effect.forkChild(Effect.scoped(SocketConnector.tcp({ host, port: hole.port })()))
        yield* Effect.sleep(20)
        assert.isUndefined(fiber.pollUnsafe())
        const started = performance.now()
        yield* Fiber.interrupt(fiber)
        assert.isBelow(performance.now() - started, 50)
      }).pipe(Effect.scoped)
    )

    it.live("returns at once during a lookup", () =>
      Effect.gen(function* () {
        const fiber = yield* Effect.forkChild(
          Effect.provideService(
            Effect.scoped(SocketConnector.tcp({ host: "db.internal", port: 1 })()),
            Dns.Dns,
            neverDns
          )
        )
        yield* Effect.yieldNow
        const started = performance.now()
        yield* Fiber.interrupt(fiber)
        assert.isBelow(performance.now() - started, 50)
      })
    )

    it.live("returns at once during a handshake", () =>
      Effect.gen(function* () {
        const accepted = yield* Deferred.make<void>()
        const server = yield* rawServer(oracle, (socket) => {
          socket.once("data", () => Deferred.doneUnsafe(accepted, Exit.void))
        })
        const connect = SocketConnector.tls(SocketConnector.tcp({ host, port: server.port }))
        const fiber = yield* Effect.forkChild(Effect.scoped(connect()))
        yield* Deferred.await(accepted)
        const started = performance.now()
        yield* Fiber.interrupt(fiber)
        assert.isBelow(performance.now() - started, 50)
      })
    )

    const budgets = [3, 4, 5, 7, 11, 64]
    // A name, so that the sweep crosses the lookup and the choice among addresses as well.
    const names = Dns.layerStatic({ hosts: { localhost: ["::1", "127.0.0.1"] } })

    it.live("at any instant leaves nothing behind in its scope", () =>
      Effect.gen(function* () {
        const server = yield* tlsServer(oracle, certificates.server, (socket) => socket.resume())
        const connect = Effect.provide(tlsTo(server.port, { ca: certificates.ca })(), names)
        let finished = 0
        for (const budget of budgets) {
          for (let turns = 0; turns < 40; turns++) {
            const fiber = yield* Effect.scoped(connect).pipe(
              Effect.provideService(Scheduler.MaxOpsBeforeYield, budget),
              Effect.forkChild
            )
            for (let turn = 0; turn < turns; turn++) yield* nextTurn
            yield* Fiber.interrupt(fiber)
            if (Exit.isSuccess(yield* Fiber.await(fiber))) finished++
          }
        }
        yield* oracle.clientsClosed
        // The sweep reached from before the lookup to after the handshake.
        assert.isAbove(finished, 0)
        assert.isBelow(finished, 40 * budgets.length)
      })
    )

    it.live("before it is ready closes the socket at once, though its scope stays open", () =>
      Effect.gen(function* () {
        const silent = yield* rawServer(oracle, (socket) => socket.resume())
        const connect = Effect.provide(tlsTo(silent.port, { ca: certificates.ca })(), names)
        const scope = yield* Scope.make()
        for (const budget of budgets) {
          for (let turns = 0; turns < 14; turns++) {
            const fiber = yield* Scope.provide(connect, scope).pipe(
              Effect.provideService(Scheduler.MaxOpsBeforeYield, budget),
              Effect.forkChild
            )
            for (let turn = 0; turn < turns; turn++) yield* nextTurn
            yield* Fiber.interrupt(fiber)
          }
        }
        yield* oracle.clientsClosed
        assert.isAbove(silent.accepted(), 0)
        yield* Scope.close(scope, Exit.void)
      })
    )
  })

  describe("tls", () => {
    it.live("tells the protocol that was agreed", () =>
      Effect.gen(function* () {
        const table = [
          { offered: ["h2", "http/1.1"], served: ["h2", "http/1.1"], agreed: "h2" },
          { offered: ["h2", "http/1.1"], served: ["http/1.1"], agreed: "http/1.1" },
          { offered: ["h2", "http/1.1"], served: undefined, agreed: false },
          { offered: undefined, served: ["h2"], agreed: false }
        ]
        for (const { agreed, offered, served } of table) {
          const identity = { ...certificates.server, ...(served !== undefined && { ALPNProtocols: served }) }
          const server = yield* tlsServer(oracle, identity, (socket) => socket.resume())
          const connect = SocketConnector.tls(SocketConnector.tcp({ host: "localhost", port: server.port }), {
            ca: certificates.ca,
            alpn: offered
          })
          const protocol = yield* Effect.scoped(Effect.map(connect(), (socket) => socket.alpnProtocol))
          assert.strictEqual(protocol, agreed)
        }
      })
    )

    it.live("verifies addresses too", () =>
      Effect.gen(function* () {
        const server = yield* tlsServer(oracle, certificates.address, (socket) => socket.resume())
        assert.isTrue((yield* tlsTo(server.port, { ca: certificates.ca }, host)()).authorized)
        const other = yield* tlsServer(oracle, certificates.otherName, (socket) => socket.resume())
        const error = yield* failureOf(tlsTo(other.port, { ca: certificates.ca }, host)())
        assert.deepInclude(error.reason, { _tag: "Tls", code: "ERR_TLS_CERT_ALTNAME_INVALID" })
      })
    )

    it.live("refuses certificates that it should not trust", () =>
      Effect.gen(function* () {
        const { ca, expired, otherName, unknownCa } = certificates
        const table = [
          { identity: unknownCa, code: "DEPTH_ZERO_SELF_SIGNED_CERT", advice: "pass it as ca" },
          { identity: otherName, code: "ERR_TLS_CERT_ALTNAME_INVALID", advice: "check the host name and servername" },
          { identity: expired, code: "CERT_HAS_EXPIRED", advice: "check the dates" }
        ]
        for (const { advice, code, identity } of table) {
          const server = yield* tlsServer(oracle, identity, (socket) => socket.resume())
          const error = yield* failureOf(tlsTo(server.port, { ca })())
          assert.deepInclude(error.reason, { _tag: "Tls", code })
          assert.isTrue(error.message.startsWith(`localhost:${server.port}: the TLS handshake failed (${code})`))
          assert.include(error.message, advice)
          assert.notInclude(error.message, "\n")
        }
      })
    )

    it.live("trusts anybody where rejectUnauthorized is false", () =>
      Effect.gen(function* () {
        const server = yield* tlsServer(oracle, certificates.unknownCa, (socket) => socket.resume())
        const socket = yield* tlsTo(server.port, { rejectUnauthorized: false })()
        assert.isFalse(socket.authorized)
      })
    )

    it.live("asks for servername and verifies it", () =>
      Effect.gen(function* () {
        const asked = yield* Deferred.make<string | false | null>()
        const server = yield* tlsServer(oracle, certificates.otherName, (socket) => {
          socket.resume()
          Deferred.doneUnsafe(asked, Exit.succeed(socket.servername))
        })
        yield* tlsTo(server.port, { ca: certificates.ca, servername: "example.test" })()
        assert.strictEqual(yield* Deferred.await(asked), "example.test")
      })
    )

    it.live("calls checkServerIdentity, whose error ends the attempt", () =>
      Effect.gen(function* () {
        const server = yield* tlsServer(oracle, certificates.server, (socket) => socket.resume())
        const calls: Array<string> = []
        const checkServerIdentity = (name: string) => {
          calls.push(name)
          return Object.assign(new Error("not pinned"), { code: "NOT_PINNED" })
        }
        const error = yield* failureOf(tlsTo(server.port, { ca: certificates.ca, checkServerIdentity })())
        assert.deepStrictEqual(calls, ["localhost"])
        assert.deepInclude(error.reason, { _tag: "Tls", code: "NOT_PINNED" })
      })
    )

    it.live("presents a client certificate", () =>
      Effect.gen(function* () {
        const options = { ...certificates.server, ca: certificates.ca, requestCert: true, rejectUnauthorized: true }
        const peer = yield* Deferred.make<string | undefined>()
        const server = yield* tlsServer(oracle, options, (socket) => {
          socket.resume()
          Deferred.doneUnsafe(peer, Exit.succeed(socket.getPeerCertificate().subjectaltname))
        })
        yield* tlsTo(server.port, { ca: certificates.ca, ...certificates.client })()
        assert.strictEqual(yield* Deferred.await(peer), "DNS:client.test")
      })
    )

    it.live("fails where no protocol version is common", () =>
      Effect.gen(function* () {
        const options = { ...certificates.server, maxVersion: "TLSv1.2" as const }
        const server = yield* tlsServer(oracle, options, (socket) => socket.resume())
        const error = yield* failureOf(tlsTo(server.port, { ca: certificates.ca, minVersion: "TLSv1.3" })())
        assert.strictEqual(error.reason._tag, "Tls")
      })
    )

    it.live("says when the peer hangs up during the handshake", () =>
      Effect.gen(function* () {
        for (const hangUp of ["end", "resetAndDestroy"] as const) {
          const server = yield* rawServer(oracle, (socket) => void socket.once("data", () => socket[hangUp]()))
          const error = yield* failureOf(tlsTo(server.port, { ca: certificates.ca })())
          assert.deepInclude(error.reason, { _tag: "Reset", phase: "tls" })
        }
      })
    )

    it.live("fails when its socket is destroyed from this side", () =>
      Effect.gen(function* () {
        const raw = yield* Deferred.make<Net.Socket>()
        const server = yield* rawServer(oracle, (socket) => {
          socket.once("data", () => Effect.runFork(Effect.map(Deferred.await(raw), (socket) => socket.destroy())))
        })
        const tcp = SocketConnector.tcp({ host: "localhost", port: server.port })
        const tapped: typeof tcp = () => Effect.tap(tcp(), (socket) => Deferred.succeed(raw, socket))
        const error = yield* failureOf(SocketConnector.tls(tapped)())
        assert.deepInclude(error.reason, { _tag: "Reset", phase: "tls" })
      })
    )

    it.live("fails on a port that does not speak TLS", () =>
      Effect.gen(function* () {
        const server = yield* rawServer(oracle, (socket) => {
          socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"))
        })
        const error = yield* failureOf(tlsTo(server.port, { ca: certificates.ca })())
        assert.strictEqual(error.reason._tag, "Tls")
      })
    )

    it.live("needs a name to verify for sockets of other connectors", () =>
      Effect.gen(function* () {
        const server = yield* rawServer(oracle, (socket) => socket.resume())
        const other: Connector<void, Net.Socket, never, Scope.Scope> = () =>
          Effect.acquireRelease(
            Effect.sync(() => Net.connect(server.port, host)),
            (socket) => Effect.sync(() => socket.destroy())
          )
        const error = yield* failureOf(SocketConnector.tls(other)())
        assert.deepInclude(error.reason, { _tag: "Tls", code: "NO_SERVERNAME" })
      })
    )

    it.live("keeps keys and passphrases out of its errors", () =>
      Effect.gen(function* () {
        const server = yield* tlsServer(oracle, certificates.server, (socket) => socket.resume())
        const secrets = {
          key: certificates.client.key.replace("A", "B"),
          passphrase: "hunter2",
          cert: "no certificate"
        }
        const error = yield* failureOf(tlsTo(server.port, { ca: certificates.ca, ...secrets })())
        const shown = inspect(error, { depth: Infinity }) + JSON.stringify(error) + error.message
        assert.notInclude(shown, "hunter2")
        assert.notInclude(shown, secrets.key.split("\n")[1]!)
      })
    )

    it.live("keeps keys and passphrases out of the sockets that it opens", () =>
      Effect.gen(function* () {
        const server = yield* tlsServer(oracle, certificates.server, (socket) => socket.resume())
        const options = { ...certificates.client, ca: certificates.ca, passphrase: "hunter2" }
        const socket = yield* tlsTo(server.port, options)()
        const shown = inspect(socket, { depth: Infinity, showHidden: true, maxStringLength: Infinity })
        for (const secret of ["hunter2", "PRIVATE KEY", "BEGIN CERTIFICATE"]) assert.notInclude(shown, secret)
      })
    )

    it.live("takes undefined for an option that is not given", () =>
      Effect.gen(function* () {
        const server = yield* tlsServer(oracle, certificates.otherName, (socket) => socket.resume())
        const none = {
          rejectUnauthorized: undefined,
          checkServerIdentity: undefined,
          servername: undefined,
          alpn: undefined
        }
        const error = yield* failureOf(tlsTo(server.port, { ca: certificates.ca, ...none })())
        assert.deepInclude(error.reason, { _tag: "Tls", code: "ERR_TLS_CERT_ALTNAME_INVALID" })
      })
    )

    it.live("survives a peer that breaks the protocol after the handshake", () =>
      Effect.gen(function* () {
        const raw: Array<Net.Socket> = []
        const server = yield* tlsServer(oracle, certificates.server, (socket) => socket.resume())
        const tcp = SocketConnector.tcp({ host: "localhost", port: server.port })
        const tapped: typeof tcp = () => Effect.tap(tcp(), (socket) => Effect.sync(() => raw.push(socket)))
        const socket = yield* SocketConnector.tls(tapped, { ca: certificates.ca })()
        // What a wrong record from the server does to the client.
        raw[0]!.destroy(Object.assign(new Error("bad record"), { code: "ERR_SSL_WRONG_VERSION_NUMBER" }))
        yield* once(socket, "close")
      })
    )
  })
})
