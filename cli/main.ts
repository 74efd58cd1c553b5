#!/usr/bin/env node
import { setFlagsFromString } from "node:v8"
import packageJson from "../package.json" with { type: "json" }

const argv = process.argv.slice(2)

let hasLeft = false

// It is no failure if a reader such as "head" closes the output early. Running work then ends as on Ctrl+C, so that nothing of it
// is left in the database.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") {
    process.stderr.write(`threadline: the output cannot be written: ${error.message}\n`)
    process.exit(1)
  }
  if (!hasLeft) {
    hasLeft = true
    if (!process.emit("SIGINT")) {
      process.exit(0)
    }
    setTimeout(() => process.exit(0), 5000).unref()
  }
})

if (argv.length === 1 && argv[0] === "--version") {
  process.stdout.write(`${packageJson.version}\n`)
} else {
  if (argv[0] === "export") {
    // The memory of young objects doubles while the modules load, to 48 MB, and gigabytes may pass before it is full again. The buffers of what has
    // passed are freed only then. So it stays as small as it is now.
    setFlagsFromString("--semi-space-growth-factor=1")
  }
  const { start } = await import("./start.js")
  start(argv, packageJson.version, () => hasLeft)
}
