/**
 * The arithmetic of the store, under members that obey it: any order of
 * exchanges, lost answers, claims that arrive late, members that stop for
 * longer than their lease, a store that restarts with nothing or with old
 * entries. What the server sees is what members have.
 */
import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import type { LimitClaim } from "../src/ConnectionLimit.ts"
import { type Book, enter } from "../src/internal/storedLimitBook.ts"

const leaseTime = 1_200

class Member {
  /** Connections. */
  have = 0
  /** What it may have. */
  allowed = 0
  /** When it stops relying on its lease. */
  until = 0
  sequence = 0
  /** It does not notice that time passes. */
  stopped = false
  last: LimitClaim | undefined = undefined
  readonly id: string

  constructor(id: string) {
    this.id = id
  }
}

class World {
  now = 1_000_000
  book: Book = { members: new Map(), recoversUntil: 0 }
  /** What the store wrote down last. */
  private saved = this.book
  readonly members: ReadonlyArray<Member>
  readonly max: number

  constructor(max: number, members: number) {
    this.max = max
    this.members = Array.from({ length: members }, (_, i) => new Member(`m${i}`))
  }

  exchange(member: Member, wanted: number, idle: number, answered = true): ReadonlyArray<Member> {
    if (member.stopped) return []
    this.notice(member)
    const claim: LimitClaim = {
      key: "",
      member: member.id,
      sequence: ++member.sequence,
      max: this.max,
      leaseTime,
      held: member.have,
      idle: Math.min(idle, member.have),
      wanted,
      spare: 0,
      leaving: false
    }
    member.allowed = Math.min(member.allowed, member.have)
    member.last = claim
    const grant = enter(this.book, claim, this.now)
    assert.isDefined(grant)
    assert.isAtMost(grant.granted, this.max)
    if (answered) {
      member.allowed = grant.granted
      member.until = this.now + 0.8 * leaseTime
    }
    return this.members.filter(({ id }) => grant.wakes.includes(id))
  }

  /** A claim of the past arrives once more. */
  late(member: Member): void {
    if (member.last === undefined || !this.book.members.has(member.id)) return
    const before = structuredClone(this.book.members.get(member.id))
    // A store that restarted may know less than that.
    const known = before!.expires > this.now && before!.sequence >= member.last.sequence
    const grant = enter(this.book, member.last, this.now)
    if (known) assert.deepStrictEqual([grant, this.book.members.get(member.id)], [undefined, before])
  }

  connect(member: Member): void {
    if (member.stopped) return
    this.notice(member)
    if (member.have < member.allowed) member.have++
  }

  close(member: Member): void {
    if (!member.stopped && member.have > 0) member.have--
  }

  pass(millis: number): void {
    this.now += millis
    for (const member of this.members) if (!member.stopped) this.notice(member)
  }

  /** Its lease is over: it closes everything. */
  private notice(member: Member): void {
    if (this.now < member.until) return
    member.have = 0
    member.allowed = 0
  }

  save(): void {
    this.saved = { ...this.book, members: new Map(this.book.members) }
  }

  /** The store starts again, with nothing or with what it wrote down last. */
  restart(empty: boolean): void {
    this.book = {
      members: new Map(empty ? [] : this.saved.members),
      recoversUntil: this.now + leaseTime
    }
  }

  check(): void {
    const beyond = this.members.filter(({ stopped, until }) => stopped && this.now >= until)
    const sum = (members: ReadonlyArray<Member>) => members.reduce((total, { have }) => total + have, 0)
    assert.isAtMost(sum(this.members) - sum(beyond), this.max)
  }
}

type Step = readonly [what: string, who: number, a: number, b: number]

const steps = fc.array(
  fc.tuple(
    fc.constantFrom(
      "exchange",
      "exchange",
      "exchange",
      "lost",
      "late",
      "connect",
      "connect",
      "close",
      "pass",
      "stop",
      "go",
      "save",
      "restart"
    ),
    fc.nat(4),
    fc.nat(6),
    fc.nat(3)
  ),
  { maxLength: 80, size: "max" }
)

const take = (world: World, [what, who, a, b]: Step): void => {
  const member = world.members[who % world.members.length]!
  if (what === "exchange") world.exchange(member, a, a === 0 ? b : 0)
  else if (what === "lost") world.exchange(member, a, 0, false)
  else if (what === "late") world.late(member)
  else if (what === "connect") for (let i = 0; i <= a; i++) world.connect(member)
  else if (what === "close") world.close(member)
  else if (what === "pass") world.pass((a + 1) * 150)
  else if (what === "stop") member.stopped ||= b === 0
  else if (what === "save") world.save()
  else if (what === "restart") world.restart(b === 0)
  else {
    member.stopped = false
    world.pass(0)
  }
}

/** Everybody wants as much as it gets, and used connections come back at once. Some are gone. */
const everybodyWants = (world: World, gone = 0): void => {
  const members = world.members.slice(gone)
  const least = Math.max(1, Math.floor(world.max / members.length))
  const most = new Map<Member, number>()
  for (const member of members) member.stopped = false
  for (const member of world.members.slice(0, gone)) {
    member.have = 0
    member.stopped = true
  }
  for (let round = 0; round < 6 * (members.length + 1); round++) {
    world.pass(leaseTime / 6)
    const due = [...members]
    for (let member = due.shift(), turns = 0; member !== undefined; member = due.shift(), turns++) {
      assert.isBelow(turns, 20 * world.max * world.members.length, "they wake each other for ever")
      if (member.stopped) continue
      due.push(...world.exchange(member, 1, 0))
      const gave = member.have > member.allowed
      while (member.have > member.allowed) world.close(member)
      const got = member.have < member.allowed
      world.connect(member)
      if (got || gave) due.push(member)
      most.set(member, Math.max(most.get(member) ?? 0, member.have))
      world.check()
    }
  }
  if (world.max >= members.length) {
    const counts = members.map(({ have }) => have)
    assert.isAtMost(Math.max(...counts) - Math.min(...counts), 1, `${counts}`)
  }
  for (const [member, had] of most) assert.isAtLeast(had, least, `${member.id} of ${members.length}`)
  // As many as there are, all are in use.
  assert.strictEqual(
    members.reduce((sum, { have }) => sum + have, 0),
    world.max
  )
}

describe("ConnectionLimit", () => {
  describe("the arithmetic of the store", () => {
    const runs = 2_000

    it("members that obey never have more than max, except what stopped ones still have; then everybody gets its share, also when others die", () => {
      fc.assert(
        fc.property(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 5 }), steps, (max, count, all) => {
          const world = new World(max, count)
          for (const step of all) {
            take(world, step)
            world.check()
          }
          everybodyWants(world)
          // Whatever they wait for when they die.
          everybodyWants(world, count - 1)
        }),
        { numRuns: runs }
      )
    })

    const say = (book: Book, member: string, held: number, sequence: number, now = 1_000) =>
      enter(
        book,
        { key: "", member, sequence, max: 10, leaseTime, held, idle: 0, wanted: 0, spare: 0, leaving: false },
        now
      )!.granted

    it("after a restart with old entries a member keeps its share of what it has, although they say that it is another's", () => {
      const book: Book = { members: new Map(), recoversUntil: 0 }
      assert.strictEqual(say(book, "a", 10, 1), 10)
      // Since then a has given 8 to b, and the store forgot it.
      const restarted: Book = { ...book, recoversUntil: 1_000 + leaseTime }
      assert.deepStrictEqual(
        [say(restarted, "b", 8, 1), say(restarted, "a", 2, 3), say(restarted, "b", 5, 2)],
        [5, 2, 5]
      )
    })

    it("after a restart members with too many together all go down to their share, and none to nothing", () => {
      const book: Book = { members: new Map(), recoversUntil: 1_000 + leaseTime }
      const first = [say(book, "a", 10, 1), say(book, "b", 5, 1)]
      assert.deepStrictEqual([first, say(book, "a", 10, 2), say(book, "b", 5, 2)], [[10, 5], 5, 5])
    })
  })
})
