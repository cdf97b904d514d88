/**
 * A clock that moves only when a test says so.
 *
 * Effect's `TestClock` keeps its sleeps on wall time, so after `setTime` back
 * they ring late. Timers of a real platform are monotonic: here `jump` sets the
 * wall clock and nothing else, and `advance` moves both. That makes "at
 * `waitTimeout`, whatever the wall clock does" something a test can check
 * exactly. It also needs no fiber to be moved.
 */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

interface Timer {
  readonly at: number
  readonly ring: () => void
}

export class VirtualClock implements Clock.Clock {
  /** Milliseconds that have passed. */
  now = 0
  private wall = 0
  /** Earliest first; those due at the same time in the order they were set. */
  private readonly sleeping: Array<Timer> = []

  get timers(): number {
    return this.sleeping.length
  }

  /** When the next timer rings, if there is one. */
  get next(): number | undefined {
    return this.sleeping[0]?.at
  }

  /** Moves to `at`, which must not lie behind a timer. */
  moveTo(at: number): void {
    this.wall += at - this.now
    this.now = at
  }

  /** Rings the first timer. */
  ring(): void {
    this.sleeping.shift()?.ring()
  }

  /** Somebody sets the wall clock. */
  jump(millis: number): void {
    this.wall += millis
  }

  currentTimeMillisUnsafe(): number {
    return this.wall
  }
  readonly currentTimeMillis: Effect.Effect<number> = Effect.sync(() => this.wall)
  currentTimeNanosUnsafe(): bigint {
    return BigInt(this.wall) * 1_000_000n
  }
  readonly currentTimeNanos: Effect.Effect<bigint> = Effect.sync(() => this.currentTimeNanosUnsafe())
  monotonicTimeNanosUnsafe(): bigint {
    return BigInt(this.now) * 1_000_000n
  }
  readonly monotonicTimeNanos: Effect.Effect<bigint> = Effect.sync(() => this.monotonicTimeNanosUnsafe())

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    const millis = Math.ceil(Duration.toMillis(duration))
    if (millis <= 0) return Effect.yieldNow
    if (millis === Infinity) return Effect.never
    return Effect.callback<void>((resume) => {
      const timer: Timer = { at: this.now + millis, ring: () => resume(Effect.void) }
      let index = this.sleeping.length
      while (index > 0 && this.sleeping[index - 1]!.at > timer.at) index--
      this.sleeping.splice(index, 0, timer)
      return Effect.sync(() => {
        const at = this.sleeping.indexOf(timer)
        if (at !== -1) this.sleeping.splice(at, 1)
      })
    })
  }
}
