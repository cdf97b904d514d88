import { assert, describe, it } from "@effect/vitest"
import { HttpError } from "@poolkit/http/HttpError"
import * as PooledHttpClient from "@poolkit/http/PooledHttpClient"
import * as Effect from "effect/Effect"
import { HttpBody, HttpClient, HttpClientRequest } from "effect/http"
import * as Stream from "effect/Stream"
import type * as Net from "node:net"
import { leakOracle } from "./leakOracle.ts"
import { once, rawServer } from "./servers.ts"

const oracle = leakOracle()

const headersTimeout = 30

const ask = (port: number, body: HttpBody.HttpBody = HttpBody.empty) =>
  HttpClient.execute(HttpClientRequest.upgrade(HttpClientRequest.post(`http://127.0.0.1:${port}`, { body }), "shout"))

describe("PooledHttpClient", () => {
  describe("upgrade", () => {
    it.live("gives up on a server that does not answer, after headersTimeout", () =>
      Effect.gen(function* () {
        const peers: Array<Net.Socket> = []
        const server = yield* rawServer(oracle, (socket) => peers.push(socket.resume()))
        const { reason } = yield* Effect.flip(ask(server.port))
        assert.strictEqual(reason._tag, "TransportError")
        assert(reason.cause instanceof HttpError)
        assert.deepInclude(reason.cause.reason, { _tag: "ResponseTimeout", phase: "headers" })
        if (!peers[0]!.destroyed) yield* once(peers[0]!, "close")
      }).pipe(Effect.provide(PooledHttpClient.layer({ http1: { headersTimeout } })))
    )

    it.live("does not count the time in which the caller produces the body, nor that after the answer", () =>
      Effect.gen(function* () {
        const server = yield* rawServer(oracle, (socket) => {
          socket.on("data", (chunk) => {
            if (!chunk.toString().endsWith("0\r\n\r\n")) return
            socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n")
            setTimeout(() => socket.end("ok"), 3 * headersTimeout)
          })
        })
        const slowly = Stream.fromEffect(Effect.delay(Effect.succeed(new Uint8Array(1)), 3 * headersTimeout))
        const response = yield* ask(server.port, HttpBody.stream(slowly))
        assert.strictEqual(yield* response.text, "ok")
      }).pipe(Effect.provide(PooledHttpClient.layer({ http1: { headersTimeout } })))
    )
  })
})
