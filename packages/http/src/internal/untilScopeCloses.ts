import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"

/**
 * Makes something that `close` closes when the current scope does, with no step
 * between at which it could get lost. `Effect.acquireRelease` would also keep
 * the whole context of the attempt for as long as the connection lives.
 */
export const untilScopeCloses = <A, E, R>(
  make: Effect.Effect<A, E, R>,
  close: (made: A) => void
): Effect.Effect<A, E, R | Scope.Scope> =>
  Effect.uninterruptible(
    Effect.flatMap(Effect.scope, (scope) => Effect.tap(make, (made) => Scope.addFinalizer(scope, closing(made, close))))
  )

/** Written here, where there is nothing else that it could keep. */
const closing = <A>(made: A, close: (made: A) => void): Effect.Effect<void> => Effect.sync(() => close(made))
