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
import { type RigName, rigNames } from "./rigs.ts"

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

const warm = (bench: Bench, pool = bench.pool): void => {
  const gate = Deferred.makeUnsafe<void>()
  for (let i = 0; i < bench.made.capacity; i++) bench.hold(gate, pool)
  bench.lab.settle()
  open(gate)()
  bench.lab.settle()
}

/** Borrowers of everything there is, who return it when the gate opens. */
const holdAll = (
  bench: Bench,
  gate: Deferred.Deferred<void>,
  pool = bench.pool
): Array<Fiber.Fiber<unknown, unknown>> => {
  const holders = Array.from({ length: bench.made.capacity }, () => bench.hold(gate, pool))
  bench.lab.settle()
  return holders
}

const brief = (bench: Bench, pool = bench.pool) => bench.lab.fork(pool.use((c) => bench.stay(c, () => Effect.yieldNow)))

/** The peer hangs up on everything. */
const killAll = (bench: Bench) => () => {
  for (const connection of Array.from(bench.controls.signals.keys())) bench.peer.kill(connection)
}

type State = (bench: Bench) => Situation

const common: Readonly<Record<string, State>> = {
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

const dying: State = (bench) => {
  const gate = Deferred.makeUnsafe<void>()
  const holders = holdAll(bench, gate)
  const waiting = brief(bench)
  const event = () => {
    killAll(bench)()
    open(gate)()
  }
  return { event, bystanders: [...holders, waiting], later: () => brief(bench) }
}

/** Connections admit fewer borrowers than they have, then nobody, then as many as at first. */
const lowered: State = (bench) => {
  const gate = Deferred.makeUnsafe<void>()
  const { concurrency } = bench.controls
  const holders = holdAll(bench, gate)
  const waiting = brief(bench)
  let restored = false
  const event = () => {
    open(gate)()
    if (restored) return
    bench.controls.capacityChanged(1)
    bench.controls.capacityChanged(0)
  }
  const later = () => {
    restored = true
    bench.controls.capacityChanged(concurrency)
    return brief(bench)
  }
  return { event, bystanders: [...holders, waiting], later }
}

/** Several callers wait for a pool's first connection. */
const coldBurst: State = (bench) => {
  const gate = Deferred.makeUnsafe<void>()
  bench.script(() => Deferred.await(gate))
  const burst = [brief(bench), brief(bench), brief(bench)]
  bench.lab.settle()
  return { event: open(gate), bystanders: burst, later: () => brief(bench) }
}

/** The peer turns out to speak something else than before. */
const contradicted: State = (bench) => {
  warm(bench)
  const event = () => {
    bench.controls.upgrades = !bench.controls.upgrades
    killAll(bench)()
  }
  return { event, bystanders: [], later: () => brief(bench) }
}

/** Another target's borrowers have all connections there may be. */
const starved: State = (bench) => {
  const gate = Deferred.makeUnsafe<void>()
  const other = bench.made.others[0]!
  const holders = holdAll(bench, gate, other)
  return {
    event: open(gate),
    bystanders: [...holders, brief(bench), brief(bench, other)],
    later: () => brief(bench, other)
  }
}

/** Another target has all connections there may be, and does not use them. */
const crowdedOut: State = (bench) => {
  const other = bench.made.others[0]!
  warm(bench, other)
  const gate = Deferred.makeUnsafe<void>()
  const event = () => {
    bench.hold(gate, other)
    open(gate)()
  }
  return { event, bystanders: [brief(bench)], later: () => brief(bench, other) }
}

const building: State = (bench) => {
  const gate = Deferred.makeUnsafe<void>()
  bench.controls.build = Deferred.await(gate)
  const first = brief(bench)
  bench.lab.settle()
  return { event: open(gate), bystanders: [first], later: () => brief(bench) }
}

/** A key or a connection has been idle for too long, or it is time to look. */
const expiring: State = (bench) => {
  warm(bench)
  const { clock } = bench.lab
  const due = clock.next
  const event = () => {
    // Nobody has waited for so long: neither a waiter nor an attempt is due.
    if (due === undefined || due >= 10_000 || clock.next !== due) return
    clock.moveTo(due)
    clock.ring()
  }
  return { event, bystanders: [], later: () => brief(bench) }
}

const own: Readonly<Record<RigName, Readonly<Record<string, State>>>> = {
  cache: {},
  singleton: {},
  shared: { dying, lowered, "cold burst": coldBurst },
  limited: { dying, starved, "crowded out": crowdedOut },
  map: { dying, starved, "crowded out": crowdedOut, building, expiring },
  negotiate: { dying, "cold burst": coldBurst, contradicted },
  expire: { dying, expiring },
  stack: { starved, "crowded out": crowdedOut, building, "cold burst": coldBurst, contradicted, expiring }
}

/** The states of each kind. */
export const states: Readonly<Record<RigName, Readonly<Record<string, State>>>> = Object.fromEntries(
  rigNames.map((name) => [name, { ...common, ...own[name] }])
) as never
