/**
 * Proves capture by writing: changes one row of each relation, looks for the change in the record, and rolls everything back.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type { ParseError } from "effect/ParseResult"
import * as Schema from "effect/Schema"
import type { Name } from "../capture/catalogModel.js"
import { Mend } from "../capture/mend.js"
import { settings } from "../capture/settings.js"
import { beginWriting, transaction } from "../sql/owned.js"
import { sqlState } from "../sql/sqlState.js"
import { identifier, literal, qualified } from "../sql/sqlText.js"

/**
 * What the canary saw of one relation.
 *
 * - `recorded`: a change of a row was recorded
 * - `not recorded`: it was not
 * - `unknown`: no row could be changed; `why` says why: the relation is `empty`, its rows are `locked`, the role lacks a `privilege`, it has
 *   no `column` that can be changed without knowing its meaning, the database or a trigger `refused` each change, or the server is a
 *   `standby`, which writes nothing
 *
 * @since 0.1.0
 * @category models
 */
export const CanaryResult = Schema.Struct({
  table: Schema.String,
  relation: Schema.String,
  outcome: Schema.Literal("recorded", "not recorded", "unknown"),
  why: Schema.NullOr(Schema.Literal("empty", "locked", "privilege", "column", "refused", "standby")),
  /** What mends it, if capture knows what is wrong with the table. */
  mend: Schema.NullOr(Mend)
}).annotations({ identifier: "threadline.Health.CanaryResult" })

/**
 * @since 0.1.0
 * @category models
 */
export type CanaryResult = typeof CanaryResult.Type

type Outcome = Pick<CanaryResult, "outcome" | "why">

/** Ends the transaction without leaving anything, with what was seen. */
class Seen extends Data.TaggedError("Seen")<{ readonly outcome: Outcome }> {}

const unknown = (why: NonNullable<CanaryResult["why"]>): Outcome => ({ outcome: "unknown", why })

/** Another value of a column, by its type. */
const otherValues: Readonly<Record<string, (column: string) => string>> = {
  bool: (column) => `not coalesce(${column}, false)`,
  text: (column) => `coalesce(${column}, '') || '.'`,
  varchar: (column) => `case when ${column} = '.' then ',' else '.' end`,
  int2: (column) => `case when ${column} = 1 then 2 else 1 end`,
  int4: (column) => `case when ${column} = 1 then 2 else 1 end`,
  int8: (column) => `case when ${column} = 1 then 2 else 1 end`,
  numeric: (column) => `case when ${column} = 1 then 2 else 1 end`,
  float8: (column) => `case when ${column} = 1 then 2 else 1 end`,
  timestamptz: (column) => `coalesce(${column}, now()) + interval '1 day'`,
  timestamp: (column) => `coalesce(${column}, now()::timestamp) + interval '1 day'`,
  date: (column) => `coalesce(${column}, current_date) + 1`,
  jsonb: (column) => `jsonb_build_array(${column})`
}

const Column = Schema.Struct({ name: Schema.String, type: Schema.String, allowed: Schema.Boolean })
const columns = Schema.decodeUnknown(Schema.Array(Column))
const Count = Schema.Tuple(Schema.Struct({ count: Schema.Int }))
const decodeWritten = Schema.decodeUnknown(Schema.Tuple(Schema.Struct({ found: Schema.Int, changed: Schema.Int })))
const count = (sql: SqlClient, statement: string): Effect.Effect<number, SqlError | ParseError> =>
  Effect.map(Effect.flatMap(sql.unsafe(statement), Schema.decodeUnknown(Count)), ([row]) => row.count)

/** Columns that belong to no constraint and no unique index, and that store what a statement writes. */
const candidates = (relation: Name, redacted: ReadonlyArray<string>): string => `
select a.attname as name, t.typname as type, has_column_privilege(c.oid, a.attnum, 'update') as allowed
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' and a.attidentity = ''
join pg_type t on t.oid = a.atttypid
where n.nspname = ${literal(relation.schema)}
  and c.relname = ${literal(relation.name)}
  and t.typname in (${Object.keys(otherValues).map(literal).join(", ")})
  and t.typnamespace = 'pg_catalog'::regnamespace
  and a.attname not in (${["", ...redacted].map(literal).join(", ")})
  and not exists (select from pg_index i where i.indrelid = c.oid and i.indisunique and a.attnum = any (i.indkey::int2[]))
  and not exists (select from pg_constraint k where k.conrelid = c.oid and k.contype <> 'n' and a.attnum = any (k.conkey))
  and not exists (select from pg_constraint k where k.confrelid = c.oid and a.attnum = any (k.confkey))
order by allowed desc, a.attnum
limit 5`

/** Why nothing could be tried, by the SQLSTATE that says so. On a standby no transaction can be one that writes. */
const hindrances: Readonly<Record<string, CanaryResult["why"] & string>> = {
  "42501": "privilege",
  "55P03": "locked",
  "57014": "locked",
  "0A000": "standby",
  "25006": "standby"
}

/** A writer that comes to the row meanwhile waits for so long at most, in milliseconds. */
const longest = "1000"

/** Writes another value into a column of one row. Triggers of the host look for what they name where they do for its own writes. */
const write = Effect.fnUntraced(function* (sql: SqlClient, target: string, { name, type }: typeof Column.Type) {
  const column = identifier(name)
  const value = otherValues[type]?.(`t.${column}`) ?? column
  yield* sql.unsafe(
    "select set_config('search_path', (select s.reset_val from pg_settings s where s.name = 'search_path'), true)"
  )
  const [written] = yield* Effect.flatMap(
    sql.unsafe(`with one as materialized (
  select t.ctid as place, t.${column}::pg_catalog.text as before from only ${target} t limit 1 for update skip locked
),
changed as (
  update only ${target} t set ${column} = ${value} from one where t.ctid = one.place
  returning t.${column}::pg_catalog.text is distinct from one.before as differs
)
select (select count(*) from one)::int as found, (select count(*) from changed where differs)::int as changed`),
    decodeWritten
  )
  yield* sql.unsafe(`select set_config('search_path', ${literal(settings.search_path)}, true)`)
  return written
})

/** How many changes of the table this transaction has recorded. */
const recordedOf = (sql: SqlClient, storage: string, table: Name) =>
  count(
    sql,
    `select count(*)::int as count
from ${qualified(storage, "audit_transactions")} t
join ${qualified(storage, "audit_changes")} c on c.transaction_id = t.id and c.captured_at >= t.occurred_at - interval '1 day'
where t.xid = pg_current_xact_id()
  and t.occurred_at >= transaction_timestamp()
  and c.table_schema = ${literal(table.schema)}
  and c.table_name = ${literal(table.name)}`
  )

/** Tries one column. If nothing was written, the savepoint undoes what was done, and another column may be tried. */
const tryColumn = Effect.fnUntraced(function* (
  sql: SqlClient,
  storage: string,
  table: Name,
  target: string,
  column: typeof Column.Type
): Effect.fn.Return<Outcome, ParseError | Seen | SqlError> {
  yield* sql.unsafe("savepoint threadline_canary")
  const undo = sql.unsafe("rollback to savepoint threadline_canary")
  const written = yield* Effect.catchTag(write(sql, target, column), "SqlError", (error) =>
    Effect.as(undo, unknown(sqlState(error) === "42501" ? "privilege" : "refused"))
  )
  if ("why" in written) {
    return written
  }
  if (written.found === 0) {
    const present = yield* count(sql, `select count(*)::int as count from (select from only ${target} limit 1) x`)
    return yield* new Seen({ outcome: unknown(present === 0 ? "empty" : "locked") })
  }
  if (written.changed === 0) {
    // A trigger of the host left the row out, or put the old value back: nothing was written that capture could see.
    return yield* Effect.as(undo, unknown("refused"))
  }
  const recorded = yield* recordedOf(sql, storage, table)
  return yield* new Seen({ outcome: { outcome: recorded > 0 ? "recorded" : "not recorded", why: null } })
})

/** Tries columns until one was written, or until it is seen that none can be. */
export const canaryOf = (
  sql: SqlClient,
  storage: string,
  table: Name,
  relation: Name,
  redacted: ReadonlyArray<string>
): Effect.Effect<Outcome, SqlError | ParseError> => {
  const target = qualified(relation.schema, relation.name)
  const body = Effect.gen(function* () {
    const candidateColumns = yield* Effect.flatMap(sql.unsafe(candidates(relation, redacted)), columns)
    const allowed = candidateColumns.filter((column) => column.allowed)
    if (allowed.length === 0) {
      return yield* new Seen({ outcome: unknown(candidateColumns.length === 0 ? "column" : "privilege") })
    }
    let last = unknown("refused")
    for (const column of allowed) {
      last = yield* tryColumn(sql, storage, table, target, column)
    }
    return yield* new Seen({ outcome: last })
  })
  // It always fails, and so it is always rolled back.
  return transaction(
    sql,
    beginWriting({
      lock_timeout: "100",
      statement_timeout: longest,
      idle_in_transaction_session_timeout: longest,
      ...settings
    }),
    body
  ).pipe(
    Effect.catchTag("Seen", ({ outcome }) => Effect.succeed(outcome)),
    Effect.catchTag("SqlError", (error) => {
      const why = hindrances[sqlState(error) ?? ""]
      return why === undefined ? Effect.fail(error) : Effect.succeed(unknown(why))
    })
  )
}
