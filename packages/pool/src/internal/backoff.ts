/**
 * The pause between a failed attempt and the next one of a pool.
 *
 * There is one pause however many attempts failed, and its timer runs only
 * while somebody waits for its end.
 */
import type { Cause } from "effect/Cause"
import type { Clock } from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Fiber } from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import { Alarm, monotonic, type Run } from "./alarm.ts"

type Step<E> = Effect.Success<ReturnType<typeof Schedule.toStep<unknown, Cause<E>, never, never>>>

/** A background attempt that came to nothing is not repeated sooner, whatever the schedule says: milliseconds. */
export const minPause = 100

export class Backoff<E> {
  /** From a failure until a success. */
  failing = false
  lastFailure: Cause<unknown> | undefined = undefined

  private readonly schedule: Schedule.Schedule<unknown, Cause<E>>
  private readonly run: Run
  private readonly clock: Clock
  private readonly ended: () => void
  private readonly alarm: Alarm
  private step: Step<E> | undefined = undefined
  private stepping: Fiber<unknown> | undefined = undefined
  private delay = 0
  /** When the pause ends; `Infinity` until the schedule has said so. */
  private until: number | undefined = undefined

  constructor(schedule: Schedule.Schedule<unknown, Cause<E>>, run: Run, clock: Clock, ended: () => void) {
    this.schedule = schedule
    this.run = run
    this.clock = clock
    this.ended = ended
    this.alarm = new Alarm(run, clock, () => {
      // What the ring is for must not set it again.
      if (!this.resting) this.until = undefined
      ended()
    })
  }

  get resting(): boolean {
    if (this.until === undefined) return false
    if (this.until > monotonic(this.clock)) return true
    this.until = undefined
    return false
  }

  /** When the pause ends; 0 if there is none. */
  get restsUntil(): number {
    return this.until ?? 0
  }

  success(): void {
    this.failing = false
    this.lastFailure = undefined
    this.step = undefined
    this.delay = 0
    this.stop()
  }

  failure(cause: Cause<E>): void {
    this.failing = true
    this.lastFailure = cause
    // Attempts that were in flight when the pause began must not lengthen it.
    if (this.resting) return
    this.until = Infinity
    let returned = false
    this.stepping = this.run(
      Effect.map(this.next(cause), () => {
        if (this.until !== Infinity) return
        this.until = monotonic(this.clock) + this.delay
        if (returned) this.ended()
      })
    )
    returned = true
  }

  /** Makes the pause that just began last for `millis` at least. */
  atLeast(millis: number): void {
    const until = monotonic(this.clock) + millis
    if (this.until === undefined || this.until < until) this.until = until
  }

  /** Sets `delay` to the schedule's next; at its end the last delay stays and the schedule starts again. */
  private next(cause: Cause<E>): Effect.Effect<void> {
    return Effect.flatMap(
      this.step === undefined ? Schedule.toStep(this.schedule) : Effect.succeed(this.step),
      (step) =>
        Effect.matchCause(step(this.clock.currentTimeMillisUnsafe(), cause), {
          onSuccess: ([, delay]) => {
            this.step = step
            this.delay = Duration.toMillis(delay)
          },
          onFailure: () => {
            this.step = undefined
          }
        })
    )
  }

  /** Sets the timer for the end of the pause, or clears it when nobody waits. */
  wake(demand: boolean): void {
    if (!demand) this.alarm.clear()
    // Set also where the pause has just ended: it had not when somebody looked, who has only the ring to go by.
    else if (this.until !== undefined && this.until !== Infinity) this.alarm.set(this.until)
  }

  stop(): void {
    this.until = undefined
    this.alarm.clear()
    // A step of the schedule that is still being taken belongs to the past.
    this.stepping?.interruptUnsafe()
    this.stepping = undefined
  }
}
