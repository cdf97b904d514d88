/**
 * Warns once about each loan that is out for too long, with the place where
 * it was taken. Loans are kept in the order they were taken, so one timer
 * serves all.
 */
import type { Clock } from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { PoolStats } from "../ConnectionPool.ts"
import { Alarm, monotonic, type Run } from "./alarm.ts"
import type { Lender, Loan } from "./loan.ts"

interface Taken {
  readonly at: number
  readonly where: Error
}

/** The depth at which callers are found below what this package and Effect put on the stack. */
const depth = 40

/** Where this is called. */
export const here = (): Error => {
  const { stackTraceLimit } = Error
  // Not an assignment, which throws where the realm is frozen.
  Reflect.set(Error, "stackTraceLimit", Math.max(stackTraceLimit, depth))
  const where = new Error("taken")
  Reflect.set(Error, "stackTraceLimit", stackTraceLimit)
  return where
}

export class LeakWarnings {
  private readonly loans = new Map<Loan<any, any>, Taken>()
  private readonly after: number
  private readonly run: Run
  private readonly clock: Clock
  private readonly stats: () => PoolStats
  private readonly alarm: Alarm
  private stopped = false

  constructor(after: number, run: Run, clock: Clock, stats: () => PoolStats) {
    this.after = after
    this.run = run
    this.clock = clock
    this.stats = stats
    this.alarm = new Alarm(run, clock, () => this.warn())
  }

  /**
   * `lender`, with each loan's place remembered from the moment it is lent to its
   * end. `where` the call was made; without it, where it is lent or begins to wait.
   */
  watch<Conn, E>(lender: Lender<Conn, E>, where?: Error): Lender<Conn, E> {
    return {
      take: (loan, then) => {
        const taken = where ?? here()
        return lender.take(loan, () => {
          this.add(loan, taken)
          return then()
        })
      },
      lendNow: (loan) => {
        const lent = lender.lendNow(loan)
        if (lent) this.add(loan, where ?? here())
        return lent
      },
      end: (loan) => {
        this.delete(loan)
        lender.end(loan)
      },
      invalidate: (loan) => lender.invalidate(loan)
    }
  }

  private add(loan: Loan<any, any>, where: Error): void {
    // `takeIdle` may end without a loan, and a body outlive its pool.
    if (loan.phase !== "lent" || this.stopped) return
    const at = monotonic(this.clock)
    this.loans.set(loan, { at, where })
    this.alarm.set(at + this.after)
  }

  stop(): void {
    this.stopped = true
    this.loans.clear()
    this.alarm.clear()
  }

  private delete(loan: Loan<any, any>): void {
    this.loans.delete(loan)
    if (this.loans.size === 0) this.alarm.clear()
  }

  private warn(): void {
    const now = monotonic(this.clock)
    for (const [loan, taken] of this.loans) {
      if (taken.at + this.after > now) return this.alarm.set(taken.at + this.after)
      this.loans.delete(loan)
      const { used, maxSize } = this.stats()
      const message =
        `Connection ${loan.info.id} has been on loan for more than ${Duration.format(Duration.millis(this.after))} ` +
        `(${used} of ${maxSize} used). It was taken here: ${taken.where.stack ?? "(no stack)"}`
      this.run(Effect.logWarning(message))
    }
  }
}
