/**
 * The JSON of a change, written by PostgreSQL. It equals the JSON of `Change`, with all digits of each number: `stringify` in SQL.
 */
import type { Fragment } from "@effect/sql/Statement"
import { actionColumns, instantColumn, transactionColumns } from "../record/change.js"
import type { Storage } from "../record/storage.js"
import { joinedAction } from "../record/visible.js"

/** How a column of the row `s` becomes JSON. */
type Kind =
  /** It needs no escapes and is never null. */
  | "plain"
  | "text"
  /** It is JSON already. */
  | "json"

type Field = readonly [key: string, column: string, kind: Kind]

const ofChange: ReadonlyArray<Field> = [
  ["id", "id", "plain"],
  ["transactionId", "transaction_id", "plain"],
  ["capturedAt", "captured_at", "plain"],
  ["tableSchema", "table_schema", "text"],
  ["tableName", "table_name", "text"],
  ["partitionName", "partition_name", "text"],
  ["op", "op", "text"],
  ["rowPk", "texts", "json"],
  ["rowKey", "row_key", "text"],
  ["previousRowKey", "previous_row_key", "text"],
  ["changedFields", "changed_fields", "json"],
  ["changedFrom", "changed_from", "json"],
  ["dataAfter", "data_after", "json"],
  ["details", "details", "json"]
]

const ofTransaction: ReadonlyArray<Field> = [
  ["id", "of_id", "plain"],
  ["occurredAt", "began", "plain"],
  ["actor", "person", "json"],
  ["correlationId", "t_correlation_id", "text"],
  ["requestId", "t_request_id", "text"],
  ["jobId", "t_job_id", "text"],
  ["traceId", "t_trace_id", "text"],
  ["source", "t_source", "text"],
  ["remoteIp", "t_remote_ip", "text"],
  ["meta", "t_meta", "json"],
  ["contextError", "t_context_error", "text"],
  ["dbUser", "t_db_user", "text"],
  ["applicationName", "t_application_name", "text"],
  ["clientAddr", "t_client_addr", "text"]
]

const ofAction: ReadonlyArray<Field> = [
  ["id", "a_id", "plain"],
  ["name", "a_name", "text"],
  ["status", "a_status", "text"],
  ["correlationId", "a_correlation_id", "text"]
]

/**
 * The members of an object, and what opens it: a string without an end. They are joined by `||`, because `concat` and `row_to_json` treat
 * each value by its type again in each row, which takes a third of the time of the statement. Each member is in parentheses, so that a
 * large one is copied only a few times.
 */
const membersOf = (fields: ReadonlyArray<Field>): string =>
  fields
    .map(([key, column, kind], index) => {
      const before = `${index === 0 ? "{" : ","}"${key}":`
      switch (kind) {
        case "plain":
          return `('${before}"' || s.${column} || '"')`
        case "text":
          return `('${before}' || coalesce(pg_catalog.to_json(s.${column})::text, 'null'))`
        case "json":
          return `('${before}' || coalesce(s.${column}::text, 'null'))`
      }
    })
    .join("\n    || ")

/** The JSON of a transaction and its first action, to the end of the document of a change. `s` has their columns. */
const endOfDocument = `${membersOf(ofTransaction)}
    || '},"action":' || case when s.a_id is null then 'null' else ${membersOf(ofAction)} || '}' end || '}'`

/** A part of the JSON of the change `s`: these fields, its transaction and its action. */
const documentOf = ({ sql }: Pick<Storage, "sql">, before: string, fields: ReadonlyArray<Field>): Fragment =>
  sql.literal(`(${
    before === ""
      ? ""
      : `'${before}'
    || `
  }${membersOf(fields)}
    || (',"transaction":' || s.rest))`)

/** The JSON of the change `s`, after the text `before`. */
export const changeDocument = (storage: Storage, before: string): Fragment => documentOf(storage, before, ofChange)

/** The JSON of the change `s` with only some of its own fields, for a shape that has the others elsewhere. */
export const restOfDocument = (storage: Pick<Storage, "sql">, keys: ReadonlyArray<string>): Fragment =>
  documentOf(
    storage,
    "",
    ofChange.filter(([key]) => keys.includes(key))
  )

const types = `'user', 'admin', 'service_account', 'job', 'system'`

/** Whether a document is a valid actor, by the rules of its schema. */
const isActor = (document: string, depth = 0): string => `(
      case ${document} ->> 'type'::text
        when 'anonymous' then not ${document} ? 'id'::text
        else ${document} ->> 'type'::text in (${types}) and pg_catalog.jsonb_typeof(${document} -> 'id'::text) = 'string'
      end
      and coalesce(pg_catalog.jsonb_typeof(${document} -> 'label'::text), 'string') = 'string'
      and (not ${document} ? 'impersonator'::text${depth < 2 ? ` or ${isActor(`(${document} -> 'impersonator'::text)`, depth + 1)}` : ""})
    )`

/**
 * The actor of the transaction `t`: its document. If the row was written by hand and the document is not valid, the actor is made of the columns.
 */
const actorColumn = ({ sql }: Storage): Fragment => sql`
  case
    when ${sql.literal(isActor("t.actor"))} then t.actor
    when t.actor_type = 'anonymous' and t.actor_id is null then '{"type": "anonymous"}'
    when t.actor_type in (${sql.literal(types)}) and t.actor_id is not null
      then pg_catalog.jsonb_build_object('type', t.actor_type, 'id', t.actor_id)
  end as person`

/**
 * The end of a document, behind the fields of the change, followed by the text `after`. It is made of the row `s`: the columns
 * of the transaction and its action.
 */
export const restOfTransaction = ({ sql }: Storage, after: string): Fragment =>
  sql.literal(`(${endOfDocument}${after}) as rest`)

/** Ends a line. */
export const lineFeed = `
    || E'\\n'`

/**
 * The transaction of the change `c` and its first action, as a row `x`: their columns, and what is `made` of them. A statement
 * mostly sends the changes of a transaction one after the other, and PostgreSQL remembers the row of a lateral query (Memoize).
 * So what these changes share is made once, and no transaction is read or sorted before the first change is sent.
 */
export const describedTransaction = (
  storage: Storage,
  condition: Fragment | undefined,
  made: ReadonlyArray<Fragment>
): Fragment => {
  const { name, sql } = storage
  return sql`
  ${condition === undefined ? sql`left join` : sql`cross join`} lateral (
    select ${sql.csv(["s.*", ...made])}
    from (
      select ${transactionColumns(sql)}, ${actionColumns(sql)}, ${actorColumn(storage)},
        coalesce(${instantColumn(sql, "t.occurred_at")}, '') as began, k.id::text as of_id
      from (select c.transaction_id as id) k
      left join ${name("audit_transactions")} t on t.id = k.id
      ${joinedAction(storage)}${
        condition === undefined
          ? sql``
          : sql`
      where ${condition}`
      }
    ) s
    offset 0
  ) x${condition === undefined ? sql` on true` : sql``}`
}

/** The key of the change `c` by column. Its values are strings, even if the row was written by hand. */
export const keyColumn = ({ sql }: Storage): Fragment => sql`
  case
    when c.row_pk @? 'strict $.* ? (@.type() != "string")'::jsonpath then (
      select pg_catalog.jsonb_object_agg(k.key, case when pg_catalog.jsonb_typeof(k.value) = 'string' then k.value #>> '{}'::text[] else k.value::text end)
      from pg_catalog.jsonb_each(c.row_pk) k
    )
    else c.row_pk
  end as texts`
