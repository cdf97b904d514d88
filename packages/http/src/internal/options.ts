/** Checks of options. A bad value throws a `RangeError` that names the option and what is allowed. */
import * as Duration from "effect/Duration"

/** Checks an integer option. */
export const integer = (module: string, name: string, value: number | undefined, fallback: number, min: number) => {
  const n = value ?? fallback
  if (Number.isInteger(n) && n >= min) return n
  throw new RangeError(`${module}: ${name} must be an integer of at least ${min}, got ${String(n)}`)
}

/** Checks a duration option, in milliseconds. */
export const millis = (
  module: string,
  name: string,
  value: Duration.Input | undefined,
  fallback: number,
  min: 0 | "positive" = 0
): number => {
  const n = value === undefined ? fallback : toMillis(value)
  if (min === 0 ? n >= 0 : n > 0) return n
  const got = typeof value === "object" ? JSON.stringify(value) : String(value)
  const expected = min === 0 ? "of zero or longer" : "longer than zero"
  throw new RangeError(`${module}: ${name} must be a duration ${expected}, got ${got}`)
}

const toMillis = (input: Duration.Input): number => {
  // Duration reads NaN as zero, which would hide a mistake.
  if (Number.isNaN(input)) return Number.NaN
  try {
    return Duration.toMillis(Duration.fromInputUnsafe(input))
  } catch {
    return Number.NaN
  }
}
