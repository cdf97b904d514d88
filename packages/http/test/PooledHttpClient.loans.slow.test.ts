import { describe, it } from "@effect/vitest"
import { forgetUnread } from "./dropIn/pooled.ts"
import { leakOracle } from "./leakOracle.ts"

const oracle = leakOracle()

describe("PooledHttpClient", () => {
  describe("loans", () => {
    it.live("end when 1,000 responses are forgotten unread over HTTP/1.1", () => forgetUnread(oracle, "http/1.1", 5))

    it.live("end when 1,000 responses are forgotten unread over HTTP/2", () => forgetUnread(oracle, "h2", 5))
  })
})
