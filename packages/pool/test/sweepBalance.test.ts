/**
 * The interruption sweep over a balance of each kind: addresses that refuse,
 * and lists that change while operations run.
 *
 * `POOLKIT_SWEEP_BALANCE=1` runs every case, a larger number one in so many.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as BalancePool from "../src/BalancePool.ts"
import {
  Bench,
  type Conn,
  type ConnectError,
  Controls,
  failedAsClosed,
  type Rig,
  type TestPool,
  yields
} from "./support/bench.ts"
import { Lab } from "./support/lab.ts"
import { Dice, runSeed } from "./support/random.ts"
import { build, type Options, type Simple } from "./support/rigs.ts"
import { budgets, turns } from "./support/sweep.ts"
import { operations as operationsOf } from "./support/sweepOperations.ts"
import { type Situation, states as statesOf } from "./support/sweepStates.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"

const every = Number(process.env["POOLKIT_SWEEP_BALANCE"] ?? 600)

const kinds: ReadonlyArray<Simple> = ["cache", "shared", "singleton"]

/** The service under a balance, as a case knows it. */
class Service {
  readonly before: ReadonlyArray<string>
  readonly after: ReadonlyArray<string>
  readonly refusing = new Set<string>()
  /** Open connections of each address. */
  readonly open = new Map<Conn, string>()
  hangs = false
  readonly change = Deferred.makeUnsafe<void>()

  constructor(dice: Dice) {
    this.before = dice.pick([["a"], ["a", "b"], ["b", "a", "c"], []])
    this.after = dice.pick([["a"], ["a", "d"], ["d"], ["c", "d", "e"]])
    for (const address of ["b", "c"]) if (dice.oneIn(2)) this.refusing.add(address)
    // Somebody has to answer before the change too.
    if (dice.oneIn(4) && this.before.length > 1) this.refusing.add("a")
    for (const list of [this.before, this.after]) {
      if (list.every((address) => this.refusing.has(address))) this.refusing.delete(list[0] ?? "")
    }
    if (this.before.length === 0) this.changeNow()
  }

  changeNow(): void {
    Deferred.doneUnsafe(this.change, Exit.void)
  }

  readonly lists: Stream.Stream<ReadonlyArray<string>> = Stream.suspend(() =>
    Stream.concat(Stream.make(this.before), Stream.fromEffect(Effect.as(Deferred.await(this.change), this.after)))
  )

  connect(address: string, connect: Options["connect"]): Effect.Effect<Conn, ConnectError, Scope.Scope> {
    if (this.refusing.has(address))
      return Effect.andThen(yields(1), TestConnector.fail(0) as Effect.Effect<never, ConnectError>)
    if (this.hangs && !this.after.includes(address)) return Effect.never
    return Effect.tap(connect(), (connection) =>
      Effect.acquireRelease(
        Effect.sync(() => this.open.set(connection, address)),
        () => Effect.sync(() => this.open.delete(connection))
      )
    )
  }
}

const rig =
  (kind: Simple, service: Service, dice: Dice): Rig =>
  (options, variant, controls) => {
    const cap = dice.pick([Infinity, variant.maxSize])
    return Effect.map(
      BalancePool.make({
        addresses: service.lists,
        connect: (address: string) => service.connect(address, options.connect),
        setAside: Schedule.spaced(10),
        connectionsPerAddress: cap,
        pool: (connect, { limit }) =>
          build(kind, { ...options, connect: connect as Options["connect"], limit }, variant, controls)
      }) as Effect.Effect<TestPool, never, Scope.Scope>,
      (pool) => ({
        pool,
        others: [],
        capacity:
          kind === "cache" ? variant.maxSize : kind === "singleton" ? 1 : variant.maxSize * controls.concurrency,
        admits: () => (kind === "cache" ? 1 : kind === "singleton" ? Infinity : controls.most)
      })
    )
  }

interface Case {
  readonly kind: Simple
  readonly state: string
  readonly operation: string
  readonly budget: number
  readonly after: number
  readonly seed: number
}

const changesWhileConnecting = "the list changes while connecting"

const ownStates = (bench: Bench, service: Service) => ({
  "the list changes": (): Situation => {
    const gate = Deferred.makeUnsafe<void>()
    const holder = bench.hold(gate)
    bench.lab.settle()
    const event = () => {
      service.changeNow()
      Deferred.doneUnsafe(gate, Exit.void)
    }
    return {
      event,
      bystanders: [holder],
      later: () => bench.lab.fork(bench.pool.use((c) => bench.stay(c, () => Effect.yieldNow)))
    }
  },
  [changesWhileConnecting]: (): Situation => {
    // Addresses that are to leave the list do not answer.
    service.hangs = true
    const first = bench.lab.fork(bench.pool.use((c) => bench.stay(c, () => Effect.yieldNow)))
    bench.lab.settle()
    const event = () => service.changeNow()
    return { event, bystanders: [first] }
  }
})

const stateNames = (kind: Simple) => [
  ...Object.keys(statesOf[kind]),
  "dying",
  "the list changes",
  changesWhileConnecting
]

const runCase = (c: Case): ReadonlyArray<string> => {
  const dice = new Dice(c.seed)
  const service = new Service(dice)
  const variant = {
    maxSize: 1 + dice.below(3),
    maxKeys: Infinity,
    saturation: dice.pick([1, 0.5]),
    order: dice.pick(["lifo", "fifo"] as const),
    onAbandon: dice.pick(["keep", "cancel"] as const),
    connectTurns: dice.below(4),
    validateTurns: dice.oneIn(4) ? dice.below(3) : undefined,
    closeTurns: dice.below(4),
    observed: dice.oneIn(2),
    leakWarning: false,
    microtasks: dice.pick(["task", "turn"] as const),
    poolBudget: dice.pick([undefined, c.budget])
  }
  const bench = new Bench(variant, rig(c.kind, service, dice), new Controls(1 + dice.below(3)))
  const { lab } = bench
  const own: Record<string, () => Situation> = ownStates(bench, service)
  const state = statesOf[c.kind][c.state] ?? statesOf.shared[c.state]
  const situation = own[c.state]?.() ?? state!(bench)
  const eventAt = situation.atOnce === true ? 0 : dice.below(8)
  // Where nobody answers before the change, the event makes it.
  const changeAt = c.state === changesWhileConnecting ? eventAt : dice.below(12)
  const bystanders = [...situation.bystanders]
  const target = lab.fork(operationsOf[c.kind][c.operation]!(bench), c.budget)
  for (let tick = 0; tick <= Math.max(c.after, 12); tick++) {
    if (tick === eventAt) situation.event()
    if (tick === changeAt) service.changeNow()
    if (tick === 5 && situation.later !== undefined) bystanders.push(situation.later())
    if (tick === c.after) target.interruptUnsafe()
    lab.turn()
  }
  service.changeNow()
  lab.settle()
  // A connect to an address that has left is aborted, and not just cut off some time later. A guard makes callers wait.
  const mustBeServed = c.state === changesWhileConnecting && c.operation !== "guard"
  if (mustBeServed && bystanders.some((fiber) => fiber.pollUnsafe() === undefined)) {
    bench.wrongs.push("a bystander waits for an address that has left")
  }
  // An attempt that hangs at an address takes as long as its connectTimeout.
  lab.advance(4_000)
  if (target.pollUnsafe() === undefined) bench.wrongs.push("the interrupted caller is still running")
  for (const bystander of bystanders) {
    const exit = bystander.pollUnsafe()
    const fine =
      exit !== undefined && (Exit.isSuccess(exit) || bench.mayFail || (bench.mayBeClosed && failedAsClosed(exit)))
    if (!fine) bench.wrongs.push(exit === undefined ? "a bystander still waits" : `a bystander failed: ${exit}`)
  }
  for (const address of service.open.values()) {
    if (!service.after.includes(address))
      bench.wrongs.push(`a connection to ${address}, which has left the list, is open`)
  }
  return bench.audit()
}

const attempt = (c: Case): ReadonlyArray<string> => {
  try {
    return runCase(c)
  } catch (error) {
    return [String(error)]
  }
}

describe("interruption sweep of BalancePool", () => {
  for (const kind of kinds) {
    it(
      `interrupting any operation in any state at any turn loses nothing: over ${kind} (sample)`,
      { timeout: 3_600_000 },
      () => {
        const seed = runSeed()
        const dice = new Dice(seed)
        const examples: Array<string> = []
        let cases = 0
        let index = 0
        for (const operation of Object.keys(operationsOf[kind])) {
          for (const state of stateNames(kind)) {
            for (let budget = budgets.from; budget <= budgets.to; budget++) {
              for (let after = 0; after < turns; after++) {
                index++
                if (!dice.oneIn(every)) continue
                cases++
                const c: Case = { kind, state, operation, budget, after, seed: seed + index }
                const wrongs = Lab.run(() => attempt(c))
                if (wrongs.length > 0 && examples.length < 5)
                  examples.push(`${JSON.stringify(c)}: ${wrongs.join("; ")}`)
              }
            }
          }
        }
        console.log(`sweep: ${cases.toLocaleString("en")} cases of a balance over ${kind} (POOLKIT_SEED=${seed})`)
        assert.deepStrictEqual(examples, [])
      }
    )
  }
})
