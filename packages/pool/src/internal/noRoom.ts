/**
 * How a connector tells its pool that it cannot connect just now, and that the
 * pool's limit will say when it can. It dies with a `NoRoom`: the attempt is
 * nobody's failure, and its caller waits in the pool's own line, where a
 * returned connection can serve it. A defect, because policies that the user
 * wraps around the connector must not retry it.
 */
import type { Cause } from "effect/Cause"

export class NoRoom {
  readonly _tag = "NoRoom"
}

export const isNoRoom = (cause: Cause<unknown>): boolean =>
  cause.reasons.some((reason) => reason._tag === "Die" && reason.defect instanceof NoRoom)
