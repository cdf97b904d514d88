/**
 * The subjects by name, which is the name of their file.
 */
import { readdirSync } from "node:fs"
import { basename } from "node:path"
import type { Subject } from "./subject.ts"

const folder = new URL("../subjects/", import.meta.url)

export const subjectNames: ReadonlyArray<string> = readdirSync(folder)
  .filter((file) => /^\d\d-.*\.ts$/.test(file))
  .map((file) => basename(file, ".ts"))
  .sort()

export const subjectFile = (name: string): URL => new URL(`${name}.ts`, folder)

export const loadSubject = async (name: string): Promise<Subject> =>
  ((await import(subjectFile(name).href)) as { readonly default: Subject }).default

/** `checkout`, `01` and `01-checkout` all mean the same. */
export const findSubjects = (wanted: string): ReadonlyArray<string> =>
  subjectNames.filter((name) => name === wanted || name.startsWith(`${wanted}-`) || name.slice(3) === wanted)
