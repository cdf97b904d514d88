/**
 * A limit whose slots this process leases from a store that it shares with
 * others. Towards its pools it is a `MemoryLimit` with a changing number of
 * slots; towards the store it is one member, with one exchange at a time.
 *
 * Slots are given back when an exchange begins, not when it ends: the store may
 * lend them to others while the answer is still on its way.
 */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type {
  StoredConnectionLimit,
  StoredLimitEvent,
  StoredLimitOptions,
  StoredLimitStats
} from "../ConnectionLimit.ts"
import { Alarm, monotonic, type Run } from "./alarm.ts"
import { MemoryLimit } from "./memoryLimit.ts"
import { integer, millis } from "./options.ts"
import type { ConnectionLimitStoreError, LimitClaim, LimitGrant } from "./storedLimitStore.ts"

/** `StoredLimitOptions` with defaults, times in milliseconds. */
export interface StoredSettings {
  readonly key: string
  readonly max: number
  readonly leaseTime: number
  readonly failOpen: boolean
}

export const storedSettings = (options: StoredLimitOptions): StoredSettings => {
  const { key, onStoreError } = options
  if (typeof key !== "string" || key === "") {
    throw new RangeError(`ConnectionLimit: key must be a string that is not empty, got ${JSON.stringify(key)}`)
  }
  if (onStoreError !== undefined && onStoreError !== "failClosed" && onStoreError !== "failOpen") {
    throw new RangeError(
      `ConnectionLimit: onStoreError must be "failClosed" or "failOpen", got ${JSON.stringify(onStoreError)}`
    )
  }
  const leaseTime = Math.ceil(millis("ConnectionLimit", "leaseTime", options.leaseTime, "10 seconds", "positive"))
  if (leaseTime < 100 || leaseTime === Infinity) {
    throw new RangeError(`ConnectionLimit: leaseTime must be finite and at least 100 milliseconds, got ${leaseTime}`)
  }
  return {
    key,
    max: integer("ConnectionLimit", "max", options.max, Number.NaN, 1, Number.MAX_SAFE_INTEGER),
    leaseTime,
    failOpen: onStoreError === "failOpen"
  }
}

/** More are not asked for at once: they may be of no use, and then they are of no use to anybody for a while. */
const largestBatch = 8

export class StoredLimit extends MemoryLimit implements StoredConnectionLimit {
  declare readonly stats: Effect.Effect<StoredLimitStats>
  readonly events: StoredConnectionLimit["events"]
  /** Open when there is something to say before the lease is due. */
  readonly bell: Latch.Latch = Latch.makeUnsafe()
  private readonly settings: StoredSettings
  private readonly member: string
  private readonly clock: Clock.Clock
  private readonly emit: (event: StoredLimitEvent) => void
  private readonly expiry: Alarm
  private lease: StoredLimitStats["lease"] = "held"
  /** When the lease ends, as far as this process relies on it; monotonic. */
  private until = Infinity
  private ended = false
  private sequence = 0
  private exchanges = 0
  private failures = 0
  private lastError: ConnectionLimitStoreError | undefined = undefined
  /** What this process could have counted on at the last grant. */
  private sure = 1
  private fleet: StoredLimitStats["fleet"] = { used: 0, processes: 0 }
  /** Another process waits for what this one could spare. */
  private contended = false
  /** The store asked for connections that are still there. */
  private owing = false
  /** What the store believes this process to have. */
  private reported = 0
  /** The store knows that this process lacks slots, and could not help. */
  private refused = { wanted: false, spare: false }
  private woken = false
  /** How many slots to ask for: pools say that they want one, not how many. */
  private batch = 1

  constructor(
    settings: StoredSettings,
    member: string,
    clock: Clock.Clock,
    run: Run,
    events: StoredConnectionLimit["events"],
    emit: (event: StoredLimitEvent) => void
  ) {
    super(settings.max)
    this.settings = settings
    this.member = member
    this.clock = clock
    this.events = events
    this.emit = emit
    this.slots = 0
    this.expiry = new Alarm(run, clock, () => this.expire())
    this.stats = Effect.sync(() => this.snapshot())
  }

  private snapshot(): StoredLimitStats {
    return {
      max: this.max,
      used: this.used,
      waiting: this.wanting.size,
      granted: this.slots,
      lease: this.lease,
      fleet: this.fleet,
      exchanges: this.exchanges,
      failures: this.failures,
      lastError: this.lastError
    }
  }

  // ---------------------------------------------------------------------------
  // What the pools do
  // ---------------------------------------------------------------------------

  /** Asks the clock too: a process that was stopped must not connect before its timers have run. */
  override get hasSlot(): boolean {
    if (this.used >= this.slots) return false
    if (this.lease === "lost" || monotonic(this.clock) < this.until) return true
    this.expire()
    return this.used < this.slots
  }

  /** Another pool of this process closes nothing while the fleet may have a slot. */
  override reclaim(share: Parameters<MemoryLimit["reclaim"]>[0]): boolean {
    if (this.lease === "held" && !this.refused.wanted) return false
    return super.reclaim(share)
  }

  override missed(): void {
    this.ring()
  }

  override released(): void {
    this.ring()
  }

  /** Another process gave something back, or needs something. */
  wake(): void {
    this.woken = true
    this.ring()
  }

  private ring(): void {
    if (this.isDue) this.bell.openUnsafe()
  }

  get isLost(): boolean {
    return this.lease === "lost"
  }

  /** Whether there is something to say before the lease is due. */
  get isDue(): boolean {
    const idle = this.wanting.size === 0
    if (this.woken || (!idle && !this.refused.wanted)) return true
    if (this.hoping.size > 0 && !this.refused.spare && !this.refused.wanted) return true
    return (this.contended && idle && this.used < this.slots) || (this.owing && this.used < this.reported)
  }

  // ---------------------------------------------------------------------------
  // Exchanges
  // ---------------------------------------------------------------------------

  /** What to tell the store now. Whatever it does not say it holds is gone with that. */
  begin(leaving = false): LimitClaim {
    this.woken = false
    this.bell.closeUnsafe()
    this.exchanges++
    // What an exchange that failed has claimed may be what the store knows last.
    const held = this.lease === "failing" ? Math.max(this.used, this.slots) : this.used
    const open = this.lease === "lost" && this.settings.failOpen
    if (!open) this.slots = Math.min(this.slots, held)
    return {
      key: this.settings.key,
      member: this.member,
      sequence: ++this.sequence,
      max: this.max,
      leaseTime: this.settings.leaseTime,
      held,
      idle: this.countIdle(),
      wanted: leaving || this.wanting.size === 0 ? 0 : Math.max(this.wanting.size, this.batch),
      spare: leaving ? 0 : this.hoping.size,
      leaving
    }
  }

  /** Pools with an idle connection: so many can close at once, or more. */
  private countIdle(): number {
    let count = 0
    for (const share of this.holders) if (share.member.idleSince() !== undefined) count++
    return count
  }

  /** The answer to a claim that was sent at `sentAt`. */
  succeed(claim: LimitClaim, grant: LimitGrant, sentAt: number): void {
    if (this.ended) return
    const recovered = this.lease !== "held"
    this.lease = "held"
    // The store's lease began later. The rest is for borrowers to return and connections to close.
    this.until = sentAt + 0.8 * this.settings.leaseTime
    this.expiry.set(this.until)
    this.sure = grant.fairShare
    this.fleet = { used: grant.used, processes: grant.members }
    this.contended = grant.contended
    this.reported = claim.held
    this.owing = grant.granted < claim.held
    const got = grant.granted - claim.held
    this.refused = {
      wanted: claim.wanted > 0 && got < claim.wanted,
      spare: claim.spare > 0 && got < claim.wanted + claim.spare
    }
    this.resize(grant.granted)
    if (claim.wanted === 0 || this.wanting.size === 0) this.batch = 1
    else if (!this.refused.wanted) this.batch = Math.min(largestBatch, this.batch * 2)
    if (recovered) this.emit({ _tag: "StoreRecovered", used: this.used, granted: grant.granted })
    if (this.owing) this.emit({ _tag: "Reduced", used: claim.held, granted: grant.granted })
  }

  fail(error: ConnectionLimitStoreError): void {
    this.failures++
    this.lastError = error
    if (this.lease !== "held") return
    this.lease = "failing"
    this.emit({ _tag: "StoreFailed", error })
  }

  private expire(): void {
    if (this.ended || this.lease === "lost") return
    // It has been prolonged since the alarm was set.
    if (monotonic(this.clock) < this.until) return this.expiry.set(this.until)
    this.lease = "lost"
    this.until = Infinity
    this.resize(this.settings.failOpen ? Math.max(this.slots, this.sure) : 0)
    this.emit({ _tag: "LeaseLost", used: this.used, granted: this.slots })
  }

  /** From now on there are no slots. */
  end(): void {
    this.ended = true
    this.expiry.clear()
    this.resize(0)
  }
}
