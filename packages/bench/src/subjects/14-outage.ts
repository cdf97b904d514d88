/**
 * All addresses down for five seconds, under load.
 */
import * as BalancePool from "@poolkit/pool/BalancePool"
import * as CachePool from "@poolkit/pool/CachePool"
import * as Addresses from "@poolkit/pool/Addresses"
import * as Effect from "effect/Effect"
import * as EffectPool from "effect/Pool"
import type { Scope } from "effect/Scope"
import { setTimeout as sleep } from "node:timers/promises"
import type { Contestant, Figures, Subject } from "../harness/subject.ts"
import { generic, type Item, type JavaScriptPool, lightning, pg, tarn } from "../peers/javascript.ts"

const workers = 50
const size = 10
const before = 1000
const outage = 5000
const after = 8000
const workTime = 5
const pause = 10

/** A service whose connections end when it goes down, and whose connects are refused until it is back. */
class Service {
  up = true
  connects = 0
  private ids = 0
  private generation = 0

  goDown(): void {
    this.up = false
    this.generation++
  }

  readonly connect = async (): Promise<Connection> => {
    this.connects++
    await sleep(1)
    if (!this.up) throw new Error("refused")
    return { id: ++this.ids, generation: this.generation }
  }

  readonly work = async ({ generation }: Connection): Promise<void> => {
    await sleep(workTime)
    if (!this.up || generation !== this.generation) throw new Error("lost")
  }
}

interface Connection extends Item {
  readonly generation: number
}

/** Borrows, works, and gives the connection back, or up if the work failed. */
type Request = () => Promise<void>
type MakePool = (service: Service) => Effect.Effect<Request, never, Scope>

const contestant = (name: string, setup: string, make: MakePool): Contestant => ({
  name,
  setup,
  open: Effect.succeed(() =>
    Effect.runPromise(
      Effect.scoped(
        Effect.flatMap(
          Effect.sync(() => new Service()),
          (service) => Effect.flatMap(make(service), (request) => Effect.promise(() => suffer(service, request)))
        )
      )
    )
  )
})

const suffer = async (service: Service, request: Request): Promise<Figures> => {
  const successes: Array<number> = []
  const end = new AbortController()
  const worker = async () => {
    while (!end.signal.aborted) {
      try {
        await request()
        successes.push(performance.now())
      } catch {
        await sleep(pause)
      }
    }
  }
  const all = Array.from({ length: workers }, worker)
  await sleep(before)
  service.goDown()
  const downAt = performance.now()
  const normal = successes.length / (downAt - successes[0]!)
  const connects = service.connects
  await sleep(outage)
  const perSecond = (service.connects - connects) / (outage / 1000)
  service.up = true
  const upAt = performance.now()
  // Somebody may wait for longer than the rest of the test.
  const late = sleep(after)
  while (performance.now() - upAt < after && !recovered(successes, upAt, normal)) await sleep(20)
  end.abort()
  await Promise.race([Promise.all(all), late])
  const first = successes.find((time) => time > upAt)
  return {
    perSecond,
    first: (first ?? upAt + after) - upAt,
    recovered: (recovered(successes, upAt, normal) ?? upAt + after) - upAt
  }
}

/** When the rate over 100 ms was first 90 % of what it had been. */
const recovered = (successes: ReadonlyArray<number>, upAt: number, normal: number): number | undefined => {
  const enough = Math.ceil(normal * 100 * 0.9)
  for (let i = successes.findLastIndex((time) => time <= upAt) + 1; i + enough - 1 < successes.length; i++) {
    const end = successes[i + enough - 1]!
    if (end - successes[i]! <= 100) return end
  }
  return undefined
}

const cache: MakePool = (service) =>
  Effect.map(
    CachePool.make({ connect: () => Effect.tryPromise(service.connect), maxSize: size }),
    (pool) => () =>
      Effect.runPromise(
        pool.use((connection, lease) =>
          Effect.onError(
            Effect.tryPromise(() => service.work(connection)),
            () => lease.invalidate
          )
        )
      )
  )

const balance: MakePool = (service) =>
  Effect.map(
    BalancePool.make({
      addresses: Addresses.constant(["a", "b", "c"]),
      connect: (_address: string) => Effect.tryPromise(service.connect),
      pool: (connect, { limit }) => CachePool.make({ connect, limit, maxSize: size, order: "fifo" })
    }),
    (pool) => () =>
      Effect.runPromise(
        pool.use((connection, lease) =>
          Effect.onError(
            Effect.tryPromise(() => service.work(connection)),
            () => lease.invalidate
          )
        )
      )
  )

const effectPool: MakePool = (service) =>
  Effect.map(
    EffectPool.makeWithTTL({
      acquire: Effect.tryPromise(service.connect),
      min: 0,
      max: size,
      timeToLive: "1 minute"
    }),
    (pool) => () =>
      Effect.runPromise(
        EffectPool.use(pool, (connection) =>
          Effect.onError(
            Effect.tryPromise(() => service.work(connection)),
            () => EffectPool.invalidate(pool, connection)
          )
        )
      )
  )

const promises = ({ name, open, setup }: JavaScriptPool, how: string): Contestant =>
  contestant(name, `${how} after a failure; ${setup}`, (service) =>
    Effect.map(open(size, service.connect), ({ acquire, destroy, release }) => async () => {
      const item = (await acquire()) as Connection
      try {
        await service.work(item)
      } catch (error) {
        destroy(item)
        throw error
      }
      release(item)
    })
  )

const subject: Subject = {
  title: "Outage",
  about:
    `${workers} workers send requests of ${workTime} ms over a pool of up to ${size}, and try again ${pause} ms after one failed. After ` +
    `${before / 1000} s the service goes down for ${outage / 1000} s: open connections are lost, connects are refused after 1 ms. How often did the pool try to connect, ` +
    `how long after its return was the first request served, and when was the rate of requests 90 % of what it had been? At most ${after / 1000} s. All are down at the same time.`,
  cases: [
    {
      name: "all addresses down",
      operations: 1,
      slow: true,
      together: true,
      contestants: [
        contestant("CachePool", "one address, default backoff: 100 ms to 5 s", cache),
        contestant("BalancePool", "three addresses, default `setAside`: 100 ms to 5 s", balance),
        contestant("Effect Pool", "`invalidate` after a failure", effectPool),
        promises(generic, "`destroy`"),
        promises(lightning, "`destroy`"),
        promises(pg, "`release(true)`"),
        promises(tarn, "not valid")
      ]
    }
  ],
  baseline: "CachePool",
  columns: [
    { figure: "perSecond", title: "connects/s while down", digits: 0 },
    { figure: "first", title: "first served, ms", digits: 0 },
    { figure: "recovered", title: "recovered, ms", digits: 0 }
  ],
  targets: [],
  charts: [
    { title: "Connects per second while all is down", kind: "bars", figure: "perSecond", unit: "1/s", log: true },
    { title: "From the service's return to the usual rate", kind: "bars", figure: "recovered", unit: "ms" }
  ]
}

export default subject
