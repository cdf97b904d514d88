/**
 * One timer that can be moved to an earlier time. Rings once, then is off.
 */
import type { Clock } from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Fiber } from "effect/Fiber"

/** Runs an effect on a fiber of the pool's own, in the context that `make` captured. */
export type Run = <A, E>(effect: Effect.Effect<A, E>) => Fiber<A, E>

/** Monotonic milliseconds: waits must not notice that somebody sets the wall clock. */
export const monotonic = (clock: Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

export class Alarm {
  private readonly run: Run
  private readonly clock: Clock
  private readonly ring: () => void
  private fiber: Fiber<void> | undefined = undefined
  private at = Infinity

  constructor(run: Run, clock: Clock, ring: () => void) {
    this.run = run
    this.clock = clock
    this.ring = ring
  }

  /** Rings at `at`, or earlier if it was already set to an earlier time. */
  set(at: number): void {
    if (this.at <= at) return
    this.clear()
    this.at = at
    // Whole milliseconds, as timers have them: one that rings a fraction too early would be set again and again.
    const wait = Duration.millis(Math.max(0, Math.ceil(at - monotonic(this.clock))))
    this.fiber = this.run(
      Effect.flatMap(Effect.sleep(wait), () =>
        Effect.sync(() => {
          this.fiber = undefined
          this.at = Infinity
          this.ring()
        })
      )
    )
  }

  clear(): void {
    const fiber = this.fiber
    this.fiber = undefined
    this.at = Infinity
    fiber?.interruptUnsafe()
  }
}
