/**
 * What two pools know of each other's connections: which of them the peer
 * speaks to, and connections that one opened for the other.
 */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Connector from "../Connector.ts"
import { Handing } from "./handing.ts"
import { Redirect, redirectOf } from "./redirect.ts"

export type Side = "upgrade" | "fallback"

/** A connection that one side opened and the other is to take while the attempt that opened it waits. */
interface Parcel<B> {
  readonly to: Side
  readonly connection: B
  readonly scope: Scope.Closeable
  readonly annotations: ReadonlyMap<string, unknown>
  taken: boolean
}

/** What the other side failed with, unless it was closed or sends callers on itself. */
const ownFailure = (cause: Cause.Cause<unknown>): Cause.Cause<unknown> | undefined =>
  Cause.hasInterruptsOnly(cause) || redirectOf(cause) !== undefined ? undefined : cause

/** What a negotiation asks of its sides. */
export interface Sides {
  /** Makes a side connect, if it has room; the effect waits for the end of that attempt. */
  readonly prime: (side: Side) => Effect.Effect<Exit.Exit<unknown, unknown>> | undefined
  /** A connection is on its way to a side, and callers will be. */
  readonly handing: (to: Side) => void
  /** The attempt that handed it over has ended. */
  readonly handed: () => void
}

export class Negotiation<B, E> {
  /** What the latest connection turned out to be; undefined before the first. */
  outcome: Side | undefined = undefined
  /** The side whose callers are on their way to the other one, or were until lately. */
  moving: Side | undefined = undefined
  /** Attempts that hand their connection over, until their pool has told its callers. */
  handovers = 0

  private readonly open: Effect.Effect<B, E, Scope.Scope>
  private readonly inspect: (connection: B) => boolean
  /** Set when both sides exist; attempts that a side makes earlier wait for it. */
  private readonly started = Deferred.makeUnsafe<void>()
  private sides: Sides = { prime: () => undefined, handing: () => {}, handed: () => {} }
  private probe: Deferred.Deferred<void> | undefined = undefined
  private readonly parcels = new Set<Parcel<B>>()

  constructor(open: Effect.Effect<B, E, Scope.Scope>, inspect: (connection: B) => boolean) {
    this.open = open
    this.inspect = inspect
  }

  start(sides: Sides): void {
    this.sides = sides
    Deferred.doneUnsafe(this.started, Exit.void)
  }

  /** The connector of one side. Dies with a `Redirect` where the other side is to serve the caller. */
  readonly connector =
    (side: Side): Connector.Connector<void, B, E, Scope.Scope> =>
    () =>
      Effect.andThen(Deferred.await(this.started), this.connectFor(side))

  private connectFor(side: Side): Effect.Effect<B, E, Scope.Scope> {
    return Effect.suspend(() => {
      for (const parcel of this.parcels) if (parcel.to === side && !parcel.taken) return this.take(parcel)
      if (this.outcome === undefined && this.probe !== undefined) {
        return Effect.flatMap(Deferred.await(this.probe), () => this.connectFor(side))
      }
      if (this.outcome !== undefined && this.outcome !== side) {
        this.moving = side
        return Effect.die(new Redirect(this))
      }
      return this.openFor(side)
    })
  }

  private openFor(side: Side): Effect.Effect<B, E, Scope.Scope> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.all([Effect.scope, Handing]), ([owner, handing]) => {
        // Its own scope, so that it can outlive an attempt of the wrong side.
        const scope = Scope.makeUnsafe()
        const parcel = { taken: false }
        let handsOver = false
        const probed = this.beginProbe()
        const settle = (connection: B): Effect.Effect<B> => {
          const picked: Side = this.inspect(connection) ? "upgrade" : "fallback"
          this.outcome = picked
          if (picked === side) return Effect.succeed(connection)
          handsOver = true
          this.handovers++
          this.moving = side
          this.sides.handing(picked)
          return Effect.flatMap(Connector.Annotations, (annotations) =>
            restore(
              this.handOver(
                Object.assign(parcel, { to: picked, connection, scope, annotations: annotations ?? new Map() }),
                handing,
                probed
              )
            )
          )
        }
        return Effect.andThen(
          Scope.addFinalizerExit(owner, (exit) => {
            if (handsOver) {
              this.handovers--
              this.sides.handed()
            }
            if (parcel.taken) return Effect.void
            handing?.keep()
            return Scope.close(scope, exit)
          }),
          Effect.onExit(Effect.flatMap(restore(Scope.provide(this.open, scope)), settle), () => Effect.sync(probed))
        )
      })
    )
  }

  /** While nobody knows the outcome one attempt finds it out and the others wait. */
  private beginProbe(): () => void {
    if (this.outcome !== undefined) return () => {}
    const probe = Deferred.makeUnsafe<void>()
    this.probe = probe
    return () => {
      if (this.probe === probe) this.probe = undefined
      Deferred.doneUnsafe(probe, Exit.void)
    }
  }

  /**
   * Gives a connection to the other side, and dies with a `Redirect` when that
   * side has it, or does not want it. The attempt that opened it stays until
   * then; its slot in a shared limit goes with the connection.
   */
  private handOver(parcel: Parcel<B>, handing: Handing | undefined, probed: () => void): Effect.Effect<never> {
    return Effect.suspend(() => {
      this.parcels.add(parcel)
      probed()
      let attempt: Effect.Effect<Exit.Exit<unknown, unknown>> | undefined
      const prime = () => {
        attempt = this.sides.prime(parcel.to)
      }
      if (handing === undefined) prime()
      else handing.give(prime)
      // Without room for an attempt, one that is under way may take it.
      return Effect.flatMap(attempt ?? Effect.as(Effect.yieldNow, Exit.void), (exit) => {
        return Effect.die(new Redirect(this, parcel.taken && Exit.isFailure(exit) ? ownFailure(exit.cause) : undefined))
      })
    }).pipe(
      Effect.ensuring(
        Effect.sync(() => {
          this.parcels.delete(parcel)
        })
      )
    )
  }

  private take(parcel: Parcel<B>): Effect.Effect<B, E, Scope.Scope> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.scope, (owner) =>
        Effect.flatMap(Connector.Annotations, (annotations) => {
          // Somebody else took it, or it was given up and is closed.
          if (parcel.taken || !this.parcels.has(parcel)) return restore(this.connectFor(parcel.to))
          parcel.taken = true
          for (const [key, value] of parcel.annotations) annotations?.set(key, value)
          return Effect.as(
            Scope.addFinalizerExit(owner, (exit) => Scope.close(parcel.scope, exit)),
            parcel.connection
          )
        })
      )
    )
  }
}
