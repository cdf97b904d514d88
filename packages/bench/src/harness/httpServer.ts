/**
 * Where the clients send their requests.
 */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import { start } from "./children.ts"

export interface HttpServer {
  readonly port: number
  readonly ca: string | undefined
}

export type Version = "http1" | "http2"

export const startHttpServer = (version: Version, tls: boolean): Effect.Effect<HttpServer, Error, Scope> =>
  Effect.map(
    start<HttpServer>(new URL("../servers/http.ts", import.meta.url), [version, tls ? "tls" : "plain"]),
    ({ message }) => message
  )

export const originOf = ({ ca, port }: HttpServer): string =>
  `${ca === undefined ? "http" : "https"}://127.0.0.1:${port}`
