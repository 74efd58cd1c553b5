#!/usr/bin/env node
import { setFlagsFromString } from "node:v8"
import packageJson from "../package.json" with { type: "json" }

const argv = process.argv.slice(2)

/** The exit code, if the output cannot be written any more. */
let outputEnded: number | undefined

// A reader such as "head" may close the output early. That is not a failure. In any case, running work then ends as on
// Ctrl+C, so that it leaves nothing in the database, and the record says how far it came.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (outputEnded !== undefined) {
    return
  }
  const code = error.code === "EPIPE" ? 0 : 1
  outputEnded = code
  if (code !== 0) {
    process.stderr.write(`threadline: the output cannot be written: ${error.message}\n`)
  }
  // A terminal that was closed may say so here before its signal comes.
  if (!process.emit(process.stdout.isTTY && error.code === "EIO" ? "SIGHUP" : "SIGINT")) {
    process.exit(code)
  }
  setTimeout(() => process.exit(code), 5000).unref()
})

// Nobody can be told that standard error has ended, as it does with its terminal. Unhandled, it would kill the process at once.
process.stderr.on("error", () => undefined)

if (argv.length === 1 && argv[0] === "--version") {
  process.stdout.write(`${packageJson.version}\n`)
} else {
  if (argv[0] === "export") {
    // V8's space for young objects doubles to 48 MB while the modules load. Gigabytes of output may pass before it is
    // full again, and only then are the buffers of that output freed. So the space keeps its present size.
    setFlagsFromString("--semi-space-growth-factor=1")
  }
  const { start } = await import("./start.js")
  start(argv, packageJson.version, () => outputEnded)
}
