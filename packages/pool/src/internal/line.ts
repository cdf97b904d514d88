/**
 * Callers in line, in arrival order, and which attempt each of them owns.
 *
 * Those with an attempt stand before those without one: attempts start from
 * the front, and `advance` and `lose` keep it so. That is why the next waiter
 * to start an attempt for is found without a search.
 */
import type { Attempt } from "./attempt.ts"
import { type Link, LinkedList } from "./linkedList.ts"

export interface Waiter<W> extends Link<W> {
  attempt: Attempt<unknown, W> | undefined
  /** Grows with each waiter that joins. */
  arrival: number
}

export class Line<W extends Waiter<W>> extends LinkedList<W> {
  /** The first waiter without an attempt. */
  unattended: W | undefined = undefined
  private arrivals = 0

  join(waiter: W): void {
    waiter.arrival = ++this.arrivals
    this.push(waiter)
    this.unattended ??= waiter
  }

  /** Puts back where it stood a waiter whose connection was taken away before it ran. */
  rejoin(waiter: W): void {
    let next = this.first
    while (next !== undefined && next.arrival < waiter.arrival) next = next.next
    this.insert(waiter, next)
    const isAttended = this.unattended === undefined || this.unattended.arrival > waiter.arrival
    if (isAttended) this.lose(waiter)
  }

  /** Gives `attempt` to the first waiter without one, if there is any. */
  attend(attempt: Attempt<unknown, W>): void {
    const waiter = this.unattended
    if (waiter === undefined) return
    waiter.attempt = attempt
    attempt.owner = waiter
    this.unattended = waiter.next
  }

  /** Takes `waiter` out; returns its attempt, which nobody owns then. */
  leave(waiter: W): Attempt<unknown, W> | undefined {
    if (this.unattended === waiter) this.unattended = waiter.next
    this.remove(waiter)
    const attempt = waiter.attempt
    waiter.attempt = undefined
    if (attempt !== undefined) attempt.owner = undefined
    return attempt
  }

  /**
   * A connection goes to the head of the line, although `attempt`, which
   * yielded it, may be another waiter's: that waiter gets the head's attempt
   * in exchange. Call `leave` for the head next.
   */
  advance(attempt: Attempt<unknown, W> | undefined): void {
    const head = this.first
    const owner = attempt?.owner
    if (attempt === undefined || owner === undefined || head === undefined) return
    attempt.owner = undefined
    const other = owner === head ? undefined : head.attempt
    if (owner !== head) head.attempt = undefined
    owner.attempt = other
    if (other !== undefined) other.owner = owner
  }

  /**
   * `waiter` stays although its attempt came to nothing: it takes over the
   * attempt of the last waiter that has one.
   */
  lose(waiter: W): void {
    if (waiter.attempt !== undefined) waiter.attempt.owner = undefined
    waiter.attempt = undefined
    const last = this.unattended === undefined ? this.last : this.unattended.previous
    if (last !== undefined && last !== waiter) {
      waiter.attempt = last.attempt
      if (waiter.attempt !== undefined) waiter.attempt.owner = waiter
      last.attempt = undefined
    }
    this.unattended = last
  }
}
