import type * as Equal from "effect/Equal"
import { describe, expect, it } from "tstyche"
import * as Origin from "../src/Origin.ts"

describe("Origin", () => {
  describe("make", () => {
    it("takes a URL as text or object, or options that contain one", () => {
      expect(Origin.make("https://a.test")).type.toBe<Origin.Origin>()
      expect(Origin.make(new URL("https://a.test"))).type.toBe<Origin.Origin>()
      expect(Origin.make({ url: "https://a.test", tls: { ca: ["a", Buffer.from("b")] } })).type.toBe<Origin.Origin>()
      expect(Origin.make).type.not.toBeCallableWith()
      expect(Origin.make).type.not.toBeCallableWith({ address: "127.0.0.1" })
    })

    it("takes undefined for what is not given", () => {
      expect(Origin.make).type.toBeCallableWith({
        url: "https://a.test",
        address: undefined,
        socketPath: undefined,
        localAddress: undefined,
        tenant: undefined,
        tls: undefined
      })
    })

    it("refuses options that would be no part of the key", () => {
      expect(Origin.make).type.not.toBeCallableWith({ url: "https://a.test", proxy: "http://b.test" })
      expect(Origin.make).type.not.toBeCallableWith({ url: "https://a.test", tls: { secureContext: {} } })
      expect(Origin.make).type.not.toBeCallableWith({ url: "https://a.test", tls: { connectTimeout: 1 } })
    })
  })

  it("is a key, whose secrets only reveal gives", () => {
    const origin = {} as Origin.Origin
    expect(origin).type.toBeAssignableTo<Equal.Equal>()
    expect(origin.scheme).type.toBe<"http" | "https">()
    expect(origin.port).type.toBe<number>()
    expect(origin).type.not.toHaveProperty("tls")
    expect(origin).type.not.toHaveProperty("tenant")
    expect(Origin.reveal(origin)).type.toBe<Origin.OriginOptions>()
    expect(Origin.reveal).type.not.toBeCallableWith("https://a.test")
  })

  it("isOrigin narrows", () => {
    const value = {} as string | Origin.Origin
    if (Origin.isOrigin(value)) expect(value).type.toBe<Origin.Origin>()
  })
})
