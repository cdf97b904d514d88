/**
 * What a model test sets up and who takes part: options, callers, predicates.
 */
import type * as Deferred from "effect/Deferred"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"
import type { Lease } from "../../src/ConnectionPool.ts"
import type { BackoffName } from "./modelPause.ts"
import type { Outcome, PeerConnection } from "./modelPeer.ts"

export interface Setup {
  readonly kind: "cache" | "singleton"
  readonly maxSize: number
  readonly minSize: number
  readonly maxIdle: number
  readonly maxConnecting: number
  readonly maxPending: number
  readonly order: "lifo" | "fifo"
  readonly isOpen: boolean
  readonly watch: boolean
  readonly validate: boolean
  readonly validateAfter: number
  readonly onAbandon: "keep" | "cancel"
  readonly waitTimeout: number
  readonly connectTimeout: number
  readonly closeTimeout: number
  readonly drainDeadline: number
  readonly backoff: BackoffName
  readonly leakWarning: boolean
  readonly observed: boolean
  readonly budget: number
  readonly poolBudget: number | undefined
  readonly microtasks: "task" | "turn"
}

export type CallKind = "use" | "get" | "lease" | "takeIdle" | "shared"

interface CallOptions {
  readonly id: number
  readonly kind: CallKind
  /** Operations before the caller's fiber yields. */
  readonly budget: number
  readonly startedAt: number
  readonly step: number
  /** Whether nothing else happened in that step. */
  readonly calm: boolean
}

/** A call to the pool, from its beginning until its fiber ends. */
export class Call {
  readonly id: number
  readonly kind: CallKind
  readonly startedAt: number
  readonly step: number
  readonly calm: boolean
  /** Its fiber does not yield between the moment a connection is lent and the first step of its body. */
  readonly swift: boolean
  readonly gate: Deferred.Deferred<Outcome>
  state: "pending" | "lent" | "over" = "pending"
  connection: PeerConnection | undefined = undefined
  lease: Lease<PeerConnection> | undefined = undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  scope: Scope.Closeable | undefined = undefined
  interrupted = false

  constructor(options: CallOptions, gate: Deferred.Deferred<Outcome>) {
    this.id = options.id
    this.kind = options.kind
    this.startedAt = options.startedAt
    this.step = options.step
    this.calm = options.calm
    this.swift = options.budget >= 1_000
    this.gate = gate
  }

  get isRunning(): boolean {
    return this.fiber !== undefined && this.fiber.pollUnsafe() === undefined
  }
}

export type KeepName = "all" | "none" | "even" | "odd" | "throws" | "reason"

export const keeps: Readonly<Record<KeepName, (connection: PeerConnection) => boolean | "idle">> = {
  all: () => true,
  none: () => false,
  even: (connection) => connection.id % 2 === 0,
  odd: (connection) => connection.id % 2 !== 0,
  reason: (connection) => (connection.id % 3 === 0 ? "idle" : true),
  throws: (connection) => {
    if (connection.id % 3 === 1) throw new Error("a predicate that throws")
    return true
  }
}

export const keepsIt = (name: KeepName, connection: PeerConnection): boolean => {
  try {
    return keeps[name](connection) === true
  } catch {
    return false
  }
}
