/** Every public operation on an `HttpPool`, each as what one caller does. */
import * as HttpConnection from "@poolkit/http/HttpConnection"
import * as HttpPool from "@poolkit/http/HttpPool"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as PooledHttpClient from "@poolkit/http/PooledHttpClient"
import * as Effect from "effect/Effect"
import { type HttpClientResponse, HttpClientRequest } from "effect/http"
import * as Stream from "effect/Stream"
import { type Bench, yields } from "../../../pool/test/support/bench.ts"
import type { Origin } from "@poolkit/http/Origin"
import { type Http, origins } from "./httpRig.ts"
import type { Fate, LabServer } from "./labConnection.ts"

/** What an operation may use. */
export interface Lent {
  readonly bench: Bench
  readonly http: Http
  readonly server: LabServer
}

type Operation = (lent: Lent) => Effect.Effect<unknown, unknown>

let requests = 0

const get = (): HttpConnection.HttpRequest => ({ method: "GET", path: `/${++requests}` })

const read = (response: HttpConnection.HttpResponse) => response.text

/** Sends to an origin and does something with the response. */
const execute = (
  { http, server }: Lent,
  then: (response: HttpConnection.HttpResponse) => Effect.Effect<unknown, unknown>,
  request = get(),
  origin: Origin = origins.a
) => {
  const limit = request.method === "GET" ? 2 : 1
  return Effect.ensuring(
    Effect.scoped(Effect.flatMap(HttpRequest.execute(http, origin, request), then)),
    Effect.sync(() => {
      const times = server.executed.get(request.path) ?? 0
      if (times > limit) server.wrongs.push(`${request.method} was done ${times} times`)
    })
  )
}

/** What the next requests of anybody meet. */
const meeting =
  (fates: ReadonlyArray<Fate>, operation: Operation): Operation =>
  (lent) => {
    lent.bench.mayFail = true
    lent.server.fates.push(...fates)
    return operation(lent)
  }

const post = (): HttpConnection.HttpRequest => ({ ...get(), method: "POST", body: "body" })

const clientRequest = (
  { http }: Lent,
  then: (response: HttpClientResponse.HttpClientResponse) => Effect.Effect<unknown, unknown>
) => {
  const client = PooledHttpClient.make(http)
  return Effect.flatMap(client.execute(HttpClientRequest.get(`https://a.test/${++requests}`)), then)
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
  "execute where requests are lost": meeting(["lost", "lost", "lost"], (lent) => execute(lent, read)),
  "execute of a POST that is lost": meeting(["lost"], (lent) => execute(lent, read, post())),
  "execute where requests are refused": meeting(["refused", "refused"], (lent) => execute(lent, read, post())),
  "execute where connections are closed": meeting(["unsent", "unsent", "unsent"], (lent) => execute(lent, read)),
  "execute where bodies are cut short": meeting(["cut short"], (lent) => execute(lent, read)),
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
  "a client's request where requests are lost": meeting(["lost", "lost"], (lent) =>
    clientRequest(lent, ({ text }) => text)
  ),
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
