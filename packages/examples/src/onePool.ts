/**
 * A kind of our own, built from nothing on the public contract: at most one
 * connection, which one borrower has at a time.
 */
import { ConnectionPool, type Connector } from "@poolkit/pool"
import { Cause, Clock, Deferred, type Duration, Effect, Exit, Pipeable, Scope } from "effect"

type PoolError = ConnectionPool.PoolError
type Turn = Deferred.Deferred<void, PoolError>

/** The connection is what users see of it, its `ConnectionInfo`, and what only the pool sees. */
type Connection<Conn> = { -readonly [K in keyof ConnectionPool.ConnectionInfo]: ConnectionPool.ConnectionInfo[K] } & {
  readonly value: Conn
  readonly scope: Scope.Closeable
  /** Why it must not be lent again. */
  verdict: ConnectionPool.EvictReason | undefined
}

let ids = 0
const closed = Exit.fail(new ConnectionPool.PoolError({ reason: new ConnectionPool.Closed() }))

/** Makes a pool that lives as long as the current scope. */
export const make = Effect.fnUntraced(function* <Conn, E>(options: {
  readonly connect: Connector.Connector<void, Conn, E, Scope.Scope>
  readonly waitTimeout: Duration.Duration
}) {
  const clock = yield* Clock.Clock
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const now = () => clock.currentTimeMillisUnsafe()
  const count = { connecting: 0, closing: 0, created: 0, closed: 0, reused: 0, failed: 0, timedOut: 0 }
  const guards = new Set<readonly [ConnectionPool.Keep<Conn>]>()
  const observers = new Set<readonly [ConnectionPool.Observer]>()
  let current: Connection<Conn> | undefined
  let line: ReadonlyArray<Turn> = []
  let inTurn: Turn | undefined
  let loans = 0

  // ---------------------------------------------------------------------------
  // Borrowing: first what undoes it, then the line, then the connection
  // ---------------------------------------------------------------------------

  const lease = (): Effect.Effect<ConnectionPool.Lease<Conn>, E | PoolError, Scope.Scope> =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        if (draining) return yield* closed
        const [waiter, since, turn] = [++ids, now(), Deferred.makeUnsafe<void, PoolError>()]
        let lent: Connection<Conn> | undefined
        let ended = false
        const end = () => {
          if (ended) return
          ended = true
          if (lent !== undefined) giveBack(lent, since)
          leave(turn)
        }
        yield* Scope.addFinalizer(yield* Effect.scope, Effect.sync(end))
        if (ended) return yield* Effect.interrupt // the scope was closed

        line = [...line, turn]
        emit("waitStarted", waiter)
        pass()
        const { waitTimeout: duration } = options
        const exit = yield* Deferred.await(turn).pipe(
          Effect.andThen(Effect.suspend(ready)),
          Effect.timeoutOrElse({ duration, orElse: timedOut }),
          restore,
          Effect.exit
        )
        emit("waitEnded", waiter, outcomeOf(exit), now() - since)
        if (Exit.isFailure(exit)) end()
        if (Exit.isFailure(exit) || ended)
          return yield* Exit.isFailure(exit) ? Effect.failCause(exit.cause) : Effect.interrupt
        const connection = (lent = exit.value)
        loans++
        if (connection.uses++ > 0) count.reused++
        Object.assign(connection, { borrowers: 1, idleSince: undefined })
        emit("borrowed", connection)
        const invalidate = Effect.sync(() => {
          if (!ended) connection.verdict ??= "invalidated"
        })
        return {
          connection: connection.value,
          info: connection,
          release: Effect.sync(end),
          releaseUnsafe: end,
          invalidate
        }
      })
    )

  /** Gives the turn to the head of the line. */
  const pass = () => {
    if (inTurn === undefined && line[0] !== undefined) Deferred.doneUnsafe((inTurn = line[0]), Exit.void)
  }

  const leave = (turn: Turn) => {
    line = line.filter((other) => other !== turn)
    if (inTurn === turn) inTurn = undefined
    Deferred.doneUnsafe(turn, Exit.interrupt()) // it still waits if its scope was closed by somebody else
    pass()
  }

  /** What whoever is in turn will get: the connection there is, or a new one. */
  const ready = (): Effect.Effect<Connection<Conn>, E | PoolError> => {
    const reason = current && rejects(current)
    if (current !== undefined && reason === undefined) return Effect.succeed(current)
    if (current !== undefined) evict(current, reason!)
    return connect
  }

  const giveBack = (connection: Connection<Conn>, since: number) => {
    loans--
    Object.assign(connection, { borrowers: 0, idleSince: now() })
    emit("returned", connection, now() - since)
    const reason = draining ? "drain" : rejects(connection)
    if (reason !== undefined && current === connection) evict(connection, reason)
  }

  const timedOut = () =>
    Effect.gen(function* () {
      count.timedOut++
      const phase = count.connecting > 0 ? "connect" : "wait"
      const report = { phase, after: options.waitTimeout, stats: yield* stats, lastFailure: undefined } as const
      return yield* new ConnectionPool.PoolError({ reason: new ConnectionPool.WaitTimeout(report) })
    })

  // ---------------------------------------------------------------------------
  // Opening and closing
  // ---------------------------------------------------------------------------

  const drained = Deferred.makeUnsafe<never, PoolError>()
  const empty = Deferred.makeUnsafe<void>()
  let draining = false

  const connect: Effect.Effect<Connection<Conn>, E | PoolError> = Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const [id, start, scope] = [++ids, now(), Scope.makeUnsafe()]
      count.connecting++
      emit("connecting", id)
      const open = Effect.suspend(() => options.connect()).pipe(Scope.provide(scope))
      const exit = yield* Effect.exit(restore(Effect.raceFirst(open, Deferred.await(drained))))
      count.connecting--
      if (Exit.isFailure(exit)) {
        count.failed++
        emit("connectFailed", id, exit.cause, now() - start)
        close(scope, () => {})
        return yield* Effect.failCause(exit.cause)
      }
      count.created++
      const numbers = { id, createdAt: now(), idleSince: now(), uses: 0, borrowers: 0 }
      current = { ...numbers, value: exit.value, scope, annotations: new Map(), verdict: undefined }
      emit("connected", current, now() - start)
      return current
    })
  )

  const evict = (connection: Connection<Conn>, reason: ConnectionPool.EvictReason) => {
    current = undefined
    emit("evicted", connection, reason)
    close(connection.scope, () => {
      count.closed++
      emit("closed", connection)
    })
  }

  /** On a fiber of its own: a close that hangs or dies harms nobody. */
  const close = (scope: Scope.Closeable, done: () => void) => {
    count.closing++
    const ended = Effect.sync(() => {
      count.closing--
      done()
      checkEmpty()
    })
    run(Effect.andThen(Effect.exit(Scope.close(scope, Exit.void)), ended))
  }

  const checkEmpty = () => {
    if (draining && current === undefined && count.connecting + count.closing === 0) {
      Deferred.doneUnsafe(empty, Exit.void)
    }
  }

  const drain: ConnectionPool.Any["drain"] = ({ deadline = 0 } = {}) =>
    Effect.suspend(() => {
      draining = true
      Deferred.doneUnsafe(drained, closed)
      for (const turn of line) if (turn !== inTurn) Deferred.doneUnsafe(turn, closed)
      if (current?.borrowers === 0) evict(current, "drain")
      checkEmpty()
      const closeNow = Effect.sync(() => {
        if (current !== undefined) evict(current, "drain")
      })
      // Without a deadline nothing sleeps, so that a test under TestClock does not hang.
      const wait = deadline === 0 ? Effect.void : Effect.timeoutOption(Deferred.await(empty), deadline)
      return wait.pipe(Effect.andThen(closeNow), Effect.andThen(Deferred.await(empty)))
    })

  // ---------------------------------------------------------------------------
  // Predicates, observers, stats
  // ---------------------------------------------------------------------------

  const judge = (keep: ConnectionPool.Keep<Conn>, connection: Connection<Conn>) => {
    try {
      const answer = keep(connection.value, connection, now())
      return answer === true ? undefined : answer === false ? "retain" : answer
    } catch {
      return "unhealthy"
    }
  }

  const rejects = (connection: Connection<Conn>) => {
    for (const [keep] of guards) connection.verdict ??= judge(keep, connection)
    return connection.verdict
  }

  const retain = (keep: ConnectionPool.Keep<Conn>) =>
    Effect.sync(() => {
      if (current !== undefined) current.verdict ??= judge(keep, current)
      if (current?.verdict !== undefined && current.borrowers === 0) evict(current, current.verdict)
    })

  const emit = <K extends keyof ConnectionPool.Observer>(
    name: K,
    ...args: Parameters<NonNullable<ConnectionPool.Observer[K]>>
  ) => {
    for (const [observer] of observers) {
      const callback = observer[name] as ((...args: ReadonlyArray<unknown>) => void) | undefined
      try {
        callback?.(...args)
      } catch {
        // An observer harms nobody.
      }
    }
  }

  const stats: Effect.Effect<ConnectionPool.PoolStats> = Effect.sync(() => {
    const used = current?.borrowers ?? 0
    const idle = current === undefined ? 0 : 1 - used
    return { ...count, idle, used, borrowers: loans, pending: line.length - loans, maxSize: 1 }
  })

  yield* Effect.addFinalizer(() => drain())
  const pool: ConnectionPool.ConnectionPool<void, Conn, E> = {
    lease,
    get: () => Effect.map(lease(), ({ connection }) => connection),
    use: ((...args: ReadonlyArray<Body<Conn>>) =>
      Effect.scoped(Effect.flatMap(lease(), (loan) => args.at(-1)!(loan.connection, loan)))) as never,
    retain,
    guard: (keep) => within(guards, keep),
    observe: (observer) => within(observers, observer),
    drain,
    stats,
    pipe() {
      return Pipeable.pipeArguments(this, arguments)
    }
  }
  return pool
})

type Body<Conn> = (connection: Conn, lease: ConnectionPool.Lease<Conn>) => Effect.Effect<any, any, any>

/** Puts something into a set until the scope closes; boxed, because the same thing may be in it twice. */
const within = <A>(set: Set<readonly [A]>, value: A): Effect.Effect<void, never, Scope.Scope> =>
  Effect.asVoid(
    Effect.acquireRelease(
      Effect.sync(() => {
        const box = [value] as const
        set.add(box)
        return box
      }),
      (box) => Effect.sync(() => set.delete(box))
    )
  )

const outcomeOf = (exit: Exit.Exit<unknown, unknown>): ConnectionPool.WaitOutcome => {
  if (Exit.isSuccess(exit)) return "served"
  if (Cause.hasInterruptsOnly(exit.cause)) return "interrupted"
  const error = Cause.squash(exit.cause)
  const reason = error instanceof ConnectionPool.PoolError ? error.reason._tag : undefined
  return reason === "Closed" ? "closed" : reason === "WaitTimeout" ? "timedOut" : "failed"
}
