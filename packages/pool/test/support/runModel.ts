/**
 * Runs the model test: random sequences from a seed, and for ever those that
 * failed once (`seeds.json`).
 */
import type { Setup } from "./modelSetup.ts"
import { type Command, sequence } from "./modelCommands.ts"
import seeds from "./seeds.json" with { type: "json" }
import { type Kept, runSequences, type Sequences } from "./sequences.ts"
import { play } from "./world.ts"

export const kept = seeds as unknown as ReadonlyArray<Kept<Setup, Command>>

export const replay = ({ setup, commands }: (typeof kept)[number]): ReadonlyArray<string> => play(setup, commands)

export const runModel = (kind: Setup["kind"], numRuns: number, seed: number): Sequences =>
  runSequences("seeds.json", sequence(kind), play, { numRuns, seed })
