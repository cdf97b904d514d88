/** Times of things that are over in milliseconds, on a machine that has other things to do. */
import { readFileSync } from "node:fs"

/** Milliseconds for which the main thread was ready to run and had no processor, as Linux counts them; else 0. */
const waited = (): number => {
  try {
    return Number(readFileSync("/proc/self/schedstat", "latin1").split(" ")[1]) / 1e6
  } catch {
    return 0
  }
}

export interface Sample {
  readonly took: number
  /** What of it the thread may have waited for a processor: nothing in this process can make that shorter. */
  readonly noise: number
}

/** Starts a clock and returns what stops it. */
export const stopwatch = (): (() => Sample) => {
  const before = waited()
  const start = performance.now()
  return () => ({ took: performance.now() - start, noise: waited() - before })
}

/** The value that a share of the samples does not exceed. */
export const quantile = (samples: ReadonlyArray<number>, share: number): number => {
  const sorted = Array.from(samples).sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? NaN
}
