/**
 * A bounded queue of requests in front of a pool.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { ConnectionPool, Lease, PoolError } from "./ConnectionPool.ts"
import { integer, millis } from "./internal/options.ts"
import { Requests } from "./internal/requestQueue.ts"

/**
 * Sends requests over the connections of a pool, in the order they came.
 *
 * @category models
 * @since 0.1.0
 */
export interface RequestQueue<in Request, out Reply, out E = never> {
  /**
   * Sends a request and waits for its reply. Interrupting it takes the request
   * out of the queue, or interrupts the send that is under way.
   */
  readonly send: (request: Request) => Effect.Effect<Reply, E | PoolError>
  /**
   * Answers requests in the queue, and newcomers, with `Closed`, lets those in
   * flight finish until `deadline` (default: `drainDeadline`), then answers them
   * with `Closed` too. Ends when nothing is in flight. Terminal, idempotent;
   * the pool is left alone.
   */
  readonly drain: (options?: { readonly deadline?: Duration.Input | undefined }) => Effect.Effect<void>
  readonly stats: Effect.Effect<RequestQueueStats>
}

/**
 * A snapshot of a queue. The first three fields are levels; those after
 * `concurrency` count since the queue was made.
 *
 * @category models
 * @since 0.1.0
 */
export interface RequestQueueStats {
  /** Requests in the queue, at most `capacity`. */
  readonly queued: number
  /** Requests whose senders wait for room in the queue. */
  readonly suspended: number
  /** Requests that wait for a connection or a reply. */
  readonly inFlight: number
  readonly capacity: number
  readonly concurrency: number
  /** Requests that were handed to a connection. */
  readonly forwarded: number
  /** Tries on another connection. */
  readonly retried: number
  readonly succeeded: number
  /** Requests answered with an error, `Closed` included. */
  readonly failed: number
  /** Requests answered with `QueueFull`. */
  readonly dropped: number
  /** Requests whose sender was interrupted. */
  readonly interrupted: number
}

/**
 * Synchronous callbacks on requests. All are optional; one that throws is
 * reported as a debug log and harms nobody. Durations are milliseconds since
 * the request was sent.
 *
 * @category models
 * @since 0.1.0
 */
export interface RequestObserver<in Request, in E> {
  /** It joined the queue, or went right through. */
  readonly queued?: ((request: Request) => void) | undefined
  /** It was handed to a connection; again for each try. */
  readonly forwarded?: ((request: Request, elapsed: number) => void) | undefined
  /** It was not sent because of `error`, and will be tried on another connection. */
  readonly retried?: ((request: Request, error: E, tries: number) => void) | undefined
  /** It was answered with `QueueFull`. */
  readonly dropped?: ((request: Request) => void) | undefined
  /** It was answered, be it with `Closed`; not told when its sender was interrupted. */
  readonly answered?: ((request: Request, exit: Exit.Exit<unknown, E>, elapsed: number) => void) | undefined
  /** The queue has drained. */
  readonly closed?: (() => void) | undefined
}

/**
 * Options of a queue.
 *
 * @category options
 * @since 0.1.0
 */
export interface RequestQueueOptions<Conn, Request, Reply, E, R, EP, EX, RX> {
  /** The pool whose connections carry the requests. Wrap one that exists in `Effect.succeed`. */
  readonly pool: Effect.Effect<ConnectionPool<void, Conn, EP>, EX, RX>
  /** Sends a request on a connection and waits for its reply. */
  readonly send: (
    connection: NoInfer<Conn>,
    request: Request,
    lease: Lease<NoInfer<Conn>>
  ) => Effect.Effect<Reply, E, R>
  /** Requests in the queue, those in flight not counted. Default 100, minimum 0. */
  readonly capacity?: number | undefined
  /**
   * What happens when the queue is full: the sender waits, the new request is
   * dropped, or the oldest one. Default `"suspend"`.
   */
  readonly strategy?: "suspend" | "dropping" | "sliding" | undefined
  /**
   * Requests in flight at once. Default the pool's `maxSize`, minimum 1; for a
   * pool of shared connections, `maxSize` times the requests that each takes.
   */
  readonly concurrency?: number | undefined
  /**
   * Whether a request that failed with this error was certainly not sent, so
   * that another connection may try. Default: never.
   */
  readonly isUnsent?: ((error: NoInfer<E> | NoInfer<EP> | PoolError) => boolean) | undefined
  /** Connections that may try an unsent request, the first included. Default 3, minimum 1. */
  readonly maxTries?: number | undefined
  /**
   * Whether a connection may carry other requests after this one ended so.
   * Default: after an error, but not after an interruption or a defect, because
   * the reply may still come. After an unsent request it never may.
   */
  readonly reusable?: ((cause: Cause.Cause<NoInfer<E>>) => boolean) | undefined
  /** How long requests in flight may finish after the queue's scope closes. Default 0. */
  readonly drainDeadline?: Duration.Input | undefined
  /** Is told what happens to requests. */
  readonly observer?: RequestObserver<NoInfer<Request>, NoInfer<E> | NoInfer<EP> | PoolError> | undefined
}

/**
 * Makes a queue that lives as long as the current scope.
 *
 * **Details**
 *
 * Requests are sent in the order they came, `concurrency` at once. Every
 * request is answered: with its reply, its error, `QueueFull` or `Closed`; one
 * that may have been sent is never sent again. There is no time limit in the
 * queue: put `Effect.timeout` around `send`, which takes the request out.
 *
 * **Gotchas**
 *
 * Callers that send a request from within `send` of the same queue can wait
 * for themselves.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <Conn, Request, Reply, E, R, EP, EX, RX>(
  options: RequestQueueOptions<Conn, Request, Reply, E, R, EP, EX, RX>
): Effect.Effect<RequestQueue<Request, Reply, E | EP>, EX, R | RX | Scope.Scope> =>
  Effect.gen(function* () {
    const pool = yield* options.pool
    const context = yield* Effect.context<R>()
    const { maxSize } = yield* pool.stats
    return yield* Effect.acquireRelease(
      Effect.sync(() => new Requests<Conn, Request, Reply, E, EP>(pool, settings(options, maxSize), context as never)),
      (requests) => requests.drain()
    )
  })

/**
 * Makes a layer that provides a queue as `tag`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, Conn, Request, Reply, E, R, EP, EX, RX>(
  tag: Context.Service<I, RequestQueue<Request, Reply, E | EP>>,
  options: RequestQueueOptions<Conn, Request, Reply, E, R, EP, EX, RX>
): Layer.Layer<I, EX, Exclude<R | RX, Scope.Scope>> => Layer.effect(tag, make(options))

const settings = <Conn, Request, Reply, E, R, EP, EX, RX>(
  options: RequestQueueOptions<Conn, Request, Reply, E, R, EP, EX, RX>,
  maxSize: number
) => {
  const kind = "RequestQueue"
  const strategy = options.strategy ?? "suspend"
  if (strategy !== "suspend" && strategy !== "dropping" && strategy !== "sliding") {
    throw new RangeError(
      `${kind}: strategy must be "suspend", "dropping" or "sliding", got ${JSON.stringify(strategy)}`
    )
  }
  return {
    // Runs in the context that `make` captured.
    send: options.send as (connection: Conn, request: Request, lease: Lease<Conn>) => Effect.Effect<Reply, E>,
    capacity: integer(kind, "capacity", options.capacity, 100, 0, Infinity),
    strategy,
    concurrency: integer(kind, "concurrency", options.concurrency, maxSize, 1, Infinity),
    isUnsent: options.isUnsent ?? (() => false),
    maxTries: integer(kind, "maxTries", options.maxTries, 3, 1, Infinity),
    reusable: options.reusable ?? isAnswer,
    drainDeadline: millis(kind, "drainDeadline", options.drainDeadline, 0, 0),
    observer: options.observer
  } as const
}

const isAnswer = (cause: Cause.Cause<unknown>): boolean => !Cause.hasInterrupts(cause) && !Cause.hasDies(cause)
