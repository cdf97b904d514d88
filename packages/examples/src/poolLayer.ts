/**
 * A pool layer provided to an Effect program: the program asks for a
 * connection where it needs one and knows nothing of limits or reuse.
 */
import { CachePool } from "@poolkit/pool"
import type { SocketError } from "@poolkit/http/SocketError"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { connect, type KeyValueConnection, type KeyValueServer, serve } from "./support/keyValue.ts"

class Server extends Context.Service<Server, KeyValueServer>()("examples/poolLayer/Server") {
  static readonly layer = Layer.effect(this, serve)
}

class Store extends Context.Service<Store, CachePool.CachePool<KeyValueConnection, SocketError>>()(
  "examples/poolLayer/Store"
) {
  static readonly layer = CachePool.layer(this, {
    connect: () => Effect.flatMap(Server, (server) => connect(server.port)),
    maxSize: 4,
    isOpen: (connection) => connection.isOpen(),
    watch: (connection, { retire }) => connection.onClose(retire)
  })
}

const put = (key: string, value: number) =>
  Effect.flatMap(Store, (store) => store.use((connection) => connection.send(`SET ${key} ${value}`)))

const get = (key: string) => Effect.flatMap(Store, (store) => store.use((connection) => connection.send(`GET ${key}`)))

export const program = Effect.gen(function* () {
  const keys = Array.from({ length: 100 }, (_, i) => `key-${i}`)
  yield* Effect.forEach(keys, put, { concurrency: 20 })
  const values = yield* Effect.forEach(keys, get, { concurrency: 20 })
  const { accepted } = yield* Server
  const sum = values.reduce((total, value) => total + Number(value), 0)
  const line = `${values.length} values, sum ${sum}, over ${accepted()} connections`
  yield* Console.log(line)
  return line
}).pipe(Effect.provide(Layer.provideMerge(Store.layer, Server.layer)))

if (import.meta.main) await Effect.runPromise(program)
