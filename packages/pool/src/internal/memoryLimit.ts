/**
 * A limit that is kept in memory. Free slots go to the pools that want one in
 * turn; a pool that wants one and finds none has at most one connection of
 * another pool closed for it at a time.
 */
import * as Effect from "effect/Effect"
import type { ConnectionLimit, LimitStats } from "../ConnectionLimit.ts"
import { type Link, LinkedList } from "./linkedList.ts"
import type { Member, Share } from "./share.ts"

export class MemoryLimit implements ConnectionLimit {
  readonly max: number
  readonly stats: Effect.Effect<LimitStats>
  used = 0
  transferring = false
  /** Pools that want a slot, next one first. */
  readonly wanting = new LinkedList<MemoryShare>()
  private readonly shares = new Set<MemoryShare>()
  private active = 0

  constructor(max: number) {
    this.max = max
    this.stats = Effect.sync(() => ({ max, used: this.used, waiting: this.wanting.size }))
  }

  join(member: Member): Share {
    const share = new MemoryShare(this, member)
    this.shares.add(share)
    return share
  }

  readonly transfer = (f: () => void): void => {
    this.transferring = true
    try {
      f()
    } finally {
      this.transferring = false
    }
  }

  leave(share: MemoryShare): void {
    this.shares.delete(share)
  }

  /** Pools that hold or want a slot. */
  countActive(share: MemoryShare): void {
    const active = share.held > 0 || share.wants
    if (active === share.active) return
    share.active = active
    this.active += active ? 1 : -1
  }

  get fairShare(): number {
    return this.max / Math.max(1, this.active)
  }

  /** Offers what is free to whoever wants it, each once. */
  offer(): void {
    for (let left = this.wanting.size; left > 0 && this.used < this.max; left--) {
      const share = this.wanting.first
      if (share === undefined) return
      // It joins the end of the queue again if it wants more.
      share.withdraw()
      share.member.offered()
    }
  }

  /** Makes room for `share`: the least recently used idle connection of all other pools closes. */
  reclaim(share: MemoryShare): void {
    let victim: MemoryShare | undefined
    let oldest = Infinity
    for (const other of this.shares) {
      if (other === share) continue
      const idleSince = other.member.idleSince()
      if (idleSince === undefined || idleSince >= oldest) continue
      oldest = idleSince
      victim = other
    }
    if (victim === undefined) return
    share.reclaiming = true
    victim.member.giveUp()
  }
}

class MemoryShare implements Share, Link<MemoryShare> {
  readonly member: Member
  held = 0
  wants = false
  active = false
  /** A connection of another pool is closing for this one. */
  reclaiming = false
  previous: MemoryShare | undefined = undefined
  next: MemoryShare | undefined = undefined
  private readonly limit: MemoryLimit

  constructor(limit: MemoryLimit, member: Member) {
    this.limit = limit
    this.member = member
  }

  readonly take = (): boolean => {
    if (this.limit.used >= this.limit.max && !this.limit.transferring) return false
    this.limit.transferring = false
    this.takeOver()
    return true
  }

  readonly takeOver = (): void => {
    this.limit.used++
    this.held++
    this.limit.countActive(this)
  }

  readonly release = (): void => {
    this.limit.used--
    this.held--
    this.limit.countActive(this)
    this.limit.offer()
  }

  readonly want = (yes: boolean): void => {
    if (yes === this.wants) return
    if (!yes) return this.withdraw()
    this.wants = true
    this.limit.wanting.push(this)
    this.limit.countActive(this)
    this.limit.reclaim(this)
  }

  withdraw(): void {
    this.wants = false
    this.reclaiming = false
    this.limit.wanting.remove(this)
    this.limit.countActive(this)
  }

  readonly yields = (hasWaiters: boolean): boolean => {
    const { fairShare, wanting } = this.limit
    for (let other = wanting.first; other !== undefined; other = other.next) {
      if (other === this || other.reclaiming) continue
      if (hasWaiters && !(this.held > fairShare && other.held < fairShare)) continue
      other.reclaiming = true
      return true
    }
    return false
  }

  readonly leave = (): void => {
    this.want(false)
    this.limit.leave(this)
  }
}
