/**
 * A pool made of an upgrade side and a fallback side, and how a call finds the
 * side that serves it.
 */
import type { Cause } from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { pipeArguments } from "effect/Pipeable"
import type * as Scope from "effect/Scope"
import type { ConnectionPool, Keep, Lease, Observer, PoolStats, Use } from "../ConnectionPool.ts"
import { Closed, PoolError } from "../ConnectionPool.ts"
import type { Negotiation, Side } from "./negotiation.ts"
import type { Run } from "./alarm.ts"
import { Immediate, immediateLender, leaseAtOnce, UseAtOnce } from "./immediate.ts"
import type { Lender } from "./loan.ts"
import type { InnerPool } from "./innerPool.ts"
import { Pool } from "./pool.ts"
import { redirectOf } from "./redirect.ts"
import * as Stats from "./stats.ts"

/** One of the two pools, as the callers of the whole see it. */
export interface Part<Conn, E> {
  readonly pool: ConnectionPool<void, Conn, E>
  /** The pool for a caller who has waited on the other side since `start`. */
  readonly waitingSince: (start: number) => ConnectionPool<void, Conn, E>
}

export const makePart = <A, EA, Conn, E>(
  pool: ConnectionPool<void, A, EA>,
  view: (pool: ConnectionPool<void, A, EA>) => ConnectionPool<void, Conn, E>
): Part<Conn, E> => ({
  pool: view(pool),
  // A pool that is not of this package begins to count when it is called.
  waitingSince: (start) => view(pool instanceof Pool ? pool.waitingSince(start) : pool)
})

type Body<Conn> = (connection: Conn, lease: Lease<Conn>) => Effect.Effect<any, any, any>

const closed: Effect.Effect<never, PoolError> = Effect.suspend(() =>
  Effect.fail(new PoolError({ reason: new Closed() }))
)

export class TwoSides<Conn, E> implements ConnectionPool<void, Conn, E>, Immediate<Conn, E | PoolError> {
  private readonly negotiation: Negotiation<unknown, unknown>
  private readonly sides: { readonly [S in Side]: Part<Conn, E> }
  private readonly run: Run
  private readonly inner: { readonly [S in Side]: InnerPool }
  /** Sides that callers are on their way to. */
  private readonly expecting = new Set<Side>()
  private following = false
  private draining = false
  /** A pool that delegates to this one wants to be asked itself. */
  private readonly self = this

  constructor(
    negotiation: Negotiation<any, any>,
    sides: { readonly [S in Side]: Part<Conn, E> },
    inner: { readonly [S in Side]: InnerPool },
    run: Run
  ) {
    this.run = run
    this.negotiation = negotiation
    this.sides = sides
    this.inner = inner
    negotiation.start({
      prime: (side) => inner[side].openOne(),
      handing: (to) => {
        this.expecting.add(to)
      },
      handed: () => this.seeThrough()
    })
    for (const side of ["upgrade", "fallback"] as const) inner[side].keepWhile(() => this.expecting.has(side))
  }

  /** Ends the keeping of connections for callers that change sides, when these have had their turn. */
  private seeThrough(): void {
    if (this.following) return
    this.following = true
    const { fallback, upgrade } = this.inner
    const follow: Effect.Effect<void> = Effect.suspend(() => {
      if (upgrade.isWaking() || fallback.isWaking()) return Effect.andThen(Effect.yieldNow, follow)
      this.following = false
      // The end of another handover will be followed, too.
      if (this.negotiation.handovers > 0) return Effect.void
      this.expecting.clear()
      upgrade.arrived()
      fallback.arrived()
      return Effect.void
    })
    // A caller that yields on its way has its turn before this fiber goes on.
    this.run(Effect.andThen(Effect.yieldNow, follow))
  }

  // ---------------------------------------------------------------------------
  // Borrowing
  // ---------------------------------------------------------------------------

  readonly use = ((targetOrBody: Body<Conn> | void, body?: Body<Conn>) =>
    this.useOne(body ?? (targetOrBody as Body<Conn>))) as Use<void, Conn, E>

  private useOne(body: Body<Conn>): Effect.Effect<any, any, any> {
    return new UseAtOnce(this, body, () => this.route((pool) => pool.use(body)))
  }

  readonly get = (): Effect.Effect<Conn, E | PoolError, Scope.Scope> =>
    Effect.withFiber((fiber) => {
      const lease = leaseAtOnce(this[Immediate](), fiber)
      return lease === undefined ? this.route((pool) => pool.get()) : Effect.succeed(lease.connection)
    })

  readonly lease = (): Effect.Effect<Lease<Conn>, E | PoolError, Scope.Scope> =>
    Effect.withFiber((fiber) => {
      const lease = leaseAtOnce(this[Immediate](), fiber)
      return lease === undefined ? this.route((pool) => pool.lease()) : Effect.succeed(lease)
    })

  private route<A, E2, R>(
    f: (pool: ConnectionPool<void, Conn, E>) => Effect.Effect<A, E2, R>
  ): Effect.Effect<A, E2 | PoolError, R> {
    // One side begins to drain before the other, and tells observers.
    return Effect.suspend((): Effect.Effect<A, E2 | PoolError, R> =>
      this.draining ? closed : this.call(this.pick(), f)
    )
  }

  [Immediate](): Lender<Conn, E | PoolError> | undefined {
    return this.self === this && !this.draining ? immediateLender(this.sides[this.pick()].pool) : undefined
  }

  private pick(): Side {
    const { fallback, upgrade } = this.inner
    const { handovers, moving, outcome } = this.negotiation
    if (moving !== undefined) {
      // Behind those who waited there and are on their way to the other side.
      if (handovers > 0 || this.inner[moving].isWaking()) return moving
      this.negotiation.moving = undefined
    }
    if (upgrade.lendable() > 0 && (outcome !== "fallback" || upgrade.canLend())) return "upgrade"
    // Before another upgraded connection is opened, the fallback lends what it has idle.
    return fallback.idle() > 0 ? "fallback" : (outcome ?? "upgrade")
  }

  /** Calls one side; the other one if that turns out to be where the peer is. */
  private call<A, E2, R>(
    side: Side,
    f: (pool: ConnectionPool<void, Conn, E>) => Effect.Effect<A, E2, R>,
    start?: number | undefined
  ): Effect.Effect<A, E2, R> {
    const { pool, waitingSince } = this.sides[side]
    // A fiber that is interrupted would not catch what is only meant for this place.
    return Effect.uninterruptibleMask((restore) =>
      Effect.catchCause(restore(f(start === undefined ? pool : waitingSince(start))), (cause) => {
        const redirect = redirectOf(cause)
        if (redirect === undefined || redirect.owner !== this.negotiation) return Effect.failCause(cause)
        if (redirect.failure !== undefined) return Effect.failCause(redirect.failure as Cause<E2>)
        return restore(this.call(side === "upgrade" ? "fallback" : "upgrade", f, redirect.start ?? start))
      })
    )
  }

  // ---------------------------------------------------------------------------
  // Both sides
  // ---------------------------------------------------------------------------

  private both<A, E2, R>(
    f: (pool: ConnectionPool<void, Conn, E>) => Effect.Effect<A, E2, R>
  ): Effect.Effect<void, E2, R> {
    return Effect.andThen(f(this.sides.upgrade.pool), Effect.asVoid(f(this.sides.fallback.pool)))
  }

  readonly retain = (keep: Keep<Conn>): Effect.Effect<void> => this.both((pool) => pool.retain(keep))

  readonly guard = (keep: Keep<Conn>): Effect.Effect<void, never, Scope.Scope> => this.both((pool) => pool.guard(keep))

  readonly observe = (observer: Observer): Effect.Effect<void, never, Scope.Scope> =>
    this.both((pool) => pool.observe(observer))

  readonly drain = (options?: { readonly deadline?: Duration.Input | undefined }): Effect.Effect<void> =>
    // On fibers of the pool's: whoever asked may be interrupted, what has begun must not be.
    Effect.suspend(() => {
      this.draining = true
      for (const side of [this.inner.upgrade, this.inner.fallback]) side.stopAsking()
      return Effect.asVoid(
        Fiber.awaitAll([
          this.run(this.sides.upgrade.pool.drain(options)),
          this.run(this.sides.fallback.pool.drain(options))
        ])
      )
    })

  readonly stats: Effect.Effect<PoolStats> = Effect.suspend(() =>
    Effect.zipWith(this.sides.upgrade.pool.stats, this.sides.fallback.pool.stats, Stats.add)
  )

  pipe() {
    return pipeArguments(this, arguments)
  }
}
