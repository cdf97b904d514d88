/**
 * What two pools know of each other's connections: which of them the peer
 * speaks to, and connections that one opened for the other.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { ConnectionLimit } from "../ConnectionLimit.ts"
import * as Connector from "../Connector.ts"
import type { Run } from "./alarm.ts"
import { Redirect } from "./redirect.ts"

export type Side = "upgrade" | "fallback"

/** A connection that one side opened and the other may take, before the attempt that opened it ends. */
interface Handover<B> {
  readonly to: Side
  readonly connection: B
  readonly scope: Scope.Closeable
  readonly annotations: ReadonlyMap<string, unknown>
}

export class Negotiation<B, E> {
  /** What the latest connection turned out to be; undefined before the first. */
  outcome: Side | undefined = undefined
  /** Makes a side take what is handed over; set before the first attempt. */
  prime: (side: Side) => Effect.Effect<unknown> = () => Effect.void
  readonly redirect = new Redirect()

  private readonly open: Effect.Effect<B, E, Scope.Scope>
  private readonly inspect: (connection: B) => boolean
  private readonly limit: ConnectionLimit | undefined
  private readonly run: Run
  private probe: Deferred.Deferred<void> | undefined = undefined
  private handover: Handover<B> | undefined = undefined

  constructor(
    open: Effect.Effect<B, E, Scope.Scope>,
    inspect: (connection: B) => boolean,
    limit: ConnectionLimit | undefined,
    run: Run
  ) {
    this.open = open
    this.inspect = inspect
    this.limit = limit
    this.run = run
  }

  /** The connector of one side. Dies with `redirect` where the other side is to serve the caller. */
  readonly connector =
    (side: Side): Connector.Connector<void, B, E, Scope.Scope> =>
    () =>
      Effect.suspend(() => {
        if (this.handover?.to === side) return this.take(this.handover)
        if (this.outcome !== undefined && this.outcome !== side && !this.mayContradict(side)) {
          return Effect.die(this.redirect)
        }
        if (this.outcome !== undefined) return this.connect(side)
        if (this.probe === undefined) return this.probeWith(side)
        return Effect.flatMap(Deferred.await(this.probe), () => this.connector(side)())
      })

  /** Whether a side may open a connection although the outcome speaks for the other. */
  mayContradict: (side: Side) => boolean = () => false

  private probeWith(side: Side): Effect.Effect<B, E, Scope.Scope> {
    const probe = Deferred.makeUnsafe<void>()
    this.probe = probe
    return Effect.onExit(this.connect(side), () =>
      Effect.sync(() => {
        this.probe = undefined
        Deferred.doneUnsafe(probe, Exit.void)
      })
    )
  }

  private connect(side: Side): Effect.Effect<B, E, Scope.Scope> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.scope, (owner) => {
        // Its own scope, so that it can outlive an attempt of the wrong side.
        const scope = Scope.makeUnsafe()
        let taken = false
        const settle = (connection: B): Effect.Effect<B> => {
          const picked: Side = this.inspect(connection) ? "upgrade" : "fallback"
          this.outcome = picked
          if (picked === side) return Effect.succeed(connection)
          return Effect.flatMap(Connector.Annotations, (annotations) => {
            taken = this.handOver({ to: picked, connection, scope, annotations: annotations ?? new Map() })
            return Effect.die(this.redirect)
          })
        }
        return Effect.andThen(
          Scope.addFinalizerExit(owner, (exit) => (taken ? Effect.void : Scope.close(scope, exit))),
          Effect.flatMap(restore(Scope.provide(this.open, scope)), settle)
        )
      })
    )
  }

  /** Offers a connection to the other side, here and now; true if it took it. */
  private handOver(handover: Handover<B>): boolean {
    this.handover = handover
    const prime = () => {
      this.run(this.prime(handover.to))
    }
    if (this.limit === undefined) prime()
    else this.limit.transfer(prime)
    const taken = this.handover !== handover
    this.handover = undefined
    return taken
  }

  private take(handover: Handover<B>): Effect.Effect<B, never, Scope.Scope> {
    return Effect.uninterruptible(
      Effect.flatMap(Effect.scope, (owner) =>
        Effect.flatMap(Connector.Annotations, (annotations) => {
          // Nobody took it in time, and it is closed already.
          if (this.handover !== handover) return Effect.die(this.redirect)
          this.handover = undefined
          for (const [key, value] of handover.annotations) annotations?.set(key, value)
          return Effect.as(
            Scope.addFinalizerExit(owner, (exit) => Scope.close(handover.scope, exit)),
            handover.connection
          )
        })
      )
    )
  }
}
