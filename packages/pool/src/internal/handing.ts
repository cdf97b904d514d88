/**
 * How a connector hands the connection that it opened to another pool. From
 * then on its attempt only waits: it no longer counts as connecting, and its
 * slot in a shared limit is that of the other pool's attempt.
 */
import * as Context from "effect/Context"

export interface Handing {
  /** `prime` makes the other pool start the attempt that is to take the connection. */
  readonly give: (prime: () => void) => void
  /** Nobody took the connection after all: it closes with the attempt that opened it. */
  readonly keep: () => void
}

/** Of the attempt that the connector runs for. */
export const Handing: Context.Reference<Handing | undefined> = Context.Reference<Handing | undefined>(
  "@poolkit/pool/Handing",
  { defaultValue: () => undefined }
)
