/**
 * Laws of callers that wait for a connect.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as TestConnector from "../../testing/TestConnector.ts"
import { borrow, borrowOnce, equal, type Laws, settle, settled, succeeded, truth } from "./scene.ts"

export const connecting: Laws = [
  [
    "interrupting a caller that waits for a connect affects only that caller",
    Effect.fnUntraced(function* ({ peer, pool }) {
      const gate = Deferred.makeUnsafe<void>()
      peer.script(TestConnector.gated(gate), TestConnector.gated(gate))
      const first = yield* borrow(pool)
      const second = yield* borrow(pool)
      yield* first.interrupt
      Deferred.doneUnsafe(gate, Exit.void)
      yield* settle
      truth(second.holds(), "the caller that stayed was not served")
      yield* second.leave
      yield* borrowOnce(pool)
    })
  ],
  [
    "interrupting the only caller that waits for a connect loses nothing",
    Effect.fnUntraced(function* ({ peer, pool }) {
      const gate = Deferred.makeUnsafe<void>()
      peer.script(TestConnector.gated(gate))
      const caller = yield* borrow(pool)
      yield* caller.interrupt
      Deferred.doneUnsafe(gate, Exit.void)
      yield* settle
      equal((yield* pool.stats).pending, 0, "pending callers")
      yield* borrowOnce(pool)
    })
  ],
  [
    "a failed connect fails its caller and lets the next call try",
    Effect.fnUntraced(function* ({ peer, pool }) {
      peer.script(TestConnector.fail)
      yield* settled(Effect.forkChild(pool.use(() => Effect.void)), "hour", "a call whose connect failed")
      yield* succeeded(
        yield* settled(Effect.forkChild(pool.use(() => Effect.void)), "hour", "the call after a failed connect"),
        "the call after a failed connect"
      )
    })
  ],
  [
    "a connector that throws is a failure and not a hang",
    Effect.fnUntraced(function* ({ peer, pool }) {
      peer.script(() => {
        throw new Error("from the connector")
      })
      yield* settled(Effect.forkChild(pool.use(() => Effect.void)), "hour", "a call whose connector threw")
      yield* succeeded(
        yield* settled(Effect.forkChild(pool.use(() => Effect.void)), "hour", "the call after that"),
        "the call after a connector that threw"
      )
    })
  ],
  [
    "a call that no connection comes for ends with an error",
    Effect.fnUntraced(function* ({ peer, pool }) {
      peer.script(...Array.from({ length: 10_000 }, () => TestConnector.hang))
      const exit = yield* settled(Effect.forkChild(pool.use(() => Effect.void)), "hour", "a call whose connect hangs")
      truth(Exit.isFailure(exit), "it succeeded without a connection")
    })
  ]
]
