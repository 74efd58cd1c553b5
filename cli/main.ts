#!/usr/bin/env node
import { setFlagsFromString } from "node:v8"
import packageJson from "../package.json" with { type: "json" }

const argv = process.argv.slice(2)

/** The exit code, if the output cannot be written any more. */
let outputEnded: number | undefined

// It is no failure if a reader such as "head" closes the output early. In any case running work then ends as on Ctrl+C, so that nothing of
// it is left in the database, and the record has how far it came.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (outputEnded !== undefined) {
    return
  }
  const code = error.code === "EPIPE" ? 0 : 1
  outputEnded = code
  if (code !== 0) {
    process.stderr.write(`threadline: the output cannot be written: ${error.message}\n`)
  }
  if (!process.emit("SIGINT")) {
    process.exit(code)
  }
  setTimeout(() => process.exit(code), 5000).unref()
})

if (argv.length === 1 && argv[0] === "--version") {
  process.stdout.write(`${packageJson.version}\n`)
} else {
  if (argv[0] === "export") {
    // The memory of young objects doubles while the modules load, to 48 MB, and gigabytes may pass before it is full again. The buffers of
    // what has passed are freed only then. So it stays as small as it is now.
    setFlagsFromString("--semi-space-growth-factor=1")
  }
  const { start } = await import("./start.js")
  start(argv, packageJson.version, () => outputEnded)
}
