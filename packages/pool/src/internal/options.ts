/**
 * Options with their defaults applied. A bad value throws a `RangeError` that
 * names the option and what is allowed; `make` turns it into a defect.
 */
import type { Cause } from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Schedule from "effect/Schedule"
import type { PoolError, PoolOptions } from "../ConnectionPool.ts"

/** The numbers of `PoolOptions`, times in milliseconds. */
export interface Settings<E> {
  readonly maxSize: number
  readonly maxConnecting: number
  readonly maxPending: number
  readonly waitTimeout: number
  readonly connectTimeout: number
  readonly closeTimeout: number
  readonly drainDeadline: number
  readonly validateAfter: number
  readonly leakWarning: number | undefined
  readonly backoff: Schedule.Schedule<unknown, Cause<E | PoolError>>
  readonly cancelAbandoned: boolean
}

export const defaultBackoff: Schedule.Schedule<unknown> = Schedule.min([
  Schedule.exponential("100 millis"),
  Schedule.spaced("5 seconds")
]).pipe(Schedule.jittered)

/** Checks an integer option; `Infinity` is allowed where `max` is. */
export const integer = (
  kind: string,
  name: string,
  value: number | undefined,
  fallback: number,
  min: number,
  max: number
): number => {
  const n = value ?? fallback
  if (n >= min && n <= max && (Number.isInteger(n) || n === Infinity)) return n
  const range = max === Infinity ? `of at least ${min}` : `from ${min} to ${max}`
  throw new RangeError(`${kind}: ${name} must be an integer ${range}, got ${String(n)}`)
}

/** Checks a duration option: zero or longer, or longer than zero where `min` is `"positive"`. */
export const millis = (
  kind: string,
  name: string,
  value: Duration.Input | undefined,
  fallback: Duration.Input,
  min: 0 | "positive"
): number => {
  const n = toMillis(value ?? fallback)
  if (min === 0 ? n >= 0 : n > 0) return n
  const got = typeof value === "object" ? JSON.stringify(value) : String(value)
  throw new RangeError(
    `${kind}: ${name} must be a duration ${min === 0 ? "of zero or longer" : "longer than zero"}, got ${got}`
  )
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

export const settings = <Conn, E, R, RV>(
  kind: string,
  options: PoolOptions<Conn, E, R, RV>,
  defaultMaxSize = 10
): Settings<E> => {
  if (typeof options.connect !== "function") {
    throw new RangeError(`${kind}: connect must be a function that returns an Effect, got ${typeof options.connect}`)
  }
  if (options.onAbandon !== undefined && options.onAbandon !== "keep" && options.onAbandon !== "cancel") {
    throw new RangeError(`${kind}: onAbandon must be "keep" or "cancel", got ${JSON.stringify(options.onAbandon)}`)
  }
  const finite = Number.MAX_SAFE_INTEGER
  const maxSize = integer(kind, "maxSize", options.maxSize, defaultMaxSize, 1, finite)
  return {
    maxSize,
    maxConnecting: integer(kind, "maxConnecting", options.maxConnecting, maxSize, 1, finite),
    maxPending: integer(kind, "maxPending", options.maxPending, Infinity, 0, Infinity),
    waitTimeout: millis(kind, "waitTimeout", options.waitTimeout, "30 seconds", "positive"),
    connectTimeout: millis(kind, "connectTimeout", options.connectTimeout, "10 seconds", "positive"),
    closeTimeout: millis(kind, "closeTimeout", options.closeTimeout, "5 seconds", 0),
    drainDeadline: millis(kind, "drainDeadline", options.drainDeadline, 0, 0),
    validateAfter: millis(kind, "validateAfter", options.validateAfter, 0, 0),
    leakWarning:
      options.leakWarning === undefined ? undefined : millis(kind, "leakWarning", options.leakWarning, 0, "positive"),
    backoff: options.backoff ?? defaultBackoff,
    cancelAbandoned: options.onAbandon === "cancel"
  }
}
