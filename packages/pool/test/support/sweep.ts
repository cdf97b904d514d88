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
import { Bench, failedAsClosed, type Variant } from "./bench.ts"
import { Lab } from "./lab.ts"
import { Dice } from "./random.ts"
import { operations } from "./sweepOperations.ts"
import { states } from "./sweepStates.ts"

export const budgets = { from: 3, to: 64 } as const
export const turns = 14

interface Case {
  readonly kind: "cache" | "singleton"
  readonly state: string
  readonly operation: string
  /** Operations before the caller's fiber yields. */
  readonly budget: number
  /** Turns, or steps, before the interrupt. */
  readonly after: number
  /** Chooses the rest. */
  readonly seed: number
}

const kinds = ["cache", "singleton"] as const

/** Every combination of kind, state and operation. */
export const combinations: ReadonlyArray<Pick<Case, "kind" | "state" | "operation">> = kinds.flatMap((kind) =>
  Object.keys(operations[kind]).flatMap((operation) => Object.keys(states).map((state) => ({ kind, state, operation })))
)

const variant = (kind: Case["kind"], budget: number, dice: Dice): Variant => ({
  kind,
  maxSize: kind === "singleton" ? 1 : 1 + dice.below(3),
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

/** Runs one case and says what is wrong. */
export const runCase = (c: Case): ReadonlyArray<string> => {
  const dice = new Dice(c.seed)
  const bench = new Bench(variant(c.kind, c.budget, dice))
  const { lab } = bench
  const situation = states[c.state]!(bench)
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
  // A backoff may be in the way of those who came after a failed attempt.
  lab.advance(100)
  if (target.pollUnsafe() === undefined) bench.wrongs.push("the interrupted caller is still running")
  for (const bystander of bystanders) checkBystander(bench, bystander)
  return bench.audit()
}

const checkBystander = (bench: Bench, bystander: Fiber.Fiber<unknown, unknown>): void => {
  const exit = bystander.pollUnsafe()
  if (exit === undefined) bench.wrongs.push("a bystander still waits")
  else if (Exit.isFailure(exit) && !(bench.mayBeClosed && failedAsClosed(exit)) && !bench.mayFail) {
    bench.wrongs.push(`a bystander failed: ${String(exit.cause)}`)
  }
}

export interface Report {
  readonly cases: number
  readonly leaks: number
  /** The first few, with what it takes to run them again. */
  readonly examples: ReadonlyArray<string>
}

/** Runs the cases that `take` chooses out of all. */
export const sweep = (seed: number, take: (index: number) => boolean): Report => {
  const examples: Array<string> = []
  let cases = 0
  let leaks = 0
  let index = 0
  for (const combination of combinations) {
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
