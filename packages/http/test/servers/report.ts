import type { Summary } from "./ledger.ts"

/** Prints what a test counted, in one line. */
export const report = (name: string, summary: Summary, counts: Readonly<Record<string, number>>): void => {
  const { errors, ...requests } = summary
  const parts = Object.entries({ ...requests, ...counts, ...errors }).map(([what, count]) => `${what} ${count}`)
  console.log(`${name}: ${parts.join(", ")}`)
}
