/**
 * Private copies of the repository, in which sources may be broken.
 */
import { execFileSync } from "node:child_process"
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"

/** Makes `count` copies of what git tracks, as it is in the work tree; `remove` takes them away again. */
export const makeCopies = (
  root: string,
  count: number
): { readonly copies: ReadonlyArray<string>; readonly remove: () => void } => {
  const folder = mkdtempSync(join(tmpdir(), "poolkit-mutants-"))
  // With retries, because what was just killed may still write.
  const remove = () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  try {
    const tracked = execFileSync("git", ["ls-files", "-z"], { cwd: root, encoding: "utf8" }).split("\0")
    const files = tracked.filter((file) => file !== "" && existsSync(join(root, file)))
    const copies = Array.from({ length: count }, (_, i) => join(folder, String(i)))
    for (const copy of copies) makeCopy(root, copy, files)
    return { copies, remove }
  } catch (error) {
    remove()
    throw error
  }
}

const makeCopy = (root: string, copy: string, files: ReadonlyArray<string>): void => {
  for (const file of files) {
    mkdirSync(dirname(join(copy, file)), { recursive: true })
    copyFileSync(join(root, file), join(copy, file))
  }
  linkModules(root, copy, ".")
  const packages = readdirSync(join(copy, "packages"), { withFileTypes: true })
  for (const entry of packages) if (entry.isDirectory()) linkModules(root, copy, join("packages", entry.name))
}

/** Links the dependencies of a package, one by one, so that those of the workspace are the copy's. */
const linkModules = (root: string, copy: string, folder: string): void => {
  const from = join(root, folder, "node_modules")
  if (!existsSync(from)) return
  const to = join(copy, folder, "node_modules")
  mkdirSync(join(to, "@poolkit"), { recursive: true })
  for (const name of readdirSync(from)) {
    // What starts with a dot is pnpm's own, or a cache.
    if (name === "@poolkit") {
      for (const own of readdirSync(join(from, name))) symlinkSync(join(copy, "packages", own), join(to, name, own))
    } else if (!name.startsWith(".")) symlinkSync(join(from, name), join(to, name))
  }
}
