/**
 * What the stack test draws at random: what a stack is made of, and what is
 * done to it.
 */
import * as fc from "fast-check"

export const targets = ["a", "b", "c"] as const
export type Target = (typeof targets)[number]

const inners = ["cache", "shared", "singleton", "negotiate"] as const
const policies = ["none", "idle", "lifetime", "uses"] as const
const modes = ["ok", "ok", "slow", "fail", "hang", "die"] as const

export interface Setup {
  /** One pool for all targets, two pools under one limit, or a map. */
  readonly shape: "one" | "two" | "map"
  readonly inner: (typeof inners)[number]
  readonly second: (typeof inners)[number]
  /** Where it is negotiated. */
  readonly upgrade: "shared" | "singleton" | "cache"
  readonly expire: (typeof policies)[number]
  readonly maxSize: number
  readonly limit: number
  readonly maxKeys: number
  readonly concurrency: number
  readonly saturation: number
  readonly order: "lifo" | "fifo"
  readonly onAbandon: "keep" | "cancel"
  /** Whether the pools ask connections if they are open. */
  readonly checked: boolean
  readonly validated: boolean
  readonly slowBuild: boolean
}

export type Mode = (typeof modes)[number]

/** `at` chooses among what there is at that moment. */
export type Command =
  | { readonly do: "call"; readonly target: Target; readonly how: "use" | "get" | "lease" }
  | { readonly do: "finish"; readonly at: number; readonly how: "ok" | "fail" | "die" | "invalidate" | "release" }
  | { readonly do: "interrupt"; readonly at: number }
  | { readonly do: "advance"; readonly millis: number }
  | { readonly do: "jump"; readonly millis: number }
  | { readonly do: "connects"; readonly mode: Mode }
  | { readonly do: "closes"; readonly mode: Mode }
  | { readonly do: "kill"; readonly at: number; readonly silently: boolean }
  | { readonly do: "retain" | "guard"; readonly rest: number }
  | { readonly do: "unguard" | "flip" | "interrupt all" | "drain" }
  | { readonly do: "capacity"; readonly to: number }
  | { readonly do: "remove"; readonly target: Target }

const setup: fc.Arbitrary<Setup> = fc.record({
  shape: fc.constantFrom("one", "two", "map"),
  inner: fc.constantFrom(...inners),
  second: fc.constantFrom(...inners),
  upgrade: fc.constantFrom("shared", "shared", "singleton", "cache"),
  expire: fc.constantFrom(...policies),
  maxSize: fc.integer({ min: 1, max: 3 }),
  limit: fc.integer({ min: 1, max: 4 }),
  maxKeys: fc.constantFrom(3, 3, 2),
  concurrency: fc.integer({ min: 1, max: 3 }),
  saturation: fc.constantFrom(1, 1, 0.5),
  order: fc.constantFrom("lifo", "fifo"),
  onAbandon: fc.constantFrom("keep", "cancel"),
  checked: fc.boolean(),
  validated: fc.boolean(),
  slowBuild: fc.boolean()
})

const at = fc.nat({ max: 9 })
const target = fc.constantFrom(...targets)

const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({ do: fc.constant("call"), target, how: fc.constantFrom("use", "get", "lease") })
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("finish"),
      at,
      how: fc.constantFrom("ok", "ok", "ok", "fail", "die", "invalidate", "release")
    })
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("interrupt"), at }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("advance"), millis: fc.constantFrom(1, 60, 170, 310, 1_000, 5_000) })
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("jump"), millis: fc.constantFrom(-60_000, -1_000, 1_000, 60_000) })
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("connects"), mode: fc.constantFrom(...modes) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("closes"), mode: fc.constantFrom(...modes) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("kill"), at, silently: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("retain", "guard"), rest: fc.nat({ max: 2 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("unguard") }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("flip") }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("interrupt all") }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("capacity"), to: fc.nat({ max: 4 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("remove"), target }) }
)

/** A stack and up to 60 commands; one in ten drains the stack somewhere. */
export const sequence: fc.Arbitrary<readonly [Setup, ReadonlyArray<Command>]> = fc
  .tuple(setup, fc.array(command, { maxLength: 60, size: "max" }), fc.nat({ max: 599 }))
  .map(([made, commands, drainAt]) => {
    const drain: Command = { do: "drain" }
    return [made, drainAt < commands.length ? commands.toSpliced(drainAt, 0, drain) : commands] as const
  })
