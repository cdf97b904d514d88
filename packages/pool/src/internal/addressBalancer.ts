/**
 * The connector of a balance: chooses an address, connects, and goes on to
 * another one where that fails.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Formatter from "effect/Formatter"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Connector from "../Connector.ts"
import type { AddressBook, Entry } from "./addressBook.ts"
import type { AddressLimit } from "./addressLimit.ts"
import { monotonic, type Run } from "./alarm.ts"
import { Handing } from "./handing.ts"
import { NoRoom } from "./noRoom.ts"
import { addFinalizer, removeFinalizer } from "./scope.ts"

/** What a try ended with that did not come to a connection. */
type Failure<E> = Cause.Cause<E | Cause.TimeoutError>

/** Times in milliseconds. */
interface Settings {
  readonly clock: Clock.Clock
  readonly run: Run
  /** Of the balance: no timer outlives it. */
  readonly scope: Scope.Scope
  readonly connectTimeout: number
  readonly closeTimeout: number
}

export class Balancer<Addr, B, E> {
  private readonly book: AddressBook<Addr>
  private readonly limit: AddressLimit
  private readonly settings: Settings
  private readonly connectTo: (address: Addr) => Effect.Effect<B, E, Scope.Scope>

  constructor(
    book: AddressBook<Addr>,
    limit: AddressLimit,
    settings: Settings,
    connectTo: (address: Addr) => Effect.Effect<B, E, Scope.Scope>
  ) {
    this.book = book
    this.limit = limit
    this.settings = settings
    this.connectTo = connectTo
  }

  readonly connector: Connector.Connector<void, B, E | Cause.TimeoutError, Scope.Scope> = () =>
    Effect.flatMap(Random.Random, (random) => this.attempt(new Set(), undefined, () => random.nextDoubleUnsafe()))

  /** Does not know connections by themselves: pools may wrap them, and hand them to each other. */
  readonly isCurrent = (_: unknown, info: { readonly annotations: ReadonlyMap<string, unknown> }): boolean =>
    !this.book.hasLeft(info.annotations.get("address") as Addr)

  /** Tries one address after another until one connects. */
  private attempt(
    tried: Set<Entry<Addr>>,
    failure: Failure<E> | undefined,
    random: () => number
  ): Effect.Effect<B, E | Cause.TimeoutError, Scope.Scope> {
    return Effect.suspend(() => {
      const entry = this.book.choose(tried, failure !== undefined, random)
      if (entry !== undefined) return this.tryOne(entry, tried, failure, random)
      if (failure !== undefined && !this.book.isWorthWaiting(tried)) return Effect.failCause(failure)
      return Effect.flatMap(Handing, (handing) =>
        handing !== undefined && this.limit.joined
          ? Effect.die(new NoRoom())
          : Effect.flatMap(this.change, () => this.attempt(new Set(), failure, random))
      )
    })
  }

  private tryOne(
    entry: Entry<Addr>,
    tried: Set<Entry<Addr>>,
    failure: Failure<E> | undefined,
    random: () => number
  ): Effect.Effect<B, E | Cause.TimeoutError, Scope.Scope> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.scope, (owner) => {
        const connect = new Connect(this.book, entry, owner, this.settings)
        const trying = Effect.raceFirst(Scope.provide(this.connectTo(entry.address), connect.scope), this.giveUp(entry))
        return Effect.flatMap(Effect.exit(restore(trying)), (exit) => {
          const elapsed = monotonic(this.settings.clock) - connect.startedAt
          if (Exit.isSuccess(exit) && exit.value !== gone && !entry.removed) {
            connect.succeeded(elapsed)
            return Effect.map(Connector.Annotations, (annotations) => {
              annotations?.set("address", entry.address)
              return exit.value as B
            })
          }
          const isFailure = Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)
          if (isFailure) connect.failed(exit.cause, elapsed)
          else connect.aborted(elapsed)
          connect.discard()
          if (Exit.isFailure(exit) && !isFailure) return Effect.failCause(exit.cause)
          return restore(this.attempt(tried.add(entry), isFailure ? exit.cause : failure, random))
        })
      })
    )
  }

  /** Fails when a connect has taken too long, and succeeds with `gone` when its address leaves the list. */
  private giveUp(entry: Entry<Addr>): Effect.Effect<typeof gone, Cause.TimeoutError> {
    const leaving = Effect.callback<typeof gone>((resume) => {
      if (entry.removed) return resume(Effect.succeed(gone))
      const leave = () => resume(Effect.succeed(gone))
      entry.leaving.add(leave)
      return Effect.sync(() => void entry.leaving.delete(leave))
    })
    const { connectTimeout } = this.settings
    if (connectTimeout === Infinity) return leaving
    const duration = Duration.millis(connectTimeout)
    const message = () =>
      `connecting to ${Formatter.format(entry.address)} took longer than connectTimeout (${Duration.format(duration)})`
    return Effect.timeoutOrElse(leaving, {
      duration,
      orElse: () => Effect.fail(new Cause.TimeoutError(message()))
    })
  }

  private readonly change: Effect.Effect<void> = Effect.callback((resume) => {
    this.book.wanted(1)
    const stop: () => boolean = this.book.onChange(() => {
      end()
      resume(Effect.void)
    })
    const end = () => {
      if (stop()) this.book.wanted(-1)
    }
    return Effect.sync(end)
  })
}

const gone: unique symbol = Symbol("gone")

/** One connection of an address, which counts from the connect until its scope has closed, or has taken too long to. */
class Connect<Addr> {
  readonly scope: Scope.Closeable
  readonly startedAt: number
  private readonly book: AddressBook<Addr>
  private readonly entry: Entry<Addr>
  private readonly owner: Scope.Scope
  private readonly settings: Settings
  private connected = false
  private counts = true
  private timer: Fiber.Fiber<void> | undefined = undefined

  constructor(book: AddressBook<Addr>, entry: Entry<Addr>, owner: Scope.Scope, settings: Settings) {
    this.book = book
    this.entry = entry
    this.owner = owner
    this.settings = settings
    this.startedAt = monotonic(settings.clock)
    this.scope = Scope.forkUnsafe(owner)
    book.occupy(entry)
    book.tell("connecting", entry.address)
    addFinalizer(this.scope, this, () => Effect.sync(() => this.closed()))
  }

  succeeded(elapsed: number): void {
    this.connected = true
    // Runs before `scope` closes, which was added to its owner earlier.
    addFinalizer(this.owner, this, () => Effect.sync(() => this.closing()))
    this.book.tell("connected", this.entry.address, elapsed)
    this.book.succeeded(this.entry)
  }

  failed(cause: Cause.Cause<unknown>, elapsed: number): void {
    this.book.tell("failed", this.entry.address, cause, elapsed)
    this.book.failed(this.entry, cause)
  }

  aborted(elapsed: number): void {
    this.book.tell("aborted", this.entry.address, elapsed)
  }

  /** Closes what a try has opened that came to nothing. If that hangs or dies, the next try must not notice. */
  discard(): void {
    this.closing()
    const close = Effect.ignoreCause(Scope.close(this.scope, Exit.void), {
      log: "Unhandled",
      message: "A connection's close failed"
    })
    const fiber = this.settings.run(close)
    // The attempt has closed when this has.
    addFinalizer(this.owner, fiber, () => Effect.asVoid(Fiber.await(fiber)))
    fiber.addObserver(() => removeFinalizer(this.owner, fiber))
  }

  private closing(): void {
    const { closeTimeout, run, scope } = this.settings
    if (closeTimeout === Infinity) return
    this.timer = run(
      Effect.delay(
        Effect.sync(() => this.closed()),
        closeTimeout
      )
    )
    Fiber.runIn(this.timer, scope)
  }

  /** Once: when its scope has closed, or its time is over. */
  private closed(): void {
    if (!this.counts) return
    this.counts = false
    this.timer?.interruptUnsafe()
    if (this.connected) this.book.tell("disconnected", this.entry.address)
    this.book.vacate(this.entry)
  }
}
