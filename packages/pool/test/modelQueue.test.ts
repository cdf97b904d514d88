/**
 * Random commands on a queue, against a model that says for each of them who
 * is answered what, and what is sent next.
 */
import { assert, describe } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as fc from "fast-check"
import * as CachePool from "../src/CachePool.ts"
import * as RequestQueue from "../src/RequestQueue.ts"
import { Lab } from "./support/lab.ts"
import seeds from "./support/queueSeeds.json" with { type: "json" }
import { describeExit } from "./support/scene.ts"
import { type Kept, testModel } from "./support/sequences.ts"

const sequences = 2_000

interface Setup {
  readonly capacity: number
  readonly concurrency: number
  readonly strategy: "suspend" | "dropping" | "sliding"
  readonly maxTries: number
}

type Command =
  | { readonly _tag: "send"; readonly atOnce: boolean }
  | { readonly _tag: "reply" | "fail" | "unsent" | "interrupt"; readonly which: number }
  | { readonly _tag: "drain"; readonly deadline: number }
  | { readonly _tag: "advance"; readonly millis: number }

interface Failure {
  readonly _tag: "Unsent" | "Broken"
}

/** What should be so. */
class Model {
  readonly states: Array<string> = []
  readonly log: Array<number> = []
  waiting: Array<number> = []
  inFlight: Array<number> = []
  readonly atOnce = new Set<number>()
  /** Requests that came after the drain and were never in the queue. */
  late = 0
  private readonly tries = new Map<number, number>()
  private now = 0
  /** When everything in flight is cut off, once it drains. */
  private deadline: number | undefined = undefined
  private readonly setup: Setup

  constructor(setup: Setup) {
    this.setup = setup
  }

  send(atOnce: boolean): void {
    const { capacity, concurrency, strategy } = this.setup
    const id = this.states.push("waits") - 1
    if (atOnce) this.atOnce.add(id)
    if (this.deadline !== undefined) {
      this.late++
      return this.answer(id, "Closed")
    }
    const mustWait = this.waiting.length > 0 || this.inFlight.length >= concurrency
    if (mustWait && this.waiting.length >= capacity && strategy !== "suspend") {
      const oldest = strategy === "sliding" ? this.waiting.shift() : undefined
      this.answer(oldest ?? id, "QueueFull")
      if (oldest !== undefined) this.waiting.push(id)
    } else this.waiting.push(id)
    this.pump()
  }

  reply(id: number): void {
    this.leave(id, `re: ${id}`)
  }

  fail(id: number): void {
    this.leave(id, "Broken")
  }

  unsent(id: number): void {
    const tries = this.tries.get(id)!
    if (tries >= this.setup.maxTries) return this.leave(id, "Unsent")
    this.tries.set(id, tries + 1)
    this.log.push(id)
  }

  interrupt(id: number): void {
    if (this.states[id] === "waits") this.leave(id, "interrupted")
  }

  drain(after: number): void {
    for (const id of this.waiting.splice(0)) this.answer(id, "Closed")
    this.deadline = Math.min(this.deadline ?? Infinity, this.now + after)
    this.cutOff()
  }

  advance(millis: number): void {
    this.now += millis
    this.cutOff()
  }

  private cutOff(): void {
    if (this.deadline === undefined || this.deadline > this.now) return
    for (const id of this.inFlight.splice(0)) this.answer(id, "Closed")
  }

  private leave(id: number, state: string): void {
    this.answer(id, state)
    this.waiting = this.waiting.filter((other) => other !== id)
    this.inFlight = this.inFlight.filter((other) => other !== id)
    this.pump()
  }

  private answer(id: number, state: string): void {
    this.states[id] = state
  }

  private pump(): void {
    while (this.waiting.length > 0 && this.inFlight.length < this.setup.concurrency) {
      const id = this.waiting.shift()!
      this.log.push(id)
      this.tries.set(id, 1)
      if (this.atOnce.has(id)) this.answer(id, `re: ${id}`)
      else this.inFlight.push(id)
    }
  }
}

/** What is so. */
class Real {
  readonly lab = new Lab()
  readonly log: Array<number> = []
  readonly senders: Array<Fiber.Fiber<string, unknown>> = []
  readonly drains: Array<Fiber.Fiber<void>> = []
  readonly queue: RequestQueue.RequestQueue<number, string, Failure>
  private readonly scope: Scope.Closeable
  private readonly open = new Map<number, Deferred.Deferred<string, Failure>>()
  private readonly atOnce = new Set<number>()
  private connections = 0

  constructor(setup: Setup) {
    const connect = () =>
      Effect.acquireRelease(
        Effect.sync(() => ++this.connections),
        () => Effect.sync(() => this.connections--)
      )
    const made = this.lab.make(
      RequestQueue.make({
        pool: CachePool.make({ connect, maxSize: setup.concurrency }),
        send: (_, id: number) =>
          Effect.suspend(() => {
            this.log.push(id)
            if (this.atOnce.has(id)) return Effect.succeed(`re: ${id}`)
            const reply = Deferred.makeUnsafe<string, Failure>()
            this.open.set(id, reply)
            return Deferred.await(reply)
          }),
        isUnsent: (error) => error._tag === "Unsent",
        ...setup
      })
    )
    this.queue = made.value as RequestQueue.RequestQueue<number, string, Failure>
    this.scope = made.scope
  }

  send(atOnce: boolean): void {
    const id = this.senders.length
    if (atOnce) this.atOnce.add(id)
    this.senders.push(this.lab.fork(this.queue.send(id)))
  }

  end(id: number, exit: Exit.Exit<string, Failure>): void {
    Deferred.doneUnsafe(this.open.get(id)!, exit)
  }

  states(): ReadonlyArray<string> {
    return this.senders.map((fiber) => {
      const exit = fiber.pollUnsafe()
      return exit === undefined ? "waits" : Exit.isSuccess(exit) ? exit.value : describeExit(exit)
    })
  }

  /** What is left when everything is closed. */
  close(): string {
    this.lab.run(Scope.close(this.scope, Exit.void))
    const waiting = this.states().filter((state) => state === "waits").length
    return `${waiting} waiting, ${this.connections} open, ${this.lab.fibers} fibers, ${this.lab.clock.timers} timers`
  }
}

const perform = (real: Real, model: Model, command: Command): void => {
  if (command._tag === "send") {
    model.send(command.atOnce)
    real.send(command.atOnce)
  } else if (command._tag === "drain") {
    model.drain(command.deadline)
    real.drains.push(real.lab.fork(real.queue.drain({ deadline: command.deadline })))
  } else if (command._tag === "advance") {
    model.advance(command.millis)
    real.lab.advance(command.millis)
  } else if (command._tag === "interrupt") {
    const waiting = [...model.waiting, ...model.inFlight]
    const id = waiting[command.which % Math.max(1, waiting.length)]
    if (id === undefined) return
    model.interrupt(id)
    real.senders[id]!.interruptUnsafe()
  } else {
    const id = model.inFlight[command.which % Math.max(1, model.inFlight.length)]
    if (id === undefined) return
    model[command._tag](id)
    const exit = {
      reply: Exit.succeed(`re: ${id}`),
      fail: Exit.fail({ _tag: "Broken" } as const),
      unsent: Exit.fail({ _tag: "Unsent" } as const)
    }
    real.end(id, exit[command._tag])
  }
  real.lab.settle()
}

const compare = (setup: Setup, commands: ReadonlyArray<Command>): void => {
  const real = new Real(setup)
  const model = new Model(setup)
  commands.forEach((command, i) => {
    perform(real, model, command)
    const at = `after ${i + 1} commands`
    assert.deepStrictEqual(real.log, model.log, `sent ${at}`)
    assert.deepStrictEqual(real.states(), model.states, `answered ${at}`)
    const drained = real.drains.every((fiber) => (fiber.pollUnsafe() !== undefined) === (model.inFlight.length === 0))
    assert.isTrue(drained, `a drain ends with the last request in flight ${at}`)
    const { inFlight, queued, suspended } = real.lab.get(real.queue.stats)
    assert.deepStrictEqual(
      [queued + suspended, inFlight],
      [model.waiting.length, model.inFlight.length],
      `levels ${at}`
    )
    assert.isTrue(queued <= setup.capacity && (suspended === 0 || setup.strategy === "suspend"))
  })
  const stats = real.lab.get(real.queue.stats)
  const { dropped, failed, inFlight, interrupted, queued, succeeded, suspended } = stats
  const counted = dropped + failed + inFlight + interrupted + queued + succeeded + suspended
  assert.strictEqual(counted, real.senders.length - model.late, "requests that were counted")
  assert.strictEqual(real.close(), "0 waiting, 0 open, 0 fibers, 0 timers")
}

const play = (setup: Setup, commands: ReadonlyArray<Command>): ReadonlyArray<string> => {
  try {
    Lab.run(() => compare(setup, commands))
    return []
  } catch (error) {
    return [String(error)]
  }
}

const which = fc.nat(20)

const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 10, arbitrary: fc.record({ _tag: fc.constant("send" as const), atOnce: fc.boolean() }) },
  {
    weight: 6,
    arbitrary: fc.record({ _tag: fc.constantFrom("reply" as const, "fail" as const, "unsent" as const), which })
  },
  { weight: 3, arbitrary: fc.record({ _tag: fc.constant("interrupt" as const), which }) },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("advance" as const), millis: fc.nat(50) }) },
  { weight: 1, arbitrary: fc.record({ _tag: fc.constant("drain" as const), deadline: fc.constantFrom(0, 20, 40) }) }
)

const setup: fc.Arbitrary<Setup> = fc.record({
  capacity: fc.nat(4),
  concurrency: fc.integer({ min: 1, max: 3 }),
  strategy: fc.constantFrom("suspend" as const, "dropping" as const, "sliding" as const),
  maxTries: fc.integer({ min: 1, max: 3 })
})

describe("model of RequestQueue", () => {
  testModel("a queue does what its model does, whatever happens to it (sample)", {
    of: "a queue",
    file: "queueSeeds.json",
    kept: seeds as unknown as ReadonlyArray<Kept<Setup, Command>>,
    setup,
    command,
    play,
    sequences: Number(process.env["POOLKIT_MODEL_QUEUE"] ?? sequences)
  })
})
