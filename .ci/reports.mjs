// Reads vitest's JSON reports.
//   node .ci/reports.mjs none-skipped <file>              fails where a test was skipped or is yet to be written
//   node .ci/reports.mjs few-failed <file>                prints the files of the failed tests, if these are few
//   node .ci/reports.mjs again <file> <second>            puts the results of a second run of these files in place of the first
//   node .ci/reports.mjs sum <directory> <failed stages>  prints "N passed, N failed"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

/** More failures than this are no chance. */
const few = 3

const read = (file) => JSON.parse(readFileSync(file, "utf8"))

const failedTests = ({ assertionResults }) => assertionResults.filter(({ status }) => status === "failed")

const noneSkipped = (file) => {
  const skipped = read(file).testResults.flatMap(({ assertionResults }) =>
    assertionResults.filter(({ status }) => status !== "passed" && status !== "failed")
  )
  for (const { fullName, status } of skipped) {
    console.error(`${status}: ${fullName}`)
  }
  process.exitCode = skipped.length === 0 ? 0 : 1
}

const fewFailed = (file) => {
  const failed = read(file).testResults.filter(({ status }) => status === "failed")
  // A file that failed without a test is no single case that failed.
  if (failed.every((result) => failedTests(result).length > 0) && failed.flatMap(failedTests).length <= few) {
    for (const { name } of failed) {
      console.log(name)
    }
  }
}

const again = (file, secondFile) => {
  const first = read(file)
  const second = read(secondFile)
  for (const result of first.testResults) {
    for (const { failureMessages, fullName } of failedTests(result)) {
      console.log(`unsteady, passed when it ran again: ${fullName}\n${failureMessages.join("\n")}`)
    }
  }
  const anew = new Set(second.testResults.map(({ name }) => name))
  const testResults = [...first.testResults.filter(({ name }) => !anew.has(name)), ...second.testResults]
  const count = (wanted) =>
    testResults.flatMap(({ assertionResults }) => assertionResults).filter(({ status }) => status === wanted).length
  writeFileSync(
    file,
    JSON.stringify({ ...first, numPassedTests: count("passed"), numFailedTests: count("failed"), testResults })
  )
}

const sum = (directory, failedStages) => {
  const reports = readdirSync(directory).map((name) => read(join(directory, name)))
  const total = (key) => reports.reduce((count, report) => count + report[key], 0)
  // A stage whose tests failed is counted by its tests, any other failed stage as one failure.
  const counted = reports.filter(({ numFailedTests }) => numFailedTests > 0).length
  console.log(`${total("numPassedTests")} passed, ${total("numFailedTests") + failedStages - counted} failed`)
}

const [command, path = "", other = ""] = process.argv.slice(2)
switch (command) {
  case "none-skipped":
    noneSkipped(path)
    break
  case "few-failed":
    fewFailed(path)
    break
  case "again":
    again(path, other)
    break
  default:
    sum(path, Number(other))
}
