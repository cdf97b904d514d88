/**
 * For tests of programs that use pools, and of pools.
 *
 * @since 0.1.0
 */
export * as PoolLaws from "./PoolLaws.ts"
export * as TestConnector from "./TestConnector.ts"
