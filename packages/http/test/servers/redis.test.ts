import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leakOracle } from "../leakOracle.ts"
import { ask, redis } from "./redis.ts"
import { missing } from "./serverProcess.ts"

leakOracle()

describe.skipIf(missing("redis-server"))("redis", () => {
  it.live("asks for the password, and forgets everything in a restart", () =>
    Effect.gen(function* () {
      const server = yield* redis({ password: "s3cret" })
      assert.match(yield* ask(server.port, "SET a 1"), /^-NOAUTH/)
      assert.strictEqual(yield* ask(server.port, "AUTH s3cret", "SET a 1"), "+OK\r\n+OK\r\n")
      yield* server.restart
      assert.strictEqual(yield* ask(server.port, "AUTH s3cret", "GET a"), "+OK\r\n$-1\r\n")
    })
  )

  it.live("answers nothing while it is paused, down or killed, and everything afterwards", () =>
    Effect.gen(function* () {
      const server = yield* redis()
      const pong = ask(server.port, "PING")
      yield* server.pause
      assert.strictEqual(yield* pong, "")
      yield* server.resume
      assert.strictEqual(yield* pong, "+PONG\r\n")
      yield* server.kill
      assert.strictEqual(yield* pong, "")
      yield* server.start
      assert.strictEqual(yield* pong, "+PONG\r\n")
      yield* server.pause
    })
  )
})
