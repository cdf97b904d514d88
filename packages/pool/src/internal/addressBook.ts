/**
 * The addresses of one service: which there are, how many connections each
 * has, and which are set aside because connecting to them failed.
 */
import type { Cause } from "effect/Cause"
import type { Clock } from "effect/Clock"
import * as MutableHashMap from "effect/MutableHashMap"
import type { Schedule } from "effect/Schedule"
import type { AddressObserver } from "../BalancePool.ts"
import { monotonic, type Run } from "./alarm.ts"
import { Backoff } from "./backoff.ts"
import { Observers } from "./observers.ts"
import { type Ranked, Ranks } from "./ranks.ts"

/** One address, for as long as it stays in the list. One that returns starts clean, with a new entry. */
export class Entry<Addr> implements Ranked {
  readonly address: Addr
  readonly backoff: Backoff<unknown>
  /** Open and connecting ones. */
  connections = 0
  place = 0
  removed = false
  /** Called when it leaves the list. */
  readonly leaving = new Set<() => void>()

  constructor(address: Addr, backoff: (self: Entry<Addr>) => Backoff<unknown>) {
    this.address = address
    this.backoff = backoff(this)
  }
}

/** What happens to addresses, with the arguments of an {@link AddressObserver}. */
type Callbacks<Addr> = Required<{
  readonly [K in keyof AddressObserver<Addr, unknown>]: NonNullable<AddressObserver<Addr, unknown>[K]>
}>

export class AddressBook<Addr> {
  private readonly entries = MutableHashMap.empty<Addr, Entry<Addr>>()
  /** Every entry is either here or set aside; it may be back without anybody having noticed. */
  private readonly up = new Ranks<Entry<Addr>>()
  private readonly aside = new Set<Entry<Addr>>()
  /** None of those set aside is back earlier, in monotonic milliseconds. */
  private nextBack = Infinity
  /** How many connections addresses still have that have left the list. */
  private readonly left = MutableHashMap.empty<Addr, number>()
  private readonly listeners = new Set<() => void>()
  private readonly cap: number
  private readonly schedule: Schedule<unknown, Cause<unknown>>
  private readonly run: Run
  private readonly clock: Clock
  private readonly observer: AddressObserver<Addr, unknown> | undefined
  private readonly observers: Observers
  /** How many wait for an address that can take a connection. */
  private demand = 0

  constructor(
    cap: number,
    schedule: Schedule<unknown, Cause<unknown>>,
    run: Run,
    clock: Clock,
    observer: AddressObserver<Addr, unknown> | undefined
  ) {
    this.cap = cap
    this.schedule = schedule
    this.run = run
    this.clock = clock
    this.observer = observer
    this.observers = new Observers(run)
  }

  get size(): number {
    return MutableHashMap.size(this.entries)
  }

  /** Takes over a list; returns whether addresses came, and whether some are gone. */
  update(list: ReadonlyArray<Addr>): { readonly added: boolean; readonly removed: boolean } {
    const old = new Map(Array.from(this.entries))
    let added = false
    for (const address of list) {
      const found = MutableHashMap.get(this.entries, address)
      if (found._tag === "Some") old.delete(found.value.address)
      else {
        const entry = new Entry(address, this.backoff)
        MutableHashMap.set(this.entries, address, entry)
        this.up.add(entry)
        added = true
        this.tell("added", address)
      }
    }
    for (const entry of old.values()) this.remove(entry)
    this.changed()
    return { added, removed: old.size > 0 }
  }

  private remove(entry: Entry<Addr>): void {
    entry.removed = true
    entry.backoff.stop()
    if (!this.aside.delete(entry)) this.up.remove(entry)
    MutableHashMap.remove(this.entries, entry.address)
    if (entry.connections > 0) this.countLeft(entry.address, entry.connections)
    this.tell("removed", entry.address)
    for (const leave of Array.from(entry.leaving)) leave()
  }

  /** Whether an address has left the list while connections to it are open. */
  hasLeft(address: Addr): boolean {
    return (
      MutableHashMap.size(this.left) > 0 &&
      MutableHashMap.has(this.left, address) &&
      !MutableHashMap.has(this.entries, address)
    )
  }

  // ---------------------------------------------------------------------------
  // Choosing
  // ---------------------------------------------------------------------------

  /**
   * The address to connect to next, of those with room that were not tried yet:
   * the one with the fewest connections, ties at random. If all that there are
   * are set aside, the one that is back first, so that one always stays
   * eligible; but not for an attempt that has `failed` already.
   */
  choose(tried: ReadonlySet<Entry<Addr>>, failed: boolean, random: () => number): Entry<Addr> | undefined {
    this.notice()
    const best = this.up.choose(this.cap, tried, random)
    if (best !== undefined || this.up.size > 0 || failed) return best
    let first: Entry<Addr> | undefined
    for (const entry of this.aside) {
      if (tried.has(entry) || entry.connections >= this.cap) continue
      if (first === undefined || entry.backoff.restsUntil < first.backoff.restsUntil) first = entry
    }
    return first
  }

  /** Whether an address that was not tried is worth waiting for, although it has no room. */
  isWorthWaiting(tried: ReadonlySet<Entry<Addr>>): boolean {
    this.notice()
    return this.up.hasOtherThan(tried)
  }

  /** Whether a connect could start: at one that is set aside only where all are. */
  get hasRoom(): boolean {
    this.notice()
    if (this.up.size > 0) return this.up.hasBelow(this.cap)
    for (const entry of this.aside) if (entry.connections < this.cap) return true
    return false
  }

  /** Notices which addresses are no longer set aside; looks at those that were only. */
  private notice(): void {
    if (this.aside.size === 0 || monotonic(this.clock) < this.nextBack) return
    this.nextBack = Infinity
    for (const entry of this.aside) {
      if (this.isAside(entry)) this.nextBack = Math.min(this.nextBack, entry.backoff.restsUntil)
    }
  }

  // ---------------------------------------------------------------------------
  // Connecting
  // ---------------------------------------------------------------------------

  occupy(entry: Entry<Addr>): void {
    this.count(entry, 1)
    if (entry.removed) this.countLeft(entry.address, 1)
  }

  vacate(entry: Entry<Addr>): void {
    this.count(entry, -1)
    if (entry.removed) this.countLeft(entry.address, -1)
    this.changed()
  }

  private count(entry: Entry<Addr>, change: 1 | -1): void {
    if (entry.removed || this.aside.has(entry)) entry.connections += change
    else this.up.move(entry, change)
  }

  failed(entry: Entry<Addr>, cause: Cause<unknown>): void {
    if (entry.removed) return
    entry.backoff.failure(cause)
    // Even where the schedule says 0: attempts that wait for each other would spin.
    entry.backoff.atLeast(1)
    this.nextBack = Math.min(this.nextBack, entry.backoff.restsUntil)
    entry.backoff.wake(this.mustRing)
    if (this.aside.has(entry)) return
    this.up.remove(entry)
    this.aside.add(entry)
    this.tell("setAside", entry.address, entry.backoff.restsUntil - monotonic(this.clock), cause)
  }

  succeeded(entry: Entry<Addr>): void {
    if (entry.removed) return
    entry.backoff.success()
    this.isAside(entry)
  }

  /** Tells when it is over. */
  private isAside(entry: Entry<Addr>): boolean {
    if (entry.backoff.resting) return true
    if (this.aside.delete(entry)) {
      this.up.add(entry)
      this.tell("back", entry.address)
    }
    return false
  }

  private readonly backoff = (entry: Entry<Addr>): Backoff<unknown> =>
    new Backoff<unknown>(this.schedule, this.run, this.clock, () => {
      this.nextBack = 0
      // The schedule took its time to say how long.
      if (entry.backoff.resting) return entry.backoff.wake(this.mustRing)
      this.isAside(entry)
      this.changed()
    })

  private countLeft(address: Addr, change: number): void {
    const before = MutableHashMap.get(this.left, address)
    const count = (before._tag === "Some" ? before.value : 0) + change
    if (count > 0) MutableHashMap.set(this.left, address, count)
    else MutableHashMap.remove(this.left, address)
  }

  // ---------------------------------------------------------------------------
  // Waiting
  // ---------------------------------------------------------------------------

  /** Returns how to stop listening, which is true once. */
  onChange(listener: () => void): () => boolean {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** There may be room where there was none. */
  changed(): void {
    for (const listener of Array.from(this.listeners)) listener()
  }

  /** Timers for the return of addresses that are set aside run only while somebody waits for one. */
  wanted(change: 1 | -1): void {
    const rang = this.mustRing
    this.demand += change
    if (this.mustRing === rang) return
    for (const entry of this.aside) entry.backoff.wake(!rang)
  }

  private get mustRing(): boolean {
    return this.demand > 0 || this.observer?.back !== undefined
  }

  close(): void {
    for (const entry of MutableHashMap.values(this.entries)) entry.backoff.stop()
  }

  tell<K extends keyof Callbacks<Addr>>(name: K, ...args: Parameters<Callbacks<Addr>[K]>): void {
    const callback = this.observer?.[name] as ((...args: Array<unknown>) => void) | undefined
    if (callback !== undefined) this.observers.isolate(() => callback.apply(this.observer, args))
  }
}
