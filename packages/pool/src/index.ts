/**
 * Connection pools that do one thing each and stack.
 *
 * @since 0.1.0
 */
export * as Addresses from "./Addresses.ts"
export * as BalancePool from "./BalancePool.ts"
export * as CachePool from "./CachePool.ts"
export * as ConnectionLimit from "./ConnectionLimit.ts"
export * as ConnectionPool from "./ConnectionPool.ts"
export * as Connector from "./Connector.ts"
export * as ExpirePool from "./ExpirePool.ts"
export * as MapPool from "./MapPool.ts"
export * as NegotiatePool from "./NegotiatePool.ts"
export * as PoolMetrics from "./PoolMetrics.ts"
export * as RequestQueue from "./RequestQueue.ts"
export * as SharedPool from "./SharedPool.ts"
export * as SingletonPool from "./SingletonPool.ts"
