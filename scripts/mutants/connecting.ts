/** Connecting, checking, counting, closing and draining. */
import { inPool, type Mutation } from "./mutation.ts"

const src = "packages/pool/src"

export const connecting: ReadonlyArray<Mutation> = [
  {
    name: "a connect has no deadline",
    file: `${src}/internal/connections.ts`,
    find: "this.timer(this.settings.connectTimeout, () => this.connectTimedOut(attempt))",
    replace: "() => undefined",
    test: inPool(
      "CachePool.connect",
      "CachePool > connectTimeout > A2 also ends an attempt that nobody waits for any more"
    )
  },
  {
    name: "what an attempt opens after its deadline is lent",
    file: `${src}/internal/attempt.ts`,
    find: "if (this.ended) return false\n    this.ended = true",
    replace: "this.ended = true",
    test: inPool(
      "CachePool.connect",
      "CachePool > connectTimeout > A5 what an attempt opens after its deadline is closed and served to nobody"
    )
  },
  {
    name: "an attempt that was given up frees its place while it still runs",
    file: `${src}/internal/connections.ts`,
    find: "this.close(attempt.scope, { attempt, after: attempt.fiber })",
    replace: "this.close(attempt.scope, { attempt })",
    test: inPool(
      "CachePool.connect",
      "CachePool > connectTimeout > an attempt that heeds no interruption keeps its place for closeTimeout at most"
    )
  },
  {
    name: "with onAbandon cancel an attempt is cancelled although somebody else waits",
    file: `${src}/internal/exclusiveQueue.ts`,
    find: "if (this.line.unattended !== undefined) this.line.attend(orphan)\n    else if (",
    replace: "if (",
    test: inPool(
      "CachePool.connect",
      'CachePool > onAbandon > A2 "cancel" passes the connect to a waiter that has none instead of cancelling it'
    )
  },
  {
    name: "while the peer fails every waiter has an attempt of its own",
    file: `${src}/internal/connections.ts`,
    find: "(!this.backoff.failing || this.connecting.size === 0) &&",
    replace: "",
    test: inPool(
      "CachePool.backoff",
      "CachePool > backoff > C7 while the peer fails one attempt at a time finds out whether it is back"
    )
  },
  {
    name: "attempts that were in flight when the pause began lengthen it",
    file: `${src}/internal/backoff.ts`,
    find: "if (this.resting) return\n    this.until = Infinity",
    replace: "this.until = Infinity",
    test: inPool("CachePool.backoff", "CachePool > backoff > C7 several attempts that fail together begin one pause")
  },
  {
    name: "a success does not reset the backoff",
    file: `${src}/internal/backoff.ts`,
    find: "    this.step = undefined\n    this.delay = 0",
    replace: "",
    test: inPool(
      "CachePool.backoff",
      "CachePool > backoff > C7 a success resets it: the next failure waits as long as the first"
    )
  },
  {
    name: "the backoff has no jitter",
    file: `${src}/internal/options.ts`,
    find: "]).pipe(Schedule.jittered)",
    replace: "])",
    test: inPool(
      "backoff.jitter",
      "CachePool > backoff > C7 by default pauses differ although they grow no more, so that a fleet does not try in step"
    )
  },
  {
    name: "connections that are dead on arrival are opened and closed in a busy loop",
    file: `${src}/internal/connections.ts`,
    find: "this.backoff.atLeast(1)",
    replace: "",
    test: inPool(
      "interruptedWaits",
      "CachePool > a peer whose connections are dead on arrival does not freeze the process where the backoff says 0"
    ),
    kills: "hang"
  },
  {
    name: "an idle connection is validated a millisecond too late",
    file: `${src}/internal/checks.ts`,
    find: "age >= this.validateAfter",
    replace: "age > this.validateAfter",
    test: inPool(
      "CachePool.health",
      "CachePool > validate > A9 runs when a connection was idle for validateAfter or longer, not a millisecond earlier"
    )
  },
  {
    name: "a validation that hangs is waited for",
    file: `${src}/internal/connections.ts`,
    find: `      this.timer(this.settings.connectTimeout, () => {
        attempt.fiber?.interruptUnsafe()
        end(false)
      })`,
    replace: "      () => undefined",
    test: inPool(
      "CachePool.health",
      "CachePool > validate > A9 that takes longer than connectTimeout evicts the connection as unhealthy"
    )
  },
  {
    name: "a connection that retired while it was validated is kept",
    file: `${src}/internal/connections.ts`,
    find: `healthy ? this.rejects(connection) : "unhealthy"`,
    replace: `healthy ? undefined : "unhealthy"`,
    test: inPool(
      "validation",
      "CachePool > validate > A9 A4 a connection that retires while it is validated closes, although nobody waits for it"
    )
  },
  {
    name: "the disposer of a watch is not called",
    file: `${src}/internal/connections.ts`,
    find: "if (unwatch !== undefined) this.observers.isolate(unwatch)",
    replace: "",
    test: inPool("CachePool.health", "CachePool > watch > A9 calls each disposer once, before the connection closes")
  },
  {
    name: "attempts do not count for maxSize",
    file: `${src}/internal/exclusiveQueue.ts`,
    find: "return all.size + connecting.size + closing < settings.maxSize",
    replace: "return all.size + closing < settings.maxSize && connecting.size < settings.maxSize",
    test: inPool(
      "CachePool.limits",
      "CachePool > maxSize > A3 C5 open and connecting connections never exceed it, at any step"
    )
  },
  {
    name: "an exclusive connection frees its place before its close has ended",
    file: `${src}/internal/exclusiveQueue.ts`,
    find: "return all.size + connecting.size + closing < settings.maxSize",
    replace: "return all.size + connecting.size < settings.maxSize || closing < 0",
    test: inPool(
      "CachePool.adopt",
      "CachePool > adopt > C8 a place that a closing connection still holds is not given to it (A4)"
    )
  },
  {
    name: "a close that hangs keeps its place for ever",
    file: `${src}/internal/connections.ts`,
    find: "if (!ended) timer = this.timer(this.settings.closeTimeout, end)()",
    replace: "",
    test: inPool(
      "CachePool.limits",
      "CachePool > closing > A4 a close that hangs stops counting after closeTimeout, not a millisecond earlier"
    ),
    kills: "hang"
  },
  {
    name: "a close that ends after closeTimeout frees its place again",
    file: `${src}/internal/connections.ts`,
    find: "if (ended) return\n      ended = true",
    replace: "ended = true",
    test: inPool("CachePool.limits", "CachePool > closing > A4 a close that ends after closeTimeout counts once"),
    kills: "hang"
  },
  {
    name: "more than maxIdle connections are kept",
    file: `${src}/internal/exclusiveQueue.ts`,
    find: "if (this.unused.size >= this.maxIdle &&",
    replace: "if (this.unused.size > this.settings.maxIdle &&",
    test: inPool(
      "CachePool.limits",
      "CachePool > maxIdle > C5 a connection above it closes on return, for the reason capacity"
    )
  },
  {
    name: "an observer that throws breaks the pool",
    file: `${src}/internal/observers.ts`,
    find: `      try {
        callback.apply(observer, args)
      } catch (defect) {
        this.report(defect)
      }`,
    replace: "      callback.apply(observer, args)",
    test: inPool(
      "observers",
      "observers > observe (CachePool) > evicted that throws is isolated: pool and other observers go on, a debug log says so"
    )
  },
  {
    name: "an observer of loans that throws breaks the pool",
    file: `${src}/internal/observers.ts`,
    find: `      try {
        observer.returned?.(connection, elapsed)
      } catch (defect) {
        this.report(defect)
      }`,
    replace: "      observer.returned?.(connection, elapsed)",
    test: inPool(
      "observers",
      "observers > observe (CachePool) > returned that throws is isolated: pool and other observers go on, a debug log says so"
    )
  },
  {
    name: "a drain has no deadline",
    file: `${src}/internal/draining.ts`,
    find: "else if (after !== Infinity) this.deadline.set(monotonic(this.clock) + after)",
    replace: "",
    test: inPool(
      "drain",
      "CachePool > drain > A8 at the deadline connections close under their borrowers, whose bodies go on"
    )
  },
  {
    name: "a later drain puts the deadline off",
    file: `${src}/internal/alarm.ts`,
    find: "if (this.at <= at) return",
    replace: "",
    test: inPool("drain", "CachePool > drain > A8 a second drain cannot put the deadline off")
  },
  {
    name: "a drain does not fail the waiters",
    file: `${src}/internal/connections.ts`,
    find: "this.kind.stopped()",
    replace: "",
    test: inPool("drain", "CachePool > drain > A8 callers in line without an attempt fail with Closed")
  },
  {
    name: "a drain ends before the closes have",
    file: `${src}/internal/connections.ts`,
    find: "return this.all.size === 0 && this.closing === 0 && this.connecting.size === 0",
    replace: "return this.all.size === 0 && this.connecting.size === 0",
    test: inPool("drain", "CachePool > drain > A8 ends when every close has ended")
  },
  {
    name: "a pool that drains lends what it had granted",
    file: `${src}/internal/connectionQueue.ts`,
    find: `    if (this.connections.state !== "open") {
      this.waitEnded(loan, "closed")`,
    replace: `    if (this.connections.state === "closed") {
      this.waitEnded(loan, "closed")`,
    test: inPool(
      "drain",
      "CachePool > drain > A8 a caller that was handed a connection and has not run fails with Closed; the connection closes"
    )
  }
]
