/**
 * A pool over a scripted peer in a lab, with a ledger of every loan, and the
 * two questions to ask after whatever was done to it: is it at rest with all
 * its capacity, and has closing it left anything behind?
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as CachePool from "../../src/CachePool.ts"
import type { ConnectionPool, Observer, PoolError, PoolStats } from "../../src/ConnectionPool.ts"
import * as SingletonPool from "../../src/SingletonPool.ts"
import * as TestConnector from "../../src/testing/TestConnector.ts"
import { Lab } from "./lab.ts"

type Conn = TestConnector.TestConnection
export type ConnectError = TestConnector.TestConnectError
export type TestPool = ConnectionPool<void, Conn, ConnectError>

export interface Variant {
  readonly kind: "cache" | "singleton"
  readonly maxSize: number
  readonly order: "lifo" | "fifo"
  readonly onAbandon: "keep" | "cancel"
  /** Turns that a connect, a validation and a close take. */
  readonly connectTurns: number
  readonly validateTurns: number | undefined
  readonly closeTurns: number
  readonly observed: boolean
  readonly leakWarning: boolean
  readonly microtasks: "task" | "turn"
  /** Operations before the pool's own fibers yield; default as usual. */
  readonly poolBudget: number | undefined
}

export const yields = (n: number): Effect.Effect<void> =>
  n === 0 ? Effect.void : Effect.flatMap(Effect.yieldNow, () => yields(n - 1))

/** One loan as its borrower sees it. */
export interface Stay {
  readonly connection: Conn
  inside: boolean
}

export class Bench {
  readonly variant: Variant
  readonly lab: Lab
  readonly peer = TestConnector.makeUnsafe((attempt) => this.behave(attempt))
  readonly pool: TestPool
  readonly scope: Scope.Closeable
  readonly wrongs: Array<string> = []
  /** Whether something in this case closed the pool. */
  mayBeClosed = false
  /** Whether connects fail in this case. */
  mayFail = false
  private readonly inside = new Map<Conn, number>()
  private lent = 0
  private readonly ledger = { borrowed: 0, returned: 0, connected: 0, closed: 0 }
  private readonly waiting = new Set<number>()
  private behave: TestConnector.Behaviour = TestConnector.succeed

  constructor(variant: Variant) {
    this.variant = variant
    this.lab = new Lab({ microtasks: variant.microtasks })
    this.script(TestConnector.succeed)
    this.peer.onClose(() => yields(variant.closeTurns))
    const { value, scope } = this.lab.make(this.makePool(this.peer), variant.poolBudget)
    this.pool = value
    this.scope = scope
    if (variant.observed) this.lab.get(Scope.provide(this.pool.observe(this.observer()), Scope.makeUnsafe()))
  }

  /** What connects do from now on. */
  script(behave: TestConnector.Behaviour): void {
    this.behave = (attempt) => Effect.flatMap(yields(this.variant.connectTurns), () => behave(attempt))
  }

  makePool(peer: TestConnector.TestConnector): Effect.Effect<TestPool, never, Scope.Scope> {
    const { variant } = this
    const { validateTurns } = variant
    const options = {
      ...peer.options,
      onAbandon: variant.onAbandon,
      backoff: Schedule.spaced(10),
      ...(validateTurns === undefined ? {} : { validate: () => yields(validateTurns) }),
      ...(variant.leakWarning ? { leakWarning: 1_000 } : {})
    }
    return variant.kind === "singleton"
      ? SingletonPool.make(options)
      : CachePool.make({ ...options, maxSize: variant.maxSize, order: variant.order })
  }

  /** Opens a connection that no pool knows of. */
  readonly openOutside = Effect.suspend(() => {
    const scope = Scope.makeUnsafe()
    const opening = Scope.provide(this.peer.connect(), scope)
    return Effect.map(opening, (connection) => ({ connection, close: Scope.close(scope, Exit.void) }))
  })

  private observer(): Observer {
    const { ledger, waiting } = this
    const count = (name: keyof typeof ledger) => () => {
      ledger[name]++
    }
    return {
      borrowed: count("borrowed"),
      returned: count("returned"),
      connected: count("connected"),
      closed: count("closed"),
      waitStarted: (waiter) => {
        if (waiting.has(waiter)) this.wrongs.push("a wait started twice")
        waiting.add(waiter)
      },
      waitEnded: (waiter) => {
        if (!waiting.delete(waiter)) this.wrongs.push("a wait ended that had not started, or twice")
      }
    }
  }

  // ---------------------------------------------------------------------------
  // Borrowing
  // ---------------------------------------------------------------------------

  /** Notes that a borrower is inside a loan for as long as `then` runs, or until `leave`. */
  stay<A, E>(connection: Conn, then: (stay: Stay) => Effect.Effect<A, E>): Effect.Effect<A, E> {
    const stay: Stay = { connection, inside: false }
    return Effect.ensuring(
      Effect.suspend(() => {
        stay.inside = true
        this.lent++
        const others = this.inside.get(connection) ?? 0
        if (others > 0 && this.variant.kind === "cache") this.wrongs.push("two borrowers share a connection")
        this.inside.set(connection, others + 1)
        return then(stay)
      }),
      Effect.sync(() => this.leave(stay))
    )
  }

  leave(stay: Stay): void {
    if (!stay.inside) return
    stay.inside = false
    this.lent--
    this.inside.set(stay.connection, this.inside.get(stay.connection)! - 1)
  }

  /** A loan that lasts until the gate opens. */
  hold(gate: Deferred.Deferred<void>): Fiber.Fiber<void, ConnectError | PoolError> {
    return this.lab.fork(this.pool.use((connection) => this.stay(connection, () => Deferred.await(gate))))
  }

  stats(): PoolStats {
    return this.lab.get(this.pool.stats)
  }

  // ---------------------------------------------------------------------------
  // The oracle
  // ---------------------------------------------------------------------------

  /** Closes the pool after everybody has left it, and says what is wrong. */
  audit(): ReadonlyArray<string> {
    this.script(TestConnector.succeed)
    this.lab.settle()
    // Backoffs end, and any timer that was left behind rings.
    this.lab.advance(60_000)
    this.checkRest("at rest")
    this.checkCapacity()
    this.lab.advance(60_000)
    this.checkRest("after lending everything again")
    this.lab.run(Scope.close(this.scope, Exit.void))
    this.checkClosed()
    return this.wrongs
  }

  private expect(when: string, values: Readonly<Record<string, readonly [actual: number, expected: number]>>): void {
    for (const [name, [actual, expected]] of Object.entries(values)) {
      if (actual !== expected) this.wrongs.push(`${when}: ${name} is ${actual}, not ${expected}`)
    }
  }

  private checkRest(when: string): void {
    const { lab, peer, ledger } = this
    const stats = this.stats()
    this.expect(when, {
      used: [stats.used, 0],
      connecting: [stats.connecting, 0],
      closing: [stats.closing, 0],
      pending: [stats.pending, 0],
      borrowers: [stats.borrowers, 0],
      "borrowers inside": [this.lent, 0],
      "open connections": [peer.live(), stats.idle],
      watchers: [peer.watchers(), stats.idle],
      "created - closed": [stats.created - stats.closed, stats.idle],
      "loans not returned": [ledger.borrowed - ledger.returned, 0],
      "waits not ended": [this.waiting.size, 0],
      fibers: [lab.fibers, 0],
      timers: [lab.clock.timers, 0]
    })
    if (stats.idle > stats.maxSize) this.wrongs.push(`${when}: ${stats.idle} idle of at most ${stats.maxSize}`)
  }

  /** Borrows as many connections at once as there may be; if the pool was closed, that must be why it cannot. */
  private checkCapacity(): void {
    const gate = Deferred.makeUnsafe<void>()
    const { maxSize } = this.stats()
    const fibers = Array.from({ length: maxSize }, () => this.hold(gate))
    this.lab.settle()
    const failed = fibers.map((fiber) => fiber.pollUnsafe()).filter((exit) => exit !== undefined)
    const closed = failed.length === maxSize && failed.every(failedAsClosed)
    if (closed && this.mayBeClosed) this.expect("closed", { idle: [this.stats().idle, 0] })
    else if (this.lent !== maxSize) this.wrongs.push(`only ${this.lent} of ${maxSize} could be borrowed at once`)
    Deferred.doneUnsafe(gate, Exit.void)
    this.lab.settle()
    for (const fiber of fibers) if (fiber.pollUnsafe() === undefined) this.wrongs.push("a borrower still waits")
  }

  private checkClosed(): void {
    const { lab, peer, ledger } = this
    const stats = this.stats()
    this.expect("after close", {
      idle: [stats.idle, 0],
      used: [stats.used, 0],
      connecting: [stats.connecting, 0],
      closing: [stats.closing, 0],
      pending: [stats.pending, 0],
      borrowers: [stats.borrowers, 0],
      "created - closed": [stats.created - stats.closed, 0],
      "open connections": [peer.live(), 0],
      watchers: [peer.watchers(), 0],
      fibers: [lab.fibers, 0],
      timers: [lab.clock.timers, 0],
      "observed connected - closed": [ledger.connected - ledger.closed, 0]
    })
    const exit = lab.run(this.pool.use(() => Effect.void))
    if (!failedAsClosed(exit)) this.wrongs.push("a closed pool still lends")
  }
}

export const failedAsClosed = (exit: Exit.Exit<unknown, unknown>): boolean => {
  const error = Exit.findErrorOption(exit)
  if (error._tag === "None") return false
  const { reason } = error.value as { readonly reason?: { readonly _tag: string } }
  return reason?._tag === "Closed"
}
