/**
 * Running requests over pooled connections.
 *
 * @since 0.1.0
 */
import type { ConnectionPool, Lease, PoolError } from "@poolkit/pool/ConnectionPool"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { HttpConnection, HttpRequest, HttpResponse } from "./HttpConnection.ts"
import { HttpError } from "./HttpError.ts"
import { perform } from "./internal/perform.ts"

/**
 * Sends a request over a connection of a pool, which for a keyed pool is one to
 * `target`, such as an `Origin` of an `HttpPool`. The connection is borrowed until
 * the response body has come off the wire.
 *
 * **Details**
 *
 * The response belongs to the current scope. The connection goes back as soon
 * as the last byte of the body came, read or not; a body that is dropped (its
 * stream left early, the scope closed, the fiber interrupted, the response
 * forgotten) is drained within the connection's bounds in the background, else
 * the connection is destroyed.
 *
 * A connection that turns out to be closed before anything was written costs
 * nothing: the request moves on to another one, at most five times. So it does
 * when a server goes away gracefully and says that it did not act on it, at
 * most twenty times. Apart from that a request is sent again at most once, and
 * only where it cannot do harm: the server refused it, or it was written to a
 * reused HTTP/1.1 connection, the method is idempotent and no byte of a response
 * came. A body that is a stream may have been taken from, and is not sent
 * again. After such a loss the other reused connections are suspect, because
 * servers hang up on many at a time: up to 32 of them are invalidated until the
 * second try has a new one.
 *
 * **Gotchas**
 *
 * A response that is kept unread in a scope that stays open keeps its
 * connection, unless it is small.
 *
 * @category running
 * @since 0.1.0
 */
export const execute: {
  <E>(
    pool: ConnectionPool<void, HttpConnection, E>,
    request: HttpRequest
  ): Effect.Effect<HttpResponse, E | HttpError | PoolError, Scope.Scope>
  <Target, E>(
    pool: ConnectionPool<Target, HttpConnection, E>,
    target: Target,
    request: HttpRequest
  ): Effect.Effect<HttpResponse, E | HttpError | PoolError, Scope.Scope>
} = <Target, E>(
  pool: ConnectionPool<Target, HttpConnection, E>,
  ...args: [HttpRequest] | [Target, HttpRequest]
): Effect.Effect<HttpResponse, E | HttpError | PoolError, Scope.Scope> => {
  const [target, request] = args.length === 1 ? [undefined as Target, args[0]] : args
  return attempt(
    Effect.suspend(() => pool.lease(target)),
    request,
    { replayed: false, moves: 0 }
  )
}

interface History {
  readonly replayed: boolean
  /** How often it moved on. */
  readonly moves: number
  /** It was lost on a reused connection. */
  readonly stale?: boolean
}

/**
 * Requests that move on find at most so many connections closed, or going away,
 * before they give up: a bound on what a peer can do that hangs up on every
 * connection.
 */
const maxMoves = 5

/** Every server that went away gracefully has served others before, so that all get their turn. */
const maxLeaves = 20

type Borrow<E> = Effect.Effect<Lease<HttpConnection>, E | PoolError, Scope.Scope>

const attempt = <E>(
  lease: Borrow<E>,
  request: HttpRequest,
  history: History
): Effect.Effect<HttpResponse, E | HttpError | PoolError, Scope.Scope> =>
  Effect.suspend(() => {
    const { moves, replayed } = history
    let reused = false
    let exclusive = true
    const once = borrow(history.stale ? fresh(lease, maxSuspects) : lease, request, (lease) => {
      reused = lease.info.uses > 1
      exclusive = lease.connection.protocol === "http/1.1"
    })
    return Effect.catch(once, (error) => {
      if (!(error instanceof HttpError)) return Effect.fail(error)
      const { reason, responseStarted, sent } = error
      const lost = reason._tag === "ConnectionLost"
      const refused = reason._tag === "RequestRefused" && !Stream.isStream(request.body)
      const moving = lost ? sent === "none" && (reused || history.stale === true) : refused && reason.graceful
      if (moving && moves < (lost ? maxMoves : maxLeaves))
        return attempt(lease, request, { ...history, moves: moves + 1 })
      // HTTP/2 says which requests it did not act on; about the others nothing is known.
      const stale = lost && exclusive && reused && !responseStarted && isReplayable(request)
      const harmless = stale || refused || (lost && sent === "none")
      return harmless && !replayed ? attempt(lease, request, { replayed: true, moves, stale }) : Effect.fail(error)
    })
  })

/** More than a pool for one origin keeps idle by default. */
const maxSuspects = 32

/** Borrows a connection that was not used before, invalidating up to `tries` that were. */
const fresh = <E>(lease: Borrow<E>, tries: number): Borrow<E> =>
  Effect.flatMap(lease, (taken) =>
    taken.info.uses === 1 || taken.connection.protocol !== "http/1.1" || tries === 0
      ? Effect.succeed(taken)
      : Effect.andThen(Effect.andThen(taken.invalidate, taken.release), fresh(lease, tries - 1))
  )

/** RFC 9110, section 9.2.2. */
const idempotent = new Set(["DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"])

const isReplayable = (request: HttpRequest): boolean => idempotent.has(request.method) && !Stream.isStream(request.body)

/** Borrows for one exchange. The loan has a scope of its own, which ends with the exchange. */
const borrow = <E>(
  take: Borrow<E>,
  request: HttpRequest,
  onLease: (lease: Lease<HttpConnection>) => void
): Effect.Effect<HttpResponse, E | HttpError | PoolError, Scope.Scope> =>
  Effect.uninterruptibleMask((restore) => {
    const loan = Scope.makeUnsafe()
    const lease = Effect.onExit(restore(Scope.provide(take, loan)), (exit) =>
      Exit.isSuccess(exit) ? Effect.void : Scope.close(loan, exit)
    )
    return Effect.flatMap(lease, (lease) => {
      onLease(lease)
      return perform(lease.connection, request, restore, () => {
        // Now rather than on a fiber. Closing the scope gives back what else a stack of pools may hold in it.
        lease.releaseUnsafe()
        const rest = Scope.closeUnsafe(loan, Exit.void)
        if (rest !== undefined) Effect.runFork(rest)
      })
    })
  })
