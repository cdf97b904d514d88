/** What runs of the tests left in the file that `POOLKIT_FIGURES` named. */
import { readFileSync } from "node:fs"

/** A line in which a stage tells what it counted. */
export interface Counted {
  readonly stage: string
  readonly line: string
}

/** A time that the soak measured, in milliseconds. */
export interface Probe {
  readonly name: string
  readonly samples: number
  readonly p50: number
  readonly share: number
  readonly worst: number
  readonly bound: number
  readonly over: number
}

/** The part of the soak's outcome that is published. */
export interface Soak {
  readonly seconds: number
  readonly requests: number
  readonly created: number
  readonly slowest: number
  readonly tallies: Readonly<
    Record<
      string,
      { readonly sent: number; readonly answered: number; readonly failed: number; readonly abandoned: number }
    >
  >
  readonly faults: Readonly<Record<string, number>>
  readonly wrong: ReadonlyArray<string>
  readonly leaks: ReadonlyArray<string>
  readonly heap: { readonly megabytes: number; readonly perMinute?: number | undefined }
  readonly audit: { readonly repeated: ReadonlyArray<string> }
  readonly probes: { readonly connections: Readonly<Record<string, number>>; readonly times: ReadonlyArray<Probe> }
}

/** What became of the mutations of the sources. */
export interface Mutations {
  readonly killed: number
  readonly of: number
}

export interface Figures {
  readonly counted: ReadonlyArray<Counted>
  readonly mutations: Mutations
  /** The longest one. */
  readonly soak: Soak
  readonly seed: number
}

type Entry = Counted | { readonly soak: Soak; readonly seed: number } | { readonly mutations: Mutations }

export const read = (path: string): Figures => {
  const entries = readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as Entry)
  const soaks = entries.filter((entry) => "soak" in entry).sort((a, b) => b.soak.seconds - a.soak.seconds)
  if (soaks[0] === undefined) throw new Error(`${path} has no soak: run pnpm test:slow with POOLKIT_FIGURES`)
  const { audit, leaks, probes, wrong } = soaks[0].soak
  const bad = [...wrong, ...leaks, ...audit.repeated]
  for (const { name, over, samples, share } of probes.times)
    if (over > Math.floor(samples * (1 - share))) bad.push(`${name}: ${over} over the bound`)
  const mutations = entries.findLast((entry) => "mutations" in entry)?.mutations
  if (mutations === undefined) throw new Error(`${path} has no mutations: run pnpm test:mutants with POOLKIT_FIGURES`)
  if (mutations.killed < mutations.of) bad.push(`${mutations.of - mutations.killed} mutations survive`)
  if (bad.length > 0) throw new Error(`a run that failed is not published: ${bad.join("; ")}`)
  return { ...soaks[0], mutations, counted: entries.filter((entry) => "line" in entry) }
}

/** The sum of the numbers before a word, over all lines of a stage: `12,345 cases`. */
export const sum = ({ counted }: Figures, stage: string, word: string): number =>
  counted
    .filter((entry) => entry.stage.startsWith(stage))
    .map(({ line }) => new RegExp(`([\\d,]+) ${word}`).exec(line)?.[1] ?? "0")
    .reduce((all, count) => all + Number(count.replaceAll(",", "")), 0)
