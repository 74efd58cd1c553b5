import * as Command from "@effect/cli/Command"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import * as Capture from "../../src/Capture.js"
import * as TableName from "../../src/TableName.js"
import type { JsonValue } from "../../src/Json.js"
import { namedTables, requiredTables, type TableOptions } from "../captureTables.js"
import { type Configuration, sameTable } from "../config.js"
import { configuration, migratedClient, withSchema } from "../database.js"
import { Refused, UsageError } from "../exit.js"
import { leaf } from "../leaf.js"
import { type Common, common, flag, value, values } from "../options.js"
import { answer, printJson, printSql, visible, width } from "../output.js"
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

/** PostgreSQL would take 0 for no limit, and wait for ever. */
const milliseconds = (text: Option.Option<string>) => wholeNumber("--lock-timeout", text, 1)

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

/** Steps in full: what a column loses of its redaction is never cut off. */
const stepLines = (steps: ReadonlyArray<Capture.Step>): string =>
  [
    layout(
      [{ header: "step", rigid: true }, { header: "table" }, { header: "what", whole: true }],
      steps.map(({ kind, summary, table }) => [kind, table, summary]),
      width()
    ),
    ...steps
      .filter(({ lessRedaction }) => lessRedaction.length > 0)
      .flatMap(({ lessRedaction, table }) =>
        paragraph(`Less redaction: ${table} shows more than before of ${lessRedaction.join(", ")}.`, width())
      )
  ].join("\n")

/** What carries out a plan that was made with these options. */
const applyCommand = (options: TableOptions & { readonly prune: boolean; readonly markPartitions: boolean }): string =>
  [
    `"threadline capture apply`,
    options.prune ? " --prune" : "",
    options.markPartitions ? " --mark-partitions" : "",
    `"`,
    options.table.length > 0 ? " with the same tables" : ""
  ].join("")

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
          ? named.length === 0
            ? "The configuration names no table; nothing is to be done."
            : "Nothing is to be done."
          : [
              stepLines(steps),
              "",
              ...paragraph(
                steps.some(({ lessRedaction }) => lessRedaction.length > 0)
                  ? `${applyCommand(options)} refuses it without --allow-less-redaction; --json shows the SQL.`
                  : `${applyCommand(options)} does it; --json shows the SQL.`,
                width()
              )
            ].join("\n")
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
      const wait = yield* milliseconds(options.lockTimeout)
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
        () =>
          steps.length > 0
            ? stepLines(steps)
            : named.length === 0
              ? "The configuration names no table; there was nothing to do."
              : "There was nothing to do."
      )
    })
)

const removing = leaf("capture remove", { ...common, table: tables.table, lockTimeout }, (options) =>
  Effect.gen(function* () {
    const configured = yield* configuration(options)
    const wait = yield* milliseconds(options.lockTimeout)
    if (options.table.length === 0) {
      // Not from the configuration: whoever wants to stop capturing says which table.
      return yield* new UsageError({ message: "no table is named: give --table" })
    }
    yield* Effect.forEach(options.table, (text) => TableName.parse(text, "--table"))
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
    const asked = yield* namedTables(options, configured)
    const found = yield* inDatabase(
      options,
      configured,
      Effect.flatMap(Capture.Capture, (capture) =>
        options.table.length === 0 ? capture.status(asked) : statusOf(capture, options, configured, asked ?? [])
      )
    )
    const refused = found
      .flatMap(({ findings, policy }) => (policy === null ? findings : []))
      .find(({ kind }) => kind === "ConfigurationRefused")
    if (options.table.length > 0 && refused !== undefined) {
      const { detail, fix, table } = refused
      return yield* new Refused({
        message: [`${table}: ${detail.replace(/ \(\w+\)$/, "")}`, ...(fix === null ? [] : [fix])].join("; ")
      })
    }
    yield* answer(
      options.json,
      () => ({ tables: found.map(statusJson) }),
      () => (found.length === 0 ? "No table is captured." : statusText(found))
    )
  })
)

/**
 * Status of the tables that options name, and of no others. Named alone, a table is compared with the configuration, or
 * with nothing: its name says nothing of its redaction.
 */
const statusOf = Effect.fnUntraced(function* (
  capture: Context.Tag.Service<Capture.Capture>,
  options: TableOptions,
  configured: Configuration,
  asked: ReadonlyArray<Capture.TableConfig>
) {
  const alone = options.exclude.length + options.mask.length + options.key.length === 0
  const among = (statuses: ReadonlyArray<Capture.TableStatus>) =>
    statuses.filter(({ table }) => asked.some((each) => sameTable(each.table, table)))
  const found = among(yield* capture.status(alone ? configured.tables : asked))
  const missing = asked.filter((each) => !found.some(({ table }) => sameTable(each.table, table)))
  const rest = missing.length === 0 ? [] : among(yield* capture.status(missing))
  return [...found, ...rest.filter(({ table }) => !found.some((each) => each.table === table))].map((each) => ({
    ...each,
    findings: each.findings.filter(({ kind }) => !alone || kind !== "NotConfigured").map(withSameTables)
  }))
})

/** A fix for tables that options named names them again, where it does not yet. */
const withSameTables = (finding: Capture.Finding): Capture.Finding => ({
  ...finding,
  fix: finding.fix?.replace(/threadline capture apply(?! --table)/, "$& with the same tables") ?? null
})

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
  const rows = found.map(({ captured, findings, policy, table }) => [
    table,
    captured
      ? "captured"
      : policy === null
        ? "not captured"
        : findings.some(({ kind }) => kind === "TableGone")
          ? "gone"
          : findings.some(({ kind }) => kind === "TableRenamed")
            ? "renamed"
            : "in part",
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
          : printSql(files.map(({ sql }) => sql).join("\n"))
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
        () => paths.map((path) => `wrote ${visible(path)}`).join("\n")
      )
    })
)

export const capture = Command.make("capture").pipe(
  Command.withSubcommands([plan, applying, removing, status, printing])
)
