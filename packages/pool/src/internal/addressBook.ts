/**
 * The addresses of one service: which there are, how many connections each
 * has, and which are set aside because connecting to them failed.
 */
import type { Cause } from "effect/Cause"
import type { Clock } from "effect/Clock"
import * as MutableHashMap from "effect/MutableHashMap"
import type { Schedule } from "effect/Schedule"
import type { Run } from "./alarm.ts"
import { Backoff } from "./backoff.ts"

/** One address, for as long as it stays in the list. One that returns starts clean, with a new entry. */
export class Entry<Addr> {
  readonly address: Addr
  readonly backoff: Backoff<unknown>
  /** Open and connecting ones. */
  connections = 0
  removed = false

  constructor(address: Addr, backoff: Backoff<unknown>) {
    this.address = address
    this.backoff = backoff
  }
}

export class AddressBook<Addr> {
  private readonly entries = MutableHashMap.empty<Addr, Entry<Addr>>()
  private readonly listeners = new Set<() => void>()
  private readonly cap: number
  private readonly makeBackoff: () => Backoff<unknown>

  constructor(cap: number, schedule: Schedule<unknown, Cause<unknown>>, run: Run, clock: Clock) {
    this.cap = cap
    this.makeBackoff = () => new Backoff<unknown>(schedule, run, clock, () => {})
  }

  /** Takes over a list; returns whether an address is gone. */
  update(list: ReadonlyArray<Addr>): boolean {
    const old = new Map(Array.from(this.entries))
    for (const address of list) {
      const found = MutableHashMap.get(this.entries, address)
      if (found._tag === "None") MutableHashMap.set(this.entries, address, new Entry(address, this.makeBackoff()))
      else old.delete(found.value.address)
    }
    for (const [address, entry] of old) {
      entry.removed = true
      entry.backoff.stop()
      MutableHashMap.remove(this.entries, address)
    }
    this.changed()
    return old.size > 0
  }

  /**
   * The address to connect to next, of those not tried yet: the one with the
   * fewest connections, ties at random. If all are set aside, the one that is
   * back first, so that one always stays eligible.
   */
  choose(tried: ReadonlySet<Entry<Addr>>, random: () => number): Entry<Addr> | undefined {
    let best: Array<Entry<Addr>> = []
    let first: Entry<Addr> | undefined
    for (const entry of MutableHashMap.values(this.entries)) {
      if (tried.has(entry) || entry.connections >= this.cap) continue
      if (entry.backoff.resting) {
        if (first === undefined || entry.backoff.restsUntil < first.backoff.restsUntil) first = entry
      } else if (best.length === 0 || entry.connections < best[0]!.connections) best = [entry]
      else if (entry.connections === best[0]!.connections) best.push(entry)
    }
    return best.length > 0 ? best[Math.floor(random() * best.length)] : tried.size === 0 ? first : undefined
  }

  /** Whether a connect could start. */
  get hasRoom(): boolean {
    for (const entry of MutableHashMap.values(this.entries)) if (entry.connections < this.cap) return true
    return false
  }

  onChange(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** There may be room where there was none. */
  changed(): void {
    for (const listener of Array.from(this.listeners)) listener()
  }
}
