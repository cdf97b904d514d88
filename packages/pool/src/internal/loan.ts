/**
 * One borrower's business with a pool, from the call to the return: it waits
 * in line as a waiter and is handed to the borrower as the lease.
 *
 * The rule that makes it safe to interrupt at any instant: whoever starts a
 * loan has first installed a finalizer that calls `end`, and `end` undoes
 * whatever state the loan is in.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Scope } from "effect/Scope"
import type { ConnectionInfo, Lease } from "../ConnectionPool.ts"
import type { Attempt } from "./attempt.ts"
import type { Connection } from "./connection.ts"
import type { Waiter } from "./line.ts"
import { removeFinalizer } from "./scope.ts"

/** What a kind does with loans. */
export interface Lender<Conn, E> {
  /**
   * Lends to `loan`, after a wait where that takes one, and goes on with
   * `then`. Call it only after a finalizer that calls `end` is in place.
   */
  take<A, E2, R>(loan: Loan<Conn, E>, then: () => Effect.Effect<A, E2, R>): Effect.Effect<A, E | E2, R>
  /** Lends to `loan` if that takes no waiting; true if it did. */
  lendNow(loan: Loan<Conn, E>): boolean
  /** Undoes `take`, whatever it led to. Idempotent. */
  end(loan: Loan<Conn, E>): void
  invalidate(loan: Loan<Conn, E>): void
}

/**
 * - `new`: `take` was not called
 * - `waiting`: in line
 * - `settled`: it has its connection or its error, which its fiber does not know yet
 * - `lent`: the borrower has the connection
 * - `ended`
 */
export type Phase = "new" | "waiting" | "settled" | "lent" | "ended"

export class Loan<Conn, E> implements Lease<Conn>, Waiter<Loan<Conn, E>> {
  readonly lender: Lender<Conn, E>
  phase: Phase = "new"
  held: Connection<Conn> | undefined = undefined
  /** The scope that returns it, if it was borrowed for one. */
  scope: Scope | undefined = undefined

  // While waiting.
  attempt: Attempt<unknown, Loan<Conn, E>> | undefined = undefined
  previous: Loan<Conn, E> | undefined = undefined
  next: Loan<Conn, E> | undefined = undefined
  resume: ((exit: Exit.Exit<void, E>) => void) | undefined = undefined
  outcome: Exit.Exit<void, E> | undefined = undefined
  arrival = 0
  /** When the wait began, in monotonic milliseconds; set before `take` if it began in another pool. */
  start: number | undefined = undefined
  /** Whether it stands in the list of loans to be resumed. */
  waking = false
  /** Content with nothing where no idle connection is fit. */
  idleOnly = false

  // While observed.
  waiter = 0
  since = 0

  constructor(lender: Lender<Conn, E>) {
    this.lender = lender
  }

  get connection(): Conn {
    return this.held!.value
  }

  get info(): ConnectionInfo {
    return this.held!
  }

  /** Ends the wait of a borrower whose scope was closed by somebody else. */
  cancel(): void {
    this.outcome = Exit.interrupt()
    this.resume?.(this.outcome)
  }

  get release(): Effect.Effect<void> {
    return Effect.sync(this.releaseUnsafe)
  }

  get releaseUnsafe(): () => void {
    return () => {
      this.lender.end(this)
      if (this.scope !== undefined) removeFinalizer(this.scope, this)
    }
  }

  get invalidate(): Effect.Effect<void> {
    return Effect.sync(() => this.lender.invalidate(this))
  }
}
