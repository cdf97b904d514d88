/**
 * A scripted peer: a connector whose attempts succeed, fail, wait, hang or die
 * as a test says, and whose connections can be killed. It counts and records
 * everything in order.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Scope from "effect/Scope"
import type { Signals } from "../ConnectionPool.ts"
import type { Connector } from "../Connector.ts"

/**
 * What a scripted attempt fails with.
 *
 * @category errors
 * @since 0.1.0
 */
export class TestConnectError extends Data.TaggedError("TestConnectError")<{ readonly attempt: number }> {
  override get message(): string {
    return `attempt ${this.attempt} was told to fail`
  }
}

/**
 * A connection of a {@link TestConnector}. Numbered from 1 in the order of
 * the attempts that opened them.
 *
 * @category models
 * @since 0.1.0
 */
export interface TestConnection {
  readonly id: number
  /** False from the moment it was killed or closed. */
  readonly isOpen: boolean
}

/**
 * What an attempt to connect does. `Effect.void` opens a connection; an
 * effect that fails, dies, sleeps or waits makes the attempt do the same.
 *
 * @category models
 * @since 0.1.0
 */
export type Behaviour = (attempt: number) => Effect.Effect<void, TestConnectError>

/** Opens a connection at once. The default. */
export const succeed: Behaviour = () => Effect.void

/** Fails with {@link TestConnectError}. */
export const fail: Behaviour = (attempt) => Effect.fail(new TestConnectError({ attempt }))

/** Never ends. */
export const hang: Behaviour = () => Effect.never

/** Dies with `defect`. */
export const die =
  (defect: unknown): Behaviour =>
  () =>
    Effect.die(defect)

/** Waits for `duration` of the test's clock, then behaves like `then`. */
export const delay =
  (duration: Duration.Input, then: Behaviour = succeed): Behaviour =>
  (attempt) =>
    Effect.delay(then(attempt), duration)

/** Waits for the gate, then behaves like `then`. */
export const gated =
  (gate: Deferred.Deferred<void>, then: Behaviour = succeed): Behaviour =>
  (attempt) =>
    Effect.flatMap(Deferred.await(gate), () => then(attempt))

/**
 * A scripted peer. Spread `options` into the options of the pool under test.
 *
 * @category models
 * @since 0.1.0
 */
export interface TestConnector {
  readonly options: {
    readonly connect: Connector<void, TestConnection, TestConnectError, Scope.Scope>
    readonly isOpen: (connection: TestConnection) => boolean
    readonly watch: (connection: TestConnection, signals: Signals) => () => void
  }
  readonly connect: Connector<void, TestConnection, TestConnectError, Scope.Scope>
  /** Behaviours of the next attempts, one each, in order; later ones behave like `make` was told. */
  readonly script: (...behaviours: ReadonlyArray<Behaviour>) => void
  /** What closing a connection does from now on. Default `Effect.void`. */
  readonly onClose: (close: (connection: TestConnection) => Effect.Effect<unknown>) => void
  /** The peer hangs up: the connection is no longer open and its pool is told. */
  readonly kill: (connection: TestConnection) => void
  /** The peer hangs up, but the pool notices only when it checks `isOpen`. */
  readonly killSilently: (connection: TestConnection) => void
  /** Attempts that began. */
  readonly attempts: () => number
  readonly opened: () => ReadonlyArray<number>
  /** In the order in which their close began. */
  readonly closed: () => ReadonlyArray<number>
  /** Opened and not closed. */
  readonly live: () => number
  /** Watchers that were not disposed of. */
  readonly watchers: () => number
  /** `connect 1`, `open 1`, `fail 1`, `cancel 1`, `kill 1`, `close 1`, in the order they happened. */
  readonly log: () => ReadonlyArray<string>
}

/**
 * Makes a scripted peer whose attempts behave like `behaviour` where no script
 * says otherwise.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (behaviour: Behaviour = succeed): Effect.Effect<TestConnector> =>
  Effect.sync(() => makeUnsafe(behaviour))

/**
 * `make` without an effect.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeUnsafe = (behaviour: Behaviour = succeed): TestConnector => {
  const log: Array<string> = []
  const opened: Array<number> = []
  const closed = new Set<number>()
  const scripted: Array<Behaviour> = []
  const open = new Set<TestConnection>()
  const watching = new Map<TestConnection, Signals>()
  let attempts = 0
  let close: (connection: TestConnection) => Effect.Effect<unknown> = () => Effect.void

  const closeOne = (connection: TestConnection): Effect.Effect<unknown> => {
    if (closed.has(connection.id)) return Effect.die(new Error(`connection ${connection.id} was closed twice`))
    open.delete(connection)
    closed.add(connection.id)
    log.push(`close ${connection.id}`)
    return close(connection)
  }
  const openOne = (id: number): TestConnection => {
    const connection: TestConnection = {
      id,
      get isOpen() {
        return open.has(connection)
      }
    }
    open.add(connection)
    opened.push(id)
    log.push(`open ${id}`)
    return connection
  }
  const connect = () =>
    Effect.suspend(() => {
      const id = ++attempts
      log.push(`connect ${id}`)
      const behave = (scripted.shift() ?? behaviour)(id)
      return Effect.flatMap(
        Effect.onExit(behave, (exit) => {
          if (Exit.isFailure(exit)) log.push(`${Cause.hasInterruptsOnly(exit.cause) ? "cancel" : "fail"} ${id}`)
          return Effect.void
        }),
        () =>
          Effect.acquireRelease(
            Effect.sync(() => openOne(id)),
            (connection) => Effect.suspend(() => closeOne(connection))
          )
      )
    })
  const isOpen = (connection: TestConnection) => connection.isOpen
  const watch = (connection: TestConnection, signals: Signals) => {
    watching.set(connection, signals)
    return () => {
      watching.delete(connection)
    }
  }
  const killSilently = (connection: TestConnection) => {
    if (open.delete(connection)) log.push(`kill ${connection.id}`)
  }
  return {
    options: { connect, isOpen, watch },
    connect,
    script: (...behaviours) => {
      scripted.push(...behaviours)
    },
    onClose: (f) => {
      close = f
    },
    kill: (connection) => {
      killSilently(connection)
      watching.get(connection)?.retire()
    },
    killSilently,
    attempts: () => attempts,
    opened: () => opened.slice(),
    closed: () => Array.from(closed),
    live: () => opened.length - closed.size,
    watchers: () => watching.size,
    log: () => log.slice()
  }
}
