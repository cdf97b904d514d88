/** HAProxy with a server behind it and a client before it. */
import * as Effect from "effect/Effect"
import type { LeakOracle } from "../leakOracle.ts"
import { makeClient } from "./client.ts"
import { haproxy } from "./haproxy.ts"
import { nghttpd, nghttpdDialect } from "./nghttpd.ts"
import { nginx, nginxDialect } from "./nginx.ts"

/** What clients speak with HAProxy, and HAProxy with the server behind it. */
export const haproxyPaths = [
  { name: "HTTP/1.1 before nginx", front: "http", back: "http" },
  { name: "HTTP/2 before nginx", front: "https", back: "http" },
  { name: "HTTP/2 before nghttpd", front: "https", back: "h2c" }
] as const

export const haproxyRig = Effect.fnUntraced(function* (
  oracle: LeakOracle,
  { back, front }: (typeof haproxyPaths)[number],
  insists = false
) {
  const backend = yield* back === "http" ? nginx() : nghttpd({ tls: false })
  const proxy = yield* haproxy({
    backend: { port: backend.port, speaks: back },
    directives: "http-reuse safe\n  retries 0"
  })
  const client = yield* makeClient(oracle, proxy[front], back === "http" ? nginxDialect : nghttpdDialect, {}, insists)
  return { backend, client, proxy }
})
