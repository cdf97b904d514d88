import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { HttpBody, HttpClient, HttpClientError, HttpClientRequest } from "effect/http"
import * as Stream from "effect/Stream"
import { createReadStream } from "node:fs"
import * as Net from "node:net"
import { Readable } from "node:stream"
import { inspect } from "node:util"
import { echo, forEachClient, say } from "./lab.ts"

/** The reason that a request fails with before there is a response. */
const failure = (request: HttpClientRequest.HttpClientRequest) =>
  Effect.map(Effect.flip(HttpClient.execute(request)), (error) => {
    assert.isTrue(HttpClientError.isHttpClientError(error))
    assert.strictEqual(error.request.url, request.url)
    assert.isUndefined(error.response)
    return error.reason
  })

const post = (url: string, body: HttpBody.HttpBody) => HttpClientRequest.setBody(HttpClientRequest.post(url), body)

/** A port where nobody listens. */
const deadPort = Effect.callback<number>((resume) => {
  const server = Net.createServer()
  server.listen(0, "127.0.0.1", () => {
    const { port } = server.address() as Net.AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

forEachClient("errors", ({ talk, talkRaw }) => {
  it.live("is a TransportError when the connection is refused", () =>
    talk(echo, () =>
      Effect.gen(function* () {
        const reason = yield* failure(HttpClientRequest.get(`http://127.0.0.1:${yield* deadPort}/`))
        assert.strictEqual(reason._tag, "TransportError")
        assert.isDefined(reason.cause)
      })
    )
  )

  it.live("is a TransportError when the name does not resolve", () =>
    talk(echo, () =>
      Effect.gen(function* () {
        const reason = yield* failure(HttpClientRequest.get("http://nobody.invalid/"))
        assert.strictEqual(reason._tag, "TransportError")
        assert.isDefined(reason.cause)
      })
    )
  )

  it.live("is an InvalidUrlError when the URL does not parse", () =>
    talk(echo, () =>
      Effect.gen(function* () {
        assert.strictEqual((yield* failure(HttpClientRequest.get("nonsense")))._tag, "InvalidUrlError")
        assert.strictEqual((yield* failure(HttpClientRequest.get("http://[::1")))._tag, "InvalidUrlError")
      })
    )
  )

  it.live("is a TransportError when the scheme is not one of HTTP", () =>
    talk(echo, () =>
      Effect.gen(function* () {
        for (const url of ["ftp://127.0.0.1/", "file:///etc/hostname", "ws://127.0.0.1/"]) {
          assert.strictEqual((yield* failure(HttpClientRequest.get(url)))._tag, "TransportError")
        }
      })
    )
  )

  it.live("is a TransportError when a header or the method is not allowed", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        for (const headers of [
          { "bad name": "x" },
          { "x-bad": "line\r\nbreak" },
          { "content-length": "many" },
          { "transfer-encoding": "chunked" },
          { "keep-alive": "timeout=1" },
          { expect: "100-continue" }
        ]) {
          assert.strictEqual((yield* failure(HttpClientRequest.post(url, { headers })))._tag, "TransportError")
        }
      })
    )
  )

  it.live("is a TransportError when a raw body is nothing that can be sent", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        for (const body of [1, true, { a: 1 }, () => {}]) {
          assert.strictEqual((yield* failure(post(url, HttpBody.raw(body))))._tag, "TransportError")
        }
      })
    )
  )

  it.live("is a TransportError when the stream of a body fails, and the server sees no end", () => {
    let complete = 0
    return talkRaw(
      () => complete++,
      ({ url }) =>
        Effect.gen(function* () {
          const some = Stream.succeed(Buffer.from("some"))
          const stream = yield* failure(post(url, HttpBody.stream(Stream.concat(some, Stream.fail("spoiled")))))
          assert.strictEqual(stream._tag, "TransportError")
          // Here the pooled client has an HttpError, with the stream's error inside.
          assert.include(inspect(stream.cause, { depth: 5 }), "spoiled")
          const dies = yield* failure(post(url, HttpBody.stream(Stream.die(new Error("spoiled")))))
          assert.strictEqual(dies._tag, "TransportError")
          const readable = Readable.from(
            (async function* () {
              yield Buffer.from("some")
              throw new Error("spoiled")
            })()
          )
          assert.strictEqual((yield* failure(post(url, HttpBody.raw(readable))))._tag, "TransportError")
          assert.isTrue(readable.destroyed)
          assert.strictEqual(complete, 0)
        })
    )
  })

  it.live("is a TransportError when a body is not as long as it says", () =>
    talkRaw(
      () => {},
      ({ url }) =>
        Effect.gen(function* () {
          const three = Stream.tap(Stream.succeed(Buffer.from("abc")), () => Effect.sleep(1))
          for (const length of [2, 4]) {
            const reason = yield* failure(post(url, HttpBody.stream(three, undefined, length)))
            assert.strictEqual(reason._tag, "TransportError")
          }
        })
    )
  )

  it.live("is a TransportError when a stream of Node is broken from the start", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const missing = createReadStream("/nonexistent/file")
        assert.strictEqual((yield* failure(post(url, HttpBody.raw(missing))))._tag, "TransportError")
        const destroyed = Readable.from([Buffer.from("x")]).destroy()
        assert.strictEqual((yield* failure(post(url, HttpBody.raw(destroyed))))._tag, "TransportError")
      })
    )
  )

  it.live("destroys the stream of Node that a request could not send", () =>
    talk(echo, () =>
      Effect.gen(function* () {
        const readable = Readable.from([Buffer.from("never sent")])
        const reason = yield* failure(post(`http://127.0.0.1:${yield* deadPort}/`, HttpBody.raw(readable)))
        assert.strictEqual(reason._tag, "TransportError")
        assert.isTrue(readable.destroyed)
      })
    )
  )

  it.live("is a TransportError when the server hangs up, resets or talks nonsense instead of answering", () =>
    talkRaw(
      ({ path }, socket) => {
        if (path === "/end") socket.end()
        if (path === "/reset") socket.resetAndDestroy()
        if (path === "/nonsense") socket.end("nonsense\r\n\r\n")
        if (path === "/half") socket.end("HTTP/1.1 200 OK\r\ncontent-le")
      },
      ({ url }) =>
        Effect.gen(function* () {
          for (const path of ["end", "reset", "nonsense", "half"]) {
            assert.strictEqual((yield* failure(HttpClientRequest.post(`${url}/${path}`)))._tag, "TransportError")
          }
        })
    )
  )

  it.live("is a StatusCodeError when a filter rejects the status, and the body can still be read", () =>
    talk(say("gone", 410), ({ url }) =>
      Effect.gen(function* () {
        const client = HttpClient.filterStatusOk(yield* HttpClient.HttpClient)
        const error = yield* Effect.flip(client.get(url))
        assert.strictEqual(error.reason._tag, "StatusCodeError")
        assert.strictEqual(error.response?.status, 410)
        assert.strictEqual(yield* error.response!.text, "gone")
      })
    )
  )

  it.live("fails with TimeoutError, in time, when nothing comes", () =>
    talk(
      () => {},
      ({ url }) =>
        Effect.gen(function* () {
          const started = performance.now()
          const error = yield* Effect.flip(Effect.timeout(HttpClient.get(url), "20 millis"))
          assert.strictEqual(error._tag, "TimeoutError")
          assert.isBelow(performance.now() - started, 500)
        })
    )
  )

  it.live("fails with TimeoutError, in time, when a body stalls", () =>
    talk(
      (_, response) => {
        response.head(200)
        response.write("some")
      },
      ({ url }) =>
        Effect.gen(function* () {
          const response = yield* HttpClient.get(url)
          const started = performance.now()
          const error = yield* Effect.flip(Effect.timeout(response.text, "20 millis"))
          assert.strictEqual(error._tag, "TimeoutError")
          assert.isBelow(performance.now() - started, 500)
        })
    )
  )

  it.live("tells the method and the URL, without credentials and headers", () =>
    talk(echo, () =>
      Effect.gen(function* () {
        const url = `http://user:secret@127.0.0.1:${yield* deadPort}/path`
        const error = yield* Effect.flip(HttpClient.get(url, { headers: { authorization: "secret" } }))
        assert.notInclude(error.message, "secret")
        assert.notInclude(JSON.stringify(error), "secret")
        assert.include(error.message, "GET http://")
      })
    )
  )
})
