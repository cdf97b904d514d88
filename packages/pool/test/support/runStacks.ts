/**
 * Runs the stack test: random stacks and random commands from a seed, and for
 * ever those that failed once (`stackSeeds.json`).
 */
import * as fc from "fast-check"
import { type Command, sequence, type Setup } from "./stackSetup.ts"
import seeds from "./stackSeeds.json" with { type: "json" }
import { playStack } from "./stackWorld.ts"

/** What found a bug once, as small as it was made. */
interface Kept {
  readonly found: string
  readonly setup: Setup
  readonly commands: ReadonlyArray<Command>
}

export const kept = seeds as unknown as ReadonlyArray<Kept>

export const replay = ({ setup, commands }: Kept): ReadonlyArray<string> => playStack(setup, commands)

export interface StackReport {
  readonly sequences: number
  readonly commands: number
  /** The smallest sequence that breaks a rule, and which, ready to be put into `stackSeeds.json`. */
  readonly failure: string | undefined
}

export const runStacks = (numRuns: number, seed: number): StackReport => {
  let sequences = 0
  let commands = 0
  const property = fc.property(sequence, ([setup, played]) => {
    sequences++
    commands += played.length
    const wrongs = playStack(setup, played)
    if (wrongs.length > 0) throw new Error(wrongs.slice(0, 5).join("\n"))
  })
  const details = fc.check(property, { numRuns, seed })
  return { sequences, commands, failure: details.failed ? describe(details) : undefined }
}

const describe = (details: fc.RunDetails<[readonly [Setup, ReadonlyArray<Command>]]>): string => {
  const [setup, commands] = details.counterexample![0]
  const found = (details.errorInstance as Error).message
  return `${found}\nFor stackSeeds.json: ${JSON.stringify({ found: found.split("\n")[0], setup, commands })}`
}
