/** The browser of the browser suite. */
import { existsSync } from "node:fs"

const usual = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome-stable",
  "/usr/bin/google-chrome"
]

/** `THREADLINE_CHROMIUM`, else the one of the system; undefined if there is none. Continuous integration must have one. */
export const executable: string | undefined = (() => {
  const named = process.env["THREADLINE_CHROMIUM"]
  const chromiumPath = named === undefined || named === "" ? usual.find((path) => existsSync(path)) : named
  if (chromiumPath === undefined && process.env["CI"] !== undefined) {
    throw new Error("continuous integration needs a Chromium")
  }
  return chromiumPath
})()
