import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { type Cookies, Headers, HttpBody, HttpClient, HttpClientRequest, HttpTraceContext } from "effect/http"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { echo, echoed, forEachClient, type Handler, say } from "./lab.ts"

/** Keeps the spans that end while `effect` runs. */
const traced = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const spans: Array<Tracer.NativeSpan> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        spans.push(span)
        return span
      }
    })
    return Effect.map(Effect.withTracer(effect, tracer), (value) => ({ value, spans }))
  })

/** Fails the first two requests. */
const flaky = (): Handler => {
  let count = 0
  return (_, response) => {
    response.head(++count <= 2 ? 503 : 200)
    response.end(String(count))
  }
}

/** Leads around: /a to /b to /c; /loop to itself; /post as its query says; everything else echoes. */
const maze: Handler = (request, response) => {
  const next: Record<string, string> = { "/a": "/b", "/b": "/c", "/loop": "/loop" }
  const url = new URL(request.path, "http://here")
  const status = Number(url.searchParams.get("status") ?? 302)
  const location = url.pathname === "/post" ? "/c" : next[url.pathname]
  if (location === undefined) return echo(request, response)
  response.head(status, { location })
  response.end("moved")
}

forEachClient("combinators", ({ talk }) => {
  it.live("filters statuses", () =>
    talk(say("no", 404), ({ url }) =>
      Effect.gen(function* () {
        const client = yield* HttpClient.HttpClient
        assert.strictEqual((yield* client.get(url)).status, 404)
        assert.strictEqual((yield* HttpClient.filterStatus(client, (status) => status === 404).get(url)).status, 404)
        const error = yield* Effect.flip(HttpClient.filterStatusOk(client).get(url))
        assert.strictEqual(error.reason._tag, "StatusCodeError")
      })
    )
  )

  it.live("retries what is transient, by status and by error", () =>
    talk(flaky(), ({ url }) =>
      Effect.gen(function* () {
        const client = HttpClient.filterStatusOk(yield* HttpClient.HttpClient)
        const response = yield* HttpClient.retryTransient(client, { times: 5, schedule: Schedule.spaced(1) }).get(url)
        assert.strictEqual(yield* response.text, "3")
      })
    )
  )

  it.live("sends a stream again on each try", () => {
    const bodies: Array<string> = []
    return talk(
      async ({ body }, response) => {
        bodies.push((await body).toString())
        response.head(bodies.length < 3 ? 503 : 200)
        response.end()
      },
      ({ url }) =>
        Effect.gen(function* () {
          const client = HttpClient.filterStatusOk(yield* HttpClient.HttpClient)
          yield* HttpClient.retryTransient(client, { times: 5 }).post(url, {
            body: HttpBody.stream(Stream.fromIterable([Buffer.from("a"), Buffer.from("b")]))
          })
          assert.deepStrictEqual(bodies, ["ab", "ab", "ab"])
        })
    )
  })

  it.live("does not follow redirects by itself", () =>
    talk(maze, ({ url }) =>
      Effect.gen(function* () {
        const response = yield* HttpClient.get(`${url}/a`)
        assert.strictEqual(response.status, 302)
        assert.strictEqual(response.headers["location"], "/b")
      })
    )
  )

  it.live("follows redirects, up to a limit, from one origin to another", () =>
    talk(maze, ({ url }) =>
      Effect.gen(function* () {
        const client = HttpClient.followRedirects(yield* HttpClient.HttpClient, 3)
        const response = yield* client.get(`${url}/a`)
        assert.strictEqual(response.url, `${url}/c`)
        assert.deepInclude(yield* response.json, { method: "GET", path: "/c" })
        assert.strictEqual((yield* client.get(`${url}/loop`)).status, 302)
      })
    )
  )

  it.live("keeps or drops the body of a redirected POST as its status says", () =>
    talk(maze, ({ url }) =>
      Effect.gen(function* () {
        const client = HttpClient.followRedirects(yield* HttpClient.HttpClient)
        const ask = (status: number) =>
          Effect.flatMap(
            client.execute(HttpClientRequest.bodyText(HttpClientRequest.post(`${url}/post?status=${status}`), "body")),
            (response) => response.json
          )
        assert.deepInclude(yield* ask(303), { method: "GET", body: "" })
        assert.deepInclude(yield* ask(307), { method: "POST", body: "body" })
      })
    )
  )

  it.live("keeps cookies in a jar", () =>
    talk(
      ({ headers, path }, response) => {
        response.head(200, path === "/set" ? { "set-cookie": ["a=1; Path=/", "b=2; Path=/"] } : {})
        response.end(headers["cookie"] ?? "none")
      },
      ({ url }) =>
        Effect.gen(function* () {
          const jar = yield* Ref.make<ReadonlyArray<Cookies.Cookie>>([])
          const client = HttpClient.withCookiesRef(yield* HttpClient.HttpClient, jar)
          assert.strictEqual(yield* Effect.flatMap(client.get(`${url}/set`), (_) => _.text), "none")
          assert.strictEqual(yield* Effect.flatMap(client.get(url), (_) => _.text), "a=1; b=2")
          assert.strictEqual((yield* Ref.get(jar)).length, 2)
        })
    )
  )

  it.live("records a client span and tells the server of it", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const { spans, value } = yield* traced(
          Effect.withSpan(echoed(HttpClientRequest.get(`${url}/path?a=1`)), "parent")
        )
        const span = spans.find(({ kind }) => kind === "client")!
        assert.strictEqual(span.name, "GET")
        assert.strictEqual(span.status._tag, "Ended")
        assert.deepInclude(Object.fromEntries(span.attributes), {
          "http.request.method": "GET",
          "http.response.status_code": 200,
          "url.path": "/path"
        })
        const parent = HttpTraceContext.w3c(Headers.fromInput(value.headers))
        assert.strictEqual(Option.getOrThrow(parent).spanId, span.spanId)
        assert.include(value.headers["b3"]!, span.traceId)
        assert.strictEqual(Option.getOrThrow(span.parent).spanId, spans.find(({ name }) => name === "parent")!.spanId)
      })
    )
  )

  it.live("marks spans of refusals and of failures as failed", () =>
    talk(
      ({ path }, response) => {
        if (path === "/cut") return response.cut()
        response.head(500)
        response.end()
      },
      ({ url }) =>
        Effect.gen(function* () {
          const refused = yield* traced(HttpClient.get(url))
          const failed = yield* traced(Effect.exit(HttpClient.post(`${url}/cut`)))
          for (const { status } of [refused.spans[0]!, failed.spans[0]!]) {
            assert.strictEqual(status._tag === "Ended" && status.exit._tag, "Failure")
          }
        })
    )
  )

  it.live("tells nothing of a trace that is not to be propagated, and records none that is disabled", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const quiet = yield* traced(
          Effect.provideService(echoed(HttpClientRequest.get(url)), HttpClient.TracerPropagationEnabled, false)
        )
        assert.isUndefined(quiet.value.headers["traceparent"])
        assert.strictEqual(quiet.spans.length, 1)
        const none = yield* traced(
          Effect.provideService(echoed(HttpClientRequest.get(url)), HttpClient.TracerDisabledWhen, () => true)
        )
        assert.strictEqual(none.spans.length, 0)
      })
    )
  )

  it.live("changes requests before they are sent", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const client = (yield* HttpClient.HttpClient).pipe(
          HttpClient.mapRequest(HttpClientRequest.prependUrl(url)),
          HttpClient.mapRequest(HttpClientRequest.setHeader("x-added", "1"))
        )
        const body = yield* Effect.flatMap(client.get("/path"), (_) => _.json)
        assert.deepNestedInclude(body as object, { path: "/path", "headers.x-added": "1" })
      })
    )
  )

  it.live("compresses a body that is to be compressed", () =>
    talk(echo, ({ url }) =>
      Effect.gen(function* () {
        const request = yield* HttpClientRequest.post(url).pipe(
          HttpClientRequest.bodyText("text ".repeat(1_000)),
          HttpClientRequest.compressBody("gzip")
        )
        const { body, headers } = yield* echoed(request)
        assert.strictEqual(headers["content-encoding"], "gzip")
        assert.isBelow(body.length, 1_000)
      })
    )
  )
})
