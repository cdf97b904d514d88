/**
 * The arithmetic of a limit that several processes share: who may hold how many
 * connections. One exchange is one step, so no other member sees half of it.
 *
 * `@poolkit/redis` has the same in Lua; a model test runs both on the same
 * exchanges. Whatever changes here changes there.
 */
import type { LimitClaim, LimitGrant } from "./storedLimitStore.ts"

interface Entry {
  readonly granted: number
  readonly held: number
  readonly idle: number
  readonly wanted: number
  /** Since when it wants more and has less than its share. */
  readonly since: number
  /** When it was last granted more. */
  readonly grew: number
  readonly expires: number
  readonly sequence: number
}

export interface Book {
  readonly members: Map<string, Entry>
  /** Until then members that know of leases may still come and say what they hold, and nothing new is granted. */
  readonly recoversUntil: number
}

/** What others have and want, as far as it concerns one member. */
interface Others {
  /** Granted to them. */
  granted: number
  /** Granted to them, or still there although it is not. */
  occupied: number
  /** Of that, on its way back. */
  coming: number
  wanted: number
  /** Members with or waiting for connections. */
  active: number
  firstExpiry: number
}

/** Enters a claim. Undefined: a later one of the same member is there already. */
export const enter = (book: Book, claim: LimitClaim, now: number): LimitGrant | undefined => {
  for (const [id, entry] of book.members) if (entry.expires <= now) book.members.delete(id)
  const own = book.members.get(claim.member)
  if (own !== undefined && claim.sequence <= own.sequence) return undefined
  const others = lookAt(book, claim)
  const fair = claim.max / Math.max(1, others.active + (claim.held + claim.wanted > 0 ? 1 : 0))
  // Shares are whole connections: everybody is to have the first before anybody has more than the second.
  const least = Math.max(1, Math.floor(fair))
  const most = Math.max(1, Math.ceil(fair))
  const since = own !== undefined && own.wanted > 0 && occupies(own) < most ? own.since : now
  const recovering = now < book.recoversUntil

  // It keeps what it was granted, and what nobody was granted; a lower max takes no more than all beyond its share.
  // What it was granted may have been lost with the entries.
  const due = recovering ? least : Math.min(own?.granted ?? 0, least)
  const kept = Math.min(claim.held, Math.max(claim.max - others.granted, due))
  const free = recovering ? 0 : Math.max(0, claim.max - others.occupied - claim.held)
  // Up to its share it takes what those leave who have less, or have waited for longer; beyond that what all below theirs leave.
  const ahead = missing(book, claim.member, most, (id, entry) => {
    const order = occupies(entry) - kept || entry.since - since
    return order < 0 || (order === 0 && id < claim.member)
  })
  const lacking = missing(book, claim.member, most, () => true)
  const served = Math.min(claim.wanted, Math.max(Math.min(free - ahead, most - kept), free - lacking, 0))
  const spared = Math.min(claim.spare, Math.max(0, free - served - others.wanted))
  const yielded =
    recovering || served > 0
      ? 0
      : yields(claim, {
          now,
          fair,
          starved: missing(book, claim.member, least, () => true),
          most,
          lacking,
          kept,
          others,
          free,
          own
        })
  const granted = kept + served + spared - yielded

  const unmet = claim.wanted - served
  const entry: Entry = {
    granted,
    held: claim.held,
    idle: claim.idle,
    wanted: unmet,
    since,
    grew: served > 0 ? now : (own?.grew ?? now),
    expires: now + claim.leaseTime,
    sequence: claim.sequence
  }
  if (claim.leaving && claim.held === 0) book.members.delete(claim.member)
  else book.members.set(claim.member, entry)

  const occupied = Math.max(granted, claim.held)
  const left = recovering ? 0 : claim.max - others.occupied - occupied
  const until = recovering ? book.recoversUntil : others.firstExpiry
  return {
    granted,
    fairShare: Math.max(1, Math.floor(claim.max / Math.max(1, book.members.size))),
    contended: others.wanted > 0,
    retryAfter: unmet + claim.spare - spared > 0 && until < Infinity ? until - now : -1,
    used: others.occupied + occupied,
    members: book.members.size,
    wakes:
      left > 0
        ? pick(book, claim.member, takers, left)
        : unmet > 0 && (served > 0 || own === undefined || own.wanted === 0)
          ? pick(
              book,
              claim.member,
              givers(granted < least ? least : granted < most ? most : Infinity),
              unmet - others.coming
            )
          : []
  }
}

const occupies = (entry: Entry): number => Math.max(entry.granted, entry.held)

const lookAt = (book: Book, { member }: LimitClaim): Others => {
  const others: Others = { granted: 0, occupied: 0, coming: 0, wanted: 0, active: 0, firstExpiry: Infinity }
  for (const [id, entry] of book.members) {
    if (id === member) continue
    others.granted += entry.granted
    others.occupied += occupies(entry)
    others.coming += occupies(entry) - entry.granted
    others.wanted += entry.wanted
    if (occupies(entry) + entry.wanted > 0) others.active++
    others.firstExpiry = Math.min(others.firstExpiry, entry.expires)
  }
  return others
}

/** What members other than `member` want and lack to have their share. */
const missing = (book: Book, member: string, least: number, counts: (id: string, entry: Entry) => boolean): number => {
  let sum = 0
  for (const [id, entry] of book.members) {
    if (id !== member && counts(id, entry)) sum += Math.min(entry.wanted, Math.max(0, least - occupies(entry)))
  }
  return sum
}

/** What it has to give up for others: what it does not use, and what is above its share where they have less. */
const yields = (
  claim: LimitClaim,
  state: {
    readonly now: number
    readonly fair: number
    /** What others lack to have their share rounded down. */
    readonly starved: number
    readonly most: number
    /** What they lack to have `most`. */
    readonly lacking: number
    readonly kept: number
    readonly others: Others
    readonly free: number
    readonly own: Entry | undefined
  }
): number => {
  const { fair, free, kept, lacking, most, now, others, own, starved } = state
  const supply = free + others.coming
  const idle = claim.wanted > 0 ? 0 : Math.min(claim.idle, others.wanted - supply)
  // With more members than connections one goes around, but not so fast that nobody gets to use it.
  const settled = fair >= 1 || (own !== undefined && now - own.grew >= claim.leaseTime / 3)
  const above =
    kept > fair && settled
      ? Math.max(Math.min(kept - Math.floor(fair), starved - supply), Math.min(kept - most, lacking - supply))
      : 0
  return Math.min(kept, Math.max(0, idle, above))
}

interface Candidate {
  /** How much of what is needed it may settle; 0: none. */
  readonly worth: (entry: Entry) => number
  readonly compare: (a: Entry, b: Entry) => number
}

/** Those who wait, the poorest first, then whoever has waited for longest. */
const takers: Candidate = {
  worth: (entry) => entry.wanted,
  compare: (a, b) => occupies(a) - occupies(b) || a.since - b.since
}

/** Those who have idle connections, most first, or more than `share`. */
const givers = (share: number): Candidate => ({
  worth: (entry) => Math.max(entry.idle, entry.granted - share),
  compare: (a, b) => b.idle - a.idle || b.granted - a.granted
})

const pick = (book: Book, member: string, { compare, worth }: Candidate, needed: number): ReadonlyArray<string> => {
  const candidates = [...book.members].filter(([id, entry]) => id !== member && worth(entry) > 0)
  candidates.sort(([x, a], [y, b]) => compare(a, b) || (x < y ? -1 : 1))
  const picked: Array<string> = []
  let left = needed
  for (const [id, entry] of candidates) {
    if (left <= 0) break
    picked.push(id)
    left -= worth(entry)
  }
  return picked
}
