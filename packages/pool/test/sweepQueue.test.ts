/**
 * The interruption sweep over a queue in front of a pool of each kind: every
 * operation in every state, with every small op budget, interrupted after every
 * small number of turns.
 *
 * `POOLKIT_SWEEP_QUEUE=1` runs every case, a larger number one in so many.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as RequestQueue from "../src/RequestQueue.ts"
import * as TestConnector from "../src/testing/TestConnector.ts"
import { Bench, Controls, failedAsClosed, failedWith, yields } from "./support/bench.ts"
import { Lab } from "./support/lab.ts"
import { Dice, runSeed } from "./support/random.ts"
import { rigs } from "./support/rigs.ts"
import { budgets, turns } from "./support/sweep.ts"

const every = Number(process.env["POOLKIT_SWEEP_QUEUE"] ?? 40)

const kinds = ["cache", "shared", "singleton", "negotiate"] as const

/** What a request does on its connection. */
type Request = Effect.Effect<unknown, "unsent" | "broken">

type Queue = RequestQueue.RequestQueue<Request, unknown, unknown>

/** A queue on a bench. */
class Stand {
  readonly bench: Bench
  /** For the operation under test, whose requests must not be sent when it is over. */
  readonly queue: Queue
  over: () => boolean = () => false
  private readonly bare: Queue
  readonly scope: Scope.Closeable
  /** Whether requests may find the queue full in this case. */
  mayBeFull = false

  constructor(bench: Bench, dice: Dice) {
    this.bench = bench
    this.mayBeFull = dice.oneIn(3)
    const made = bench.lab.make(
      RequestQueue.make({
        pool: Effect.succeed(bench.pool),
        send: (connection, request: Request) => bench.stay(connection, () => request),
        isUnsent: (error) => error === "unsent",
        maxTries: 3,
        concurrency: dice.pick([undefined, 1, 2, 5]),
        capacity: this.mayBeFull ? dice.below(3) : 100,
        strategy: this.mayBeFull ? dice.pick(["dropping", "sliding", "suspend"] as const) : "suspend",
        reusable: dice.pick([undefined, () => true]),
        drainDeadline: dice.pick([0, 500])
      }),
      bench.variant.poolBudget
    )
    this.bare = made.value
    this.queue = { ...made.value, send: (request) => made.value.send(this.noted(request)) }
    this.scope = made.scope
  }

  private noted(request: Request): Request {
    return Effect.suspend(() => {
      if (this.over()) this.bench.wrongs.push("a request was sent whose sender is gone")
      return request
    })
  }

  send(request: Request): Fiber.Fiber<unknown, unknown> {
    return this.bench.lab.fork(this.bare.send(request))
  }
}

const brief: Request = Effect.yieldNow

/** Fails the first `times` times. */
const failing = (error: "unsent" | "broken", times: number): Request => {
  let left = times
  return Effect.flatMap(Effect.yieldNow, () => (left-- > 0 ? Effect.fail(error) : Effect.void))
}

type Operation = (stand: Stand) => Effect.Effect<unknown, unknown>

const operations: Readonly<Record<string, Operation>> = {
  send: ({ queue }) => queue.send(yields(2)),
  "send that is answered at once": ({ queue }) => queue.send(Effect.void),
  "send that is never answered": ({ queue }) => queue.send(Effect.never),
  "send that fails": ({ queue }) => queue.send(failing("broken", 1)),
  "send that dies": ({ queue }) => queue.send(Effect.andThen(Effect.yieldNow, Effect.die("no"))),
  "send that interrupts itself": ({ queue }) => queue.send(Effect.andThen(Effect.yieldNow, Effect.interrupt)),
  "send that is not sent at first": ({ queue }) => queue.send(failing("unsent", 2)),
  "send that is never sent": ({ queue }) => queue.send(failing("unsent", 9)),
  "send that cannot be interrupted": ({ queue }) => queue.send(Effect.uninterruptible(yields(3))),
  "send three times": ({ queue }) => Effect.replicateEffect(queue.send(brief), 3),
  "send many at once": ({ queue }) =>
    Effect.all([queue.send(brief), queue.send(Effect.void), queue.send(yields(2)), queue.send(brief)], {
      concurrency: "unbounded"
    }),
  "send with a timeout": ({ queue }) => Effect.timeout(queue.send(yields(3)), "1 second"),
  "send within send": ({ queue }) => queue.send(Effect.ignore(Effect.timeout(queue.send(brief), "100 millis"))),
  "send of a failing connector": (stand) => {
    stand.bench.script(TestConnector.fail)
    stand.bench.mayFail = true
    return stand.queue.send(brief)
  },
  stats: ({ queue }) => Effect.andThen(queue.stats, queue.stats),
  drain: ({ bench, queue }) => {
    bench.mayBeClosed = true
    return queue.drain()
  },
  "drain with a deadline": ({ bench, queue }) => {
    bench.mayBeClosed = true
    return Effect.andThen(queue.drain({ deadline: "1 second" }), queue.drain())
  },
  "closing the scope": ({ bench, scope }) => {
    bench.mayBeClosed = true
    return Scope.close(scope, Exit.void)
  },
  "closing the pool": ({ bench }) => {
    bench.mayBeClosed = true
    return bench.pool.drain()
  },
  make: ({ bench }) =>
    Effect.scoped(
      Effect.flatMap(
        RequestQueue.make({ pool: Effect.succeed(bench.pool), send: (_, request: Request) => request }),
        (queue) => queue.send(yields(2))
      )
    )
}

interface Situation {
  readonly event: () => void
  readonly bystanders: ReadonlyArray<Fiber.Fiber<unknown, unknown>>
}

const opener = (gate: Deferred.Deferred<void>) => () => void Deferred.doneUnsafe(gate, Exit.void)

const states: Readonly<Record<string, (stand: Stand) => Situation>> = {
  idle: (stand) => {
    stand.send(brief)
    stand.bench.lab.settle()
    return { event: () => {}, bystanders: [] }
  },
  connecting: (stand) => {
    const gate = Deferred.makeUnsafe<void>()
    stand.bench.script(() => Deferred.await(gate))
    const first = stand.send(brief)
    stand.bench.lab.settle()
    return { event: opener(gate), bystanders: [first] }
  },
  busy: (stand) => {
    const gate = Deferred.makeUnsafe<void>()
    const bystanders = Array.from({ length: 7 }, () => stand.send(Deferred.await(gate)))
    stand.bench.lab.settle()
    return { event: opener(gate), bystanders }
  },
  failing: (stand) => {
    const gate = Deferred.makeUnsafe<void>()
    const failed = Effect.andThen(Deferred.await(gate), failing("unsent", 1))
    const bystanders = [stand.send(failed), stand.send(brief), stand.send(failed), stand.send(Effect.void)]
    return { event: opener(gate), bystanders }
  },
  closing: (stand) => {
    const { bench, queue, scope } = stand
    const gate = Deferred.makeUnsafe<void>()
    bench.mayBeClosed = true
    const bystanders = [stand.send(Deferred.await(gate)), stand.send(Effect.never), stand.send(brief)]
    const event = () => {
      bench.lab.fork(queue.drain({ deadline: "1 second" }))
      bench.lab.fork(Effect.andThen(Effect.yieldNow, Scope.close(scope, Exit.void)))
      bench.lab.fork(Effect.andThen(yields(2), Effect.sync(opener(gate))))
    }
    return { event, bystanders }
  }
}

interface Case {
  readonly kind: (typeof kinds)[number]
  readonly state: string
  readonly operation: string
  readonly budget: number
  readonly after: number
  readonly seed: number
}

const runCase = (c: Case): ReadonlyArray<string> => {
  const dice = new Dice(c.seed)
  const variant = {
    maxSize: 1 + dice.below(3),
    maxKeys: Infinity,
    saturation: 1,
    order: dice.pick(["lifo", "fifo"] as const),
    onAbandon: dice.pick(["keep", "cancel"] as const),
    connectTurns: dice.below(4),
    validateTurns: undefined,
    closeTurns: dice.below(4),
    observed: dice.oneIn(2),
    leakWarning: false,
    microtasks: dice.pick(["task", "turn"] as const),
    poolBudget: dice.pick([undefined, c.budget])
  }
  const bench = new Bench(variant, rigs[c.kind](dice), new Controls(1 + dice.below(3)))
  const { lab } = bench
  const stand = new Stand(bench, dice)
  const { bystanders, event } = states[c.state]!(stand)
  const eventAt = dice.below(8)
  const target = lab.fork(operations[c.operation]!(stand), c.budget)
  stand.over = () => target.pollUnsafe() !== undefined
  for (let tick = 0; tick <= Math.max(c.after, 10); tick++) {
    if (tick === eventAt) event()
    if (tick === c.after) target.interruptUnsafe()
    if (dice.oneIn(3)) lab.step()
    else lab.turn()
  }
  lab.settle()
  lab.advance(2_000)
  if (target.pollUnsafe() === undefined) bench.wrongs.push("the interrupted caller is still running")
  for (const bystander of [...bystanders, stand.send(brief)]) {
    lab.settle()
    const exit = bystander.pollUnsafe()
    if (exit === undefined) bench.wrongs.push("a bystander still waits")
    else if (Exit.isFailure(exit) && !mayFailSo(stand, exit)) bench.wrongs.push(`a bystander failed: ${exit}`)
  }
  const { inFlight, queued, suspended } = lab.get(stand.queue.stats)
  if (inFlight + queued + suspended > 0) bench.wrongs.push(`${inFlight} in flight, ${queued} queued at rest`)
  lab.run(Scope.close(stand.scope, Exit.void))
  if (!failedAsClosed(lab.run(stand.queue.send(brief)))) bench.wrongs.push("a closed queue still sends")
  return bench.audit()
}

const mayFailSo = ({ bench, mayBeFull }: Stand, exit: Exit.Exit<unknown, unknown>): boolean =>
  bench.mayFail || (bench.mayBeClosed && failedAsClosed(exit)) || (mayBeFull && failedWith(exit, "QueueFull" as never))

const attempt = (c: Case): ReadonlyArray<string> => {
  try {
    return runCase(c)
  } catch (error) {
    return [String(error)]
  }
}

describe("interruption sweep of RequestQueue", () => {
  for (const kind of kinds) {
    it(`interrupting any operation in any state at any turn loses nothing: over ${kind} (sample)`, () => {
      const seed = runSeed()
      const dice = new Dice(seed)
      const examples: Array<string> = []
      let cases = 0
      let index = 0
      for (const operation of Object.keys(operations)) {
        for (const state of Object.keys(states)) {
          for (let budget = budgets.from; budget <= budgets.to; budget++) {
            for (let after = 0; after < turns; after++) {
              index++
              if (!dice.oneIn(every)) continue
              cases++
              const c: Case = { kind, state, operation, budget, after, seed: seed + index }
              const wrongs = Lab.run(() => attempt(c))
              if (wrongs.length > 0 && examples.length < 5) examples.push(`${JSON.stringify(c)}: ${wrongs.join("; ")}`)
            }
          }
        }
      }
      console.log(`sweep: ${cases.toLocaleString("en")} cases of a queue over ${kind} (POOLKIT_SEED=${seed})`)
      assert.deepStrictEqual(examples, [])
    }, 3_600_000)
  }
})
