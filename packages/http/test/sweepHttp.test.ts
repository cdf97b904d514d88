/**
 * The interruption sweep over `HttpPool`: every operation on one, in every
 * state, with every small op budget, interrupted after every small number of
 * turns. Connections have no sockets, so that a case is a function call.
 *
 * `POOLKIT_SWEEP_HTTP=1` runs every case, a larger number one in so many.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import { HttpError } from "@poolkit/http/HttpError"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { Bench, Controls, failedAsClosed, failedWith } from "../../pool/test/support/bench.ts"
import { Lab } from "../../pool/test/support/lab.ts"
import { Dice, runSeed } from "../../pool/test/support/random.ts"
import { budgets, turns } from "../../pool/test/support/sweep.ts"
import { operations as poolOperations } from "../../pool/test/support/sweepOperations.ts"
import { type Situation, states as poolStates } from "../../pool/test/support/sweepStates.ts"
import { httpOperations, type Lent } from "./sweep/httpOperations.ts"
import { type Http, httpRig } from "./sweep/httpRig.ts"
import { LabServer } from "./sweep/labConnection.ts"

const every = Number(process.env["POOLKIT_SWEEP_HTTP"] ?? 200)

interface Case {
  readonly state: string
  readonly operation: string
  readonly budget: number
  readonly after: number
  readonly seed: number
}

/** Requests are being answered. */
const answering = ({ bench, http, server }: Lent): Situation => {
  const gate = Deferred.makeUnsafe<void>()
  const request = () => bench.lab.fork(httpOperations["execute and read"]!({ bench, http, server }))
  return { event: () => Deferred.doneUnsafe(gate, Exit.void), bystanders: [request(), request()], later: request }
}

const { dying } = poolStates.map
const { building: _, expiring: __, ...ofStack } = poolStates.stack
const states: Readonly<Record<string, (lent: Lent) => Situation>> = {
  ...Object.fromEntries(
    Object.entries({ ...ofStack, dying: dying! }).map(([name, state]) => [name, ({ bench }: Lent) => state(bench)])
  ),
  answering
}

/** Those that every pool has, and those of its own. */
const operations: Readonly<Record<string, (lent: Lent) => ReturnType<(typeof httpOperations)[string]>>> = {
  ...Object.fromEntries(
    Object.entries(poolOperations.shared).map(([name, operation]) => [name, ({ bench }: Lent) => operation(bench)])
  ),
  ...httpOperations
}

const begin = (c: Case, dice: Dice): Lent => {
  const server = new LabServer({ head: dice.below(4), body: dice.below(4) })
  const variant = {
    maxSize: 1 + dice.below(3),
    maxKeys: dice.pick([3, 1_000]),
    saturation: dice.pick([1, 1, 0.5]),
    order: "lifo" as const,
    onAbandon: dice.pick(["keep", "cancel"] as const),
    connectTurns: dice.below(5),
    validateTurns: undefined,
    closeTurns: dice.below(5),
    observed: dice.oneIn(2),
    leakWarning: dice.oneIn(4),
    microtasks: dice.pick(["task", "turn"] as const),
    poolBudget: dice.pick([undefined, undefined, c.budget])
  }
  const controls = new Controls(1 + dice.below(3))
  controls.upgrades = dice.oneIn(2)
  let http: Http | undefined
  const rig = httpRig(server, dice, (made) => {
    http ??= made
  })
  const bench = new Bench(variant, rig, controls)
  server.bench = bench
  return { bench, http: http!, server }
}

const runCase = (c: Case): ReadonlyArray<string> => {
  const dice = new Dice(c.seed)
  const lent = begin(c, dice)
  const { bench, server } = lent
  const { lab } = bench
  const situation = states[c.state]!(lent)
  const eventAt = situation.atOnce === true ? 0 : dice.below(10)
  const laterAt = dice.below(6)
  const finely = dice.oneIn(3)
  const bystanders = [...situation.bystanders]
  const target = lab.fork(operations[c.operation]!(lent), c.budget)
  for (let tick = 0; tick <= Math.max(c.after, 10); tick++) {
    if (tick === eventAt) situation.event()
    if (tick === laterAt && situation.later !== undefined) bystanders.push(situation.later())
    if (tick === c.after) target.interruptUnsafe()
    if (finely) lab.step()
    else lab.turn()
  }
  lab.settle()
  // A pause may be in the way of those who came after a failed attempt.
  lab.advance(1_000)
  const exit = target.pollUnsafe()
  if (exit === undefined) bench.wrongs.push("the interrupted caller is still running")
  else if (failedAs(exit, "BodyUnavailable")) bench.wrongs.push("a body was dropped under its reader")
  // Whoever hangs up on requests in flight makes them fail.
  const mayFail = bench.mayFail || (c.state === "answering" && (bench.mayBeClosed || server.hungUp))
  for (const bystander of bystanders) {
    const exit = bystander.pollUnsafe()
    if (exit === undefined) bench.wrongs.push("a bystander still waits")
    else if (
      Exit.isFailure(exit) &&
      !mayFail &&
      !(bench.mayBeClosed && failedAsClosed(exit)) &&
      !(bench.mayBeCrowded && failedWith(exit, "TooManyKeys"))
    )
      bench.wrongs.push(`a bystander failed: ${String(exit.cause).slice(0, 300)}`)
  }
  if (server.open > 0) bench.wrongs.push(`the end of ${server.open} exchanges was not told`)
  return [...bench.audit(), ...server.wrongs]
}

const failedAs = (exit: Exit.Exit<unknown, unknown>, tag: string): boolean => {
  const error = Option.getOrUndefined(Exit.findErrorOption(exit))
  return error instanceof HttpError && error.reason._tag === tag
}

const attempt = (c: Case): ReadonlyArray<string> => {
  try {
    return runCase(c)
  } catch (error) {
    return [error instanceof Error ? error.stack! : String(error)]
  }
}

describe("interruption sweep of HttpPool", () => {
  it("interrupting any operation in any state at any turn loses nothing (sample)", { timeout: 3_600_000 }, () => {
    const seed = runSeed()
    const dice = new Dice(seed)
    const examples: Array<string> = []
    let cases = 0
    let leaks = 0
    let index = 0
    for (const operation of Object.keys(operations)) {
      for (const state of Object.keys(states)) {
        for (let budget = budgets.from; budget <= budgets.to; budget++) {
          for (let after = 0; after < turns; after++) {
            index++
            if (!dice.oneIn(every)) continue
            cases++
            const c: Case = { operation, state, budget, after, seed: seed + index }
            const wrongs = Lab.run(() => attempt(c))
            if (wrongs.length === 0) continue
            leaks++
            if (examples.length < 5) examples.push(`${JSON.stringify(c)}: ${wrongs.join("; ")}`)
          }
        }
      }
    }
    console.log(`sweep: ${cases.toLocaleString("en")} cases of an HttpPool, ${leaks} leaks (POOLKIT_SEED=${seed})`)
    assert.deepStrictEqual(examples, [])
  })
})
