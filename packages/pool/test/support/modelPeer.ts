/**
 * The peer of the model test: attempts, validations and closes that end at
 * once, after a while, never, or when told, and an account of each of them.
 */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { Signals } from "../../src/ConnectionPool.ts"
import type { Lab } from "./lab.ts"

export class ConnectError extends Data.TaggedError("ConnectError")<{ readonly attempt: number }> {}

/** What attempts, validations and closes do from now on. `gated` ones wait for `resolve`. */
export type Mode = "ok" | "fail" | "die" | "slow" | "gated"

export type Outcome = "ok" | "fail" | "die"

interface Job {
  readonly startedAt: number
  running: boolean
  /** Ends a gated job. */
  resolve: ((outcome: Outcome) => void) | undefined
}

export interface PeerAttempt extends Job {
  readonly id: number
  /** It cannot be interrupted, like a connect in the operating system's hands. */
  readonly stubborn: boolean
  connection: PeerConnection | undefined
  /** Set by the model: the pool has given it up. */
  discardedAt: number | undefined
}

export class PeerConnection {
  readonly id: number
  readonly attempt: PeerAttempt | undefined
  readonly openedAt: number
  alive = true
  signals: Signals | undefined = undefined
  watchers = 0
  validation: Job | undefined = undefined
  closing: Job | undefined = undefined

  constructor(id: number, attempt: PeerAttempt | undefined, openedAt: number) {
    this.id = id
    this.attempt = attempt
    this.openedAt = openedAt
  }

  get isClosed(): boolean {
    return this.closing !== undefined
  }
}

/** What the peer reports as it happens. */
export interface PeerEvents {
  started(attempt: PeerAttempt): void
  opened(attempt: PeerAttempt, connection: PeerConnection): void
  failed(attempt: PeerAttempt): void
  interrupted(attempt: PeerAttempt): void
  validated(connection: PeerConnection, healthy: boolean): void
  closeBegan(connection: PeerConnection): void
  wrong(what: string): void
}

const slow = 37

export class Peer {
  readonly attempts: Array<PeerAttempt> = []
  readonly connections: Array<PeerConnection> = []
  readonly modes = { connect: "ok" as Mode, validate: "ok" as Mode, close: "ok" as Mode }
  /** Whether attempts can be interrupted. */
  stubborn = false
  /** Whether connections are dead as soon as they are open. */
  stillborn = false
  private calls = 0
  private readonly lab: Lab
  private readonly events: PeerEvents

  constructor(lab: Lab, events: PeerEvents) {
    this.lab = lab
    this.events = events
  }

  readonly connect = (): Effect.Effect<PeerConnection, ConnectError, Scope.Scope> => {
    const attempt: PeerAttempt = {
      ...this.job(),
      running: false,
      id: ++this.calls,
      stubborn: this.stubborn,
      connection: undefined,
      discardedAt: undefined
    }
    return Effect.onExit(
      Effect.suspend(() => {
        attempt.running = true
        this.attempts.push(attempt)
        this.events.started(attempt)
        const work = this.work(this.modes.connect, attempt, () => new ConnectError({ attempt: attempt.id }))
        return Effect.flatMap(attempt.stubborn ? Effect.uninterruptible(work) : work, () =>
          Effect.acquireRelease(
            Effect.sync(() => this.open(attempt)),
            (connection) => this.close(connection)
          )
        )
      }),
      (exit) => Effect.sync(() => this.ended(attempt, exit))
    )
  }

  /** A connection that somebody else opened, for `adopt`. */
  outsider(): PeerConnection {
    const connection = new PeerConnection(-1 - this.connections.length, undefined, this.lab.clock.now)
    connection.alive = !this.stillborn
    this.connections.push(connection)
    return connection
  }

  close(connection: PeerConnection): Effect.Effect<unknown> {
    return Effect.suspend(() => {
      if (connection.closing !== undefined) this.events.wrong(`connection ${connection.id} was closed twice`)
      const job = this.job()
      connection.closing = job
      this.events.closeBegan(connection)
      return Effect.ensuring(
        this.work(this.modes.close, job, () => new Error("a close that fails")) as Effect.Effect<void>,
        Effect.sync(() => {
          job.running = false
        })
      )
    })
  }

  readonly validate = (connection: PeerConnection): Effect.Effect<void, Error> => {
    const job = this.job()
    if (connection.validation !== undefined) this.events.wrong("a connection is validated twice at once")
    connection.validation = job
    return Effect.suspend(() => this.work(this.modes.validate, job, () => new Error("unhealthy"))).pipe(
      Effect.onExit((exit) =>
        Effect.sync(() => {
          job.running = false
          if (connection.validation === job) connection.validation = undefined
          this.events.validated(connection, Exit.isSuccess(exit))
        })
      )
    )
  }

  readonly watch = (connection: PeerConnection, signals: Signals): (() => void) => {
    connection.signals = signals
    connection.watchers++
    return () => {
      connection.watchers--
    }
  }

  private job(): Job {
    return { startedAt: this.lab.clock.now, running: true, resolve: undefined }
  }

  private work<E>(mode: Mode, job: Job, error: () => E): Effect.Effect<void, E> {
    const end = (outcome: Outcome): Effect.Effect<void, E> =>
      outcome === "ok" ? Effect.void : outcome === "fail" ? Effect.fail(error()) : Effect.die(error())
    if (mode === "slow") return Effect.sleep(slow)
    if (mode !== "gated") return end(mode)
    return Effect.callback<void, E>((resume) => {
      job.resolve = (outcome) => {
        job.resolve = undefined
        resume(end(outcome))
      }
    })
  }

  private open(attempt: PeerAttempt): PeerConnection {
    const connection = new PeerConnection(attempt.id, attempt, this.lab.clock.now)
    connection.alive = !this.stillborn
    attempt.connection = connection
    attempt.running = false
    this.connections.push(connection)
    this.events.opened(attempt, connection)
    return connection
  }

  private ended(attempt: PeerAttempt, exit: Exit.Exit<unknown, unknown>): void {
    if (!attempt.running) return
    attempt.running = false
    if (Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause)) this.events.interrupted(attempt)
    else this.events.failed(attempt)
  }
}
