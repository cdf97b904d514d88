/** Timeouts that must come, although the client was busy, and ones that must not. */
import { assert, describe, it } from "@effect/vitest"
import { HttpError } from "@poolkit/http/HttpError"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { leakOracle } from "../leakOracle.ts"
import { fetch, get, http1Pool, http2Pool, stall } from "./client.ts"
import * as One from "./http1Script.ts"
import * as Two from "./http2Script.ts"
import { useFaultServer } from "./suite.ts"

const oracle = leakOracle()
const server1 = useFaultServer<One.Http1Scenario>("HTTP/1.1 timeouts", "./http1Server.ts")
const server2 = useFaultServer<Two.Http2Scenario>("HTTP/2 timeouts", "./http2Server.ts")

const head1 = (length: number) => One.text(`HTTP/1.1 200 OK\r\ncontent-length: ${length}\r\n\r\n`)

/** More than is buffered of a body that is read slowly. */
const much = 200_000

const requests = {
  "HTTP/1.1": {
    stops: [One.ended, head1(much + 1), One.fill(much), One.until({ signal: "never" })],
    pauses: [One.ended, head1(9), One.text("one"), One.delay(100), One.text("two"), One.delay(500), One.text("end")],
    slow: [One.delay(50), ...One.ok]
  },
  "HTTP/2": {
    stops: [Two.ended, Two.head(), Two.body(much), Two.until({ signal: "never" })],
    pauses: [
      Two.ended,
      Two.head(),
      Two.data("one"),
      Two.delay(100),
      Two.data("two"),
      Two.delay(500),
      Two.data("end", { end: true })
    ],
    slow: [Two.delay(50), ...Two.ok]
  }
}

const pools = {
  "HTTP/1.1": (timeout: number) =>
    Effect.flatMap(
      Effect.suspend(() => server1.listen({ requests: requests["HTTP/1.1"] })),
      (target) => http1Pool(oracle, target, { http1: { headersTimeout: timeout, bodyTimeout: timeout } })
    ),
  "HTTP/2": (timeout: number) =>
    Effect.flatMap(
      Effect.suspend(() => server2.listen({ requests: requests["HTTP/2"] })),
      (target) => http2Pool(oracle, target, { headersTimeout: timeout, bodyTimeout: timeout, pingInterval: timeout })
    )
}

describe("HttpRequest", () => {
  for (const [protocol, make] of Object.entries(pools)) {
    describe(protocol, () => {
      it.live("a server that stops in the midst of a body is found out although its client was slow at first", () =>
        Effect.gen(function* () {
          const pool = yield* make(100)
          const error = yield* Effect.flip(
            Effect.scoped(
              // The timeout does not run while so much waits to be read.
              Effect.flatMap(HttpRequest.execute(pool, get("/stops/1")), ({ bytes }) => Effect.delay(bytes, 200))
            ).pipe(Effect.timeout("3 seconds"))
          )
          assert.instanceOf(error, HttpError)
          assert.deepInclude(error.reason, { _tag: "ResponseTimeout", phase: "body" })
        })
      )

      it.live("what came while the event loop stood still counts, also where it is only a part", () =>
        Effect.gen(function* () {
          const pool = yield* make(400)
          const chunks: Array<string> = []
          yield* Effect.scoped(
            Effect.flatMap(HttpRequest.execute(pool, get("/pauses/1")), ({ stream }) =>
              Stream.runForEach(Stream.decodeText(stream), (chunk) =>
                Effect.sync(() => {
                  chunks.push(chunk)
                  if (chunks.length === 1) stall(500)
                })
              )
            )
          )
          assert.strictEqual(chunks.join(""), "onetwoend")
        })
      )

      it.live("longer ones than timers have wait as long as they can, not as short", () =>
        Effect.gen(function* () {
          const pool = yield* make(30 * 86_400_000)
          assert.strictEqual((yield* fetch(pool, get("/slow/1"))).text, "/slow/1")
        })
      )
    })
  }
})
