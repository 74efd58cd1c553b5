/**
 * A time window as a range of transaction ids, because that is the order of a timeline.
 */
import { earliestCapture } from "../record/change.js"
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ThreadlineError } from "../../ThreadlineError.js"
import { all, rows, type Storage } from "../record/storage.js"

export interface Window {
  readonly from: string | undefined
  readonly to: string | undefined
}

export interface IdRange {
  /** Ids of the first and the last transaction with a change in the window; undefined if the window has no such end. */
  readonly low: string | undefined
  readonly high: string | undefined
}

export const allIds: IdRange = { low: undefined, high: undefined }

/** The ids of a window in the order of a listing. */
export interface WindowIds {
  /**
   * The range from the end at which the listing begins. Stragglers at its other end are not in it: transactions that captured
   * something in the window although their ids lie beyond it.
   */
  readonly range: IdRange
  /**
   * Finds the range of the stragglers; undefined if there are none. That takes as long as a page, and most listings never get
   * there.
   */
  readonly stragglers: Effect.Effect<IdRange | undefined, ThreadlineError> | undefined
}

/** The ids of windows that one read has asked for already. */
export type KnownWindows = Map<string, Effect.Effect<WindowIds, ThreadlineError>>

/** The whole range, for a statement that reads all of it. */
export const wholeRange = ({ range, stragglers }: WindowIds): Effect.Effect<IdRange, ThreadlineError> =>
  stragglers === undefined
    ? Effect.succeed(range)
    : Effect.map(stragglers, (found) => {
        const isOlder = found !== undefined && range.low !== undefined && BigInt(found.low ?? 0) < BigInt(range.low)
        return found === undefined
          ? range
          : isOlder
            ? { low: found.low, high: range.high }
            : { low: range.low, high: found.high }
      })

const maxId = "9223372036854775807"

const IdRangeRow = Schema.Struct({
  low: Schema.String,
  high: Schema.String,
  since: Schema.NullOr(Schema.String)
})

const StragglerRow = Schema.Struct({ id: Schema.NullOr(Schema.String) })

const inWindow = ({ sql }: Storage, { from, to }: Window): Fragment =>
  all([
    from === undefined ? undefined : sql`c.captured_at >= ${from}::timestamptz`,
    to === undefined ? undefined : sql`c.captured_at <= ${to}::timestamptz`
  ])

/** The first transaction that began before the range and captured something in the window. `p` has the ends of ids as columns. */
const oldestStraggler = (storage: Storage, window: Window): Fragment => {
  const { name, sql } = storage
  return sql`(
          select pg_catalog.min(c.transaction_id + 0)
          from ${name("audit_changes")} c
          where ${inWindow(storage, window)}
            and c.transaction_id + 0 between p.bottom and p.first - 1
            and c.id between p.bottom and p.top
        )`
}

/** The last transaction with an id behind the range that captured something in the window. */
const newestStraggler = (storage: Storage, window: Window): Fragment => {
  const { name, sql } = storage
  return sql`(
          select pg_catalog.max(c.transaction_id + 0)
          from ${name("audit_changes")} c
          where ${inWindow(storage, window)}
            and c.captured_at >= p.since
            and c.transaction_id + 0 between p.last + 1 and p.top
            and c.id between p.bottom and p.top
        )`
}

const ends = ({ sql }: Storage): Fragment => sql`0::bigint as bottom, ${sql.literal(maxId)}::bigint as top`

/** The transactions that began nearest to the ends of the window; `exact` says at which ends stragglers count already. */
const statement = (storage: Storage, window: Window, exact: { readonly low: boolean; readonly high: boolean }) => {
  const { name, sql } = storage
  const { from, to } = window
  const bottom = sql`0::bigint`
  const top = sql`${sql.literal(maxId)}::bigint`
  const first =
    from === undefined
      ? bottom
      : sql`coalesce((
          select pg_catalog.min(n.id)
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
          select coalesce(pg_catalog.max(n.id), ${bottom}) as id, coalesce(${earliestCapture(sql, sql`pg_catalog.min(n.occurred_at)`)}, '-infinity') as since
          from (
            select t.id, t.occurred_at
            from ${name("audit_transactions")} t
            where t.occurred_at <= ${to}::timestamptz
            order by t.occurred_at desc, t.id desc
            limit 32
          ) n`
  const low = from === undefined || !exact.low ? sql`p.first` : sql`least(p.first, ${oldestStraggler(storage, window)})`
  const high =
    to === undefined || !exact.high ? sql`p.last` : sql`greatest(p.last, ${newestStraggler(storage, window)})`
  return sql`
    select b.low::text as low, b.high::text as high, b.since::text as since
    from (
      select ${low} as low, ${high} as high, p.since
      from (
        select ${ends(storage)}, ${first} as first, n.id as last, n.since
        from (${last}) n
        offset 0
      ) p
      offset 0
    ) b`
}

const ids = Effect.fnUntraced(function* (
  storage: Storage,
  window: Window,
  exact: { readonly low: boolean; readonly high: boolean }
) {
  const [row] = yield* rows(IdRangeRow, statement(storage, window, exact))
  return {
    range: {
      low: window.from === undefined ? undefined : row?.low,
      high: window.to === undefined ? undefined : row?.high
    },
    since: row?.since ?? "-infinity"
  }
})

/**
 * The range of ids that holds every transaction with a change in the window, in the order of a listing. Its ends are the
 * transactions that began nearest to the ends of the window. It also covers those that captured something inside although they
 * began before, and those whose id is out of order.
 *
 * A transaction may have begun long before the window, so the whole window is searched for older ids. Newer ids are out of order
 * by no more than the time between drawing an id and reading the clock. A day is allowed for that, as elsewhere.
 *
 * Stragglers are found through the BRIN index on captured_at, id and (transaction_id + 0), in the few pages that straddle
 * an end of the window. The sum keeps the planner from the btree on transaction_id: there it would walk everything before the
 * window. The ranges with unknown ends make it expect few rows.
 */
export const windowIds = Effect.fnUntraced(function* (
  storage: Storage,
  window: Window,
  order: "newest" | "oldest"
): Effect.fn.Return<WindowIds, ThreadlineError> {
  const { from, to } = window
  if (from === undefined && to === undefined) {
    return { range: allIds, stragglers: undefined }
  }
  const newest = order === "newest"
  const { range, since } = yield* ids(storage, window, { low: !newest, high: newest })
  const { sql } = storage
  const straggler = (sought: Fragment, known: Fragment) =>
    Effect.map(
      rows(
        StragglerRow,
        sql`
        select ${sought}::text as id
        from (select ${ends(storage)}, ${known} offset 0) p`
      ),
      ([row]) => row?.id ?? undefined
    )
  const { low, high } = range
  if (newest) {
    const stragglers =
      low === undefined
        ? undefined
        : Effect.map(
            straggler(oldestStraggler(storage, window), sql`${low}::bigint as first`),
            (oldest): IdRange | undefined =>
              oldest === undefined ? undefined : { low: oldest, high: (BigInt(low) - 1n).toString() }
          )
    return { range, stragglers }
  }
  const stragglers =
    high === undefined
      ? undefined
      : Effect.map(
          straggler(newestStraggler(storage, window), sql`${high}::bigint as last, ${since}::timestamptz as since`),
          (latest): IdRange | undefined =>
            latest === undefined ? undefined : { low: (BigInt(high) + 1n).toString(), high: latest }
        )
  return { range, stragglers }
})
