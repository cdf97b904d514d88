/**
 * Random sequences of commands against a model: runs them from a seed, and
 * makes what failed ready to be kept and run for ever.
 */
import { assert, it } from "@effect/vitest"
import * as fc from "fast-check"
import { runSeed } from "./random.ts"

/** What found a bug once, as small as it was made. */
export interface Kept<Setup, Command> {
  readonly found: string
  readonly setup: Setup
  readonly commands: ReadonlyArray<Command>
}

export interface Sequences {
  readonly sequences: number
  readonly commands: number
  /** The smallest sequence that breaks a rule, and which, ready to be put into `file`. */
  readonly failure: string | undefined
}

/** `play` says what is wrong. */
export const runSequences = <Setup, Command>(
  file: string,
  sequence: fc.Arbitrary<readonly [Setup, ReadonlyArray<Command>]>,
  play: (setup: Setup, commands: ReadonlyArray<Command>) => ReadonlyArray<string>,
  { numRuns, seed }: { readonly numRuns: number; readonly seed: number }
): Sequences => {
  let sequences = 0
  let commands = 0
  const property = fc.property(sequence, ([setup, played]) => {
    sequences++
    commands += played.length
    const wrongs = play(setup, played)
    if (wrongs.length > 0) throw new Error(wrongs.slice(0, 5).join("\n"))
  })
  const details = fc.check(property, { numRuns, seed })
  if (!details.failed) return { sequences, commands, failure: undefined }
  const [setup, smallest] = details.counterexample![0]
  const found = (details.errorInstance as Error).message
  const kept: Kept<Setup, Command> = { found: found.split("\n")[0]!, setup, commands: smallest }
  return { sequences, commands, failure: `${found}\nFor ${file}: ${JSON.stringify(kept)}` }
}

/** One line for people: how much there was. */
export const summary = (of: string, { commands, sequences }: Sequences, seed: number): string =>
  `model: ${sequences.toLocaleString("en")} sequences, ${commands.toLocaleString("en")} commands of ${of} (POOLKIT_SEED=${seed})`

interface Model<Setup, Command> {
  /** What is tested, in a few words. */
  readonly of: string
  /** Where what failed is kept, and what it says. */
  readonly file: string
  readonly kept: ReadonlyArray<Kept<Setup, Command>>
  readonly setup: fc.Arbitrary<Setup>
  readonly command: fc.Arbitrary<Command>
  readonly play: (setup: Setup, commands: ReadonlyArray<Command>) => ReadonlyArray<string>
  readonly sequences: number
}

/** Two tests of a model: random sequences, and those that failed once. */
export const testModel = <Setup, Command>(
  rule: string,
  { command, file, kept, of, play, sequences, setup }: Model<Setup, Command>
): void => {
  it(
    rule,
    () => {
      const seed = runSeed()
      const sequence = fc.tuple(setup, fc.array(command, { maxLength: 60, size: "max" }))
      const report = runSequences(file, sequence, play, { numRuns: sequences, seed })
      console.log(summary(of, report, seed))
      assert.strictEqual(report.failure, undefined)
    },
    36_000_000
  )

  it("sequences that failed once succeed", () => {
    assert.deepStrictEqual(
      kept.flatMap(({ commands, setup }) => play(setup, commands)),
      []
    )
  })
}
