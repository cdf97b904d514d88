/**
 * Laws of borrowing and returning.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { borrow, borrowOnce, equal, type Laws, nobodyBorrows, settle, settled, succeeded, truth } from "./scene.ts"

export const borrowing: Laws = [
  [
    "nothing is opened before somebody borrows, and one connection serves one borrower after another",
    Effect.fnUntraced(function* ({ peer, pool }) {
      yield* settle
      equal(peer.attempts(), 0, "attempts before the first borrow")
      const ids = [yield* borrowOnce(pool), yield* borrowOnce(pool), yield* borrowOnce(pool)]
      equal(ids, [ids[0], ids[0], ids[0]], "the connections of three borrowers one after another")
      equal(peer.attempts(), 1, "attempts")
    })
  ],
  [
    "use passes on what its body ends with, and returns the connection however it ends",
    Effect.fnUntraced(function* ({ peer, pool }) {
      const error = new Error("from the body")
      equal(yield* settled(Effect.forkChild(pool.use(() => Effect.succeed(7)))), Exit.succeed(7), "a value")
      for (const end of [Effect.fail(error), Effect.die(error)] as ReadonlyArray<Effect.Effect<never, Error>>) {
        const exit = yield* settled(Effect.forkChild(pool.use(() => end)))
        truth(Exit.isFailure(exit) && Cause.squash(exit.cause) === error, "the body's own error or defect was changed")
        yield* nobodyBorrows(pool)
      }
      const holder = yield* borrow(pool)
      yield* holder.interrupt
      yield* nobodyBorrows(pool)
      yield* borrowOnce(pool)
      equal(peer.attempts(), 1, "attempts, as every body returned its connection")
    })
  ],
  [
    "get and lease return the connection when their scope closes",
    Effect.fnUntraced(function* ({ peer, pool }) {
      for (const borrowing of [Effect.asVoid(pool.get()), Effect.asVoid(pool.lease())]) {
        const scope = Scope.makeUnsafe()
        yield* succeeded(yield* settled(Effect.forkChild(Scope.provide(borrowing, scope))), "borrowing for a scope")
        equal((yield* pool.stats).borrowers, 1, "borrowers while the scope is open")
        yield* Scope.close(scope, Exit.void)
        yield* nobodyBorrows(pool)
      }
      equal(peer.attempts(), 1, "attempts")
    })
  ],
  [
    "a scope that has closed borrows nothing",
    Effect.fnUntraced(function* ({ pool }) {
      const scope = Scope.makeUnsafe()
      yield* Scope.close(scope, Exit.void)
      const exit = yield* settled(Effect.forkChild(Scope.provide(pool.get(), scope)))
      truth(Exit.isFailure(exit), "a scope that had closed was lent a connection")
      yield* nobodyBorrows(pool)
    })
  ],
  [
    "releasing a lease ends one loan, however often it is released",
    Effect.fnUntraced(function* ({ pool }) {
      const first = yield* borrow(pool)
      yield* first.lease().release
      const second = yield* borrow(pool)
      yield* first.lease().release
      first.lease().releaseUnsafe()
      yield* first.leave
      equal((yield* pool.stats).borrowers, 1, "borrowers after one of two was released three times")
      yield* second.leave
      yield* nobodyBorrows(pool)
    })
  ],
  [
    "a lease that has ended has no say over its connection",
    Effect.fnUntraced(function* ({ pool }) {
      const first = yield* borrow(pool)
      const { id } = first.lease().info
      yield* first.leave
      const second = yield* borrow(pool)
      yield* first.lease().invalidate
      yield* second.leave
      equal(yield* borrowOnce(pool), id, "the connection after an ended lease was told to invalidate it")
      equal((yield* pool.stats).closed, 0, "closed connections")
    })
  ]
]
