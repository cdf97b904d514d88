/**
 * Repeated lookups of a list of addresses: how long to wait for an answer, what
 * counts as one, when to ask again, and whether anything has changed.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as MutableHashMap from "effect/MutableHashMap"
import * as MutableHashSet from "effect/MutableHashSet"
import type * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import { minPause } from "./backoff.ts"

type Step<In> = Effect.Success<ReturnType<typeof Schedule.toStep<unknown, In, never, never>>>

export interface LookupSettings<A, E> {
  readonly schedule: Schedule.Schedule<unknown, ReadonlyArray<A>>
  readonly retry: Schedule.Schedule<unknown, Cause.Cause<E>>
  /** Milliseconds. */
  readonly timeout: number
  readonly acceptsEmpty: boolean
  /** Answers in a row that leave an address out, until it is gone. */
  readonly misses: number
}

/** The addresses of a list, each once and in the order of the list. */
export const distinct = <A>(list: ReadonlyArray<A>): ReadonlyArray<A> => {
  const seen = MutableHashSet.empty<A>()
  return list.filter((address) => {
    if (MutableHashSet.has(seen, address)) return false
    MutableHashSet.add(seen, address)
    return true
  })
}

export class Lookups<A, E, R> {
  private readonly settings: LookupSettings<A, E | Cause.TimeoutError>
  private readonly look: Effect.Effect<ReadonlyArray<A>, E | Cause.TimeoutError, R>
  /** The addresses of the latest list, each with how many answers in a row left it out. */
  private last: MutableHashMap.MutableHashMap<A, number> | undefined = undefined
  private refresh: Step<ReadonlyArray<A>> | undefined = undefined
  /** While lookups fail. */
  private retry: Step<Cause.Cause<E | Cause.TimeoutError>> | undefined = undefined
  private failing = false
  private pause = 0
  private ended = false

  constructor(lookup: Effect.Effect<ReadonlyArray<A>, E, R>, settings: LookupSettings<A, E | Cause.TimeoutError>) {
    this.settings = settings
    const { acceptsEmpty, timeout } = settings
    const answered = Effect.map(lookup, distinct)
    const inTime =
      timeout === Infinity
        ? answered
        : Effect.timeoutOrElse(answered, {
            duration: Duration.millis(timeout),
            orElse: () =>
              Effect.fail(new Cause.TimeoutError(`no answer within ${Duration.format(Duration.millis(timeout))}`))
          })
    this.look = acceptsEmpty
      ? inTime
      : Effect.tap(inTime, (list) => (list.length > 0 ? Effect.void : Effect.die(new Error("the answer was empty"))))
  }

  /** The next list that differs from the one before. */
  readonly next: Pull.Pull<readonly [ReadonlyArray<A>], never, void, R> = Effect.suspend(() => this.loop())

  private loop(): Pull.Pull<readonly [ReadonlyArray<A>], never, void, R> {
    if (this.ended) return Cause.done()
    const looked = this.pause === 0 ? Effect.exit(this.look) : Effect.delay(Effect.exit(this.look), this.pause)
    return Effect.flatMap(looked, (exit) =>
      Exit.isSuccess(exit)
        ? Effect.flatMap(this.found(exit.value), (list) =>
            list === undefined ? this.loop() : Effect.succeed([list] as const)
          )
        : Effect.flatMap(this.failed(exit.cause), () => this.loop())
    )
  }

  /** Returns the list if it is news. */
  private found(answer: ReadonlyArray<A>): Effect.Effect<ReadonlyArray<A> | undefined> {
    const recovered = this.failing ? Effect.logInfo("Addresses can be looked up again") : Effect.void
    this.failing = false
    this.retry = undefined
    const news = this.update(answer)
    const refresh = this.refresh === undefined ? Schedule.toStep(this.settings.schedule) : Effect.succeed(this.refresh)
    const paused = Effect.flatMap(refresh, (step) => {
      this.refresh = step
      return this.takeStep(step, answer, () => {
        this.ended = true
      })
    })
    return Effect.as(Effect.andThen(recovered, paused), news)
  }

  /** The list that follows from an answer, if it is another one than before. */
  private update(answer: ReadonlyArray<A>): ReadonlyArray<A> | undefined {
    const before = this.last ?? MutableHashMap.empty<A, number>()
    const next = MutableHashMap.fromIterable(answer.map((address) => [address, 0] as const))
    const kept: Array<A> = []
    let changed = this.last === undefined || answer.some((address) => !MutableHashMap.has(before, address))
    for (const [address, missed] of before) {
      if (MutableHashMap.has(next, address)) continue
      if (missed + 1 < this.settings.misses) {
        kept.push(address)
        MutableHashMap.set(next, address, missed + 1)
      } else changed = true
    }
    this.last = next
    return changed ? [...answer, ...kept] : undefined
  }

  private failed(cause: Cause.Cause<E | Cause.TimeoutError>): Effect.Effect<void> {
    const first = !this.failing
    this.failing = true
    const retry = this.retry === undefined ? Schedule.toStep(this.settings.retry) : Effect.succeed(this.retry)
    const paused = Effect.flatMap(retry, (step) => {
      this.retry = step
      return this.takeStep(step, cause, () => {
        this.retry = undefined
      })
    })
    return first
      ? Effect.andThen(Effect.logWarning("Looking up addresses failed; the last list stays", cause), paused)
      : paused
  }

  /** Sets the pause before the next lookup. Where the schedule says less than what is good for anybody, a little more. */
  private takeStep<In>(step: Step<In>, input: In, ended: () => void): Effect.Effect<void> {
    return Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Effect.matchCause(step(now, input), {
        onSuccess: ([, delay]) => {
          this.pause = Math.max(minPause, Duration.toMillis(delay))
        },
        onFailure: () => {
          this.pause = Math.max(minPause, this.pause)
          ended()
        }
      })
    )
  }
}
