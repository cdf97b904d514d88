/**
 * Sends many requests at once and counts what comes of them.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { kindOf, type RequestError } from "./errors.ts"
import type { Tally } from "./tally.ts"

/**
 * Where requests go.
 *
 * @category models
 * @since 0.1.0
 */
export interface Target {
  /** The origin's, for messages. */
  readonly name: string
  /** Sends one request, reads the whole response and gives its status. */
  readonly request: Effect.Effect<number, RequestError>
  /** Shared by the targets of one origin. */
  readonly tally: Tally
}

/**
 * Options of {@link drive}.
 *
 * @category options
 * @since 0.1.0
 */
export interface DriveOptions {
  /** Requests in total, spread over the targets in turn; `Infinity` where only time counts. */
  readonly requests: number
  /** No request starts after this long. Default: no bound. */
  readonly duration?: Duration.Duration | undefined
  /** Requests at the same time, the ones that wait for a connection included. */
  readonly concurrency: number
  /** An origin that only fails for this long ends the run. */
  readonly patience: Duration.Duration
}

/**
 * An origin has failed for too long without one response.
 *
 * @category errors
 * @since 0.1.0
 */
export class GaveUp extends Data.TaggedError("GaveUp")<{
  readonly name: string
  readonly after: Duration.Duration
  readonly last: RequestError
}> {}

/** How long the requests under way may take to end once the run is stopped. */
const grace = Duration.millis(500)

/**
 * Sends the requests.
 *
 * **Details**
 *
 * A request that fails is counted and the run goes on, until an origin has not
 * answered for `patience`. That, the end of `duration` or interruption stops
 * the run: no request starts any more, those under way may end for half a
 * second and are cut then. A request that was cut is not counted.
 *
 * @category running
 * @since 0.1.0
 */
export const drive = Effect.fnUntraced(function* (
  targets: ReadonlyArray<Target>,
  options: DriveOptions
): Effect.fn.Return<void, GaveUp> {
  let next = 0
  let stopped = false
  const clock = yield* Clock.Clock
  const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  const patience = Duration.toMillis(options.patience)
  const start = now()
  const gaveUp = yield* Deferred.make<never, GaveUp>()
  const sinceAnswer = new Map(
    targets.map(({ tally }) => [tally, { start, error: undefined as RequestError | undefined }])
  )

  const send = (target: Target): Effect.Effect<void> => {
    const started = now()
    return Effect.matchEffect(target.request, {
      onSuccess: (status) => {
        const ended = now()
        sinceAnswer.set(target.tally, { start: ended, error: undefined })
        target.tally.answered(status, ended - started)
        return Effect.void
      },
      onFailure: (error) => {
        target.tally.unanswered(kindOf(error))
        const since = sinceAnswer.get(target.tally)!
        // Requests that wait for a connection time out where the one that tries to connect knows why.
        if (since.error === undefined || error._tag !== "RequestTimeout") since.error = error
        return now() - since.start < patience
          ? Effect.void
          : Deferred.fail(gaveUp, new GaveUp({ name: target.name, after: options.patience, last: since.error }))
      }
    })
  }

  const worker = Effect.whileLoop({
    while: () => !stopped && next < options.requests,
    body: () => send(targets[next++ % targets.length]!),
    step: () => {}
  })
  const workers = Effect.forEach(
    Array.from({ length: Math.min(options.concurrency, options.requests) }),
    () => worker,
    {
      concurrency: "unbounded",
      discard: true
    }
  )

  // In a fiber of its own, which neither end of the run reaches before the grace.
  const running = yield* Effect.forkChild(workers)
  const stop = Effect.suspend(() => {
    stopped = true
    return Effect.andThen(Effect.timeoutOption(Fiber.await(running), grace), Fiber.interrupt(running))
  })
  const end = Effect.raceFirst(Fiber.join(running), Deferred.await(gaveUp))
  const { duration = Duration.infinity } = options
  yield* Effect.timeoutOrElse(end, { duration, orElse: () => stop }).pipe(Effect.onError(() => stop))
})
