import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { HttpClient, HttpClientRequest, HttpClientResponse, HttpIncomingMessage } from "effect/http"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { brotliCompressSync, gzipSync } from "node:zlib"
import { forEachClient, type Handler, say } from "./lab.ts"

const big = Buffer.alloc(8 * 1024 * 1024, "0123456789abcdef")

/** As fast as the client reads. */
const sayBig: Handler = async (_, response) => {
  response.head(200)
  for (let i = 0; i < big.length; i += 65_536) {
    response.write(big.subarray(i, i + 65_536))
    if (i % 1_048_576 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  response.end()
}

const streamed = (response: HttpClientResponse.HttpClientResponse) =>
  Effect.map(Stream.runCollect(response.stream), (chunks) => Buffer.concat([...chunks]))

forEachClient("reading responses", ({ talk }) => {
  it.live("reads text, JSON, bytes and the stream", () =>
    talk(say(`{"a":"ü"}`), ({ url }) =>
      Effect.gen(function* () {
        assert.strictEqual(yield* Effect.flatMap(HttpClient.get(url), (_) => _.text), `{"a":"ü"}`)
        assert.deepStrictEqual(yield* Effect.flatMap(HttpClient.get(url), (_) => _.json), { a: "ü" })
        const buffer = yield* Effect.flatMap(HttpClient.get(url), (_) => _.arrayBuffer)
        assert.instanceOf(buffer, ArrayBuffer)
        // Exactly the body, not the memory that it was cut from.
        assert.strictEqual(Buffer.from(buffer).toString(), `{"a":"ü"}`)
        const bytes = yield* Effect.flatMap(HttpClient.get(url), streamed)
        assert.strictEqual(bytes.toString(), `{"a":"ü"}`)
      })
    )
  )

  it.live("reads URL parameters as forms have them", () =>
    talk(say("?a=1+2&b=%C3%BC&b=x"), ({ url }) =>
      Effect.gen(function* () {
        const params = yield* Effect.flatMap(HttpClient.get(url), (_) => _.urlParamsBody)
        assert.deepStrictEqual(
          [...params],
          [
            ["?a", "1 2"],
            ["b", "ü"],
            ["b", "x"]
          ]
        )
      })
    )
  )

  it.live("reads form data", () =>
    talk(
      (_, response) => {
        response.head(200, { "content-type": "multipart/form-data; boundary=x" })
        response.end(`--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n`)
      },
      ({ url }) =>
        Effect.gen(function* () {
          const form = yield* Effect.flatMap(HttpClient.get(url), (_) => _.formData)
          assert.deepStrictEqual([...form], [["a", "1"]])
        })
    )
  )

  it.live("reads a body again, in other ways too", () =>
    talk(say("a=1", 200, { "content-type": "application/x-www-form-urlencoded" }), ({ url }) =>
      Effect.gen(function* () {
        const response = yield* HttpClient.get(url)
        for (let i = 0; i < 2; i++) {
          assert.strictEqual(yield* response.text, "a=1")
          assert.strictEqual(Buffer.from(yield* response.arrayBuffer).toString(), "a=1")
          assert.deepStrictEqual([...(yield* response.urlParamsBody)], [["a", "1"]])
          assert.deepStrictEqual([...(yield* response.formData)], [["a", "1"]])
        }
        assert.strictEqual((yield* Effect.flip(response.json)).reason._tag, "DecodeError")
      })
    )
  )

  it.live("reads one body from several fibers", () =>
    talk(
      async (_, response) => {
        response.head(200)
        response.write("ab")
        await new Promise((resolve) => setTimeout(resolve, 10))
        response.end("cd")
      },
      ({ url }) =>
        Effect.gen(function* () {
          const response = yield* HttpClient.get(url)
          const texts = yield* Effect.all([response.text, response.text, response.text], { concurrency: 3 })
          assert.deepStrictEqual(texts, ["abcd", "abcd", "abcd"])
        })
    )
  )

  it.live("reads an empty body as nothing, and as JSON null", () =>
    talk(say(""), ({ url }) =>
      Effect.gen(function* () {
        const response = yield* HttpClient.get(url)
        assert.strictEqual(yield* response.text, "")
        assert.isNull(yield* response.json)
        assert.strictEqual((yield* response.arrayBuffer).byteLength, 0)
        assert.strictEqual((yield* Effect.flatMap(HttpClient.get(url), streamed)).length, 0)
      })
    )
  )

  it.live("reads no body from 204, 304 and HEAD", () =>
    talk(
      ({ path }, response) => {
        response.head(Number(path.slice(1)), { etag: "x", ...(path === "/200" && { "content-length": "1000" }) })
        response.end()
      },
      ({ url }) =>
        Effect.gen(function* () {
          for (const request of [
            HttpClientRequest.get(`${url}/204`),
            HttpClientRequest.get(`${url}/304`),
            HttpClientRequest.head(`${url}/200`)
          ]) {
            const response = yield* HttpClient.execute(request)
            assert.strictEqual(response.headers["etag"], "x")
            assert.strictEqual(yield* response.text, "")
            const again = yield* HttpClient.execute(request)
            assert.strictEqual((yield* streamed(again)).length, 0)
          }
        })
    )
  )

  it.live("tells the length that a HEAD announces", () =>
    talk(
      (_, response) => {
        response.head(200, { "content-length": "1000" })
        response.end()
      },
      ({ url }) =>
        Effect.gen(function* () {
          const response = yield* HttpClient.head(url)
          assert.strictEqual(response.headers["content-length"], "1000")
        })
    )
  )

  it.live("strips the byte order mark of a text", () =>
    talk(say("\uFEFFtext"), ({ url }) =>
      Effect.gen(function* () {
        const response = yield* HttpClient.get(url)
        assert.strictEqual(yield* response.text, "text")
        assert.strictEqual((yield* response.arrayBuffer).byteLength, 7)
      })
    )
  )

  it.live("reads big bodies", () =>
    talk(sayBig, ({ url }) =>
      Effect.gen(function* () {
        const whole = yield* Effect.flatMap(HttpClient.get(url), (_) => _.arrayBuffer)
        assert.isTrue(Buffer.from(whole).equals(big))
        const stream = yield* Effect.flatMap(HttpClient.get(url), streamed)
        assert.isTrue(stream.equals(big))
        const text = yield* Effect.flatMap(HttpClient.get(url), (_) => _.text)
        assert.strictEqual(text.length, big.length)
      })
    )
  )

  it.live("lets a stream be read slowly", () =>
    talk(sayBig, ({ url }) =>
      Effect.gen(function* () {
        let size = 0
        yield* Stream.runForEach(HttpClientResponse.stream(HttpClient.get(url)), (chunk) => {
          size += chunk.length
          return Effect.yieldNow
        })
        assert.strictEqual(size, big.length)
      })
    )
  )

  it.live("leaves compressed bodies as they are", () =>
    talk(
      ({ headers, path }, response) => {
        const encoding = path.slice(1)
        response.head(200, { "content-encoding": encoding, "x-accepts": headers["accept-encoding"] ?? "nothing" })
        response.end(encoding === "gzip" ? gzipSync("text") : brotliCompressSync("text"))
      },
      ({ url }) =>
        Effect.gen(function* () {
          for (const [encoding, expected] of [
            ["gzip", gzipSync("text")],
            ["br", brotliCompressSync("text")]
          ] as const) {
            const response = yield* HttpClient.get(`${url}/${encoding}`)
            assert.strictEqual(response.headers["content-encoding"], encoding)
            assert.strictEqual(response.headers["x-accepts"], "nothing")
            assert.isTrue(Buffer.from(yield* response.arrayBuffer).equals(expected))
          }
        })
    )
  )

  it.live("decodes bodies, headers and statuses by schema", () =>
    talk(say(`{"n":1}`, 201, { "x-kind": "a" }), ({ url }) =>
      Effect.gen(function* () {
        const N = Schema.Struct({ n: Schema.Number })
        assert.deepStrictEqual(yield* Effect.flatMap(HttpClient.get(url), HttpClientResponse.schemaBodyJson(N)), {
          n: 1
        })
        const Whole = Schema.Struct({ status: Schema.Literal(201), body: N })
        const whole = yield* Effect.flatMap(HttpClient.get(url), HttpClientResponse.schemaJson(Whole))
        assert.deepStrictEqual(whole, { status: 201, body: { n: 1 } })
        const Kind = Schema.Struct({ "x-kind": Schema.Literal("a") })
        const kind = yield* Effect.flatMap(HttpClient.get(url), HttpIncomingMessage.schemaHeaders(Kind))
        assert.deepStrictEqual(kind, { "x-kind": "a" })
        const Other = Schema.Struct({ n: Schema.String })
        const error = yield* Effect.flip(Effect.flatMap(HttpClient.get(url), HttpClientResponse.schemaBodyJson(Other)))
        assert.strictEqual(error._tag, "SchemaError")
      })
    )
  )

  it.live("tells the URL, the request, no remote address, and nothing of the hash", () =>
    talk(say("x"), ({ url }) =>
      Effect.gen(function* () {
        const request = HttpClientRequest.get(`${url}/a?b=1#hash`, { urlParams: { c: "2" } })
        const response = yield* HttpClient.execute(request)
        assert.strictEqual(response.url, `${url}/a?b=1&c=2`)
        assert.strictEqual(response.request.url, `${url}/a?b=1#hash`)
        assert.isTrue(Option.isNone(response.remoteAddress))
        assert.isTrue(HttpIncomingMessage.isHttpIncomingMessage(response))
        assert.deepInclude(response.toJSON(), { _id: "effect/http/HttpClientResponse", status: 200 })
      })
    )
  )
})
