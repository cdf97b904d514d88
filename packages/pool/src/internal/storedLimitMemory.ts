/** The store of limits in the memory of one process. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { type Book, enter } from "./storedLimitBook.ts"
import { ConnectionLimitStore, ConnectionLimitStoreError } from "./storedLimitStore.ts"

export const makeMemoryStore: Effect.Effect<ConnectionLimitStore["Service"], never, Scope.Scope> = Effect.gen(
  function* () {
    const clock = yield* Clock.Clock
    const books = new Map<string, Book>()
    const wakes = yield* Effect.acquireRelease(
      PubSub.unbounded<{ readonly key: string; readonly members: ReadonlyArray<string> }>(),
      PubSub.shutdown
    )
    const bookOf = (key: string): Book => {
      const book = books.get(key) ?? { members: new Map(), recoversUntil: 0 }
      books.set(key, book)
      return book
    }
    return ConnectionLimitStore.of({
      exchange: (claim) =>
        Effect.suspend(() => {
          const grant = enter(bookOf(claim.key), claim, clock.currentTimeMillisUnsafe())
          if (grant === undefined) return Effect.fail(outOfDate(claim.key))
          if (grant.wakes.length > 0) PubSub.publishUnsafe(wakes, { key: claim.key, members: grant.wakes })
          return Effect.succeed(grant)
        }),
      wakes: (key, member) =>
        Stream.fromPubSub(wakes).pipe(
          Stream.filter((wake) => wake.key === key && wake.members.includes(member)),
          Stream.map(() => undefined)
        )
    })
  }
)

const outOfDate = (key: string): ConnectionLimitStoreError =>
  new ConnectionLimitStoreError({ message: `connection limit ${JSON.stringify(key)}: a later exchange came first` })
