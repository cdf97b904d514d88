/**
 * Measures the contestants of a case in turns: A B C, B C A, C A B, …
 *
 * Times on a shared machine mean little, ratios within one round mean
 * something; and whoever came first in every round would always find the caches
 * of the one before.
 */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import type { Case, Contestant, Figures, Run } from "./subject.ts"

export interface Settings {
  readonly rounds: number
  /** What one sample should take, in milliseconds. */
  readonly sampleTime: number
}

export interface Measured {
  readonly contestant: string
  readonly setup?: string | undefined
  readonly operations: number
  readonly rounds: ReadonlyArray<Figures>
}

interface Entrant {
  readonly contestant: Contestant
  readonly run: Run
  readonly operations: number
  readonly rounds: Array<Figures>
}

/** Measures one case. Everybody is open before the first round. */
export const measure = (
  { batch = 1, contestants, operations }: Case,
  settings: Settings
): Effect.Effect<ReadonlyArray<Measured>, unknown, Scope> =>
  Effect.gen(function* () {
    const entrants: Array<Entrant> = []
    for (const contestant of contestants) {
      const run = yield* contestant.open
      const chosen = operations ?? (yield* calibrate(run, batch, settings.sampleTime))
      entrants.push({ contestant, run, operations: chosen, rounds: [] })
    }
    for (let round = 0; round < settings.rounds; round++) {
      for (let place = 0; place < entrants.length; place++) {
        const { operations, rounds, run } = entrants[(round + place) % entrants.length]!
        rounds.push(yield* sample(run, operations))
      }
    }
    return entrants.map(({ contestant, operations, rounds }) => ({
      contestant: contestant.name,
      setup: contestant.setup,
      operations,
      rounds
    }))
  })

/** Warm-up takes as long as so many samples: the first thousands of HTTP requests run at a third of the speed. */
const warmUp = 4

/** Finds how many operations fill a sample, and warms up. */
const calibrate = (run: Run, batch: number, sampleTime: number): Effect.Effect<number> =>
  Effect.gen(function* () {
    const end = performance.now() + warmUp * sampleTime
    let batches = 1
    let best = Infinity
    do {
      const { time } = yield* sample(run, batches * batch)
      best = Math.min(best, time!)
      const fitting = Math.max(1, Math.round((sampleTime * 1e6) / best / batch))
      batches = Math.min(batches * 4, fitting)
    } while (performance.now() < end)
    return batches * batch
  })

/**
 * Collects young garbage first, so that nobody pays for the one before. A full
 * collection would forget the hidden classes of objects of which none is alive,
 * and compiled code with them: contended checkout took half as long again.
 */
const sample = (run: Run, operations: number): Effect.Effect<Figures> =>
  Effect.promise(async () => {
    globalThis.gc?.({ type: "minor" })
    const cpuBefore = process.cpuUsage()
    const start = performance.now()
    const own = await run(operations)
    const elapsed = performance.now() - start
    const cpu = process.cpuUsage(cpuBefore)
    return {
      time: (elapsed * 1e6) / operations,
      cpu: ((cpu.user + cpu.system) * 1e3) / operations,
      rate: (operations * 1e3) / elapsed,
      ms: elapsed / operations,
      ...own
    }
  })
