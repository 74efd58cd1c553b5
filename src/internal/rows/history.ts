/**
 * Row history, in pages.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { Page } from "../../Page.js"
import type { InvalidRequest, NotFound, ThreadlineError } from "../../ThreadlineError.js"
import * as cursors from "../record/cursor.js"
import type { Change } from "../record/change.js"
import { actionColumns, changeColumns, changeOf, ChangeRow, rowPosition, transactionColumns } from "../record/change.js"
import { onConditionError } from "../record/condition.js"
import { type KeyInput, KeySchema, type Row, rowOf, TableSchema, tableOf } from "../record/key.js"
import { pageOf } from "../record/page.js"
import { type OrderedPaging, canonicalRequest, mustBeObject, order, paging, request } from "../core/request.js"
import { formatMicros } from "../core/instant.js"
import { lifeOf } from "./life.js"
import { readLife } from "./lifeStatement.js"
import { beyond, nearestChanges } from "./near.js"
import { rows, type Storage } from "../record/storage.js"
import { joinedAction, visibleBefore, visibleChange } from "../record/visible.js"

const HistoryRequest = Schema.Struct({ table: TableSchema, key: KeySchema, order, ...paging })

/**
 * Options of `history`.
 *
 * @since 0.1.0
 * @category models
 */
export interface HistoryOptions extends OrderedPaging {}

type Decoded = typeof HistoryRequest.Type

const isBefore = (a: cursors.Position, b: cursors.Position): boolean =>
  a.major < b.major || (a.major === b.major && a.id < b.id)

/** Reads the items of a history behind a position: those of a page, and one more if there is one. */
type Read = (
  storage: Storage,
  row: Row,
  decoded: Decoded,
  cursor: cursors.Position | undefined
) => Effect.Effect<ReadonlyArray<Change>, InvalidRequest | ThreadlineError>

const readAll: Read = Effect.fnUntraced(function* (storage, row, decoded, cursor) {
  const newest = decoded.order === "newest"
  // One change more than the page holds, and two changes before them that their states depend on.
  const [before, after] = newest ? [decoded.limit + 3, 0] : [cursor === undefined ? 0 : 3, decoded.limit + 2]
  const lifeAround = yield* readLife(storage, row, { position: cursor, inclusive: !newest, before, after })
  const changes = lifeOf([...lifeAround.before, ...lifeAround.after])
  return newest
    ? [...changes].reverse()
    : changes.filter((change) => cursor === undefined || isBefore(cursor, rowPosition(change)))
})

/** The most changes that one statement looks at. */
const stretch = 1000

const SeenRow = Schema.Struct({
  ...ChangeRow.fields,
  visible: Schema.String,
  visible_before: Schema.String,
  last: Schema.String
})

/**
 * A TRUNCATE of the whole table has no image, so it is hidden under every scope. Each change of the row is judged for itself. If
 * a reader may see the row after a change and not the row before it, the replaced values are left out. A change that took the row
 * away from this key is then left out, too.
 */
const readVisible: Read = Effect.fnUntraced(function* (storage, row, decoded, cursor) {
  const { name, sql } = storage
  const side = decoded.order === "newest" ? "before" : "after"
  const direction = sql.literal(side === "before" ? "desc" : "asc")
  const visibleChanges: Array<Change> = []
  let position = cursor
  let count = Math.min(stretch, decoded.limit * 2 + 10)
  while (visibleChanges.length <= decoded.limit) {
    const bounds = position === undefined ? [] : beyond(storage, side, position, "excluded")
    // The last change that was looked at is included, visible or not, because the search continues behind it.
    const seenRows = yield* rows(
      SeenRow,
      sql`
        with threadline_looked as materialized (
          select c.*, row_number() over (order by c.captured_at ${direction}, c.id ${direction}) as place
          from ${nearestChanges(storage, row.table, sql`${row.key}`, side, count, bounds)} c
        ),
        threadline_judged as materialized (
          select c.*,
            ${visibleChange(storage, "c") ?? sql`true`} as visible,
            ${visibleBefore(storage) ?? sql`true`} as visible_before
          from threadline_looked c
        )
        select ${changeColumns(sql, sql`not c.visible_before`)}, ${transactionColumns(sql)}, ${actionColumns(sql)},
          c.visible::text as visible,
          c.visible_before::text as visible_before,
          (c.place = ${count})::text as last
        from threadline_judged c
        join ${name("audit_transactions")} t on t.id = c.transaction_id
        ${joinedAction(storage)}
        where c.visible and (c.visible_before or c.row_key = ${row.key})
          or c.place = ${count}
        order by c.captured_at ${direction}, c.id ${direction}
        limit ${decoded.limit + 1 - visibleChanges.length}`,
      onConditionError(storage)
    )
    for (const seenRow of seenRows) {
      if (seenRow.visible === "true" && (seenRow.visible_before === "true" || seenRow.row_key === row.key)) {
        visibleChanges.push(changeOf(seenRow))
      }
    }
    const end = seenRows.at(-1)
    if (end?.last !== "true") {
      break
    }
    position = rowPosition(changeOf(end))
    count = stretch
  }
  return visibleChanges
})

const queryOf = (decoded: Decoded): cursors.Query => ({
  kind: "history",
  order: "time",
  text: canonicalRequest(decoded)
})

/** The instant of the last change of the page before. Undefined for the first page. */
export const beginning = Effect.fnUntraced(function* (
  storage: Storage,
  table: string,
  key: KeyInput,
  options: HistoryOptions
) {
  const decoded = yield* request(HistoryRequest)({ ...options, table, key })
  return decoded.cursor === undefined
    ? undefined
    : formatMicros((yield* cursors.decode(storage, queryOf(decoded), decoded.cursor)).major)
})

export const history = Effect.fnUntraced(function* (
  storage: Storage,
  table: string,
  key: KeyInput,
  options: HistoryOptions
): Effect.fn.Return<Page<Change>, InvalidRequest | NotFound | ThreadlineError> {
  yield* mustBeObject(options)
  const decoded = yield* request(HistoryRequest)({ ...options, table, key })
  const query = queryOf(decoded)
  const cursor = decoded.cursor === undefined ? undefined : yield* cursors.decode(storage, query, decoded.cursor)
  const row = yield* rowOf(storage, tableOf(decoded.table), decoded.key)
  const read = storage.restriction === undefined ? readAll : readVisible
  return yield* pageOf(storage, yield* read(storage, row, decoded, cursor), decoded.limit, query, rowPosition)
})
