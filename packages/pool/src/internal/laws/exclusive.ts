/**
 * Laws of pools that lend a connection to one borrower at a time.
 */
import * as Effect from "effect/Effect"
import { borrow, equal, type Laws, settle, truth, type Borrower } from "./scene.ts"

export const exclusive: Laws = [
  [
    "no two borrowers hold the same connection, and never more than maxSize are open",
    Effect.fnUntraced(function* ({ maxSize, peer, pool }) {
      const borrowers = yield* Effect.replicateEffect(borrow(pool), maxSize + 1)
      const holders = borrowers.filter((borrower) => borrower.holds())
      equal(holders.length, maxSize, "borrowers that hold a connection")
      equal(new Set(holders.map((holder) => holder.lease().info.id)).size, maxSize, "different connections")
      truth(peer.live() <= maxSize, `${peer.live()} connections are open`)
      for (const borrower of borrowers) yield* borrower.leave
      truth(peer.attempts() <= maxSize, `${peer.attempts()} attempts for ${maxSize} connections`)
    })
  ],
  [
    "those who wait are served in arrival order",
    Effect.fnUntraced(function* ({ maxSize, pool }) {
      const holders = yield* Effect.replicateEffect(borrow(pool), maxSize)
      const waiters = yield* Effect.replicateEffect(borrow(pool), 3)
      const served: Array<number> = []
      for (let left: Borrower | undefined = holders[0]; left !== undefined; left = waiters[served.at(-1) ?? -1]) {
        yield* left.leave
        const next = waiters.findIndex((waiter) => waiter.holds() && waiter.outcome() === "")
        if (next === -1) break
        served.push(next)
      }
      equal(served, [0, 1, 2], "the order in which three waiters were served")
      for (const holder of holders) yield* holder.leave
    })
  ],
  [
    "interrupting one who waits loses neither the connection nor the wake-up",
    Effect.fnUntraced(function* ({ maxSize, pool }) {
      const holders = yield* Effect.replicateEffect(borrow(pool), maxSize)
      const [first, second] = [yield* borrow(pool), yield* borrow(pool)]
      yield* first.interrupt
      yield* holders[0]!.leave
      truth(second.holds(), "the waiter that stayed was not served")
      for (const borrower of [...holders, second]) yield* borrower.leave
    })
  ],
  [
    "interrupting one who was just handed a connection passes it on",
    Effect.fnUntraced(function* ({ maxSize, pool }) {
      const holders = yield* Effect.replicateEffect(borrow(pool), maxSize)
      const [first, second] = [yield* borrow(pool), yield* borrow(pool)]
      holders[0]!.lease().releaseUnsafe()
      first.fiber.interruptUnsafe()
      yield* settle
      truth(second.holds(), "the next waiter was not served")
      for (const borrower of [...holders, second]) yield* borrower.leave
    })
  ],
  [
    "a place that a closed connection leaves goes to one who waits",
    Effect.fnUntraced(function* ({ maxSize, pool }) {
      const holders = yield* Effect.replicateEffect(borrow(pool), maxSize)
      const waiter = yield* borrow(pool)
      const { id } = holders[0]!.lease().info
      yield* holders[0]!.lease().invalidate
      yield* holders[0]!.leave
      truth(waiter.holds(), "the waiter was not served")
      truth(waiter.lease().info.id !== id, "the waiter was served the invalidated connection")
      for (const borrower of [...holders, waiter]) yield* borrower.leave
    })
  ]
]
