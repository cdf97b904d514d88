/**
 * The pools for JavaScript, behind the two functions that all of them have.
 */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import { EventEmitter } from "node:events"
import genericPool from "generic-pool"
import { createPool as createLightningPool } from "lightning-pool"
import PgPool from "pg-pool"
import { Pool as TarnPool } from "tarn"

/** A connection that costs nothing to open. */
export interface Item {
  readonly id: number
  /** pg-pool gives a client its way back. */
  release?: (broken?: boolean) => void
  /** tarn asks before it lends. */
  broken?: boolean
}

export interface PromisePool {
  readonly acquire: () => Promise<Item>
  readonly release: (item: Item) => unknown
  /** Gives back a connection that must not be lent again. */
  readonly destroy: (item: Item) => unknown
  /** generic-pool has one. */
  readonly use?: (body: (item: Item) => Promise<unknown>) => Promise<unknown>
}

export interface JavaScriptPool {
  readonly name: string
  readonly setup: string
  readonly open: (size: number, create?: () => Promise<Item>) => Effect.Effect<PromisePool, never, Scope>
}

let ids = 0
const createItem = async (): Promise<Item> => ({ id: ++ids })

const opened = <Pool>(
  make: () => Pool,
  close: (pool: Pool) => Promise<unknown>,
  use: (pool: Pool) => PromisePool
): Effect.Effect<PromisePool, never, Scope> =>
  Effect.map(
    Effect.acquireRelease(Effect.sync(make), (pool) => Effect.promise(() => close(pool))),
    use
  )

export const generic: JavaScriptPool = {
  name: "generic-pool",
  setup: "`max` the pool's size, `fifo: false`; no eviction, no acquire timeout; `release` not awaited",
  open: (size, create = createItem) =>
    opened(
      () => genericPool.createPool({ create, destroy: async () => {} }, { max: size, min: 0, fifo: false }),
      (pool) => pool.drain().then(() => pool.clear()),
      (pool) => ({
        acquire: () => pool.acquire(),
        release: (item) => pool.release(item),
        destroy: (item) => pool.destroy(item),
        use: (body) => pool.use(body)
      })
    )
}

export const lightning: JavaScriptPool = {
  name: "lightning-pool",
  setup:
    "`max` the pool's size, `fifo: false`, no validation, no acquire timeout, no housekeeping, no limit of the queue; `release` not awaited",
  open: (size, create = createItem) =>
    opened(
      () =>
        createLightningPool(
          { create, destroy: async () => {} },
          {
            max: size,
            min: 0,
            fifo: false,
            validation: false,
            acquireTimeoutMillis: 0,
            houseKeepInterval: 0,
            maxQueue: 1e9
          }
        ),
      (pool) => pool.closeAsync(true),
      (pool) => ({
        acquire: () => pool.acquire(),
        release: (item) => pool.release(item),
        destroy: (item) => pool.destroy(item)
      })
    )
}

export const tarn: JavaScriptPool = {
  name: "tarn",
  setup: "`max` the pool's size; its acquire timeout cannot be turned off",
  open: (size, create = createItem) =>
    opened(
      () =>
        new TarnPool<Item>({ create, destroy: () => {}, validate: ({ broken }) => broken !== true, min: 0, max: size }),
      (pool) => pool.destroy(),
      (pool) => ({
        acquire: () => pool.acquire().promise,
        release: (item) => pool.release(item),
        destroy: (item) => {
          item.broken = true
          pool.release(item)
        }
      })
    )
}

/** What pg-pool expects of a client, connected by `create`. */
const clientOf = (create: () => Promise<Item>) =>
  class Client extends EventEmitter {
    readonly id: number = ++ids
    readonly _queryable = true
    declare release: (broken?: boolean) => void
    connect(done: (error?: unknown) => void) {
      create().then((item) => {
        Object.assign(this, item)
        done()
      }, done)
    }
    end(done?: () => void) {
      done?.()
    }
  }

export const pg: JavaScriptPool = {
  name: "pg-pool",
  setup: "`max` the pool's size, no timeouts, a stub for the Postgres client",
  open: (size, create = createItem) =>
    opened(
      () => new PgPool<Item>({ max: size, idleTimeoutMillis: 0, Client: clientOf(create) }),
      (pool) => pool.end(),
      (pool) => ({
        acquire: () => pool.connect(),
        release: (item) => item.release!(),
        destroy: (item) => item.release!(true)
      })
    )
}

export const javaScriptPools: ReadonlyArray<JavaScriptPool> = [generic, lightning, pg, tarn]
