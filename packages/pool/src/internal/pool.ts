/**
 * A `ConnectionPool` over a kind: the three ways to borrow, each of which
 * installs the return before it takes, and the rest passed through.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { Exit } from "effect/Exit"
import type { Fiber } from "effect/Fiber"
import { pipeArguments } from "effect/Pipeable"
import * as Scope from "effect/Scope"
import type { ConnectionPool, Keep, Lease, Observer, PoolStats, Use } from "../ConnectionPool.ts"
import type { PoolError } from "../ConnectionPool.ts"
import type { Connections } from "./connections.ts"
import { Immediate } from "./immediate.ts"
import { InnerPool } from "./innerPool.ts"
import { here, LeakWarnings } from "./leakWarnings.ts"
import { type Lender, Loan } from "./loan.ts"
import { addFinalizer } from "./scope.ts"
import { TwoSteps } from "./twoSteps.ts"

type Body<Conn> = (connection: Conn, lease: Lease<Conn>) => Effect.Effect<any, any, any>

export class Pool<Conn, E> implements ConnectionPool<void, Conn, E>, Immediate<Conn, E | PoolError> {
  readonly [InnerPool]: InnerPool
  readonly use: Use<void, Conn, E>
  readonly get: ConnectionPool<void, Conn, E>["get"]
  readonly lease: ConnectionPool<void, Conn, E>["lease"]
  readonly retain: (keep: Keep<Conn>) => Effect.Effect<void>
  readonly guard: (keep: Keep<Conn>) => Effect.Effect<void, never, Scope.Scope>
  readonly observe: (observer: Observer) => Effect.Effect<void, never, Scope.Scope>
  readonly drain: ConnectionPool<void, Conn, E>["drain"]
  readonly stats: Effect.Effect<PoolStats>
  private readonly inner: Lender<Conn, E | PoolError> & InnerPool
  private readonly warnings: LeakWarnings | undefined
  private readonly self = this

  constructor(lender: Lender<Conn, E | PoolError> & InnerPool, connections: Connections<Conn, E>) {
    const { leakWarning } = connections.settings
    this.inner = lender
    if (leakWarning !== undefined) {
      const warnings = new LeakWarnings(leakWarning, connections.run, connections.clock, () => connections.stats())
      connections.draining.onClosed(() => warnings.stop())
      this.warnings = warnings
    }
    const { get, lease, use } = borrowing(() => this.lender())
    this.get = get
    this.lease = lease
    this.use = use
    this[InnerPool] = lender
    this.retain = connections.retain
    this.guard = connections.checks.guard
    this.observe = connections.observers.observe
    this.drain = connections.draining.drain
    this.stats = Effect.sync(() => connections.stats())
  }

  /** The lender for one call; with leak warnings on, one that knows where the call was made. */
  lender(): Lender<Conn, E | PoolError> {
    return this.warnings === undefined ? this.inner : this.warnings.watch(this.inner, here())
  }

  [Immediate](): Lender<Conn, E | PoolError> | undefined {
    // A pool that delegates to this one wants to be asked itself.
    if (this.self !== this) return undefined
    return this.warnings === undefined ? this.inner : this.warnings.watch(this.inner)
  }

  /** The pool for a caller who has waited in another one since `start`, in monotonic milliseconds. */
  waitingSince(start: number): ConnectionPool<void, Conn, E> {
    return Object.assign(
      Object.create(this),
      borrowing(() => lendSince(this.lender(), start))
    )
  }

  pipe() {
    return pipeArguments(this, arguments)
  }
}

/** The three ways to borrow. */
const borrowing = <Conn, E>(
  lender: () => Lender<Conn, E | PoolError>
): Pick<ConnectionPool<void, Conn, E>, "get" | "lease" | "use"> => ({
  get: () => takeInScope(lender(), connectionOf),
  lease: () => takeInScope(lender(), leaseOf),
  use: ((targetOrBody: Body<Conn> | void, body?: Body<Conn>) =>
    new UseOne(lender(), body ?? (targetOrBody as Body<Conn>))) as Use<void, Conn, E>
})

const lendSince = <Conn, E>(lender: Lender<Conn, E>, start: number): Lender<Conn, E> => ({
  take: (loan, then) => {
    loan.start = start
    return lender.take(loan, then)
  },
  lendNow: (loan) => lender.lendNow(loan),
  end: (loan) => lender.end(loan),
  invalidate: (loan) => lender.invalidate(loan)
})

const connectionOf = <Conn, E>(loan: Loan<Conn, E>): Conn => loan.connection

const leaseOf = <Conn, E>(loan: Loan<Conn, E>): Lease<Conn> => loan

class UseOne<Conn, E> extends TwoSteps<Loan<Conn, E>> {
  private readonly lender: Lender<Conn, E>
  private readonly body: Body<Conn>

  constructor(lender: Lender<Conn, E>, body: Body<Conn>) {
    super()
    this.lender = lender
    this.body = body
  }

  start(): Loan<Conn, E> {
    return new Loan(this.lender)
  }

  act(loan: Loan<Conn, E>): Effect.Effect<any, any, any> {
    return this.lender.take(loan, () => this.body(loan.connection, loan))
  }

  undo(loan: Loan<Conn, E>): void {
    this.lender.end(loan)
  }
}

/** Borrows for the scope of the calling fiber. */
export const takeInScope = <Conn, E, A>(
  lender: Lender<Conn, E>,
  result: (loan: Loan<Conn, E>) => A,
  take?: (loan: Loan<Conn, E>, then: () => Effect.Effect<A>) => Effect.Effect<A, E>
): Effect.Effect<A, E, Scope.Scope> =>
  Effect.withFiber((fiber: Fiber<unknown, unknown>) => {
    const loan = new Loan(lender)
    loan.scope = Context.getUnsafe(fiber.context, Scope.Scope)
    const returned = () => {
      const waits = loan.phase !== "lent"
      lender.end(loan)
      if (waits) loan.cancel()
      return Effect.void
    }
    // A borrower whose scope is closed is on its way out.
    if (!addFinalizer(loan.scope, loan, returned)) return Effect.interrupt
    const finish = () => {
      // `takeIdle` found nothing: nothing will have to be returned.
      if (loan.held === undefined) loan.releaseUnsafe()
      return Effect.succeed(result(loan))
    }
    // The scope is the undo of what is lent at once. Whoever waits can be interrupted while the scope lives on.
    if (take === undefined && lender.lendNow(loan)) return Effect.succeed(result(loan))
    return Effect.onExitPrimitive(
      Effect.suspend(() => (take === undefined ? lender.take(loan, finish) : take(loan, finish))),
      // The scope may live on for long after its caller gave up.
      (exit: Exit<A, E>) => (exit._tag === "Failure" ? (loan.releaseUnsafe() as undefined) : undefined)
    )
  })
