import { existsSync, readdirSync } from "node:fs"
import { defineConfig } from "vitest/config"

// Slow tests are files named `*.slow.test.ts`; they run in a stage of their own.
const slow = process.env["POOLKIT_STAGE"] === "slow"

const packages = readdirSync(new URL("packages", import.meta.url)).filter((name) =>
  existsSync(new URL(`packages/${name}/test`, import.meta.url))
)

export default defineConfig({
  test: {
    passWithNoTests: slow,
    projects: packages.map((name) => ({
      extends: true,
      test: {
        name,
        include: [`packages/${name}/test/**/*${slow ? ".slow" : ""}.test.ts`],
        exclude: slow ? [] : ["**/*.slow.test.ts"],
        testTimeout: slow ? 300_000 : 10_000,
        hookTimeout: slow ? 60_000 : 10_000,
        execArgv: ["--expose-gc"]
      }
    }))
  }
})
