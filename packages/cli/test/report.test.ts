import { assert, describe, it } from "@effect/vitest"
import * as Json from "../src/json.ts"
import { render, type Row } from "../src/report.ts"
import { Tally } from "../src/tally.ts"

const row = (name: string, opened: number, tally: Tally, evictions: Record<string, number> = {}): Row => ({
  name,
  opened,
  tally,
  protocols: new Set(opened === 0 ? [] : ["http/1.1"]),
  evictions: new Map(Object.entries(evictions))
})

/** An origin with 98 good answers, from 1 to 98 ms, and each kind of bad one. */
const mixed = () => {
  const tally = new Tally()
  for (let i = 1; i <= 98; i++) tally.answered(200, i)
  tally.answered(404, 99)
  tally.answered(503, 1234)
  tally.unanswered("connection lost (ECONNRESET)")
  return row("http://a", 4, tally, { idle: 1, closed: 2 })
}

describe("report", () => {
  it("says how requests to an origin went", () => {
    assert.deepStrictEqual(render([mixed()], 101, 2.5).split("\n"), [
      "┌──────────┬──────────┬────────┬──────────┬───────┬────────┬────────┬────────┬────────┬────────┐",
      "│ origin   │ protocol │ opened │ requests │ reuse │ p50 ms │ p90 ms │ p99 ms │ max ms │ errors │",
      "├──────────┼──────────┼────────┼──────────┼───────┼────────┼────────┼────────┼────────┼────────┤",
      "│ http://a │ http/1.1 │      4 │      101 │  25.0 │   50.0 │   90.0 │   99.0 │  1,234 │      2 │",
      "└──────────┴──────────┴────────┴──────────┴───────┴────────┴────────┴────────┴────────┴────────┘",
      "101 requests in 2.50 s, 40 requests/s, 2 failed",
      "  http://a: 2 × evicted (closed)",
      "  http://a: 1 × evicted (idle)",
      "  http://a: 1 × HTTP 503",
      "  http://a: 1 × connection lost (ECONNRESET)",
      "  http://a: 1 × HTTP 404 (an answer, so not an error)"
    ])
  })

  it("says the same in JSON", () => {
    assert.deepStrictEqual(JSON.parse(Json.render([mixed(), row("http://b", 0, new Tally())], 2.5)), {
      requests: 101,
      failed: 2,
      duration: 2500,
      requestsPerSecond: 40.4,
      node: process.versions.node,
      origins: [
        {
          origin: "http://a",
          protocols: ["http/1.1"],
          connectionsOpened: 4,
          evictions: { idle: 1, closed: 2 },
          requests: 101,
          failed: 2,
          reuse: 25,
          // The histogram has three digits.
          latency: { p50: 50.015, p90: 90.047, p99: 99.007, max: 1234 },
          statuses: { 200: 98, 404: 1, 503: 1 },
          errors: { "HTTP 503": 1, "connection lost (ECONNRESET)": 1 }
        },
        {
          origin: "http://b",
          protocols: [],
          connectionsOpened: 0,
          evictions: {},
          requests: 0,
          failed: 0,
          reuse: null,
          latency: { p50: null, p90: null, p99: null, max: null },
          statuses: {},
          errors: {}
        }
      ]
    })
  })

  it("has no percentile above the maximum", () => {
    const tally = new Tally()
    tally.answered(200, 9.314)
    const [, , , cells, , totals] = render([row("http://a", 1, tally)], 1, 0.5).split("\n")
    assert.include(cells, "│   9.31 │   9.31 │   9.31 │   9.31 │")
    assert.strictEqual(totals, "1 request in 0.50 s, 2 requests/s, 0 failed")
  })

  it("says how many requests are missing", () => {
    const tally = new Tally()
    assert.include(render([row("http://a", 0, tally)], 1000, 0), "\n0 of 1,000 requests in 0.00 s, 0 req")
  })

  it("knows no missing requests where only time counted", () => {
    const tally = new Tally()
    tally.answered(200, 1)
    assert.include(render([row("http://a", 1, tally)], Infinity, 1), "\n1 request in 1.00 s, 1 requests/s, 0 failed")
  })

  it("fits 120 columns, whatever the numbers and names", () => {
    const big = new Tally()
    big.answered(200, 86_400_000)
    big.requests = 1_000_000_000
    big.failed = 999_999_999
    const rows = ["https://a.rather.long.name.for.a.host.in.some.zone.example.org:8443", "http://[::1]:8080"].map(
      (name) => row(name, 10_000, big)
    )
    const lines = render(rows, 2_000_000_000, 86_400).split("\n")
    assert.deepStrictEqual(
      lines.map((line) => line.length <= 120),
      lines.map(() => true),
      lines.join("\n")
    )
    assert.match(lines[3]!, /^│ https\S*…\S*8443 +│/)
  })
})
