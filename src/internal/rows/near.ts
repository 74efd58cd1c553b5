/**
 * The changes at a key that are nearest to an instant or to a position, and the TRUNCATEs behind them: fragments of SQL.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"
import type { Position } from "../record/cursor.js"
import { formatMicros } from "../core/instant.js"
import { all, type Storage, unionAll } from "../record/storage.js"
import { byName, type Table } from "../record/tables.js"

const changeNames = [
  "id",
  "transaction_id",
  "captured_at",
  "table_schema",
  "table_name",
  "partition_name",
  "op",
  "row_pk",
  "row_key",
  "previous_row_key",
  "changed_fields",
  "changed_from",
  "data_after",
  "details"
]

/** The columns of a change, of a row with this alias. */
export const columnsOf = (alias: string): string => changeNames.map((name) => `${alias}.${name}`).join(", ")

/** The ends of a time as arguments of a function. */
export const begin = ({ sql }: Storage, since: string | null | undefined): Fragment =>
  since === null || since === undefined ? sql`'-infinity'::timestamptz` : sql`${since}::timestamptz`

export const end = ({ sql }: Storage, until: string | null | undefined): Fragment =>
  until === null || until === undefined ? sql`'infinity'::timestamptz` : sql`${until}::timestamptz`

/**
 * The first TRUNCATE behind each of some changes and before the next one: of the whole table, or else of a partition alone if it
 * may have removed the row without a trace. `changes` is a select of `own_key, id, transaction_id, captured_at, next_at,
 * next_id`: one change may be of two keys. `follows` is the id of the change.
 */
export const truncatesBehind = (storage: Storage, table: Table, changes: Fragment): Fragment => {
  const { name, sql } = storage
  const branches = table.spans.map(
    (span) => sql`(
        select r.*
        from ${name("truncates_behind")}(
          (select pg_catalog.jsonb_agg(pg_catalog.to_jsonb(o)) from (${changes}) o),
          ${span.schema}, ${span.name}, ${begin(storage, span.since)}, ${end(storage, span.until)}
        ) r
      )`
  )
  return sql`
      select distinct on (r.own_key, r.follows) r.*
      from (${unionAll(branches)}) r
      order by r.own_key, r.follows, r.partition_name nulls first, r.captured_at, r.id`
}

/**
 * The changes at a key that are nearest to an instant, a number of them on one side: changes under the key, and changes that
 * moved a row away from it. `bounds` are conditions on `c`. The key may be an expression.
 */
export const nearestChanges = (
  storage: Storage,
  table: Table,
  key: Fragment,
  side: "before" | "after",
  count: number,
  bounds: ReadonlyArray<Fragment>
): Fragment => {
  const { name, sql } = storage
  const before = side === "before"
  const order = sql.literal(before ? "c.captured_at desc, c.id desc" : "c.captured_at, c.id")
  const branches = (ofRow: Fragment): ReadonlyArray<Fragment> =>
    byName(storage, table, "c").map(
      (ofName) => sql`
        (
        select c.*
        from ${name("audit_changes")} c
        where ${all([ofName, ofRow, ...bounds])}
        order by ${order}
        limit ${count})`
    )
  return sql`(${unionAll([
    ...branches(sql`c.row_key = ${key}`),
    ...branches(sql`c.previous_row_key = ${key} and c.row_key is distinct from ${key}`)
  ])}
        order by ${sql.literal(before ? "captured_at desc, id desc" : "captured_at, id")}
        limit ${count}
      )`
}

/** An instant, and the captured time around it, as `Instant` writes them. */
export interface Around {
  readonly at: string
  readonly since: string | undefined
  readonly until: string | undefined
}

/**
 * The nearest changes of each of some keys: `own_key` and the columns of a change. A function of the database has the plan for a
 * table that always had one name.
 */
export const nearestChangesOfKeys = (
  storage: Storage,
  table: Table,
  keys: ReadonlyArray<string>,
  side: "before" | "after",
  count: number,
  { at, since, until }: Around
): Fragment => {
  const { name, sql } = storage
  const [span, ...otherSpans] = table.spans
  const instant = (text: string): Fragment => sql`${text}::timestamptz`
  if (span === undefined || otherSpans.length > 0) {
    const [firstKey, ...otherKeys] = keys
    // If the one key is a constant, the planner knows how many changes it has.
    const isSingle = firstKey !== undefined && otherKeys.length === 0
    const key = isSingle ? sql`${firstKey}` : sql`k.key`
    const bounds = [
      sql`c.captured_at ${sql.literal(side === "before" ? "<=" : ">")} ${instant(at)}`,
      ...(since === undefined ? [] : [sql`c.captured_at >= ${instant(since)}`]),
      ...(until === undefined ? [] : [sql`c.captured_at < ${instant(until)}`])
    ]
    return sql`
          select ${isSingle ? sql`${firstKey}::text` : key} as own_key, o.*
          from ${isSingle ? sql`(select 1) k` : sql`pg_catalog.jsonb_array_elements_text(${JSON.stringify(keys)}::jsonb) k (key)`}
          cross join lateral ${nearestChanges(storage, table, key, side, count, bounds)} o`
  }
  const bound = (times: ReadonlyArray<string | null | undefined>, of: "greatest" | "least", none: string): Fragment => {
    const known = times.filter((time) => time !== undefined && time !== null)
    return known.length === 0
      ? sql`${sql.literal(`'${none}'`)}::timestamptz`
      : sql`${sql.literal(of)}(${sql.csv(known.map(instant))})`
  }
  return sql`
          select o.*
          from ${name("changes_near")}(
            array(select k.key from pg_catalog.jsonb_array_elements_text(${JSON.stringify(keys)}::jsonb) k (key)),
            ${span.schema}, ${span.name}, ${side}, ${instant(at)},
            ${bound([since, span.since], "greatest", "-infinity")}, ${bound([until, span.until], "least", "infinity")},
            ${count}
          ) o`
}

/** A change that is known to be one of the nearest of its key: `nth` 0 for the nearest, 1 for the next one. */
export interface KnownChange {
  readonly key: string
  readonly nth: 0 | 1
  readonly row_key: string
  readonly at: string
  readonly id: string
}

/**
 * Whether a change leaves no row at a key on one side of an instant: it is the nearest one before it and took the row away, or the
 * nearest one after it and brought the row. `side` is an expression, `change` an alias of `audit_changes`. The key has certainly no
 * row if the next change is of another transaction, unless rows may share the key from one transaction to another.
 */
export const leavesNoRow = (sql: SqlClient, side: string, change: string, key: string): Fragment => {
  const conditions: ReadonlyArray<readonly [side: string, condition: string]> = [
    ["before", `${change}.op in ('delete', 'truncate') or ${change}.row_key is distinct from ${key}`],
    [
      "after",
      `${change}.op in ('insert', 'baseline') or (${change}.row_key = ${key} and coalesce(${change}.previous_row_key, ${key}) <> ${key})`
    ]
  ]
  return sql.literal(
    `case ${side} ${conditions.map(([name, condition]) => `when '${name}' then ${condition}`).join(" ")} end`
  )
}

/**
 * Changes that are known already, each read where it is: `key` and the columns of a change. Left out are keys that certainly have
 * no row (`leavesNoRow`).
 */
export const knownChanges = (
  storage: Storage,
  table: Table,
  changes: ReadonlyArray<KnownChange>,
  side: "before" | "after"
): Fragment => {
  const { name, sql } = storage
  const [span, ...otherSpans] = table.spans
  const document = sql`${JSON.stringify(changes)}::jsonb`
  const branch = (ofName: Fragment): Fragment => sql`(
            select c.*
            from ${name("audit_changes")} c
            where c.row_key = k.row_key
              and ${ofName}
              and c.captured_at = k.at
              and c.id = k.id
          )`
  // A function of the database has the plan for a table that always had one name.
  const found =
    span !== undefined && otherSpans.length === 0
      ? sql`
          select k.own_key as key, k.*
          from ${name("changes_known")}(${document}, ${span.schema}, ${span.name}, ${begin(storage, span.since)}, ${end(storage, span.until)}) k`
      : sql`
          select k.key, k.nth, c.*
          from pg_catalog.jsonb_to_recordset(${document}) k (key text, nth int, row_key text, at timestamptz, id bigint)
          cross join lateral (
          ${unionAll(byName(storage, table, "c").map(branch))}
          offset 0
          ) c`
  return sql`(
        select ${sql.literal(`o.key, o.nth, ${columnsOf("o")}`)}
        from (
          select k.*, pg_catalog.lead(k.transaction_id) over (partition by k.key order by k.nth) as next_transaction
          from (${found}) k
        ) o
        where o.nth = 0
          and (not (${leavesNoRow(sql, `'${side}'`, "o", "o.key")}) or o.transaction_id = o.next_transaction)
      )`
}

/** The condition that a change `c` lies on one side of a position, or at the position itself. The row comparison alone prunes no partition. */
export const beyond = (
  { sql }: Storage,
  side: "before" | "after",
  position: Position,
  itself: "included" | "excluded"
): ReadonlyArray<Fragment> => {
  const at = sql`${formatMicros(position.major)}::timestamptz`
  const comparison = sql.literal(`${side === "before" ? "<" : ">"}${itself === "included" ? "=" : ""}`)
  return [
    sql`c.captured_at ${sql.literal(side === "before" ? "<=" : ">=")} ${at}`,
    sql`(c.captured_at, c.id) ${comparison} (${at}, ${position.id.toString()}::bigint)`
  ]
}
