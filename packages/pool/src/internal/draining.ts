/**
 * How a pool ends: it stops lending, borrowers may finish until a deadline,
 * then everything closes. Terminal, and safe to ask for as often as one likes:
 * the earliest deadline wins, and all who asked wait for the end.
 */
import type { Clock } from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { Alarm, monotonic, type Run } from "./alarm.ts"

/** What drains. */
export interface Drainable {
  /** Kept here, where every loan asks for it: a pool per key is touched as little as can be. Only `Draining` sets it. */
  state: "open" | "draining" | "closed"
  /** Fails waiters, cancels attempts, closes what nobody uses. */
  stop(): void
  /** Closes what borrowers still hold. */
  closeAll(): void
  /** Whether nothing is open, opening or closing any more. */
  isEmpty(): boolean
  /** The end, before those who wait for it are told. */
  drained(): void
}

export class Draining {
  private readonly clock: Clock
  private readonly defaultDeadline: number
  private readonly target: Drainable
  private readonly deadline: Alarm
  private readonly waiting = new Set<() => void>()

  constructor(run: Run, clock: Clock, defaultDeadline: number, target: Drainable) {
    this.clock = clock
    this.defaultDeadline = defaultDeadline
    this.target = target
    this.deadline = new Alarm(run, clock, () => target.closeAll())
  }

  /** See `ConnectionPool.drain`. */
  readonly drain = (options?: { readonly deadline?: Duration.Input | undefined }): Effect.Effect<void> =>
    Effect.callback<void>((resume) => {
      const { deadline } = options ?? {}
      const after =
        deadline === undefined ? this.defaultDeadline : Duration.toMillis(Duration.fromInputUnsafe(deadline))
      this.begin(after)
      if (this.target.state === "closed") return resume(Effect.void)
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
    if (this.target.state === "open") {
      this.target.state = "draining"
      this.target.stop()
    }
    // What there was may have closed by now: nobody would clear the alarm.
    if (this.target.state === "closed") return
    // With the default deadline nothing sleeps.
    if (after <= 0) this.target.closeAll()
    else if (after !== Infinity) this.deadline.set(monotonic(this.clock) + after)
    this.check()
  }

  /** Call it whenever something has closed. */
  check(): void {
    if (this.target.state !== "draining" || !this.target.isEmpty()) return
    this.target.state = "closed"
    this.deadline.clear()
    this.target.drained()
    for (const resume of this.waiting) resume()
  }
}
