/**
 * Runs the model test: random sequences from a seed, and for ever those that
 * failed once (`seeds.json`).
 */
import * as fc from "fast-check"
import type { Setup } from "./modelSetup.ts"
import { type Command, sequence } from "./modelCommands.ts"
import seeds from "./seeds.json" with { type: "json" }
import { play } from "./world.ts"

/** What found a bug once, as small as it was made. */
interface Kept {
  readonly found: string
  readonly setup: Setup
  readonly commands: ReadonlyArray<Command>
}

export const kept = seeds as unknown as ReadonlyArray<Kept>

export const replay = ({ setup, commands }: Kept): ReadonlyArray<string> => play(setup, commands)

export interface ModelReport {
  readonly sequences: number
  readonly commands: number
  /** The smallest sequence that breaks a rule, and which, ready to be put into `seeds.json`. */
  readonly failure: string | undefined
}

export const runModel = (kind: Setup["kind"], numRuns: number, seed: number): ModelReport => {
  let sequences = 0
  let commands = 0
  const property = fc.property(sequence(kind), ([setup, played]) => {
    sequences++
    commands += played.length
    const wrongs = play(setup, played)
    if (wrongs.length > 0) throw new Error(wrongs.slice(0, 5).join("\n"))
  })
  const details = fc.check(property, { numRuns, seed })
  return { sequences, commands, failure: details.failed ? describe(details) : undefined }
}

const describe = (details: fc.RunDetails<[readonly [Setup, ReadonlyArray<Command>]]>): string => {
  const [setup, commands] = details.counterexample![0]
  const found = (details.errorInstance as Error).message
  return `${found}\nFor seeds.json: ${JSON.stringify({ found: found.split("\n")[0], setup, commands })}`
}
