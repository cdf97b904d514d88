import { describe, it } from "@effect/vitest"
import { churn } from "./http2Churned.ts"

describe("HttpRequest over HTTP/2", () => {
  it.live("settles every request of a random run, and mixes up, cuts short or leaks nothing", () =>
    churn([1, 2], 6, 25_000)
  )
})
