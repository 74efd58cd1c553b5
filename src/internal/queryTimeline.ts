/**
 * Timelines: the changes that a filter lets through, page by page, counted, or all at once where they are few.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Page } from "../Page.js"
import { NotFound, type ThreadlineError } from "../ThreadlineError.js"
import * as cursors from "./cursor.js"
import { Budget } from "./queryBudget.js"
import {
  actionColumns,
  type Change,
  changeColumns,
  changeOf,
  ChangeRow,
  rowPosition,
  timelinePosition,
  transactionColumns
} from "./queryChange.js"
import type { Filter, FilterInput } from "./queryFilter.js"
import { decodeFilter } from "./queryFilter.js"
import { tableOf } from "./queryKey.js"
import { pageOf } from "./queryPage.js"
import { type Attempt, attempts, ordering, type Plan, plan, type Search, search } from "./queryPlan.js"
import { canonicalRequest, type ReadError } from "./queryRequest.js"
import { rows, type Storage } from "./queryStorage.js"
import { format } from "./tableName.js"

const Known = Schema.Struct({ known: Schema.Literal("true", "false") })

/** A table without changes is either one that never changed or one that is not audited. */
export const checkTables = (
  storage: Storage,
  tables: ReadonlyArray<string>
): Effect.Effect<void, NotFound | ThreadlineError> =>
  Effect.forEach(
    tables,
    (text) => {
      const { name, sql } = storage
      const table = tableOf(text)
      const known = sql`
        select (
          exists (
            select from ${name("capture_policies")}
            where table_schema = ${table.schema}
              and table_name = ${table.name}
          ) or exists (
            select from ${name("audit_changes")}
            where table_schema = ${table.schema}
              and table_name = ${table.name}
          )
        )::text as known`
      return Effect.flatMap(rows(Known, known), ([row]) =>
        row?.known === "true" ? Effect.void : Effect.fail(new NotFound({ subject: "table", id: format(table) }))
      )
    },
    { discard: true }
  )

const Stop = { stop_major: Schema.NullOr(Schema.String), stop_id: Schema.NullOr(Schema.String) }

/** One row for each change found; one row without a change where there is none. */
const FoundRow = Schema.Union(
  Schema.Struct({ ...ChangeRow.fields, ...Stop }),
  Schema.Struct({ id: Schema.Null, ...Stop })
)

/** Where the search ended is asked for only where it did not find all it was to find. */
const statement = (plan: Plan, { found, stop }: Search, limit: number) => {
  const { name, sql } = plan.storage
  const stopped =
    stop === undefined
      ? sql`select null::bigint as major, null::bigint as id where false`
      : sql`select s.major, s.id from (${stop}) s where (select count(*) from found) < ${limit}`
  return sql`
    with found as materialized (${found})
    select ${changeColumns(sql)}, ${transactionColumns(sql)}, ${actionColumns(sql)},
      s.major::text as stop_major,
      s.id::text as stop_id
    from (select 1) one
    left join (${stopped}) s on true
    left join found c on true
    left join ${name("audit_transactions")} t on t.id = c.transaction_id
    left join ${name("audit_actions")} a on a.id = t.action_id
    order by ${ordering(plan)}`
}

interface Found {
  readonly changes: ReadonlyArray<Change>
  readonly stop: cursors.Position | undefined
}

const fetch = (plan: Plan, attempt: Attempt, limit: number): Effect.Effect<Found, ThreadlineError> =>
  Effect.map(rows(FoundRow, statement(plan, search(plan, attempt, limit), limit)), (found) => {
    const [first] = found
    return {
      changes: found.flatMap((row) => (row.id === null ? [] : [changeOf(row)])),
      stop:
        first === undefined || first.stop_major === null || first.stop_id === null
          ? undefined
          : { major: BigInt(first.stop_major), id: BigInt(first.stop_id) }
    }
  })

const isFurther = (plan: Plan, a: cursors.Position, b: cursors.Position): boolean => {
  const ahead = a.major === b.major ? a.id > b.id : a.major > b.major
  return plan.order === "oldest" ? ahead : !ahead
}

/** The first of the ways that finds enough or all there is, else the one that got furthest. */
const furthest = Effect.fnUntraced(function* <A extends { readonly stop: cursors.Position | undefined }, E>(
  plan: Plan,
  tried: ReadonlyArray<Attempt>,
  run: (attempt: Attempt) => Effect.Effect<A, E>
): Effect.fn.Return<A | undefined, E> {
  let best: A | undefined
  for (const attempt of tried) {
    const result = yield* run(attempt)
    if (result.stop === undefined) {
      return result
    }
    if (best?.stop === undefined || isFurther(plan, result.stop, best.stop)) {
      best = result
    }
  }
  return best
})

const cursorQuery = (filter: Filter): cursors.Query =>
  filter.key === undefined
    ? { kind: "timeline", order: "ids", text: canonicalRequest(filter) }
    : { kind: "timeline of a row", order: "time", text: canonicalRequest(filter) }

export const timeline = Effect.fnUntraced(function* (
  storage: Storage,
  input: FilterInput
): Effect.fn.Return<Page<Change>, ReadError> {
  const filter = yield* decodeFilter(input)
  const query = cursorQuery(filter)
  const after = filter.cursor === undefined ? undefined : yield* cursors.decode(query, filter.cursor)
  const planned = yield* plan(storage, filter, after)
  const found = yield* furthest(planned, attempts(planned, yield* Budget), (attempt) =>
    fetch(planned, attempt, filter.limit + 1)
  )
  const changes = found?.changes ?? []
  if (changes.length === 0 && filter.table !== undefined && planned.row === undefined) {
    yield* checkTables(storage, filter.table)
  }
  return pageOf(changes, filter.limit, query, planned.row === undefined ? timelinePosition : rowPosition, found?.stop)
})
