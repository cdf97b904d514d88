/** Connections that several borrowers share, and limits that several pools share. */
import { inPool, type Mutation } from "./mutation.ts"

const src = "packages/pool/src"

const singleton: ReadonlyArray<Mutation> = [
  {
    name: "a lease of an earlier generation clears the singleton's later one",
    file: `${src}/SingletonPool.ts`,
    find: `if (this.state._tag === "Ready" && this.state.connection === connection) this.state = empty`,
    replace: `if (this.state._tag === "Ready") this.state = empty`,
    test: inPool(
      "SingletonPool",
      "SingletonPool > generations > S4 a lease of an earlier generation cannot clear a later one"
    )
  },
  {
    name: "the first caller that leaves takes the shared attempt with it",
    file: `${src}/SingletonPool.ts`,
    find: "if (!making.callers.delete(loan) || making.callers.size > 0) return",
    replace: "if (!making.callers.delete(loan)) return",
    test: inPool(
      "SingletonPool",
      'SingletonPool > interruption > A2 "cancel" cancels an attempt when the last of its callers has left, not before'
    )
  },
  {
    name: "a failed attempt is joined by callers that come while others are told of it",
    file: `${src}/SingletonPool.ts`,
    find: `    this.state = empty
    for (const loan of making.callers) this.waitEnded(loan, outcome)`,
    replace: "    for (const loan of making.callers) this.waitEnded(loan, outcome)",
    test: inPool(
      "SingletonPool.failure",
      "SingletonPool > failing > S1 S4 a caller that asks again at once gets the next attempt, although others are still being told"
    )
  }
]

const shared: ReadonlyArray<Mutation> = [
  {
    name: "a cold shared pool connects once for each caller",
    file: `${src}/internal/sharedQueue.ts`,
    find: "return waiting > 0 ? 1 : 0",
    replace: "return waiting",
    test: inPool(
      "SharedPool.growth",
      "SharedPool > a cold pool > H2 S1 makes one connect however many callers, and all share the connection"
    )
  },
  {
    name: "a shared pool fills one connection before the next",
    file: `${src}/internal/sharedQueue.ts`,
    find: "(best === undefined || connection.borrowers < best.borrowers)",
    replace: "best === undefined",
    test: inPool("SharedPool.growth", "SharedPool > which connection > H2 the least loaded one")
  },
  {
    name: "a shared pool grows by one connection per waiter, whatever one admits",
    file: `${src}/internal/sharedQueue.ts`,
    find: "Math.ceil(waiting / this.usualCapacity)",
    replace: "waiting",
    test: inPool(
      "SharedPool.growth",
      "SharedPool > growth > H2 by known capacity: as many more connects as the callers that are left over need"
    )
  },
  {
    name: "saturation is ignored",
    file: `${src}/internal/sharedQueue.ts`,
    find: "capacity * this.settings.saturation",
    replace: "capacity",
    test: inPool(
      "SharedPool.growth",
      "SharedPool > saturation > H2 below 1: another connection opens before the last slot is taken, in the background"
    )
  },
  {
    name: "a shared connection that is on its way out still counts for maxSize",
    file: `${src}/internal/sharedQueue.ts`,
    find: "return this.lendable() + this.connections.connecting.size",
    replace: "return this.connections.all.size + this.connections.connecting.size",
    test: inPool(
      "SharedPool.borrow",
      "SharedPool > a connection that must not be lent again > H3 A3 it no longer counts for maxSize once it can only drain"
    )
  },
  {
    name: "a shared connection is validated once for each caller",
    file: `${src}/internal/sharedQueue.ts`,
    find: `connection.state !== "validating" &&`,
    replace: "",
    test: inPool(
      "SharedPool.borrow",
      "SharedPool > health > A9 validate runs once for all callers of an idle connection, who then share it"
    )
  },
  {
    name: "a shared connection closes under its other borrowers",
    file: `${src}/internal/connectionQueue.ts`,
    find: "if (connection.borrowers === 0) this.connections.evict(connection, reason)",
    replace: "if (connection.borrowers >= 0) this.connections.evict(connection, reason)",
    test: inPool(
      "SharedPool.borrow",
      "SharedPool > a connection that must not be lent again > H3 S3 it is found closed: callers get a new one, its borrowers finish on it, and it closes after the last"
    )
  },
  {
    name: "a failed connect fails waiters that other connections will serve",
    file: `${src}/internal/sharedQueue.ts`,
    find: "if (cause !== undefined && this.lendable() === 0 && this.connections.connecting.size === 0) {",
    replace: "if (cause !== undefined) {",
    test: inPool(
      "SharedPool.growth",
      "SharedPool > growth > H2 a failed connect of a pool that has connections is nobody's error: callers wait for a slot"
    )
  },
  {
    name: "a connection's concurrency is asked for once",
    file: `${src}/internal/sharedQueue.ts`,
    find: "      return concurrency(connection.value)",
    replace: "      return (connection as { asked?: number }).asked ??= concurrency(connection.value)",
    test: inPool(
      "SharedPool.concurrency",
      "SharedPool > concurrency > H1 lowered below what is in use: nobody is disturbed, and nobody admitted until it is less"
    )
  }
]

const limit: ReadonlyArray<Mutation> = [
  {
    name: "a slot of a shared limit is free before the close has ended",
    file: `${src}/internal/connections.ts`,
    find: `      done?.()
      if (attempt?.slotless !== true) this.share?.release()
      this.kind.vacated()
      this.draining.check()
    }`,
    replace: `      done?.()
      this.kind.vacated()
      this.draining.check()
    }
    if (attempt?.slotless !== true) this.share?.release()`,
    test: inPool(
      "ConnectionLimit",
      "ConnectionLimit > slots > A3 are taken from the start of a connect until the close has ended"
    )
  },
  {
    name: "a slot that is free again is offered to nobody",
    file: `${src}/internal/memoryLimit.ts`,
    find: "this.limit.offer(this.settle())",
    replace: "this.settle()",
    test: inPool(
      "ConnectionLimit",
      "ConnectionLimit > a pool that finds no slot > M4 waits where nothing is idle, and gets the place of the next connection that comes back"
    )
  },
  {
    name: "a pool keeps asking for a slot after its waiter was served",
    file: `${src}/internal/connectionQueue.ts`,
    find: "share.want(this.line.first !== undefined && this.lacksSlot())",
    replace: "if (this.line.first !== undefined && this.lacksSlot()) share.want(true)",
    test: inPool(
      "ConnectionLimit",
      "ConnectionLimit > a pool that finds no slot > M4 a waiter that its own pool's returned connection serves withdraws the request: nothing closes"
    )
  },
  {
    name: "a pool below its fair share gives up what its own waiters need",
    file: `${src}/internal/memoryLimit.ts`,
    find: "if (needed && !(this.held > fairShare && other.held < least)) continue",
    replace: "",
    test: inPool(
      "ConnectionLimit",
      "ConnectionLimit > a pool that finds no slot > M4 a pool that is not above its share serves its own waiters"
    )
  },
  {
    name: "any idle connection makes room, not the least recently used one",
    file: `${src}/internal/memoryLimit.ts`,
    find: "if (idleSince === undefined || idleSince >= oldest) continue",
    replace: "if (idleSince === undefined) continue",
    test: inPool(
      "ConnectionLimit",
      "ConnectionLimit > a pool that finds no slot > M4 has the least recently used idle connection of another pool closed, and only that one"
    )
  },
  {
    name: "slots go to the pool that asked last",
    file: `${src}/internal/memoryLimit.ts`,
    find: "this.limit.wanting.push(this)",
    replace: "this.limit.wanting.insert(this, this.limit.wanting.first)",
    test: inPool(
      "ConnectionLimit",
      "ConnectionLimit > a pool that finds no slot > A6 slots go to the pools that want one in turn, and in a pool to the first in line"
    )
  },
  {
    name: "a waiter gets an adopted connection although its limit is full",
    file: `${src}/internal/memoryLimit.ts`,
    find: "return victim !== undefined\n  }\n\n  want",
    replace: "return true\n  }\n\n  want",
    test: inPool(
      "CachePool.adopt",
      "CachePool > adopt > C8 M4 at a full shared limit with nothing idle not even a waiter gets it"
    )
  },
  {
    name: "adopted connections do not count for a shared limit",
    file: `${src}/internal/connections.ts`,
    find: "this.share?.takeOver()",
    replace: "",
    test: inPool("ConnectionLimit", "ConnectionLimit > slots > C8 adopted connections count")
  }
]

export const sharing: ReadonlyArray<Mutation> = [...singleton, ...shared, ...limit]
