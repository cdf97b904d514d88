/**
 * A reporter for vitest that keeps the lines in which stages tell what they
 * counted: appends them to the file that `POOLKIT_FIGURES` names.
 */
import { appendFileSync } from "node:fs"

/** As far as this needs it. */
interface Vitest {
  readonly state: {
    readonly idMap: ReadonlyMap<string, { readonly file?: { readonly filepath: string } | undefined }>
  }
}

/** The stage of a test file, by its path under `packages`; the soak tells its figures itself. */
const stages: ReadonlyArray<readonly [stage: string, files: RegExp]> = [
  ["V1 interruption", /test\/sweep/],
  ["V2 hooks", /hookMatrix/],
  ["V3 models", /model|stacks/i],
  ["V4 and V5 fault servers", /test\/fault\//],
  ["V6 real servers", /test\/servers\//]
]

export default class Collect {
  private vitest: Vitest | undefined

  onInit(vitest: Vitest): void {
    this.vitest = vitest
  }

  onUserConsoleLog({ content, taskId }: { readonly content: string; readonly taskId?: string }): void {
    const target = process.env["POOLKIT_FIGURES"]
    const path = taskId === undefined ? undefined : this.vitest?.state.idMap.get(taskId)?.file?.filepath
    const stage = stages.find(([, files]) => path !== undefined && files.test(path))?.[0]
    if (target === undefined || stage === undefined) return
    for (const line of content.split("\n"))
      if (/^[^:]+: .*\d/.test(line)) appendFileSync(target, `${JSON.stringify({ stage, line })}\n`)
  }
}
