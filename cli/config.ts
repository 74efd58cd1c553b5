/** Finds, loads and checks the configuration. */
import * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { existsSync, statSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { basename, dirname, extname, join, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import { types } from "node:util"
import type * as Capture from "../src/Capture.js"
import { TableConfig } from "../src/Capture.js"
import type * as ThreadlineConfiguration from "../src/Configuration.js"
import * as ExportStore from "../src/ExportStore.js"
import * as Health from "../src/Health.js"
import * as Retention from "../src/Retention.js"
import * as TableName from "../src/TableName.js"
import { UsageError } from "./exit.js"
import { pathOf, Surroundings } from "./surroundings.js"

export const fileNames = ["threadline.config.ts", "threadline.config.js", "threadline.config.json"] as const

const TableOptions = TableConfig.pipe(Schema.omit("table")).annotations({
  message: () => `must be an object such as { exclude: ["password"] }`
})

const nameRule = { message: () => "must be a name" }

const Name = Schema.String.annotations(nameRule).pipe(Schema.nonEmptyString(nameRule))

const tablesRule = { message: () => "must be an object of tables, or a list of them" }

const YesOrNo = Schema.Boolean.annotations({ message: () => "must be true or false" })

const durationRule = { message: () => 'must be a duration, such as "7 days"' }

const DurationText = Schema.String.annotations(durationRule).pipe(
  Schema.filter(
    (text): text is string & Duration.DurationInput => Option.isSome(Duration.decodeUnknown(text)),
    durationRule
  )
)

const countRule = { message: () => "must be a whole number, at least 1" }

const Count = Schema.Number.annotations(countRule).pipe(
  Schema.filter((count) => count >= 1 && Number.isSafeInteger(count), countRule)
)

const ScopeMaker = Schema.declare(
  (value): value is NonNullable<ThreadlineConfiguration.Exports["scope"]> => typeof value === "function"
).annotations({
  message: () => "must be a function that gives the scope of a name and its parameters"
})

const Exports = Schema.Struct({
  record: Schema.optionalWith(YesOrNo, { default: () => true }),
  directory: Schema.optional(Name),
  s3: Schema.optional(ExportStore.BucketModel),
  scope: Schema.optional(ScopeMaker),
  scopeRequired: Schema.optional(YesOrNo),
  expiresAfter: Schema.optional(DurationText),
  forgetAfter: Schema.optional(DurationText),
  attempts: Schema.optional(Count),
  backoff: Schema.optional(DurationText),
  lease: Schema.optional(DurationText),
  limits: Schema.optional(
    Schema.Struct({ waitingPerActor: Schema.optional(Count), bytes: Schema.optional(Count) }).annotations({
      message: () => "must be an object such as { waitingPerActor: 5 }"
    })
  )
})
  .annotations({ message: () => "must be an object such as { record: false }" })
  .pipe(
    Schema.filter(({ directory, s3 }) =>
      directory === undefined || s3 === undefined
        ? undefined
        : { path: ["s3"], message: "is a second place for files beside exports.directory; keep one of the two" }
    )
  )

const relationRule = {
  message: () => 'must be a relation, such as { table: "invoice_lines", columns: { invoice_id: "id" } }'
}

const Relation = Schema.Struct({
  table: Name.pipe(
    Schema.filter((name) =>
      Either.match(TableName.parse(name), { onLeft: ({ rule }) => rule, onRight: () => undefined })
    )
  ),
  columns: Schema.Record({ key: Schema.String, value: Name }).pipe(
    Schema.filter((columns) => Object.keys(columns).length > 0, { message: () => "must name at least one column" })
  ),
  limit: Schema.optional(Count)
}).annotations(relationRule)

const relationsRule = { message: () => "must be an object of relations by table" }

const Relations = Schema.Record({
  key: Schema.String,
  value: Schema.Record({ key: Schema.String, value: Relation }).annotations(relationsRule)
})
  .annotations(relationsRule)
  .pipe(
    Schema.filter((relations) =>
      Object.keys(relations).flatMap((table) =>
        Either.match(TableName.parse(table), {
          onLeft: ({ rule }) => [{ path: [table], message: rule }],
          onRight: () => []
        })
      )
    )
  )

const Document = Schema.Struct({
  schema: Schema.optional(Name),
  ownerRole: Schema.optional(Name),
  tables: Schema.optional(Schema.Unknown),
  retention: Schema.optional(Schema.Unknown),
  expected: Schema.optional(Health.Expected),
  expectedGaps: Schema.optional(Health.ExpectedGaps),
  sensitive: Schema.optional(Health.Sensitive),
  exports: Schema.optional(Exports),
  relations: Schema.optional(Relations)
})

export interface Configuration {
  /** The file, or undefined if there is none. */
  readonly file: string | undefined
  readonly schema: string | undefined
  readonly ownerRole: string | undefined
  /** Undefined if the configuration does not name tables. */
  readonly tables: ReadonlyArray<TableConfig> | undefined
  /** What health compares with, beside the tables. */
  readonly health: Pick<Health.Options, "expected" | "expectedGaps" | "sensitive">
  /** How long the record is kept. Undefined if nothing is ever removed. */
  readonly retention: Retention.Policy | undefined
  /** Settings of exports and their jobs. */
  readonly exports: typeof Exports.Type
  /** The rows that the pages show beside a row. */
  readonly relations: typeof Relations.Type
}

const none: Configuration = {
  file: undefined,
  schema: undefined,
  ownerRole: undefined,
  tables: undefined,
  health: {},
  retention: undefined,
  exports: { record: true },
  relations: {}
}

/** The configuration at or above a directory. */
const find = (directory: string): string | undefined => {
  const configPath = fileNames
    .map((name) => join(directory, name))
    .find((path) => existsSync(path) && statSync(path).isFile())
  const parent = dirname(directory)
  return configPath ?? (parent === directory ? undefined : find(parent))
}

/** Loads the file named, or the one at or above the working directory, or none. */
export const load = Effect.fnUntraced(function* (chosenPath: string | undefined) {
  const { directory } = yield* Surroundings
  const file = chosenPath === undefined ? find(directory) : yield* pathOf(chosenPath)
  if (file === undefined) {
    return none
  }
  if (chosenPath !== undefined && !(existsSync(file) && statSync(file).isFile())) {
    return yield* new UsageError({ message: `there is no file ${chosenPath}` })
  }
  const name = basename(file)
  const document = yield* Effect.tryPromise({
    try: () => read(file),
    catch: (cause) =>
      new UsageError({ message: `${name} cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}` })
  })
  const checked = check(document)
  return Either.isLeft(checked)
    ? yield* new UsageError({ message: `${name}: ${checked.left}` })
    : { ...checked.right, exports: withDirectory(checked.right.exports, file), file }
})

/** A relative directory begins at the directory of the configuration file. */
const withDirectory = (exports: Configuration["exports"], file: string): Configuration["exports"] =>
  exports.directory === undefined ? exports : { ...exports, directory: resolve(dirname(file), exports.directory) }

const read = async (file: string): Promise<unknown> => {
  if (extname(file) === ".json") {
    return JSON.parse(await readFile(file, "utf8"))
  }
  const { createJiti } = await import("jiti")
  const cliDirectory = fileURLToPath(new URL(".", import.meta.url))
  const jiti = createJiti(file, {
    moduleCache: false,
    tryNative: true,
    fsCache: false,
    // This copy of Threadline, even if none is installed beside the configuration.
    alias: { threadline: join(cliDirectory, import.meta.url.endsWith(".ts") ? "../src" : "..") }
  })
  return jiti.import(file, { default: true })
}

/** Whether this is a module without a default export: as Node.js loads it, from version 22.18 on also TypeScript, or as jiti does. */
const isModule = (document: object): boolean => types.isModuleNamespaceObject(document) || "__esModule" in document

/** Checks a document. A left names the field that is wrong. */
export const check = (document: unknown): Either.Either<Configuration, string> =>
  Either.gen(function* () {
    if (typeof document !== "object" || document === null || Array.isArray(document) || isModule(document)) {
      return yield* Either.left(`holds no configuration, such as { tables: { "public.posts": {} } }, as its default`)
    }
    const fields = yield* decode(Document, document, [])
    const tables = fields.tables === undefined ? undefined : yield* tablesOf(fields.tables)
    const seen = new Set<string>()
    for (const table of tables ?? []) {
      const name = yield* consistent(table)
      if (seen.has(name)) {
        return yield* Either.left(`tables: names ${name} twice`)
      }
      seen.add(name)
    }
    return {
      file: undefined,
      schema: fields.schema,
      ownerRole: fields.ownerRole,
      tables,
      health: { expected: fields.expected, expectedGaps: fields.expectedGaps, sensitive: fields.sensitive },
      retention: fields.retention === undefined ? undefined : yield* retentionOf(fields.retention),
      exports: fields.exports ?? none.exports,
      relations: fields.relations ?? {}
    }
  })

/**
 * The name of a table as `TableName.format` writes it, unless it has a mistake that needs no database to be seen: its name, or a
 * column that is both excluded and masked.
 */
const consistent = ({ exclude, mask, table }: TableConfig): Either.Either<string, string> =>
  Either.gen(function* () {
    const name = yield* Either.mapLeft(TableName.parse(table), ({ rule }) => `tables: ${JSON.stringify(table)} ${rule}`)
    const formatted = TableName.format(name)
    const wholeColumns = (entries: ReadonlyArray<Capture.Excluded | Capture.Masked> = []) =>
      entries.flatMap((entry) => (typeof entry === "string" ? [entry] : entry.path === undefined ? [entry.column] : []))
    const repeatedColumn = wholeColumns(exclude).find((column) => wholeColumns(mask).includes(column))
    if (repeatedColumn !== undefined) {
      return yield* Either.left(`tables: ${formatted} excludes and masks ${repeatedColumn}; keep one of the two`)
    }
    return formatted
  })

const retentionOf = (policy: unknown): Either.Either<Retention.Policy, string> =>
  Either.mapLeft(Retention.decodePolicy(policy), ({ field, rule }) =>
    field === "policy" ? `retention: ${rule}` : `retention.${field}: ${rule}`
  )

/** A list of tables, or an object of tables by name. */
const tablesOf = (tables: unknown): Either.Either<ReadonlyArray<TableConfig>, string> =>
  Array.isArray(tables) || typeof tables !== "object"
    ? decode(Schema.Array(TableConfig).annotations(tablesRule), tables, ["tables"])
    : Either.map(decode(Schema.Record({ key: Schema.String, value: TableOptions }), tables, ["tables"]), (record) =>
        Object.entries(record).map(([table, options]) => ({ table, ...options }))
      )

const decode = <A, I>(
  schema: Schema.Schema<A, I>,
  input: unknown,
  path: ReadonlyArray<string>
): Either.Either<A, string> =>
  // A misspelt "exclude" must not go unnoticed.
  Either.mapLeft(Schema.decodeUnknownEither(schema, { onExcessProperty: "error" })(input), (error) => {
    // Of several alternatives, the one that got furthest into the value has the most useful message.
    const [firstIssue, ...otherIssues] = ParseResult.ArrayFormatter.formatErrorSync(error)
    const issue = otherIssues.reduce(
      (furthest, candidate) => (candidate.path.length > (furthest?.path.length ?? 0) ? candidate : furthest),
      firstIssue
    )
    const fieldPath = [...path, ...(issue?.path ?? [])].map(String)
    const rule = issue === undefined || issue._tag === "Unexpected" ? "is not known here" : issue.message
    return Arr.isNonEmptyArray(fieldPath) ? `${pathText(fieldPath)}: ${rule}` : rule
  })

const pathText = (path: ReadonlyArray<string>): string =>
  path
    .map((part, index) => (/^\w+$/.test(part) ? (index === 0 ? part : `.${part}`) : `[${JSON.stringify(part)}]`))
    .join("")
