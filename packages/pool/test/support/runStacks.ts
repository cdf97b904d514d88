/**
 * Runs the stack test: random stacks and random commands from a seed, and for
 * ever those that failed once (`stackSeeds.json`).
 */
import { type Command, sequence, type Setup } from "./stackSetup.ts"
import { type Kept, runSequences, type Sequences } from "./sequences.ts"
import seeds from "./stackSeeds.json" with { type: "json" }
import { playStack } from "./stackWorld.ts"

export const kept = seeds as unknown as ReadonlyArray<Kept<Setup, Command>>

export const replay = ({ setup, commands }: (typeof kept)[number]): ReadonlyArray<string> => playStack(setup, commands)

export const runStacks = (numRuns: number, seed: number): Sequences =>
  runSequences("stackSeeds.json", sequence, playStack, { numRuns, seed })
