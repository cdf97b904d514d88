/**
 * Writes docs/reliability.md from what the tests counted.
 *
 *   node scripts/reliability.ts check          every test that the table names exists
 *   node scripts/reliability.ts run            runs the slow stage and all mutations, then writes
 *   node scripts/reliability.ts write <file>   writes from what a run with POOLKIT_FIGURES=<file> left
 */
import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { cpus, release, tmpdir, totalmem } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { borrowing } from "./reliability/borrowing.ts"
import { problems } from "./reliability/checkTests.ts"
import { read } from "./reliability/figures.ts"
import { identity } from "./reliability/identity.ts"
import { limits } from "./reliability/limits.ts"
import { type Context, page } from "./reliability/page.ts"
import { wire } from "./reliability/wire.ts"

const root = fileURLToPath(new URL("..", import.meta.url))
const groups = [...borrowing, ...limits, ...wire, ...identity]

const version = (folder: string, name: string): string =>
  (
    JSON.parse(readFileSync(join(root, "packages", folder, "node_modules", name, "package.json"), "utf8")) as {
      version: string
    }
  ).version

const context = (): Context => ({
  date: new Date().toISOString().slice(0, 10),
  machine: `${cpus().length} × ${cpus()[0]?.model.trim() ?? "unknown"}, ${Math.round(totalmem() / 2 ** 30)} GB, Linux ${release()}`,
  versions: `Node ${process.versions.node}, effect ${version("pool", "effect")}, undici ${version("http", "undici")}`
})

const write = (figures: string): void => {
  const target = join(root, "docs/reliability.md")
  const known = readFileSync(join(root, "scripts/reliability/knownLimits.md"), "utf8")
  writeFileSync(target, page(read(figures), groups, context(), known))
}

/** The slow stage, with its lines collected, and the mutations. */
const run = (): boolean => {
  const folder = mkdtempSync(join(tmpdir(), "poolkit-figures-"))
  const figures = join(folder, "figures.jsonl")
  const env = { ...process.env, POOLKIT_STAGE: "slow", POOLKIT_FIGURES: figures }
  const succeeds = (command: string, args: ReadonlyArray<string>) =>
    spawnSync(command, args, { cwd: root, stdio: "inherit", env }).status === 0
  // The configuration adds the reporter that collects.
  const passed =
    succeeds(join(root, "node_modules/.bin/vitest"), ["run", "--config=vitest.workspace.ts"]) &&
    succeeds(process.execPath, [join(root, "scripts/mutants.ts")])
  if (passed) write(figures)
  rmSync(folder, { recursive: true })
  return passed
}

const main = ([command, file]: ReadonlyArray<string>): boolean => {
  const found = problems(groups)
  for (const problem of found) console.error(problem)
  if (found.length > 0) return false
  if (command === "run") return run()
  if (command === "write" && file !== undefined) write(file)
  else if (command !== "check") {
    console.error("usage: node scripts/reliability.ts check | run | write <file>")
    return false
  }
  const modes = groups.flatMap((group) => group.modes)
  console.log(
    `${modes.length} failure modes, ${modes.filter(({ tests }) => tests.length > 0).length} of them with tests, all of which exist`
  )
  return true
}

process.exitCode = main(process.argv.slice(2)) ? 0 : 1
