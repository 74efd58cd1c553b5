/**
 * The statement that reads the life of one row: its changes around a position, and the TRUNCATEs behind them.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ThreadlineError } from "../../ThreadlineError.js"
import { formatMicros } from "../core/instant.js"
import type { Change } from "../record/change.js"
import { actionColumns, changeColumns, changeOf, ChangeRow, transactionColumns } from "../record/change.js"
import type { Position } from "../record/cursor.js"
import type { Row } from "../record/key.js"
import { all, rows, type Storage, unionAll } from "../record/storage.js"
import { ofTable } from "../record/tables.js"
import { joinedAction } from "../record/visible.js"
import type { Event } from "./life.js"
import { beyond, columnsOf, nearestChanges } from "./near.js"

/**
 * Which changes to read: the nearest to a position, a number on each side. If there is no position and only changes before it are
 * asked for, it lies behind everything. If only changes after it are asked for, it lies in front of everything.
 */
export interface Span {
  readonly position: Position | undefined
  /** A change at the position itself counts as before it. */
  readonly inclusive: boolean
  readonly before: number
  readonly after: number
}

interface Life {
  readonly before: ReadonlyArray<Event<Change>>
  readonly after: ReadonlyArray<Event<Change>>
}

const LifeRow = Schema.Struct({
  ...ChangeRow.fields,
  side: Schema.Literal("before", "after"),
  /** The change of the row that this TRUNCATE follows; null for a change of the row itself. */
  follows: Schema.NullOr(Schema.String)
})

/** The nearest changes of the row on both sides of the position. */
const ownChanges = (storage: Storage, row: Row, { after, before, inclusive, position }: Span): Fragment => {
  const { sql } = storage
  const side = (which: "before" | "after", count: number): ReadonlyArray<Fragment> =>
    count === 0
      ? []
      : [
          sql`
      select c.*, ${which}::text as side
      from ${nearestChanges(
        storage,
        row.table,
        sql`${row.key}`,
        which,
        count,
        position === undefined
          ? []
          : beyond(storage, which, position, (which === "before") === inclusive ? "included" : "excluded")
      )} c`
        ]
  return unionAll([...side("before", before), ...side("after", after)])
}

/** Where what is read ends: an instant, and the id of a change. */
interface End {
  readonly at: Fragment
  readonly id: Fragment
}

const endOf = ({ sql }: Storage, { after, position }: Span): End =>
  after === 0 && position !== undefined
    ? { at: sql`${formatMicros(position.major)}::timestamptz`, id: sql`${position.id.toString()}::bigint` }
    : { at: sql`'infinity'`, id: sql`0` }

/**
 * The first TRUNCATE of the whole table behind each of the changes `own`. It comes before the next change; after the last change, before the end of
 * what is read.
 */
const truncatesBehindOwn = (storage: Storage, row: Row, { after, before, position }: Span, end: End): Fragment => {
  const { name, sql } = storage
  // Partitions that lie outside of what is read are left out when the statement is planned.
  const outside =
    position === undefined
      ? []
      : [
          after === 0 ? sql`r.captured_at <= ${end.at}` : undefined,
          before === 0 ? sql`r.captured_at >= ${formatMicros(position.major)}::timestamptz` : undefined
        ]
  return sql`
      select r.*, o.side, o.id as follows
      from own o
      cross join lateral (
        select r.*
        from ${name("audit_changes")} r
        where ${ofTable(storage, row.table, "r")}
          and r.op = 'truncate'
          and r.row_key is null
          and r.partition_name is null
          and ${all(outside)}
          and r.captured_at >= o.captured_at
          and r.captured_at <= o.next_at
          and (r.captured_at, r.id) > (o.captured_at, o.id)
          and (r.captured_at, r.id) < (o.next_at, o.next_id)
        order by r.captured_at, r.id
        limit 1
      ) r`
}

const statement = (storage: Storage, row: Row, span: Span) => {
  const { name, sql } = storage
  const end = endOf(storage, span)
  return sql`
    with own as materialized (
      select o.*,
        pg_catalog.lead(o.captured_at, 1, ${end.at}) over life as next_at,
        pg_catalog.lead(o.id, 1, ${end.id}) over life as next_id
      from (${ownChanges(storage, row, span)}) o
      window life as (order by o.captured_at, o.id)
    ),
    truncates as materialized (${truncatesBehindOwn(storage, row, span, end)}
    )
    select ${changeColumns(sql)}, ${transactionColumns(sql)}, ${actionColumns(sql)},
      c.side as side,
      c.follows::text as follows
    from (
      select ${sql.literal(columnsOf("own"))}, side, null::bigint as follows
      from own
      union all
      select ${sql.literal(columnsOf("truncates"))}, side, follows
      from truncates
    ) c
    join ${name("audit_transactions")} t on t.id = c.transaction_id
    ${joinedAction(storage)}
    order by c.captured_at, c.id`
}

/** No conditions: every row fulfils them. */
const unconditional = { visible: true, visibleBefore: true, matches: true, matchesBefore: true }

/** The changes of a row around a position of its life, in their order, visible or not. */
export const readLife = (storage: Storage, row: Row, span: Span): Effect.Effect<Life, ThreadlineError> =>
  Effect.map(rows(LifeRow, statement(storage, row, span)), (lifeRows) => {
    const truncates = new Map(
      lifeRows.flatMap((lifeRow) =>
        lifeRow.follows === null ? [] : [[lifeRow.follows, { change: changeOf(lifeRow), visible: true }]]
      )
    )
    const events = (side: "before" | "after"): ReadonlyArray<Event<Change>> =>
      lifeRows.flatMap((lifeRow) =>
        lifeRow.follows === null && lifeRow.side === side
          ? [{ ...unconditional, change: changeOf(lifeRow), key: row.key, truncate: truncates.get(lifeRow.id) }]
          : []
      )
    return { before: events("before"), after: events("after") }
  })
