/**
 * Laws of what observers are told.
 */
import * as Effect from "effect/Effect"
import * as TestConnector from "../../testing/TestConnector.ts"
import { advance, borrow, borrowOnce, equal, type Laws } from "./scene.ts"

export const observing: Laws = [
  [
    "an observer that throws is isolated, and others are told a balanced story",
    Effect.fnUntraced(function* ({ peer, pool, close }) {
      const broken = (): never => {
        throw new Error("from an observer")
      }
      yield* pool.observe({
        connecting: broken,
        connected: broken,
        connectFailed: broken,
        borrowed: broken,
        returned: broken,
        evicted: broken,
        closed: broken,
        waitStarted: broken,
        waitEnded: broken
      })
      const story = { connected: 0, evicted: 0, closed: 0, borrowed: 0, returned: 0, waitStarted: 0, waitEnded: 0 }
      const lent = new Map<number, number>()
      const tell = (what: keyof typeof story) => () => {
        story[what]++
      }
      yield* pool.observe({
        connected: tell("connected"),
        evicted: tell("evicted"),
        waitStarted: tell("waitStarted"),
        waitEnded: tell("waitEnded"),
        borrowed: ({ id }) => {
          story.borrowed++
          lent.set(id, (lent.get(id) ?? 0) + 1)
        },
        returned: ({ id }) => {
          story.returned++
          lent.set(id, (lent.get(id) ?? 0) - 1)
        },
        closed: ({ id }) => {
          story.closed++
          equal(lent.get(id) ?? 0, 0, `loans of connection ${id} when it closed`)
        }
      })
      peer.script(TestConnector.succeed, TestConnector.fail)
      yield* borrowOnce(pool)
      yield* pool.retain(() => false)
      const callers = yield* Effect.replicateEffect(borrow(pool), 3)
      yield* advance("1 minute")
      yield* callers[0]!.interrupt
      for (const caller of callers) yield* caller.leave
      yield* close
      equal(story.returned, story.borrowed, "returned and borrowed")
      equal(story.waitEnded, story.waitStarted, "waits that ended and that started")
      equal([story.evicted, story.closed], [story.connected, story.connected], "evicted, closed and connected")
    })
  ]
]
