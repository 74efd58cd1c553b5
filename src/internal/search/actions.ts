/**
 * Listings of actions: what was intended, whether or not it captured anything.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Page } from "../../Page.js"
import * as cursors from "../record/cursor.js"
import { type Action, ActionRow, actionOfRow, actionRowColumns } from "../record/action.js"
import { Budget } from "./budget.js"
import { onConditionError } from "../record/condition.js"
import { actionConditions, decodeFilter, namesOne } from "./filter.js"
import type { FilterInput } from "./filterInput.js"
import { formatMicros, parseMicros } from "../core/instant.js"
import { pageOf } from "../record/page.js"
import { canonicalRequest, type ReadError } from "../core/request.js"
import { Stop, stopOf } from "./statements.js"
import { all, rows, type Storage } from "../record/storage.js"
import { visibleAction } from "../record/visible.js"

/** One row for each action found; one row without an action if there is none. */
const MatchRow = Schema.Union(
  Schema.Struct({ ...ActionRow.fields, ...Stop }),
  Schema.Struct({ id: Schema.Null, ...Stop })
)

const position = (action: Action): cursors.Position => ({
  major: parseMicros(action.occurredAt) ?? 0n,
  id: BigInt(action.id)
})

/** Actions newest first by time. */
export const actions = Effect.fnUntraced(function* (
  storage: Storage,
  input: FilterInput
): Effect.fn.Return<Page<Action>, ReadError> {
  const { name, sql } = storage
  const filter = yield* decodeFilter(input)
  const query: cursors.Query = { kind: "actions", order: "time", text: canonicalRequest(filter) }
  const after = filter.cursor === undefined ? undefined : yield* cursors.decode(storage, query, filter.cursor)
  const { indexed, tested } = yield* actionConditions(filter, storage)
  const budget = (yield* Budget).changes
  const newest = filter.order === "newest"
  const direction = sql.literal(newest ? "desc" : "asc")
  const visible = visibleAction(storage, "a")
  const tests = [...tested, ...(visible === undefined ? [] : [visible])]
  // Actions of one correlation or transaction are few. They are found first and then sorted, because walking all actions in order
  // would take long.
  const isFew = filter.correlationId !== undefined || filter.transactionId !== undefined
  const statement = (after: cursors.Position | undefined, limit: number) => {
    const candidates = sql`
      select a.*
      from (
        select a.*
        from ${name("audit_actions")} a
        where ${all(indexed)}
        ${isFew ? sql`offset 0` : sql``}
      ) a
      where ${all([
        after === undefined
          ? undefined
          : sql`(a.occurred_at, a.id) ${sql.literal(newest ? "<" : ">")} (${formatMicros(after.major)}::timestamptz, ${after.id.toString()}::bigint)`
      ])}
      order by a.occurred_at ${direction}, a.id ${direction}
      limit ${tests.length === 0 ? limit : Math.max(budget, limit)}`
    const stop =
      tests.length === 0
        ? sql`select null::bigint as major, null::bigint as id where false`
        : sql`
      select (extract(epoch from a.occurred_at) * 1000000)::bigint as major, a.id
      from (${candidates}) a
      where (select count(*) from threadline_matches) < ${limit}
      order by a.occurred_at ${direction}, a.id ${direction}
      offset ${Math.max(budget, limit) - 1}
      limit 1`
    return sql`
    with threadline_matches as materialized (
      select a.*
      from (${candidates}) a
      where ${all(tests)}
      order by a.occurred_at ${direction}, a.id ${direction}
      limit ${limit}
    )
    select ${actionRowColumns(sql)},
      s.major::text as stop_major,
      s.id::text as stop_id
    from (select 1) one
    left join (${stop}) s on true
    left join threadline_matches a on true
    order by a.occurred_at ${direction}, a.id ${direction}`
  }
  const matches: Array<Action> = []
  let stop = after
  do {
    const matchRows = yield* rows(
      MatchRow,
      statement(stop, filter.limit + 1 - matches.length),
      onConditionError(storage)
    )
    matches.push(...matchRows.flatMap((row) => (row.id === null ? [] : [actionOfRow(row)])))
    stop = stopOf(matchRows[0])
    // A filter that names one thing is searched to the end: see `namesOne`.
  } while (stop !== undefined && visible !== undefined && namesOne(filter) && matches.length <= filter.limit)
  return yield* pageOf(storage, matches, filter.limit, query, position, stop)
})
