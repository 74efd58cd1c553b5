#!/usr/bin/env node
import packageJson from "../package.json" with { type: "json" }

const argv = process.argv.slice(2)

// A reader that has seen enough, such as "head", is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") {
    process.stderr.write(`threadline: the output cannot be written: ${error.message}\n`)
  }
  process.exit(error.code === "EPIPE" ? 0 : 1)
})

if (argv.length === 1 && argv[0] === "--version") {
  process.stdout.write(`${packageJson.version}\n`)
} else {
  const { start } = await import("./start.js")
  start(argv, packageJson.version)
}
