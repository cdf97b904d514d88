import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { leakOracle } from "../leakOracle.ts"
import { randomAnswers, randomRequests } from "./http1Fuzz.ts"
import type { Http1Scenario } from "./http1Script.ts"
import { useFaultServer } from "./suite.ts"

const oracle = leakOracle()
const server = useFaultServer<Http1Scenario>("HTTP/1.1 fuzz", "./http1Server.ts")

describe("HttpRequest over HTTP/1.1", () => {
  it.live("settles whatever bytes come, and poisons nothing", () =>
    Effect.map(randomAnswers(oracle, server, 1_000), (runs) => assert.isAbove(runs, 10))
  )

  it.live("sends one request as it was meant or none at all, whatever strings it consists of", () =>
    randomRequests(oracle, server, 1_000)
  )
})
