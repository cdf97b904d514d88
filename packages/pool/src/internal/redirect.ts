/**
 * How a connector tells a pool that its callers are to go to another pool: it
 * dies with a `Redirect`. A defect, because policies that the user wraps around
 * the connector must neither see nor retry it.
 */
import * as Cause from "effect/Cause"

export class Redirect {
  readonly _tag = "Redirect"
  /** Whose redirect it is. */
  readonly owner: object
  /** Why the other pool could not use the connection that was opened for it, if that happened. */
  readonly failure: Cause.Cause<unknown> | undefined
  /** When the caller began to wait, in monotonic milliseconds. */
  readonly start: number | undefined

  constructor(owner: object, failure?: Cause.Cause<unknown> | undefined, start?: number | undefined) {
    this.owner = owner
    this.failure = failure
    this.start = start
  }
}

/** The redirect that a cause consists of. */
export const redirectOf = (cause: Cause.Cause<unknown>): Redirect | undefined => {
  for (const reason of cause.reasons) {
    if (reason._tag === "Die" && reason.defect instanceof Redirect) return reason.defect
  }
  return undefined
}

/** A redirect for a caller who has waited since `start`; any other cause as it is. */
export const redirectSince = <E>(cause: Cause.Cause<E>, start: number): Cause.Cause<E> => {
  const redirect = redirectOf(cause)
  return redirect === undefined ? cause : Cause.die(new Redirect(redirect.owner, redirect.failure, start))
}
