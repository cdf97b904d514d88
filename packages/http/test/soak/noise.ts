/** Times of things that are over in milliseconds, on a machine that has other things to do. */
import { openSync, readdirSync, readSync } from "node:fs"

const buffer = Buffer.alloc(64)

/** Milliseconds for which a thread was ready to run and had no processor. */
const waitedBy = (file: number): number => {
  try {
    return Number(buffer.toString("latin1", 0, readSync(file, buffer, 0, buffer.length, 0)).split(" ")[1]) / 1e6
  } catch {
    // It has ended.
    return 0
  }
}

/** What Linux counts for this thread, and for each other one that there is now; empty elsewhere. */
const open = (): ReadonlyArray<number> => {
  try {
    const folder = "/proc/self/task"
    const own = String(process.pid)
    const threads = [own, ...readdirSync(folder).filter((thread) => thread !== own)]
    return threads.map((thread) => openSync(`${folder}/${thread}/schedstat`, "r"))
  } catch {
    return []
  }
}

let files: ReadonlyArray<number> | undefined

/** Of this thread, and of the one that waited longest: this one waits for those that collect garbage with it. */
const waited = (): { readonly here: number; readonly others: ReadonlyArray<number> } => {
  const [here = 0, ...others] = (files ??= open()).map(waitedBy)
  return { here, others }
}

export interface Sample {
  readonly took: number
  /** What of it the process may have waited for a processor: nothing in it can make that shorter. */
  readonly noise: number
}

/** Starts a clock and returns what stops it. */
export const stopwatch = (): (() => Sample) => {
  const before = waited()
  const start = performance.now()
  return () => {
    const took = performance.now() - start
    const after = waited()
    const longest = Math.max(0, ...after.others.map((time, i) => time - before.others[i]!))
    return { took, noise: after.here - before.here + longest }
  }
}

/** The value that a share of the samples does not exceed. */
export const quantile = (samples: ReadonlyArray<number>, share: number): number => {
  const sorted = Array.from(samples).sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? NaN
}
