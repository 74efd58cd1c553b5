/**
 * The statement that finds how rows stood at an instant: for any number of keys of a table, on one side of the instant.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type { Fragment, Statement } from "@effect/sql/Statement"
import type * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { InvalidRequest, ThreadlineError } from "../../ThreadlineError.js"
import { type KnownChange, knownChanges, nearestChangesOfKeys, truncatesBehind } from "./near.js"
import { JsonObjectFromText } from "../core/jsonSchema.js"
import type { JsonObject } from "../core/jsonValue.js"
import { instantColumn, Operation } from "../record/change.js"
import { contains, namings, withPresentNames } from "../record/columns.js"
import { fulfils, hostCondition, onConditionError } from "../record/condition.js"
import type { Captured } from "../record/lapses.js"
import type { HostCondition } from "../record/scope.js"
import { all, type Storage } from "../record/storage.js"
import { type Table, withinSpan } from "../record/tables.js"
import { beforeImage, visibleChange } from "../record/visible.js"
import { positionOf } from "../sql/sqlState.js"

/**
 * A condition over the image of a row, `jsonb`, built with the client of the read: `(image, sql) => sql\`${image} ->> 'state' =
 * 'open'\``. It must answer the same each time it is called, because a cursor belongs to its text and values. The host writes it,
 * never a reader. It judges one row: a window function or an aggregate sees only that row.
 *
 * @since 0.1.0
 * @category models
 */
export type ImageCondition = (image: Fragment, sql: SqlClient) => Fragment

/** The one row that such a condition judges. No host uses this name. */
const judgedRow = "threadline_row"

/** The answer of the caller's condition, over the columns of `judgedRow`. */
export const imageCondition = ({ sql }: Storage, where: ImageCondition): Effect.Effect<HostCondition, InvalidRequest> =>
  hostCondition(sql, "where", () => where(sql.literal(`${judgedRow}.image`), sql))

export interface StandingRequest {
  readonly table: Table
  /** As `rowKey` resolves them. */
  readonly keys: ReadonlyArray<string>
  /** As `Instant` writes it. */
  readonly at: string
  /** The captured time around the instant. Undefined if the instant is not in one. */
  readonly captured: Captured | undefined
  /** What the image contains. */
  readonly contains: JsonObject | undefined
  readonly where: HostCondition | undefined
  /** Only keys with a row that was present, is visible, and fulfils `where`. */
  readonly presentOnly: boolean
}

/** No condition on the row: only how it stood. */
export const anyRow = { contains: undefined, where: undefined, presentOnly: false } as const

export const StandingRow = Schema.Struct({
  id: Schema.String,
  transaction_id: Schema.String,
  captured_at: Schema.String,
  table_schema: Schema.String,
  table_name: Schema.String,
  op: Operation,
  row_pk: Schema.NullOr(JsonObjectFromText),
  row_key: Schema.NullOr(Schema.String),
  previous_row_key: Schema.NullOr(Schema.String),
  changed_fields: Schema.NullOr(Schema.parseJson(Schema.Array(Schema.String))),
  changed_from: Schema.NullOr(JsonObjectFromText),
  data_after: Schema.NullOr(JsonObjectFromText),
  own_key: Schema.String,
  /**
   * False if the conditions exclude the key. Then only its first change comes, without images: it shows that the key has
   * changes on this side of the instant.
   */
  selected: Schema.String,
  /** The change of the row that this TRUNCATE follows; null for a change of the row itself. */
  follows: Schema.NullOr(Schema.String),
  visible: Schema.String,
  visible_before: Schema.String,
  matches: Schema.String,
  matches_before: Schema.String,
  /** Whether a TRUNCATE lies between the instant and this change. */
  cut: Schema.String
})

export type StandingRow = typeof StandingRow.Type

export type Side = "before" | "after"

const images = ["row_pk", "changed_from", "data_after"]

const standingColumns = [
  ...[
    "id",
    "transaction_id",
    "captured_at",
    "table_schema",
    "table_name",
    "op",
    "row_key",
    "previous_row_key",
    "changed_fields"
  ],
  ...images
]

/** In a statement, the caller's condition stands before this mark, and conditions of scopes stand behind it. */
const scopeMark = "/* what the reader may see */"

/** The caller's condition on an image. Undefined if there is none. */
const conditionOf = (
  storage: Storage,
  { contains: document, table, where }: StandingRequest,
  image: Fragment
): Fragment | undefined => {
  const { sql } = storage
  const times = document === undefined ? [] : namings(table, Object.keys(document))
  const conditions = [
    ...(document === undefined
      ? []
      : [
          sql`coalesce(${sql.or(
            times.map((naming) => all([contains(sql, image, document, naming), ...withinSpan(storage, naming, "c")]))
          )}, false)`
        ]),
    ...(where === undefined ? [] : [fulfils(sql, [where], judgedRow, { image: withPresentNames(sql, image, table) })])
  ]
  return conditions.length === 0 ? undefined : sql.and(conditions)
}

/** How many changes of each key are looked at, or the changes themselves if they are known. */
export type Looked = number | ReadonlyArray<KnownChange>

/** The nearest changes of the keys, each with what the reader may see of it and whether the conditions hold. */
const judgedChanges = (storage: Storage, side: Side, standingRequest: StandingRequest, looked: Looked): Fragment => {
  const { at, captured, keys, table } = standingRequest
  const { sql } = storage
  const visible = (imageSide?: "before"): Fragment => visibleChange(storage, "c", imageSide) ?? sql`true`
  // The caller's condition is not tried on rows that the reader may not see. A condition that fails would reveal something of
  // them.
  const matching = (isVisible: Fragment, image: Fragment): Fragment => {
    const condition = conditionOf(storage, standingRequest, image)
    return condition === undefined ? sql`true` : sql`case when ${isVisible} then ${condition} else false end`
  }
  const around = { at, since: captured?.since, until: captured?.until }
  return sql`
      select c.*,
        ${matching(sql`c.visible`, sql`c.data_after`)} as matches,
        ${side === "before" ? sql`true` : matching(sql`c.visible_before`, beforeImage(sql, "c"))} as matches_before
      from (
        select c.*, ${sql.literal(scopeMark)}
          ${visible()} as visible,
          ${
            side === "before"
              ? sql`case when c.previous_row_key is null then true else ${visible("before")} end`
              : visible("before")
          } as visible_before
        from (${
          typeof looked === "number"
            ? nearestChangesOfKeys(storage, table, keys, side, looked, around)
            : sql`
          select o.key as own_key, o.*
          from ${knownChanges(storage, table, looked, side)} o`
        }
        ) c
        offset 0
      ) c`
}

/** Of `threadline_judged`, the changes of keys that the conditions select, and the first change of each other key. */
const ownChanges = ({ sql }: Storage, side: Side, { presentOnly }: StandingRequest, instant: Fragment): Fragment => {
  const isShown = side === "before" ? "k.visible and k.matches" : "k.visible_before and k.matches_before"
  return sql`
      select ${sql.literal(standingColumns.map((column) => (images.includes(column) ? `case when o.selected then o.${column} end as ${column}` : `o.${column}`)).join(", "))},
        o.own_key, o.selected, o.visible, o.visible_before, o.matches, o.matches_before,
        pg_catalog.lead(o.captured_at, 1, ${instant}) over life as next_at,
        pg_catalog.lead(o.id, 1, 9223372036854775807) over life as next_id
      from (
        select k.*,
          ${presentOnly ? sql`pg_catalog.bool_or(${sql.literal(isShown)}) over (partition by k.own_key)` : sql`true`} as selected,
          row_number() over (partition by k.own_key order by k.captured_at, k.id) as place
        from threadline_judged k
      ) o
      where o.selected
        or o.place = 1
      window life as (partition by o.own_key order by o.captured_at, o.id)`
}

/** What TRUNCATEs say on one side: a further part of the statement, its rows, and whether one lies before a change. */
interface TruncateParts {
  readonly part: Fragment
  readonly rows: Fragment
  readonly isCut: Fragment
}

/** Before the instant, a TRUNCATE may have removed the row that a change left, and follows it as a row of its own. */
const truncatesBefore = (storage: Storage, table: Table): TruncateParts => {
  const { sql } = storage
  const seesTruncates = storage.restriction === undefined ? sql`true` : sql`false`
  return {
    part: sql`,
    threadline_truncates as materialized (
      ${truncatesBehind(
        storage,
        table,
        sql`
          select o.own_key, o.id, o.transaction_id, o.captured_at, o.next_at, o.next_id
          from threadline_own o
          where o.selected`
      )}
    )`,
    rows: sql`union all
      select ${sql.literal(standingColumns.join(", "))}, own_key, true, follows,
        -- Whether a TRUNCATE of a partition removed the row is not known, so no reader gets an answer from it.
        ${seesTruncates} and partition_name is null, true, true, true
      from threadline_truncates`,
    isCut: sql`false`
  }
}

/** After the instant, a TRUNCATE cuts the row off from the changes behind it: these tell nothing of it. */
const truncatesAfter = (storage: Storage, table: Table, instant: Fragment): TruncateParts => {
  const { sql } = storage
  return {
    part: sql`,
    threadline_cut as materialized (
      select r.captured_at, r.id
      from (${truncatesBehind(
        storage,
        table,
        sql`
          select null as own_key, 9223372036854775807 as id, null as transaction_id, ${instant} as captured_at, 'infinity' as next_at,
            0 as next_id`
      )}) r
    )`,
    rows: sql``,
    isCut: sql`exists (
        select from threadline_cut r
        where (r.captured_at, r.id) < (c.captured_at, c.id)
      )`
  }
}

/** Every part that reads the log is planned for each partition. One side at a time needs half the planning. */
export const standingStatement = (storage: Storage, side: Side, standingRequest: StandingRequest, looked: Looked) => {
  const { at, table } = standingRequest
  const { sql } = storage
  const instant = sql`${at}::timestamptz`
  const truncates = side === "before" ? truncatesBefore(storage, table) : truncatesAfter(storage, table, instant)
  return sql`
    with threadline_judged as materialized (${judgedChanges(storage, side, standingRequest, looked)}
    ),
    threadline_own as materialized (${ownChanges(storage, side, standingRequest, instant)}
    )${truncates.part}
    select
      c.id::text as id,
      c.transaction_id::text as transaction_id,
      ${instantColumn(sql, "c.captured_at")} as captured_at,
      c.table_schema::text as table_schema,
      c.table_name::text as table_name,
      c.op::text as op,
      c.row_pk::text as row_pk,
      c.row_key::text as row_key,
      c.previous_row_key::text as previous_row_key,
      pg_catalog.to_json(c.changed_fields)::text as changed_fields,
      c.changed_from::text as changed_from,
      c.data_after::text as data_after,
      c.own_key as own_key,
      c.selected::text as selected,
      c.follows::text as follows,
      c.visible::text as visible,
      c.visible_before::text as visible_before,
      c.matches::text as matches,
      c.matches_before::text as matches_before,
      ${truncates.isCut}::text as cut
    from (
      select ${sql.literal(standingColumns.join(", "))}, own_key, selected, null::bigint as follows,
        visible, visible_before, matches, matches_before
      from threadline_own
      ${truncates.rows}
    ) c
    order by c.captured_at, c.id`
}

/**
 * If a condition is not understood, the server gives its place. If it fails on a value, it may be either condition. The caller's
 * is then taken.
 */
export const onStandingError =
  (storage: Storage, { where }: StandingRequest, statement: Statement<unknown>) =>
  (error: SqlError): InvalidRequest | ThreadlineError => {
    const position = positionOf(error)
    const isOfScope = position !== undefined && position > statement.compile()[0].indexOf(scopeMark)
    return onConditionError(storage, where === undefined || isOfScope ? "scope" : "where")(error)
  }
