/** Whether the tests that the table of failure modes names are there. */
import { existsSync, readFileSync } from "node:fs"
import type { Group } from "./mode.ts"

const root = new URL("../../", import.meta.url)

/** `pool/drain › title` as the path of its file, and its title. */
export const parse = (test: string): { readonly path: string; readonly title: string } => {
  const [name = "", title = ""] = test.split(" › ")
  const [pkg, ...rest] = name.split("/")
  return { path: `packages/${pkg}/test/${rest.join("/")}.test.ts`, title }
}

const escaped = (text: string) => text.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&")

/** A call of `it` in any form, or of what `it.each` returns, with the title as the first argument. */
const isThere = ({ path, title }: ReturnType<typeof parse>): boolean => {
  const file = new URL(path, root)
  if (!existsSync(file)) return false
  const call = new RegExp(`(?:\\bit(?:\\.(?:effect|live|each|prop))*|\\))\\(\\s*(["'\`])${escaped(title)}\\1`)
  return call.test(readFileSync(file, "utf8"))
}

const expected = { A: 13, B: 12, C: 11, D: 9, E: 11, F: 14, G: 20, H: 11, I: 14 }

/** What is wrong with the table, if anything. */
export const problems = (groups: ReadonlyArray<Group>): ReadonlyArray<string> => {
  const modes = groups.flatMap((group) => group.modes)
  const ids = Object.entries(expected).flatMap(([letter, count]) =>
    Array.from({ length: count }, (_, i) => `${letter}${i + 1}`)
  )
  const missing = ids.filter((id) => modes.filter((mode) => mode.id === id).length !== 1)
  return [
    ...missing.map((id) => `${id} must be in the table once`),
    ...modes
      .filter(({ note, tests }) => tests.length === 0 && note === undefined)
      .map(({ id }) => `${id} has neither test nor reason`),
    ...modes.flatMap(({ id, tests }) =>
      tests.filter((test) => !isThere(parse(test))).map((test) => `${id}: there is no test ${test}`)
    )
  ]
}
