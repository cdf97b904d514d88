/** The line: its order, its wake-ups, its deadlines. */
import { inPool, type Mutation } from "./mutation.ts"

const src = "packages/pool/src"

export const waiting: ReadonlyArray<Mutation> = [
  {
    name: "waiters are served last in, first out",
    file: `${src}/internal/line.ts`,
    find: `    this.push(waiter)
    this.unattended ??= waiter`,
    replace: `    this.waiters.insert(waiter, this.waiters.first)
    this.unattended = waiter`,
    test: inPool("CachePool.waiting", "CachePool > order of service > A6 waiters are served in arrival order")
  },
  {
    name: "a newcomer takes a connection past the line",
    file: `${src}/internal/connectionQueue.ts`,
    find: `if (this.line.first !== undefined || this.connections.state !== "open") return false`,
    replace: `if (this.connections.state !== "open") return false`,
    test: inPool(
      "SharedPool.concurrency",
      "SharedPool > concurrency > H1 a change that nobody announced is seen at the next borrow and at the next return"
    )
  },
  {
    name: "a waiter whose granted connection died goes to the end of the line",
    file: `${src}/internal/line.ts`,
    find: "while (next !== undefined && next.arrival < waiter.arrival) next = next.next",
    replace: "while (next !== undefined) next = next.next",
    test: inPool(
      "CachePool.waiting",
      "CachePool > letting the next waiter try > C4 A6 waiters whose granted connections died before they ran keep their order"
    )
  },
  {
    name: "the head of the line takes another's connection and does not give its own attempt for it",
    file: `${src}/internal/line.ts`,
    find: "if (other !== undefined) other.owner = owner",
    replace: "",
    test: inPool(
      "CachePool.waiting",
      "CachePool > order of service > A6 attempts keep their owners through several exchanges, and each error has one receiver"
    )
  },
  {
    name: "an error of one attempt fails everybody in line",
    file: `${src}/internal/exclusiveQueue.ts`,
    find: `else this.fail(owner, cause, "failed")`,
    replace: `else while (this.line.first !== undefined) this.fail(this.line.first, cause, "failed")`,
    test: inPool(
      "CachePool.connect",
      "CachePool > failing > C3 a connect error reaches only the caller that owns the attempt"
    )
  },
  {
    name: "the line is not looked at after a failed connect",
    file: `${src}/internal/sharedQueue.ts`,
    find: `        this.fail(loan, cause, "failed")
      }
    }
    this.pump()`,
    replace: `        this.fail(loan, cause, "failed")
      }
    }`,
    test: inPool(
      "SharedPool.failure",
      "SharedPool > a failed attempt beside connections that lend > H2 C4 C7 the next one starts when the pause ends, although cleaning up takes longer"
    )
  },
  {
    name: "the end of the pause after a failure wakes nobody",
    file: `${src}/internal/connections.ts`,
    find: "new Backoff(settings.backoff, this.run, this.clock, () => kind.vacated())",
    replace: "new Backoff(settings.backoff, this.run, this.clock, () => {})",
    test: inPool(
      "CachePool.waiting",
      "CachePool > letting the next waiter try > C4 a failed connect lets the next waiter try"
    )
  },
  {
    name: "the end of a close wakes nobody",
    file: `${src}/internal/connections.ts`,
    find: `      this.kind.vacated()
      this.draining.check()`,
    replace: "      this.draining.check()",
    test: inPool(
      "CachePool.waiting",
      "CachePool > letting the next waiter try > C4 a capacity change lets the next waiter try: a place became free when a close ended"
    )
  },
  {
    name: "a peer that admits more wakes nobody",
    file: `${src}/internal/connections.ts`,
    find: "capacityChanged: () => this.kind.vacated()",
    replace: "capacityChanged: () => {}",
    test: inPool(
      "SharedPool.concurrency",
      "SharedPool > concurrency > H1 raised while open: the signal admits as many waiters as fit, in order"
    )
  },
  {
    name: "a shared connection that can only drain makes room, and wakes nobody",
    file: `${src}/internal/connectionQueue.ts`,
    find: `  condemned(): void {
    this.pump()`,
    replace: "  condemned(): void {",
    test: inPool(
      "SharedPool.borrow",
      "SharedPool > a connection that must not be lent again > H3 A9 waiters are served by a new connection as soon as the only one drains"
    )
  },
  {
    name: "maxPending admits one too many",
    file: `${src}/internal/connectionQueue.ts`,
    find: "if (this.line.size >= maxPending)",
    replace: "if (this.line.size > maxPending)",
    test: inPool("CachePool.waiting", "CachePool > maxPending > A7 bounds the line: beyond it QueueFull at once")
  },
  {
    name: "a waiter that stands in line again has no deadline any more",
    file: `${src}/internal/connectionQueue.ts`,
    find: `    // The timer may have rung while nobody stood in line.
    this.awaitDeadline()`,
    replace: "",
    test: inPool(
      "interruptedWaits",
      "CachePool > A7 waiters whose connections died while the event loop stalled over their deadline time out all the same"
    )
  },
  {
    name: "deadlines follow the wall clock",
    file: `${src}/internal/alarm.ts`,
    find: "Number(clock.monotonicTimeNanosUnsafe()) / 1e6",
    replace: "clock.currentTimeMillisUnsafe()",
    test: inPool(
      "CachePool.waiting",
      "CachePool > waitTimeout > A7 measures time that nobody can set: a wall clock that jumps neither ends a wait nor extends it"
    )
  },
  {
    name: "a timeout does not say what it waited for",
    file: `${src}/internal/exclusiveQueue.ts`,
    find: `return loan.attempt.validates === undefined ? "connect" : "validate"`,
    replace: `return "connect"`,
    test: inPool(
      "CachePool.waiting",
      "CachePool > waitTimeout > A7 ends a wait for a validation, phase validate; the validation goes on"
    )
  },
  {
    name: "the timer of a wait outlives it in an empty pool",
    file: `${src}/internal/connectionQueue.ts`,
    find: "if (this.line.first === undefined && this.connections.all.size === 0) this.deadlines.clear()",
    replace: "",
    test: inPool("atRest", "CachePool > at rest > A10 nothing is left of a wait when its connection has closed again")
  },
  {
    name: "the backoff's timer runs while nobody waits",
    file: `${src}/internal/backoff.ts`,
    find: "if (!demand) this.alarm.clear()",
    replace: "if (!demand) return",
    test: inPool("atRest", "CachePool > at rest > A10 no backoff timer runs while nobody waits")
  },
  {
    name: "a caller whose connection was used up before it ran goes behind those who came later",
    file: `${src}/internal/connectionQueue.ts`,
    find: "const other = this.takeFromLater(loan)",
    replace: "const other = undefined as Connection<Conn> | undefined",
    test: inPool(
      "SharedPool.borrow",
      "SharedPool > a connection that must not be lent again > A6 callers that were granted connections in one turn keep their order where some of these are used up in it"
    )
  }
]
