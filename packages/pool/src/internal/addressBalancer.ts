/**
 * The connector of a balance: chooses an address, connects, and goes on to
 * another one where that fails.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Formatter from "effect/Formatter"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Connector from "../Connector.ts"
import type { AddressBook, Entry } from "./addressBook.ts"
import type { AddressLimit } from "./addressLimit.ts"
import { monotonic } from "./alarm.ts"
import { Handing } from "./handing.ts"
import { NoRoom } from "./noRoom.ts"
import { addFinalizer } from "./scope.ts"

/** What a try ended with that did not come to a connection. */
type Failure<E> = Cause.Cause<E | Cause.TimeoutError>

export class Balancer<Addr, B, E> {
  private readonly book: AddressBook<Addr>
  private readonly clock: Clock.Clock
  private readonly limit: AddressLimit
  private readonly timeout: number
  private readonly connectTo: (address: Addr) => Effect.Effect<B, E, Scope.Scope>

  constructor(
    book: AddressBook<Addr>,
    limit: AddressLimit,
    clock: Clock.Clock,
    timeout: number,
    connectTo: (address: Addr) => Effect.Effect<B, E, Scope.Scope>
  ) {
    this.book = book
    this.limit = limit
    this.clock = clock
    this.timeout = timeout
    this.connectTo = connectTo
  }

  readonly connector: Connector.Connector<void, B, E | Cause.TimeoutError, Scope.Scope> = () =>
    Effect.flatMap(Random.Random, (random) => this.attempt(new Set(), undefined, () => random.nextDoubleUnsafe()))

  /** Does not know connections by themselves: pools may wrap them, and hand them to each other. */
  readonly isCurrent = (_: unknown, info: { readonly annotations: ReadonlyMap<string, unknown> }): boolean =>
    !this.book.hasLeft(info.annotations.get("address") as Addr)

  /** Tries one address after another until one connects. */
  private attempt(
    tried: ReadonlySet<Entry<Addr>>,
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
    tried: ReadonlySet<Entry<Addr>>,
    failure: Failure<E> | undefined,
    random: () => number
  ): Effect.Effect<B, E | Cause.TimeoutError, Scope.Scope> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.scope, (owner) => {
        const connect = new Connect(this.book, entry, owner, monotonic(this.clock))
        const trying = Effect.raceFirst(Scope.provide(this.connectTo(entry.address), connect.scope), this.giveUp(entry))
        return Effect.flatMap(Effect.exit(restore(trying)), (exit) => {
          const elapsed = monotonic(this.clock) - connect.startedAt
          if (Exit.isSuccess(exit) && exit.value !== gone && !entry.removed) {
            connect.succeeded(elapsed)
            return Effect.map(Connector.Annotations, (annotations) => {
              annotations?.set("address", entry.address)
              return exit.value as B
            })
          }
          const closed = Scope.close(connect.scope, Exit.void)
          const isFailure = Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)
          if (isFailure) connect.failed(exit.cause, elapsed)
          else connect.aborted(elapsed)
          if (Exit.isFailure(exit) && !isFailure) return Effect.andThen(closed, Effect.failCause(exit.cause))
          const next = this.attempt(new Set([...tried, entry]), isFailure ? exit.cause : failure, random)
          return Effect.andThen(closed, restore(next))
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
    if (this.timeout === Infinity) return leaving
    const duration = Duration.millis(this.timeout)
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

/** One connection of an address, which counts from the connect until its scope has closed. */
class Connect<Addr> {
  readonly scope: Scope.Closeable
  readonly startedAt: number
  private readonly book: AddressBook<Addr>
  private readonly entry: Entry<Addr>
  private connected = false

  constructor(book: AddressBook<Addr>, entry: Entry<Addr>, owner: Scope.Scope, startedAt: number) {
    this.book = book
    this.entry = entry
    this.startedAt = startedAt
    this.scope = Scope.forkUnsafe(owner)
    book.occupy(entry)
    book.tell("connecting", entry.address)
    addFinalizer(this.scope, this, () => Effect.sync(() => this.closed()))
  }

  succeeded(elapsed: number): void {
    this.connected = true
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

  private closed(): void {
    if (this.connected) this.book.tell("disconnected", this.entry.address)
    this.book.vacate(this.entry)
  }
}
