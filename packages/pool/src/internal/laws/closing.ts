/**
 * Laws of draining and closing.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as TestConnector from "../../testing/TestConnector.ts"
import { advance, borrow, borrowOnce, equal, type Laws, outcomeOf, settle, settled, sorted, truth } from "./scene.ts"

export const closing: Laws = [
  [
    "closing the scope fails those who wait and those who come later with Closed, and makes nothing more",
    Effect.fnUntraced(function* ({ close, peer, pool }) {
      peer.script(...Array.from({ length: 100 }, () => TestConnector.hang))
      const callers = yield* Effect.replicateEffect(borrow(pool), 3)
      yield* close
      yield* settle
      for (const caller of callers) equal(caller.outcome(), "Closed", "how a caller ended that waited")
      const attempts = peer.attempts()
      for (const borrowing of [pool.use(() => Effect.void), Effect.scoped(pool.get()), Effect.scoped(pool.lease())]) {
        equal(outcomeOf(yield* settled(Effect.forkChild(borrowing))), "Closed", "how a later call ended")
      }
      yield* advance("1 hour")
      equal(peer.attempts(), attempts, "attempts after the close")
    })
  ],
  [
    "closing the scope closes idle and used connections, each once, and interrupts no borrower",
    Effect.fnUntraced(function* ({ close, maxSize, peer, pool }) {
      const holders = yield* Effect.replicateEffect(borrow(pool), Math.min(maxSize, 3))
      yield* holders.at(-1)!.leave
      yield* Effect.forkChild(close)
      yield* advance("1 hour")
      equal(sorted(peer.closed()), sorted(peer.opened()), "closed connections")
      for (const holder of holders.slice(0, -1)) {
        truth(holder.holds(), "a borrower's body was interrupted")
        yield* holder.leave
        equal(holder.outcome(), "success", "how the borrower ended")
      }
    })
  ],
  [
    "drain lets borrowers finish until its deadline, and ends when they have",
    Effect.fnUntraced(function* ({ peer, pool }) {
      const holder = yield* borrow(pool)
      const drained = yield* Effect.forkChild(pool.drain({ deadline: "10 seconds" }))
      yield* advance(9_999)
      equal(peer.closed(), [], "connections closed before the deadline")
      equal(drained.pollUnsafe(), undefined, "the end of drain before the borrower has left")
      equal(outcomeOf(yield* settled(Effect.forkChild(pool.use(() => Effect.void)))), "Closed", "how a newcomer ended")
      yield* holder.leave
      yield* settled(Effect.succeed(drained), "none", "drain, after the last borrower has left")
    })
  ],
  [
    "at drain's deadline connections close under their borrowers, who are not interrupted",
    Effect.fnUntraced(function* ({ peer, pool }) {
      const holder = yield* borrow(pool)
      const drained = yield* Effect.forkChild(pool.drain({ deadline: "10 seconds" }))
      yield* advance(10_000)
      yield* settled(Effect.succeed(drained), "none", "drain, at its deadline")
      equal((yield* pool.stats).closed, 1, "closed connections")
      truth(holder.holds(), "a borrower's body was interrupted")
      yield* holder.leave
      equal(holder.outcome(), "success", "how the borrower ended")
      equal(peer.attempts(), 1, "attempts")
    })
  ],
  [
    "draining twice, at once or later, is fine",
    Effect.fnUntraced(function* ({ close, pool }) {
      yield* borrowOnce(pool)
      const both = Effect.all([pool.drain(), pool.drain()], { concurrency: 2 })
      yield* settled(Effect.forkChild(both), "hour", "two drains at once")
      yield* settled(Effect.forkChild(pool.drain({ deadline: "1 minute" })), "none", "a drain of a drained pool")
      yield* close
    })
  ],
  [
    "a connect that is in flight when the pool drains is cancelled, or its connection closed",
    Effect.fnUntraced(function* ({ peer, pool }) {
      const gate = Deferred.makeUnsafe<void>()
      peer.script(TestConnector.gated(gate))
      const caller = yield* borrow(pool)
      yield* Effect.forkChild(pool.drain())
      yield* settle
      Deferred.doneUnsafe(gate, Exit.void)
      yield* advance("1 minute")
      equal(caller.outcome(), "Closed", "how the caller ended")
      const { closing, connecting, idle, used } = yield* pool.stats
      equal([connecting, idle, used, closing], [0, 0, 0, 0], "connections of the drained pool")
    })
  ]
]
