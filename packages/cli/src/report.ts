/**
 * The table at the end of a run.
 *
 * @since 0.1.0
 */
import Table from "cli-table3"
import type { Tally } from "./tally.ts"

/**
 * One origin of the table.
 *
 * @category models
 * @since 0.1.0
 */
export interface Row {
  readonly name: string
  /** Of its connections, as ALPN spells them. */
  readonly protocols: ReadonlySet<string>
  /** Connections opened. */
  readonly opened: number
  /** How many of them the pool removed, by reason. */
  readonly evictions: ReadonlyMap<string, number>
  readonly tally: Tally
}

const maxWidth = 120

const head = ["origin", "protocol", "opened", "requests", "reuse", "p50 ms", "p90 ms", "p99 ms", "max ms", "errors"]

/**
 * Renders the table, a line with the totals and, where connections were evicted
 * or something failed, why and how often.
 *
 * **Details**
 *
 * At most 120 columns wide; names of origins are shortened to fit. `reuse` is
 * how many responses a connection served on average.
 *
 * @category rendering
 * @since 0.1.0
 */
export const render = (rows: ReadonlyArray<Row>, total: number, seconds: number): string => {
  const cells = rows.map(cellsOf)
  const widths = head.map((title, column) => Math.max(title.length, ...cells.map((row) => row[column]!.length)))
  // Each column has two blanks and a border.
  const excess = widths.reduce((sum, width) => sum + width + 3, 1) - maxWidth
  const nameWidth = Math.max(8, widths[0]! - Math.max(0, excess))

  const table = new Table({
    head,
    colAligns: head.map((_, column) => (column < 2 ? "left" : "right")),
    style: { head: [], border: [], compact: true }
  })
  for (const [name, ...rest] of cells) table.push([shorten(name!, nameWidth), ...rest])

  const requests = rows.reduce((sum, row) => sum + row.tally.requests, 0)
  const failed = rows.reduce((sum, row) => sum + row.tally.failed, 0)
  const totals =
    `${requestsOf(requests, total)} in ${digits(seconds)} s, ` +
    `${count(Math.round(requests / Math.max(seconds, 0.001)))} requests/s, ${count(failed)} failed`
  return [table.toString(), totals, ...rows.flatMap(detailsOf)].join("\n")
}

/** `total` is infinite where a run was bound by time only. */
const requestsOf = (requests: number, total: number): string => {
  const all = Number.isFinite(total) ? total : requests
  return `${requests === all ? "" : `${count(requests)} of `}${count(all)} ${all === 1 ? "request" : "requests"}`
}

const cellsOf = ({ name, opened, protocols, tally }: Row): ReadonlyArray<string> => {
  const answered = tally.latency.totalCount
  const latency = (microseconds: number) => (answered === 0 ? "–" : milliseconds(microseconds / 1000))
  return [
    name,
    protocols.size === 0 ? "–" : [...protocols].join(" "),
    count(opened),
    count(tally.requests),
    opened === 0 ? "–" : reuse(answered / opened),
    // The histogram rounds up, so that a percentile could be above the maximum.
    ...[50, 90, 99].map((percentile) =>
      latency(Math.min(tally.latency.getValueAtPercentile(percentile), tally.latency.maxValue))
    ),
    latency(tally.latency.maxValue),
    count(tally.failed)
  ]
}

/** Why connections were removed, what failed, and how servers answered if not all answers were good. */
const detailsOf = ({ evictions, name, tally }: Row): ReadonlyArray<string> => {
  const evicted = [...evictions]
    .sort(([, a], [, b]) => b - a)
    .map(([reason, times]) => `  ${name}: ${count(times)} × evicted (${reason})`)
  const errors = [...tally.errors]
    .sort(([, a], [, b]) => b - a)
    .map(([kind, times]) => `  ${name}: ${count(times)} × ${kind}`)
  const rejected = [...tally.statuses]
    .filter(([status]) => status >= 400 && status < 500)
    .map(([status, times]) => `  ${name}: ${count(times)} × HTTP ${status} (an answer, so not an error)`)
  return [...evicted, ...errors, ...rejected]
}

const count = (value: number): string =>
  value < 10_000_000
    ? value.toLocaleString("en")
    : `${(value / 1e6).toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 })}M`

const reuse = (value: number): string => (value < 100 ? value.toFixed(1) : count(Math.round(value)))

/** What takes minutes says so with its unit. */
const milliseconds = (value: number): string =>
  value < 100 ? digits(value) : value < 100_000 ? count(Math.round(value)) : `${Math.round(value / 1000)}s`

const digits = (value: number): string => value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)

/** Cuts the middle out: the port at the end tells local origins apart. */
const shorten = (text: string, width: number): string => {
  if (text.length <= width) return text
  const tail = Math.floor((width - 1) / 2)
  return `${text.slice(0, width - 1 - tail)}…${text.slice(text.length - tail)}`
}
