/** How fast the heap grows. */
import * as Effect from "effect/Effect"
import { quantile } from "./noise.ts"

interface Sample {
  readonly minutes: number
  readonly megabytes: number
}

/**
 * Megabytes per minute: the median of the slopes between any two samples. What
 * connections happen to be open at one of them moves it little.
 */
const slope = (samples: ReadonlyArray<Sample>): number => {
  const slopes = samples.flatMap((from, i) =>
    samples.slice(i + 1).map((to) => (to.megabytes - from.megabytes) / (to.minutes - from.minutes))
  )
  return quantile(slopes, 0.5)
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
  summary(): {
    readonly samples: ReadonlyArray<number>
    readonly megabytes: number
    readonly perMinute: number | undefined
  } {
    const samples = this.samples.map(({ megabytes }) => Math.round(10 * megabytes) / 10)
    // With fewer it would say nothing.
    const perMinute = samples.length < 8 ? undefined : slope(this.samples)
    return { samples, megabytes: samples.at(-1) ?? NaN, perMinute }
  }
}
