/**
 * PoolKit's and Effect's own pools over connections that cost nothing.
 */
import * as CachePool from "@poolkit/pool/CachePool"
import * as Effect from "effect/Effect"
import * as EffectPool from "effect/Pool"

export interface Item {
  readonly id: number
}

let ids = 0

export const connect = (): Effect.Effect<Item> => Effect.sync(() => ({ id: ++ids }))

/** Default options but for its size, `waitTimeout` of 30 seconds included. */
export const cache = (size: number) => CachePool.make({ connect, maxSize: size })

export const effectPool = (size: number) => EffectPool.make({ acquire: connect(), size })
