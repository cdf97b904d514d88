/**
 * Adding a finalizer to a scope, and taking it out again, in the very step
 * that needs it. `Scope.addFinalizerExit` is an effect, so between it and the
 * next step a fiber can be interrupted or made to wait; besides, a scope that
 * lives long would keep the finalizers of all loans that ended early.
 *
 * This writes the public `Scope.State` the way Effect 4.1 does; a test pins it.
 */
import type * as Effect from "effect/Effect"
import type { Exit } from "effect/Exit"
import type * as Scope from "effect/Scope"

type Finalizer = (exit: Exit<any, any>) => Effect.Effect<void>

/** Returns false, and adds nothing, if the scope is closed. */
export const addFinalizer = (scope: Scope.Scope, key: object, finalizer: Finalizer): boolean => {
  const state = scope.state
  if (state._tag === "Closed") return false
  if (state._tag === "Empty") {
    scope.state = { _tag: "Open", finalizerKey: key, finalizer, finalizers: undefined }
    return true
  }
  if (state.finalizer !== undefined) {
    state.finalizers = new Map([[state.finalizerKey!, state.finalizer]])
    state.finalizerKey = undefined
    state.finalizer = undefined
  }
  state.finalizers!.set(key, finalizer)
  return true
}

export const removeFinalizer = (scope: Scope.Scope, key: object): void => {
  const state = scope.state
  if (state._tag !== "Open") return
  if (state.finalizerKey === key) scope.state = { _tag: "Empty" }
  else if (state.finalizers?.delete(key) && state.finalizers.size === 0) scope.state = { _tag: "Empty" }
}
