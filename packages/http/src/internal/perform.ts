import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import type { HttpConnection, HttpRequest, HttpResponse } from "../HttpConnection.ts"
import type { HttpError } from "../HttpError.ts"

type Restore = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/**
 * Sends a request and leaves the rest of the response to the caller's scope.
 * To be called where interruption is off, with the function that turns it on
 * again: between the arrival of the response and the finalizer that drops its
 * body there is no point at which it can get lost. Whoever gives a response up
 * goes on after `settled`.
 */
export const perform = (
  connection: HttpConnection,
  request: HttpRequest,
  restore: Restore,
  onEnd: () => void,
  settled: Effect.Effect<void> = Effect.void
): Effect.Effect<HttpResponse, HttpError, Scope.Scope> =>
  Effect.flatMap(Effect.context<Scope.Scope>(), (context) => {
    // Not the context: `onEnd` lives as long as the exchange, and a context may lead to a span that knows the response.
    const scope = Context.get(context, Scope.Scope)
    let over = false
    let rest: Scope.Closeable | undefined
    const exchange = connection.send(request, context as Context.Context<never>, () => {
      over = true
      // Leaves the caller's scope, which may live on for long. The finalizer it returns has nothing left to do.
      if (rest !== undefined) Scope.closeUnsafe(rest, Exit.void)
      onEnd()
    })
    return Effect.flatMap(
      Effect.onExit(restore(exchange.response), (exit) =>
        Exit.isSuccess(exit)
          ? Effect.void
          : Effect.andThen(
              Effect.sync(() => exchange.cancel()),
              settled
            )
      ),
      (response) => {
        // Most responses have come off the wire as a whole by now.
        if (over) return Effect.succeed(response)
        rest = Scope.forkUnsafe(scope)
        const { discard } = response
        // The fiber may yield before it is added, and the exchange may end then: a closed scope runs it at once.
        const drop = Effect.suspend(() => (over ? Effect.void : Effect.andThen(discard, settled)))
        return Effect.as(Scope.addFinalizer(rest, drop), response)
      }
    )
  })
