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
import { TwoSteps } from "./twoSteps.ts"

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

type Body<Conn> = (connection: Conn, lease: Lease<Conn>) => Effect.Effect<any, any, any>

/** Uses what is lent at once; goes on with `otherwise` if nothing is. */
export class UseAtOnce<Conn, E> extends TwoSteps<{ loan: Loan<Conn, E> | undefined }> {
  private readonly pool: Immediate<Conn, E>
  private readonly body: Body<Conn>
  private readonly otherwise: () => Effect.Effect<any, any, any>

  constructor(pool: Immediate<Conn, E>, body: Body<Conn>, otherwise: () => Effect.Effect<any, any, any>) {
    super()
    this.pool = pool
    this.body = body
    this.otherwise = otherwise
  }

  start(): { loan: Loan<Conn, E> | undefined } {
    return { loan: undefined }
  }

  act(state: { loan: Loan<Conn, E> | undefined }): Effect.Effect<any, any, any> {
    const lender = this.pool[Immediate]()
    if (lender === undefined) return this.otherwise()
    const loan = new Loan(lender)
    state.loan = loan
    return lender.lendNow(loan) ? this.body(loan.connection, loan) : this.otherwise()
  }

  undo({ loan }: { readonly loan: Loan<Conn, E> | undefined }): void {
    if (loan !== undefined) loan.lender.end(loan)
  }
}

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
