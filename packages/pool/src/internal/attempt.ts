/**
 * Something that runs on a fiber of the pool and may yield a connection for a
 * waiter: an attempt to open one, or the validation of one that is open.
 */
import * as Effect from "effect/Effect"
import type { Exit } from "effect/Exit"
import type { Fiber } from "effect/Fiber"
import * as Scope from "effect/Scope"
import { type Connection, nextId } from "./connection.ts"

export class Attempt<Conn, Owner = unknown> {
  readonly id: number = nextId()
  readonly scope: Scope.Closeable = Scope.makeUnsafe()
  /** The waiter that started it, or took it over; at most one. */
  owner: Owner | undefined = undefined
  validates: Connection<Conn> | undefined = undefined
  fiber: Fiber<unknown, unknown> | undefined = undefined
  startedAt = 0
  ended = false
  /** Another pool is to take its connection. */
  handing = false
  /** That pool has its slot in the shared limit, too. */
  slotless = false
  private timer: Fiber<void> | undefined = undefined
  /** Of the fiber. */
  private outcome: Exit<unknown, unknown> | undefined = undefined

  /** Follows `fiber`, which may have ended already, until `end`; a deadline is set only if it has not. */
  start<A, E>(fiber: Fiber<A, E>, onExit: (exit: Exit<A, E>) => void, timer: () => Fiber<void> | undefined): void {
    this.fiber = fiber
    fiber.addObserver((exit) => this.told(exit))
    // Given up while its first steps ran.
    if (this.ended) return fiber.interruptUnsafe()
    fiber.addObserver(onExit)
    if (!this.ended) this.timer = timer()
  }

  /** What the connector left in the connection's scope may lead here for as long as the connection lives. */
  private told(outcome: Exit<unknown, unknown>): void {
    this.outcome = outcome
    this.fiber = undefined
  }

  /** Waits for the end of the fiber, when the pool has already dealt with its outcome. */
  get exit(): Effect.Effect<Exit<unknown, unknown>> {
    return Effect.callback((resume) => {
      const { fiber, outcome } = this
      if (outcome !== undefined) return resume(Effect.succeed(outcome))
      if (fiber === undefined) return
      const observe = (exit: Exit<unknown, unknown>) => resume(Effect.succeed(exit))
      return Effect.sync(fiber.addObserver(observe))
    })
  }

  /** Ends the attempt; false if it had ended before, so that whoever comes second does nothing. */
  end(): boolean {
    if (this.ended) return false
    this.ended = true
    this.timer?.interruptUnsafe()
    this.timer = undefined
    return true
  }
}
