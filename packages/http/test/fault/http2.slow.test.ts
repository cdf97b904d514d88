import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leakOracle } from "../leakOracle.ts"
import { churn } from "./churned.ts"
import { calmedCancels, cappedCancels } from "./http2Cancel.ts"
import { gracefulCloses } from "./http2Goaway.ts"
import type { Http2Scenario } from "./http2Script.ts"
import { useFaultServer } from "./suite.ts"

const oracle = leakOracle()
const server = useFaultServer<Http2Scenario>("HTTP/2 slow", "./http2Server.ts")

describe("HttpRequest over HTTP/2", () => {
  it.live("settles every request of random runs, and mixes up, cuts short or leaks nothing", () =>
    churn("HTTP/2", [1, 2, 3, 4, 5, 6, 7, 8], 24, 120_000)
  )

  it.live("costs no request when servers take their leave at any moment", () =>
    Effect.map(gracefulCloses(oracle, server, 2_000), (ignored) => assert.isAbove(ignored, 0))
  )

  it.live("given up 10,000 times does not make a server angry", () => cappedCancels(oracle, server, 10_000))

  it.live("given up 10,000 times costs no more than connections where the server is angry", () =>
    calmedCancels(oracle, server, 10_000)
  )
})
