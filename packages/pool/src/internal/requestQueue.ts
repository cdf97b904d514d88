/**
 * Requests in line for a pool, and those in flight.
 *
 * Each request in flight runs on a fiber of the queue's own, so that draining
 * can answer its sender without interrupting the sender itself. There is no
 * fiber and no timer for requests in line.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scheduler from "effect/Scheduler"
import * as Tracer from "effect/Tracer"
import { Closed, type ConnectionPool, type Lease, PoolError, QueueFull } from "../ConnectionPool.ts"
import type { RequestObserver, RequestQueueStats } from "../RequestQueue.ts"
import { monotonic, type Run } from "./alarm.ts"
import { type Drainable, Draining } from "./draining.ts"
import { type Link, LinkedList } from "./linkedList.ts"
import { Observers } from "./observers.ts"

export interface RequestSettings<Conn, Request, Reply, E, EP> {
  readonly send: (connection: Conn, request: Request, lease: Lease<Conn>) => Effect.Effect<Reply, E>
  readonly capacity: number
  readonly strategy: "suspend" | "dropping" | "sliding"
  readonly concurrency: number
  readonly isUnsent: (error: E | EP | PoolError) => boolean
  readonly maxTries: number
  readonly reusable: (cause: Cause.Cause<E>) => boolean
  readonly drainDeadline: number
  readonly observer: RequestObserver<Request, E | EP | PoolError> | undefined
}

/** After so many requests in one go, timers and sockets get their turn. */
const startsPerTurn = 128

class Job<Request, Reply, E> implements Link<Job<Request, Reply, E>> {
  readonly request: Request
  /** Of the sender. */
  readonly context: Context.Context<never>
  readonly since: number
  readonly answer: (exit: Exit.Exit<Reply, E>) => void
  previous: Job<Request, Reply, E> | undefined = undefined
  next: Job<Request, Reply, E> | undefined = undefined
  /** `answered` from the step on in which that is decided: observers are told before the sender, and may interrupt it. */
  phase: "waiting" | "running" | "answered" = "waiting"
  tries = 0
  forwarded = false
  fiber: Fiber.Fiber<Reply, E> | undefined = undefined

  constructor(
    request: Request,
    context: Context.Context<never>,
    since: number,
    answer: (exit: Exit.Exit<Reply, E>) => void
  ) {
    this.request = request
    this.context = context
    this.since = since
    this.answer = answer
  }
}

type Callbacks<Request, E> = Required<{
  readonly [K in keyof RequestObserver<Request, E>]: NonNullable<RequestObserver<Request, E>[K]>
}>

export class Requests<Conn, Request, Reply, E, EP> implements Drainable {
  private readonly pool: ConnectionPool<void, Conn, EP>
  private readonly settings: RequestSettings<Conn, Request, Reply, E, EP>
  private readonly context: Context.Context<never>
  private readonly clock: Clock.Clock
  private readonly observers: Observers
  private readonly dispatcher: Scheduler.SchedulerDispatcher
  private readonly draining: Draining
  state: Drainable["state"] = "open"
  private readonly line = new LinkedList<Job<Request, Reply, E | EP | PoolError>>()
  private readonly inFlight = new Set<Job<Request, Reply, E | EP | PoolError>>()
  private pumping = false
  private readonly counts = { forwarded: 0, retried: 0, succeeded: 0, failed: 0, dropped: 0, interrupted: 0 }

  constructor(
    pool: ConnectionPool<void, Conn, EP>,
    settings: RequestSettings<Conn, Request, Reply, E, EP>,
    context: Context.Context<never>
  ) {
    this.pool = pool
    this.settings = settings
    // A request belongs to its sender's span, not to that of `make`.
    this.context = Context.omit(Tracer.ParentSpan)(context) as Context.Context<never>
    this.clock = Context.get(context, Clock.Clock)
    const run: Run = Effect.runForkWith(this.context)
    this.observers = new Observers(run)
    this.dispatcher = Context.get(context, Scheduler.Scheduler).makeDispatcher()
    this.draining = new Draining(run, this.clock, settings.drainDeadline, this)
  }

  // ---------------------------------------------------------------------------
  // Sending
  // ---------------------------------------------------------------------------

  readonly send = (request: Request): Effect.Effect<Reply, E | EP | PoolError> =>
    Effect.withFiber((sender) =>
      Effect.callback<Reply, E | EP | PoolError>((resume) => {
        if (this.state !== "open") return resume(Effect.fail(new PoolError({ reason: new Closed() })))
        const job = new Job<Request, Reply, E | EP | PoolError>(request, sender.context, monotonic(this.clock), resume)
        this.join(job)
        return Effect.suspend(() => this.abandon(job))
      })
    )

  private join(job: Job<Request, Reply, E | EP | PoolError>): void {
    const { capacity, concurrency, strategy } = this.settings
    // Together: those in line may be about to start, and are not too many then.
    const isFull = this.line.size + this.inFlight.size >= concurrency + capacity
    if (isFull && strategy !== "suspend") {
      const loser = strategy === "sliding" ? (this.line.first ?? job) : job
      if (loser !== job) this.line.remove(loser)
      loser.phase = "answered"
      // First in line before the sender of what was dropped can run.
      if (loser !== job) this.accept(job)
      this.drop(loser)
    } else this.accept(job)
    this.pump()
  }

  private accept(job: Job<Request, Reply, E | EP | PoolError>): void {
    this.line.push(job)
    this.tell("queued", job.request)
  }

  private drop(job: Job<Request, Reply, E | EP | PoolError>): void {
    this.counts.dropped++
    this.tell("dropped", job.request)
    job.answer(
      Exit.fail(new PoolError({ reason: new QueueFull({ maxPending: this.settings.capacity, option: "capacity" }) }))
    )
  }

  /** Its sender was interrupted. */
  private abandon(job: Job<Request, Reply, E | EP | PoolError>): Effect.Effect<void> {
    const { phase } = job
    // The answer was on its way.
    if (phase === "answered") return Effect.void
    job.phase = "answered"
    this.counts.interrupted++
    if (phase === "waiting") this.line.remove(job)
    return job.fiber === undefined ? Effect.void : Fiber.interrupt(job.fiber)
  }

  // ---------------------------------------------------------------------------
  // Running
  // ---------------------------------------------------------------------------

  private pump(): void {
    // A request that is answered at once calls back into this loop, and so may its sender.
    if (this.pumping) return
    this.pumping = true
    for (let starts = 0; this.line.first !== undefined && this.inFlight.size < this.settings.concurrency; starts++) {
      if (starts === startsPerTurn) {
        return this.dispatcher.scheduleTask(() => {
          this.pumping = false
          this.pump()
        }, 0)
      }
      const job = this.line.first
      this.line.remove(job)
      this.start(job)
    }
    this.pumping = false
  }

  private start(job: Job<Request, Reply, E | EP | PoolError>): void {
    job.phase = "running"
    this.inFlight.add(job)
    const fiber = Effect.runForkWith(job.context)(this.attempt(job))
    job.fiber = fiber
    // Given up while its first steps ran.
    if (job.phase !== "running") fiber.interruptUnsafe()
    fiber.addObserver((exit) => this.ended(job, exit))
  }

  private ended(job: Job<Request, Reply, E | EP | PoolError>, exit: Exit.Exit<Reply, E | EP | PoolError>): void {
    this.inFlight.delete(job)
    if (job.phase === "running") {
      job.phase = "answered"
      if (Exit.isSuccess(exit)) this.counts.succeeded++
      else this.counts.failed++
      this.tell("answered", job.request, exit, monotonic(this.clock) - job.since)
      job.answer(exit)
    }
    this.pump()
    this.draining.check()
  }

  /** Tries on one connection after another for as long as nothing was sent. */
  private attempt(job: Job<Request, Reply, E | EP | PoolError>): Effect.Effect<Reply, E | EP | PoolError> {
    const { isUnsent, maxTries } = this.settings
    return Effect.catchIf(
      Effect.suspend(() => {
        job.tries++
        return this.pool.use((connection, lease) => this.exchange(job, connection, lease))
      }),
      (error) => job.tries < maxTries && isUnsent(error),
      (error) => {
        this.counts.retried++
        this.tell("retried", job.request, error, job.tries)
        return this.attempt(job)
      }
    )
  }

  private exchange(
    job: Job<Request, Reply, E | EP | PoolError>,
    connection: Conn,
    lease: Lease<Conn>
  ): Effect.Effect<Reply, E> {
    if (!job.forwarded) this.counts.forwarded++
    job.forwarded = true
    this.tell("forwarded", job.request, monotonic(this.clock) - job.since)
    return Effect.onExit(
      Effect.provideContext(
        Effect.suspend(() => this.settings.send(connection, job.request, lease)),
        this.context
      ),
      (exit) => (Exit.isFailure(exit) && this.spoils(exit.cause) ? lease.invalidate : Effect.void)
    )
  }

  /** Whether the next request must not find this connection. */
  private spoils(cause: Cause.Cause<E>): boolean {
    return (
      !this.settings.reusable(cause) ||
      cause.reasons.some((reason) => Cause.isFailReason(reason) && this.settings.isUnsent(reason.error))
    )
  }

  // ---------------------------------------------------------------------------
  // Ending
  // ---------------------------------------------------------------------------

  readonly drain = (options?: { readonly deadline?: Duration.Input | undefined }): Effect.Effect<void> =>
    this.draining.drain(options)

  stop(): void {
    for (let job = this.line.first; job !== undefined; job = this.line.first) {
      this.line.remove(job)
      this.reject(job)
    }
  }

  closeAll(): void {
    for (const job of Array.from(this.inFlight)) {
      if (job.phase === "running") this.reject(job)
      job.fiber?.interruptUnsafe()
    }
  }

  isEmpty(): boolean {
    return this.inFlight.size === 0
  }

  drained(): void {
    this.tell("closed")
  }

  private reject(job: Job<Request, Reply, E | EP | PoolError>): void {
    const exit = Exit.fail(new PoolError({ reason: new Closed() }))
    job.phase = "answered"
    this.counts.failed++
    this.tell("answered", job.request, exit, monotonic(this.clock) - job.since)
    job.answer(exit)
  }

  // ---------------------------------------------------------------------------
  // Telling
  // ---------------------------------------------------------------------------

  readonly stats: Effect.Effect<RequestQueueStats> = Effect.sync(() => {
    const { capacity, concurrency } = this.settings
    const queued = Math.min(this.line.size, capacity)
    return {
      queued,
      suspended: this.line.size - queued,
      inFlight: this.inFlight.size,
      capacity,
      concurrency,
      ...this.counts
    }
  })

  private tell<K extends keyof Callbacks<Request, E | EP | PoolError>>(
    name: K,
    ...args: Parameters<Callbacks<Request, E | EP | PoolError>[K]>
  ): void {
    const { observer } = this.settings
    const callback = observer?.[name] as ((...args: Array<unknown>) => void) | undefined
    if (callback !== undefined) this.observers.isolate(() => callback.apply(observer, args))
  }
}
