/**
 * Laws of pools that lend a connection to several borrowers.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as TestConnector from "../../testing/TestConnector.ts"
import { borrow, equal, type Laws, settle, truth } from "./scene.ts"

export const shared: Laws = [
  [
    "a cold burst opens no more than maxSize connections, and all are served",
    Effect.fnUntraced(function* ({ maxSize, peer, pool }) {
      const gate = Deferred.makeUnsafe<void>()
      peer.script(...Array.from({ length: maxSize }, () => TestConnector.gated(gate)))
      const callers = yield* Effect.replicateEffect(borrow(pool), 5)
      truth(peer.attempts() <= maxSize, `${peer.attempts()} attempts for ${maxSize} connections`)
      Deferred.doneUnsafe(gate, Exit.void)
      yield* settle
      for (const caller of callers) truth(caller.holds(), "a caller of the burst was not served")
      truth(peer.live() <= maxSize, `${peer.live()} connections are open`)
      for (const caller of callers) yield* caller.leave
    })
  ],
  [
    "a connection that is invalidated serves its other borrowers to the end, and nobody else",
    Effect.fnUntraced(function* ({ peer, pool }) {
      const first = yield* borrow(pool)
      const second = yield* borrow(pool)
      const { id } = first.lease().info
      truth(second.holds(), "the second borrower was not served")
      yield* first.lease().invalidate
      yield* first.leave
      const third = yield* borrow(pool)
      truth(third.holds(), "no new connection was opened while the old one drains")
      truth(third.lease().info.id !== id, "an invalidated connection was lent again")
      equal(peer.closed(), [], "connections closed while lent")
      yield* second.leave
      yield* third.leave
    })
  ],
  [
    "an old lease cannot clear the connection that came after its own",
    Effect.fnUntraced(function* ({ pool }) {
      const first = yield* borrow(pool)
      const second = yield* borrow(pool)
      yield* first.lease().invalidate
      if (second.lease().info.id !== first.lease().info.id) yield* second.lease().invalidate
      const third = yield* borrow(pool)
      yield* second.lease().invalidate
      yield* first.leave
      yield* second.leave
      const fourth = yield* borrow(pool)
      equal(fourth.lease().info.id, third.lease().info.id, "the connection that is lent now")
      yield* third.leave
      yield* fourth.leave
    })
  ]
]
