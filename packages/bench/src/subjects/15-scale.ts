/**
 * Cost per operation as there is more of everything else: idle connections, origins, addresses.
 */
import * as HttpPool from "@poolkit/http/HttpPool"
import type { HttpConnection } from "@poolkit/http/HttpConnection"
import * as Origin from "@poolkit/http/Origin"
import * as Addresses from "@poolkit/pool/Addresses"
import * as BalancePool from "@poolkit/pool/BalancePool"
import * as CachePool from "@poolkit/pool/CachePool"
import type { Lease } from "@poolkit/pool/ConnectionPool"
import * as Effect from "effect/Effect"
import * as EffectPool from "effect/Pool"
import { effects, promises } from "../harness/contestants.ts"
import type { Case, Contestant, Subject } from "../harness/subject.ts"
import { inFibers } from "../harness/work.ts"
import { generic, javaScriptPools, lightning } from "../peers/javascript.ts"
import { connect } from "../peers/poolkit.ts"

const sizes = [1, 10, 100, 1000, 10_000, 100_000]
const body = () => Effect.void
const nameOf = (n: number, what: string) => `${n.toLocaleString("en")} ${what}`

// -----------------------------------------------------------------------------
// Idle connections
// -----------------------------------------------------------------------------

const idleCache = (n: number, order: "lifo" | "fifo") =>
  Effect.gen(function* () {
    const pool = yield* CachePool.make({ connect, maxSize: n, order })
    for (let i = 0; i < n; i++) yield* pool.adopt({ id: i })
    return () => pool.use(body)
  })

const idle = (n: number): ReadonlyArray<Contestant> => [
  effects("CachePool.use", idleCache(n, "lifo")),
  effects("CachePool.use, fifo", idleCache(n, "fifo"), { setup: '`order: "fifo"`' }),
  effects(
    "Effect Pool.use",
    Effect.map(EffectPool.make({ acquire: connect(), size: n }), (pool) => () => EffectPool.use(pool, body))
  ),
  ...(n < 100_000 ? javaScriptPools : [generic, lightning]).map(({ name, open, setup }) =>
    promises(
      name,
      Effect.gen(function* () {
        const { acquire, release } = yield* open(n)
        const all = yield* Effect.promise(() => Promise.all(Array.from({ length: n }, acquire)))
        for (const item of all) yield* Effect.promise(async () => release(item))
        return async () => release(await acquire())
      }),
      { setup }
    )
  )
]

// -----------------------------------------------------------------------------
// Origins
// -----------------------------------------------------------------------------

const unused = () => {
  throw new Error("nobody sends anything here")
}

const fake: HttpConnection = {
  protocol: "http/1.1",
  concurrency: () => 1,
  send: unused,
  isOpen: () => true,
  watch: () => () => {}
}

const openPool = (n: number) =>
  HttpPool.make({
    connect: (_origin: Origin.Origin) => Effect.sync(() => ({ ...fake })),
    maxSize: n,
    maxKeys: n,
    idleTimeToLive: "1 hour"
  })

/** Goes through all origins, which have a connection each, again and again. */
const origins = (n: number): ReadonlyArray<Contestant> => {
  const urls = Array.from({ length: n }, (_, i) => `https://host-${i}.test/`)
  const over = (originOf: (i: number) => Origin.Origin) =>
    Effect.gen(function* () {
      const pool = yield* openPool(n)
      let at = 0
      const one = () => pool.use(originOf(at++ % n), body)
      yield* inFibers(1, n, one)
      return one
    })
  return [
    effects(
      "HttpPool.use, origins kept",
      Effect.suspend(() => {
        const kept = urls.map((url) => Origin.make(url))
        return over((i) => kept[i]!)
      }),
      { setup: "an `Origin` made once for each, and a connector that opens nothing" }
    ),
    effects(
      "HttpPool.use, from URLs",
      over((i) => Origin.fromUrl(urls[i]!)),
      { setup: "`Origin.fromUrl` each time, which remembers 1,000" }
    )
  ]
}

// -----------------------------------------------------------------------------
// Addresses
// -----------------------------------------------------------------------------

const reopen = (_connection: unknown, { invalidate }: Lease<unknown>) => invalidate

const balanced = (n: number) =>
  BalancePool.make({
    addresses: Addresses.constant(Array.from({ length: n }, (_, i) => `address-${i}`)),
    connect: (_address: string) => connect(),
    pool: (connect, { limit }) => CachePool.make({ connect, limit, maxSize: 8 })
  })

const addresses = (n: number): ReadonlyArray<Contestant> => [
  effects(
    "BalancePool, open and close",
    Effect.map(balanced(n), (pool) => () => pool.use(reopen))
  ),
  effects(
    "CachePool, open and close",
    Effect.map(CachePool.make({ connect, maxSize: 8 }), (pool) => () => pool.use(reopen)),
    {
      setup: "without addresses"
    }
  )
]

// -----------------------------------------------------------------------------

const casesOf = (what: string, contestants: (n: number) => ReadonlyArray<Contestant>): ReadonlyArray<Case> =>
  sizes.map((n) => ({ name: nameOf(n, what), n, slow: n !== 10 && n !== 1000, contestants: contestants(n) }))

const groups = {
  "idle connections": casesOf("idle connections", idle),
  origins: casesOf("origins", origins),
  addresses: casesOf("addresses", addresses)
}

const chart = (what: keyof typeof groups, title: string) => ({
  title,
  kind: "lines" as const,
  figure: "time",
  unit: "ns",
  x: what,
  cases: groups[what].map(({ name }) => name)
})

const subject: Subject = {
  title: "Scale",
  about:
    "The cost of one operation as there is more of everything else; waiters, keys and looks at idle connections are in their own " +
    "sections. Borrowing from a pool with so many idle connections; borrowing from an HTTP pool that knows so many origins, one after the " +
    "other; opening and closing a connection, spread over so many addresses. tarn and pg-pool take minutes to open 100,000 connections, and are left out there.",
  cases: Object.values(groups).flat(),
  baseline: "",
  columns: [
    { figure: "time", title: "ns each" },
    { figure: "cpu", title: "CPU ns each" }
  ],
  targets: (["idle connections", "origins", "addresses"] as const).map((what) => {
    const contestant = groups[what][0]!.contestants[0]!.name
    return {
      what: `${contestant}: each with 100,000 ${what} against each with 1,000`,
      figure: "time",
      of: [nameOf(100_000, what), contestant],
      against: [[nameOf(1000, what), contestant]],
      must: 5,
      aim: 2
    } as const
  }),
  charts: [
    chart("idle connections", "Borrowing, with idle connections"),
    chart("origins", "Borrowing, with origins"),
    chart("addresses", "Opening and closing, with addresses")
  ]
}

export default subject
