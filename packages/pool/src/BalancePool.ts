/**
 * Connections to many addresses of one service.
 *
 * @since 0.1.0
 */
import type { Cause } from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ConnectionLimit } from "./ConnectionLimit.ts"
import type { ConnectionPool } from "./ConnectionPool.ts"
import * as Connector from "./Connector.ts"
import { AddressBook, type Entry } from "./internal/addressBook.ts"
import { AddressLimit } from "./internal/addressLimit.ts"
import { defaultBackoff, integer } from "./internal/options.ts"

/**
 * What the inner pool is built with.
 *
 * @category models
 * @since 0.1.0
 */
export interface Grant {
  /**
   * Give it to the inner pool as its `limit` option. Without it callers for
   * whom no address has room wait inside an attempt, within `connectTimeout`.
   */
  readonly limit: ConnectionLimit
}

/**
 * Options of a balance.
 *
 * @category options
 * @since 0.1.0
 */
export interface BalancePoolOptions<Addr, B, E, R, Conn, EP, RP, RA> {
  /** The addresses there are; each list replaces the one before. Its end or failure keeps the last list. */
  readonly addresses: Stream.Stream<ReadonlyArray<Addr>, unknown, RA>
  /** Opens a connection to an address. */
  readonly connect: Connector.Connector<Addr, B, E, R>
  /** Builds the one pool that lends the connections. `order: "fifo"` spreads requests over them in turn. */
  readonly pool: (
    connect: Connector.Connector<void, B, E, Scope.Scope>,
    grant: Grant
  ) => Effect.Effect<ConnectionPool<void, Conn, EP>, never, RP>
  /** Connections to each address, connecting ones included. Default `Infinity`, minimum 1. */
  readonly connectionsPerAddress?: number | undefined
  /** How long an address whose connect failed is set aside. Default exponential from 100 ms to 5 s, jittered. */
  readonly setAside?: Schedule.Schedule<unknown, Cause<E>> | undefined
  /** A limit that this pool shares with others. */
  readonly limit?: ConnectionLimit | undefined
}

/**
 * Makes a pool whose connections are spread over the addresses of a service.
 *
 * **Details**
 *
 * Which address is next is decided when a connection is opened: the one with
 * the fewest connections, ties at random, so no address gets its second before
 * all have a first. An address whose connect fails is set aside for a while and
 * the connect goes on to another one at once; one address always stays
 * eligible. Connections of addresses that leave the list retire; an address
 * that returns starts clean. Without any address callers wait. The address is
 * in the connection's annotations as `address`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <Addr, B, E, R, Conn, EP, RP, RA>(
  options: BalancePoolOptions<Addr, B, E, R, Conn, EP, RP, RA>
): Effect.Effect<ConnectionPool<void, Conn, EP>, never, Exclude<R | RP | RA, Scope.Scope> | Scope.Scope> =>
  Effect.gen(function* () {
    const cap = integer("BalancePool", "connectionsPerAddress", options.connectionsPerAddress, Infinity, 1, Infinity)
    // Without this scope: each connection has its own.
    const context = Context.omit(Scope.Scope)(yield* Effect.context<Scope.Scope>())
    const clock = yield* Clock.Clock
    const schedule = (options.setAside ?? defaultBackoff) as Schedule.Schedule<unknown, Cause<unknown>>
    const book = new AddressBook<Addr>(cap, schedule, Effect.runForkWith(context), clock)
    const balancer = new Balancer<Addr, B, E>(book, (address) =>
      Effect.provideContext(Effect.suspend(() => options.connect(address)) as Effect.Effect<B, E, Scope.Scope>, context)
    )
    const limit = new AddressLimit(book as AddressBook<unknown>, options.limit)
    const pool = yield* options.pool(balancer.connector, { limit })
    yield* options.addresses.pipe(
      Stream.runForEach((list) => (book.update(list) ? pool.retain(balancer.isCurrent) : Effect.void)),
      Effect.ignoreCause({ log: "Warn", message: "The addresses of a BalancePool failed; the last list stays" }),
      Effect.forkScoped
    )
    return pool
  }) as never

/**
 * Makes a layer that provides a balance as `tag`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, Addr, B, E, R, Conn, EP, RP, RA>(
  tag: Context.Service<I, ConnectionPool<void, Conn, EP>>,
  options: BalancePoolOptions<Addr, B, E, R, NoInfer<Conn>, NoInfer<EP>, RP, RA>
): Layer.Layer<I, never, Exclude<R | RP | RA, Scope.Scope>> => Layer.effect(tag, make(options)) as never

class Balancer<Addr, B, E> {
  private readonly book: AddressBook<Addr>
  private readonly connectTo: (address: Addr) => Effect.Effect<B, E, Scope.Scope>
  /** By a connection's annotations, which are its own from the attempt on. */
  private readonly entryOf = new WeakMap<ReadonlyMap<string, unknown>, Entry<Addr>>()

  constructor(book: AddressBook<Addr>, connectTo: (address: Addr) => Effect.Effect<B, E, Scope.Scope>) {
    this.book = book
    this.connectTo = connectTo
  }

  readonly connector: Connector.Connector<void, B, E, Scope.Scope> = () =>
    Effect.flatMap(Random.Random, (random) => this.attempt(new Set(), undefined, () => random.nextDoubleUnsafe()))

  readonly isCurrent = (_: unknown, info: { readonly annotations: ReadonlyMap<string, unknown> }): boolean =>
    this.entryOf.get(info.annotations)?.removed !== true

  /** Tries one address after another until one connects. */
  private attempt(
    tried: ReadonlySet<Entry<Addr>>,
    failure: Cause<E> | undefined,
    random: () => number
  ): Effect.Effect<B, E, Scope.Scope> {
    return Effect.suspend(() => {
      const entry = this.book.choose(tried, random)
      if (entry !== undefined) return this.tryOne(entry, tried, failure, random)
      if (failure !== undefined) return Effect.failCause(failure)
      return Effect.flatMap(this.change, () => this.attempt(new Set(), undefined, random))
    })
  }

  private tryOne(
    entry: Entry<Addr>,
    tried: ReadonlySet<Entry<Addr>>,
    failure: Cause<E> | undefined,
    random: () => number
  ): Effect.Effect<B, E, Scope.Scope> {
    return Effect.uninterruptibleMask((restore) =>
      Effect.flatMap(Effect.scope, (owner) => {
        const scope = this.occupy(entry, owner)
        return Effect.flatMap(Effect.exit(restore(Scope.provide(this.connectTo(entry.address), scope))), (exit) => {
          if (Exit.isSuccess(exit) && !entry.removed) return this.opened(entry, exit.value)
          const closed = Scope.close(scope, exit)
          const next = new Set([...tried, entry])
          if (Exit.isSuccess(exit)) return Effect.andThen(closed, restore(this.attempt(next, failure, random)))
          if (exit.cause.reasons.every((reason) => reason._tag === "Interrupt")) {
            return Effect.andThen(closed, Effect.failCause(exit.cause))
          }
          entry.backoff.failure(exit.cause)
          return Effect.andThen(closed, restore(this.attempt(next, exit.cause, random)))
        })
      })
    )
  }

  /** Counts a connection of `entry` until the scope it returns has closed. */
  private occupy(entry: Entry<Addr>, owner: Scope.Scope): Scope.Closeable {
    const scope = Scope.forkUnsafe(owner)
    entry.connections++
    Effect.runSync(
      Scope.addFinalizer(
        scope,
        Effect.sync(() => {
          entry.connections--
          this.book.changed()
        })
      )
    )
    return scope
  }

  private opened(entry: Entry<Addr>, connection: B): Effect.Effect<B> {
    return Effect.map(Connector.Annotations, (annotations) => {
      entry.backoff.success()
      annotations?.set("address", entry.address)
      if (annotations !== undefined) this.entryOf.set(annotations, entry)
      return connection
    })
  }

  private readonly change: Effect.Effect<void> = Effect.callback((resume) => {
    const stop = this.book.onChange(() => resume(Effect.void))
    return Effect.sync(() => void stop())
  })
}
