/**
 * Plays commands on a stack of pools in a lab, and checks after each of them
 * what must hold of any stack.
 */
import type * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as ConnectionLimit from "../../src/ConnectionLimit.ts"
import { type Lease, PoolError } from "../../src/ConnectionPool.ts"
import * as ExpirePool from "../../src/ExpirePool.ts"
import * as MapPool from "../../src/MapPool.ts"
import * as TestConnector from "../../src/testing/TestConnector.ts"
import { type Conn, Controls, type TestPool } from "./bench.ts"
import { at } from "./kinds.ts"
import { Lab } from "./lab.ts"
import { build, negotiate, type Options, union } from "./rigs.ts"
import { closeTimeout, onPurpose, StackPeer } from "./stackPeer.ts"
import { brokenRules } from "./stackRules.ts"
import { type Command, type Setup, type Target, targets } from "./stackSetup.ts"

const waitTimeout = 1_009
const connectTimeout = 307
const slowBuild = 97
const idleTimeToLive = 2_003
const maxLifetime = 3_001
const maxUses = 3
/** How long a pool may rest after a failure, or after a caller was sent to the other side. */
const backoff = 53

interface Call {
  readonly id: number
  readonly began: number
  readonly gate: Deferred.Deferred<void, string>
  state: "waiting" | "inside" | "over"
  fiber: Fiber.Fiber<void, unknown> | undefined
  connection: Conn | undefined
  lease: Lease<Conn> | undefined
  interrupted: boolean
}

interface Stack {
  readonly whole: TestPool
  readonly of: (target: Target) => TestPool
  readonly map?: MapPool.MapPool<string, string, Conn, unknown> | undefined
}

export class StackWorld {
  private readonly setup: Setup
  private readonly lab = new Lab()
  private readonly peer = new StackPeer(this.lab)
  private readonly controls: Controls
  private readonly stack: Stack
  private readonly scope: Scope.Closeable
  private limit: ConnectionLimit.ConnectionLimit | undefined = undefined
  private readonly calls: Array<Call> = []
  private readonly borrowers = new Map<Conn, number>()
  /** Connections that must not be lent any more. */
  private readonly banned = new Set<Conn>()
  private readonly guards: Array<{ readonly rest: number; readonly scope: Scope.Closeable }> = []
  private readonly wrongs = new Set<string>()
  private jumped = false
  private removed = false
  private drained = false
  private attemptsWhenDrained = 0

  constructor(setup: Setup) {
    this.setup = setup
    this.controls = new Controls(setup.concurrency)
    this.controls.build = setup.slowBuild ? Effect.sleep(slowBuild) : Effect.void
    this.peer.onClose = (connection) => {
      const lent = (this.borrowers.get(connection) ?? 0) > 0
      if (lent && !this.removed && !this.drained) this.wrong("a connection was closed under its borrower")
    }
    const { value, scope } = this.lab.make(this.makeStack())
    this.stack = value
    this.scope = scope
    this.lab.onRest = () => this.check()
  }

  private wrong(what: string): void {
    this.wrongs.add(what)
  }

  // ---------------------------------------------------------------------------
  // The stack
  // ---------------------------------------------------------------------------

  private makeStack(): Effect.Effect<Stack, never, Scope.Scope> {
    const { setup } = this
    return Effect.gen({ self: this }, function* () {
      if (setup.shape === "one") {
        const pool = yield* this.expiring(this.makeInner(setup.inner, undefined))
        return { whole: pool, of: () => pool }
      }
      if (setup.shape === "two") {
        const limit = (this.limit = yield* ConnectionLimit.make({ max: setup.limit }))
        const a = yield* this.expiring(this.makeInner(setup.inner, limit))
        const b = yield* this.expiring(this.makeInner(setup.second, limit))
        return { whole: union(a, b), of: (target: Target) => (target === "b" ? b : a) }
      }
      const made = MapPool.make({
        key: (target: string) => target,
        pool: (_: string, grant) => {
          this.limit = grant.limit
          return Effect.andThen(this.controls.build, this.makeInner(setup.inner, grant.limit))
        },
        maxSize: setup.limit,
        maxKeys: setup.maxKeys,
        idleTimeToLive: 4_001
      })
      const map = yield* this.expiring(made)
      return { whole: at(map, "a"), of: (target: Target) => at(map, target), map }
    })
  }

  private makeInner(
    kind: Setup["inner"],
    limit: ConnectionLimit.ConnectionLimit | undefined
  ): Effect.Effect<TestPool, never, Scope.Scope> {
    const { peer } = this.peer
    const options: Options = {
      connect: this.peer.connect,
      ...(this.setup.checked ? { isOpen: peer.options.isOpen } : {}),
      watch: (connection, signals) => {
        this.controls.signals.set(connection, signals)
        const unwatch = peer.options.watch(connection, signals)
        return () => {
          this.controls.signals.delete(connection)
          unwatch()
        }
      },
      ...(this.setup.validated ? { validate: () => Effect.sleep(7) } : {}),
      onAbandon: this.setup.onAbandon,
      waitTimeout,
      connectTimeout,
      closeTimeout,
      backoff: Schedule.spaced(backoff),
      limit
    }
    return kind === "negotiate"
      ? negotiate(this.setup.upgrade, options, this.setup, this.controls)
      : build(kind, options, this.setup, this.controls)
  }

  private expiring<P extends TestPool | MapPool.MapPool<string, string, Conn, unknown>>(
    pool: Effect.Effect<P, never, Scope.Scope>
  ): Effect.Effect<P, never, Scope.Scope> {
    const policy = {
      none: undefined,
      idle: { idleTimeToLive },
      lifetime: { maxLifetime, jitter: 0 },
      uses: { maxUses }
    }[this.setup.expire]
    return policy === undefined ? pool : (ExpirePool.make(pool as never, policy) as never)
  }

  // ---------------------------------------------------------------------------
  // Commands
  // ---------------------------------------------------------------------------

  play(commands: ReadonlyArray<Command>): ReadonlyArray<string> {
    for (const command of commands) {
      this.obey(command)
      this.lab.advance(command.do === "advance" ? command.millis : 0)
      if (this.wrongs.size > 0) return Array.from(this.wrongs)
    }
    this.finish()
    return Array.from(this.wrongs)
  }

  private obey(command: Command): void {
    const { peer, controls, lab, stack } = this
    switch (command.do) {
      case "call":
        return void this.call(command.target, command.how)
      case "finish":
        return this.finishCall(pick(this.inState("inside"), command.at), command.how)
      case "interrupt":
        return this.interrupt(pick([...this.inState("waiting"), ...this.inState("inside")], command.at))
      case "interrupt all":
        return this.inState("waiting").forEach((call) => this.interrupt(call))
      case "advance":
        return
      case "jump":
        this.jumped = true
        return lab.clock.jump(command.millis)
      case "connects":
        peer.connects = command.mode
        return
      case "closes":
        peer.closes = command.mode
        return
      case "kill": {
        const connection = pick(Array.from(peer.open), command.at)
        if (connection === undefined) return
        return command.silently && this.setup.checked ? peer.peer.killSilently(connection) : peer.peer.kill(connection)
      }
      case "retain":
        for (const connection of peer.open) if (connection.id % 3 === command.rest) this.banned.add(connection)
        return lab.get(stack.whole.retain(({ id }) => id % 3 !== command.rest))
      case "guard": {
        const scope = Scope.makeUnsafe()
        lab.get(
          Scope.provide(
            stack.whole.guard(({ id }) => id % 3 !== command.rest),
            scope
          )
        )
        this.guards.push({ rest: command.rest, scope })
        return
      }
      case "unguard":
        return this.unguard()
      case "flip":
        controls.upgrades = !controls.upgrades
        return
      case "capacity":
        return controls.capacityChanged(command.to)
      case "remove":
        if (stack.map === undefined) return
        this.removed = true
        lab.fork(stack.map.remove(command.target))
        return
      case "drain":
        this.drained = true
        lab.fork(stack.whole.drain())
        lab.settle()
        this.attemptsWhenDrained = peer.peer.attempts()
    }
  }

  private unguard(): void {
    const guard = this.guards.shift()
    if (guard !== undefined) this.lab.run(Scope.close(guard.scope, Exit.void))
  }

  private inState(state: Call["state"]): Array<Call> {
    return this.calls.filter((call) => call.state === state)
  }

  private call(target: Target, how: "use" | "get" | "lease"): Call {
    const call: Call = {
      id: this.calls.length,
      began: this.lab.clock.now,
      gate: Deferred.makeUnsafe(),
      state: "waiting",
      fiber: undefined,
      connection: undefined,
      lease: undefined,
      interrupted: false
    }
    this.calls.push(call)
    const pool = this.stack.of(target)
    const borrow =
      how === "use"
        ? pool.use((connection, lease) => this.inside(call, connection, lease))
        : how === "get"
          ? Effect.scoped(Effect.flatMap(pool.get(), (connection) => this.inside(call, connection, undefined)))
          : Effect.scoped(Effect.flatMap(pool.lease(), (lease) => this.inside(call, lease.connection, lease)))
    call.fiber = this.lab.fork(borrow)
    call.fiber.addObserver((exit) => this.ended(call, exit))
    return call
  }

  private finishCall(call: Call | undefined, how: Extract<Command, { do: "finish" }>["how"]): void {
    if (call === undefined) return
    if (how === "invalidate" && call.lease !== undefined) {
      this.banned.add(call.connection!)
      this.lab.run(call.lease.invalidate)
    }
    if (how === "release" && call.lease !== undefined) {
      this.leave(call)
      call.lease.releaseUnsafe()
      this.lab.run(call.lease.release)
      this.lab.run(call.lease.invalidate)
    }
    const exit = how === "fail" ? Exit.fail("body") : how === "die" ? Exit.die(onPurpose) : Exit.void
    Deferred.doneUnsafe(call.gate, exit)
  }

  private interrupt(call: Call | undefined): void {
    if (call === undefined) return
    call.interrupted = true
    call.fiber?.interruptUnsafe()
  }

  // ---------------------------------------------------------------------------
  // Loans
  // ---------------------------------------------------------------------------

  private inside(call: Call, connection: Conn, lease: Lease<Conn> | undefined): Effect.Effect<void, string> {
    return Effect.ensuring(
      Effect.suspend(() => {
        call.state = "inside"
        call.connection = connection
        call.lease = lease
        const borrowers = (this.borrowers.get(connection) ?? 0) + 1
        this.checkLoan(connection, borrowers, lease)
        this.borrowers.set(connection, borrowers)
        return Deferred.await(call.gate)
      }),
      Effect.sync(() => this.leave(call))
    )
  }

  private leave(call: Call): void {
    const { connection } = call
    if (connection === undefined) return
    call.connection = undefined
    const borrowers = this.borrowers.get(connection)! - 1
    this.borrowers.set(connection, borrowers)
    if (borrowers === 0) this.peer.idleSince.set(connection, this.lab.clock.now)
  }

  private checkLoan(connection: Conn, borrowers: number, lease: Lease<Conn> | undefined): void {
    const { setup, controls, peer } = this
    const now = this.lab.clock.now
    if (!connection.isOpen) this.wrong("a connection was lent after the peer hung up")
    if (this.banned.has(connection)) this.wrong("a connection was lent after it was invalidated or retained out")
    if (this.guards.some(({ rest }) => connection.id % 3 === rest)) this.wrong("a guarded connection was lent")
    const most = this.admits(connection)
    if (borrowers > most) this.wrong(`${borrowers} borrowers share a connection that admits ${most}`)
    if (setup.expire === "uses" && lease !== undefined && lease.info.uses > maxUses) {
      this.wrong(`a connection was lent ${lease.info.uses} times`)
    }
    if (this.jumped) return
    if (setup.expire === "lifetime" && now - peer.openedAt.get(connection)! >= maxLifetime) {
      this.wrong("a connection was lent that was too old")
    }
    if (setup.expire === "idle" && borrowers === 1 && now - peer.idleSince.get(connection)! >= idleTimeToLive) {
      this.wrong("a connection was lent that was idle for too long")
    }
    if (controls.signals.get(connection) === undefined) this.wrong("a connection was lent that nobody watches")
  }

  private admits(connection: Conn): number {
    const { setup, controls } = this
    const of = (kind: Setup["inner"]): number => {
      if (kind === "cache") return 1
      if (kind === "singleton") return Infinity
      if (kind === "shared") return controls.concurrency
      return controls.upgraded.has(connection) ? of(setup.upgrade) : 1
    }
    return setup.shape === "two" ? Math.max(of(setup.inner), of(setup.second)) : of(setup.inner)
  }

  private ended(call: Call, exit: Exit.Exit<void, unknown>): void {
    call.state = "over"
    if (Exit.isFailure(exit)) for (const reason of exit.cause.reasons) this.checkFailure(call, reason)
  }

  private checkFailure(call: Call, reason: Cause.Reason<unknown>): void {
    if (reason._tag === "Interrupt") {
      if (!call.interrupted) this.wrong("a caller was interrupted that nobody interrupted")
    } else if (reason._tag === "Die") {
      if (reason.defect !== onPurpose) this.wrong(`a caller died of ${String(reason.defect).slice(0, 200)}`)
    } else if (reason.error instanceof PoolError) {
      const { _tag } = reason.error.reason
      const mayBeClosed = this.drained || this.removed
      if (_tag === "QueueFull" || (_tag === "Closed" && !mayBeClosed)) this.wrong(`a caller failed with ${_tag}`)
      if (_tag === "TooManyKeys" && this.setup.maxKeys >= targets.length) this.wrong("there are not too many keys")
    } else if (reason.error instanceof TestConnector.TestConnectError) {
      if (this.peer.failedAt < 0) this.wrong("a connect error although none failed")
    } else if (reason.error !== "body") this.wrong(`a caller failed with ${String(reason.error).slice(0, 200)}`)
  }

  // ---------------------------------------------------------------------------
  // What must hold whenever nothing moves
  // ---------------------------------------------------------------------------

  private check(): void {
    const { lab, peer, setup } = this
    const broken = brokenRules({
      parts: this.controls.connecting.map(({ kind, pool }) => ({ kind, stats: lab.get(pool.stats) })),
      whole: lab.get(this.stack.whole.stats),
      seen: peer.seen,
      limit: this.limit === undefined ? undefined : lab.get(this.limit.stats),
      negotiates: this.usesNegotiation,
      validates: setup.validated
    })
    for (const wrong of broken) this.wrong(wrong)
    // The wait for a probe and the wait on the side that it picks each have their own time; so has a build.
    const longest =
      (this.usesNegotiation ? 2 : 1) * waitTimeout + (setup.shape === "map" ? slowBuild + closeTimeout : 0)
    for (const call of this.inState("waiting")) {
      if (lab.clock.now > call.began + longest) this.wrong("a caller waits longer than waitTimeout")
    }
    if (this.drained && peer.peer.attempts() > this.attemptsWhenDrained) this.wrong("a closed pool connects")
  }

  private get usesNegotiation(): boolean {
    const { inner, second, shape } = this.setup
    return inner === "negotiate" || (shape === "two" && second === "negotiate")
  }

  // ---------------------------------------------------------------------------
  // The end
  // ---------------------------------------------------------------------------

  /** The peer is well again and everybody leaves: all must be served, and nothing may stay behind. */
  private finish(): void {
    const { lab, peer, controls, setup } = this
    peer.connects = "ok"
    peer.closes = "ok"
    while (this.guards.length > 0) this.unguard()
    controls.capacityChanged(setup.concurrency)
    // Callers that wait are served one after the other.
    for (let i = 0; i < 50 && this.calls.some((call) => call.state !== "over"); i++) {
      for (const call of this.inState("inside")) this.finishCall(call, "ok")
      lab.advance(100)
    }
    lab.advance(10_000)
    for (const call of this.calls) if (call.state !== "over") this.wrong(`call ${call.id} never ended`)
    if (!this.drained) this.checkFairness()
    lab.advance(closeTimeout + 1_000)
    this.expectZero("at rest", ["used", "connecting", "closing", "pending", "borrowers"])
    lab.run(Scope.close(this.scope, Exit.void))
    this.drained = true
    this.attemptsWhenDrained = peer.peer.attempts()
    lab.advance(60_000)
    this.checkClosed()
  }

  /** However busy the other targets are, a caller of the last one is served in time. */
  private checkFairness(): void {
    const { lab, setup } = this
    const busy = (target: Target) => Effect.forever(this.stack.of(target).use(() => Effect.sleep(10)))
    const crowd = targets.slice(0, Math.min(targets.length, setup.maxKeys) - 1)
    const fibers = crowd.flatMap((target) => Array.from({ length: 6 }, () => lab.fork(busy(target))))
    lab.advance(100)
    const late = this.call("c", "use")
    Deferred.doneUnsafe(late.gate, Exit.void)
    lab.advance(waitTimeout + 100)
    if (setup.maxKeys >= targets.length || this.stack.map === undefined) {
      const exit = late.fiber!.pollUnsafe()
      if (exit === undefined) this.wrong("a late caller never ended")
      else if (Exit.isFailure(exit)) this.wrong(`a late caller failed: ${String(exit.cause).slice(0, 200)}`)
    }
    for (const fiber of fibers) {
      if (fiber.pollUnsafe() !== undefined) this.wrong("one of the crowd failed")
      fiber.interruptUnsafe()
    }
    lab.advance(100)
  }

  private expectZero(
    when: string,
    names: ReadonlyArray<"idle" | "used" | "connecting" | "closing" | "pending" | "borrowers">
  ): void {
    const stats = this.lab.get(this.stack.whole.stats)
    for (const name of names) if (stats[name] !== 0) this.wrong(`${when}: ${name} is ${stats[name]}`)
  }

  private checkClosed(): void {
    const { lab, peer } = this
    this.expectZero("after close", ["idle", "used", "connecting", "closing", "pending", "borrowers"])
    const stats = lab.get(this.stack.whole.stats)
    const none = (name: string, count: number) => {
      if (count !== 0) this.wrong(`after close: ${name} is ${count}`)
    }
    none("created - closed", stats.created - stats.closed)
    none("open connections", peer.peer.live())
    none("watchers", peer.peer.watchers())
    none("slots taken", this.limit === undefined ? 0 : lab.get(this.limit.stats).used)
    none("timers", lab.clock.timers)
    // A close that hangs for ever keeps its fiber; nobody counts it any more.
    none("fibers", Math.max(0, lab.fibers - peer.closing.size))
  }
}

const pick = <A>(items: ReadonlyArray<A>, at: number): A | undefined => items[at % Math.max(1, items.length)]

/** Plays one sequence in a lab of its own and says what is wrong. */
export const playStack = (setup: Setup, commands: ReadonlyArray<Command>): ReadonlyArray<string> =>
  Lab.run(() => {
    try {
      return new StackWorld(setup).play(commands)
    } catch (error) {
      return [String((error as Error).stack ?? error)]
    }
  })
