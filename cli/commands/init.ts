import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { existsSync } from "node:fs"
import { mkdir, writeFile } from "node:fs/promises"
import { dirname, extname } from "node:path"
import { fileNames } from "../config.js"
import { Refused, UsageError } from "../exit.js"
import { common } from "../options.js"
import { answer, visible } from "../output.js"
import { leaf } from "../parser/declare.js"
import { pathOf } from "../surroundings.js"

const template = (schema: string | undefined) => `import { define } from "threadline/Configuration"

export default define({${schema === undefined ? "" : `\n  schema: ${JSON.stringify(schema)},`}
  tables: {
    // "public.posts": {},
    // "public.users": { exclude: ["password_hash"], mask: ["email"] }
  }
})
`

/** A file of another name is found only with `--config`. */
const nextSteps = (config: string) => [
  "name the tables to capture in it",
  `threadline migrate up${config}`,
  `threadline grant${config} --writer ROLE --reader ROLE`,
  `threadline capture plan${config}, then threadline capture apply${config}`
]

export const init = leaf("init", common, (options) =>
  Effect.gen(function* () {
    const file = Option.getOrElse(options.config, () => fileNames[0])
    if (![".ts", ".js"].includes(extname(file))) {
      return yield* new UsageError({ message: `${file}: init writes TypeScript, for a file that ends in .ts or .js` })
    }
    const candidates = Option.isSome(options.config) ? [file] : fileNames
    const paths = yield* Effect.forEach(candidates, (name) => Effect.map(pathOf(name), (path) => ({ name, path })))
    const existing = paths.find(({ path }) => existsSync(path))
    if (existing !== undefined) {
      return yield* new Refused({ message: `${existing.name} exists already` })
    }
    const path = yield* pathOf(file)
    yield* Effect.tryPromise({
      try: async () => {
        await mkdir(dirname(path), { recursive: true })
        await writeFile(path, template(Option.getOrUndefined(options.schema)), { flag: "wx" })
      },
      catch: (cause) => new Refused({ message: cause instanceof Error ? cause.message : String(cause) })
    })
    const steps = nextSteps(fileNames.some((name) => name === file) ? "" : ` --config ${file}`)
    yield* answer(
      options,
      () => ({ file, nextSteps: steps }),
      () =>
        [`Wrote ${visible(file)}. Next:`, ...steps.map((step, index) => `  ${index + 1}. ${visible(step)}`)].join("\n")
    )
  })
)
