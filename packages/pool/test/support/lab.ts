/**
 * A place where fibers run one step at a time, synchronously and always in the
 * same order: a scheduler whose turns are taken by hand, microtasks included,
 * and a virtual clock. A case in it is a plain function call, so hundreds of
 * thousands of them cost minutes, and one that fails fails again.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Random from "effect/Random"
import * as Scheduler from "effect/Scheduler"
import * as Scope from "effect/Scope"
import { random } from "./random.ts"
import { VirtualClock } from "./virtualClock.ts"
import { microtask } from "../../src/internal/microtask.ts"

const maxTurns = 2_000

export interface LabOptions {
  /** When microtasks run: after each task, as between two event-loop callbacks, or after all tasks of a turn. */
  readonly microtasks?: "task" | "turn" | undefined
  readonly seed?: number | undefined
}

export class Lab implements Scheduler.Scheduler {
  readonly executionMode = "sync"
  readonly clock = new VirtualClock()
  /** Called whenever everything has come to rest. */
  onRest: () => void = () => {}
  /** Fibers that were started by effects run in this lab and have not ended. */
  fibers = 0
  private readonly context: Context.Context<never>
  private readonly microtasksPerTask: boolean
  private tasks: Array<() => void> = []
  private microtasks: Array<() => void> = []

  constructor(options: LabOptions = {}) {
    this.microtasksPerTask = options.microtasks !== "turn"
    const next = random(options.seed ?? 1)
    this.context = Context.empty().pipe(
      Context.add(Scheduler.Scheduler, this),
      Context.add(Clock.Clock, this.clock),
      Context.add(Logger.CurrentLoggers, new Set()),
      Context.add(Random.Random, { nextDoubleUnsafe: next, nextIntUnsafe: () => Math.floor(next() * 2 ** 32) }),
      Context.add(Metric.FiberRuntimeMetrics, {
        recordFiberStart: () => {
          this.fibers++
        },
        recordFiberEnd: () => {
          this.fibers--
        }
      })
    )
  }

  // ---------------------------------------------------------------------------
  // What Effect's runtime calls
  // ---------------------------------------------------------------------------

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    return fiber.currentOpCount >= fiber.cache.maxOpsBeforeYield
  }

  makeDispatcher(): Scheduler.SchedulerDispatcher {
    return {
      scheduleTask: (task) => {
        this.tasks.push(task)
      },
      flush: () => this.settle()
    }
  }

  // ---------------------------------------------------------------------------
  // What tests call
  // ---------------------------------------------------------------------------

  /** Runs `f`, which must not return before its fibers have ended or been forgotten. */
  static run<A>(f: () => A): A {
    const original = globalThis.queueMicrotask
    const push = (task: () => void) => {
      Lab.current?.microtasks.push(task)
    }
    globalThis.queueMicrotask = push
    // oxlint-disable-next-line unicorn/no-thenable -- its reactions are what the lab takes over
    Object.defineProperty(microtask, "then", { configurable: true, value: push })
    try {
      return f()
    } finally {
      Lab.current = undefined
      globalThis.queueMicrotask = original
      Reflect.deleteProperty(microtask, "then")
    }
  }
  private static current: Lab | undefined = undefined

  /** Starts a fiber, which runs until it suspends. `budget`: operations before it yields. */
  fork<A, E>(effect: Effect.Effect<A, E>, budget?: number | undefined): Fiber.Fiber<A, E> {
    Lab.current = this
    const context = budget === undefined ? this.context : Context.add(this.context, Scheduler.MaxOpsBeforeYield, budget)
    return Effect.runForkWith(context)(effect)
  }

  /** Runs an effect that must end without time passing. */
  run<A, E>(effect: Effect.Effect<A, E>, budget?: number | undefined): Exit.Exit<A, E> {
    const fiber = this.fork(effect, budget)
    this.settle()
    const exit = fiber.pollUnsafe()
    if (exit === undefined) throw new Error("an effect that should have ended is still running")
    return exit
  }

  /** `run` for effects that cannot fail. */
  get<A, E>(effect: Effect.Effect<A, E>): A {
    const exit = this.run(effect)
    if (exit._tag === "Failure") throw new Error("an effect that should have succeeded failed", { cause: exit.cause })
    return exit.value
  }

  /** Makes something scoped, such as a pool, and returns it with the scope to close. */
  make<A, E>(
    effect: Effect.Effect<A, E, Scope.Scope>,
    budget?: number | undefined
  ): { readonly value: A; readonly scope: Scope.Closeable } {
    const scope = Scope.makeUnsafe()
    const exit = this.run(Scope.provide(effect, scope), budget)
    if (exit._tag === "Failure") throw new Error("could not be made", { cause: exit.cause })
    return { value: exit.value, scope }
  }

  /** One turn: all tasks that are scheduled now, and the microtasks they lead to. */
  turn(): void {
    Lab.current = this
    const tasks = this.tasks
    this.tasks = []
    this.runMicrotasks()
    for (const task of tasks) {
      task()
      if (this.microtasksPerTask) this.runMicrotasks()
    }
    this.runMicrotasks()
  }

  /** A single microtask or task: finer than anything outside the event loop can see. */
  step(): void {
    Lab.current = this
    const queue = this.microtasks.length > 0 ? this.microtasks : this.tasks
    queue.shift()?.()
  }

  /** Takes turns until nothing is left to do without time passing. */
  settle(): void {
    for (let turns = 0; this.tasks.length > 0 || this.microtasks.length > 0; turns++) {
      if (turns === maxTurns) throw new Error(`not at rest after ${maxTurns} turns`)
      this.turn()
    }
  }

  /** Lets time pass, coming to rest after each timer, and tells `onRest` when all that were due have rung. */
  advance(millis: number): void {
    const end = this.clock.now + millis
    this.settle()
    this.onRest()
    for (let at = this.clock.next; at !== undefined && at <= end; at = this.clock.next) {
      this.clock.moveTo(at)
      Lab.current = this
      this.clock.ring()
      this.settle()
      if (this.clock.next !== at) this.onRest()
    }
    this.clock.moveTo(end)
    this.onRest()
  }

  /** The event loop is busy: time passes, but timers that are due ring only later, with `ringDue`. */
  stall(millis: number): void {
    this.clock.moveTo(this.clock.now + millis)
  }

  /** Rings the timers that a stall has made late. */
  ringDue(): void {
    for (let at = this.clock.next; at !== undefined && at <= this.clock.now; at = this.clock.next) {
      Lab.current = this
      this.clock.ring()
      this.settle()
    }
  }

  private runMicrotasks(): void {
    while (this.microtasks.length > 0) {
      const microtasks = this.microtasks
      this.microtasks = []
      for (const task of microtasks) task()
    }
  }
}
