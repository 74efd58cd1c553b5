import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { mkdir, readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import * as Migrations from "../../src/Migrations.js"
import { client, configuration, withSchema } from "../database.js"
import { AnsweredNo, Refused, UsageError } from "../exit.js"
import { common, flag, value } from "../options.js"
import { answer, printJson, printSource, visible } from "../output.js"
import { leaf } from "../parser/declare.js"
import { pathOf } from "../surroundings.js"
import { layout, paragraph } from "../table.js"
import { wholeNumber } from "../values.js"

const ownerRole = value(
  "owner-role",
  "ROLE",
  "Role that owns the schema, created if allowed; default: threadline_owner."
)
const to = value("to", "NUMBER", "The last migration; default: the newest.")

const watchSchema = flag("watch-schema", "Turn the schema watch on; the role must be allowed to create event triggers.")
const noWatchSchema = flag("no-watch-schema", "Turn the schema watch off.")

const watchOption = (options: { readonly watchSchema: boolean; readonly noWatchSchema: boolean }) =>
  options.watchSchema && options.noWatchSchema
    ? new UsageError({ message: "--watch-schema and --no-watch-schema exclude each other" })
    : Effect.succeed(options.watchSchema ? true : options.noWatchSchema ? false : undefined)

/** A migration of this version. It is checked before anything connects. */
const migrationId = (option: string, text: Option.Option<string>) => wholeNumber(option, text, 1, Migrations.all.length)

/** Refuses names that no database takes, before anything connects: generating migrations checks them. */
const checkNames = (settings: Migrations.Options) => Effect.asVoid(Migrations.generate(settings))

const ids = (migrations: ReadonlyArray<{ readonly id: number; readonly name: string }>) =>
  migrations.map(({ id, name }) => ({ id, name }))

const nameOf = ({ id, name }: { readonly id: number; readonly name: string }): string => `${id} ${name}`

const ownerOf = (option: Option.Option<string>, configured: string | undefined) =>
  Option.getOrUndefined(Option.orElse(option, () => Option.fromNullable(configured)))

export const up = leaf("migrate up", { ...common, ownerRole, to, watchSchema, noWatchSchema }, (options) =>
  Effect.gen(function* () {
    const configured = yield* configuration(options)
    const settings = {
      ownerRole: ownerOf(options.ownerRole, configured.ownerRole),
      to: yield* migrationId("--to", options.to),
      watchSchema: yield* watchOption(options)
    }
    yield* checkNames(settings).pipe(withSchema(options, configured))
    const result = yield* Migrations.run(settings).pipe(
      Effect.provide(client(options)),
      withSchema(options, configured)
    )
    const { notices, owner, partitions, schema, version, watch } = result
    const applied = ids(result.applied)
    yield* answer(
      options,
      () => ({ schema, owner, version, applied, partitions, watch, notices }),
      (width) =>
        [
          ...applied.map((migration) => `applied ${nameOf(migration)}`),
          applied.length === 0
            ? `The schema ${visible(schema)} is at ${version}; there was nothing to apply.`
            : `The schema ${visible(schema)} is at ${version} and belongs to ${visible(owner)}.`,
          ...partitions.map((partition) => `made partition ${visible(partition)}`),
          ...(settings.watchSchema === undefined ? [] : [`The schema watch is ${watch}.`]),
          ...notices.flatMap((notice) => paragraph(`Note: ${notice}.`, width))
        ].join("\n")
    )
  })
)

const states: Readonly<Record<Migrations.Status["state"], string>> = {
  absent: "is not installed",
  behind: "is behind this version",
  current: "is up to date",
  mismatch: "was migrated with files that differ from those of this version",
  newer: "was migrated by a newer version"
}

/** Concerns that make the answer no: readers may miss changes, writes may fail, or roles other than the owner may write. */
const serious: ReadonlySet<Migrations.Concern["_tag"]> = new Set(["RowSecurity", "Unidentified", "Writable"])

export const status = leaf("migrate status", common, (options) =>
  Effect.gen(function* () {
    const configured = yield* configuration(options)
    yield* checkNames({}).pipe(withSchema(options, configured))
    const schemaStatus = yield* Migrations.status().pipe(
      Effect.provide(client(options)),
      withSchema(options, configured)
    )
    const mismatched = new Set(schemaStatus.mismatched.map(({ id }) => id))
    const unknown = new Set(schemaStatus.unknown.map(({ id }) => id))
    const list = (entries: ReadonlyArray<Migrations.Applied>) => entries.map((entry) => ({ ...entry }))
    yield* answer(
      options,
      () => ({
        schema: schemaStatus.schema,
        state: schemaStatus.state,
        owner: Option.getOrNull(schemaStatus.owner),
        version: schemaStatus.version,
        latest: schemaStatus.latest,
        watch: schemaStatus.watch,
        concerns: schemaStatus.concerns.map((concern) => ({
          kind: concern._tag,
          detail: Migrations.describeConcern(concern)
        })),
        applied: list(schemaStatus.applied),
        pending: ids(schemaStatus.pending),
        mismatched: list(schemaStatus.mismatched),
        unknown: list(schemaStatus.unknown)
      }),
      (width) => {
        const rows = [
          ...schemaStatus.applied.map(({ appliedAt, appliedBy, id, name }) => [
            String(id),
            name,
            mismatched.has(id) ? "other text" : unknown.has(id) ? "not known here" : "applied",
            appliedAt,
            appliedBy
          ]),
          ...schemaStatus.pending.map(({ id, name }) => [String(id), name, "pending"])
        ]
        const columns = ["id", "name", "state", "applied at", "applied by"].map((header) => ({ header }))
        const owner = Option.match(schemaStatus.owner, {
          onNone: () => "",
          onSome: (role) => ` and belongs to ${visible(role)}`
        })
        return [
          layout(columns, rows, width),
          "",
          `The schema ${visible(schemaStatus.schema)} ${states[schemaStatus.state]}${owner}.`,
          ...(schemaStatus.state === "absent" ? [] : [`The schema watch is ${schemaStatus.watch}.`]),
          ...schemaStatus.concerns.flatMap((concern) =>
            paragraph(`Note: ${visible(Migrations.describeConcern(concern))}.`, width)
          )
        ].join("\n")
      }
    )
    if (schemaStatus.state === "newer") {
      return yield* new Migrations.MigrationError({
        reason: "NewerSchema",
        detail: `the schema ${schemaStatus.schema} was migrated by a newer Threadline: use that version or a later one`
      })
    }
    if (schemaStatus.state === "mismatch" || schemaStatus.concerns.some(({ _tag }) => serious.has(_tag))) {
      return yield* new AnsweredNo()
    }
  })
)

export const printing = leaf(
  "migrate print",
  {
    ...common,
    ownerRole,
    to,
    from: value("from", "NUMBER", "The first migration; default: 1."),
    pending: flag("pending", "Ask the database, and print only what it lacks."),
    watchSchema,
    noWatchSchema
  },
  (options) =>
    Effect.gen(function* () {
      const configured = yield* configuration(options)
      const settings = {
        ownerRole: ownerOf(options.ownerRole, configured.ownerRole),
        to: yield* migrationId("--to", options.to),
        from: yield* migrationId("--from", options.from),
        watchSchema: yield* watchOption(options)
      }
      if (!options.pending) {
        const sql = yield* withSchema(options, configured)(Migrations.render(settings))
        return yield* options.json ? printJson({ sql }) : printSource(sql)
      }
      const schemaStatus = yield* Migrations.status().pipe(
        Effect.provide(client(options)),
        withSchema(options, configured)
      )
      const firstPending = schemaStatus.pending[0]
      if (firstPending === undefined && settings.watchSchema === undefined) {
        return yield* options.json
          ? printJson({ sql: "" })
          : printSource(`-- The schema ${schemaStatus.schema} lacks nothing.`)
      }
      const sql = yield* withSchema(
        options,
        configured
      )(
        firstPending === undefined
          ? Migrations.renderWatch(settings.watchSchema === true)
          : Migrations.render({ ...settings, from: firstPending.id })
      )
      yield* options.json ? printJson({ sql }) : printSource(sql)
    })
)

export const generate = leaf(
  "migrate generate",
  {
    ...common,
    ownerRole,
    to,
    output: value("output", "DIRECTORY", "Where the files go; default: ./migrations."),
    force: flag("force", "Replace files whose text differs."),
    watchSchema,
    noWatchSchema
  },
  (options) =>
    Effect.gen(function* () {
      const configured = yield* configuration(options)
      const directory = Option.getOrElse(options.output, () => "migrations")
      const target = yield* pathOf(directory)
      const files = yield* Migrations.generate({
        ownerRole: ownerOf(options.ownerRole, configured.ownerRole),
        to: yield* migrationId("--to", options.to),
        watchSchema: yield* watchOption(options)
      }).pipe(withSchema(options, configured))
      const inspected = yield* Effect.forEach(files, ({ file, sql }) =>
        Effect.map(existing(join(target, file)), (text) => ({ file, sql, text }))
      )
      const different = inspected.find(({ sql, text }) => text !== undefined && text !== sql)
      if (different !== undefined && !options.force) {
        return yield* new Refused({ message: `${different.file} exists with another text; --force replaces it` })
      }
      yield* writing(() => mkdir(target, { recursive: true }))
      const changedFiles = inspected.filter(({ sql, text }) => text !== sql)
      yield* Effect.forEach(changedFiles, ({ file, sql }) => writing(() => writeFile(join(target, file), sql)))
      yield* answer(
        options,
        () => ({
          directory,
          files: inspected.map(({ file, sql, text }) => ({ file, written: text !== sql }))
        }),
        () =>
          inspected
            .map(({ file, sql, text }) => `${text === sql ? "unchanged" : "wrote"} ${visible(join(directory, file))}`)
            .join("\n")
      )
    })
)

const existing = (path: string) =>
  Effect.tryPromise({
    try: () => readFile(path, "utf8"),
    catch: (cause) => cause
  }).pipe(
    Effect.catchAll((cause) =>
      cause instanceof Error && "code" in cause && cause.code === "ENOENT"
        ? Effect.succeed(undefined)
        : Effect.fail(new Refused({ message: `${path} cannot be read: ${String(cause)}` }))
    )
  )

const writing = <A>(write: () => Promise<A>) =>
  Effect.tryPromise({
    try: write,
    catch: (cause) => new Refused({ message: cause instanceof Error ? cause.message : String(cause) })
  })
