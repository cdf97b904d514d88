/**
 * Connection limits that a fleet of processes shares, on Redis.
 *
 * @since 0.1.0
 */
export * as RedisLimitStore from "./RedisLimitStore.ts"
