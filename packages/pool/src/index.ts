/**
 * Connection pools that do one thing each and stack.
 *
 * @since 0.1.0
 */
export * as CachePool from "./CachePool.ts"
export * as ConnectionPool from "./ConnectionPool.ts"
export * as Connector from "./Connector.ts"
export * as SingletonPool from "./SingletonPool.ts"
