/**
 * Lets a pool start an attempt only when an address can take one: callers then
 * wait in the pool's own line, where a returned connection can serve them.
 */
import * as Effect from "effect/Effect"
import type { ConnectionLimit, LimitStats } from "../ConnectionLimit.ts"
import type { AddressBook } from "./addressBook.ts"
import type { Member, Share } from "./share.ts"

export class AddressLimit implements ConnectionLimit {
  readonly max: number
  readonly stats: Effect.Effect<LimitStats>
  private readonly book: AddressBook<unknown>
  private readonly outer: ConnectionLimit | undefined
  /** Whether the next `take` is for a connection that is open, and has its address. */
  private giving = false

  constructor(book: AddressBook<unknown>, outer: ConnectionLimit | undefined) {
    this.book = book
    this.outer = outer
    this.max = outer?.max ?? Infinity
    this.stats = outer?.stats ?? Effect.succeed({ max: Infinity, used: 0, waiting: 0 })
  }

  private readonly members = new Set<Member>()

  /** Whether a pool waits for what this limit grants. */
  get joined(): boolean {
    return this.members.size > 0
  }

  /** An address was added. */
  renew(): void {
    for (const member of this.members) member.renewed()
  }

  readonly join = (member: Member): Share => {
    this.members.add(member)
    const { book } = this
    const outer = this.outer?.join(member)
    // Not only when it wants: the pool may be below its minSize.
    const stop = book.onChange(() => member.offered())
    const wants = demand(book)
    const hopes = demand(book)
    return {
      take: () => {
        if (!this.giving && !book.hasRoom) return false
        this.giving = false
        return outer === undefined || outer.take()
      },
      takeOver: () => outer?.takeOver(),
      makeRoom: () => outer === undefined || outer.makeRoom(),
      release: () => outer?.release(),
      give: (f) => {
        this.giving = true
        const given = outer === undefined ? (f(), !this.giving) : outer.give(f)
        this.giving = false
        return given
      },
      // Another pool's place would be of no use without an address.
      want: (yes) => {
        wants(yes)
        outer?.want(yes && book.hasRoom)
      },
      hope: (yes) => {
        hopes(yes)
        outer?.hope(yes && book.hasRoom)
      },
      yields: (needed) => outer !== undefined && outer.yields(needed),
      leave: () => {
        wants(false)
        hopes(false)
        stop()
        this.members.delete(member)
        outer?.leave()
      }
    }
  }
}

/** Counts one party that waits for an address, or not. */
const demand = (book: AddressBook<unknown>): ((yes: boolean) => void) => {
  let counted = false
  return (yes) => {
    if (yes === counted) return
    counted = yes
    book.wanted(yes ? 1 : -1)
  }
}
