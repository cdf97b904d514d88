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
import type { ConnectionLimit } from "../../src/ConnectionLimit.ts"
import type { ConnectionPool, Observer, PoolError, PoolStats, Signals } from "../../src/ConnectionPool.ts"
import type { MapPool } from "../../src/MapPool.ts"
import * as TestConnector from "../../src/testing/TestConnector.ts"
import { Lab } from "./lab.ts"

export type Conn = TestConnector.TestConnection
export type ConnectError = TestConnector.TestConnectError
export type TestPool = ConnectionPool<void, Conn, ConnectError>

export interface Variant {
  readonly maxSize: number
  readonly maxKeys: number
  readonly saturation: number
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

/** What a case changes while it runs. */
export class Controls {
  /** What connections turn out to be where that is negotiated. */
  upgrades = false
  /** Borrowers that a shared connection admits. */
  concurrency: number
  /** The most that one ever admitted in this case. */
  readonly most: number
  /** What the build of a key's pool waits for. */
  build: Effect.Effect<void> = Effect.void
  readonly upgraded = new WeakSet<Conn>()
  readonly signals = new Map<Conn, Signals>()
  /** The pools that connect, in the order in which they were made. */
  readonly connecting: Array<{ readonly kind: string; readonly pool: TestPool }> = []

  constructor(concurrency: number) {
    this.concurrency = concurrency
    this.most = concurrency
  }

  capacityChanged(concurrency: number): void {
    this.concurrency = concurrency
    for (const signals of Array.from(this.signals.values())) signals.capacityChanged()
  }
}

export type Options = ReturnType<Bench["options"]>

/** A pool to test, of which more may be known than that it is one. */
export interface Made {
  /** Lends for one target; everything else acts on all targets. */
  readonly pool: TestPool
  /** Lend for other targets. */
  readonly others: ReadonlyArray<TestPool>
  /** That many borrowers of `pool` find room at once while nobody else has borrowed. */
  readonly capacity: number
  /** Borrowers that a connection may have at once. */
  readonly admits: (connection: Conn) => number
  readonly limit?: ConnectionLimit | undefined
  readonly map?: MapPool<string, string, Conn, ConnectError> | undefined
  /** Whether a fiber looks after the pool for as long as it lives. */
  readonly expires?: boolean | undefined
}

/** Makes a pool of some kind with a bench's options. */
export type Rig = (options: Options, variant: Variant, controls: Controls) => Effect.Effect<Made, never, Scope.Scope>

export const yields = (n: number): Effect.Effect<void> =>
  n === 0 ? Effect.void : Effect.flatMap(Effect.yieldNow, () => yields(n - 1))

/** One loan as its borrower sees it. */
export interface Stay {
  readonly connection: Conn
  inside: boolean
}

export class Bench {
  readonly variant: Variant
  readonly controls: Controls
  readonly lab: Lab
  readonly peer = TestConnector.makeUnsafe((attempt) => this.behave(attempt))
  readonly made: Made
  readonly pool: TestPool
  readonly scope: Scope.Closeable
  readonly wrongs: Array<string> = []
  /** Whether something in this case closed the pool. */
  mayBeClosed = false
  /** Whether connects fail in this case. */
  mayFail = false
  /** Whether there may be more keys than allowed in this case. */
  mayBeCrowded = false
  private readonly rig: Rig
  private readonly inside = new Map<Conn, number>()
  private lent = 0
  private readonly ledger = { borrowed: 0, returned: 0, connected: 0, closed: 0 }
  private readonly waiting = new Set<number>()
  private behave: TestConnector.Behaviour = TestConnector.succeed
  private opening = 0

  constructor(variant: Variant, rig: Rig, controls = new Controls(1)) {
    this.variant = variant
    this.rig = rig
    this.controls = controls
    this.lab = new Lab({ microtasks: variant.microtasks })
    this.script(TestConnector.succeed)
    this.peer.onClose(() => yields(variant.closeTurns))
    const { value, scope } = this.lab.make(this.make(this.peer), variant.poolBudget)
    this.made = value
    this.pool = value.pool
    this.scope = scope
    if (variant.observed) this.lab.get(Scope.provide(this.pool.observe(this.observer()), Scope.makeUnsafe()))
  }

  /** What connects do from now on. */
  script(behave: TestConnector.Behaviour): void {
    this.behave = (attempt) =>
      Effect.ensuring(
        Effect.suspend(() => {
          this.opening++
          this.checkLimit()
          return Effect.flatMap(yields(this.variant.connectTurns), () => behave(attempt))
        }),
        Effect.sync(() => {
          this.opening--
        })
      )
  }

  private checkLimit(): void {
    const max = this.made?.limit?.max ?? Infinity
    const count = this.peer.live() + this.opening
    if (count > max) this.wrongs.push(`${count} connections open or opening under a limit of ${max}`)
  }

  /** What every kind that connects is told. */
  options(peer: TestConnector.TestConnector) {
    const { variant, controls } = this
    const { validateTurns } = variant
    return {
      connect: peer.connect,
      isOpen: peer.options.isOpen,
      watch: (connection: Conn, signals: Signals) => {
        controls.signals.set(connection, signals)
        const unwatch = peer.options.watch(connection, signals)
        return () => {
          controls.signals.delete(connection)
          unwatch()
        }
      },
      onAbandon: variant.onAbandon,
      backoff: Schedule.spaced(10),
      ...(validateTurns === undefined ? {} : { validate: () => yields(validateTurns) }),
      ...(variant.leakWarning ? { leakWarning: 1_000 } : {})
    }
  }

  private make(peer: TestConnector.TestConnector): Effect.Effect<Made, never, Scope.Scope> {
    return this.rig(this.options(peer), this.variant, this.controls)
  }

  /** Another pool of the same kind. */
  makePool(peer: TestConnector.TestConnector): Effect.Effect<TestPool, never, Scope.Scope> {
    return Effect.map(this.make(peer), ({ pool }) => pool)
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
        if (others >= this.made.admits(connection)) this.wrongs.push(`${others + 1} borrowers share a connection`)
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
  hold(gate: Deferred.Deferred<void>, pool: TestPool = this.pool): Fiber.Fiber<void, ConnectError | PoolError> {
    return this.lab.fork(pool.use((connection) => this.stay(connection, () => Deferred.await(gate))))
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
    const { lab, peer, ledger, made } = this
    const stats = this.stats()
    const limit = made.limit === undefined ? undefined : lab.get(made.limit.stats)
    // An expiry's fiber races the next look with the pool's becoming empty.
    const looks = made.expires && !this.isClosed
    const [fibers, timers] = !looks ? [0, 0] : stats.idle > 0 ? [3, 1] : [1, 0]
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
      "slots taken": [limit?.used ?? stats.idle, stats.idle],
      "pools that want a slot": [limit?.waiting ?? 0, 0],
      fibers: [lab.fibers, fibers],
      timers: [lab.clock.timers, timers]
    })
    if (stats.idle > stats.maxSize) this.wrongs.push(`${when}: ${stats.idle} idle of at most ${stats.maxSize}`)
  }

  /** Borrows as many connections at once as there may be; if the pool was closed, that must be why it cannot. */
  private checkCapacity(): void {
    const { capacity, others } = this.made
    const closed = this.checkLoans(this.pool, capacity)
    if (closed && this.mayBeClosed) this.expect("closed", { idle: [this.stats().idle, 0] })
    for (const other of others) this.checkLoans(other, 1)
  }

  /** Whether the pool turned out to be closed. */
  private checkLoans(pool: TestPool, count: number): boolean {
    const gate = Deferred.makeUnsafe<void>()
    const fibers = Array.from({ length: count }, () => this.hold(gate, pool))
    this.lab.advance(1_000)
    const failed = fibers.map((fiber) => fiber.pollUnsafe()).filter((exit) => exit !== undefined)
    const closed = failed.length === count && failed.every(failedAsClosed)
    if (this.lent !== count && !(closed && this.mayBeClosed)) {
      this.wrongs.push(`only ${this.lent} of ${count} could be borrowed at once`)
    }
    Deferred.doneUnsafe(gate, Exit.void)
    this.lab.settle()
    for (const fiber of fibers) if (fiber.pollUnsafe() === undefined) this.wrongs.push("a borrower still waits")
    return closed
  }

  private get isClosed(): boolean {
    return this.scope.state._tag === "Closed"
  }

  private checkClosed(): void {
    const { lab, peer, ledger, made } = this
    const stats = this.stats()
    const limit = made.limit === undefined ? undefined : lab.get(made.limit.stats)
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
      "slots taken": [limit?.used ?? 0, 0],
      "pools that want a slot": [limit?.waiting ?? 0, 0],
      fibers: [lab.fibers, 0],
      timers: [lab.clock.timers, 0],
      "observed connected - closed": [ledger.connected - ledger.closed, 0]
    })
    const exit = lab.run(this.pool.use(() => Effect.void))
    if (!failedAsClosed(exit)) this.wrongs.push("a closed pool still lends")
  }
}

export const failedWith = (exit: Exit.Exit<unknown, unknown>, tag: "Closed" | "TooManyKeys"): boolean => {
  const error = Exit.findErrorOption(exit)
  if (error._tag === "None") return false
  const { reason } = error.value as { readonly reason?: { readonly _tag: string } }
  return reason?._tag === tag
}

export const failedAsClosed = (exit: Exit.Exit<unknown, unknown>): boolean => failedWith(exit, "Closed")
