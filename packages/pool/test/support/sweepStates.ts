/**
 * The states a pool is in when the operation under test begins, and what
 * happens to it meanwhile.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { Bench } from "./bench.ts"

export interface Situation {
  /** Something that happens while the operation runs. */
  readonly event: () => void
  /** Whether the event comes in the very turn in which the operation begins. */
  readonly atOnce?: boolean | undefined
  /** Callers whose calls must succeed whatever happens to the operation. */
  readonly bystanders: ReadonlyArray<Fiber.Fiber<unknown, unknown>>
  /** Called after the operation has begun, for callers that come later. */
  readonly later?: (() => Fiber.Fiber<unknown, unknown>) | undefined
}

const open = (gate: Deferred.Deferred<void>) => () => {
  Deferred.doneUnsafe(gate, Exit.void)
}

const warm = (bench: Bench): void => {
  const gate = Deferred.makeUnsafe<void>()
  for (let i = 0; i < bench.variant.maxSize; i++) bench.hold(gate)
  bench.lab.settle()
  open(gate)()
  bench.lab.settle()
}

/** Borrowers of everything there is, who return it when the gate opens. */
const holdAll = (bench: Bench, gate: Deferred.Deferred<void>): Array<Fiber.Fiber<unknown, unknown>> => {
  const holders = Array.from({ length: bench.variant.maxSize }, () => bench.hold(gate))
  bench.lab.settle()
  return holders
}

const brief = (bench: Bench) => bench.lab.fork(bench.pool.use((c) => bench.stay(c, () => Effect.yieldNow)))

export const states: Readonly<Record<string, (bench: Bench) => Situation>> = {
  idle: (bench) => {
    warm(bench)
    return { event: () => {}, bystanders: [] }
  },

  connecting: (bench) => {
    const gate = Deferred.makeUnsafe<void>()
    bench.script(() => Deferred.await(gate))
    const first = brief(bench)
    bench.lab.settle()
    return { event: open(gate), bystanders: [first], later: () => brief(bench) }
  },

  queued: (bench) => {
    const gate = Deferred.makeUnsafe<void>()
    const holders = holdAll(bench, gate)
    return { event: open(gate), bystanders: [...holders, brief(bench)], later: () => brief(bench) }
  },

  releasing: (bench) => {
    const gate = Deferred.makeUnsafe<void>()
    const holders = holdAll(bench, gate)
    const invalidating = bench.lab.fork(
      bench.pool.use((c, lease) => bench.stay(c, () => Effect.andThen(Effect.yieldNow, lease.invalidate)))
    )
    return { event: open(gate), atOnce: true, bystanders: [...holders, invalidating] }
  },

  closing: (bench) => {
    const gate = Deferred.makeUnsafe<void>()
    // Borrowers finish in time, so that nothing of theirs is closed under them.
    const holder = bench.hold(gate)
    bench.lab.settle()
    bench.mayBeClosed = true
    const close = () => {
      bench.lab.fork(bench.pool.drain({ deadline: "1 second" }))
      bench.lab.fork(Effect.andThen(Effect.yieldNow, Scope.close(bench.scope, Exit.void)))
      bench.lab.fork(Effect.andThen(Effect.yieldNow, Effect.sync(open(gate))))
    }
    return { event: close, bystanders: [holder] }
  }
}
