import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { mkdir, writeFile } from "node:fs/promises"
import { join } from "node:path"
import * as Capture from "../../src/Capture.js"
import * as TableName from "../../src/TableName.js"
import { namedTables, requiredTables, type TableOptions } from "../captureTables.js"
import type { Configuration } from "../config.js"
import {
  placeWords,
  refusalText,
  statusJson,
  statusText,
  stepJson,
  stepLines,
  withOptions,
  withPlace
} from "../describeCapture.js"
import { configuration, captureClient, withSchema } from "../database.js"
import { baselinesText } from "../describeHealth.js"
import { AnsweredNo, Refused, UsageError } from "../exit.js"
import { type Common, common, flag, value, values } from "../options.js"
import { answer, printJson, printSource, visible } from "../output.js"
import { leaf } from "../parser/declare.js"
import { recordBaselines } from "./continuity.js"
import { pathOf } from "../surroundings.js"
import { paragraph } from "../table.js"
import { wholeNumber } from "../values.js"

const tables = {
  table: values("table", "TABLE", "A table as in SQL, such as public.posts; default: those of the configuration."),
  exclude: values("exclude", "COLUMN", "A column to leave out, such as public.users.password."),
  mask: values(
    "mask",
    "COLUMN",
    "A column whose values are masked; users.iban=last4 (or hash, null) with another mask."
  ),
  key: values("key", "COLUMN", "A column of the key of a table without primary key, in order.")
}

const prune = flag("prune", "Also stop capturing tables that the configuration does not name.")

const markPartitions = flag("mark-partitions", "Also record the rows of partitions that were attached or detached.")

const lockTimeout = value(
  "lock-timeout",
  "MILLISECONDS",
  "How long to wait for a table before trying again; default: 3000."
)

/** PostgreSQL would take 0 as no limit, and wait forever. */
const milliseconds = (text: Option.Option<string>) => wholeNumber("--lock-timeout", text, 1)

/** Runs a call of the service in the database that the options name. */
const inDatabase = <A, E, R>(
  options: Common,
  configured: Configuration,
  call: Effect.Effect<A, E, R | Capture.Capture>
) => call.pipe(Effect.provide(Layer.provide(Capture.layer, captureClient(options))), withSchema(options, configured))

/** The command that carries out a plan that was made with these options. */
const applyCommand = (
  options: Common & TableOptions & { readonly prune: boolean; readonly markPartitions: boolean }
): string =>
  [
    `"${Capture.describeMend({ _tag: "command", argv: ["threadline", "capture", "apply", ...placeWords(options)] })}`,
    options.prune ? " --prune" : "",
    options.markPartitions ? " --mark-partitions" : "",
    `"`,
    options.table.length > 0 ? " with the same tables" : ""
  ].join("")

export const plan = leaf("capture plan", { ...common, ...tables, prune, markPartitions }, (options) =>
  Effect.gen(function* () {
    const configured = yield* configuration(options)
    const chosenTables = yield* requiredTables(options, configured)
    const steps = yield* inDatabase(
      options,
      configured,
      Effect.flatMap(Capture.Capture, (capture) =>
        capture.plan(chosenTables, { prune: options.prune, markPartitions: options.markPartitions })
      )
    )
    yield* answer(
      options,
      () => ({ steps: steps.map(stepJson) }),
      (width) =>
        steps.length === 0
          ? chosenTables.length === 0
            ? "The configuration names no table; nothing is to be done."
            : "Nothing is to be done."
          : [
              stepLines(steps, width),
              "",
              ...paragraph(
                steps.some(({ lessRedaction }) => lessRedaction.length > 0)
                  ? `${applyCommand(options)} refuses it without --allow-less-redaction; --json shows the SQL.`
                  : `${applyCommand(options)} does it; --json shows the SQL.`,
                width
              )
            ].join("\n")
    )
  })
)

export const applying = leaf(
  "capture apply",
  {
    ...common,
    ...tables,
    prune,
    markPartitions,
    baseline: flag("baseline", "Then record the rows that were there before, as continuity baseline does."),
    allowLessRedaction: flag("allow-less-redaction", "Accept that a column shows more than before."),
    lockTimeout
  },
  (options) =>
    Effect.gen(function* () {
      const configured = yield* configuration(options)
      const chosenTables = yield* requiredTables(options, configured)
      const wait = yield* milliseconds(options.lockTimeout)
      const steps = yield* inDatabase(
        options,
        configured,
        Effect.flatMap(Capture.Capture, (capture) =>
          capture.apply(chosenTables, {
            prune: options.prune,
            markPartitions: options.markPartitions,
            allowLessRedaction: options.allowLessRedaction,
            ...(wait === undefined ? {} : { lockTimeout: wait })
          })
        )
      )
      const baselines = options.baseline
        ? yield* recordBaselines(options, configured, { tables: chosenTables.map(({ table }) => table) })
        : undefined
      yield* answer(
        options,
        () => ({
          steps: steps.map(stepJson),
          ...(baselines === undefined ? {} : { baselines: baselines.map((result) => ({ ...result })) })
        }),
        (width) =>
          [
            steps.length > 0
              ? stepLines(steps, width)
              : chosenTables.length === 0
                ? "The configuration names no table; there was nothing to do."
                : "There was nothing to do.",
            ...(baselines === undefined ? [] : ["", baselinesText(baselines, width)])
          ].join("\n")
      )
      if (baselines?.some(({ state }) => state === "waiting") === true) {
        return yield* new AnsweredNo()
      }
    })
)

export const removing = leaf("capture remove", { ...common, table: tables.table, lockTimeout }, (options) =>
  Effect.gen(function* () {
    const configured = yield* configuration(options)
    const wait = yield* milliseconds(options.lockTimeout)
    if (options.table.length === 0) {
      // Not from the configuration: the end of a capture must name its table.
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
      options,
      () => ({ steps: steps.map(stepJson) }),
      (width) => stepLines(steps, width)
    )
  })
)

export const status = leaf("capture status", { ...common, ...tables }, (options) =>
  Effect.gen(function* () {
    const configured = yield* configuration(options)
    const chosenTables = yield* namedTables(options, configured)
    const statuses = (yield* inDatabase(
      options,
      configured,
      Effect.flatMap(Capture.Capture, (capture) =>
        options.table.length === 0
          ? capture.status(chosenTables)
          : statusOf(capture, options, configured, chosenTables ?? [])
      )
    )).map((tableStatus) => ({
      ...tableStatus,
      findings: tableStatus.findings.map((finding) => ({
        ...finding,
        mend: finding.mend === null ? null : withPlace(finding.mend, placeWords(options))
      }))
    }))
    const refused = statuses
      .flatMap(({ findings, policy }) => (policy === null ? findings : []))
      .find((finding) => finding.kind === "ConfigurationRefused")
    if (options.table.length > 0 && refused !== undefined) {
      return yield* new Refused({ message: refusalText(refused) })
    }
    yield* answer(
      options,
      () => ({ tables: statuses.map(statusJson) }),
      (width) => (statuses.length === 0 ? "No table is captured." : statusText(statuses, width))
    )
  })
)

/**
 * Status of the tables that options name, and of no others. If only its name is given, a table is compared with the
 * configuration, or with nothing: its name says nothing about its redaction.
 */
const statusOf = Effect.fnUntraced(function* (
  capture: Context.Tag.Service<Capture.Capture>,
  options: TableOptions,
  configured: Configuration,
  chosenTables: ReadonlyArray<Capture.TableConfig>
) {
  const alone = options.exclude.length + options.mask.length + options.key.length === 0
  const ofChosenTables = (statuses: ReadonlyArray<Capture.TableStatus>) =>
    statuses.filter(({ table }) => chosenTables.some((chosen) => TableName.same(chosen.table, table)))
  const presentStatuses = ofChosenTables(yield* capture.status(alone ? configured.tables : chosenTables))
  const missingTables = chosenTables.filter(
    (chosen) => !presentStatuses.some(({ table }) => TableName.same(chosen.table, table))
  )
  const missingStatuses = missingTables.length === 0 ? [] : ofChosenTables(yield* capture.status(missingTables))
  return [
    ...presentStatuses,
    ...missingStatuses.filter(({ table }) => !presentStatuses.some((present) => present.table === table))
  ].map((tableStatus) => ({
    ...tableStatus,
    findings: tableStatus.findings
      .filter(({ kind }) => !alone || kind !== "NotConfigured")
      .map((finding) => ({
        ...finding,
        mend: finding.mend === null ? null : withOptions(finding.mend, optionWords(options))
      }))
  }))
})

/** The options that name tables and columns, as they were given. */
const optionWords = (options: TableOptions): ReadonlyArray<string> =>
  (["table", "exclude", "mask", "key"] as const).flatMap((option) =>
    options[option].flatMap((text) => [`--${option}`, text])
  )

export const printing = leaf(
  "capture print",
  { ...common, ...tables, output: value("output", "DIRECTORY", "Write one file for each table there.") },
  (options) =>
    Effect.gen(function* () {
      const configured = yield* configuration(options)
      const chosenTables = yield* requiredTables(options, configured)
      const files = yield* inDatabase(
        options,
        configured,
        Effect.flatMap(Capture.Capture, (capture) => capture.print(chosenTables))
      )
      if (Option.isNone(options.output)) {
        return yield* options.json
          ? printJson({ files: files.map((file) => ({ ...file })) })
          : printSource(files.map(({ sql }) => sql).join("\n"))
      }
      const directory = options.output.value
      const target = yield* pathOf(directory)
      const paths = files.map(({ name }) => join(directory, name))
      yield* Effect.tryPromise({
        try: async () => {
          await mkdir(target, { recursive: true })
          for (const { name, sql } of files) {
            await writeFile(join(target, name), sql)
          }
        },
        catch: (cause) => new Refused({ message: cause instanceof Error ? cause.message : String(cause) })
      })
      yield* answer(
        options,
        () => ({ files: files.map((file) => ({ ...file })) }),
        () => paths.map((path) => `wrote ${visible(path)}`).join("\n")
      )
    })
)
