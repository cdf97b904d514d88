/**
 * Streams of address lists for `BalancePool`, from whatever can be asked for
 * addresses: DNS, a registry, a file.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as MutableHashMap from "effect/MutableHashMap"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { distinct, Lookups } from "./internal/addressLookups.ts"
import { defaultBackoff, integer, millis } from "./internal/options.ts"

/**
 * How to look up addresses again and again.
 *
 * @category options
 * @since 0.1.0
 */
export interface LookupOptions<A, E> {
  /**
   * The time between an answer and the next lookup, at least 100 ms. Default 30
   * seconds, jittered; when it ends, so does the stream.
   */
  readonly schedule?: Schedule.Schedule<unknown, ReadonlyArray<A>> | undefined
  /**
   * The time between a failed lookup and the next, at least 100 ms; an answer
   * starts it again, and so does its end. Default exponential from 100 ms to 5 s,
   * jittered.
   */
  readonly retry?: Schedule.Schedule<unknown, Cause.Cause<E | Cause.TimeoutError>> | undefined
  /** The time that a lookup may take. Default 5 seconds; a lookup must let itself be interrupted. */
  readonly timeout?: Duration.Input | undefined
  /**
   * An answer without addresses: `"keep"` the last list, as if the lookup had
   * failed, or `"accept"` it, so that all connections retire and callers wait.
   * Default `"keep"`.
   */
  readonly empty?: "keep" | "accept" | undefined
  /**
   * How many answers in a row must leave an address out before it leaves the
   * list; for servers that answer with some of many addresses. Default 1.
   */
  readonly misses?: number | undefined
}

/**
 * Looks up addresses on a schedule, and emits a list when it differs from the
 * one before.
 *
 * **Details**
 *
 * The first lookup starts at once. A lookup that fails, dies or takes too long
 * emits nothing, so the last good list stays; the first of a row logs a
 * warning. Lists are compared by value as sets: another order, or an address
 * twice, is no change. The stream never fails, and has no timer while nobody
 * pulls.
 *
 * Effect's `AddressResolver` and `Dns` are such lookups:
 * `Effect.flatMap(AddressResolver.AddressResolver, (resolver) => resolver.resolve("db.internal:5432"))`.
 *
 * **Gotchas**
 *
 * Operating systems and resolvers cache for as long as a record's TTL says: a
 * shorter `schedule` than that finds nothing new.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromLookup = <A, E, R>(
  lookup: Effect.Effect<ReadonlyArray<A>, E, R>,
  options?: LookupOptions<NoInfer<A>, NoInfer<E>> | undefined
): Stream.Stream<ReadonlyArray<A>, never, R> =>
  Stream.fromPull(
    Effect.sync(() => {
      const empty = options?.empty ?? "keep"
      if (empty !== "keep" && empty !== "accept") {
        throw new RangeError(`Addresses: empty must be "keep" or "accept", got ${JSON.stringify(empty)}`)
      }
      const lookups = new Lookups<A, E, R>(lookup, {
        schedule: options?.schedule ?? Schedule.jittered(Schedule.spaced("30 seconds")),
        retry: options?.retry ?? defaultBackoff,
        timeout: millis("Addresses", "timeout", options?.timeout, "5 seconds", "positive"),
        acceptsEmpty: empty === "accept",
        misses: integer("Addresses", "misses", options?.misses, 1, 1, Infinity)
      })
      return lookups.next
    })
  )

/**
 * What counts of a DNS `SRV` record, as Effect's `Dns` and `node:dns` name it.
 *
 * @category models
 * @since 0.1.0
 */
export interface SrvRecord {
  readonly target: string
  readonly port: number
  /** Lower is better. */
  readonly priority: number
}

/**
 * A host name, or an address, and a port.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostPort {
  readonly host: string
  readonly port: number
}

/**
 * Options of {@link fromSrv}.
 *
 * @category options
 * @since 0.1.0
 */
export interface SrvOptions<A, E, E2, R2> extends LookupOptions<A, E | E2> {
  /** Finds the addresses of one target, within `timeout`. Without it the target's name and port are its address. */
  readonly resolve: (target: HostPort) => Effect.Effect<ReadonlyArray<A>, E2, R2>
}

/**
 * Looks up `SRV` records on a schedule, and emits the targets with the best
 * priority, or their addresses.
 *
 * **Details**
 *
 * With `resolve` each target is resolved to addresses, of which each counts by
 * itself. A target that cannot be resolved keeps its last addresses; where a
 * priority yields none, the next one is taken. Records without a usable port
 * or target are left out; the target `.` says that there is no such service.
 * Weights are not used: a balance gives each address as many connections.
 *
 * **Gotchas**
 *
 * A worse priority is used where a better one has no addresses, not where they
 * do not answer.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromSrv: {
  <A, E, R, E2, R2>(
    lookup: Effect.Effect<ReadonlyArray<SrvRecord>, E, R>,
    options: SrvOptions<A, NoInfer<E>, E2, R2>
  ): Stream.Stream<ReadonlyArray<A>, never, R | R2>
  <E, R>(
    lookup: Effect.Effect<ReadonlyArray<SrvRecord>, E, R>,
    options?: LookupOptions<HostPort, NoInfer<E>> | undefined
  ): Stream.Stream<ReadonlyArray<HostPort>, never, R>
} = <E, R>(
  lookup: Effect.Effect<ReadonlyArray<SrvRecord>, E, R>,
  options?: Partial<SrvOptions<any, any, any, any>>
): Stream.Stream<ReadonlyArray<any>, never, any> =>
  Stream.suspend(() => {
    const timeout = Duration.millis(millis("Addresses", "timeout", options?.timeout, "5 seconds", "positive"))
    const targets = new Targets((target) =>
      Effect.timeout(options?.resolve === undefined ? Effect.succeed([target]) : options.resolve(target), timeout)
    )
    return fromLookup(
      Effect.flatMap(Effect.timeout(lookup, timeout), (records) => targets.addresses(byPriority(records))),
      // Each question has its own time, so that one without an answer does not spoil the others.
      { ...options, timeout: Infinity }
    )
  })

/**
 * A list that never changes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const constant = <A>(addresses: Iterable<A>): Stream.Stream<ReadonlyArray<A>> =>
  Stream.sync(() => distinct(Array.from(addresses)))

/** Usable targets, best priority first. */
const byPriority = (records: ReadonlyArray<SrvRecord>): ReadonlyArray<ReadonlyArray<HostPort>> => {
  const groups = new Map<number, Array<HostPort>>()
  for (const { port, priority, target } of records) {
    // DNS names end with a dot, which a certificate's names do not.
    const host = target.endsWith(".") ? target.slice(0, -1) : target
    if (host === "" || !Number.isInteger(port) || port < 1 || port > 65_535) continue
    const group = groups.get(priority)
    if (group === undefined) groups.set(priority, [{ host, port }])
    else group.push({ host, port })
  }
  return [...groups].toSorted(([a], [b]) => a - b).map(([, group]) => distinct(group))
}

/** Resolves targets, and answers with the last good addresses of those where there are none now. */
class Targets<A, E, R> {
  private readonly resolve: (target: HostPort) => Effect.Effect<ReadonlyArray<A>, E, R>
  private last = MutableHashMap.empty<HostPort, ReadonlyArray<A>>()

  constructor(resolve: (target: HostPort) => Effect.Effect<ReadonlyArray<A>, E, R>) {
    this.resolve = resolve
  }

  /** The addresses of the first group that has any; the first failure if none has. */
  addresses(groups: ReadonlyArray<ReadonlyArray<HostPort>>): Effect.Effect<ReadonlyArray<A>, E, R> {
    const before = this.last
    // Targets that are not named any more are forgotten.
    this.last = MutableHashMap.empty()
    for (const target of groups.flat()) {
      const kept = MutableHashMap.get(before, target)
      if (kept._tag === "Some") MutableHashMap.set(this.last, target, kept.value)
    }
    return this.ofFirst(groups, undefined)
  }

  private ofFirst(
    groups: ReadonlyArray<ReadonlyArray<HostPort>>,
    failure: Cause.Cause<E> | undefined
  ): Effect.Effect<ReadonlyArray<A>, E, R> {
    const [group, ...rest] = groups
    if (group === undefined) return failure === undefined ? Effect.succeed([]) : Effect.failCause(failure)
    const resolved = Effect.forEach(group, (target) => this.ofOne(target), { concurrency: 32 })
    return Effect.flatMap(resolved, (exits) => {
      const found = exits.flatMap((exit) => (Exit.isSuccess(exit) ? exit.value : []))
      return found.length > 0 ? Effect.succeed(found) : this.ofFirst(rest, failure ?? exits.find(Exit.isFailure)?.cause)
    })
  }

  private ofOne(target: HostPort): Effect.Effect<Exit.Exit<ReadonlyArray<A>, E>, never, R> {
    return Effect.map(Effect.exit(Effect.suspend(() => this.resolve(target))), (exit) => {
      if (Exit.isSuccess(exit) && exit.value.length > 0) MutableHashMap.set(this.last, target, exit.value)
      const kept = MutableHashMap.get(this.last, target)
      return kept._tag === "Some" ? Exit.succeed(kept.value) : exit
    })
  }
}
