/**
 * What is written down about one subject: every round, and where it was run.
 */
import { execFileSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { cpus, loadavg, release, totalmem, type } from "node:os"
import type { Measured, Settings } from "./measure.ts"

export interface CaseResult {
  readonly name: string
  readonly contestants: ReadonlyArray<Measured>
}

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memory: string
  readonly os: string
  /** Programs that wanted to run while the subject began. Above 1, times are those of a busy machine. */
  readonly load: number
}

export interface Result {
  readonly subject: string
  readonly date: string
  readonly settings: Settings
  readonly machine: Machine
  readonly versions: Readonly<Record<string, string>>
  readonly seconds: number
  readonly cases: ReadonlyArray<CaseResult>
}

export const machine = (): Machine => ({
  cpu: cpus()[0]?.model.trim() ?? "unknown",
  cores: cpus().length,
  memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
  os: `${type()} ${release()}`,
  load: Math.round(loadavg()[0]! * 10) / 10
})

const require = createRequire(import.meta.url)

const measured = [
  "effect",
  "@effect/platform-node",
  "generic-pool",
  "got",
  "lightning-pool",
  "pg-pool",
  "tarn",
  "undici"
]

export const versions = (): Record<string, string> => ({
  node: process.versions.node,
  v8: process.versions.v8,
  ...Object.fromEntries(measured.map((name) => [name, versionOf(name)])),
  poolkit: commit()
})

/** Not all packages export their package.json, so it is looked for upwards of what they do export. */
const versionOf = (name: string): string => {
  for (const folder of require.resolve.paths(name) ?? []) {
    try {
      return (JSON.parse(readFileSync(`${folder}/${name}/package.json`, "utf8")) as { version: string }).version
    } catch {
      continue
    }
  }
  return "unknown"
}

const git = (...args: ReadonlyArray<string>) =>
  execFileSync("git", args, { cwd: import.meta.dirname, encoding: "utf8" }).trim()

const commit = (): string => {
  try {
    const changed = git("status", "--porcelain", "--", "../../../pool/src", "../../../http/src") !== ""
    return git("rev-parse", "--short", "HEAD") + (changed ? " with changes" : "")
  } catch {
    return "unknown"
  }
}
