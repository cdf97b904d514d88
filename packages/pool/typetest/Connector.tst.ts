import type { TimeoutError } from "effect/Cause"
import type * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { describe, expect, it } from "tstyche"
import type * as CachePool from "../src/CachePool.ts"
import type { PoolError } from "../src/ConnectionPool.ts"
import * as Connector from "../src/Connector.ts"
import { type Config, type ConnectError, type OtherError, type UserDb, type UserDbPlus } from "./support.ts"

describe("Connector", () => {
  const connect = {} as Connector.Connector<URL, UserDb, ConnectError, Config | Scope.Scope>

  it("is covariant in what it opens, fails with and needs, contravariant in the target", () => {
    expect<Connector.Connector<unknown, UserDbPlus>>().type.toBeAssignableTo<
      Connector.Connector<URL, UserDb, ConnectError, Config>
    >()
    expect<Connector.Connector<URL, UserDb>>().type.not.toBeAssignableTo<Connector.Connector<unknown, UserDb>>()
  })

  it("any function from a target to an effect is one, a pool's get included", () => {
    const pool = {} as CachePool.CachePool<UserDb, ConnectError>
    expect(pool.get).type.toBeAssignableTo<Connector.Connector<void, UserDb, ConnectError | PoolError, Scope.Scope>>()
    expect(() => ({}) as Effect.Effect<UserDb>).type.toBeAssignableTo<Connector.Connector<void, UserDb>>()
  })

  it("timeout adds TimeoutError and the scope", () => {
    type Timed = Connector.Connector<URL, UserDb, ConnectError | TimeoutError, Config | Scope.Scope>
    expect(Connector.timeout(connect, "1 second")).type.toBe<Timed>()
    expect(Connector.timeout("1 second")(connect)).type.toBe<Timed>()
  })

  it("retry keeps the error and adds the schedule's", () => {
    const schedule = {} as Schedule.Schedule<number, ConnectError, OtherError>
    expect(Connector.retry(connect, Schedule.recurs(3))).type.toBe<
      Connector.Connector<URL, UserDb, ConnectError, Config | Scope.Scope>
    >()
    expect(Connector.retry(connect, schedule)).type.toBe<
      Connector.Connector<URL, UserDb, ConnectError | OtherError, Config | Scope.Scope>
    >()
  })

  it("limitConnecting and annotate change nothing", () => {
    expect(Connector.limitConnecting(connect, 2)).type.toBe<typeof connect>()
    expect(Connector.limitConnecting(2)(connect)).type.toBe<typeof connect>()
    const annotated = Connector.annotate(connect, (db, url) => {
      expect(db).type.toBe<UserDb>()
      expect(url).type.toBe<URL>()
      return { host: url.host }
    })
    expect(annotated).type.toBe<typeof connect>()
  })
})
