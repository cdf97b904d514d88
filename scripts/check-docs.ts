/**
 * Checks the documentation: every `ts` fence of the README and of `docs/` type-checks strictly and runs, what it
 * prints is what the `text` fence after it says, and every relative link leads somewhere.
 *
 * - A fence that exports `program` is run as an Effect; one that imports `@effect/vitest` is run as a test.
 * - A `text` fence belongs to the `ts` fence before it if no heading or other fence stands between them.
 * - `ts name=file.ts` lets later fences import it as `./file.ts`.
 * - `ts ignore` marks a fragment that cannot stand alone; these are listed, so that they stay few.
 */
import { spawn } from "node:child_process"
import { existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { basename, dirname, join, relative } from "node:path"

interface Block {
  readonly file: string
  /** The line of the opening backticks, from 1. */
  readonly line: number
  readonly info: string
  readonly text: string
  /** Whether a heading stands between it and the block before. */
  readonly afterHeading: boolean
}

interface Fence extends Block {
  readonly module: string
  readonly isTest: boolean
  readonly expected: Block | undefined
}

interface Result {
  readonly code: number | undefined
  readonly stdout: string
  readonly stderr: string
}

const root = join(import.meta.dirname, "..")
const folder = join(root, "packages", "examples", ".docs-check")
const parallel = 2
const fenceTimeout = 20_000

const pages = ["README.md", ...globSync("docs/**/*.md", { cwd: root }).toSorted()]
const problems = new Map<string, string>()

/** Keeps the first problem of each place. */
const report = (file: string, line: number, problem: string): void => {
  const place = `${file}:${line}`
  if (!problems.has(place)) problems.set(place, problem.replaceAll(/\s*\n\s*/g, " | "))
}

// -----------------------------------------------------------------------------
// Reading
// -----------------------------------------------------------------------------

const blocksOf = (file: string): ReadonlyArray<Block> => {
  const lines = readFileSync(join(root, file), "utf8").split("\n")
  const blocks: Array<Block> = []
  let start: number | undefined
  let afterHeading = false
  lines.forEach((line, i) => {
    if (start === undefined) {
      if (line.startsWith("```")) start = i
      else if (line.startsWith("#")) afterHeading = true
      else checkLinks(file, i + 1, line)
    } else if (line === "```") {
      const text = lines.slice(start + 1, i).join("\n")
      blocks.push({ file, line: start + 1, info: lines[start]!.slice(3).trim(), text, afterHeading })
      start = undefined
      afterHeading = false
    }
  })
  if (start !== undefined) report(file, start + 1, "a fence that is never closed")
  return blocks
}

const checkLinks = (file: string, line: number, text: string): void => {
  for (const [, link] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
    if (/^[a-z]+:/.test(link!)) continue
    const [path, anchor] = link!.split("#") as [string, string?]
    const target = path === "" ? join(root, file) : join(root, dirname(file), path)
    if (!existsSync(target)) report(file, line, `a link to ${path}, which does not exist`)
    else if (anchor !== undefined && target.endsWith(".md") && !anchorsOf(target).has(anchor)) {
      report(file, line, `a link to ${link}, but there is no such heading`)
    }
  }
}

const anchorsOf = (page: string): ReadonlySet<string> =>
  new Set(
    [...readFileSync(page, "utf8").matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
      heading!
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
        .replaceAll(" ", "-")
    )
  )

const fencesOf = (file: string): ReadonlyArray<Fence> => {
  const blocks = blocksOf(file)
  return blocks.flatMap((block, i) => {
    if (/^(typescript|tsx|js|javascript|mjs)\b/.test(block.info)) report(file, block.line, "call it ts")
    const [isModule, given] = /^ts(?: name=([\w.-]+\.ts))?$/.exec(block.info) ?? []
    if (isModule === undefined) {
      if (/^ts\b/.test(block.info) && block.info !== "ts ignore") report(file, block.line, `"${block.info}"?`)
      return []
    }
    const next = blocks[i + 1]
    const isTest = block.text.includes(`from "@effect/vitest"`)
    const name = given ?? `${file.replaceAll(/[^\w]+/g, "-")}-${block.line}${isTest ? ".test" : ""}.ts`
    return [
      {
        ...block,
        isTest,
        module: join(folder, name),
        expected: next?.info === "text" && !next.afterHeading ? next : undefined
      }
    ]
  })
}

// -----------------------------------------------------------------------------
// Checking
// -----------------------------------------------------------------------------

const run = (command: string, ...args: ReadonlyArray<string>): Promise<Result> =>
  new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: folder,
      env: { ...process.env, NO_COLOR: "1" },
      stdio: ["ignore", "pipe", "pipe"]
    })
    const timer = setTimeout(() => child.kill("SIGKILL"), fenceTimeout)
    let stdout = ""
    let stderr = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text))
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text))
    child.on("error", (error) => (stderr += error.message))
    child.on("close", (code) => {
      clearTimeout(timer)
      resolve({ code: code ?? undefined, stdout, stderr })
    })
  })

const typeCheck = async (fences: ReadonlyArray<Fence>): Promise<void> => {
  const options = { extends: "../../tsconfig.test.json", include: ["*.ts"] }
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(options))
  const { code, stderr, stdout } = await run("tsc", "--project", "tsconfig.json", "--pretty", "false")
  for (const line of `${stdout}\n${stderr}`.split("\n")) {
    const [, name, at, message] = /^([^\s(]+)\((\d+),\d+\): error (.*)$/.exec(line) ?? []
    if (message === undefined) continue
    const fence = fences.find(({ module }) => basename(module) === name)
    if (fence === undefined) report(relative(root, join(folder, name!)), Number(at), message)
    else report(fence.file, fence.line, `line ${fence.line + Number(at)}: ${message}`)
  }
  if (code !== 0 && problems.size === 0) report("tsc", 0, stderr || stdout || `ended with ${code}`)
}

/** The part of what a failed process wrote that says what was wrong. */
const essence = ({ code, stderr, stdout }: Result): string => {
  if (code === undefined) return `did not end within ${fenceTimeout / 1000} seconds`
  const lines = `${stderr}\n${stdout}`.split("\n").filter((line) => line.trim() !== "" && !/^(node:|\s)/.test(line))
  const line = lines.find((line) => /^\S*(Error|error)\b/.test(line)) ?? lines[0] ?? "no word"
  return `ended with ${code}: ${line.trim()}`
}

const runFence = async (fence: Fence): Promise<void> => {
  const result = fence.isTest
    ? await run("vitest", "run", "--root", folder, fence.module)
    : await run("node", join(folder, "run.mjs"), fence.module)
  if (result.code !== 0) return report(fence.file, fence.line, essence(result))
  if (fence.isTest || fence.expected === undefined) return
  const printed = result.stdout.trimEnd().split("\n")
  const promised = fence.expected.text.trimEnd().split("\n")
  const at = Array.from({ length: Math.max(printed.length, promised.length) }).findIndex(
    (_, i) => printed[i] !== promised[i]
  )
  if (at < 0) return
  const show = (line: string | undefined) => (line === undefined ? "nothing" : JSON.stringify(line))
  report(
    fence.file,
    fence.expected.line,
    `line ${fence.expected.line + 1 + at}: the example prints ${show(printed[at])} and not ${show(promised[at])}`
  )
}

const runner = `import { Effect } from "effect"
const { program } = await import(process.argv[2])
if (Effect.isEffect(program)) await Effect.runPromise(program)
`

const started = performance.now()
const fences = pages.flatMap(fencesOf)
rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })
try {
  writeFileSync(join(folder, "run.mjs"), runner)
  for (const fence of fences) writeFileSync(fence.module, `${fence.text}\n`)
  const queue = [() => typeCheck(fences), ...fences.map((fence) => () => runFence(fence))]
  const work = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) await next()
  }
  await Promise.all(Array.from({ length: parallel }, work))
} finally {
  rmSync(folder, { recursive: true, force: true })
}

for (const file of pages) {
  for (const { info, line } of blocksOf(file)) if (info === "ts ignore") console.log(`${file}:${line}: not checked`)
}
for (const [place, problem] of problems) console.error(`${place}: ${problem}`)
const seconds = ((performance.now() - started) / 1000).toFixed(1)
console.log(`${fences.length} fences in ${pages.length} pages, ${problems.size} broken, ${seconds} s`)
if (problems.size > 0) process.exitCode = 1
