/**
 * A pool made of an upgrade side and a fallback side, and how a call finds the
 * side that serves it.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { pipeArguments } from "effect/Pipeable"
import type * as Scope from "effect/Scope"
import type { ConnectionPool, Keep, Lease, Observer, PoolError, PoolStats, Use } from "../ConnectionPool.ts"
import type { Negotiation, Side } from "./negotiation.ts"
import { isRedirect } from "./redirect.ts"
import * as Stats from "./stats.ts"

type Body<Conn> = (connection: Conn, lease: Lease<Conn>) => Effect.Effect<any, any, any>

export class TwoSides<Conn, E> implements ConnectionPool<void, Conn, E> {
  private readonly negotiation: Negotiation<unknown, unknown>
  private readonly sides: { readonly [S in Side]: ConnectionPool<void, Conn, E> }
  private readonly open: { [S in Side]: number } = { upgrade: 0, fallback: 0 }

  constructor(negotiation: Negotiation<any, any>, sides: { readonly [S in Side]: ConnectionPool<void, Conn, E> }) {
    this.negotiation = negotiation
    this.sides = sides
    // Borrowing is what makes a side connect.
    negotiation.prime = (side) => Effect.ignoreCause(sides[side].use(() => Effect.void))
    // With an upgraded connection open, that side may look for another one.
    negotiation.mayContradict = (side) => side === "upgrade" && this.open.upgrade > 0
  }

  /** Counts both sides' connections from now on. */
  get start(): Effect.Effect<void, never, Scope.Scope> {
    return Effect.andThen(this.count("upgrade"), this.count("fallback"))
  }

  private count(side: Side): Effect.Effect<void, never, Scope.Scope> {
    return Effect.flatMap(this.sides[side].stats, ({ idle, used }) => {
      this.open[side] = idle + used
      return this.sides[side].observe({
        connected: () => {
          this.open[side]++
        },
        evicted: () => {
          this.open[side]--
        }
      })
    })
  }

  // ---------------------------------------------------------------------------
  // Borrowing
  // ---------------------------------------------------------------------------

  readonly use = ((targetOrBody: Body<Conn> | void, body?: Body<Conn>) =>
    this.route((pool) => pool.use(body ?? (targetOrBody as Body<Conn>)))) as Use<void, Conn, E>

  readonly get = (): Effect.Effect<Conn, E | PoolError, Scope.Scope> => this.route((pool) => pool.get())

  readonly lease = (): Effect.Effect<Lease<Conn>, E | PoolError, Scope.Scope> => this.route((pool) => pool.lease())

  /** Calls one side; the other one if that turns out to be where the peer is. */
  private route<A, E2, R>(
    f: (pool: ConnectionPool<void, Conn, E>) => Effect.Effect<A, E2, R>
  ): Effect.Effect<A, E2, R> {
    return Effect.suspend(() => {
      const side = this.pick()
      if (side !== "upgrade" || this.open.upgrade > 0 || this.open.fallback === 0) return this.call(side, f)
      // The upgraded connection is gone. Before another one is opened, the fallback lends what it has idle.
      return Effect.flatMap(this.sides.fallback.stats, ({ idle }) => this.call(idle > 0 ? "fallback" : side, f))
    })
  }

  private pick(): Side {
    if (this.open.upgrade > 0) return "upgrade"
    return this.negotiation.outcome ?? "upgrade"
  }

  private call<A, E2, R>(
    side: Side,
    f: (pool: ConnectionPool<void, Conn, E>) => Effect.Effect<A, E2, R>
  ): Effect.Effect<A, E2, R> {
    return Effect.catchCause(f(this.sides[side]), (cause) =>
      isRedirect(cause, this.negotiation.redirect) ? this.route(f) : Effect.failCause(cause)
    )
  }

  // ---------------------------------------------------------------------------
  // Both sides
  // ---------------------------------------------------------------------------

  private both<A, E2, R>(
    f: (pool: ConnectionPool<void, Conn, E>) => Effect.Effect<A, E2, R>
  ): Effect.Effect<void, E2, R> {
    return Effect.andThen(f(this.sides.upgrade), Effect.asVoid(f(this.sides.fallback)))
  }

  readonly retain = (keep: Keep<Conn>): Effect.Effect<void> => this.both((pool) => pool.retain(keep))

  readonly guard = (keep: Keep<Conn>): Effect.Effect<void, never, Scope.Scope> => this.both((pool) => pool.guard(keep))

  readonly observe = (observer: Observer): Effect.Effect<void, never, Scope.Scope> =>
    this.both((pool) => pool.observe(observer))

  readonly drain = (options?: { readonly deadline?: Duration.Input | undefined }): Effect.Effect<void> =>
    Effect.forEach([this.sides.upgrade, this.sides.fallback], (pool) => pool.drain(options), {
      concurrency: "unbounded",
      discard: true
    })

  readonly stats: Effect.Effect<PoolStats> = Effect.suspend(() =>
    Effect.zipWith(this.sides.upgrade.stats, this.sides.fallback.stats, Stats.add)
  )

  pipe() {
    return pipeArguments(this, arguments)
  }
}
