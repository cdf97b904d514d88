/**
 * What has been measured of one origin.
 *
 * @since 0.1.0
 */
import { build, type Histogram } from "hdr-histogram-js"

/**
 * Counts and latencies of one origin. A request is counted when it has ended.
 *
 * @category models
 * @since 0.1.0
 */
export class Tally {
  requests = 0
  failed = 0
  /** How often a response had this status. */
  readonly statuses: Map<number, number> = new Map()
  /** How often a request failed, by kind. */
  readonly errors: Map<string, number> = new Map()
  /** Microseconds until the whole response was there, of the requests that got one. */
  readonly latency: Histogram = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 3_600_000_000,
    numberOfSignificantValueDigits: 3
  })

  /** A whole response came. A status from 500 up counts as a failure too. */
  answered(status: number, milliseconds: number): void {
    this.requests++
    this.latency.recordValue(Math.max(1, Math.round(milliseconds * 1000)))
    increment(this.statuses, status)
    if (status >= 500) this.fail(`HTTP ${status}`)
  }

  /** No whole response came. */
  unanswered(kind: string): void {
    this.requests++
    this.fail(kind)
  }

  private fail(kind: string): void {
    this.failed++
    increment(this.errors, kind)
  }
}

const increment = <Key>(counts: Map<Key, number>, key: Key): void => {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}
