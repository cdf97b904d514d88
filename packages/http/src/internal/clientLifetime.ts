import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"

/**
 * Gives what `acquire` leaves in its scope the lifetime of a signal: it may
 * outlive the effect, and is released when the signal aborts, or at once if the
 * effect does not succeed. Aborted before that, the effect fails with the
 * signal's reason.
 *
 * The signal never knows the value, so that the value can be garbage while the
 * signal is not.
 */
export const untilAborted = <A, E>(
  acquire: Effect.Effect<A, E, Scope.Scope>,
  signal: AbortSignal
): Effect.Effect<A, unknown> =>
  Effect.suspend(() => {
    const scope = Scope.makeUnsafe()
    const release = () => {
      const rest = Scope.closeUnsafe(scope, Exit.void)
      if (rest !== undefined) Effect.runFork(rest)
    }
    signal.addEventListener("abort", release, { once: true })
    return Effect.onExit(Effect.raceFirst(Scope.provide(acquire, scope), aborted(signal)), (exit) =>
      Effect.sync(() => {
        if (Exit.isSuccess(exit) && scope.state._tag !== "Empty") return
        // Nothing is left to release later. One signal may see any number of tries.
        signal.removeEventListener("abort", release)
        release()
      })
    )
  })

const aborted = (signal: AbortSignal): Effect.Effect<never, unknown> =>
  Effect.callback((resume) => {
    const onAbort = () => resume(Effect.fail(signal.reason))
    if (signal.aborted) return onAbort()
    signal.addEventListener("abort", onAbort, { once: true })
    return Effect.sync(() => signal.removeEventListener("abort", onAbort))
  })
