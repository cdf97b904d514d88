/** Keeps the lease of a `StoredLimit` up: one exchange at a time, as long as the scope lives. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as PubSub from "effect/PubSub"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Take from "effect/Take"
import type { StoredConnectionLimit, StoredLimitEvent, StoredLimitOptions } from "../ConnectionLimit.ts"
import { monotonic } from "./alarm.ts"
import { StoredLimit, storedSettings } from "./storedLimit.ts"
import { type ConnectionLimitStore, ConnectionLimitStoreError, type LimitClaim } from "./storedLimitStore.ts"

type Store = ConnectionLimitStore["Service"]

export const makeStoredLimit = (
  store: Store,
  options: StoredLimitOptions
): Effect.Effect<StoredConnectionLimit, ConnectionLimitStoreError, Scope.Scope> =>
  Effect.gen(function* () {
    const settings = yield* Effect.sync(() => storedSettings(options))
    const member = yield* newMember
    const clock = yield* Clock.Clock
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const events = yield* PubSub.sliding<Take.Take<StoredLimitEvent>>(64)
    yield* Effect.addFinalizer(() => PubSub.end(events, Exit.void))
    const limit = new StoredLimit(settings, member, clock, run, Stream.fromPubSubTake(events), (event) => {
      PubSub.publishUnsafe(events, [event])
      run(log(settings.key, event))
    })
    // Three of them fit between the moment an exchange is due and the end of the lease.
    const timeout = Duration.millis(Math.ceil(settings.leaseTime / 6))
    const ask = (claim: LimitClaim) =>
      Effect.timeoutOrElse(store.exchange(claim), {
        duration: timeout,
        orElse: () => Effect.fail(noAnswer(settings.key, timeout))
      }).pipe(Effect.catchDefect((defect) => Effect.fail(broken(settings.key, defect))))
    const exchange = Effect.suspend(() => {
      const sentAt = monotonic(clock)
      const claim = limit.begin()
      return Effect.map(ask(claim), (grant) => {
        limit.succeed(claim, grant, sentAt)
        return grant.retryAfter
      })
    })
    const first = yield* exchange
    yield* Effect.addFinalizer(() => {
      limit.end()
      return Effect.ignore(ask(limit.begin(true)))
    })
    yield* Effect.forkScoped(
      Stream.runForEach(store.wakes(settings.key, member), () => Effect.sync(() => limit.wake()))
    )
    yield* Effect.forkScoped(heartbeat(limit, exchange, settings.leaseTime, first))
    return limit
  })

/** Speaks when the lease is due, when it is told to ask again, or when there is something to say. */
const heartbeat = (
  limit: StoredLimit,
  exchange: Effect.Effect<number, ConnectionLimitStoreError>,
  leaseTime: number,
  first: number
): Effect.Effect<never> =>
  Effect.gen(function* () {
    const interval = leaseTime / 3
    let retryAfter = first
    for (let failures = 0; ;) {
      // While there is a lease to save, often enough to save it as soon as the store is back.
      if (failures > 0) yield* pause(failures, limit.isLost ? interval : interval / 4)
      else if (!limit.isDue) {
        // What it was rung for may have been settled by the exchange that was under way.
        limit.bell.closeUnsafe()
        const next = Duration.millis(retryAfter < 0 ? interval : Math.min(interval, retryAfter))
        yield* Effect.raceFirst(Effect.sleep(next), limit.bell.await)
      }
      const exit = yield* Effect.result(exchange)
      if (exit._tag === "Success") {
        failures = 0
        retryAfter = exit.success
      } else {
        failures++
        limit.fail(exit.failure)
      }
    }
  })

/** Doubles from a 32nd of `longest`; jittered, so that a fleet does not come back at once. */
const pause = (failures: number, longest: number): Effect.Effect<void> =>
  Effect.flatMap(Random.next, (random) =>
    Effect.sleep(Duration.millis(Math.min(longest, (longest / 64) * 2 ** failures) * (0.5 + random / 2)))
  )

/** Not from `Random`: a program may seed that, and then all its processes would be one member. */
const newMember: Effect.Effect<string> = Effect.sync(() => crypto.randomUUID())

const noAnswer = (key: string, after: Duration.Duration): ConnectionLimitStoreError =>
  new ConnectionLimitStoreError({
    message: `connection limit ${JSON.stringify(key)}: the store did not answer within ${Duration.format(after)}`
  })

const broken = (key: string, defect: unknown): ConnectionLimitStoreError =>
  new ConnectionLimitStoreError({
    message: `connection limit ${JSON.stringify(key)}: the store died: ${String(defect)}`,
    cause: defect
  })

const log = (key: string, event: StoredLimitEvent): Effect.Effect<void> => {
  const name = `connection limit ${JSON.stringify(key)}`
  switch (event._tag) {
    case "StoreFailed":
      return Effect.logWarning(`${name}: an exchange with the store failed`, event.error)
    case "LeaseLost":
      return Effect.logError(
        `${name}: the lease is lost; ${event.used} connections, going on with ${event.granted} until the store is back`
      )
    case "StoreRecovered":
      return Effect.logInfo(`${name}: the store is back; ${event.used} connections, ${event.granted} granted`)
    case "Reduced":
      return Effect.logDebug(`${name}: ${event.used} connections, ${event.granted} granted`)
  }
}
