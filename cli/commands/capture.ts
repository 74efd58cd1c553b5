import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import * as Capture from "../../src/Capture.js"
import type { JsonValue } from "../../src/internal/json.js"
import { namedTables, requiredTables } from "../captureTables.js"
import type { Configuration } from "../config.js"
import { configuration, migratedClient, withSchema } from "../database.js"
import { Refused, UsageError } from "../exit.js"
import { leaf } from "../leaf.js"
import { type Common, common, flag, value, values } from "../options.js"
import { answer, print, printJson, visible, width } from "../output.js"
import { layout, paragraph } from "../table.js"
import { wholeNumber } from "../values.js"

const tables = {
  table: values("table", "TABLE", "A table as in SQL, such as public.posts; else those of the configuration."),
  exclude: values("exclude", "COLUMN", "A column to leave out, such as public.users.password."),
  mask: values("mask", "COLUMN", "A column whose values are replaced by a placeholder."),
  key: values("key", "COLUMN", "A column of the key of a table without primary key, in order.")
}

const prune = flag("prune", "Also stop capturing tables that the configuration does not name.")

const markPartitions = flag("mark-partitions", "Also record the rows of partitions that joined or left a table.")

const lockTimeout = value(
  "lock-timeout",
  "MILLISECONDS",
  "How long to wait for a table before trying again; else 3000."
)

/** Runs a call of the service in the database that the options name. */
const inDatabase = <A, E, R>(
  options: Common,
  configured: Configuration,
  call: Effect.Effect<A, E, R | Capture.Capture>
) => call.pipe(Effect.provide(Layer.provide(Capture.layer, migratedClient(options))), withSchema(options, configured))

const stepJson = ({ kind, lessRedaction, sql, summary, table }: Capture.Step): JsonValue => ({
  kind,
  table,
  summary,
  lessRedaction,
  sql
})

const stepLines = (steps: ReadonlyArray<Capture.Step>): string =>
  layout(
    [{ header: "step", rigid: true }, { header: "table" }, { header: "what" }],
    steps.map(({ kind, summary, table }) => [kind, table, summary]),
    width()
  )

const plan = leaf("capture plan", { ...common, ...tables, prune, markPartitions }, (options) =>
  Effect.gen(function* () {
    const configured = yield* configuration(options)
    const named = yield* requiredTables(options, configured)
    const steps = yield* inDatabase(
      options,
      configured,
      Effect.flatMap(Capture.Capture, (capture) =>
        capture.plan(named, { prune: options.prune, markPartitions: options.markPartitions })
      )
    )
    yield* answer(
      options.json,
      () => ({ steps: steps.map(stepJson) }),
      () =>
        steps.length === 0
          ? "Nothing is to be done."
          : `${stepLines(steps)}\n\n"threadline capture apply" does it; --json shows the SQL.`
    )
  })
)

const applying = leaf(
  "capture apply",
  {
    ...common,
    ...tables,
    prune,
    markPartitions,
    allowLessRedaction: flag("allow-less-redaction", "Accept that a column shows more than it did."),
    lockTimeout
  },
  (options) =>
    Effect.gen(function* () {
      const configured = yield* configuration(options)
      const named = yield* requiredTables(options, configured)
      const wait = yield* wholeNumber("--lock-timeout", options.lockTimeout)
      const steps = yield* inDatabase(
        options,
        configured,
        Effect.flatMap(Capture.Capture, (capture) =>
          capture.apply(named, {
            prune: options.prune,
            markPartitions: options.markPartitions,
            allowLessRedaction: options.allowLessRedaction,
            ...(wait === undefined ? {} : { lockTimeout: wait })
          })
        )
      )
      yield* answer(
        options.json,
        () => ({ steps: steps.map(stepJson) }),
        () => (steps.length === 0 ? "There was nothing to do." : stepLines(steps))
      )
    })
)

const removing = leaf("capture remove", { ...common, table: tables.table, lockTimeout }, (options) =>
  Effect.gen(function* () {
    const configured = yield* configuration(options)
    const wait = yield* wholeNumber("--lock-timeout", options.lockTimeout)
    if (options.table.length === 0) {
      // Not from the configuration: whoever wants to stop capturing says which table.
      return yield* new UsageError({ message: "no table is named: give --table" })
    }
    const steps = yield* inDatabase(
      options,
      configured,
      Effect.flatMap(Capture.Capture, (capture) =>
        capture.remove(options.table, wait === undefined ? {} : { lockTimeout: wait })
      )
    )
    yield* answer(
      options.json,
      () => ({ steps: steps.map(stepJson) }),
      () => stepLines(steps)
    )
  })
)

const status = leaf("capture status", { ...common, ...tables }, (options) =>
  Effect.gen(function* () {
    const configured = yield* configuration(options)
    const named = yield* namedTables(options, configured)
    const found = yield* inDatabase(
      options,
      configured,
      Effect.flatMap(Capture.Capture, (capture) => capture.status(named))
    )
    yield* answer(
      options.json,
      () => ({ tables: found.map(statusJson) }),
      () => (found.length === 0 ? "No table is captured." : statusText(found))
    )
  })
)

const statusJson = ({ captured, findings, policy, table }: Capture.TableStatus): JsonValue => ({
  table,
  captured,
  policy:
    policy === null
      ? null
      : {
          ...policy,
          key: policy.key.map((column) => ({ ...column })),
          columns: policy.columns.map((column) => ({ ...column }))
        },
  findings: findings.map((finding) => ({ ...finding }))
})

const statusText = (found: ReadonlyArray<Capture.TableStatus>): string => {
  const rows = found.map(({ captured, policy, table }) => [
    table,
    captured ? "captured" : "not captured",
    policy === null ? "" : policy.key.map(({ name }) => name).join(", "),
    policy === null ? "" : policy.exclude.join(", "),
    policy === null ? "" : policy.mask.join(", ")
  ])
  const findings = found.flatMap(({ findings }) => findings)
  return [
    layout(
      [
        { header: "table" },
        { header: "state", rigid: true },
        { header: "key" },
        { header: "excluded" },
        { header: "masked" }
      ],
      rows,
      width()
    ),
    ...(findings.length === 0
      ? []
      : [
          "",
          ...findings.flatMap(({ detail, fix, severity, table }) => [
            ...paragraph(`${severity}: ${table}: ${detail}`, width()),
            // A command to copy stays whole.
            ...(fix === null ? [] : [`  fix: ${visible(fix)}`])
          ])
        ])
  ].join("\n")
}

const printing = leaf(
  "capture print",
  { ...common, ...tables, output: value("output", "DIRECTORY", "Write one file for each table there.") },
  (options) =>
    Effect.gen(function* () {
      const configured = yield* configuration(options)
      const named = yield* requiredTables(options, configured)
      const files = yield* inDatabase(
        options,
        configured,
        Effect.flatMap(Capture.Capture, (capture) => capture.print(named))
      )
      if (Option.isNone(options.output)) {
        return yield* options.json
          ? printJson({ files: files.map((file) => ({ ...file })) })
          : print(files.map(({ sql }) => sql).join("\n"))
      }
      const directory = options.output.value
      const paths = files.map(({ name }) => join(directory, name))
      yield* Effect.tryPromise({
        try: async () => {
          await mkdir(directory, { recursive: true })
          for (const { name, sql } of files) {
            await writeFile(join(directory, name), sql)
          }
        },
        catch: (cause) => new Refused({ message: cause instanceof Error ? cause.message : String(cause) })
      })
      yield* answer(
        options.json,
        () => ({ files: files.map((file) => ({ ...file })) }),
        () => paths.map((path) => `wrote ${path}`).join("\n")
      )
    })
)

export const capture = Command.make("capture").pipe(
  Command.withSubcommands([plan, applying, removing, status, printing])
)
