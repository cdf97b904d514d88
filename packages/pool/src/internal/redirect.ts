/**
 * How a connector tells a pool that its callers are to go to another pool: it
 * dies with a `Redirect`. A defect, because policies that the user wraps around
 * the connector must neither see nor retry it.
 */
import type { Cause } from "effect/Cause"

export class Redirect {
  readonly _tag = "Redirect"
  /** Whose redirect it is. */
  readonly owner: object
  /** Why the other pool could not use the connection that was opened for it, if that happened. */
  readonly failure: Cause<unknown> | undefined

  constructor(owner: object, failure?: Cause<unknown> | undefined) {
    this.owner = owner
    this.failure = failure
  }
}

/** The redirect that a cause consists of. */
export const redirectOf = (cause: Cause<unknown>): Redirect | undefined => {
  for (const reason of cause.reasons) {
    if (reason._tag === "Die" && reason.defect instanceof Redirect) return reason.defect
  }
  return undefined
}
