/** How an origin is asked over HTTP. */
import type { HttpConnections } from "@poolkit/http/HttpPool"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Origin from "@poolkit/http/Origin"
import * as PooledHttpClient from "@poolkit/http/PooledHttpClient"
import * as Effect from "effect/Effect"
import { HttpClientRequest } from "effect/http"
import * as Stream from "effect/Stream"
import type { Site } from "./load.ts"

export const httpSite = (pool: HttpConnections, url: string): Site["ask"] => {
  const client = PooledHttpClient.make(pool)
  const origin = Origin.make(url)
  return ({ method, path }, dice) => {
    const body = method === "POST" ? `body of ${path}` : undefined
    const response = HttpRequest.execute(pool, origin, { method, path, ...(body !== undefined && { body }) })
    const way = dice.below(25)
    if (way === 0) return Effect.scoped(Effect.as(response, undefined))
    if (way === 1)
      return Effect.scoped(Effect.flatMap(response, ({ stream }) => Stream.mkString(Stream.decodeText(stream))))
    if (way > 3) return Effect.scoped(Effect.flatMap(response, ({ text }) => text))
    const bare = HttpClientRequest.make(method)(url + path)
    const request = body === undefined ? bare : HttpClientRequest.bodyText(bare, body)
    return Effect.flatMap(client.execute(request), ({ text }) => text)
  }
}
