import { assert, describe, it } from "@effect/vitest"
import * as HttpPool from "@poolkit/http/HttpPool"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

describe("HttpPool", () => {
  describe("make", () => {
    for (const option of ["SocketConnector: connectTimeout", "HttpPool: idleTimeToLive", "HttpPool: maxLifetime"]) {
      const name = option.split(" ")[1]!
      it.effect(`refuses ${name}: 0, with which no connection would be of use`, () =>
        Effect.gen(function* () {
          const exit = yield* Effect.exit(Effect.scoped(HttpPool.make({ [name]: 0 })))
          assert(Exit.isFailure(exit))
          assert.strictEqual(
            String(Cause.squash(exit.cause)),
            `RangeError: ${option} must be a duration longer than zero, got 0`
          )
        })
      )
    }
  })
})
