/**
 * What a pool that is made of other pools can ask of those of this package,
 * beyond the contract. All answers are immediate.
 */
import type * as Effect from "effect/Effect"
import type { Exit } from "effect/Exit"
import type { Any } from "../ConnectionPool.ts"

export const InnerPool: unique symbol = Symbol.for("@poolkit/pool/InnerPool")

export interface InnerPool {
  /**
   * Starts an attempt that nobody waits for, although the pool may rest after
   * a failure; the effect waits for its end. Undefined if there is no room.
   */
  readonly openOne: () => Effect.Effect<Exit<unknown, unknown>> | undefined
  /** Connections that may be lent, now or when their borrowers return them. */
  readonly lendable: () => number
  readonly idle: () => number
  /** Whether a caller would be served at once. */
  readonly canLend: () => boolean
  /** Whether callers that left the line have not run yet. */
  readonly isWaking: () => boolean
  /** Asks the shared limit for nothing more: the pool is about to drain, and another one may do so first. */
  readonly stopAsking: () => void
  /** While `arriving` says that callers are on their way here, what is idle is kept for them. */
  readonly keepWhile: (arriving: () => boolean) => void
  /** They have arrived: what they left over is like any other idle connection. */
  readonly arrived: () => void
}

export const innerPool = (pool: Any): InnerPool | undefined => (pool as { readonly [InnerPool]?: InnerPool })[InnerPool]
