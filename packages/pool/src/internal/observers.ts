/**
 * Who watches a pool. Nothing is allocated while nobody does.
 */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import type { ConnectionInfo, Observer } from "../ConnectionPool.ts"
import type { Run } from "./alarm.ts"

type Callback<K extends keyof Observer> = NonNullable<Observer[K]>

export class Observers {
  /** Whether there is anybody to tell; check it before building what to tell. */
  active = false
  /** Whether anybody wants to know of loans and waits, the events on the hot path. */
  watchesLoans = false
  private list: ReadonlyArray<Observer> = []
  private readonly run: Run

  constructor(run: Run) {
    this.run = run
  }

  readonly observe = (observer: Observer): Effect.Effect<void, never, Scope> =>
    Effect.acquireRelease(
      Effect.sync(() => this.set([...this.list, observer])),
      () =>
        Effect.sync(() => {
          const index = this.list.indexOf(observer)
          this.set(this.list.filter((_, i) => i !== index))
        })
    )

  emit<K extends Exclude<keyof Observer, "borrowed" | "returned">>(name: K, ...args: Parameters<Callback<K>>): void {
    for (const observer of this.list) {
      const callback = observer[name] as ((...args: Array<unknown>) => void) | undefined
      if (callback === undefined) continue
      try {
        callback.apply(observer, args)
      } catch (defect) {
        this.report(defect)
      }
    }
  }

  /** As `emit`, without lists of arguments: these two come with every loan. */
  borrowed(connection: ConnectionInfo): void {
    for (const observer of this.list) {
      try {
        observer.borrowed?.(connection)
      } catch (defect) {
        this.report(defect)
      }
    }
  }

  returned(connection: ConnectionInfo, elapsed: number): void {
    for (const observer of this.list) {
      try {
        observer.returned?.(connection, elapsed)
      } catch (defect) {
        this.report(defect)
      }
    }
  }

  /** Runs a callback of the user's whose failure must not reach the pool. */
  isolate(callback: () => void): void {
    try {
      callback()
    } catch (defect) {
      this.report(defect)
    }
  }

  private report(defect: unknown): void {
    this.run(Effect.logDebug("A callback given to a pool threw", defect))
  }

  private set(list: ReadonlyArray<Observer>): void {
    this.list = list
    this.active = list.length > 0
    this.watchesLoans = list.some((o) => (o.borrowed ?? o.returned ?? o.waitStarted ?? o.waitEnded) !== undefined)
  }
}
