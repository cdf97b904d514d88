import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { redis } from "../../http/test/servers/redis.ts"
import { missing } from "../../http/test/servers/serverProcess.ts"
import { countingServer } from "./support/countingServer.ts"
import { eventually, worker } from "./support/fleet.ts"

const max = 20
const sum = (counts: ReadonlyMap<string, number>) => [...counts.values()].reduce((a, b) => a + b, 0)

describe.skipIf(missing("redis-server"))("a fleet on Redis", () => {
  it.live(
    "8 processes of 50 fibers never have more than 20 connections, and get as much done as one process with 20",
    () =>
      Effect.gen(function* () {
        const store = yield* redis()
        const server = yield* countingServer(20)
        const start = (key: string, name: string, fibers: number) =>
          worker({ name, redis: store.url, port: server.port, key, max, leaseTime: 2_000, gracePeriod: 0, fibers })

        const rate = Effect.fnUntraced(function* (seconds: number) {
          server.takeServed()
          const from = performance.now()
          yield* Effect.sleep(seconds * 1000)
          const served = server.takeServed()
          return { served, perSecond: (sum(served) * 1000) / (performance.now() - from) }
        })

        const alone = yield* Effect.scoped(
          Effect.gen(function* () {
            const one = yield* start("alone", "one", 400)
            yield* eventually(
              10,
              () => server.open() === max,
              () => one.errors()
            )
            return yield* rate(1.5)
          })
        )
        yield* eventually(
          5,
          () => server.open() === 0,
          () => "still open"
        )
        server.takePeak()
        const names = Array.from({ length: 8 }, (_, i) => `p${i}`)
        const from = performance.now()
        const workers = yield* Effect.forEach(names, (name) => start("fleet", name, 50))
        yield* eventually(
          15,
          // Shares are settled, so that it is not the start of eight processes that is measured.
          () => names.every((name) => [2, 3].includes(server.open(name))) && server.open() === max,
          () => workers.map(({ errors }) => errors()).join("\n")
        )
        const { perSecond, served } = yield* rate(2)
        const shares = names.map((name) => server.open(name))
        const exchanges = workers.map((one) => one.stats()?.["exchanges"])
        const seconds = ((performance.now() - from) / 1000).toFixed(1)
        console.log(
          `fleet ${perSecond.toFixed()}/s, alone ${alone.perSecond.toFixed()}/s, shares ${shares}, exchanges ${exchanges} in ${seconds} s`
        )
        assert.isAtMost(server.takePeak(), max)
        for (const name of names) assert.isAbove(served.get(name) ?? 0, 0, name)
        assert.isAtLeast(perSecond, 0.9 * alone.perSecond)
      })
  )
})
