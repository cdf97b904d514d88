import { assert, describe, it } from "@effect/vitest"
import { HttpError } from "@poolkit/http/HttpError"
import * as HttpPool from "@poolkit/http/HttpPool"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Origin from "@poolkit/http/Origin"
import * as SocketConnector from "@poolkit/http/SocketConnector"
import { SocketError } from "@poolkit/http/SocketError"
import * as Effect from "effect/Effect"
import { constants } from "node:crypto"
import { leakOracle } from "../leakOracle.ts"
import { bad, client, good, trusted } from "./badCertificates.ts"
import { fetch, get, http1Pool, post } from "./client.ts"
import { answer, ended, type Http1Scenario, renegotiate, type Script, until } from "./http1Script.ts"
import type { Http2Scenario } from "./http2Script.ts"
import { useFaultServer } from "./suite.ts"

const oracle = leakOracle()
const server = useFaultServer<Http1Scenario>("TLS, HTTP/1.1", "./http1Server.ts")
const server2 = useFaultServer<Http2Scenario>("TLS, HTTP/2", "./http2Server.ts")

const tls = { ca: trusted }

/** As TLS 1.3 knows no renegotiation. A session that is resumed by a ticket has no certificate. */
const legacy = { ...good, maxVersion: "TLSv1.2", secureOptions: constants.SSL_OP_NO_TICKET } as const

describe("Http1Pool over TLS", () => {
  for (const [name, { code, identity }] of Object.entries(bad)) {
    it.live(`refuses a certificate, says why and keeps nothing: ${name}`, () =>
      Effect.gen(function* () {
        const target = yield* server.listen({}, identity)
        const pool = yield* http1Pool(oracle, target, { tls })
        const error = yield* Effect.flip(fetch(pool, get("/secret")))
        if (!(error instanceof SocketError)) return assert.fail(String(error))
        assert.deepInclude(error.reason, { _tag: "Tls", code })
        assert.deepInclude(yield* pool.stats, { idle: 0, used: 0, connecting: 0, failed: 1 })
        yield* target.sync
        assert.strictEqual(target.count("request"), 0)
      })
    )
  }

  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    it.live(`fails where the server wants a client's certificate and gets none, over ${maxVersion}`, () =>
      Effect.gen(function* () {
        const demanding = { ...good, ca: trusted, requestCert: true, rejectUnauthorized: true, maxVersion }
        const target = yield* server.listen({}, demanding)
        const pool = yield* http1Pool(oracle, target, { tls })
        const error = yield* Effect.flip(fetch(pool, get("/secret")))
        // TLS 1.3 tells the client after its side of the handshake is done.
        if (error instanceof HttpError) assert.strictEqual(error.reason._tag, "ConnectionLost")
        else assert.instanceOf(error, SocketError)
        assert.deepInclude(yield* pool.stats, { idle: 0, used: 0 })
        yield* target.sync
        assert.strictEqual(target.count("request"), 0)
        const known = yield* http1Pool(oracle, target, { tls: { ...tls, ...client } })
        assert.strictEqual((yield* fetch(known, get("/secret"))).text, "/secret")
      })
    )
  }

  const renegotiations: Record<string, Script> = {
    "before the answer": [ended, renegotiate(), answer()],
    "while the connection is idle": [ended, answer(), until({ signal: "go" }), renegotiate()]
  }
  for (const [name, script] of Object.entries(renegotiations)) {
    it.live(`survives a renegotiation ${name}`, () =>
      Effect.gen(function* () {
        const target = yield* server.listen({ requests: { case: script } }, legacy)
        const pool = yield* http1Pool(oracle, target, { tls })
        assert.strictEqual((yield* fetch(pool, get("/case/1"))).text, "/case/1")
        target.signal("go")
        yield* target.until("done", 1)
        assert.strictEqual((yield* fetch(pool, get("/after"))).text, "/after")
        yield* target.sync
        assert.deepStrictEqual(
          target.facts("renegotiated").map(({ error }) => error),
          [undefined]
        )
        assert.strictEqual(target.count("open"), 1)
      })
    )
  }
})

describe("Http1Pool over TLS 1.2", () => {
  for (const [name, { code, identity }] of Object.entries(bad)) {
    it.live(`fails when the server shows another certificate in mid-connection: ${name}`, () =>
      Effect.gen(function* () {
        const script = {
          "before the answer": [ended, renegotiate(identity), answer()],
          idle: [ended, answer(), until({ signal: "go" }), renegotiate(identity)]
        }
        for (const [when, steps] of Object.entries(script)) {
          const target = yield* server.listen({ requests: { case: steps } }, legacy)
          const pool = yield* http1Pool(oracle, target, { tls })
          if (when === "idle") {
            yield* fetch(pool, get("/case/1"))
            target.signal("go")
          } else {
            const error = yield* Effect.flip(fetch(pool, post("/case/1")))
            if (!(error instanceof HttpError)) return assert.fail(String(error))
            assert.deepInclude(error.reason, { _tag: "ConnectionLost", code })
            assert.strictEqual(error.sent, "maybe")
          }
          yield* target.until("close", 1)
          assert.strictEqual((yield* fetch(pool, get("/after"))).text, "/after")
          assert.strictEqual(target.count("open"), 2)
        }
      })
    )
  }
})

describe("SocketConnector.tls", () => {
  const lists: ReadonlyArray<ReadonlyArray<string> | undefined> = [
    undefined,
    ["http/1.1"],
    ["h2"],
    ["h2", "http/1.1"],
    ["http/1.1", "h2"],
    ["other"]
  ]
  for (const offered of lists) {
    it.live(`agrees on the first protocol of the server that it offered: ${offered?.join(", ") ?? "none"}`, () =>
      Effect.gen(function* () {
        for (const spoken of lists) {
          const target = yield* server.listen(
            {},
            { ...good, ...(spoken !== undefined && { ALPNProtocols: [...spoken] }) }
          )
          const connect = SocketConnector.tls(SocketConnector.tcp({ host: "127.0.0.1", port: target.port }), {
            ...tls,
            alpn: offered
          })
          const result = yield* Effect.result(Effect.scoped(connect()))
          const chosen =
            offered === undefined || spoken === undefined ? false : spoken.find((each) => offered.includes(each))
          if (result._tag === "Success") assert.strictEqual(result.success.alpnProtocol, chosen)
          else {
            assert.isUndefined(chosen)
            assert.include(result.failure.message, "NO_APPLICATION_PROTOCOL")
          }
        }
      })
    )
  }
})

describe("HttpPool", () => {
  const spoken = ["http/1.1", "h2", "h2, http/1.1", "http/1.1, h2", "none"]
  for (const list of spoken) {
    it.live(`speaks what a server chose that speaks ${list}`, () =>
      Effect.gen(function* () {
        const alpn = list === "none" ? {} : { ALPNProtocols: list.split(", ") }
        const speaks = list.startsWith("h2") ? server2 : server
        const target = yield* speaks.listen({}, { ...good, ...alpn })
        const pool = oracle.pool(yield* HttpPool.make({ tls }))
        const origin = Origin.make(target.origin)
        for (const path of ["/1", "/2"]) {
          const response = HttpRequest.execute(pool, origin, get(path))
          assert.strictEqual(yield* Effect.scoped(Effect.flatMap(response, ({ text }) => text)), path)
        }
        yield* target.sync
        assert.strictEqual(target.count("open"), 1)
      })
    )
  }
})
