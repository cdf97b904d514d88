/** Typed clients of `HttpApi`, against Effect's own server. */
import { NodeHttpServer } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { type HttpClient, HttpRouter, HttpServer } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiClient, HttpApiEndpoint, HttpApiGroup, HttpApiSchema } from "effect/http-api"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { type Served, forEachClient } from "./lab.ts"

// Effect's services for Node open it for the whole process, which the leak oracle would take for a leak.
void process.stdin

class NotFound extends Schema.TaggedError<NotFound>()("NotFound", { id: Schema.Number }, { httpApiStatus: 404 }) {}

const Item = Schema.Struct({ id: Schema.Number, name: Schema.String })

const Items = HttpApiGroup.make("items").add(
  HttpApiEndpoint.get("byId", "/items/:id", {
    params: { id: Schema.NumberFromString },
    success: Item,
    error: NotFound
  }),
  HttpApiEndpoint.get("search", "/items", {
    query: { name: Schema.String, limit: Schema.NumberFromString },
    headers: { "x-tenant": Schema.String },
    success: Schema.Array(Item)
  }),
  HttpApiEndpoint.post("create", "/items", { payload: Item, success: Item.pipe(HttpApiSchema.status(201)) }),
  HttpApiEndpoint.delete("remove", "/items/:id", { params: { id: Schema.NumberFromString } }),
  HttpApiEndpoint.get("label", "/label", { success: Schema.String.pipe(HttpApiSchema.asText()) }),
  HttpApiEndpoint.post("upload", "/upload", {
    payload: Schema.Struct({ title: Schema.String }).pipe(HttpApiSchema.asMultipart()),
    success: Schema.String
  }),
  HttpApiEndpoint.get("feed", "/feed", { success: HttpApiSchema.StreamNdjson({ schema: Item }) })
)

class Api extends HttpApi.make("api").add(Items) {}

const handlers = HttpApiBuilder.group(Api, "items", (handlers) =>
  handlers
    .handle("byId", ({ params: { id } }) =>
      id === 1 ? Effect.succeed({ id, name: "one" }) : Effect.fail(new NotFound({ id }))
    )
    .handle("search", ({ headers, query: { limit, name } }) =>
      Effect.succeed(Array.from({ length: limit }, (_, id) => ({ id, name: `${headers["x-tenant"]} ${name}` })))
    )
    .handle("create", ({ payload }) => Effect.succeed(payload))
    .handle("remove", () => Effect.void)
    .handle("label", () => Effect.succeed("läbel"))
    .handle("upload", ({ payload }) => Effect.succeed(payload.title))
    .handle("feed", () =>
      Effect.succeed(Stream.fromIterable(Array.from({ length: 100 }, (_, id) => ({ id, name: "item" }))))
    )
)

const api = (server: Served) =>
  HttpRouter.serve(HttpApiBuilder.layer(Api).pipe(Layer.provide(handlers)), {
    disableListenLog: true,
    disableLogger: true
  }).pipe(Layer.provideMerge(NodeHttpServer.layer(() => server, { host: "127.0.0.1", port: 0 })))

forEachClient("HttpApiClient", ({ layer, makeServer, protocol }) => {
  const withApi = <E>(
    program: (client: HttpApiClient.ForApi<typeof Api>) => Effect.Effect<void, E, HttpClient.HttpClient>
  ) =>
    Effect.gen(function* () {
      const { address } = yield* HttpServer.HttpServer
      assert(address._tag === "InetAddressV4")
      const baseUrl = `${protocol === "h2" ? "https" : "http"}://127.0.0.1:${address.port}`
      yield* Effect.provide(Effect.flatMap(HttpApiClient.make(Api, { baseUrl }), program), layer)
    }).pipe(Effect.provide(Layer.fresh(api(makeServer()))))

  it.live("calls endpoints with parameters, queries, headers and bodies", () =>
    withApi((client) =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* client.items.byId({ params: { id: 1 } }), { id: 1, name: "one" })
        const found = yield* client.items.search({ query: { name: "a&b", limit: 2 }, headers: { "x-tenant": "t" } })
        assert.deepStrictEqual(
          found.map(({ name }) => name),
          ["t a&b", "t a&b"]
        )
        assert.deepStrictEqual(yield* client.items.create({ payload: { id: 2, name: "ü" } }), { id: 2, name: "ü" })
        assert.isUndefined(yield* client.items.remove({ params: { id: 1 } }))
        assert.strictEqual(yield* client.items.label(), "läbel")
      })
    )
  )

  it.live("fails with the errors that endpoints declare", () =>
    withApi((client) =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(client.items.byId({ params: { id: 7 } }))
        assert.deepInclude(error, { _tag: "NotFound", id: 7 })
      })
    )
  )

  it.live("uploads form data", () =>
    withApi((client) =>
      Effect.gen(function* () {
        const payload = new FormData()
        payload.append("title", "a title")
        assert.strictEqual(yield* client.items.upload({ payload }), "a title")
      })
    )
  )

  it.live("streams, whole and in part", () =>
    withApi((client) =>
      Effect.gen(function* () {
        const whole = yield* Effect.flatMap(client.items.feed(), Stream.runCollect)
        assert.deepStrictEqual(
          [...whole].map(({ id }) => id),
          Array.from({ length: 100 }, (_, id) => id)
        )
        const part = yield* Effect.flatMap(client.items.feed(), (stream) => Stream.runCollect(Stream.take(stream, 3)))
        assert.strictEqual([...part].length, 3)
      })
    )
  )

  it.live("asks for the response itself", () =>
    withApi((client) =>
      Effect.gen(function* () {
        const response = yield* client.items.label({ responseMode: "response-only" })
        assert.strictEqual(response.status, 200)
        assert.strictEqual(yield* response.text, "läbel")
      })
    )
  )
})
