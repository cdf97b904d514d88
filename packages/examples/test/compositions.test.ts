/**
 * What each composition is for, in counts of connections.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Evict from "../src/compositions/evict.ts"
import * as ExclusiveConnections from "../src/compositions/exclusiveConnections.ts"
import * as Expiration from "../src/compositions/expiration.ts"
import * as GeneralPurpose from "../src/compositions/generalPurpose.ts"
import * as LimitConnecting from "../src/compositions/limitConnecting.ts"
import * as MaxConnections from "../src/compositions/maxConnections.ts"
import * as Metrics from "../src/compositions/metrics.ts"
import * as SharedConnection from "../src/compositions/sharedConnection.ts"

describe("compositions", () => {
  it.live("exclusive connections: 200 queries of 50 fibers use 5 of them, and one replaces those a restart took", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* ExclusiveConnections.program, { busy: 5, answer: "-", afterRestart: 1 })
    })
  )

  it.live("one shared connection: 200 callers at once open one, and one more after a restart", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* SharedConnection.program, { shared: 1, afterRestart: 1 })
    })
  )

  it.effect("expiration: nothing older than 300 seconds is lent, and nothing closes under its borrower", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* Expiration.program, [
        "299.999 s: 1 2",
        "300 s: 2",
        "329.999 s: 2",
        "330 s: ",
        "301 s after that: 4",
        "borrowing between two looks: 5",
        "400 s in use: 5",
        "returned: "
      ])
    })
  )

  it.effect("general purpose: one connection where the peer multiplexes, six where not, none after a while", () =>
    Effect.gen(function* () {
      const { closed, keys, opened, protocols } = yield* GeneralPurpose.program
      assert.strictEqual(protocols.filter((protocol) => protocol === "h2").length, 30)
      assert.strictEqual(protocols.filter((protocol) => protocol === "http/1.1").length, 30)
      assert.deepStrictEqual(opened, [...Array<string>(6).fill("http://example.org"), "https://example.org"])
      assert.deepStrictEqual(closed, opened)
      assert.deepStrictEqual(keys, [2, 0])
    })
  )

  it.effect("limit of concurrent connects: never more than 3 handshakes at once, over all hosts", () =>
    Effect.gen(function* () {
      // 3 every 10 ms: 13 rounds in 135 ms.
      assert.deepStrictEqual(yield* LimitConnecting.program, { used: 39, most: 3, opened: 40 })
    })
  )

  it.effect("maximum connections: never more than 8 over all hosts, and a busy host starves nobody", () =>
    Effect.gen(function* () {
      const { atTheEnd, most, soon } = yield* MaxConnections.program
      assert.strictEqual(most, 8)
      assert.strictEqual(soon.quiet, 70)
      assert.isBelow(soon.busy, 200)
      assert.deepStrictEqual(atTheEnd, { busy: 400, quiet: 70 })
    })
  )

  it.effect("evict whenever I want: by address, by credentials, and all", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* Evict.program, [
        "10.0.0.1 in use: closed 2",
        "left 10.0.0.1: closed 2 1",
        "new credentials, borrowed 5: closed 2 1 3 4",
        "cleared while in use: closed 2 1 3 4",
        "returned: closed 2 1 3 4 5"
      ])
    })
  )

  it.effect("metrics: Prometheus text of levels, counts, times and reasons", () =>
    Effect.gen(function* () {
      const text = yield* Metrics.program
      const pool = `db_client_connection_pool_name="orders"`
      const lines = [
        `db_client_connection_count{${pool},db_client_connection_state="idle"} 1`,
        `db_client_connection_count{${pool},db_client_connection_state="used"} 0`,
        `db_client_connection_max{${pool}} 2`,
        `db_client_connection_pending_requests{${pool}} 0`,
        `db_client_connection_created{${pool}} 2`,
        `db_client_connection_connect_failures{${pool}} 1`,
        `db_client_connection_timeouts{${pool}} 4`,
        `db_client_connection_evictions{${pool},reason="invalidated"} 1`,
        `db_client_connection_create_time_bucket{${pool},le="0.025"} 2`,
        `db_client_connection_use_time_count{${pool}} 7`
      ]
      for (const line of lines) assert.include(text.split("\n"), line)
    })
  )
})
