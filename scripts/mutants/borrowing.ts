/** Borrowing and returning: what an interrupt, a scope or a stale lease can lose. */
import { inPool, type Mutation } from "./mutation.ts"

const src = "packages/pool/src"

export const borrowing: ReadonlyArray<Mutation> = [
  {
    name: "use takes the connection before its return is registered",
    file: `${src}/internal/twoSteps.ts`,
    find: `    return Effect.onExitPrimitive(
      new SecondStep(this, state),
      // Nothing to run, so that ending costs no further step.
      () => this.undo(state) as undefined
    )`,
    replace: `    return Effect.flatMap(Effect.exit(new SecondStep(this, state)), (exit) => {
      this.undo(state)
      return exit
    })`,
    test: inPool(
      "CachePool.borrow",
      "CachePool > interruption > A1 interrupting use in line loses neither the connection nor the wake-up"
    )
  },
  {
    name: "use does not return the connection of a body that fails or is interrupted",
    file: `${src}/internal/twoSteps.ts`,
    find: "() => this.undo(state) as undefined",
    replace: `(exit) => (exit._tag === "Success" ? (this.undo(state) as undefined) : undefined)`,
    test: inPool("CachePool.borrow", "CachePool > use > returns the connection when the body is interrupted")
  },
  {
    name: "get leaves its waiter in line when it is interrupted, until its scope closes",
    file: `${src}/internal/pool.ts`,
    find: `(exit._tag === "Failure" ? (loan.releaseUnsafe() as undefined) : undefined)`,
    replace: "exit && undefined",
    test: inPool(
      "CachePool.borrow",
      "CachePool > interruption > A1 interrupting get in line gives up its place although its scope stays open"
    )
  },
  {
    name: "get borrows for a scope that has closed",
    file: `${src}/internal/pool.ts`,
    find: "if (!addFinalizer(loan.scope, loan, returned)) return Effect.interrupt",
    replace: "addFinalizer(loan.scope, loan, returned)",
    test: inPool("CachePool.borrow", "CachePool > get > A1 takes nothing for a scope that has closed")
  },
  {
    name: "a scope that closes leaves its caller waiting",
    file: `${src}/internal/pool.ts`,
    find: "if (waits) loan.cancel()",
    replace: "",
    test: inPool(
      "CachePool.borrow",
      "CachePool > get > A1 a scope that closes while get is in line ends the wait and gives up the place"
    )
  },
  {
    name: "a scope keeps the finalizers of loans that were released early",
    file: `${src}/internal/loan.ts`,
    find: "if (this.scope !== undefined) removeFinalizer(this.scope, this)",
    replace: "",
    test: inPool("scope", "CachePool > a scope that lives long > keeps nothing of loans that were released early")
  },
  {
    name: "a connection that was granted to an interrupted waiter is forgotten",
    file: `${src}/internal/connectionQueue.ts`,
    find: "if (!this.gone(connection)) this.comeBack(connection)",
    replace: "",
    test: inPool(
      "CachePool.borrow",
      "CachePool > interruption > A1 interrupting use between hand-over and its first step passes the connection to the next waiter"
    )
  },
  {
    name: "a grant to a caller whose scope has closed is taken up",
    file: `${src}/internal/connectionQueue.ts`,
    find: `if (loan.phase === "ended") return Effect.interrupt`,
    replace: "",
    test: inPool(
      "scope.ended",
      "CachePool > a scope that is closed while its borrower is on its way > A1 get: what the borrower was given goes to the next in line, at whatever operation"
    )
  },
  {
    name: "a loan that ends twice returns its connection twice",
    file: `${src}/internal/connectionQueue.ts`,
    find: `    const phase = loan.phase
    loan.phase = "ended"`,
    replace: "    const phase = loan.phase",
    test: inPool("CachePool.borrow", "CachePool > lease > A5 releasing twice returns the connection once")
  },
  {
    name: "a lease that was released invalidates its connection's next loan",
    file: `${src}/internal/connectionQueue.ts`,
    find: `if (loan.phase === "lent") this.connections.condemn(loan.held!, "invalidated")`,
    replace: `if (loan.held !== undefined) this.connections.condemn(loan.held, "invalidated")`,
    test: inPool(
      "CachePool.borrow",
      "CachePool > lease > A5 a lease that was released cannot invalidate its connection's next loan"
    )
  },
  {
    name: "a connection that died after it was granted is lent",
    file: `${src}/internal/connectionQueue.ts`,
    find: `    const reason = this.connections.rejects(connection)
    if (reason === undefined) {
      this.lend(loan, connection)`,
    replace: `    const reason = undefined
    if (reason === undefined) {
      this.lend(loan, connection)`,
    test: inPool("CachePool.health", "CachePool > retain > reaches a connection that was handed over and not taken yet")
  },
  {
    name: "a used connection closes under its borrower when its peer says that it will hang up",
    file: `${src}/internal/connections.ts`,
    find: `if (connection.state === "idle") this.evict(connection, reason)
    else this.kind.condemned(connection)`,
    replace: "this.evict(connection, reason)",
    test: inPool(
      "CachePool.health",
      "CachePool > watch > A9 C6 retire lets a borrower finish, then the connection closes instead of returning"
    )
  },
  {
    name: "a connector's fiber hangs under the span of its caller",
    file: `${src}/internal/connections.ts`,
    find: "Context.omit(Tracer.ParentSpan)(context) as Context.Context<never>",
    replace: "context",
    test: inPool("CachePool.connect", "CachePool > connect > A2 does not run under the span of its caller, nor of make")
  }
]
