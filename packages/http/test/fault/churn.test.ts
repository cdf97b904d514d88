import { describe, it } from "@effect/vitest"
import { churn } from "./churned.ts"

describe("HttpRequest", () => {
  for (const protocol of ["HTTP/1.1", "HTTP/2"] as const) {
    it.live(`settles every request of a random run, and mixes up, cuts short or leaks nothing, over ${protocol}`, () =>
      churn(protocol, [1, 2], 6, 25_000)
    )
  }
})
