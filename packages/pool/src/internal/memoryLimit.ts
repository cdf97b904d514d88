/**
 * A limit that is kept in memory. Free slots go to the pools that want one in
 * turn. A connection that a pool closes for the sake of another is a debt: the
 * next slot that the pool gives back is offered to that other one first.
 *
 * The number of slots can change. What is then above it closes: idle
 * connections at once, used ones when they come back.
 */
import * as Effect from "effect/Effect"
import type { ConnectionLimit, LimitStats } from "../ConnectionLimit.ts"
import { type Link, LinkedList } from "./linkedList.ts"
import type { Member, Share } from "./share.ts"

export class MemoryLimit implements ConnectionLimit {
  readonly max: number
  readonly stats: Effect.Effect<LimitStats>
  used = 0
  /** Slots there are to take. */
  protected slots: number
  /** The pool that gives its slot to the next one that takes. */
  giver: MemoryShare | undefined = undefined
  /** Pools that want a slot, next one first. */
  readonly wanting = new LinkedList<MemoryShare>()
  /** Pools that would like one if nobody else wants it. */
  readonly hoping = new Set<MemoryShare>()
  /** Connections that are closing for another pool. */
  debts = 0
  /** Connections that are closing because there are fewer slots now. */
  retiring = 0
  /** Pools that hold a slot: no more of them than there are slots, however many pools there are. */
  protected readonly holders = new Set<MemoryShare>()
  private active = 0
  closed = false

  constructor(max: number) {
    this.max = max
    this.slots = max
    this.stats = Effect.sync(() => ({ max, used: this.used, waiting: this.wanting.size }))
  }

  join(member: Member): Share {
    return new MemoryShare(this, member)
  }

  /** Grants nothing from now on: all its pools are about to close, and none may connect because another closes first. */
  close(): void {
    this.closed = true
  }

  /** Pools that hold or want a slot. */
  countActive(share: MemoryShare): void {
    if (share.held > 0) this.holders.add(share)
    else this.holders.delete(share)
    const active = share.held > 0 || share.wants
    if (active === share.active) return
    share.active = active
    this.active += active ? 1 : -1
  }

  get fairShare(): number {
    return this.slots / Math.max(1, this.active)
  }

  get hasSlot(): boolean {
    return this.used < this.slots
  }

  /** Connections too many that are not closing yet. */
  get surplus(): number {
    return this.used - this.retiring - this.slots
  }

  /** Changes the number of slots. */
  protected resize(slots: number): void {
    this.slots = slots
    while (this.surplus > 0) {
      const victim = this.leastRecentlyUsed()
      if (victim === undefined) return
      victim.retires()
      victim.member.giveUp()
    }
    this.offer(undefined)
  }

  /** A pool asks for a slot that is not there. */
  missed(): void {}

  /** A slot came back and was offered to all. */
  released(): void {}

  /** Offers what is free: to `first`, then to whoever wants it, each once, then to whoever hopes for it. */
  offer(first: MemoryShare | undefined): void {
    if (first?.wants) first.offered()
    for (let left = this.wanting.size; left > 0 && this.hasSlot; left--) this.wanting.first?.offered()
    for (const share of Array.from(this.hoping)) {
      if (!this.hasSlot) break
      share.hope(false)
      share.member.offered()
    }
    // The slot of a debt may have gone elsewhere.
    for (let share = this.wanting.first; share !== undefined && this.reclaim(share); share = share.next);
  }

  /** The pool whose idle connection has been idle for longest, `except` one. */
  leastRecentlyUsed(except?: MemoryShare): MemoryShare | undefined {
    let found: MemoryShare | undefined
    let oldest = Infinity
    for (const share of this.holders) {
      const idleSince = share === except ? undefined : share.member.idleSince()
      if (idleSince === undefined || idleSince >= oldest) continue
      oldest = idleSince
      found = share
    }
    return found
  }

  /** Makes room for `share`: the least recently used idle connection of all other pools closes. */
  reclaim(share: MemoryShare): boolean {
    if (share.owed > 0) return true
    // A close that is under way for a pool which has left the line will do.
    if (this.debts >= this.wanting.size) return false
    const victim = this.leastRecentlyUsed(share)
    if (victim === undefined) return false
    victim.owes(share)
    victim.member.giveUp()
    return true
  }
}

class MemoryShare implements Share, Link<MemoryShare> {
  readonly member: Member
  held = 0
  wants = false
  hopes = false
  active = false
  /** Connections that other pools are closing for this one. */
  owed = 0
  previous: MemoryShare | undefined = undefined
  next: MemoryShare | undefined = undefined
  private readonly limit: MemoryLimit
  /** For whom connections of this pool are closing; undefined: there are fewer slots now. */
  private readonly creditors: Array<MemoryShare | undefined> = []

  constructor(limit: MemoryLimit, member: Member) {
    this.limit = limit
    this.member = member
  }

  take(): boolean {
    const { giver } = this.limit
    if (this.limit.closed || (giver === undefined && !this.limit.hasSlot)) return false
    if (giver !== undefined) giver.lose()
    this.takeOver()
    return true
  }

  give(f: () => void): boolean {
    this.limit.giver = this
    f()
    // Whoever took the slot has ended the offer.
    const given = this.limit.giver === undefined
    this.limit.giver = undefined
    return given
  }

  private lose(): void {
    this.limit.giver = undefined
    this.limit.used--
    this.held--
    this.limit.countActive(this)
  }

  takeOver(): void {
    this.limit.used++
    this.held++
    this.limit.countActive(this)
  }

  release(): void {
    this.limit.used--
    this.held--
    this.limit.countActive(this)
    this.limit.offer(this.settle())
    this.limit.released()
  }

  makeRoom(): boolean {
    if (this.limit.surplus <= 0) return true
    const victim = this.limit.leastRecentlyUsed()
    victim?.member.giveUp()
    return victim !== undefined
  }

  want(yes: boolean): void {
    if (yes === this.wants) return
    if (!yes) return this.withdraw()
    this.wants = true
    this.limit.wanting.push(this)
    this.limit.countActive(this)
    this.limit.reclaim(this)
    this.limit.missed()
  }

  hope(yes: boolean): void {
    if (yes === this.hopes) return
    this.hopes = yes
    if (!yes) this.limit.hoping.delete(this)
    else {
      this.limit.hoping.add(this)
      this.limit.missed()
    }
  }

  /** It joins the end of the queue again if it wants more. */
  offered(): void {
    this.withdraw()
    this.member.offered()
  }

  private withdraw(): void {
    this.wants = false
    this.limit.wanting.remove(this)
    this.limit.countActive(this)
  }

  owes(creditor: MemoryShare): void {
    this.creditors.push(creditor)
    creditor.owed++
    this.limit.debts++
  }

  /** One connection closes because there are fewer slots now. */
  retires(): void {
    this.creditors.push(undefined)
    this.limit.retiring++
  }

  /** Pays the oldest debt; returns whom it was owed to. */
  private settle(): MemoryShare | undefined {
    if (this.creditors.length === 0) return undefined
    const creditor = this.creditors.shift()
    if (creditor === undefined) this.limit.retiring--
    else {
      creditor.owed--
      this.limit.debts--
    }
    return creditor
  }

  yields(needed: boolean): boolean {
    if (this.limit.surplus > 0) {
      this.retires()
      return true
    }
    const { debts, fairShare, wanting } = this.limit
    if (debts >= wanting.size) return false
    // Shares are whole connections, or two pools would take one back and forth; and nobody's is less than one.
    const least = Math.max(1, Math.floor(fairShare))
    for (let other = wanting.first; other !== undefined; other = other.next) {
      if (other === this || other.owed > 0) continue
      if (needed && !(this.held > fairShare && other.held < least)) continue
      this.owes(other)
      return true
    }
    return false
  }

  leave(): void {
    this.want(false)
    this.hope(false)
    while (this.creditors.length > 0) this.settle()
  }
}
