/**
 * How a pool ends: it stops lending, borrowers may finish until a deadline,
 * then everything closes. Terminal, and safe to ask for as often as one likes:
 * the earliest deadline wins, and all who asked wait for the end.
 */
import type { Clock } from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { Alarm, monotonic, type Run } from "./alarm.ts"

export interface DrainSteps {
  /** Fails waiters, cancels attempts, closes what nobody uses. */
  readonly stop: () => void
  /** Closes what borrowers still hold. */
  readonly closeAll: () => void
  /** Whether nothing is open, opening or closing any more. */
  readonly isEmpty: () => boolean
  readonly closed: () => void
}

export class Draining {
  state: "open" | "draining" | "closed" = "open"
  private readonly clock: Clock
  private readonly defaultDeadline: number
  private readonly steps: DrainSteps
  private readonly deadline: Alarm
  private readonly waiting = new Set<() => void>()

  constructor(run: Run, clock: Clock, defaultDeadline: number, steps: DrainSteps) {
    this.clock = clock
    this.defaultDeadline = defaultDeadline
    this.steps = steps
    this.deadline = new Alarm(run, clock, steps.closeAll)
  }

  /** See `ConnectionPool.drain`. */
  readonly drain = (options?: { readonly deadline?: Duration.Input | undefined }): Effect.Effect<void> =>
    Effect.callback<void>((resume) => {
      const { deadline } = options ?? {}
      const after =
        deadline === undefined ? this.defaultDeadline : Duration.toMillis(Duration.fromInputUnsafe(deadline))
      this.begin(after)
      if (this.state === "closed") return resume(Effect.void)
      const done = () => resume(Effect.void)
      this.waiting.add(done)
      return Effect.sync(() => {
        this.waiting.delete(done)
      })
    })

  onClosed(listener: () => void): void {
    this.waiting.add(listener)
  }

  private begin(after: number): void {
    if (this.state === "open") {
      this.state = "draining"
      this.steps.stop()
    }
    // What there was may have closed by now: nobody would clear the alarm.
    if (this.state === "closed") return
    // With the default deadline nothing sleeps.
    if (after <= 0) this.steps.closeAll()
    else if (after !== Infinity) this.deadline.set(monotonic(this.clock) + after)
    this.check()
  }

  /** Call it whenever something has closed. */
  check(): void {
    if (this.state !== "draining" || !this.steps.isEmpty()) return
    this.state = "closed"
    this.deadline.clear()
    this.steps.closed()
    for (const resume of this.waiting) resume()
  }
}
