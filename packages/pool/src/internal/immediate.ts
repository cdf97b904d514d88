/**
 * Lending what is idle without the steps in between. A pool that is made of
 * others asks the innermost one first: where that lends at once there is no
 * wait, so nothing that could be interrupted, redirected or made to fail.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Fiber } from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { ConnectionPool, Lease, PoolError } from "../ConnectionPool.ts"
import { type Lender, Loan } from "./loan.ts"
import { addFinalizer, removeFinalizer } from "./scope.ts"

export const Immediate: unique symbol = Symbol.for("@poolkit/pool/Immediate")

/** A pool that knows whom a caller would be sent to now. */
export interface Immediate<Conn, E> {
  /** For one call, to be used in the same step. */
  readonly [Immediate]: () => Lender<Conn, E> | undefined
}

/** Undefined for a pool that is not of this package. */
export const immediateLender = <Conn, E>(
  pool: ConnectionPool<void, Conn, E>
): Lender<Conn, E | PoolError> | undefined => (pool as Partial<Immediate<Conn, E | PoolError>>)[Immediate]?.()

/** Uses what is lent at once; goes on with `otherwise` if nothing is. */
export const useAtOnce = <Conn, E, A, E2, R>(
  pool: Immediate<Conn, E>,
  body: (connection: Conn, lease: Lease<Conn>) => Effect.Effect<A, E2, R>,
  otherwise: () => Effect.Effect<A, E2, R>
): Effect.Effect<A, E2, R> =>
  Effect.suspend(() => {
    let loan: Loan<Conn, E> | undefined
    return Effect.onExitPrimitive(
      Effect.suspend(() => {
        const lender = pool[Immediate]()
        if (lender === undefined) return otherwise()
        loan = new Loan(lender)
        return lender.lendNow(loan) ? body(loan.connection, loan) : otherwise()
      }),
      () => loan?.lender.end(loan) as undefined
    )
  })

/** Borrows for the scope of the fiber if that takes no waiting. */
export const leaseAtOnce = <Conn, E>(
  lender: Lender<Conn, E> | undefined,
  fiber: Fiber<unknown, unknown>
): Lease<Conn> | undefined => {
  if (lender === undefined) return undefined
  const scope = Context.getUnsafe(fiber.context, Scope.Scope)
  const loan = new Loan(lender)
  loan.scope = scope
  const returned = () => {
    lender.end(loan)
    return Effect.void
  }
  // Before it is lent: a scope that is closed lends nothing.
  if (!addFinalizer(scope, loan, returned)) return undefined
  if (lender.lendNow(loan)) return loan
  removeFinalizer(scope, loan)
  return undefined
}
