import type * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Stream from "effect/Stream"
import { describe, expect, it } from "tstyche"
import * as Addresses from "../src/Addresses.ts"
import type { Config, ConnectError, OtherError } from "./support.ts"

declare const lookup: Effect.Effect<ReadonlyArray<string>, ConnectError, Config>
declare const records: Effect.Effect<
  ReadonlyArray<{
    readonly target: string
    readonly port: number
    readonly priority: number
    readonly weight: number
    readonly more: boolean
  }>,
  ConnectError,
  Config
>
declare const resolve: (target: Addresses.HostPort) => Effect.Effect<ReadonlyArray<number>, OtherError>

describe("Addresses", () => {
  it("fromLookup emits what the lookup answers, cannot fail, and needs what the lookup needs", () => {
    expect(Addresses.fromLookup(lookup)).type.toBe<Stream.Stream<ReadonlyArray<string>, never, Config>>()
    expect(Addresses.fromLookup(lookup, { schedule: Schedule.spaced("1 minute"), empty: "accept" })).type.toBe<
      Stream.Stream<ReadonlyArray<string>, never, Config>
    >()
    expect(Addresses.fromLookup).type.not.toBeCallableWith(lookup, { empty: "maybe" })
  })

  it("fromSrv emits names and ports, or what they resolve to", () => {
    expect(Addresses.fromSrv(records)).type.toBe<Stream.Stream<ReadonlyArray<Addresses.HostPort>, never, Config>>()
    expect(Addresses.fromSrv(records, { timeout: "1 second" })).type.toBe<
      Stream.Stream<ReadonlyArray<Addresses.HostPort>, never, Config>
    >()
    expect(Addresses.fromSrv(records, { resolve })).type.toBe<Stream.Stream<ReadonlyArray<number>, never, Config>>()
  })

  it("constant emits one list", () => {
    expect(Addresses.constant(new Set([1]))).type.toBe<Stream.Stream<ReadonlyArray<number>>>()
  })
})
