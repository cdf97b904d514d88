/**
 * Connections to many addresses of one service.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { ConnectionLimit } from "./ConnectionLimit.ts"
import type { ConnectionPool } from "./ConnectionPool.ts"
import type * as Connector from "./Connector.ts"
import { Balancer } from "./internal/addressBalancer.ts"
import { AddressBook } from "./internal/addressBook.ts"
import { AddressLimit } from "./internal/addressLimit.ts"
import { defaultBackoff, integer, millis } from "./internal/options.ts"

/**
 * What the inner pool is built with.
 *
 * @category models
 * @since 0.1.0
 */
export interface Grant {
  /**
   * Give it to the inner pool as its `limit` option. Without it callers for
   * whom no address has room wait inside an attempt, within the inner pool's
   * `connectTimeout`.
   */
  readonly limit: ConnectionLimit
}

/**
 * Synchronous callbacks on the addresses of a balance. All are optional; one
 * that throws is reported as a debug log and harms nobody. Durations are
 * milliseconds.
 *
 * **Details**
 *
 * Each `connecting` is followed by exactly one of `connected`, `failed` and
 * `aborted`, each `connected` by one `disconnected`, each `setAside` by one
 * `back` or `removed` unless the pool closes first.
 *
 * @category models
 * @since 0.1.0
 */
export interface AddressObserver<in Addr, in E> {
  readonly added?: ((address: Addr) => void) | undefined
  readonly removed?: ((address: Addr) => void) | undefined
  readonly connecting?: ((address: Addr) => void) | undefined
  readonly connected?: ((address: Addr, elapsed: number) => void) | undefined
  readonly failed?: ((address: Addr, cause: Cause.Cause<E>, elapsed: number) => void) | undefined
  /** The pool gave the attempt up, or the address left the list. */
  readonly aborted?: ((address: Addr, elapsed: number) => void) | undefined
  /** The connection's close has ended, or took longer than `closeTimeout`. */
  readonly disconnected?: ((address: Addr) => void) | undefined
  /** No connects to it for `duration`, unless all addresses are set aside. */
  readonly setAside?: ((address: Addr, duration: number, cause: Cause.Cause<E>) => void) | undefined
  /** Observing it takes a timer while an address is set aside. */
  readonly back?: ((address: Addr) => void) | undefined
}

/**
 * Options of a balance.
 *
 * @category options
 * @since 0.1.0
 */
export interface BalancePoolOptions<Addr, B, E, R, Conn, EP, RP, RA> {
  /**
   * The addresses there are; each list replaces the one before. Its end or
   * failure keeps the last list. Addresses are compared by value.
   */
  readonly addresses: Stream.Stream<ReadonlyArray<Addr>, unknown, RA>
  /** Opens a connection to an address. It should fail where the service does not answer, not only where nobody listens. */
  readonly connect: Connector.Connector<Addr, B, E, R>
  /** Builds the one pool that lends the connections. `order: "fifo"` spreads requests over them in turn. */
  readonly pool: (
    connect: Connector.Connector<void, B, E | Cause.TimeoutError, Scope.Scope>,
    grant: Grant
  ) => Effect.Effect<ConnectionPool<void, Conn, EP>, never, RP>
  /** Connections to each address, connecting ones included. Default `Infinity`, minimum 1. */
  readonly connectionsPerAddress?: number | undefined
  /**
   * The time that a connect to one address may take, before it counts as failed
   * and another address is tried. Default 3 seconds, longer than zero. The inner
   * pool's `connectTimeout` is for all tries of an attempt together.
   */
  readonly connectTimeout?: Duration.Input | undefined
  /** After it a close that has not ended stops counting for its address. Default 5 seconds, minimum 0. */
  readonly closeTimeout?: Duration.Input | undefined
  /** How long an address whose connect failed is set aside. Default exponential from 100 ms to 5 s, jittered. */
  readonly setAside?: Schedule.Schedule<unknown, Cause.Cause<NoInfer<E> | Cause.TimeoutError>> | undefined
  /** A limit that this pool shares with others. */
  readonly limit?: ConnectionLimit | undefined
  /** Is told what happens to addresses. */
  readonly observer?: AddressObserver<NoInfer<Addr>, NoInfer<E> | Cause.TimeoutError> | undefined
}

/**
 * Makes a pool whose connections are spread over the addresses of a service.
 *
 * **Details**
 *
 * Which address is next is decided when a connection is opened: the one with
 * the fewest connections, ties at random, so no address gets its second before
 * all have a first. An address whose connect fails is set aside for a while and
 * the connect goes on to another one at once; it fails only when all addresses
 * are set aside, and waits where the others are merely full. Of addresses that
 * are all set aside the one that is back first stays eligible. Connections of
 * addresses that leave the list retire, connects to them are aborted; an
 * address that returns starts clean. Without any address callers wait. The
 * address is in the connection's annotations as `address`.
 *
 * **Gotchas**
 *
 * Connections that are open stay where they are: an address that is added
 * gets its share as connections are replaced. `ExpirePool` with `maxLifetime`
 * sees to that.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <Addr, B, E, R, Conn, EP, RP, RA>(
  options: BalancePoolOptions<Addr, B, E, R, Conn, EP, RP, RA>
): Effect.Effect<ConnectionPool<void, Conn, EP>, never, Exclude<R | RP | RA, Scope.Scope> | Scope.Scope> =>
  Effect.gen(function* () {
    const cap = integer("BalancePool", "connectionsPerAddress", options.connectionsPerAddress, Infinity, 1, Infinity)
    const connectTimeout = millis("BalancePool", "connectTimeout", options.connectTimeout, "3 seconds", "positive")
    const closeTimeout = millis("BalancePool", "closeTimeout", options.closeTimeout, "5 seconds", 0)
    const scope = yield* Effect.scope
    // Without this scope: each connection has its own.
    const context = Context.omit(Scope.Scope)(yield* Effect.context<Scope.Scope>())
    const run = Effect.runForkWith(context)
    const clock = yield* Clock.Clock
    const schedule = (options.setAside ?? defaultBackoff) as Schedule.Schedule<unknown, Cause.Cause<unknown>>
    const observer = options.observer as AddressObserver<Addr, unknown> | undefined
    const book = new AddressBook<Addr>(cap, schedule, run, clock, observer)
    yield* Effect.addFinalizer(() => Effect.sync(() => book.close()))
    const limit = new AddressLimit(book as AddressBook<unknown>, options.limit)
    const settings = { clock, run, scope, connectTimeout, closeTimeout }
    const balancer = new Balancer<Addr, B, E>(book, limit, settings, (address) =>
      Effect.provideContext(Effect.suspend(() => options.connect(address)) as Effect.Effect<B, E, Scope.Scope>, context)
    )
    const pool = yield* options.pool(balancer.connector, { limit })
    // Between the pools of an inner stack a connection can be out of the reach of `retain`.
    yield* pool.guard(balancer.isCurrent)
    yield* options.addresses.pipe(
      Stream.runForEach((list) => {
        const { added, removed } = book.update(list)
        if (added) limit.renew()
        return removed ? pool.retain(balancer.isCurrent) : Effect.void
      }),
      Effect.ignoreCause({ log: "Warn", message: "The addresses of a BalancePool failed; the last list stays" }),
      Effect.forkScoped({ startImmediately: true })
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
