/** Every public operation on an `HttpPool`, each as what one caller does. */
import * as HttpConnection from "@poolkit/http/HttpConnection"
import * as HttpPool from "@poolkit/http/HttpPool"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as PooledHttpClient from "@poolkit/http/PooledHttpClient"
import * as Effect from "effect/Effect"
import { HttpClient, type HttpClientResponse, HttpClientRequest } from "effect/http"
import * as Stream from "effect/Stream"
import { type Bench, yields } from "../../../pool/test/support/bench.ts"
import type { Origin } from "@poolkit/http/Origin"
import { type Http, origins } from "./httpRig.ts"
import { type Fate, fateHeader, type LabServer } from "./labConnection.ts"

/** What an operation may use. */
export interface Lent {
  readonly bench: Bench
  readonly http: Http
  readonly server: LabServer
}

type Operation = (lent: Lent) => Effect.Effect<unknown, unknown>

let requests = 0

const get = (...fates: ReadonlyArray<Fate>): HttpConnection.HttpRequest => ({
  method: "GET",
  path: `/${++requests}`,
  headers: { [fateHeader]: fates.join() }
})

const post = (...fates: ReadonlyArray<Fate>): HttpConnection.HttpRequest => ({
  ...get(...fates),
  method: "POST",
  body: "body"
})

const read = (response: HttpConnection.HttpResponse) => response.text

/** Sends to an origin and does something with the response. */
const execute = (
  { http, server }: Lent,
  then: (response: HttpConnection.HttpResponse) => Effect.Effect<unknown, unknown>,
  request = get(),
  origin: Origin = origins.a
) => {
  const { method, path } = request
  return Effect.ensuring(
    Effect.scoped(Effect.flatMap(HttpRequest.execute(http, origin, request), then)),
    Effect.sync(() => {
      const executed = server.executed.get(path) ?? 0
      if (executed > (method === "GET" ? 2 : 1)) server.wrongs.push(`${method} was done ${executed} times`)
    })
  )
}

const clientRequest = (
  { http }: Lent,
  then: (response: HttpClientResponse.HttpClientResponse) => Effect.Effect<unknown, unknown>,
  ...fates: ReadonlyArray<Fate>
) => {
  // Without the scope it is for the garbage collector to find that nobody reads a response.
  const client = HttpClient.withScope(PooledHttpClient.make(http))
  const request = HttpClientRequest.get(`https://a.test/${++requests}`, { headers: { [fateHeader]: fates.join() } })
  return Effect.scoped(Effect.flatMap(client.execute(request), then))
}

export const httpOperations: Readonly<Record<string, Operation>> = {
  "execute and read": (lent) => execute(lent, read),
  "execute and read late": (lent) => execute(lent, (response) => Effect.andThen(yields(3), read(response))),
  "execute and read as a stream": (lent) => execute(lent, ({ stream }) => Stream.runDrain(stream)),
  "execute and drop the body": (lent) => execute(lent, () => Effect.void),
  "execute and discard the body": (lent) => execute(lent, ({ discard }) => Effect.andThen(discard, Effect.yieldNow)),
  "execute three times": (lent) =>
    Effect.replicateEffect(
      Effect.suspend(() => execute(lent, read)),
      3
    ),
  "execute at three origins at once": (lent) =>
    Effect.all(
      Object.values(origins).map((origin) => execute(lent, read, get(), origin)),
      { concurrency: 3 }
    ),
  "execute of a POST": (lent) => execute(lent, read, post()),
  "execute of what is lost": (lent) => execute(lent, read, get("lost", "lost", "lost")),
  "execute of a POST that is lost": (lent) => execute(lent, read, post("lost", "lost")),
  "execute of what is refused": (lent) => execute(lent, read, post("refused", "refused", "refused")),
  "execute over connections that are closed": (lent) => execute(lent, read, post("unsent", "unsent", "unsent")),
  "execute of what is never answered": (lent) => execute(lent, read, get("unanswered")),
  "execute of what is answered without end": (lent) => execute(lent, read, get("endless")),
  "execute of what is answered without end, dropped": (lent) => execute(lent, () => Effect.yieldNow, get("endless")),
  "execute of what is cut short": (lent) => execute(lent, read, get("cut short")),
  "a request over a borrowed connection": ({ http }) =>
    http.use(origins.a, (connection) =>
      Effect.scoped(Effect.flatMap(HttpConnection.request(connection, get()), ({ text }) => text))
    ),
  fetch: ({ http }) =>
    Effect.scoped(Effect.flatMap(HttpPool.fetch("https://a.test/fetched"), ({ text }) => text)).pipe(
      Effect.provideService(HttpPool.HttpPool, http as unknown as HttpPool.HttpConnections)
    ),
  "a client's request": (lent) => clientRequest(lent, ({ text }) => text),
  "a client's request whose body is read twice": (lent) =>
    clientRequest(lent, ({ text }) => Effect.andThen(text, text)),
  "a client's request that is lost": (lent) => clientRequest(lent, ({ text }) => text, "lost", "lost"),
  "a client's request that is never answered": (lent) => clientRequest(lent, ({ text }) => text, "unanswered"),
  "a client's request that is answered without end": (lent) => clientRequest(lent, ({ text }) => text, "endless"),
  "remove of the origin": (lent) => {
    lent.bench.mayBeClosed = true
    return Effect.andThen(lent.http.remove(origins.a), execute(lent, read))
  },
  "keys and statsOf": ({ http }) =>
    Effect.flatMap(http.keys, (keys) => Effect.forEach(keys, (origin) => http.statsOf(origin))),
  "execute at more origins than there may be": (lent) => {
    lent.bench.mayBeCrowded = true
    return Effect.forEach(Object.values(origins), (origin) => execute(lent, read, get(), origin))
  }
}
