/** Many addresses of one service, and requests in line for it. */
import { inPool, type Mutation } from "./mutation.ts"

const src = "packages/pool/src/internal"

const balance: ReadonlyArray<Mutation> = [
  {
    name: "an address gets its second connection before all have a first",
    file: `${src}/ranks.ts`,
    find: "for (let n = this.least; n < Math.min(cap, this.byConnections.length); n++)",
    replace: "for (let n = Math.min(cap, this.byConnections.length) - 1; n >= 0; n--)",
    test: inPool(
      "BalancePool",
      "BalancePool > spread > B3 no address gets its second connection before all have a first"
    )
  },
  {
    name: "ties between addresses are always broken alike",
    file: `${src}/ranks.ts`,
    find: "Math.floor(random() * equals.length)",
    replace: "0",
    test: inPool("BalancePool", "BalancePool > spread > B3 ties are broken at random")
  },
  {
    name: "an address whose connects fail is not set aside",
    file: `${src}/addressBook.ts`,
    find: `    this.up.remove(entry)
    this.aside.add(entry)`,
    replace: "",
    test: inPool(
      "BalancePool",
      "BalancePool > failures > B4 an address is set aside for as long as the schedule says, not a millisecond longer"
    )
  },
  {
    name: "a connection of an address that left while it was opened is lent",
    file: "packages/pool/src/BalancePool.ts",
    find: "yield* pool.guard(balancer.isCurrent)",
    replace: "",
    test: inPool(
      "BalancePool",
      "BalancePool > addresses > B1 a connection of an address that leaves on its way into the pool is not lent"
    )
  },
  {
    name: "a connect that is given up keeps its address's place",
    file: `${src}/addressBalancer.ts`,
    find: "addFinalizer(this.scope, this, () => Effect.sync(() => this.closed()))",
    replace: "addFinalizer(this.scope, this, () => Effect.sync(() => this.connected && this.closed()))",
    test: inPool("BalancePool", "BalancePool > resources > A5 interrupting a connect gives its address back")
  }
]

const queue: ReadonlyArray<Mutation> = [
  {
    name: "a request that may have been sent is sent again",
    file: `${src}/requestQueue.ts`,
    find: "(error) => job.tries < maxTries && isUnsent(error),",
    replace: "(error) => job.tries < maxTries && (isUnsent(error) || job.forwarded),",
    test: inPool("RequestQueue", "RequestQueue > isUnsent > what may have been sent is not sent again")
  },
  {
    name: "an interrupted sender's request stays in the queue",
    file: `${src}/requestQueue.ts`,
    find: `if (phase === "waiting") this.line.remove(job)`,
    replace: "",
    test: inPool("RequestQueue", "RequestQueue > interruption > of a sender in the queue removes its request")
  },
  {
    name: "a connection whose reply is still to come carries the next request",
    file: `${src}/requestQueue.ts`,
    find: "(Exit.isFailure(exit) && this.spoils(exit.cause) ? lease.invalidate : Effect.void)",
    replace: "(Exit.isFailure(exit) && exit === undefined ? lease.invalidate : Effect.void)",
    test: inPool(
      "RequestQueue",
      "RequestQueue > interruption > of a sender whose request is under way interrupts the send; its connection is not used again"
    )
  },
  {
    name: "a full queue drops the newest request instead of the oldest",
    file: `${src}/requestQueue.ts`,
    find: `strategy === "sliding" ? (this.line.first ?? job) : job`,
    replace: `strategy === "sliding" ? (this.line.last ?? job) : job`,
    test: inPool(
      "RequestQueue",
      "RequestQueue > capacity and strategy > sliding: the oldest request in the queue makes room, and fails with QueueFull"
    )
  },
  {
    name: "one connection more than maxTries tries a request",
    file: `${src}/requestQueue.ts`,
    find: "job.tries < maxTries &&",
    replace: "job.tries <= maxTries &&",
    test: inPool(
      "RequestQueue",
      "RequestQueue > isUnsent > at most maxTries connections try; then the sender gets the error"
    )
  }
]

export const services: ReadonlyArray<Mutation> = [...balance, ...queue]
