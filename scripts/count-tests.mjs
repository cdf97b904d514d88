// Prints "passed failed" for a vitest JSON report: `node count-tests.mjs <report> <exit status of vitest>`.
// Runs before dependencies are known to be installed, so it is plain JavaScript for any Node.
// @ts-check
import { readFileSync } from "node:fs"

/** @typedef {{ numPassedTests: number, numFailedTests: number, testResults: Array<{ status: string, assertionResults: Array<{ status: string }> }> }} Report */

/** @returns {{ passed: number, failed: number }} */
const count = () => {
  try {
    /** @type {Report} */
    const report = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8"))
    // A file that fails outside its tests (an import, a hook) has no failed test to show for it.
    const brokenFiles = report.testResults.filter(
      (file) => file.status === "failed" && !file.assertionResults.some((test) => test.status === "failed")
    ).length
    return { passed: report.numPassedTests, failed: report.numFailedTests + brokenFiles }
  } catch {
    return { passed: 0, failed: 0 }
  }
}

const { failed, passed } = count()
// A run that fails without a failed test (no report, an unhandled error) must not count as a success.
console.log(passed, failed === 0 && process.argv[3] !== "0" ? 1 : failed)
