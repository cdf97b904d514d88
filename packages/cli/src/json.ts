/**
 * The result of a run for other programs.
 *
 * @since 0.1.0
 */
import type { Row } from "./report.ts"

/**
 * Renders one JSON object on one line.
 *
 * **Details**
 *
 * Times are milliseconds, rounded to a microsecond. Latencies are `null` where
 * no request was answered, `reuse` where no connection was opened.
 *
 * @category rendering
 * @since 0.1.0
 */
export const render = (rows: ReadonlyArray<Row>, seconds: number): string => {
  const requests = rows.reduce((sum, row) => sum + row.tally.requests, 0)
  return JSON.stringify({
    requests,
    failed: rows.reduce((sum, row) => sum + row.tally.failed, 0),
    duration: round(seconds * 1000),
    requestsPerSecond: round(requests / Math.max(seconds, 0.001)),
    node: process.versions.node,
    origins: rows.map(originOf)
  })
}

const originOf = ({ evictions, name, opened, protocols, tally }: Row) => {
  const answered = tally.latency.totalCount
  const latency = (microseconds: number) => (answered === 0 ? null : round(microseconds / 1000))
  const percentile = (n: number) => latency(Math.min(tally.latency.getValueAtPercentile(n), tally.latency.maxValue))
  return {
    origin: name,
    protocols: [...protocols],
    connectionsOpened: opened,
    evictions: Object.fromEntries(evictions),
    requests: tally.requests,
    failed: tally.failed,
    reuse: opened === 0 ? null : round(answered / opened),
    latency: { p50: percentile(50), p90: percentile(90), p99: percentile(99), max: latency(tally.latency.maxValue) },
    statuses: Object.fromEntries(tally.statuses),
    errors: Object.fromEntries(tally.errors)
  }
}

const round = (value: number): number => Math.round(value * 1000) / 1000
