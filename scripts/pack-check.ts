/**
 * Packs every public package, installs the tarballs in a strict project outside the workspace, type-checks that
 * project and runs it: what users get is what is tested here.
 */
import { execFileSync } from "node:child_process"
import { existsSync, globSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"

interface Manifest {
  readonly name: string
  readonly version: string
  readonly private?: boolean
  readonly bin?: Record<string, string>
  readonly exports: Record<string, unknown>
  readonly peerDependencies?: Record<string, string>
}

const root = join(import.meta.dirname, "..")

const run = (cwd: string, command: string, ...args: ReadonlyArray<string>): void => {
  console.log(`$ ${[command, ...args].join(" ")}`)
  execFileSync(command, args, { cwd, stdio: ["ignore", "inherit", "inherit"] })
}

const manifestOf = (folder: string): Manifest => JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))

const writeJson = (file: string, value: unknown): void => writeFileSync(file, JSON.stringify(value, undefined, 2))

const publicPackages = readdirSync(join(root, "packages"))
  .map((name) => join(root, "packages", name))
  .filter((folder) => existsSync(join(folder, "package.json")) && manifestOf(folder).private !== true)

/** The version of a package that the workspace itself is tested with. */
const testedVersion = (name: string): string => {
  const folder = [root, ...publicPackages].map((from) => join(from, "node_modules", name)).find((it) => existsSync(it))
  if (folder === undefined) throw new Error(`${name} is not installed in the workspace`)
  return manifestOf(folder).version
}

const pack = (consumer: string): void => {
  mkdirSync(join(consumer, "tarballs"))
  for (const folder of publicPackages) rmSync(join(folder, "dist"), { recursive: true, force: true })
  run(root, "tsc", "-b", ...publicPackages)
  for (const folder of publicPackages) {
    run(folder, "pnpm", "pack", "--out", join(consumer, "tarballs", `${basename(folder)}.tgz`))
  }
}

const install = (consumer: string): void => {
  const manifests = publicPackages.map(manifestOf)
  const fromRegistry = new Set([
    "typescript",
    "@types/node",
    ...manifests.flatMap((manifest) => Object.keys(manifest.peerDependencies ?? {}))
  ])
  writeJson(join(consumer, "package.json"), {
    private: true,
    type: "module",
    dependencies: {
      ...Object.fromEntries([...fromRegistry].map((name) => [name, testedVersion(name)])),
      ...Object.fromEntries(
        publicPackages.map((folder) => [manifestOf(folder).name, `file:tarballs/${basename(folder)}.tgz`])
      )
    }
  })
  run(consumer, "npm", "install", "--no-audit", "--no-fund", "--loglevel=error")
}

/** What a user can import, read from the modules that really are in the installed package. */
const specifiersOf = (folder: string): ReadonlyArray<string> => {
  const { exports, name } = manifestOf(folder)
  if (!("." in exports)) return []
  return globSync("dist/**/*.js", { cwd: folder })
    .map((file) => file.slice("dist/".length, -".js".length))
    .filter((module) => !module.startsWith("internal/"))
    .map((module) => (module === "index" ? name : `${name}/${module.replace(/\/index$/, "")}`))
    .toSorted()
}

const checkManifest = (folder: string): void => {
  const text = readFileSync(join(folder, "package.json"), "utf8")
  for (const leak of ["workspace:", "catalog:", `"./src/`]) {
    if (text.includes(leak)) throw new Error(`${basename(folder)}: the published package.json has ${leak}`)
  }
  if (!existsSync(join(folder, "LICENSE"))) throw new Error(`${basename(folder)}: the licence is missing`)
}

const writeProgram = (consumer: string, installed: ReadonlyArray<string>): void => {
  const specifiers = installed.flatMap(specifiersOf)
  const hidden = installed.flatMap((folder) =>
    globSync("dist/internal/*.js", { cwd: folder }).map(
      (file) => `${manifestOf(folder).name}/internal/${basename(file, ".js")}`
    )
  )
  writeFileSync(
    join(consumer, "main.ts"),
    [
      `import * as assert from "node:assert/strict"`,
      ...specifiers.map((specifier, i) => `import * as module${i} from "${specifier}"`),
      ``,
      `const modules: ReadonlyArray<object> = [${specifiers.map((_, i) => `module${i}`).join(", ")}]`,
      `assert.equal(modules.length, ${specifiers.length})`,
      `for (const hidden of ${JSON.stringify(hidden)}) {`,
      `  assert.throws(() => import.meta.resolve(hidden), { code: "ERR_PACKAGE_PATH_NOT_EXPORTED" })`,
      `}`,
      `console.log("imported ${specifiers.length} modules, ${hidden.length} are hidden")`
    ].join("\n")
  )
  writeJson(join(consumer, "tsconfig.json"), {
    compilerOptions: {
      target: "es2024",
      // Effect's declarations name types of the DOM, and they are checked along with ours.
      lib: ["es2024", "esnext.disposable", "dom", "dom.iterable"],
      module: "nodenext",
      types: ["node"],
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      verbatimModuleSyntax: true,
      skipLibCheck: false,
      noEmit: true
    },
    include: ["*.ts"]
  })
}

const consumer = mkdtempSync(join(tmpdir(), "poolkit-pack-"))
try {
  pack(consumer)
  install(consumer)
  const installed = publicPackages.map((folder) => join(consumer, "node_modules", manifestOf(folder).name))
  installed.forEach(checkManifest)
  writeProgram(consumer, installed)
  run(consumer, join(consumer, "node_modules/.bin/tsc"))
  run(consumer, "node", "main.ts")
  for (const folder of installed) {
    for (const command of Object.keys(manifestOf(folder).bin ?? {})) {
      run(consumer, join(consumer, "node_modules/.bin", command), "--help")
    }
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
} finally {
  rmSync(consumer, { recursive: true, force: true })
}
