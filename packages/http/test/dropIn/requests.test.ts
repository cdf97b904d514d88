import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Cookies, HttpClient, HttpClientRequest } from "effect/http"
import { echo, echoed, forEachClient, type Handler } from "./lab.ts"

/** Has headers of every shape. */
const headers: Handler = (_, response) => {
  response.head(200, {
    "set-cookie": ["a=1; Path=/; HttpOnly", "b=2; Max-Age=60"],
    "x-many": ["one", "two"],
    "X-Upper": "Case",
    "x-empty": ""
  })
  response.end()
}

forEachClient("requests", ({ protocol, talk, talkRaw }) => {
  it.live("sends every method", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        for (const method of ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY"] as const) {
          assert.strictEqual((yield* echoed(HttpClientRequest.make(method)(url))).method, method)
        }
      })
    )
  )

  it.live("sends path and query as the URL has them, with parameters added, without the hash", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const { path } = yield* echoed(
          HttpClientRequest.get(`${url}/a b/%C3%BC/ü;x=1?q=%20+#hash`, { urlParams: { r: "1&2", s: ["x", "y"] } })
        )
        assert.strictEqual(path, "/a%20b/%C3%BC/%C3%BC;x=1?q=++&r=1%262&s=x&s=y")
        assert.strictEqual((yield* echoed(HttpClientRequest.get(url))).path, "/")
        assert.strictEqual((yield* echoed(HttpClientRequest.get(`${url}?x`))).path, "/?x")
      })
    )
  )

  it.live("adds no headers of its own but the host", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const { headers } = yield* echoed(HttpClientRequest.get(url))
        const names = Object.keys(headers).filter((name) => !name.startsWith(":"))
        const tracing = ["b3", "traceparent"]
        const expected = protocol === "h2" ? tracing : ["connection", "host", ...tracing]
        assert.sameMembers(names, expected)
        if (protocol === "http/1.1") assert.strictEqual(headers["host"], new URL(url).host)
      })
    )
  )

  it.live("sends headers, several values of one joined, in any case", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const { headers } = yield* echoed(
          HttpClientRequest.get(url, {
            headers: { "X-Case": "a", "x-many": ["1", "2"], accept: "text/plain", "x-latin": "\u00fc", "x-empty": "" }
          })
        )
        assert.strictEqual(headers["x-case"], "a")
        assert.strictEqual(headers["x-many"], "1, 2")
        assert.strictEqual(headers["accept"], "text/plain")
        assert.strictEqual(headers["x-latin"], "\u00fc")
        assert.strictEqual(headers["x-empty"], "")
      })
    )
  )

  it.live("lets a request name another host", () =>
    talkRaw(
      ({ headers }, socket) => {
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${headers["host"]!.length}\r\n\r\n${headers["host"]}`)
      },
      ({ url }) =>
        Effect.gen(function* () {
          const response = yield* HttpClient.get(url, { headers: { host: "other.test" } })
          assert.strictEqual(yield* response.text, "other.test")
        })
    )
  )

  it.live("ignores credentials in a URL", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const { headers, path } = yield* echoed(HttpClientRequest.get(`${url.replace("://", "://user:secret@")}/x`))
        assert.isUndefined(headers["authorization"])
        assert.strictEqual(path, "/x")
      })
    )
  )

  it.live("sends basic and bearer credentials", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const basic = yield* echoed(HttpClientRequest.basicAuth(HttpClientRequest.get(url), "user", "secret"))
        assert.strictEqual(basic.headers["authorization"], `Basic ${btoa("user:secret")}`)
        const bearer = yield* echoed(HttpClientRequest.bearerToken(HttpClientRequest.get(url), "token"))
        assert.strictEqual(bearer.headers["authorization"], "Bearer token")
      })
    )
  )

  it.live("joins the values of a response header and keeps cookies apart", () =>
    talk(headers, ({ url }) =>
      Effect.gen(function* () {
        const response = yield* HttpClient.get(url)
        assert.strictEqual(response.headers["x-many"], "one, two")
        assert.strictEqual(response.headers["x-upper"], "Case")
        assert.strictEqual(response.headers["x-empty"], "")
        assert.deepStrictEqual(Cookies.toRecord(response.cookies), { a: "1", b: "2" })
        assert.strictEqual(response.cookies.cookies["a"]?.options?.httpOnly, true)
      })
    )
  )

  it.live("has no cookies where none were set", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        assert.isTrue(Cookies.isEmpty((yield* HttpClient.get(url)).cookies))
      })
    )
  )

  it.live("skips informational responses", () =>
    talkRaw(
      (_, socket) => {
        socket.write("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
      },
      ({ url }) =>
        Effect.gen(function* () {
          const response = yield* HttpClient.get(url)
          assert.strictEqual(response.status, 200)
          assert.isUndefined(response.headers["link"])
          assert.strictEqual(yield* response.text, "ok")
        })
    )
  )

  it.live("closes the connection after a request that says so", () =>
    talkRaw(
      ({ headers }, socket) => {
        const body = `${headers["connection"]}`
        socket.end(`HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
      },
      ({ accepted, url }) =>
        Effect.gen(function* () {
          for (let i = 1; i <= 3; i++) {
            const response = yield* HttpClient.get(url, { headers: { connection: "close" } })
            assert.strictEqual(yield* response.text, "close")
            assert.strictEqual(accepted(), i)
          }
        })
    )
  )
})
