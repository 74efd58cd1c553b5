// Reads vitest's JSON reports.
//   node .ci/reports.mjs none-skipped <file>              fails where a test was skipped or is yet to be written
//   node .ci/reports.mjs sum <directory> <failed stages>  prints "N passed, N failed"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"

const read = (file) => JSON.parse(readFileSync(file, "utf8"))

const noneSkipped = (file) => {
  const skipped = read(file).testResults.flatMap(({ assertionResults }) =>
    assertionResults.filter(({ status }) => status !== "passed" && status !== "failed")
  )
  for (const { fullName, status } of skipped) {
    console.error(`${status}: ${fullName}`)
  }
  process.exitCode = skipped.length === 0 ? 0 : 1
}

const sum = (directory, failedStages) => {
  const reports = readdirSync(directory).map((name) => read(join(directory, name)))
  const total = (key) => reports.reduce((count, report) => count + report[key], 0)
  // A stage whose tests failed is counted by its tests, any other failed stage as one failure.
  const counted = reports.filter(({ numFailedTests }) => numFailedTests > 0).length
  console.log(`${total("numPassedTests")} passed, ${total("numFailedTests") + failedStages - counted} failed`)
}

const [command, path = "", stages = "0"] = process.argv.slice(2)
if (command === "none-skipped") {
  noneSkipped(path)
} else {
  sum(path, Number(stages))
}
