/**
 * Laws of connections that leave the pool while it is open.
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { advance, borrow, borrowOnce, equal, type Laws, settle, truth } from "./scene.ts"

export const evicting: Laws = [
  [
    "an invalidated connection is not closed under its borrower and never lent again",
    Effect.fnUntraced(function* ({ peer, pool }) {
      const holder = yield* borrow(pool)
      const { id } = holder.lease().info
      yield* holder.lease().invalidate
      yield* settle
      equal(peer.closed(), [], "connections closed while lent")
      yield* holder.leave
      equal((yield* pool.stats).closed, 1, "closed connections after the return")
      truth((yield* borrowOnce(pool)) !== id, "an invalidated connection was lent again")
    })
  ],
  [
    "retain drops idle connections now",
    Effect.fnUntraced(function* ({ pool }) {
      const id = yield* borrowOnce(pool)
      yield* pool.retain((_, info) => info.id === id)
      equal(yield* borrowOnce(pool), id, "the connection after it was retained")
      yield* pool.retain((_, info) => info.id !== id)
      yield* settle
      equal((yield* pool.stats).closed, 1, "closed connections")
      truth((yield* borrowOnce(pool)) !== id, "a connection that was not retained was lent again")
    })
  ],
  [
    "retain reaches used connections, which close when they are returned",
    Effect.fnUntraced(function* ({ peer, pool }) {
      const holder = yield* borrow(pool)
      const { id } = holder.lease().info
      yield* pool.retain(() => false)
      yield* settle
      equal(peer.closed(), [], "connections closed while lent")
      yield* holder.leave
      equal((yield* pool.stats).closed, 1, "closed connections after the return")
      truth((yield* borrowOnce(pool)) !== id, "a connection that was not retained was lent again")
    })
  ],
  [
    "a guard rejects idle connections at borrow and used ones at return, while its scope is open",
    Effect.fnUntraced(function* ({ pool }) {
      const rejected = new Set([yield* borrowOnce(pool)])
      const scope = Scope.makeUnsafe()
      yield* Scope.provide(
        pool.guard((_, info) => !rejected.has(info.id)),
        scope
      )
      const holder = yield* borrow(pool)
      const { id } = holder.lease().info
      truth(!rejected.has(id), "a connection that a guard rejects was lent")
      rejected.add(id)
      yield* holder.leave
      const third = yield* borrowOnce(pool)
      truth(!rejected.has(third), "a connection that a guard rejected when it was returned was lent again")
      equal((yield* pool.stats).closed, 2, "closed connections")
      yield* Scope.close(scope, Exit.void)
      rejected.add(third)
      equal(yield* borrowOnce(pool), third, "the connection after the guard's scope has closed")
    })
  ],
  [
    "a predicate that throws evicts and harms nobody",
    Effect.fnUntraced(function* ({ pool }) {
      yield* borrowOnce(pool)
      yield* pool.retain(() => {
        throw new Error("from a predicate")
      })
      yield* settle
      equal((yield* pool.stats).closed, 1, "closed connections")
      yield* borrowOnce(pool)
    })
  ],
  [
    "a close that dies harms nobody",
    Effect.fnUntraced(function* ({ peer, pool }) {
      peer.onClose(() => Effect.die(new Error("from a close")))
      const holder = yield* borrow(pool)
      yield* holder.lease().invalidate
      yield* holder.leave
      equal(holder.outcome(), "success", "how the borrower ended")
      yield* borrowOnce(pool)
    })
  ],
  [
    "no connection closes while it is lent",
    Effect.fnUntraced(function* ({ maxSize, peer, pool }) {
      const holders = yield* Effect.replicateEffect(borrow(pool), Math.min(maxSize, 3))
      for (const holder of holders) yield* holder.lease().invalidate
      yield* pool.retain(() => false)
      yield* pool.guard(() => true)
      yield* advance("1 minute")
      equal(peer.closed(), [], "connections closed while lent")
      for (const holder of holders) yield* holder.leave
    })
  ]
]
