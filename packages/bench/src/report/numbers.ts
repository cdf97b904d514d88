/**
 * Numbers as people read them.
 */
import type { Summary } from "../harness/statistics.ts"

/** Three significant digits at least, no more decimals than that takes. */
export const number = (value: number, digits?: number): string => {
  if (!Number.isFinite(value)) return "–"
  const decimals = digits ?? Math.max(0, Math.min(3, 2 - Math.floor(Math.log10(Math.abs(value) || 1))))
  return value.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals })
}

/** A median and the middle half of the rounds. */
export const spread = ({ high, low, median }: Summary, digits?: number): string =>
  low === high ? number(median, digits) : `${number(median, digits)} (${number(low, digits)} – ${number(high, digits)})`

export const scaled = ({ high, low, median }: Summary, scale: number): Summary => ({
  median: median * scale,
  low: low * scale,
  high: high * scale
})
