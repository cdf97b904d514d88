/**
 * What can happen to a pool, at random: setups and commands for fast-check.
 * Commands name their object by a number that is taken modulo what there is, so
 * every sequence makes sense and shrinks well.
 */
import * as fc from "fast-check"
import type { CallKind, KeepName, Setup } from "./modelSetup.ts"
import type { Mode, Outcome } from "./modelPeer.ts"

export type Command =
  | { readonly op: "call"; readonly kind: CallKind; readonly budget: number | undefined }
  /** A body ends. */
  | { readonly op: "finish"; readonly at: number; readonly how: Outcome }
  | { readonly op: "release"; readonly at: number; readonly how: "effect" | "unsafe" | "twice" }
  | { readonly op: "invalidate"; readonly at: number }
  /** Any caller's fiber, waiting or inside its body. */
  | { readonly op: "interrupt"; readonly at: number }
  /** Somebody else closes the scope that a caller borrows for. */
  | { readonly op: "closeScope"; readonly at: number }
  /** A gated attempt, validation or close ends. */
  | { readonly op: "connect" | "validate" | "close"; readonly at: number; readonly how: Outcome }
  | { readonly op: "mode"; readonly of: "connect" | "validate" | "close"; readonly mode: Mode }
  | { readonly op: "peer"; readonly flag: "stubborn" | "stillborn"; readonly on: boolean }
  | { readonly op: "kill"; readonly at: number; readonly how: "noisy" | "silent" | "retire" | "capacity" }
  | { readonly op: "retain" | "guard"; readonly keep: KeepName }
  | { readonly op: "unguard"; readonly at: number }
  | { readonly op: "adopt" }
  | { readonly op: "advance"; readonly millis: number }
  /** Somebody sets the wall clock. */
  | { readonly op: "jump"; readonly millis: number }
  | { readonly op: "drain"; readonly deadline: number | undefined }
  | { readonly op: "closePool" }
  /** These happen before anything has come to rest. */
  | { readonly op: "together"; readonly commands: ReadonlyArray<Racing> }

/** What can happen while other things are under way. */
export type Racing =
  | Exclude<Command, { readonly op: "together" | "advance" }>
  /** The scheduler takes a turn, or a single task runs. */
  | { readonly op: "turn" | "step" }
  /** The event loop is busy for so long, and timers are late. */
  | { readonly op: "stall"; readonly millis: number }

const at = fc.nat({ max: 7 })
const outcome = fc.constantFrom<Outcome>("ok", "ok", "fail", "die")
const mode = fc.constantFrom<Mode>("ok", "ok", "fail", "die", "slow", "gated", "gated")
const keep = fc.constantFrom<KeepName>("all", "none", "even", "odd", "throws", "reason")
const budget = fc.option(fc.integer({ min: 3, max: 22 }), { nil: undefined })
const one = <Op extends string>(op: Op) => fc.constant(op)

const end = fc.oneof(
  fc.record({ op: one("drain"), deadline: fc.constantFrom(undefined, 0, 71) }),
  fc.constant({ op: "closePool" })
)

type Weighted = { readonly weight: number; readonly arbitrary: fc.Arbitrary<unknown> }

/** What happens at any time; `racing` has the weights for what happens together with something else. */
const anyTime = (kind: Setup["kind"], racing: boolean): ReadonlyArray<Weighted> => {
  const calls: ReadonlyArray<CallKind> =
    kind === "cache" ? ["use", "use", "get", "lease", "takeIdle", "shared"] : ["use", "use", "get", "lease", "shared"]
  const often = racing ? 2 : 1
  return [
    {
      weight: racing ? 8 : 12,
      arbitrary: fc.record({ op: one("call"), kind: fc.constantFrom(...calls), budget })
    },
    { weight: 10, arbitrary: fc.record({ op: one("finish"), at, how: outcome }) },
    { weight: 2, arbitrary: fc.record({ op: one("release"), at, how: fc.constantFrom("effect", "unsafe", "twice") }) },
    { weight: 2, arbitrary: fc.record({ op: one("invalidate"), at }) },
    { weight: 4 * often, arbitrary: fc.record({ op: one("interrupt"), at }) },
    { weight: often, arbitrary: fc.record({ op: one("closeScope"), at }) },
    { weight: 6, arbitrary: fc.record({ op: one("connect"), at, how: outcome }) },
    { weight: 2, arbitrary: fc.record({ op: fc.constantFrom("validate", "close"), at, how: outcome }) },
    {
      weight: 3 * often,
      arbitrary: fc.record({ op: one("kill"), at, how: fc.constantFrom("noisy", "silent", "retire", "capacity") })
    },
    { weight: often, arbitrary: fc.record({ op: fc.constantFrom("retain", "guard"), keep }) },
    { weight: 2, arbitrary: fc.record({ op: one("unguard"), at }) },
    ...(kind === "cache" ? [{ weight: 2, arbitrary: fc.constant({ op: "adopt" }) }] : [])
  ]
}

const racing = (kind: Setup["kind"]): fc.Arbitrary<Racing> =>
  fc.oneof(
    ...anyTime(kind, true),
    { weight: 6, arbitrary: fc.record({ op: fc.constantFrom("turn", "step") }) },
    { weight: 3, arbitrary: fc.record({ op: one("stall"), millis: fc.constantFrom(1, 38, 102, 200) }) },
    ...ends
  ) as fc.Arbitrary<Racing>

/** Seldom, or most sequences would end early. */
const ends: ReadonlyArray<Weighted> = [
  {
    weight: 1,
    arbitrary: fc.oneof(
      { weight: 1, arbitrary: end },
      { weight: 6, arbitrary: fc.record({ op: one("call"), kind: one("use"), budget }) }
    )
  }
]

const command = (kind: Setup["kind"]): fc.Arbitrary<Command> =>
  fc.oneof(
    ...anyTime(kind, false),
    { weight: 4, arbitrary: fc.record({ op: one("mode"), of: one("connect"), mode }) },
    { weight: 1, arbitrary: fc.record({ op: one("mode"), of: fc.constantFrom("validate", "close"), mode }) },
    {
      weight: 1,
      arbitrary: fc.record({ op: one("peer"), flag: fc.constantFrom("stubborn", "stillborn"), on: fc.boolean() })
    },
    {
      weight: 6,
      arbitrary: fc.record({ op: one("advance"), millis: fc.constantFrom(0, 1, 36, 37, 60, 101, 300, 1_000, 12_000) })
    },
    { weight: 1, arbitrary: fc.record({ op: one("jump"), millis: fc.constantFrom(-10_000, -100, 100, 10_000) }) },
    {
      weight: 8,
      arbitrary: fc.record({ op: one("together"), commands: fc.array(racing(kind), { minLength: 2, maxLength: 4 }) })
    },
    ...ends
  ) as fc.Arbitrary<Command>

const setup = (kind: Setup["kind"]): fc.Arbitrary<Setup> =>
  fc
    .record({
      size: fc.integer({ min: 1, max: 4 }),
      min: fc.constantFrom(0, 0, 1, 2),
      idle: fc.integer({ min: 0, max: 4 }),
      connecting: fc.constantFrom(4, 4, 1, 2),
      maxPending: fc.constantFrom(1_000, 1_000, 1_000, 0, 1, 2, 3),
      order: fc.constantFrom<Setup["order"]>("lifo", "fifo"),
      isOpen: fc.boolean(),
      watch: fc.boolean(),
      validate: fc.constantFrom(false, false, true),
      validateAfter: fc.constantFrom(0, 0, 503),
      onAbandon: fc.constantFrom<Setup["onAbandon"]>("keep", "keep", "cancel"),
      // Primes, so that different timers seldom ring together.
      waitTimeout: fc.constantFrom(30_011, 331),
      connectTimeout: fc.constantFrom(10_007, 211),
      closeTimeout: fc.constantFrom(5_003, 53),
      drainDeadline: fc.constantFrom(0, 1_013),
      backoff: fc.constantFrom<Setup["backoff"]>("fixed", "growing", "ending"),
      leakWarning: fc.constantFrom(false, false, true),
      observed: fc.boolean(),
      budget: fc.constantFrom(2048, 2048, 3, 5, 9, 14, 22),
      poolBudget: fc.constantFrom(undefined, undefined, 3, 4, 7, 12),
      microtasks: fc.constantFrom<Setup["microtasks"]>("task", "turn")
    })
    .map(({ size, min, idle, connecting, ...rest }) => {
      const maxSize = kind === "singleton" ? 1 : size
      // Most caches keep what they have.
      const maxIdle = idle > maxSize || kind === "singleton" ? maxSize : idle
      return {
        kind,
        maxSize,
        maxIdle,
        minSize: kind === "singleton" ? 0 : Math.min(min, maxIdle, maxSize),
        maxConnecting: Math.min(connecting, maxSize),
        ...rest
      }
    })

/** What happens to a pool in its last moments, and after them. */
const ending = (kind: Setup["kind"]): fc.Arbitrary<ReadonlyArray<Command>> =>
  fc.array(fc.oneof({ weight: 1, arbitrary: end as fc.Arbitrary<Command> }, { weight: 2, arbitrary: command(kind) }), {
    maxLength: 10
  })

/** One run: a setup and what happens. */
export const sequence = (
  kind: Setup["kind"]
): fc.Arbitrary<readonly [setup: Setup, commands: ReadonlyArray<Command>]> =>
  fc
    .tuple(setup(kind), fc.array(command(kind), { maxLength: 80, size: "max" }), ending(kind))
    .map(([setup, commands, ending]) => [setup, [...commands, ...ending]] as const)
