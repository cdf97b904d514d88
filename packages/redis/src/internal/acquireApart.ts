/**
 * Acquires something on a fiber of its own, for what may be stuck where it
 * cannot be interrupted. Whoever stops waiting leaves it behind, and what it
 * still acquires is released as soon as it is there.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"

export const acquireApart = <A, E, R>(
  acquire: Effect.Effect<A, E, R>
): Effect.Effect<A, E, Exclude<R, Scope.Scope> | Scope.Scope> =>
  Effect.uninterruptibleMask((restore) =>
    Effect.gen(function* () {
      const own = yield* Scope.make()
      const fiber = yield* Effect.forkDetach(Scope.provide(acquire, own))
      const ended = yield* Effect.exit(restore(Fiber.await(fiber)))
      if (Exit.isFailure(ended)) {
        yield* Effect.forkDetach(Effect.andThen(Fiber.interrupt(fiber), Scope.close(own, ended)))
        return yield* Effect.failCause(ended.cause)
      }
      yield* Effect.addFinalizer((exit) => Scope.close(own, exit))
      return yield* ended.value
    })
  )
