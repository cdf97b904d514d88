import { CachePool, Connector } from "@poolkit/pool"
import { Console, Context, Effect } from "effect"

const query = (sql: string) => Effect.delay(Effect.succeed(`${sql}: ok`), "2 millis")

// Any scoped effect that opens a connection is a connector.
const open = () =>
  Effect.acquireRelease(Effect.delay(Effect.succeed({ query }), "5 millis"), () => Console.log("closed a connection"))

// Policies wrap connectors, kinds take connectors, and a kind's `get` is a connector again.
class Database extends Context.Service<Database, CachePool.CachePool<{ readonly query: typeof query }>>()(
  "app/Database"
) {
  static readonly layer = CachePool.layer(this, {
    connect: Connector.limitConnecting(open, 2), // at most 2 handshakes at once
    maxSize: 4
  })
}

const select = Database.use((database) => database.use((connection) => connection.query("select 1")))

export const program = Effect.gen(function* () {
  yield* Effect.replicateEffect(select, 100, { concurrency: 20, discard: true })
  const { created, reused } = yield* Database.use((database) => database.stats)
  yield* Console.log(`100 queries over ${created} connections, ${reused} of them on a reused one`)
}).pipe(Effect.provide(Database.layer))

if (import.meta.main) await Effect.runPromise(program)
