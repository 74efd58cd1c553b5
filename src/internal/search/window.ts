/**
 * A time window as a range of transaction ids, because that is the order of a timeline.
 */
import { earliestCapture } from "../record/change.js"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ThreadlineError } from "../../ThreadlineError.js"
import { all, rows, type Storage } from "../record/storage.js"

export interface Window {
  readonly from: string | undefined
  readonly to: string | undefined
}

export interface IdRange {
  /** Ids of the first and the last transaction with a change in the window; undefined if the window is open. */
  readonly low: string | undefined
  readonly high: string | undefined
}

export const allIds: IdRange = { low: undefined, high: undefined }

const maxId = "9223372036854775807"

const IdRangeRow = Schema.Struct({
  low: Schema.String,
  high: Schema.String
})

const statement = ({ name, sql }: Storage, { from, to }: Window) => {
  const inWindow = all([
    from === undefined ? undefined : sql`c.captured_at >= ${from}::timestamptz`,
    to === undefined ? undefined : sql`c.captured_at <= ${to}::timestamptz`
  ])
  const bottom = sql`0::bigint`
  const top = sql`${sql.literal(maxId)}::bigint`
  const first =
    from === undefined
      ? bottom
      : sql`coalesce((
          select min(n.id)
          from (
            select t.id
            from ${name("audit_transactions")} t
            where t.occurred_at >= ${from}::timestamptz
            order by t.occurred_at, t.id
            limit 32
          ) n
        ), ${top})`
  const last =
    to === undefined
      ? sql`select ${top} as id, null::timestamptz as since`
      : sql`
          select coalesce(max(n.id), ${bottom}) as id, coalesce(${earliestCapture(sql, sql`min(n.occurred_at)`)}, '-infinity') as since
          from (
            select t.id, t.occurred_at
            from ${name("audit_transactions")} t
            where t.occurred_at <= ${to}::timestamptz
            order by t.occurred_at desc, t.id desc
            limit 32
          ) n`
  const low =
    from === undefined
      ? sql`p.first`
      : sql`least(p.first, (
          select min(c.transaction_id + 0)
          from ${name("audit_changes")} c
          where ${inWindow}
            and c.transaction_id + 0 between p.bottom and p.first - 1
            and c.id + 0 between p.bottom and p.top
        ))`
  const high =
    to === undefined
      ? sql`p.last`
      : sql`greatest(p.last, (
          select max(c.transaction_id + 0)
          from ${name("audit_changes")} c
          where ${inWindow}
            and c.captured_at >= p.since
            and c.transaction_id + 0 between p.last + 1 and p.top
            and c.id + 0 between p.bottom and p.top
        ))`
  return sql`
    select b.low::text as low, b.high::text as high
    from (
      select ${low} as low, ${high} as high
      from (
        select ${bottom} as bottom, ${top} as top, ${first} as first, n.id as last, n.since
        from (${last}) n
        offset 0
      ) p
      offset 0
    ) b`
}

/**
 * The range of ids that holds every transaction with a change in the window. Its ends are the transactions that began nearest to
 * the ends of the window. It also covers those that captured something inside although they began before, and those whose id is
 * out of order.
 *
 * A transaction may have begun long before the window, so the whole window is searched for older ids. Newer ids are out of order
 * by no more than the time between drawing an id and reading the clock. A day is allowed for that, as elsewhere.
 *
 * Stragglers are found through the BRIN index on captured_at, (id + 0) and (transaction_id + 0), in the few pages that straddle
 * an end of the window. The sums keep the planner from the btree on transaction_id: there it would walk everything before the
 * window. The ranges with unknown ends make it expect few rows.
 */
export const idRange = Effect.fnUntraced(function* (
  storage: Storage,
  window: Window
): Effect.fn.Return<IdRange, ThreadlineError> {
  if (window.from === undefined && window.to === undefined) {
    return allIds
  }
  const [row] = yield* rows(IdRangeRow, statement(storage, window))
  return {
    low: window.from === undefined ? undefined : row?.low,
    high: window.to === undefined ? undefined : row?.high
  }
})
