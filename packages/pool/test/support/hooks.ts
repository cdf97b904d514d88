/**
 * The hook matrix: every combination of what a connector, a check, a close, a
 * borrower and `isOpen` can do wrong, with eight callers each.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as CachePool from "../../src/CachePool.ts"
import { type ConnectionPool, PoolError, type PoolStats } from "../../src/ConnectionPool.ts"
import * as SharedPool from "../../src/SharedPool.ts"
import * as SingletonPool from "../../src/SingletonPool.ts"
import * as TestConnector from "../../src/testing/TestConnector.ts"
import { Lab } from "./lab.ts"

export const behaviours = ["ok", "fail", "slow", "never", "die"] as const
export const healths = ["true", "false", "throws"] as const
export const kinds = ["cache", "singleton", "shared"] as const
export type Behaviour = (typeof behaviours)[number]

export interface Hooks {
  readonly kind: (typeof kinds)[number]
  readonly connect: Behaviour
  readonly validate: Behaviour
  readonly close: Behaviour
  readonly body: Behaviour
  readonly isOpen: (typeof healths)[number]
}

export const matrix: ReadonlyArray<Hooks> = kinds.flatMap((kind) =>
  behaviours.flatMap((connect) =>
    behaviours.flatMap((validate) =>
      behaviours.flatMap((close) =>
        behaviours.flatMap((body) => healths.map((isOpen) => ({ kind, connect, validate, close, body, isOpen })))
      )
    )
  )
)

const callers = 8
const maxSize = 3
/** Loans at once of a connection, and of all connections together. */
const concurrency = { cache: 1, singleton: Infinity, shared: 2 } as const
const capacity = { cache: 3, singleton: 1, shared: 6 } as const
const slow = 170
const waitTimeout = 3_001
/** After it a borrower whose body never ends is interrupted. */
const patience = 400

type Connection = TestConnector.TestConnection
type Pool = ConnectionPool<void, Connection, TestConnector.TestConnectError>

const behave = (behaviour: Behaviour, failure: () => unknown): Effect.Effect<void> => {
  switch (behaviour) {
    case "ok":
      return Effect.void
    case "fail":
      return Effect.suspend(() => Effect.fail(failure())) as Effect.Effect<never>
    case "slow":
      return Effect.sleep(slow)
    case "never":
      return Effect.never
    case "die":
      return Effect.die(failure())
  }
}

class Run {
  private readonly hooks: Hooks
  private readonly lab = new Lab()
  private readonly wrongs: Array<string> = []
  private readonly peer: TestConnector.TestConnector
  private readonly pool: Pool
  private readonly scope: Scope.Closeable
  /** Borrowers of each connection. */
  private readonly lent = new Map<Connection, number>()
  /** From now on every hook does what it should. */
  private healed = false

  constructor(hooks: Hooks) {
    this.hooks = hooks
    this.peer = TestConnector.makeUnsafe((attempt) =>
      behave(this.hook("connect"), () => new TestConnector.TestConnectError({ attempt }))
    )
    this.peer.onClose((connection) => {
      if (this.lent.has(connection)) this.wrongs.push("a connection was closed under its borrower")
      return behave(this.hook("close"), () => new Error("close"))
    })
    const { value, scope } = this.lab.make(this.makePool())
    this.pool = value
    this.scope = scope
  }

  private hook(name: "connect" | "validate" | "close" | "body"): Behaviour {
    return this.healed ? "ok" : this.hooks[name]
  }

  private makePool(): Effect.Effect<Pool, never, Scope.Scope> {
    const options = {
      connect: this.peer.connect,
      watch: this.peer.options.watch,
      isOpen: (connection: Connection) => {
        if (this.healed || this.hooks.isOpen === "true") return connection.isOpen
        if (this.hooks.isOpen === "throws") throw new Error("isOpen")
        return false
      },
      validate: () => behave(this.hook("validate"), () => new Error("validate")),
      waitTimeout,
      connectTimeout: 307,
      closeTimeout: 211,
      backoff: Schedule.spaced(53)
    }
    switch (this.hooks.kind) {
      case "cache":
        return CachePool.make({ ...options, maxSize })
      case "singleton":
        return SingletonPool.make(options)
      case "shared":
        return SharedPool.make({ ...options, maxSize, concurrency: concurrency.shared })
    }
  }

  /** Borrows twice, so that connections are reused. */
  private readonly twice = Effect.suspend(() => Effect.exit(this.once()).pipe(Effect.andThen(this.once())))

  private once(): Effect.Effect<void, unknown> {
    return this.pool.use((connection) =>
      Effect.ensuring(
        Effect.suspend(() => {
          const borrowers = this.count(connection, 1)
          if (borrowers > concurrency[this.hooks.kind]) this.wrongs.push(`${borrowers} borrowers of a connection`)
          return behave(this.hook("body"), () => "body").pipe(Effect.timeout(patience))
        }),
        Effect.sync(() => this.count(connection, -1))
      )
    )
  }

  private count(connection: Connection, change: number): number {
    const borrowers = (this.lent.get(connection) ?? 0) + change
    if (borrowers === 0) this.lent.delete(connection)
    else this.lent.set(connection, borrowers)
    return borrowers
  }

  run(): ReadonlyArray<string> {
    const fibers: Array<Fiber.Fiber<void, unknown>> = []
    for (let i = 0; i < callers; i++) {
      fibers.push(this.lab.fork(this.twice))
      // Half of them come later, when others are on their way back.
      if (i % 2 === 1) this.lab.advance(61)
    }
    this.lab.advance(2 * (waitTimeout + patience))
    this.checkSettled(fibers)
    this.heal()
    this.checkCapacity()
    this.lab.run(Scope.close(this.scope, Exit.void))
    this.lab.advance(1_000)
    this.checkClosed()
    return this.wrongs
  }

  private checkSettled(fibers: ReadonlyArray<Fiber.Fiber<void, unknown>>): void {
    for (const fiber of fibers) {
      const exit = fiber.pollUnsafe()
      if (exit === undefined) this.wrongs.push("a caller never settled")
      else if (Exit.isFailure(exit)) this.checkFailure(Cause.squash(exit.cause))
    }
    if (this.lent.size > 0) this.wrongs.push("a connection is still lent")
  }

  private checkFailure(error: unknown): void {
    const { connect, body, isOpen } = this.hooks
    const tag = error instanceof PoolError ? error.reason._tag : "other"
    if (tag === "Closed" || tag === "QueueFull") this.wrongs.push(`a caller failed with ${tag}`)
    const healthy = (connect === "ok" || connect === "slow") && isOpen === "true"
    if (healthy && this.hooks.validate === "ok" && body === "ok") this.wrongs.push(`a caller failed: ${String(error)}`)
    if (error instanceof TestConnector.TestConnectError && connect !== "fail" && connect !== "die") {
      this.wrongs.push("a connect error although no connect failed")
    }
  }

  /** The peer is well again; what was under way ends or times out. */
  private heal(): void {
    this.healed = true
    this.lab.advance(10_000)
  }

  private checkCapacity(): void {
    const size = capacity[this.hooks.kind]
    const gate = Deferred.makeUnsafe<void>()
    let inside = 0
    const holders = Array.from({ length: size }, () =>
      this.lab.fork(
        this.pool.use(() => {
          inside++
          return Deferred.await(gate)
        })
      )
    )
    this.lab.advance(1_000)
    if (inside !== size) this.wrongs.push(`only ${inside} of ${size} could be borrowed at once`)
    Deferred.doneUnsafe(gate, Exit.void)
    this.lab.settle()
    for (const holder of holders) if (holder.pollUnsafe() === undefined) this.wrongs.push("a caller still waits")
    this.expectZero("at rest", ["used", "connecting", "closing", "pending", "borrowers"])
  }

  private checkClosed(): void {
    this.expectZero("after close", ["idle", "used", "connecting", "closing", "pending", "borrowers"])
    const stats = this.lab.get(this.pool.stats)
    if (stats.created !== stats.closed) this.wrongs.push(`${stats.created} created, ${stats.closed} closed`)
    if (this.peer.live() > 0) this.wrongs.push(`${this.peer.live()} connections left open`)
    if (this.peer.watchers() > 0) this.wrongs.push(`${this.peer.watchers()} watchers left`)
    // A close that never ends keeps its fiber; the pool has stopped counting it.
    const stuck = this.hooks.close === "never" ? this.peer.closed().length : 0
    if (this.lab.fibers > stuck) this.wrongs.push(`${this.lab.fibers} fibers left`)
    if (this.lab.clock.timers > 0) this.wrongs.push(`${this.lab.clock.timers} timers left`)
  }

  private expectZero(when: string, names: ReadonlyArray<keyof PoolStats>): void {
    const stats = this.lab.get(this.pool.stats)
    for (const name of names) if (stats[name] !== 0) this.wrongs.push(`${when}: ${stats[name]} ${name}`)
  }
}

export interface MatrixReport {
  readonly combinations: number
  readonly violations: number
  /** The first few. */
  readonly examples: ReadonlyArray<string>
}

/** Runs the combinations that `take` chooses out of all. */
export const runMatrix = (take: (index: number) => boolean): MatrixReport => {
  const chosen = matrix.filter((_, index) => take(index))
  const examples = chosen.flatMap((hooks) => {
    const wrongs = Lab.run(() => attempt(hooks))
    return wrongs.length === 0 ? [] : [`${JSON.stringify(hooks)}: ${wrongs.join("; ")}`]
  })
  return { combinations: chosen.length, violations: examples.length, examples: examples.slice(0, 5) }
}

const attempt = (hooks: Hooks): ReadonlyArray<string> => {
  try {
    return new Run(hooks).run()
  } catch (error) {
    return [String(error)]
  }
}
