/**
 * The connection record: one opened connection with what its pool knows of it.
 */
import type * as Scope from "effect/Scope"
import type { ConnectionInfo, EvictReason } from "../ConnectionPool.ts"
import type { Link } from "./linkedList.ts"

let lastId = 0

/** Ids of connections and of attempts come from one sequence, so an attempt's id is its connection's. */
export const nextId = (): number => ++lastId

/**
 * Exactly one of:
 *
 * - `idle`: lendable and lent to nobody
 * - `used`: lent, or on its way to the caller it was granted to
 * - `validating`: taken out of circulation until its check ends
 * - `closing`: evicted; its scope is closing
 * - `closed`: its close has ended, or took too long
 */
export type State = "idle" | "used" | "validating" | "closing" | "closed"

export class Connection<Conn> implements ConnectionInfo, Link<Connection<Conn>> {
  readonly id: number
  readonly value: Conn
  readonly scope: Scope.Closeable
  readonly createdAt: number
  readonly annotations: ReadonlyMap<string, unknown>
  state: State = "used"
  idleSince: number | undefined
  /** Neither lent nor kept idle yet: opening it was its validation. */
  fresh = true
  uses = 0
  borrowers = 0
  /** Set once: never lend it again, and close it for this reason when its last borrower is gone. */
  verdict: EvictReason | undefined = undefined
  unwatch: (() => void) | undefined = undefined
  previous: Connection<Conn> | undefined = undefined
  next: Connection<Conn> | undefined = undefined

  constructor(
    id: number,
    value: Conn,
    scope: Scope.Closeable,
    createdAt: number,
    annotations: ReadonlyMap<string, unknown>
  ) {
    this.id = id
    this.value = value
    this.scope = scope
    this.createdAt = createdAt
    this.idleSince = createdAt
    this.annotations = annotations
  }
}
