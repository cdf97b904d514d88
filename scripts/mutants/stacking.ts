/** Kinds over other kinds: expiry, maps, negotiation. */
import { inPool, type Mutation } from "./mutation.ts"

const src = "packages/pool/src"

const expire: ReadonlyArray<Mutation> = [
  {
    name: "what has expired is lent until somebody looks",
    file: `${src}/ExpirePool.ts`,
    find: "yield* made.guard(policy.keep)",
    replace: "",
    test: inPool(
      "ExpirePool",
      "ExpirePool > schedule > E2 between two looks the guard keeps what has expired from being lent"
    )
  },
  {
    name: "all connections have the same lifetime",
    file: `${src}/ExpirePool.ts`,
    find: "return this.maxLifetime * (1 - this.jitter * share)",
    replace: "return this.maxLifetime * (1 - this.jitter * (share - share))",
    test: inPool(
      "ExpirePool",
      "ExpirePool > maxLifetime > E1 jitter shortens lifetimes by at most its share, each connection's by another"
    )
  },
  {
    name: "a connection's lifetime is drawn anew at each look",
    file: `${src}/ExpirePool.ts`,
    find: "const turns = this.seed + info.id * 0.618033988749895",
    replace: "const turns = Math.random()",
    test: inPool(
      "ExpirePool",
      "ExpirePool > maxLifetime > E1 a connection's own lifetime does not change while it lives"
    )
  },
  {
    name: "a used connection expires for being idle",
    file: `${src}/ExpirePool.ts`,
    find: `    if (this.idleTimeToLive === Infinity || info.idleSince === undefined) return Infinity
    return this.idleTimeToLive - this.age(info, info.idleSince, now)`,
    replace: `    if (this.idleTimeToLive === Infinity) return Infinity
    return this.idleTimeToLive - this.age(info, info.idleSince ?? info.createdAt, now)`,
    test: inPool(
      "ExpirePool",
      "ExpirePool > idleTimeToLive > E2 I8 a used connection is never idle, however long it is used"
    )
  },
  {
    name: "a clock that jumps back lets connections live until it has caught up",
    file: `${src}/ExpirePool.ts`,
    find: "if (now >= since) return now - since",
    replace: "if (now >= 0) return Math.max(0, now - since)",
    test: inPool(
      "ExpirePool",
      "ExpirePool > a clock that jumps > E3 back expires nothing never: what is idle goes within its time from when that was noticed"
    )
  },
  {
    name: "a timer runs for a pool that has become empty",
    file: `${src}/ExpirePool.ts`,
    find: "yield* Effect.raceFirst(Effect.sleep(delay), occupancy.empty)",
    replace: "yield* Effect.sleep(delay)",
    test: inPool(
      "ExpirePool",
      "ExpirePool > the fiber > E3 A10 drops its timer at once when the last connection goes by other means"
    )
  }
]

const map: ReadonlyArray<Mutation> = [
  {
    name: "a key is known a turn after its first caller came",
    file: `${src}/MapPool.ts`,
    find: "    MutableHashMap.set(this.entries, key, entry)\n",
    replace: "    setImmediate(() => MutableHashMap.set(this.entries, key, entry))\n",
    test: inPool(
      "MapPool.keys",
      "MapPool > key and pool > M1 a pool for each key: targets of one key share, others do not"
    )
  },
  {
    name: "a build that failed is found by every later caller",
    file: `${src}/MapPool.ts`,
    find: "if (Exit.isFailure(exit)) this.takeOut(entry)",
    replace: "",
    test: inPool(
      "MapPool.keys",
      "MapPool > key and pool > M1 a build that dies is every caller's defect, and the next call builds again"
    )
  },
  {
    name: "a key is swept while an attempt without a caller is in flight",
    file: `${src}/MapPool.ts`,
    find: "stats.idle + stats.used + stats.connecting + stats.closing + stats.pending + stats.borrowers === 0",
    replace: "stats.idle + stats.used + stats.closing + stats.pending + stats.borrowers === 0",
    test: inPool(
      "MapPool.keys",
      "MapPool > idleTimeToLive > M2 a key is not removed while an attempt without a caller is in flight"
    )
  },
  {
    name: "a caller that comes while a key's stats are read is removed with it",
    file: `${src}/MapPool.ts`,
    find: "if (entry.calls !== calls || !unused(stats)) return false",
    replace: "if (!unused(stats)) return false",
    test: inPool(
      "MapPool.removal",
      "MapPool > removal > M2 a key whose caller came while the sweep read its stats is not removed"
    )
  },
  {
    name: "the oldest key makes room, not the least recently used one",
    file: `${src}/MapPool.ts`,
    find: "this.settings.maxKeys !== Infinity && this.recent.last !== entry",
    replace: "this.recent.last === undefined",
    test: inPool(
      "MapPool.keys",
      "MapPool > maxKeys > M3 at the limit the least recently used key without borrowers makes room"
    )
  },
  {
    name: "a key with a borrower makes room",
    file: `${src}/MapPool.ts`,
    find: "stats.borrowers + stats.pending === 0",
    replace: "stats.pending === 0",
    test: inPool("MapPool.keys", "MapPool > maxKeys > M3 nor does one whose borrower came by get, whose call has ended")
  },
  {
    name: "a guard does not reach keys that come later",
    file: `${src}/MapPool.ts`,
    find: "yield* this.attachments.add(pool)",
    replace: "",
    test: inPool(
      "MapPool.keys",
      "MapPool > all keys > M5 guard holds for all keys and for those that come later, while its scope is open"
    )
  },
  {
    name: "a key's sweep is forgotten when its last connection closes",
    file: `${src}/MapPool.ts`,
    find: "if (--entry.connections === 0) this.emptied(entry)",
    replace: "entry.connections--",
    test: inPool(
      "MapPool.keys",
      "MapPool > idleTimeToLive > M2 a key with an idle connection stays, however long nobody comes"
    )
  }
]

const negotiate: ReadonlyArray<Mutation> = [
  {
    name: "each caller of a cold burst probes for itself",
    file: `${src}/internal/negotiation.ts`,
    find: "if (this.outcome === undefined && this.probe !== undefined) {",
    replace: "if (this.outcome === undefined && this.probe === null) {",
    test: inPool(
      "NegotiatePool",
      "NegotiatePool > a cold burst > N3 I15 makes one probe where the upgrade side is exclusive and the fallback has a minimum, too"
    )
  },
  {
    name: "a connection that the other side does not take stays open",
    file: `${src}/internal/negotiation.ts`,
    find: "if (parcel.taken) return Effect.void",
    replace: "if (handsOver) return Effect.void",
    test: inPool(
      "NegotiatePool",
      "NegotiatePool > a cold burst > N3 A7 the wait counts on, too, where both sides are singletons"
    )
  },
  {
    name: "a connection is closed although the other side took it",
    file: `${src}/internal/negotiation.ts`,
    find: "if (parcel.taken) return Effect.void",
    replace: "",
    test: inPool("NegotiatePool", "NegotiatePool > make > N1 makeMerged lends the connection as it is")
  },
  {
    name: "the wait for the probe is not counted on the side that it picks",
    file: `${src}/internal/twoSides.ts`,
    find: "start === undefined ? pool : waitingSince(start)",
    replace: "start === undefined || waitingSince === undefined ? pool : pool",
    test: inPool(
      "NegotiatePool",
      "NegotiatePool > a cold burst > N3 A7 the wait for the probe counts against the wait on the side that it picks (use)"
    )
  },
  {
    name: "a newcomer overtakes those who wait for the probe",
    file: `${src}/internal/twoSides.ts`,
    find: "if (handovers > 0 || this.inner[moving].isWaking()) return moving",
    replace: "if (handovers < 0) return moving",
    test: inPool(
      "NegotiatePool",
      "NegotiatePool > a cold burst > N3 A6 nobody who comes when the outcome is known overtakes those who waited for it"
    )
  },
  {
    name: "the first outcome is never contradicted",
    file: `${src}/internal/negotiation.ts`,
    find: "this.outcome = picked",
    replace: "this.outcome ??= picked",
    test: inPool(
      "NegotiatePool",
      "NegotiatePool > a cold burst > N3 until contradicted: an upgrade connect that turns out to be a fallback fans out"
    )
  },
  {
    name: "a hand-over needs a second slot of the shared limit",
    file: `${src}/internal/memoryLimit.ts`,
    find: "giver === undefined && !this.limit.hasSlot",
    replace: "!this.limit.hasSlot",
    test: inPool(
      "NegotiatePool",
      "NegotiatePool > the hand-over > N2 M4 under a shared limit of 1 a connection changes sides without a second slot"
    )
  }
]

const immediate: ReadonlyArray<Mutation> = [
  {
    name: "a key is removed under a caller that it is lending to",
    file: `${src}/MapPool.ts`,
    find: "    entry.callers++\n    this.touch(entry)\n    const lease",
    replace: "    this.touch(entry)\n    const lease",
    test: inPool(
      "immediate",
      "MapPool > what is idle > M3 its key does not make room while a caller of it is being served: get"
    )
  },
  {
    name: "what is idle is lent for a scope that is closed",
    file: `${src}/internal/immediate.ts`,
    find: "if (!addFinalizer(scope, loan, returned)) return undefined",
    replace: "addFinalizer(scope, loan, returned)",
    test: inPool("immediate", "MapPool > what is idle > A1 is not lent for a scope that is closed")
  },
  {
    name: "a body that throws keeps what it was lent at once",
    file: `${src}/internal/immediate.ts`,
    find: `    state.loan = loan
    return lender.lendNow(loan) ? this.body(loan.connection, loan) : this.otherwise()`,
    replace: `    const effect = lender.lendNow(loan) ? this.body(loan.connection, loan) : this.otherwise()
    state.loan = loan
    return effect`,
    test: inPool(
      "immediate",
      "NegotiatePool > what is idle > A1 comes back from a body that throws before it is an effect"
    )
  },
  {
    name: "nobody is warned of what a map lent at once",
    file: `${src}/internal/pool.ts`,
    find: "return this.warnings === undefined ? this.inner : this.warnings.watch(this.inner)",
    replace: "return this.inner",
    test: inPool("immediate", "MapPool > what is idle > B5 is warned of when it is out for too long: lease")
  },
  {
    name: "a pool that delegates to one of the package is passed by",
    file: `${src}/internal/pool.ts`,
    find: "    if (this.self !== this) return undefined\n",
    replace: "",
    test: inPool(
      "immediate",
      "MapPool > what is idle > is lent by a pool of the user's that delegates to one of this package"
    )
  },
  {
    name: "an observer that closes a loan's scope leaves the loan for ever",
    file: `${src}/internal/connectionQueue.ts`,
    find: `    loan.phase = "lent"
    if (this.connections.observers.watchesLoans) {`,
    replace: `    queueMicrotask(() => (loan.phase = "lent"))
    if (this.connections.observers.watchesLoans) {`,
    test: inPool(
      "immediate",
      "MapPool > what is idle > A1 an observer that closes the scope of the loan it is told of leaves nothing lent: get"
    )
  },
  {
    name: "an interrupted caller dies of the way to the other side",
    file: `${src}/internal/twoSides.ts`,
    find: "return Effect.uninterruptibleMask((restore) =>",
    replace: "return ((f: (restore: <X>(x: X) => X) => Effect.Effect<A, E2, R>) => f((x) => x))((restore) =>",
    test: inPool(
      "NegotiatePool",
      "NegotiatePool > errors and interruption > N4 a caller that is interrupted on its way to the other side ends as interrupted, at whatever operation"
    )
  },
  {
    name: "while one side of a negotiation drains the other one lends",
    file: `${src}/internal/twoSides.ts`,
    find: "      this.draining = true\n",
    replace: "",
    test: inPool(
      "NegotiatePool.close",
      "NegotiatePool > closing the scope > A8 from the moment a drain begins neither side lends, whichever closes first"
    )
  },
  {
    name: "a negotiation keeps what it lent at once",
    file: `${src}/internal/immediate.ts`,
    find: "if (loan !== undefined) loan.lender.end(loan)",
    replace: "",
    test: inPool(
      "NegotiatePool",
      "NegotiatePool > where a call goes > N2 what the fallback has idle is used again; nothing is opened"
    )
  },
  {
    name: "a map keeps what it lent at once",
    file: `${src}/MapPool.ts`,
    find: "if (loan !== undefined) loan.lender.end(loan)",
    replace: "",
    test: inPool(
      "MapPool.keys",
      "MapPool > key and pool > M1 a pool for each key: targets of one key share, others do not"
    )
  },
  {
    name: "a scope keeps the finalizers of loans that could not be made at once",
    file: `${src}/internal/immediate.ts`,
    find: "  removeFinalizer(scope, loan)\n",
    replace: "",
    test: inPool(
      "scope",
      "MapPool > a scope that lives long > keeps nothing of calls that failed, timed out or were interrupted"
    )
  },
  {
    name: "what is lent at once to a scope is not returned when it closes",
    file: `${src}/internal/immediate.ts`,
    find: "    lender.end(loan)\n    return Effect.void",
    replace: "    return Effect.void",
    test: inPool(
      "scope",
      "NegotiatePool > a scope that lives long > gives back what was idle and is lent at once, when it closes"
    )
  },
  {
    name: "a key that is lent at once does not count as used",
    file: `${src}/MapPool.ts`,
    find: "    this.touch(entry)\n    const lease",
    replace: "    const lease",
    test: inPool("MapPool.keys", "MapPool > maxKeys > M3 a key counts as used when get and lease borrow from it, too")
  },
  {
    name: "a map that drains lends what a key has idle",
    file: `${src}/MapPool.ts`,
    find: "    if (this.draining) return undefined\n    const found",
    replace: "    const found",
    test: inPool(
      "MapPool.removal",
      "MapPool > removal > M5 from the moment a drain begins no key lends, whichever closes first"
    )
  }
]

export const stacking: ReadonlyArray<Mutation> = [
  ...expire,
  ...map,
  ...negotiate,
  ...immediate,
  {
    name: "a sweep goes on in a map that drains",
    file: "packages/pool/src/MapPool.ts",
    find: "first !== undefined && !this.draining; first",
    replace: "first !== undefined; first",
    test: inPool("MapPool.removal", "MapPool > removal > M2 a drain ends the sweep that it came upon"),
    kills: "hang"
  }
]
