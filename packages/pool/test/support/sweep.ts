/**
 * The interruption sweep: every operation in every state, with every small op
 * budget, interrupted from outside after every small number of turns.
 *
 * The interrupt comes from outside the fiber and between turns, as real ones
 * do. Interrupting a fiber from within its own `shouldYield` would deliver the
 * interrupt one step late, inside a region that has just become
 * uninterruptible, and report leaks that cannot happen.
 */
import type * as Fiber from "effect/Fiber"
import * as Exit from "effect/Exit"
import { Bench, Controls, failedAsClosed, failedWith, type Variant, yields } from "./bench.ts"
import { Lab } from "./lab.ts"
import { Dice } from "./random.ts"
import { type RigName, rigs } from "./rigs.ts"
import { operations } from "./sweepOperations.ts"
import { states } from "./sweepStates.ts"

export const budgets = { from: 3, to: 64 } as const
export const turns = 14

/** The kinds that came after caches and singletons, and a stack of all. */
export const newerKinds = ["shared", "limited", "map", "negotiate", "expire", "stack"] as const

interface Case {
  readonly kind: RigName
  readonly state: string
  readonly operation: string
  /** Operations before the caller's fiber yields. */
  readonly budget: number
  /** Turns, or steps, before the interrupt. */
  readonly after: number
  /** Chooses the rest. */
  readonly seed: number
}

/** Every combination of kind, state and operation. */
export const combinations = (
  kinds: ReadonlyArray<RigName>
): ReadonlyArray<Pick<Case, "kind" | "state" | "operation">> =>
  kinds.flatMap((kind) =>
    Object.keys(operations[kind]).flatMap((operation) =>
      Object.keys(states[kind]).map((state) => ({ kind, state, operation }))
    )
  )

const variant = (budget: number, dice: Dice): Variant => ({
  maxSize: 1 + dice.below(3),
  maxKeys: dice.pick([3, Infinity]),
  saturation: dice.pick([1, 1, 0.5]),
  order: dice.pick(["lifo", "fifo"]),
  onAbandon: dice.pick(["keep", "cancel"]),
  connectTurns: dice.below(5),
  validateTurns: dice.oneIn(3) ? dice.below(4) : undefined,
  closeTurns: dice.below(5),
  observed: dice.oneIn(2),
  leakWarning: dice.oneIn(4),
  microtasks: dice.pick(["task", "turn"]),
  poolBudget: dice.pick([undefined, undefined, budget, 3 + dice.below(20)])
})

const controls = (dice: Dice): Controls => {
  const made = new Controls(1 + dice.below(3))
  made.upgrades = dice.oneIn(2)
  made.build = yields(dice.below(4))
  return made
}

/** Runs one case and says what is wrong. */
export const runCase = (c: Case): ReadonlyArray<string> => {
  const dice = new Dice(c.seed)
  const bench = new Bench(variant(c.budget, dice), rigs[c.kind](dice), controls(dice))
  const { lab } = bench
  const situation = states[c.kind][c.state]!(bench)
  const eventAt = situation.atOnce === true ? 0 : dice.below(10)
  const laterAt = dice.below(6)
  const finely = dice.oneIn(3)
  const bystanders = [...situation.bystanders]

  const operation = operations[c.kind][c.operation]!
  const target = lab.fork(operation(bench), c.budget)
  const ticks = Math.max(c.after, 10)
  for (let tick = 0; tick <= ticks; tick++) {
    if (tick === eventAt) situation.event()
    if (tick === laterAt && situation.later !== undefined) bystanders.push(situation.later())
    if (tick === c.after) target.interruptUnsafe()
    if (finely) lab.step()
    else lab.turn()
  }
  lab.settle()
  // A pause may be in the way of those who came after a failed attempt.
  lab.advance(1_000)
  if (target.pollUnsafe() === undefined) bench.wrongs.push("the interrupted caller is still running")
  for (const bystander of bystanders) checkBystander(bench, bystander)
  return bench.audit()
}

const checkBystander = (bench: Bench, bystander: Fiber.Fiber<unknown, unknown>): void => {
  const exit = bystander.pollUnsafe()
  if (exit === undefined) bench.wrongs.push("a bystander still waits")
  else if (Exit.isFailure(exit) && !mayFailSo(bench, exit)) {
    bench.wrongs.push(`a bystander failed: ${String(exit.cause).slice(0, 300)}`)
  }
}

const mayFailSo = (bench: Bench, exit: Exit.Exit<unknown, unknown>): boolean =>
  bench.mayFail ||
  (bench.mayBeClosed && failedAsClosed(exit)) ||
  (bench.mayBeCrowded && failedWith(exit, "TooManyKeys"))

export interface Report {
  readonly cases: number
  readonly leaks: number
  /** The first few, with what it takes to run them again. */
  readonly examples: ReadonlyArray<string>
}

/** Runs the cases that `take` chooses out of all. */
export const sweep = (kinds: ReadonlyArray<RigName>, seed: number, take: (index: number) => boolean): Report => {
  const examples: Array<string> = []
  let cases = 0
  let leaks = 0
  let index = 0
  for (const combination of combinations(kinds)) {
    for (let budget = budgets.from; budget <= budgets.to; budget++) {
      for (let after = 0; after < turns; after++) {
        index++
        if (!take(index)) continue
        cases++
        const c = { ...combination, budget, after, seed: seed + index }
        const wrongs = Lab.run(() => attempt(c))
        if (wrongs.length === 0) continue
        leaks++
        if (examples.length < 5) examples.push(`${JSON.stringify(c)}: ${wrongs.join("; ")}`)
      }
    }
  }
  return { cases, leaks, examples }
}

const attempt = (c: Case): ReadonlyArray<string> => {
  try {
    return runCase(c)
  } catch (error) {
    return [String(error)]
  }
}
