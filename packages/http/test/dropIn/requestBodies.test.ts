import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { HttpBody, HttpClient, HttpClientRequest } from "effect/http"
import * as Stream from "effect/Stream"
import { Readable } from "node:stream"
import { FormData as UndiciFormData } from "undici"
import { echo, echoed, forEachClient, type Handler } from "./lab.ts"

const post = (url: string, body: HttpBody.HttpBody) => HttpClientRequest.setBody(HttpClientRequest.post(url), body)

const raw = (url: string, body: unknown, options?: Parameters<typeof HttpBody.raw>[1]) =>
  echoed(post(url, HttpBody.raw(body, options)))

const chunks = (...texts: ReadonlyArray<string>) =>
  Stream.fromIterable(texts.map((text) => new TextEncoder().encode(text)))

/** Tells how many bytes came and that they are those of {@link big}. */
const weigh: Handler = async ({ body }, response) => {
  const bytes = await body
  const intact = bytes.every((byte, i) => byte === i % 251)
  response.head(200)
  response.end(JSON.stringify({ length: bytes.length, intact }))
}

const big = new Uint8Array(8 * 1024 * 1024).map((_, i) => i % 251)

forEachClient("request bodies", ({ protocol, talk }) => {
  // HTTP/2 frames bodies itself.
  const chunked = protocol === "http/1.1" ? "chunked" : undefined

  const weighed = Effect.fnUntraced(function* (request: HttpClientRequest.HttpClientRequest) {
    return yield* Effect.flatMap(HttpClient.execute(request), (response) => response.json)
  })

  it.live("sends no body with a GET", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const { body, headers, method } = yield* echoed(HttpClientRequest.get(`${url}/`))
        assert.deepStrictEqual({ body, method }, { body: "", method: "GET" })
        assert.isUndefined(headers["content-length"])
        assert.isUndefined(headers["transfer-encoding"])
      })
    )
  )

  it.live("says that a POST without a body is empty", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const { body, headers } = yield* echoed(HttpClientRequest.post(`${url}/`))
        assert.strictEqual(body, "")
        assert.isUndefined(headers["transfer-encoding"])
        if (protocol === "http/1.1") assert.strictEqual(headers["content-length"], "0")
      })
    )
  )

  it.live("sends text as UTF-8 with its length in bytes", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const { body, headers } = yield* echoed(HttpClientRequest.bodyText(HttpClientRequest.post(url), "grüße"))
        assert.strictEqual(Buffer.from(body, "latin1").toString(), "grüße")
        assert.strictEqual(headers["content-length"], "7")
        assert.strictEqual(headers["content-type"], "text/plain")
      })
    )
  )

  it.live("sends JSON", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const request = yield* HttpClientRequest.bodyJson(HttpClientRequest.put(url), { a: [1, "b"] })
        const { body, headers, method } = yield* echoed(request)
        assert.strictEqual(method, "PUT")
        assert.strictEqual(body, `{"a":[1,"b"]}`)
        assert.strictEqual(headers["content-type"], "application/json")
      })
    )
  )

  it.live("sends URL parameters as a form", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const { body, headers } = yield* echoed(
          HttpClientRequest.bodyUrlParams(HttpClientRequest.post(url), { a: "1 2", b: ["x", "y"] })
        )
        assert.strictEqual(body, "a=1+2&b=x&b=y")
        assert.strictEqual(headers["content-type"], "application/x-www-form-urlencoded")
      })
    )
  )

  it.live("sends bytes, also with DELETE and PATCH", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        for (const request of [HttpClientRequest.delete(url), HttpClientRequest.patch(url)]) {
          const { body, headers } = yield* echoed(
            HttpClientRequest.bodyUint8Array(request, new Uint8Array([0, 200, 255]))
          )
          assert.deepStrictEqual([...Buffer.from(body, "latin1")], [0, 200, 255])
          assert.strictEqual(headers["content-length"], "3")
          assert.strictEqual(headers["content-type"], "application/octet-stream")
        }
      })
    )
  )

  it.live("sends only what a view shows of its buffer", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const { body } = yield* echoed(
          HttpClientRequest.bodyUint8Array(HttpClientRequest.post(url), Buffer.from("abcdef").subarray(2, 4))
        )
        assert.strictEqual(body, "cd")
      })
    )
  )

  it.live("sends a stream of unknown length", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        // One that waits: undici can tell the length of a stream that is over before it is sent.
        const waits = Stream.tap(chunks("one ", "two ", "three"), () => Effect.sleep(1))
        const { body, headers } = yield* echoed(post(url, HttpBody.stream(waits, "text/x-test")))
        assert.strictEqual(body, "one two three")
        assert.strictEqual(headers["transfer-encoding"], chunked)
        assert.isUndefined(headers["content-length"])
        assert.strictEqual(headers["content-type"], "text/x-test")
      })
    )
  )

  it.live("sends a stream of known length", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const { body, headers } = yield* echoed(post(url, HttpBody.stream(chunks("one ", "two"), undefined, 7)))
        assert.strictEqual(body, "one two")
        assert.isUndefined(headers["transfer-encoding"])
        assert.strictEqual(headers["content-length"], "7")
      })
    )
  )

  it.live("runs a stream that waits and uses services", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const slow = Stream.mapEffect(chunks("a", "b", "c"), (chunk) => Effect.as(Effect.sleep(5), chunk))
        assert.strictEqual((yield* echoed(post(url, HttpBody.stream(slow)))).body, "abc")
      })
    )
  )

  it.live("sends big bodies, bytes and streams alike", () =>
    talk(weigh, ({ url }) =>
      Effect.gen(function* () {
        const bytes = yield* weighed(post(url, HttpBody.uint8Array(big)))
        assert.deepStrictEqual(bytes, { length: big.length, intact: true })
        const pieces = Stream.fromIterable(
          Array.from({ length: 128 }, (_, i) => big.subarray(i * 65_536, (i + 1) * 65_536))
        )
        const stream = yield* weighed(post(url, HttpBody.stream(pieces)))
        assert.deepStrictEqual(stream, { length: big.length, intact: true })
      })
    )
  )

  it.live("sends form data with text fields", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const { body, headers } = yield* echoed(
          HttpClientRequest.bodyFormDataRecord(HttpClientRequest.post(url), { a: "1", b: ["x", "ü"] })
        )
        const boundary = /^multipart\/form-data; boundary=(.+)$/.exec(headers["content-type"]!)![1]!
        const field = (name: string, value: string) =>
          `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`
        const expected = `${field("a", "1")}${field("b", "x")}${field("b", "ü")}--${boundary}--`
        assert.strictEqual(Buffer.from(body, "latin1").toString().trimEnd(), expected)
        assert.strictEqual(headers["content-length"], String(body.length))
      })
    )
  )

  it.live("sends form data with files, with names that need escapes, and with its length", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const form = new FormData()
        form.append(`a"b\r\nc`, "line\nline")
        form.append("file", new File([new Uint8Array([0, 255, 10])], `x "1".bin`, { type: "image/png" }))
        form.append("blob", new Blob(["blob"]))
        const { body, headers } = yield* echoed(HttpClientRequest.bodyFormData(HttpClientRequest.post(url), form))
        assert.strictEqual(headers["content-length"], String(body.length))
        assert.include(body, `name="a%22b%0D%0Ac"\r\n\r\nline\r\nline\r\n`)
        assert.include(body, `name="file"; filename="x %221%22.bin"\r\nContent-Type: image/png\r\n\r\n\0\xff\n\r\n`)
        assert.include(body, `name="blob"; filename="blob"\r\nContent-Type: application/octet-stream\r\n\r\nblob\r\n`)
        // And what reads form data reads it.
        const parsed = yield* Effect.promise(() =>
          new Response(Buffer.from(body, "latin1"), {
            headers: { "content-type": headers["content-type"]! }
          }).formData()
        )
        assert.strictEqual((parsed.get("file") as File).name, `x "1".bin`)
      })
    )
  )

  it.live("replaces the content type of form data, which does not know the boundary", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        for (const a of ["1", new Blob(["1"])]) {
          const request = HttpClientRequest.bodyFormDataRecord(HttpClientRequest.post(url), { a })
          const { headers } = yield* echoed(HttpClientRequest.setHeader(request, "content-type", "multipart/form-data"))
          assert.match(headers["content-type"]!, /^multipart\/form-data; boundary=[^,]+$/)
        }
      })
    )
  )

  it.live("sends raw strings, buffers and views", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        assert.strictEqual((yield* raw(url, "text")).body, "text")
        assert.strictEqual((yield* raw(url, Buffer.from("buffer"))).body, "buffer")
        assert.strictEqual((yield* raw(url, new TextEncoder().encode("array buffer").buffer)).body, "array buffer")
        assert.strictEqual((yield* raw(url, new Uint16Array([0, 0x6261, 0x6463, 0]).subarray(1, 3))).body, "abcd")
        assert.strictEqual((yield* raw(url, null)).body, "")
        assert.strictEqual((yield* raw(url, "")).body, "")
      })
    )
  )

  it.live("sends raw streams of Node and of the web, and iterables", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        assert.strictEqual((yield* raw(url, Readable.from([Buffer.from("a"), Buffer.from("b")]))).body, "ab")
        const binary = new Readable({ read() {} })
        binary.push("from ")
        binary.push("node")
        binary.push(null)
        assert.strictEqual((yield* raw(url, binary)).body, "from node")
        assert.strictEqual((yield* raw(url, new Blob(["from ", "the web"]).stream())).body, "from the web")
        assert.strictEqual((yield* raw(url, [Buffer.from("x"), Buffer.from("y")])).body, "xy")
        const generated = async function* () {
          yield Buffer.from("1")
          yield Buffer.from("2")
        }
        assert.strictEqual((yield* raw(url, generated())).body, "12")
      })
    )
  )

  it.live("sends raw blobs with their type, and form data of undici", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const blob = yield* raw(url, new Blob(["blob"], { type: "text/x-blob" }))
        assert.strictEqual(blob.body, "blob")
        assert.strictEqual(blob.headers["content-type"], "text/x-blob")
        assert.strictEqual(blob.headers["content-length"], "4")
        const form = new UndiciFormData()
        form.append("a", "1")
        const multipart = yield* raw(url, form)
        assert.match(multipart.headers["content-type"]!, /^multipart\/form-data; boundary=/)
        assert.include(multipart.body, `name="a"\r\n\r\n1\r\n`)
      })
    )
  )

  it.live("prefers the content type that was asked for to that of a blob", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const { headers } = yield* raw(url, new Blob(["blob"], { type: "text/a" }), { contentType: "text/b" })
        assert.strictEqual(headers["content-type"], "text/b")
      })
    )
  )
})
