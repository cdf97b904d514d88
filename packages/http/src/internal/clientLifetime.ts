import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"

/**
 * Gives what `acquire` leaves in its scope the lifetime of a signal: it may
 * outlive the effect, and is released when the signal aborts, or at once if the
 * effect does not succeed. Aborted before that, the effect fails with the
 * signal's reason.
 *
 * The signal never knows the value, so that the value can be garbage while the
 * signal is not. One fiber and one listener, because a race would take two of
 * each for every request.
 */
export const untilAborted = <A, E, R>(
  acquire: Effect.Effect<A, E, R | Scope.Scope>,
  signal: AbortSignal
): Effect.Effect<A, unknown, Exclude<R, Scope.Scope>> =>
  Effect.contextWith((context: Context.Context<Exclude<R, Scope.Scope>>) =>
    Effect.callback<A, unknown>((resume) => {
      if (signal.aborted) return resume(Effect.fail(signal.reason))
      const lifetime = new Lifetime(signal)
      const withScope = Context.add(context, Scope.Scope, lifetime.scope) as Context.Context<R | Scope.Scope>
      const fiber = Effect.runForkWith(withScope)(acquire)
      lifetime.onAbort(() => {
        resume(Effect.fail(signal.reason))
        fiber.interruptUnsafe()
      })
      fiber.addObserver((exit) => {
        lifetime.settled(Exit.isSuccess(exit))
        resume(exit)
      })
      return Effect.suspend(() => {
        lifetime.settled(false)
        return Fiber.interrupt(fiber)
      })
    })
  )

/** What listens to the signal: an object of its own, because it must not know the fibers, which know the value. */
class Lifetime {
  readonly scope: Scope.Closeable = Scope.makeUnsafe()
  pending: (() => void) | undefined
  private readonly signal: AbortSignal

  constructor(signal: AbortSignal) {
    this.signal = signal
    signal.addEventListener("abort", this, { once: true })
  }

  /** A setter would let V8 make every one of these functions an old object, which keeps all that the request knew alive. */
  onAbort(pending: () => void): void {
    this.pending = pending
  }

  handleEvent(): void {
    const { pending } = this
    this.settled(false)
    pending?.()
  }

  settled(isKept: boolean): void {
    this.pending = undefined
    if (isKept && this.scope.state._tag !== "Empty") return
    // Nothing is left to release later. One signal may see any number of tries.
    this.signal.removeEventListener("abort", this)
    const rest = Scope.closeUnsafe(this.scope, Exit.void)
    if (rest !== undefined) Effect.runFork(rest)
  }
}
