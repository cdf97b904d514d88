/**
 * Seeds, and numbers that follow from a seed.
 */

/** Mulberry32: a small generator of numbers from 0 to 1 that passes the usual tests. */
export const random = (seed: number): (() => number) => {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** The seed of this run: `POOLKIT_SEED` if set, so that a run can be repeated, or a new one. Always print it. */
export const runSeed = (): number => {
  const given = Number(process.env["POOLKIT_SEED"])
  return Number.isInteger(given) && given > 0 ? given : Math.floor(Math.random() * 2 ** 31)
}

/** Draws from a generator. */
export class Dice {
  private readonly next: () => number

  constructor(seed: number) {
    this.next = random(seed)
  }

  /** An integer from 0 to `n - 1`. */
  below(n: number): number {
    return Math.floor(this.next() * n)
  }

  /** True in one of `n` cases. */
  oneIn(n: number): boolean {
    return this.below(n) === 0
  }

  pick<A>(items: ReadonlyArray<A>): A {
    return items[this.below(items.length)]!
  }
}
