/** What callers may count on, measured after the load, one promise at a time. */
import * as HttpConnection from "@poolkit/http/HttpConnection"
import * as HttpPool from "@poolkit/http/HttpPool"
import * as HttpRequest from "@poolkit/http/HttpRequest"
import * as Origin from "@poolkit/http/Origin"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { quantile, type Sample, stopwatch } from "./noise.ts"
import type { ServerAddress, ServerProcess } from "./serverProcess.ts"
import type { Dead } from "./sites.ts"

/** Something measured in milliseconds. */
export interface Probe {
  readonly name: string
  readonly samples: number
  readonly p50: number
  /** The share of the samples that `worst` is not less than. */
  readonly share: number
  readonly worst: number
  readonly bound: number
  /** Samples above the bound for which the machine's noise does not answer. */
  readonly over: number
}

const probe = (name: string, samples: ReadonlyArray<Sample>, share: number, bound: number): Probe => {
  const times = samples.map(({ took }) => took)
  return {
    name,
    samples: samples.length,
    p50: quantile(times, 0.5),
    share,
    worst: quantile(times, share),
    bound,
    over: samples.filter(({ noise, took }) => took - noise > bound).length
  }
}

const get = { method: "GET", path: "/probe" }

const httpOrigin = (host: string) => Origin.make(`http://${host}`)

const fetch = (pool: HttpPool.HttpConnections, origin: Origin.Origin) =>
  Effect.scoped(Effect.flatMap(HttpRequest.execute(pool, origin, get), ({ text }) => text))

const reasonOf = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isSuccess(exit)) return "success"
  const error = Cause.findError(exit.cause)
  if (Result.isFailure(error)) return Cause.pretty(exit.cause)
  return (error.success as { readonly reason?: { readonly _tag: string } }).reason?._tag ?? String(error.success)
}

/** Nobody answers: callers who come one by one wait as long as they are told to, and no longer. */
export const outage = (name: string, host: string, callers: number) =>
  Effect.gen(function* () {
    const waitTimeout = 500
    const pool = yield* HttpPool.make({ waitTimeout })
    const origin = httpOrigin(host)
    const samples: Array<Sample> = []
    const caller = (after: number) =>
      Effect.andThen(
        Effect.sleep(after),
        Effect.suspend(() => {
          const stop = stopwatch()
          return Effect.map(Effect.exit(fetch(pool, origin)), (exit) => {
            samples.push(stop())
            return reasonOf(exit)
          })
        })
      )
    const reasons = yield* Effect.forEach(
      Array.from({ length: callers }, (_, i) => i * 2),
      caller,
      { concurrency: "unbounded" }
    )
    // Those who wait for the attempt that fails are told why.
    const others = reasons.filter((reason) => reason !== "WaitTimeout" && reason !== "Refused")
    if (others.length > 0) return yield* Effect.die(new Error(`${name}: ${others[0]}`))
    return probe(name, samples, 0.999, waitTimeout + 50)
  }).pipe(Effect.scoped)

/** A caller who is interrupted while a connect hangs. */
export const interrupts = (silent: string, times: number) =>
  Effect.gen(function* () {
    const samples: Array<Sample> = []
    for (const onAbandon of ["keep", "cancel"] as const) {
      const pool = yield* HttpPool.make({ onAbandon })
      for (let i = 0; i < times / 2; i++) {
        const caller = yield* Effect.forkChild(fetch(pool, httpOrigin(silent)))
        yield* Effect.sleep(i % 4)
        const stop = stopwatch()
        yield* Fiber.interrupt(caller)
        samples.push(stop())
      }
    }
    return probe("an interrupt returns while the connect hangs", samples, 0.999, 50)
  }).pipe(Effect.scoped)

/** Requests are never answered when the pool is drained. */
export const drains = (address: ServerAddress, times: number) =>
  Effect.gen(function* () {
    const deadline = 200
    const samples: Array<Sample> = []
    const protocols = address.protocol === "h2" ? "http2" : "http1"
    for (let i = 0; i < times; i++) {
      address.befall({ fault: "silence", lasts: 1_000 })
      const scope = yield* Scope.make()
      const pool = yield* Scope.provide(HttpPool.make({ protocols, drainDeadline: deadline }), scope)
      const callers = yield* Effect.forkChild(
        Effect.all(
          Array.from({ length: 8 }, () => Effect.exit(fetch(pool, httpOrigin(address.host)))),
          { concurrency: "unbounded" }
        )
      )
      while ((yield* pool.stats).borrowers < 8) yield* Effect.sleep(1)
      const stop = stopwatch()
      yield* Scope.close(scope, Exit.void)
      samples.push(stop())
      yield* Fiber.join(callers)
    }
    return probe(`a drain with a deadline of 200 ms ends, over ${address.protocol}`, samples, 1, deadline + 100)
  })

/** How long after a server is back a caller is served who did not give up. */
export const recovery = (
  name: string,
  address: ServerAddress,
  outages: ReadonlyArray<number>,
  bound: number,
  backoff?: HttpPool.HttpPoolOptions["backoff"]
) =>
  Effect.gen(function* () {
    const origin = httpOrigin(address.host)
    const samples: Array<Sample> = []
    for (const lasts of outages) {
      const pool = yield* HttpPool.make({ backoff })
      yield* fetch(pool, origin)
      const back = address.listening()
      address.befall({ fault: "down", lasts })
      // It is down when nobody is connected any more.
      while ((yield* pool.stats).idle > 0) yield* Effect.sleep(1)
      // The pool makes those wait who come again too soon.
      const caller = yield* Effect.forkChild(Effect.eventually(fetch(pool, origin)))
      yield* Effect.promise(() => back)
      const stop = stopwatch()
      yield* Fiber.join(caller)
      samples.push(stop())
    }
    return probe(name, samples, 1, bound)
  }).pipe(Effect.scoped)

/** Eight times as many callers as connections: the unluckiest wait little longer than the others. */
export const fairness = (address: ServerAddress, millis: number) =>
  Effect.gen(function* () {
    address.befall({ fault: "latency", millis: 2, lasts: millis })
    const pool = yield* HttpPool.make({ maxSizePerOrigin: 8 })
    const origin = httpOrigin(address.host)
    const samples: Array<Sample> = []
    const end = performance.now() + millis
    const caller = Effect.whileLoop({
      while: () => performance.now() < end,
      body: () => {
        const stop = stopwatch()
        return pool.use(origin, (connection) => {
          samples.push(stop())
          return Effect.scoped(Effect.flatMap(HttpConnection.request(connection, get), ({ text }) => text))
        })
      },
      step: () => {}
    })
    yield* Effect.all(
      Array.from({ length: 64 }, () => caller),
      { concurrency: "unbounded" }
    )
    const p50 = quantile(
      samples.map(({ took }) => took),
      0.5
    )
    return probe("wait of 64 callers for 8 connections", samples, 0.99, 10 * p50)
  }).pipe(Effect.scoped)

/** So many requests at once over a new pool: how many connections that takes, at most. */
export const bursts = (server: ServerProcess, address: ServerAddress, times: number) =>
  Effect.gen(function* () {
    const accepted = Effect.map(
      Effect.promise(() => server.audit()),
      (audit) => audit.accepted[address.id]!
    )
    const protocols = address.protocol === "h2" ? "http2" : "http1"
    let most = 0
    for (let i = 0; i < times; i++) {
      const before = yield* accepted
      yield* Effect.scoped(
        Effect.flatMap(HttpPool.make({ protocols }), (pool) =>
          Effect.all(
            Array.from({ length: 100 }, () => fetch(pool, httpOrigin(address.host))),
            { concurrency: "unbounded" }
          )
        )
      )
      most = Math.max(most, (yield* accepted) - before)
    }
    return most
  })

/** All of them, one after the other. */
export const probes = (server: ServerProcess, dead: Dead, scale: number) =>
  Effect.gen(function* () {
    const address = (protocol: "http/1.1" | "h2") => Effect.promise(() => server.listen(protocol))
    const [exclusive, shared] = [yield* address("http/1.1"), yield* address("h2")]
    const lasting = [200, 500, 1_000, 2_000].slice(0, Math.ceil(4 * scale))
    const quick = Schedule.spaced("100 millis")
    return {
      connections: {
        "http/1.1": yield* bursts(server, exclusive, Math.ceil(10 * scale)),
        h2: yield* bursts(server, shared, Math.ceil(10 * scale))
      },
      times: [
        yield* outage("a caller fails while connects are refused", dead.refusing, Math.ceil(2_000 * scale)),
        yield* outage("a caller fails while connects hang", dead.silent, Math.ceil(2_000 * scale)),
        yield* interrupts(dead.silent, Math.ceil(1_000 * scale)),
        yield* drains(exclusive, Math.ceil(20 * scale)),
        yield* drains(shared, Math.ceil(20 * scale)),
        yield* recovery("service is back, with the default backoff", exclusive, lasting, 6_050),
        yield* recovery("service is back, with a backoff of 100 ms", exclusive, lasting, 500, quick),
        yield* fairness(exclusive, 3_000 * scale)
      ]
    }
  })
