/**
 * Resumes the fibers of settled loans, once per turn and in order.
 *
 * Resuming inside the return that freed a connection would nest one body in
 * another until the stack overflows, so it happens in a microtask. Microtasks
 * alone would keep timers and sockets waiting for as long as borrowers hand
 * connections on, so every 128th resumption waits for a turn of the event loop.
 */
import type { SchedulerDispatcher } from "effect/Scheduler"
import { LinkedList } from "./linkedList.ts"
import type { Loan } from "./loan.ts"
import { microtask } from "./microtask.ts"

const resumptionsPerTurn = 128

export class Wakes<Conn, E> {
  private readonly settled = new LinkedList<Loan<Conn, E>>()
  private readonly dispatcher: SchedulerDispatcher
  private scheduled = false
  private count = 0

  constructor(dispatcher: SchedulerDispatcher) {
    this.dispatcher = dispatcher
  }

  get first(): Loan<Conn, E> | undefined {
    return this.settled.first
  }

  get last(): Loan<Conn, E> | undefined {
    return this.settled.last
  }

  add(loan: Loan<Conn, E>): void {
    loan.waking = true
    this.settled.push(loan)
    if (this.scheduled) return
    this.scheduled = true
    void microtask.then(this.flush)
  }

  remove(loan: Loan<Conn, E>): void {
    if (!loan.waking) return
    loan.waking = false
    this.settled.remove(loan)
  }

  private readonly flush = (): void => {
    for (let loan = this.settled.first; loan !== undefined; loan = this.settled.first) {
      if (++this.count === resumptionsPerTurn) {
        this.count = 0
        return this.dispatcher.scheduleTask(this.flush, 0)
      }
      this.remove(loan)
      // A loan that is not waiting yet finds its outcome when it begins to.
      const { resume } = loan
      // The lease lives on, and must not lead to the fiber and what that returns.
      loan.resume = undefined
      resume?.(loan.outcome!)
    }
    this.scheduled = false
  }
}
