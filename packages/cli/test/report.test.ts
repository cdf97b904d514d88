import { assert, describe, it } from "@effect/vitest"
import { render } from "../src/report.ts"
import { Tally } from "../src/tally.ts"

describe("report", () => {
  it("says how requests to an origin went", () => {
    const tally = new Tally()
    for (let i = 1; i <= 98; i++) tally.answered(200, i)
    tally.answered(404, 99)
    tally.answered(503, 1234)
    tally.unanswered("connection lost (ECONNRESET)")
    assert.deepStrictEqual(render([{ name: "http://a", opened: 4, tally }], 101, 2.5).split("\n"), [
      "┌──────────┬────────┬──────────┬───────┬────────┬────────┬────────┬────────┬────────┐",
      "│ origin   │ opened │ requests │ reuse │ p50 ms │ p90 ms │ p99 ms │ max ms │ errors │",
      "├──────────┼────────┼──────────┼───────┼────────┼────────┼────────┼────────┼────────┤",
      "│ http://a │      4 │      101 │  25.0 │   50.0 │   90.0 │   99.0 │  1,234 │      2 │",
      "└──────────┴────────┴──────────┴───────┴────────┴────────┴────────┴────────┴────────┘",
      "101 requests in 2.50 s, 40 requests/s, 2 failed",
      "  http://a: 1 × HTTP 503",
      "  http://a: 1 × connection lost (ECONNRESET)",
      "  http://a: 1 × HTTP 404 (an answer, so not an error)"
    ])
  })

  it("has no percentile above the maximum", () => {
    const tally = new Tally()
    tally.answered(200, 9.314)
    const [, , , row, , totals] = render([{ name: "http://a", opened: 1, tally }], 1, 0.5).split("\n")
    assert.include(row, "│   9.31 │   9.31 │   9.31 │   9.31 │")
    assert.strictEqual(totals, "1 request in 0.50 s, 2 requests/s, 0 failed")
  })

  it("says how many requests are missing", () => {
    const tally = new Tally()
    assert.include(render([{ name: "http://a", opened: 0, tally }], 1000, 0), "\n0 of 1,000 requests in 0.00 s, 0 req")
  })

  it("fits 100 columns, whatever the numbers and names", () => {
    const big = new Tally()
    big.answered(200, 86_400_000)
    big.requests = 1_000_000_000
    big.failed = 999_999_999
    const rows = ["https://a.rather.long.name.for.a.host.in.some.zone.example.org:8443", "http://[::1]:8080"].map(
      (name) => ({ name, opened: 10_000, tally: big })
    )
    const lines = render(rows, 2_000_000_000, 86_400).split("\n")
    assert.deepStrictEqual(
      lines.map((line) => line.length <= 100),
      lines.map(() => true),
      lines.join("\n")
    )
    assert.match(lines[3]!, /^│ https:\S*…\S*8443 +│/)
  })
})
