/**
 * How a connector tells a pool that the connection it opened belongs to
 * another pool: it dies with a `Redirect`. A defect, because policies that the
 * user wraps around the connector must neither see nor retry it.
 */
import type { Cause } from "effect/Cause"

export class Redirect {
  readonly _tag = "Redirect"
}

/** Whether the attempt was not a failure but somebody else's business. */
export const isRedirect = (cause: Cause<unknown>, redirect?: Redirect): boolean =>
  cause.reasons.length > 0 &&
  cause.reasons.every(
    (reason) =>
      reason._tag === "Die" &&
      reason.defect instanceof Redirect &&
      (redirect === undefined || reason.defect === redirect)
  )
