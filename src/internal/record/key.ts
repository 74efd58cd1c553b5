/**
 * Rows as people name them: a table, and a key as a string, an array in key order, or an object.
 */
import type { SqlError } from "@effect/sql/SqlError"
import type { Fragment } from "@effect/sql/Statement"
import * as BigDecimal from "effect/BigDecimal"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { fromSqlError, InvalidRequest, type NotFound, type ThreadlineError } from "../../ThreadlineError.js"
import { parse, stringify } from "../core/json.js"
import { Lapses, lapsesOf, noLapses } from "./lapses.js"
import { rows, type Storage } from "./storage.js"
import { ofTable, type Table, tableFrom, TableNames, tableNamesOf } from "./tables.js"
import { reasonOf, sqlState } from "../sql/sqlState.js"
import { format, parse as parseTableName, type TableName } from "../core/tableName.js"
import { isStorable } from "../core/text.js"
import { keyColumnMeant } from "./unknownColumn.js"
import { unknownTable } from "./unknownTable.js"
import { isObject, JsonValue } from "../core/jsonValue.js"

/**
 * The value of one column of a key. An integer beyond 2^53 must be a string or a `bigint`.
 *
 * @since 0.1.0
 * @category models
 */
export type KeyPart = string | number | bigint | boolean | BigDecimal.BigDecimal

/**
 * The key of a row. For a key of one column it is the value of the column. For a key of several columns it is an array in key order,
 * or an object by column name, or a string that holds such an array or object as JSON.
 *
 * @since 0.1.0
 * @category models
 */
export type KeyInput = KeyPart | ReadonlyArray<KeyPart> | { readonly [column: string]: KeyPart }

/**
 * A key with every part as text, as a decoded filter has it.
 *
 * @since 0.1.0
 * @category models
 */
export type Key = string | ReadonlyArray<string> | { readonly [column: string]: string }

const rule = [
  "must be the key of a row: the value of its column, of several columns an array in key order or an object by column name;",
  "a value is a string without NULs and halves of surrogate pairs, a boolean, or a finite number,",
  "a whole one beyond 2^53 as text or bigint"
].join(" ")

/** An integer without point or exponent: types such as `bigint` read no other form. */
const decimalText = (decimal: BigDecimal.BigDecimal): string =>
  decimal.scale <= 0 && decimal.scale > -100 ? BigDecimal.scale(decimal, 0).value.toString() : stringify(decimal)

const partText = (part: unknown): string | undefined => {
  switch (typeof part) {
    case "string":
      return isStorable(part) ? part : undefined
    case "bigint":
    case "boolean":
      return String(part)
    case "number":
      return Number.isFinite(part) && (Number.isSafeInteger(part) || !Number.isInteger(part)) ? String(part) : undefined
    default:
      return BigDecimal.isBigDecimal(part) ? decimalText(part) : undefined
  }
}

const normalizeKey = (input: unknown): Key | undefined => {
  const singlePart = partText(input)
  if (singlePart !== undefined || typeof input !== "object" || input === null) {
    return singlePart
  }
  if (Array.isArray(input)) {
    const parts = input.map(partText)
    return parts.length > 0 && parts.every((part) => part !== undefined) ? parts : undefined
  }
  const parts = Object.entries(input).map(([column, part]) => [column, partText(part)] as const)
  return parts.length > 0 && parts.every(([column, part]) => isStorable(column) && part !== undefined)
    ? (Object.fromEntries(parts) as { readonly [column: string]: string })
    : undefined
}

const KeyInputSchema: Schema.Schema<KeyInput> = Schema.declare(
  (u: unknown): u is KeyInput => normalizeKey(u) !== undefined,
  {
    identifier: "Key",
    message: () => rule,
    arbitrary: () => (fc) => {
      const part = fc.oneof(
        fc.stringMatching(/^[a-z"]{1,8}$/),
        fc.integer(),
        fc.bigInt({ min: 2n ** 53n }),
        fc.boolean()
      )
      return fc.oneof(
        part,
        fc.array(part, { minLength: 1, maxLength: 3 }),
        fc.dictionary(fc.string({ minLength: 1, maxLength: 8 }).filter(isStorable), part, { minKeys: 1, maxKeys: 3 })
      )
    }
  }
)

/** A key as callers write it, in JSON. A large number keeps all its digits. */
export const KeyJson: Schema.Schema<KeyInput, JsonValue> = Schema.compose(JsonValue, KeyInputSchema, { strict: false })

export const KeySchema: Schema.Schema<Key, KeyInput> = Schema.transformOrFail(
  KeyInputSchema,
  Schema.declare((u: unknown): u is Key => normalizeKey(u) !== undefined, { identifier: "KeyOfTexts" }),
  {
    strict: true,
    decode: (input, _, ast) =>
      Either.fromNullable(normalizeKey(input), () => new ParseResult.Type(ast, undefined, rule)),
    encode: (key) => ParseResult.succeed(key)
  }
).annotations({ message: () => rule })

/** The name of a table, decoded to its canonical text, which always has the schema. */
export const TableSchema: Schema.Schema<string> = Schema.transformOrFail(
  Schema.String.annotations({ message: () => "must be a string" }),
  Schema.String,
  {
    strict: true,
    decode: (text, _, ast) =>
      Either.mapBoth(parseTableName(text), {
        onLeft: (error) => new ParseResult.Type(ast, undefined, error.rule),
        onRight: format
      }),
    encode: (text) => ParseResult.succeed(text)
  }
).annotations({
  message: (issue) => (issue.actual === undefined ? "must be a string" : tableRule(issue.actual))
})

const tableRule = (actual: unknown): string =>
  typeof actual !== "string"
    ? "must be a string"
    : Either.match(parseTableName(actual), { onLeft: (error) => error.rule, onRight: () => "must be a table name" })

/** The parts of a name that `TableSchema` has decoded. */
export const tableOf = (text: string): TableName => Either.getOrThrow(parseTableName(text))

const Resolved = Schema.Struct({
  key: Schema.String,
  lapses: Schema.optional(Lapses),
  names: Schema.optional(TableNames)
})

/** The canonical `row_key` of each key, and `furtherColumns` about its table. */
const resolved = (
  storage: Storage,
  table: TableName,
  keys: ReadonlyArray<Key>,
  field: string,
  furtherColumns: Fragment
): Effect.Effect<ReadonlyArray<typeof Resolved.Type>, InvalidRequest | NotFound | ThreadlineError> => {
  const { name, sql } = storage
  const spellings = keys.map((key) => {
    const composite = typeof key === "string" && /^\s*[[{]/.test(key) ? normalizeKey(structure(key)) : undefined
    return [key, ...(composite === undefined ? [] : [composite])]
  })
  const row = (key: Fragment): Fragment => sql`${name("row_key")}(${table.schema}, ${table.name}, ${key})::text as key`
  // Such a string may be the value of one column, or a key of several columns written as JSON. The table decides.
  const spelling = sql`case
      when k.key -> 1 is null then k.key -> 0
      when exists (
        select from ${name("policy_of")}(${table.schema}, ${table.name}) o
          join ${name("capture_policies")} p on p.table_schema = o.policy_schema and p.table_name = o.policy_name
        where p.key_columns -> 1 is not null
      ) then k.key -> 1
      else k.key -> 0
    end`
  const statement = sql`
    select ${row(spelling)}${furtherColumns}
    from pg_catalog.jsonb_array_elements(${stringify(spellings)}::jsonb) with ordinality k (key, place)
    order by k.place`
  return Effect.catchTag(
    rows(Resolved, statement, (error) => error),
    "SqlError",
    (error) => keyFailure(storage, table, field, spellings.flat(), error)
  )
}

/**
 * The canonical `row_key` of each key, as the triggers write it. It takes a statement of its own: if the key is a constant, the
 * planner knows how many changes a row has, and reads the changes of a busy row in order instead of sorting them all. `field` is
 * the input that an `InvalidRequest` names.
 */
export const rowKeys = (
  storage: Storage,
  table: TableName,
  keys: ReadonlyArray<Key>,
  field: string = "keys"
): Effect.Effect<ReadonlyArray<string>, InvalidRequest | NotFound | ThreadlineError> =>
  Effect.map(resolved(storage, table, keys, field, storage.sql``), (resolvedKeys) => resolvedKeys.map(({ key }) => key))

/** A row by its canonical key, and its table with all of its names. */
export interface Row {
  readonly table: Table
  readonly key: string
}

/** A row, and when its table was not captured. */
export interface CapturedRow extends Row {
  readonly lapses: Lapses
}

/** Finds a row by a key that a caller gave, in one statement. */
export const rowOf = (
  storage: Storage,
  table: TableName,
  key: Key
): Effect.Effect<Row, InvalidRequest | NotFound | ThreadlineError> =>
  resolvedRow(storage, table, key, storage.sql`, ${tableNamesOf(storage, table)} as names`)

/** Like `rowOf`, with the times in which the table was not captured. */
export const capturedRowOf = (
  storage: Storage,
  table: TableName,
  key: Key
): Effect.Effect<CapturedRow, InvalidRequest | NotFound | ThreadlineError> =>
  resolvedRow(
    storage,
    table,
    key,
    storage.sql`, ${tableNamesOf(storage, table)} as names, ${lapsesOf(storage, table)} as lapses`
  )

const resolvedRow = (storage: Storage, table: TableName, key: Key, furtherColumns: Fragment) =>
  Effect.flatMap(
    resolved(storage, table, [key], "key", furtherColumns),
    ([row]): Effect.Effect<CapturedRow, NotFound | ThreadlineError> =>
      row?.names === undefined
        ? unknownTable(storage, table)
        : Effect.succeed({ table: tableFrom(table, row.names), key: row.key, lapses: row.lapses ?? noLapses })
  )

export interface KeyColumn {
  readonly name: string
  /** As SQL writes it. */
  readonly type: string
}

export interface TableKey {
  readonly table: Table
  /** In their order; undefined if the table has changes but no policy. */
  readonly columns: ReadonlyArray<KeyColumn> | undefined
  /** When the table was not captured. */
  readonly lapses: Lapses
}

/** What the table's policy says. */
const TableKeyRow = Schema.Struct({
  columns: Schema.NullOr(Schema.parseJson(Schema.Array(Schema.Struct({ name: Schema.String, type: Schema.String })))),
  names: TableNames,
  lapses: Lapses
})

const ChangesRow = Schema.Struct({ has_changes: Schema.String })

/** `NotFound` for a table that has neither policy nor changes, `InvalidRequest` for one whose rows have no key. */
export const tableKey = (
  storage: Storage,
  table: TableName
): Effect.Effect<TableKey, InvalidRequest | NotFound | ThreadlineError> =>
  Effect.flatMap(
    rows(
      TableKeyRow,
      storage.sql`
        select
          (
            select p.key_columns
            from ${storage.name("policy_of")}(${table.schema}, ${table.name}) o
              join ${storage.name("capture_policies")} p
                on p.table_schema = o.policy_schema and p.table_name = o.policy_name
          )::text as columns,
          ${tableNamesOf(storage, table)} as names,
          ${lapsesOf(storage, table)} as lapses`
    ),
    ([row]): Effect.Effect<TableKey, InvalidRequest | NotFound | ThreadlineError> => {
      if (row === undefined) {
        return unknownTable(storage, table)
      }
      const { columns, lapses, names } = row
      if (columns?.length === 0) {
        return Effect.fail(
          new InvalidRequest({
            field: "table",
            rule: "has no key, so that its rows cannot be told apart at an instant"
          })
        )
      }
      const tableKey = { table: tableFrom(table, names), columns: columns ?? undefined, lapses }
      return columns !== null
        ? Effect.succeed(tableKey)
        : Effect.flatMap(hasChanges(storage, tableKey.table), (changed) =>
            changed ? Effect.succeed(tableKey) : unknownTable(storage, table)
          )
    }
  )

const hasChanges = (storage: Storage, table: Table): Effect.Effect<boolean, ThreadlineError> =>
  Effect.map(
    rows(
      ChangesRow,
      storage.sql`
        select exists (
          select from ${storage.name("audit_changes")} c
          where ${ofTable(storage, table, "c")}
        )::text as has_changes`
    ),
    ([row]) => row?.has_changes === "true"
  )

const isArray = (key: Key): key is ReadonlyArray<string> => Array.isArray(key)

const structure = (text: string): unknown => {
  const value = parse(text)
  return Array.isArray(value) || isObject(value) ? value : undefined
}

/** What it means if a statement that computes row keys fails: the table is wrong, or a key, or the database failed. */
const keyFailure = (
  storage: Storage,
  table: TableName,
  field: string,
  keys: ReadonlyArray<Key>,
  error: SqlError
): Effect.Effect<never, InvalidRequest | NotFound | ThreadlineError> => {
  const state = sqlState(error)
  if (state === "TL002") {
    return unknownTable(storage, table)
  }
  if (state === "TL003") {
    const columns = keys.flatMap((key) => (typeof key === "string" || isArray(key) ? [] : Object.keys(key)))
    const rule = reasonOf(error)
    return Effect.flatMap(keyColumnMeant(storage, table, columns), (suggestion) =>
      Effect.fail(new InvalidRequest(suggestion === undefined ? { field, rule } : { field, rule, suggestion }))
    )
  }
  // A domain over the key's type may refuse the value as well.
  return Effect.fail(
    state === "23514" || state?.startsWith("22") === true
      ? new InvalidRequest({ field, rule: reasonOf(error) })
      : fromSqlError(error)
  )
}
