/**
 * Rule C7: after a failed attempt the next one starts when the backoff allows,
 * one at a time until one succeeds.
 */
import * as Schedule from "effect/Schedule"

export type BackoffName = "fixed" | "growing" | "ending"

export const backoffs: Readonly<
  Record<BackoffName, { readonly schedule: Schedule.Schedule<unknown>; readonly delay: (failures: number) => number }>
> = {
  fixed: { schedule: Schedule.spaced(101), delay: () => 101 },
  growing: {
    schedule: Schedule.min([Schedule.exponential(51), Schedule.spaced(997)]),
    delay: (failures) => Math.min(51 * 2 ** failures, 997)
  },
  // At its end the last delay is used once more and the schedule starts again.
  ending: {
    schedule: Schedule.max([Schedule.exponential(61), Schedule.recurs(2)]),
    delay: (failures) => [61, 122, 122][failures % 3]!
  }
}

/** A pool may wait this long before it repeats an attempt that nobody was waiting for. */
const background = 100

export class ModelPause {
  failing = false
  /** No attempt may start before. */
  until = 0
  /** An attempt that is needed must have started by then. */
  latest = 0
  failedAt = 0
  succeededAt = -1
  private needed = 0
  private failures = 0
  /** Whether it is known that there is a pause and how long it is. */
  sure = true
  private readonly delay: (failures: number) => number

  constructor(name: BackoffName) {
    this.delay = backoffs[name].delay
  }

  succeeded(now: number): void {
    this.succeededAt = now
    this.failing = false
    this.failures = 0
    this.sure = true
    this.until = 0
    this.latest = 0
  }

  /** Attempts ended in an order that nobody knows. */
  blur(now: number): void {
    this.failing = true
    this.sure = false
    this.until = 0
    this.latest = now + 2_000
    this.needed = this.latest
  }

  /** Somebody was waiting when the latest attempt failed, so the pause is no longer than the backoff says. */
  tighten(): void {
    this.latest = Math.min(this.latest, this.needed)
  }

  failed(now: number): void {
    this.failing = true
    this.failedAt = now
    if (this.until > now) {
      // Attempts that were in flight when the pause began do not lengthen it.
    } else if (this.sure && this.latest <= now) {
      this.until = now + this.delay(this.failures++)
    } else {
      // The pool may have been in a pause still, or not.
      this.sure = false
      this.failures++
      this.latest = Math.max(this.latest, now + this.delay(this.failures) + this.delay(this.failures - 1))
    }
    this.needed = Math.max(this.latest, this.until)
    this.latest = Math.max(this.needed, now + background)
  }
}
