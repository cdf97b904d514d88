/**
 * Sums of stats, for pools that are made of other pools.
 */
import type { PoolStats } from "../ConnectionPool.ts"

export const zero: PoolStats = {
  idle: 0,
  used: 0,
  connecting: 0,
  closing: 0,
  pending: 0,
  borrowers: 0,
  maxSize: 0,
  created: 0,
  closed: 0,
  reused: 0,
  failed: 0,
  timedOut: 0
}

export const add = (a: PoolStats, b: PoolStats): PoolStats => ({
  idle: a.idle + b.idle,
  used: a.used + b.used,
  connecting: a.connecting + b.connecting,
  closing: a.closing + b.closing,
  pending: a.pending + b.pending,
  borrowers: a.borrowers + b.borrowers,
  maxSize: a.maxSize + b.maxSize,
  created: a.created + b.created,
  closed: a.closed + b.closed,
  reused: a.reused + b.reused,
  failed: a.failed + b.failed,
  timedOut: a.timedOut + b.timedOut
})

/** Adds what `b` counted to `a`; its levels are gone with it. */
export const addCounters = (a: PoolStats, b: PoolStats): PoolStats =>
  add(a, { ...b, idle: 0, used: 0, connecting: 0, closing: 0, pending: 0, borrowers: 0, maxSize: 0 })
