import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { existsSync } from "node:fs"
import { writeFile } from "node:fs/promises"
import { fileNames } from "../config.js"
import { Refused } from "../exit.js"
import { leaf } from "../leaf.js"
import { common } from "../options.js"
import { answer } from "../output.js"

const template = `import { define } from "threadline/Threadline"

export default define({
  tables: {
    // "public.posts": {},
    // "public.users": { exclude: ["password_hash"], mask: ["email"] }
  }
})
`

const nextSteps = [
  "name the tables to capture in it",
  "threadline migrate up",
  "threadline grant --writer ROLE --reader ROLE",
  "threadline capture plan, then threadline capture apply"
]

export const init = leaf("init", common, (options) =>
  Effect.gen(function* () {
    const file = Option.getOrElse(options.config, () => fileNames[0])
    const there = Option.isSome(options.config) ? [file] : fileNames
    const taken = there.find((name) => existsSync(name))
    if (taken !== undefined) {
      return yield* new Refused({ message: `${taken} exists already` })
    }
    yield* Effect.tryPromise({
      try: () => writeFile(file, template, { flag: "wx" }),
      catch: (cause) => new Refused({ message: cause instanceof Error ? cause.message : String(cause) })
    })
    yield* answer(
      options.json,
      () => ({ file, nextSteps }),
      () => [`Wrote ${file}. Next:`, ...nextSteps.map((step, index) => `  ${index + 1}. ${step}`)].join("\n")
    )
  })
)
