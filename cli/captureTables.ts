/** The tables that a capture command is about: from the configuration, or from options. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { basename } from "node:path"
import { Mask, type TableConfig } from "../src/Capture.js"
import * as TableName from "../src/TableName.js"
import { InvalidRequest } from "../src/ThreadlineError.js"
import type { Configuration } from "./config.js"
import { UsageError } from "./exit.js"

export interface TableOptions {
  readonly table: ReadonlyArray<string>
  readonly exclude: ReadonlyArray<string>
  readonly mask: ReadonlyArray<string>
  readonly key: ReadonlyArray<string>
}

interface ColumnName {
  readonly table: string
  readonly column: string
}

/** Reads a column with its table: `users.password`, `public.users.password`, `"Odd"."T"."c d"`. */
const columnName = (text: string, field: string): Either.Either<ColumnName, InvalidRequest> =>
  Either.map(TableName.parseColumn(text, field), ({ column, ...table }) => ({ table: TableName.format(table), column }))

/** A column of `--mask`, and the mask behind it, if there is one. A name with "=" in it stands in quotes. */
const maskedColumn = (text: string, field: string) => {
  const as = Mask.literals.find((mask) => text.endsWith(`=${mask}`))
  const column = as === undefined ? text : text.slice(0, -`=${as}`.length)
  return Either.map(columnName(column, field), (name) => ({ ...name, as }))
}

/** Tables that options name, with what the options say about their columns. */
const fromOptions = Effect.fnUntraced(function* (options: TableOptions, configured: ReadonlyArray<TableConfig>) {
  const columnNames = (texts: ReadonlyArray<string>, field: string) =>
    Effect.forEach(texts, (text) => columnName(text, field))
  const exclude = yield* columnNames(options.exclude, "--exclude")
  const mask = yield* Effect.forEach(options.mask, (text) => maskedColumn(text, "--mask"))
  const key = yield* columnNames(options.key, "--key")
  const tables = yield* Effect.forEach(options.table, (text) =>
    Either.map(TableName.parse(text, "--table"), TableName.format)
  )
  const twice = tables.find((table, index) => tables.indexOf(table) !== index)
  if (twice !== undefined) {
    return yield* new InvalidRequest({ field: "--table", rule: `names ${twice} twice` })
  }
  const excludedAndMasked = exclude.find(({ column, table }) =>
    mask.some((masked) => masked.table === table && masked.column === column)
  )
  if (excludedAndMasked !== undefined) {
    return yield* new InvalidRequest({
      field: "--mask",
      rule: `names ${excludedAndMasked.table}.${excludedAndMasked.column}, which --exclude leaves out already`
    })
  }
  for (const [field, columns] of [
    ["--exclude", exclude],
    ["--mask", mask],
    ["--key", key]
  ] as const) {
    const unselected = columns.find(({ table }) => !tables.includes(table))
    if (unselected !== undefined) {
      return yield* new InvalidRequest({ field, rule: `is about ${unselected.table}, which no --table names` })
    }
  }
  return tables.map((table): TableConfig => {
    const of = (columns: ReadonlyArray<ColumnName>) =>
      columns.filter((column) => column.table === table).map(({ column }) => column)
    const [firstKey, ...restOfKey] = of(key)
    if (of(exclude).length === 0 && of(mask).length === 0 && firstKey === undefined) {
      // If only the table is named, it is captured as configured: the option selects it.
      const configuredTable = configured.find((candidate) => TableName.same(candidate.table, table))
      if (configuredTable !== undefined) {
        return configuredTable
      }
    }
    return {
      table,
      ...(of(exclude).length === 0 ? {} : { exclude: of(exclude) }),
      ...(of(mask).length === 0
        ? {}
        : {
            mask: mask
              .filter((column) => column.table === table)
              .map(({ as, column }) => (as === undefined ? column : { column, as }))
          }),
      ...(firstKey === undefined ? {} : { key: [firstKey, ...restOfKey] as const })
    }
  })
})

/** The tables that options or configuration name; undefined if neither does. */
export const namedTables = (
  options: TableOptions,
  configured: Configuration
): Effect.Effect<ReadonlyArray<TableConfig> | undefined, InvalidRequest> =>
  options.table.length + options.exclude.length + options.mask.length + options.key.length > 0
    ? fromOptions(options, configured.tables ?? [])
    : Effect.succeed(configured.tables)

/** Like `namedTables`, for commands that need at least one table. */
export const requiredTables = (
  options: TableOptions,
  configured: Configuration
): Effect.Effect<ReadonlyArray<TableConfig>, InvalidRequest | UsageError> =>
  Effect.flatMap(namedTables(options, configured), (tables) =>
    tables === undefined
      ? Effect.fail(
          new UsageError({
            message: `no table is named: give --table, or name tables in ${configured.file === undefined ? "threadline.config.ts" : basename(configured.file)}`
          })
        )
      : Effect.succeed(tables)
  )
