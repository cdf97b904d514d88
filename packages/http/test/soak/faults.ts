/** A fault every so often: what, and to whom, follows from a seed. */
import * as Effect from "effect/Effect"
import type { Dice } from "../../../pool/test/support/random.ts"
import type { Fault } from "./messages.ts"
import type { ServerAddress } from "./serverProcess.ts"

/** What a fault may befall. */
export interface Victims {
  /** Addresses to which anything may happen. */
  readonly wild: ReadonlyArray<ServerAddress>
  /** Addresses to which nothing happens that could cost a request. */
  readonly healthy: ReadonlyArray<ServerAddress>
  /** Change the addresses of an origin. */
  readonly changes: ReadonlyArray<(dice: Dice) => void>
}

const draw = (dice: Dice): Fault => {
  switch (dice.below(12)) {
    case 0:
      return { fault: "reset" }
    case 1:
      return { fault: "close" }
    case 2:
      return { fault: "leave" }
    case 3:
      return { fault: "break" }
    case 4:
      return { fault: "half-open" }
    case 5:
      return { fault: "silence", lasts: 50 + dice.below(500) }
    case 6:
      return { fault: "down", lasts: 50 + dice.below(1_500) }
    case 7:
      return { fault: "slow close", times: 1 + dice.below(5) }
    case 8:
      return { fault: "refuse", times: 1 + dice.below(5) }
    case 9:
      return { fault: "truncate", times: 1 + dice.below(5) }
    default:
      return { fault: "latency", millis: 1 + dice.below(50), lasts: 50 + dice.below(500) }
  }
}

/** Harmless, even for what cannot be sent twice. */
const drawGentle = (dice: Dice): Fault => {
  switch (dice.below(3)) {
    case 0:
      return { fault: "leave" }
    case 1:
      return { fault: "slow close", times: 1 + dice.below(5) }
    default:
      return { fault: "latency", millis: 1 + dice.below(30), lasts: 50 + dice.below(200) }
  }
}

/** Stops the event loop without the processor, while the servers go on. */
const stall = (millis: number): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, millis)
}

export class Faults {
  readonly counts: Record<string, number> = {}
  private readonly dice: Dice
  private readonly victims: Victims

  constructor(dice: Dice, victims: Victims) {
    this.dice = dice
    this.victims = victims
  }

  get total(): number {
    return Object.values(this.counts).reduce((sum, count) => sum + count, 0)
  }

  /** As many as there should have been by now: stalls make some late. */
  run(every: number): Effect.Effect<never> {
    return Effect.suspend(() => {
      const start = performance.now()
      const catchUp = Effect.sync(() => {
        while (this.total < (performance.now() - start) / every) this.next()
      })
      return Effect.forever(Effect.andThen(Effect.sleep(every), catchUp))
    })
  }

  private next(): void {
    const { dice, victims } = this
    const what = dice.below(40)
    if (what === 0) {
      this.count("stall")
      return stall(200)
    }
    if (what < 5) {
      this.count("address change")
      return dice.pick(victims.changes)(dice)
    }
    const gentle = what < 11
    const fault = gentle ? drawGentle(dice) : draw(dice)
    this.count(gentle ? `${fault.fault} (healthy)` : fault.fault)
    dice.pick(gentle ? victims.healthy : victims.wild).befall(fault)
  }

  private count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1
  }
}
