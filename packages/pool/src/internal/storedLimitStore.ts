/** What a limit of several processes and the store that keeps it tell each other. */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"

/**
 * The store cannot be reached, or refuses. The message says which and what to look at.
 *
 * @category errors
 * @since 0.1.0
 */
export class ConnectionLimitStoreError extends Data.TaggedError("ConnectionLimitStoreError")<{
  readonly message: string
  readonly cause?: unknown
}> {}

/**
 * Keeps the counts of limits that several processes share.
 *
 * **Details**
 *
 * `exchange` is one atomic step, timed by the store's own clock. `wakes` emits
 * when a member does well to speak before its lease is due; it never fails, and
 * a wake that gets lost costs time and nothing else.
 *
 * @category services
 * @since 0.1.0
 */
export class ConnectionLimitStore extends Context.Service<
  ConnectionLimitStore,
  {
    readonly exchange: (claim: LimitClaim) => Effect.Effect<LimitGrant, ConnectionLimitStoreError>
    readonly wakes: (key: string, member: string) => Stream.Stream<void>
  }
>()("@poolkit/pool/ConnectionLimitStore") {}

/**
 * What a member says in one exchange. Times are milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface LimitClaim {
  readonly key: string
  readonly member: string
  /** Grows with each exchange of a member: a claim that was delayed on its way must not undo a later one. */
  readonly sequence: number
  readonly max: number
  readonly leaseTime: number
  /** Connections that it has, closing ones included. It has given up everything else. */
  readonly held: number
  /** Of these at least so many can close at once. */
  readonly idle: number
  /** So many more its callers wait for. */
  readonly wanted: number
  /** So many more would be of use if nobody waits for them. */
  readonly spare: number
  /** It will not come back. */
  readonly leaving: boolean
}

/**
 * What the store answers. Times are milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface LimitGrant {
  /** Connections that it may have until its lease ends. Less than `held`: it has to close some. */
  readonly granted: number
  /** `max` over all members, in whole connections, at least 1. */
  readonly fairShare: number
  /** Whether others wait for connections. */
  readonly contended: boolean
  /** When to ask again for what it did not get; -1 if no particular time is promising. */
  readonly retryAfter: number
  /** Connections of all members, and how many members there are. */
  readonly used: number
  readonly members: number
  /** Members that the store told to speak. */
  readonly wakes: ReadonlyArray<string>
}
