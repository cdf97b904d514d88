/**
 * Carries commands out on a real pool in a lab, and tells the model what
 * callers and the peer can see of it.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as CachePool from "../../src/CachePool.ts"
import type { ConnectionPool, Lease, Observer } from "../../src/ConnectionPool.ts"
import * as SingletonPool from "../../src/SingletonPool.ts"
import { Lab } from "./lab.ts"
import { Model } from "./model.ts"
import type { Command, Racing } from "./modelCommands.ts"
import { backoffs } from "./modelPause.ts"
import { type ConnectError, type Outcome, Peer, type PeerConnection } from "./modelPeer.ts"
import { Call, type CallKind, keeps, type Setup } from "./modelSetup.ts"

type Pool = ConnectionPool<void, PeerConnection, ConnectError>

export class Actions {
  protected readonly setup: Setup
  protected readonly lab: Lab
  protected readonly model: Model
  protected readonly peer: Peer
  protected readonly pool: Pool
  protected readonly scope: Scope.Closeable
  protected readonly waits = new Set<number>()
  protected readonly ledger = { borrowed: 0, returned: 0, connected: 0, closed: 0 }

  constructor(setup: Setup) {
    this.setup = setup
    this.lab = new Lab({ microtasks: setup.microtasks })
    this.model = new Model(setup)
    this.model.now = () => this.lab.clock.now
    this.peer = new Peer(this.lab, this.model)
    this.model.peer = this.peer
    this.lab.onRest = () => this.model.rest(this.lab.get(this.pool.stats))
    this.model.beginStep(true)
    const made = this.lab.make(this.makePool(), setup.poolBudget)
    this.pool = made.value
    this.scope = made.scope
    if (setup.observed) this.lab.get(Scope.provide(this.pool.observe(this.observer()), Scope.makeUnsafe()))
    this.lab.onRest()
  }

  protected makePool(): Effect.Effect<Pool, never, Scope.Scope> {
    const { setup, peer } = this
    const options = {
      connect: peer.connect,
      maxPending: setup.maxPending,
      waitTimeout: setup.waitTimeout,
      connectTimeout: setup.connectTimeout,
      closeTimeout: setup.closeTimeout,
      drainDeadline: setup.drainDeadline,
      backoff: backoffs[setup.backoff].schedule,
      onAbandon: setup.onAbandon,
      validateAfter: setup.validateAfter,
      ...(setup.isOpen ? { isOpen: (connection: PeerConnection) => connection.alive } : {}),
      ...(setup.watch ? { watch: peer.watch } : {}),
      ...(setup.validate ? { validate: peer.validate } : {}),
      ...(setup.leakWarning ? { leakWarning: 509 } : {})
    }
    if (setup.kind === "singleton") return SingletonPool.make(options)
    const { maxSize, minSize, maxIdle, maxConnecting, order } = setup
    return CachePool.make({ ...options, maxSize, minSize, maxIdle, maxConnecting, order })
  }

  protected observer(): Observer {
    const { ledger, waits } = this
    const count = (name: keyof typeof ledger) => () => {
      ledger[name]++
    }
    return {
      borrowed: count("borrowed"),
      returned: count("returned"),
      connected: count("connected"),
      closed: count("closed"),
      waitStarted: (waiter) => {
        waits.add(waiter)
      },
      waitEnded: (waiter) => {
        if (!waits.delete(waiter)) this.model.wrong("a wait ended that had not started, or twice")
      }
    }
  }

  /** Something else happens before the timers that are due can ring. */
  private stall(millis: number): void {
    this.model.stalled()
    // So that it is the timers that are late, and not those who set them.
    this.lab.settle()
    this.lab.stall(millis)
  }

  protected rest(): void {
    this.lab.settle()
    this.lab.ringDue()
    this.lab.onRest()
  }

  // ---------------------------------------------------------------------------
  // Commands
  // ---------------------------------------------------------------------------

  protected apply(command: Exclude<Command, { readonly op: "together" }> | Racing): void {
    const { model, peer, lab } = this
    switch (command.op) {
      case "call":
        return this.call(command.kind, command.budget)
      case "finish":
        return this.finishBody(pick(model.inside, command.at), command.how)
      case "release":
        return this.release(pick(this.leases, command.at), command.how)
      case "invalidate":
        return this.invalidate(pick(this.leases, command.at))
      case "interrupt":
        return this.interrupt(pick([...model.pending, ...model.inside], command.at))
      case "closeScope":
        return this.closeScope(pick(this.shared, command.at))
      case "connect":
        return pick(peer.attempts.filter(gated), command.at)?.resolve?.(command.how)
      case "validate":
        return pick(validations(peer), command.at)?.resolve?.(command.how)
      case "close":
        return pick(closings(peer), command.at)?.resolve?.(command.how)
      case "mode":
        peer.modes[command.of] = command.mode
        return
      case "peer":
        // Of an attempt that is cancelled and cannot be interrupted nobody but the pool would know.
        if (command.flag === "stillborn" || this.setup.onAbandon === "keep") peer[command.flag] = command.on
        return
      case "kill":
        return this.kill(pick(peer.connections, command.at), command.how)
      case "retain":
        model.retain(command.keep)
        lab.fork(this.pool.retain(keeps[command.keep]))
        return
      case "guard":
        return this.guard(command.keep)
      case "unguard":
        return this.unguard(command.at)
      case "adopt":
        return this.adopt()
      case "advance":
        return lab.advance(command.millis)
      case "jump":
        model.jumped = true
        return lab.clock.jump(command.millis)
      case "drain":
        return this.drain(command.deadline)
      case "closePool":
        return this.closePool()
      case "turn":
        return lab.turn()
      case "step":
        return lab.step()
      case "stall":
        return this.stall(command.millis)
    }
  }

  protected call(kind: CallKind, budget: number | undefined): void {
    const { model, lab, pool } = this
    const gate = Deferred.makeUnsafe<Outcome>()
    const ops = budget ?? this.setup.budget
    const { step, calm } = model
    const call = new Call({ id: model.calls.length + 1, kind, budget: ops, startedAt: lab.clock.now, step, calm }, gate)
    model.called(call)
    const inside = (connection: PeerConnection, lease?: Lease<PeerConnection>) => this.body(call, connection, lease)
    const effect = {
      use: () => pool.use(inside),
      get: () => Effect.scoped(Effect.flatMap(pool.get(), (connection) => inside(connection))),
      lease: () => Effect.scoped(Effect.flatMap(pool.lease(), (lease) => inside(lease.connection, lease))),
      takeIdle: () =>
        Effect.scoped(
          Effect.flatMap(
            (pool as CachePool.CachePool<PeerConnection, ConnectError>).takeIdle,
            (taken): Effect.Effect<unknown, unknown> => (Option.isSome(taken) ? inside(taken.value) : Effect.void)
          )
        ),
      shared: () => {
        const scope = (call.scope = Scope.makeUnsafe())
        return Scope.provide(
          Effect.map(pool.get(), (connection) => {
            // Somebody may have closed its scope in the meantime.
            if (scope.state._tag === "Closed") call.state = "over"
            else model.entered(call, connection)
          }),
          scope
        )
      }
    }[kind]()
    const fiber = lab.fork(effect as Effect.Effect<unknown, unknown>, ops)
    call.fiber = fiber
    fiber.addObserver((exit) => {
      model.exited(call, exit)
      // In the rush it may have been interrupted with a connection, which its scope keeps.
      if (call.scope !== undefined && Exit.isFailure(exit) && !model.calm) {
        lab.fork(Scope.close(call.scope, Exit.void))
      }
    })
  }

  private body(call: Call, connection: PeerConnection, lease?: Lease<PeerConnection>): Effect.Effect<unknown, unknown> {
    return Effect.ensuring(
      Effect.suspend(() => {
        call.lease = lease
        this.model.entered(call, connection)
        return Effect.flatMap(Deferred.await(call.gate), (how) =>
          how === "ok" ? Effect.void : how === "fail" ? Effect.fail("body") : Effect.die("body")
        )
      }),
      Effect.sync(() => this.model.left(call))
    )
  }

  private get leases(): ReadonlyArray<Call> {
    return this.model.calls.filter((call) => call.lease !== undefined)
  }

  protected get shared(): ReadonlyArray<Call> {
    return this.model.calls.filter((call) => call.scope !== undefined && call.scope.state._tag !== "Closed")
  }

  protected finishBody(call: Call | undefined, how: Outcome): void {
    if (call?.scope !== undefined) return this.closeScope(call)
    if (call !== undefined) Deferred.doneUnsafe(call.gate, Exit.succeed(how))
  }

  /** Also of loans that are over, which must do nothing. */
  private release(call: Call | undefined, how: "effect" | "unsafe" | "twice"): void {
    if (call?.lease === undefined) return
    this.model.left(call)
    if (how === "unsafe") return call.lease.releaseUnsafe()
    this.lab.fork(call.lease.release)
    if (how === "twice") this.lab.fork(call.lease.release)
  }

  private invalidate(call: Call | undefined): void {
    if (call?.lease === undefined) return
    this.model.invalidate(call)
    this.lab.fork(call.lease.invalidate)
  }

  private interrupt(call: Call | undefined): void {
    if (call === undefined) return
    if (call.state === "lent" && call.scope !== undefined) return this.closeScope(call)
    this.model.givesUp(call)
    call.fiber!.interruptUnsafe()
  }

  protected closeScope(call: Call | undefined): void {
    if (call?.scope === undefined) return
    this.model.givesUp(call)
    this.model.left(call)
    this.lab.fork(Scope.close(call.scope, Exit.void))
  }

  private kill(connection: PeerConnection | undefined, how: "noisy" | "silent" | "retire" | "capacity"): void {
    if (connection === undefined) return
    if (how === "capacity") return connection.signals?.capacityChanged()
    this.model.spoiled()
    if (how !== "retire") connection.alive = false
    if (how === "silent" || connection.signals === undefined) return
    this.model.doom(connection)
    connection.signals.retire()
  }

  private guard(keep: keyof typeof keeps): void {
    const scope = Scope.makeUnsafe()
    this.model.spoiled()
    this.model.guards.push({ keep, step: this.model.step, scope })
    this.lab.fork(Scope.provide(this.pool.guard(keeps[keep]), scope))
  }

  protected unguard(at: number): void {
    const guard = pick(this.model.guards, at)
    if (guard === undefined) return
    this.model.unguard(guard)
    this.lab.fork(Scope.close(guard.scope, Exit.void))
  }

  private adopt(): void {
    const connection = this.peer.outsider()
    this.model.adopt(connection)
    const pool = this.pool as CachePool.CachePool<PeerConnection, ConnectError>
    this.lab.fork(pool.adopt(connection, this.peer.close(connection)))
  }

  private drain(deadline: number | undefined): void {
    this.model.drain(deadline ?? this.setup.drainDeadline)
    this.model.drains.push(this.lab.fork(this.pool.drain(deadline === undefined ? undefined : { deadline })))
  }

  protected closePool(): void {
    this.model.drain(this.setup.drainDeadline)
    // Who closes a scope that is being closed does not wait for it.
    if (this.scope.state._tag === "Closed") return
    this.model.drains.push(this.lab.fork(Scope.close(this.scope, Exit.void)))
  }
}

const pick = <A>(items: ReadonlyArray<A>, at: number): A | undefined =>
  items.length === 0 ? undefined : items[at % items.length]

export const gated = (job: { readonly resolve: unknown }): boolean => job.resolve !== undefined

export const validations = (peer: Peer) => peer.connections.flatMap((c) => c.validation ?? []).filter(gated)

export const closings = (peer: Peer) => peer.connections.flatMap((c) => c.closing ?? []).filter(gated)
