/** How fast the heap grows. */
import * as Effect from "effect/Effect"

interface Sample {
  readonly minutes: number
  readonly megabytes: number
}

/** Megabytes per minute: the slope of the line with the least squared distance. */
const slope = (samples: ReadonlyArray<Sample>): number => {
  const mean = (value: (sample: Sample) => number) => samples.reduce((sum, s) => sum + value(s), 0) / samples.length
  const x = mean(({ minutes }) => minutes)
  const y = mean(({ megabytes }) => megabytes)
  const over = samples.reduce((sum, s) => sum + (s.minutes - x) * (s.megabytes - y), 0)
  return over / samples.reduce((sum, s) => sum + (s.minutes - x) ** 2, 0)
}

export class Heap {
  private readonly samples: Array<Sample> = []

  /** Looks at what is left after a full collection, for as long as it runs. */
  watch(warmUp: number, every: number): Effect.Effect<never> {
    const look = Effect.sync(() => {
      // Finalizers of the first collection free what the second one collects.
      globalThis.gc!()
      globalThis.gc!()
      this.samples.push({
        minutes: performance.now() / 60_000,
        megabytes: process.memoryUsage().heapUsed / 2 ** 20
      })
    })
    return Effect.andThen(Effect.sleep(warmUp), Effect.forever(Effect.andThen(look, Effect.sleep(every))))
  }

  /** Since the end of the warm-up. */
  summary(): { readonly samples: number; readonly megabytes: number; readonly perMinute: number } {
    const last = this.samples.at(-1)?.megabytes ?? NaN
    return { samples: this.samples.length, megabytes: last, perMinute: slope(this.samples) }
  }
}
