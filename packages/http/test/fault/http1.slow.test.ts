import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leakOracle } from "../leakOracle.ts"
import { churn } from "./churned.ts"
import { randomAnswers, randomRequests } from "./http1Fuzz.ts"
import type { Http1Scenario } from "./http1Script.ts"
import { poisonedConnections, staleConnections } from "./http1Stale.ts"
import { useFaultServer } from "./suite.ts"

const oracle = leakOracle()
const server = useFaultServer<Http1Scenario>("HTTP/1.1 slow", "./http1Server.ts")

describe("HttpRequest over HTTP/1.1", () => {
  it.live("settles every request of random runs, and mixes up, cuts short or leaks nothing", () =>
    churn("HTTP/1.1", [1, 2, 3, 4, 5, 6, 7, 8], 24, 120_000)
  )

  it.live("costs no GET when connections end 0 to 5 ms around their reuse", () =>
    staleConnections(oracle, server, "GET", 2_000)
  )

  it.live("lets no POST run twice when connections end 0 to 5 ms around their reuse", () =>
    staleConnections(oracle, server, "POST", 2_000)
  )

  it.live("poisons nothing when a server speaks unasked while the event loop stands still", () =>
    poisonedConnections(oracle, server, 500)
  )

  it.live("settles whatever bytes come, and poisons nothing", () =>
    Effect.map(randomAnswers(oracle, server, 25_000), (runs) => assert.isAbove(runs, 200))
  )

  it.live("sends one request as it was meant or none at all, whatever strings it consists of", () =>
    randomRequests(oracle, server, 15_000)
  )
})
