/**
 * One page of a window.
 *
 * A window's changes are delivered in the order of their ids. There is no index on these ids, because every write would pay for
 * it. Instead, transactions are taken up in the order of their ids, and their changes are merged. When a change was captured,
 * every transaction with a smaller id had begun. Those that had captured nothing by then were still running, and only a limited
 * number runs at once. So suppose that many transactions in a row have their first changes after a given change. Then no
 * transaction that is not taken up yet has a change before it.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { InvalidRequest, ThreadlineError } from "../../ThreadlineError.js"
import type { Window } from "./checkpoint.js"
import { type PageRows, fetchPage, stateOf } from "./row.js"
import type { Snapshot } from "./snapshot.js"
import { isVisible } from "./snapshot.js"
import { earliestCapture, changeColumnCount } from "../record/change.js"
import { onConditionError } from "../record/condition.js"
import { all, type Storage, unreadable } from "../record/storage.js"
import { ofTable, type Table } from "../record/tables.js"
import { shownChangeColumns, visibleChange } from "../record/visible.js"

export interface PageRequest {
  readonly storage: Storage
  /** Empty for all. */
  readonly tables: ReadonlyArray<Table>
  readonly epoch: number
  /** Of this epoch, what was delivered before the window. */
  readonly delivered: Snapshot
  readonly window: Window
  readonly limit: number
}

export interface Page {
  readonly pageRows: PageRows
  /** Undefined if the window is delivered. */
  readonly window: Window | undefined
}

const array = (values: ReadonlyArray<bigint>): string => `{${values.join(",")}}`

/** With a filter, most changes that are looked at may not be delivered. So a page then looks at more changes than it holds. */
const minScanned = 5_000

/** Undefined if nothing is filtered. */
const ofTables = ({ storage, tables }: PageRequest): Fragment | undefined => {
  const { sql } = storage
  const visible = visibleChange(storage, "c")
  const inTables =
    tables.length === 0 ? undefined : sql.or(tables.map((table) => sql`(${ofTable(storage, table, "c")})`))
  return visible === undefined && inTables === undefined ? undefined : all([inTables, visible])
}

/** What the parts of the statement share. */
interface Parts {
  readonly request: PageRequest
  readonly transactions: Fragment
  readonly changes: Fragment
  /** The condition on changes of the feed; undefined if nothing is filtered. */
  readonly filter: Fragment | undefined
  /** How many changes are looked at. */
  readonly scanned: number
  readonly entered: Fragment
  /** Transactions that were running when the previous window ended. */
  readonly late: ReadonlyArray<bigint>
}

const partsOf = (request: PageRequest): Parts => {
  const { delivered, limit, storage, window } = request
  const { name, sql } = storage
  const filter = ofTables(request)
  return {
    request,
    transactions: name("audit_transactions"),
    changes: name("audit_changes"),
    filter,
    scanned: filter === undefined ? limit : Math.max(limit, minScanned),
    entered: sql`${window.entered.toString()}::xid8`,
    late: delivered.running.filter((xid) => isVisible(window.to, xid) && xid > window.entered)
  }
}

/** That `c` is a change of the transaction `t`. */
const ofTransaction = ({ sql }: Storage): Fragment => sql`
    c.transaction_id = t.id and c.captured_at >= ${earliestCapture(sql, sql`t.occurred_at`)}`

/** Transactions of the window after a given one. Nothing that was delivered before is looked at. */
const transactionsAfter = (
  { late, request, transactions }: Parts,
  which: "late" | "recent",
  after: Fragment
): Fragment => {
  const { delivered, epoch, storage, window } = request
  const { sql } = storage
  const condition =
    which === "late" ? sql`t.xid = any (${array(late)}::xid8[])` : sql`t.xid >= ${delivered.end.toString()}::xid8`
  return sql`
      select t.xid, t.id, t.occurred_at
      from ${transactions} t
      where ${condition}
        and t.xid > ${after}
        and t.xid < ${window.to.end.toString()}::xid8
        and t.xid <> all (${array(window.to.running)}::xid8[])
        and t.epoch = ${epoch}`
}

/** The first change of a transaction. */
const firstChangeOf = ({ changes, request, transactions }: Parts, xid: Fragment): Fragment => {
  const { epoch, storage } = request
  return storage.sql`
      select c.id
      from ${transactions} t
      cross join lateral (
        select c.id
        from ${changes} c
        where ${ofTransaction(storage)}
        order by c.transaction_id, c.id
        limit 1
      ) c
      where t.xid = ${xid}
        and t.epoch = ${epoch}
      order by t.id
      limit 1`
}

/** Takes up the next transactions: their changes (`threadline_entering`), and up to which one (`threadline_taken`). */
const takingUp = (parts: Parts): Fragment => {
  const { changes, entered, late, request, scanned } = parts
  const { sql } = request.storage
  // Each mention of the partitions makes planning slower.
  const following =
    late.length === 0
      ? transactionsAfter(parts, "recent", entered)
      : sql`${transactionsAfter(parts, "late", entered)} union all ${transactionsAfter(parts, "recent", entered)}`
  return sql`
    threadline_transactions as materialized (
      select *
      from (${following}) t
      order by t.xid, t.id
      limit ${scanned}
    ),
    threadline_entering as materialized (
      select t.xid, c.*
      from threadline_transactions t
      cross join lateral (
        select c.*
        from ${changes} c
        where ${ofTransaction(request.storage)}
        order by c.transaction_id, c.id
        limit ${scanned}
      ) c
      limit ${scanned}
    ),
    -- The last one taken up may have more than was looked at.
    threadline_taken as materialized (
      select
        coalesce(
          case
            when (select count(*) from threadline_entering) < ${scanned}
            then (select t.xid from threadline_transactions t order by t.xid desc limit 1)
            else (select e.xid from threadline_entering e order by e.xid desc limit 1)
          end,
          ${entered}
        ) as xid,
        (select count(*) from threadline_entering) >= ${scanned} or (select count(*) from threadline_transactions) >= ${scanned} as cut
    )`
}

/**
 * Looks at the first changes of the transactions behind those that are taken up. Until as many of them have a change as can run at once,
 * one may have a change before what is taken up (`threadline_bound`).
 */
const lookingAhead = (parts: Parts): Fragment => {
  const { late, request } = parts
  const { sql } = request.storage
  const aheadLate =
    late.length === 0
      ? sql``
      : sql`union all
      select f.id
      from (
        select distinct t.xid
        from (${transactionsAfter(parts, "late", sql`(select xid from threadline_taken)`)}) t
      ) t
      cross join threadline_taken k
      left join lateral (${firstChangeOf(parts, sql`t.xid`)}) f on true
      where k.cut`
  return sql`
    -- Transaction by transaction, however many rows each of them has; those that have a change left are counted.
    threadline_walk (xid, first, counted) as (
      select k.xid, null::bigint, 0
      from threadline_taken k
      where k.cut
      union all
      select n.xid, f.id, w.counted + (f.id is not null)::int
      from threadline_walk w
      cross join lateral (
        ${transactionsAfter(parts, "recent", sql`w.xid`)}
        order by t.xid, t.id
        limit 1
      ) n
      left join lateral (${firstChangeOf(parts, sql`n.xid`)}) f on true
      where w.counted < (select at_once from threadline_limits)
    ),
    threadline_ahead as materialized (
      select w.first
      from threadline_walk w, threadline_taken k
      where w.xid > k.xid
      ${aheadLate}
    ),
    threadline_bound as materialized (
      select pg_catalog.min(a.first) as id, count(*) > 0 as more
      from threadline_ahead a
    )`
}

/** The changes of the page, of the transactions that it takes up and of those that earlier pages left open. */
const changesOfPage = ({ changes, entered, filter, request, transactions }: Parts): Fragment => {
  const { epoch, limit, storage, window } = request
  const { sql } = storage
  const before = sql`c.id < coalesce((select id from threadline_bound), 9223372036854775807)`
  return sql`
    threadline_open as materialized (
      select t.xid, t.id, t.occurred_at, o.after
      from rows from (pg_catalog.unnest(${array(window.open.map(({ xid }) => xid))}::xid8[]), pg_catalog.unnest(${array(window.open.map(({ after }) => after))}::bigint[])) o (xid, after)
      join ${transactions} t on t.xid = o.xid and t.epoch = ${epoch}
    ),
    threadline_rest as (
      select o.xid, o.id, o.occurred_at, o.after
      from threadline_open o
      union all
      select
        t.xid,
        t.id,
        t.occurred_at,
        coalesce((select pg_catalog.max(e.id) from threadline_entering e where e.transaction_id = t.id), -1)
      from ${transactions} t
      where t.xid = (select xid from threadline_taken where cut and xid > ${entered})
        and t.epoch = ${epoch}
    ),
    threadline_page as materialized (
      select *
      from (
        select *
        from threadline_entering c
        where ${all([before, filter])}
        union all
        select t.xid, c.*
        from threadline_rest t
        cross join lateral (
          select c.*
          from ${changes} c
          where ${all([ofTransaction(storage), sql`c.id > t.after`, before, filter])}
          order by c.transaction_id, c.id
          limit ${limit}
        ) c
      ) c
      order by c.id
      limit ${limit}
    )`
}

/** Where the next page begins: what is delivered, and which transactions stay open. */
const stateBehind = ({ changes, entered, request }: Parts): Fragment => {
  const { limit, storage, window } = request
  const { sql } = storage
  const openBefore =
    window.open.length === 0
      ? sql``
      : sql`union
      select t.xid, greatest(t.after, r.id)
      from threadline_open t, threadline_reached r
      where exists (
        select
        from ${changes} c
        where ${ofTransaction(storage)}
          and c.id > greatest(t.after, r.id)
          and r.id is not null
      )`
  return sql`
    -- Of what is taken up, everything up to this change is delivered; without a number, everything.
    threadline_reached as materialized (
      select case when p.full_page then p.last_id else b.id - 1 end as id, p.full_page, b.more
      from threadline_bound b
      cross join (
        select count(*) >= ${limit} as full_page, pg_catalog.max(p.id) as last_id
        from threadline_page p
      ) p
    ),
    threadline_frontier as materialized (
      select case
        when r.full_page then coalesce(
          (
            select x.xid
            from (
              (select p.xid from threadline_page p order by p.xid desc limit 1)
              union all
              (select e.xid from threadline_entering e where e.id <= r.id order by e.xid desc limit 1)
              union all
              select ${entered}
            ) x
            order by x.xid desc
            limit 1
          ),
          ${entered}
        )
        else (select xid from threadline_taken)
      end as xid
      from threadline_reached r
    ),
    threadline_still_open as materialized (
      select e.xid, r.id as after
      from threadline_entering e, threadline_reached r, threadline_frontier f
      where e.xid <= f.xid
        and e.id > r.id
      union
      select k.xid, r.id
      from threadline_taken k, threadline_reached r, threadline_frontier f
      where k.cut
        and k.xid > ${entered}
        and k.xid <= f.xid
        and r.id is not null
      ${openBefore}
    ),
    threadline_state as (
      select pg_catalog.json_build_object(
        'entered', (select xid::text from threadline_frontier),
        'open', (
          select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('xid', o.xid::text, 'after', o.after::text) order by o.xid), '[]')
          from threadline_still_open o
        ),
        'last', r.id::text,
        'more', r.full_page or r.more
      )::text as state
      from threadline_reached r
    )`
}

const pageStatement = (request: PageRequest) => {
  const { storage } = request
  const { sql } = storage
  const parts = partsOf(request)
  return sql`
    with recursive threadline_limits as materialized (
      -- More than run at once.
      select 2 * (pg_catalog.current_setting('max_connections')::int + pg_catalog.current_setting('max_worker_processes')::int) as at_once
    ),${takingUp(parts)},${lookingAhead(parts)},${changesOfPage(parts)},${stateBehind(parts)}
    select null as state, ${shownChangeColumns(storage)}
    from threadline_page c
    union all
    select s.state, ${sql.literal(Array.from({ length: changeColumnCount }, () => "null").join(", "))}
    from threadline_state s`
}

const State = Schema.parseJson(
  Schema.Struct({
    entered: Schema.BigInt,
    open: Schema.Array(Schema.Struct({ xid: Schema.BigInt, after: Schema.BigInt })),
    last: Schema.NullOr(Schema.BigInt),
    more: Schema.Boolean
  })
)

const decodeState = Schema.decodeUnknownOption(State)

export const page = Effect.fnUntraced(function* (
  request: PageRequest
): Effect.fn.Return<Page, InvalidRequest | ThreadlineError> {
  const pageRows = yield* Effect.mapError(pageStatement(request), onConditionError(request.storage))
  const state = Option.flatMap(stateOf(pageRows), decodeState)
  if (Option.isNone(state)) {
    return yield* unreadable()
  }
  const { entered, last, more, open } = state.value
  return {
    pageRows: yield* fetchPage(request.storage, pageRows),
    window: more ? { to: request.window.to, entered, open, last: last ?? request.window.last } : undefined
  }
})
