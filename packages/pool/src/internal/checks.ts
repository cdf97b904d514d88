/**
 * Whether a connection may be lent: the health options and the guards.
 */
import type { Clock } from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import type { EvictReason, Keep, PoolOptions } from "../ConnectionPool.ts"
import type { Connection } from "./connection.ts"
import type { Settings } from "./options.ts"

const none: ReadonlyArray<never> = []

export class Checks<Conn> {
  private readonly isOpen: ((connection: Conn) => boolean) | undefined
  private readonly validates: boolean
  private readonly validateAfter: number
  private readonly clock: Clock
  private guards: ReadonlyArray<Keep<Conn>> = none

  constructor(options: PoolOptions<Conn, any, unknown, unknown>, settings: Settings<any>, clock: Clock) {
    // As a method of the options, which may be an object of a class.
    if (options.isOpen !== undefined) this.isOpen = (connection) => options.isOpen!(connection)
    this.validates = options.validate !== undefined
    this.validateAfter = settings.validateAfter
    this.clock = clock
  }

  rejects(connection: Connection<Conn>, time?: number): EvictReason | undefined {
    if (this.isOpen !== undefined) {
      try {
        if (!this.isOpen(connection.value)) return "closed"
      } catch {
        return "unhealthy"
      }
    }
    if (this.guards.length === 0) return undefined
    const now = time ?? this.clock.currentTimeMillisUnsafe()
    for (const keep of this.guards) {
      const reason = judge(keep, connection, now)
      if (reason !== undefined) return reason
    }
    return undefined
  }

  /** Whether anything asks since when a connection is idle while it is being returned. */
  get timed(): boolean {
    return this.validates || this.guards.length > 0
  }

  /** Whether `validate` must run first. Not for a fresh connection, nor for one that others use right now. */
  needsValidation(connection: Connection<Conn>): boolean {
    if (!this.validates || connection.fresh || connection.idleSince === undefined) return false
    const age = this.clock.currentTimeMillisUnsafe() - connection.idleSince
    // A clock that was set back tells nothing.
    return age >= this.validateAfter || age < 0
  }

  readonly guard = (keep: Keep<Conn>): Effect.Effect<void, never, Scope> =>
    Effect.acquireRelease(
      Effect.sync(() => {
        this.guards = [...this.guards, keep]
      }),
      () =>
        Effect.sync(() => {
          // The same predicate may be installed twice.
          const index = this.guards.indexOf(keep)
          this.guards = this.guards.filter((_, i) => i !== index)
        })
    )
}

/** A predicate's answer as a reason to evict, or undefined to keep. One that throws evicts. */
export const judge = <Conn>(keep: Keep<Conn>, connection: Connection<Conn>, now: number): EvictReason | undefined => {
  try {
    const answer = keep(connection.value, connection, now)
    return answer === true ? undefined : answer === false ? "retain" : answer
  } catch {
    return "unhealthy"
  }
}
