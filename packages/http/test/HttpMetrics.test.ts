import { assert, describe, it } from "@effect/vitest"
import type { HttpConnection } from "@poolkit/http/HttpConnection"
import * as HttpMetrics from "@poolkit/http/HttpMetrics"
import * as HttpPool from "@poolkit/http/HttpPool"
import * as Origin from "@poolkit/http/Origin"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as TestClock from "effect/testing/TestClock"

/** Every metric of an origin as `name state version`, histograms as `count/sum`. */
const read = (host: string) =>
  Effect.map(Metric.snapshot, (snapshots) => {
    const values: Record<string, number | string> = {}
    for (const { attributes = {}, id, state } of snapshots) {
      const {
        "http.connection.state": level,
        "network.protocol.version": version,
        "server.address": address,
        ...rest
      } = attributes as Record<string, string>
      if (address !== host) continue
      assert.deepStrictEqual(rest, { "server.port": "443", "url.scheme": "https", app: "shop" })
      const key = [id.replace("http.client.", ""), level, version].filter((part) => part !== undefined).join(" ")
      values[key] = "sum" in state ? `${state.count}/${state.sum}` : (state as { readonly value: number }).value
    }
    return values
  })

const isolated = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.scoped(Effect.provideService(effect, Metric.MetricRegistry, new Map()))

const connection = (protocol: string): HttpConnection => ({
  protocol,
  concurrency: () => 100,
  isOpen: () => true,
  watch: () => () => {},
  send: () => assert.fail("no request is sent")
})

/** A pool whose connections speak HTTP/2 where the host is called `two`. */
const makePool = HttpPool.make({
  connect: (origin) => Effect.succeed(connection(origin.host === "two" ? "h2" : "http/1.1")),
  idleTimeToLive: Infinity,
  maxLifetime: Infinity
})

const one = Origin.make({ url: "https://one", tenant: "secret" })
const two = Origin.make("https://two")

const options = { attributes: { app: "shop" } }

describe("HttpMetrics", () => {
  it.effect("follows connections and requests by origin and protocol", () =>
    isolated(
      Effect.gen(function* () {
        const pool = yield* makePool
        yield* HttpMetrics.observe(pool, options)
        const gate = Deferred.makeUnsafe<void>()
        const hold = (origin: Origin.Origin) => Effect.forkChild(pool.use(origin, () => Deferred.await(gate)))
        yield* Effect.forEach([one, one, two, two], hold)
        yield* TestClock.adjust("3 seconds")
        assert.deepStrictEqual(yield* read("one"), {
          "open_connections idle 1.1": 0,
          "open_connections active 1.1": 2,
          "active_requests 1.1": 2
        })
        assert.deepStrictEqual(yield* read("two"), {
          "open_connections idle 2": 0,
          "open_connections active 2": 1,
          "active_requests 2": 2
        })
        yield* Deferred.succeed(gate, undefined)
        yield* TestClock.adjust("1 second")
        yield* pool.retain((_, info) => info.annotations.get("protocol") === "h2")
        yield* Effect.yieldNow
        assert.deepStrictEqual(yield* read("one"), {
          "open_connections idle 1.1": 0,
          "open_connections active 1.1": 0,
          "active_requests 1.1": 0,
          "request.duration 1.1": "2/6",
          "connection.duration 1.1": "2/8"
        })
        assert.deepStrictEqual(yield* read("two"), {
          "open_connections idle 2": 1,
          "open_connections active 2": 0,
          "active_requests 2": 0,
          "request.duration 2": "2/6"
        })
      })
    )
  )

  it.effect("finds connections that were open before it when they are used next", () =>
    isolated(
      Effect.gen(function* () {
        const pool = yield* makePool
        yield* pool.use(one, () => Effect.void)
        yield* HttpMetrics.observe(pool, options)
        yield* pool.use(one, () =>
          Effect.gen(function* () {
            assert.deepInclude(yield* read("one"), { "open_connections active 1.1": 1, "active_requests 1.1": 1 })
          })
        )
        assert.deepInclude(yield* read("one"), { "open_connections idle 1.1": 1, "active_requests 1.1": 0 })
      })
    )
  )

  it.effect.each([false, true])(
    "counts nothing of a pool that closed under its borrowers (who returned: %s)",
    (returned) =>
      isolated(
        Effect.gen(function* () {
          const pool = yield* makePool
          yield* HttpMetrics.observe(pool, options)
          const borrowing = yield* Effect.forkChild(
            Effect.forEach([one, two, two], (origin) => pool.use(origin, () => Effect.never), { concurrency: 3 })
          )
          yield* Effect.yieldNow
          yield* Effect.yieldNow
          yield* pool.drain({ deadline: 0 })
          if (returned) yield* Fiber.interrupt(borrowing)
          for (const [host, version] of [
            ["one", "1.1"],
            ["two", "2"]
          ] as const) {
            assert.deepInclude(yield* read(host), {
              [`open_connections idle ${version}`]: 0,
              [`open_connections active ${version}`]: 0,
              [`active_requests ${version}`]: 0
            })
          }
        })
      )
  )
})
