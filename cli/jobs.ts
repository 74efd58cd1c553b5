/** The service of jobs for a command: its database, its store, and what the configuration decides. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { statSync } from "node:fs"
import type { Actor } from "../src/Actor.js"
import * as AuditContext from "../src/AuditContext.js"
import * as ExportJobs from "../src/ExportJobs.js"
import * as ExportStore from "../src/ExportStore.js"
import * as Json from "../src/Json.js"
import type { Configuration } from "./config.js"
import { configuration, inputFirst, migratedClient, withSchema } from "./database.js"
import { UsageError } from "./exit.js"
import { type Common, value } from "./options.js"
import type { Given } from "./parser/declare.js"
import { pathOf } from "./surroundings.js"

export const storeOptions = {
  directory: value(
    "directory",
    "DIRECTORY",
    "Where the files of jobs are; default: exports.directory or exports.s3 of the configuration."
  )
}

export const scopeOptions = {
  scope: value("scope", "NAME", "The scope of the job, by the name that exports.scope in the configuration knows."),
  scopeParameters: value("scope-parameters", "JSON", `What the scope takes, such as '{"tenant":"acme"}'.`)
}

export const scopeOf = Effect.fnUntraced(function* ({
  scope,
  scopeParameters
}: Given<typeof scopeOptions>): Effect.fn.Return<ExportJobs.NamedScope | undefined, UsageError> {
  const name = Option.getOrUndefined(scope)
  const text = Option.getOrUndefined(scopeParameters)
  if (name === undefined) {
    return text === undefined
      ? undefined
      : yield* new UsageError({ message: "--scope-parameters are those of a scope: give its name with --scope" })
  }
  if (text === undefined) {
    return { name }
  }
  const parameters = Option.getOrUndefined(Json.parse(text))
  return Json.isObject(parameters)
    ? { name, parameters }
    : yield* new UsageError({ message: "--scope-parameters is a JSON object" })
})

type Options = Common & Partial<Given<typeof storeOptions>>

/** The store that the option, else the configuration names, for a command that needs one. */
const storeOf = Effect.fnUntraced(function* ({ directory }: Options, { exports }: Configuration) {
  if (directory === undefined) {
    return Layer.empty
  }
  if (Option.isSome(directory)) {
    const path = yield* pathOf(directory.value)
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true
      ? ExportStore.layerDirectory(path)
      : yield* new UsageError({ message: `--directory: there is no directory ${directory.value}` })
  }
  return exports.directory !== undefined
    ? ExportStore.layerDirectory(exports.directory)
    : exports.s3 !== undefined
      ? ExportStore.layerBucket(exports.s3)
      : yield* new UsageError({
          message: "no store is named: give --directory, or exports.directory or exports.s3 in the configuration"
        })
})

/** Runs an effect with the jobs of the database that the options name, in the name of an actor if there is one. */
const inJobsBy =
  (asking: typeof inputFirst) =>
  <A, E>(options: Common, call: Effect.Effect<A, E, ExportJobs.ExportJobs>, actor?: Actor) =>
    Effect.gen(function* () {
      const configured = yield* configuration(options)
      const { directory: _, s3: __, scope, ...decided } = configured.exports
      const store = yield* storeOf(options, configured)
      const jobs = ExportJobs.layerWith({
        ...decided,
        scope:
          scope === undefined
            ? undefined
            : (named, asker) => Effect.promise(async () => Option.fromNullable(await scope(named, asker)))
      }).pipe(Layer.provide(store))
      const named = actor === undefined ? call : AuditContext.withActor(call, actor)
      return yield* asking(Effect.provide(named, jobs), migratedClient(options)).pipe(withSchema(options, configured))
    })

/** Runs an effect with the jobs of a database, after its input was checked without one. */
export const inJobs = inJobsBy(inputFirst)

/** Like `inJobs`, for work that continues whatever the database answers: its input is not checked first. */
export const workingInJobs = inJobsBy((effect, database) => Effect.provide(effect, database))
