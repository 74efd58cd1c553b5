/**
 * The columns of a CSV: their names and their SQL. Contract columns have a fixed order. Columns for people are extra. With `field`, `before`
 * or `after`, a change has one line for each field that it touched.
 */
import type { Fragment } from "@effect/sql/Statement"
import { deepestImpersonator } from "../core/limits.js"
import type { Storage } from "../record/storage.js"

/**
 * The columns of the contract (`docs/exports.md`), each with its name in the rows of a read: of the action with `a_`, of the
 * transaction with `t_`.
 */
const ofChange = {
  id: "id",
  transaction_id: "transaction_id",
  captured_at: "captured_at",
  table_schema: "table_schema",
  table_name: "table_name",
  partition_name: "partition_name",
  op: "op",
  row_key: "row_key",
  row_pk: "row_pk",
  previous_row_key: "previous_row_key",
  changed_fields: "changed_fields",
  changed_from: "changed_from",
  data_after: "data_after",
  details: "details"
} as const

/** Those that are the same for all changes of a transaction. */
const ofTransaction = {
  occurred_at: "t_occurred_at",
  actor_type: "t_actor_type",
  actor_id: "t_actor_id",
  actor: "t_actor",
  correlation_id: "t_correlation_id",
  request_id: "t_request_id",
  job_id: "t_job_id",
  trace_id: "t_trace_id",
  source: "t_source",
  remote_ip: "t_remote_ip",
  meta: "t_meta",
  context_error: "t_context_error",
  db_user: "t_db_user",
  application_name: "t_application_name",
  client_addr: "t_client_addr",
  action_id: "a_id",
  action_name: "a_name",
  action_status: "a_status",
  action_correlation_id: "a_correlation_id"
} as const

const contract = { ...ofChange, ...ofTransaction } as const

export const contractColumns = Object.keys(contract) as ReadonlyArray<keyof typeof contract>

export const personColumns = ["at", "who", "what", "row", "field", "before", "after"] as const

export type Column = (typeof contractColumns)[number] | (typeof personColumns)[number]

export const isColumn = (name: string): name is Column =>
  Object.hasOwn(contract, name) || personColumns.some((column) => column === name)

const kindsOfColumns: Readonly<Partial<Record<Column, Kind>>> = {
  id: "integer",
  transaction_id: "integer",
  action_id: "integer",
  captured_at: "instant",
  occurred_at: "instant",
  at: "instant",
  row_pk: "image",
  changed_from: "image",
  data_after: "image",
  details: "image",
  changed_fields: "json",
  actor: "json",
  meta: "json",
  row_key: "text",
  previous_row_key: "text",
  row: "text",
  before: "text",
  after: "text"
}

/**
 * What a column holds, for a format with types. An `image` is JSON that seldom comes twice, a `name` a short string that often does, and a
 * `text` any other string.
 */
export type Kind = "integer" | "instant" | "name" | "text" | "json" | "image"

export const kindOf = (column: Column): Kind => kindsOfColumns[column] ?? "name"

/** Columns whose text never looks like a formula to a spreadsheet: digits, fixed words, objects. */
const harmless: ReadonlySet<Column> = new Set([
  "id",
  "transaction_id",
  "captured_at",
  "op",
  "changed_fields",
  "occurred_at",
  "remote_ip",
  "client_addr",
  "action_id",
  "action_status",
  "at",
  "who",
  "what"
] as const)

/** Whether a cell of the column may begin as a formula does. */
export const mayBeFormula = (column: Column): boolean => !harmless.has(column)

const formulaCodes: ReadonlySet<number | undefined> = new Set(Buffer.from("\t\r'+-=@"))

/** Whether a cell with this first byte gets a `'` in front. */
export const isFormula = (first: number | undefined): boolean => formulaCodes.has(first)

/** The value of a cell of a CSV: without the `'` that guards a cell against formulas. */
export const cellValue = (cell: string): string => (/^'[\t\r'+\-=@]/.test(cell) ? cell.slice(1) : cell)

/** Who acted, in words: `user 42 (billing desk) by admin 7`. */
const who = (): string => {
  const actor = (depth: number): string =>
    depth === 0 ? "s.person" : `s.person #> '{${Array.from({ length: depth }, () => "impersonator").join(",")}}'`
  const named = (depth: number): string => `
      case when ${actor(depth)} is not null then pg_catalog.concat(
        ${actor(depth)} ->> 'type'::text,
        ' ' || (${actor(depth)} ->> 'id'::text),
        ' (' || (${actor(depth)} ->> 'label'::text) || ')'
      ) end`
  const names = Array.from({ length: deepestImpersonator + 1 }, (_, depth) => named(depth)).join(",")
  return `case when s.person is null then 'unattributed' else pg_catalog.concat_ws(' by ', ${names}) end`
}

const person: Readonly<Record<(typeof personColumns)[number], string>> = {
  at: "s.captured_at",
  who: who(),
  what: `pg_catalog.concat(
      s.op, ' ', case when s.table_schema <> 'public' then pg_catalog.quote_ident(s.table_schema) || '.' end, pg_catalog.quote_ident(s.table_name), ': ' || s.a_name
    )`,
  row: "pg_catalog.concat(s.previous_row_key || ' -> ', s.row_key)",
  field: "f.field",
  before: "f.before",
  after: "f.after"
}

const ofFields: ReadonlySet<string> = new Set(["field", "before", "after"])

export const areOfFields = (columns: ReadonlyArray<Column>): boolean => columns.some((column) => ofFields.has(column))

const isOfPerson = (column: Column): column is (typeof personColumns)[number] => column in person

const expressionOf = (column: Column): string => (isOfPerson(column) ? person[column] : `s.${contract[column]}`)

/** Whether a column is the same for all changes of a transaction. */
const isOfTransaction = (column: Column): boolean => column === "who" || Object.hasOwn(ofTransaction, column)

const cell = ({ anyBytes, sql }: Storage, column: Column): Fragment => {
  const text = sql.literal(`(${expressionOf(column)})::text`)
  // Such a database may hold bytes that cannot be sent as a string.
  return anyBytes ? sql`pg_catalog.convert_to(${text}, 'SQL_ASCII')` : text
}

/** The cells of a transaction's columns, from the row `s` of its columns and those of its action. */
export const cellsOfTransaction = (storage: Storage, columns: ReadonlyArray<Column>): ReadonlyArray<Fragment> =>
  columns
    .filter(isOfTransaction)
    .map((column) => storage.sql`${cell(storage, column)} as ${storage.sql.literal(`cell_${column}`)}`)

/**
 * The select list of all columns, from the row `s` of a change with the cells of its transaction, and the row `f` of one of its
 * fields.
 */
export const selected = (storage: Storage, columns: ReadonlyArray<Column>): Fragment =>
  storage.sql.csv(
    columns.map((column) => (isOfTransaction(column) ? storage.sql.literal(`s.cell_${column}`) : cell(storage, column)))
  )

/** The fields that the change `s` touched, as rows `f`. If there are none, one row without a field. */
export const fieldsOf = ({ sql }: Storage): Fragment => sql`
  left join lateral (
    select k.field, i.before ->> k.field as before, i.after ->> k.field as after
    from (
      select
        case when pg_catalog.jsonb_typeof(s.changed_from::jsonb) = 'object' then s.changed_from::jsonb end as before,
        case when pg_catalog.jsonb_typeof(s.data_after::jsonb) = 'object' then s.data_after::jsonb end as after
      offset 0
    ) i
    cross join lateral (
      select pg_catalog.jsonb_object_keys(i.before) collate "C" as field
      union
      select pg_catalog.jsonb_array_elements_text(s.changed_fields::jsonb) collate "C" where s.op = 'update'
      union
      select pg_catalog.jsonb_object_keys(i.after) collate "C" where s.op <> 'update'
    ) k
    order by k.field
  ) f on true`
