/**
 * What a change did, field by field.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { InvalidRequest, NotFound, type ThreadlineError } from "../../ThreadlineError.js"
import { same } from "../core/json.js"
import { formedSchema } from "../core/jsonForm.js"
import { AsOf } from "./answer.js"
import { instantOf, resolveRow, rowAsOf } from "./asOf.js"
import type { RowImage } from "../record/change.js"
import { columnOrder, inOrder } from "../record/columnOrder.js"
import { presentImage } from "../record/columns.js"
import { actionColumns, Change, changeOf, ChangeRow, transactionColumns } from "../record/change.js"
import { onConditionError } from "../record/condition.js"
import type { InstantInput } from "../core/instant.js"
import { format } from "../core/tableName.js"
import type { KeyInput } from "../record/key.js"
import { id } from "../core/request.js"
import { all, rows, type Storage } from "../record/storage.js"
import { joinedAction, shownChangeColumns, visibleChange } from "../record/visible.js"
import { JsonValue, marked } from "../core/jsonValue.js"

const Field = Schema.Struct({
  field: Schema.String,
  /** The name that the column had at the first instant, if it was another one. */
  formerly: Schema.optionalWith(Schema.String, { exact: true }),
  /** Missing if there was no row before, or no such column. */
  before: Schema.optionalWith(JsonValue, { exact: true }),
  /** Missing if there is no row after, or no such column. */
  after: Schema.optionalWith(JsonValue, { exact: true })
}).annotations({ identifier: "threadline.FieldDiff" })

/**
 * @since 0.1.0
 * @category models
 */
export interface FieldDiff extends Schema.Schema.Type<typeof Field> {}

/**
 * One field of a diff. `before` is missing if there was no row (or no such column) before, `after` likewise.
 *
 * @since 0.1.0
 * @category schemas
 */
export const FieldDiff: Schema.Schema<FieldDiff, typeof Field.Encoded> = formedSchema<
  FieldDiff,
  typeof Field.Encoded,
  never
>(Field, (fields) => marked({ ...fields }))

/**
 * A change and what it did, field by field.
 *
 * @since 0.1.0
 * @category schemas
 */
export const ChangeDiff = Schema.Struct({
  change: Change,
  /** In the order of the table's columns. */
  fields: Schema.Array(FieldDiff)
}).annotations({ identifier: "threadline.ChangeDiff" })

/**
 * @since 0.1.0
 * @category models
 */
export interface ChangeDiff extends Schema.Schema.Type<typeof ChangeDiff> {}

const valueOf = (image: RowImage | null, field: string): JsonValue | undefined =>
  image !== null && Object.hasOwn(image, field) ? image[field] : undefined

const fieldDiff = (field: string, before: JsonValue | undefined, after: JsonValue | undefined): FieldDiff =>
  marked({ field, ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) })

/**
 * The fields that a change touched: all of them for an insert, a delete and a baseline, the changed ones for an update. They are in
 * the order of `columns`, which `Query.columns` gives; fields that it does not have come last, sorted by name.
 *
 * @since 0.1.0
 * @category conversions
 */
export const fieldDiffs = (change: Change, columns: ReadonlyArray<string> = []): ReadonlyArray<FieldDiff> => {
  // The image after an update is whole. Its diff has only the fields that changed.
  const names =
    change.op === "update"
      ? [...(change.changedFields ?? []), ...Object.keys(change.changedFrom ?? {})]
      : [...Object.keys(change.changedFrom ?? {}), ...Object.keys(change.dataAfter ?? {})]
  return inOrder([...new Set(names)], columns, (field) => field).map((field) => {
    const before = valueOf(change.changedFrom, field)
    const after = valueOf(change.dataAfter, field)
    return fieldDiff(field, before, after)
  })
}

/** Changes with what they did. The order of their fields takes one more statement. */
export const changeDiffs = (
  storage: Storage,
  changes: ReadonlyArray<Change>
): Effect.Effect<ReadonlyArray<ChangeDiff>, ThreadlineError> => {
  const tableOf = (change: Change) => ({ schema: change.tableSchema, name: change.tableName })
  return Effect.map(columnOrder(storage, changes.map(tableOf)), (order) =>
    changes.map((change) => ({ change, fields: fieldDiffs(change, order.get(format(tableOf(change)))) }))
  )
}

/** Change ids rise with time, but no btree begins with them. The BRIN index of ids narrows the search to a few pages. */
const statement = (storage: Storage, changeId: string) => {
  const { name, sql } = storage
  return sql`
  select ${shownChangeColumns(storage)}, ${transactionColumns(sql)}, ${actionColumns(sql)}
  from ${name("audit_changes")} c
  join ${name("audit_transactions")} t on t.id = c.transaction_id
  ${joinedAction(storage)}
  where ${all([sql`c.id = ${changeId}::bigint`, visibleChange(storage, "c")])}`
}

export const diff = Effect.fnUntraced(function* (
  storage: Storage,
  changeId: string
): Effect.fn.Return<ChangeDiff, InvalidRequest | NotFound | ThreadlineError> {
  const decodedId = yield* id("changeId", changeId)
  const [row] = yield* rows(ChangeRow, statement(storage, decodedId), onConditionError(storage))
  const [found] = row === undefined ? [] : yield* changeDiffs(storage, [changeOf(row)])
  return found ?? (yield* new NotFound({ subject: "change", id: decodedId }))
})

/**
 * A row at two instants, and what became of its fields in between.
 *
 * @since 0.1.0
 * @category schemas
 */
export const RowDiff = Schema.Struct({
  /** How it stood at the first instant. */
  from: AsOf,
  /** How it stood at the second instant. */
  to: AsOf,
  /** In the order of the table's columns. If the row was present both times, the fields that differ. If it was present once, all fields. Otherwise none. */
  fields: Schema.Array(FieldDiff)
}).annotations({ identifier: "threadline.RowDiff" })

/**
 * @since 0.1.0
 * @category models
 */
export interface RowDiff extends Schema.Schema.Type<typeof RowDiff> {}

const imageDiffs = (
  from: RowImage | null,
  to: RowImage | null,
  columns: ReadonlyArray<string>
): ReadonlyArray<FieldDiff> =>
  inOrder([...new Set([...Object.keys(from ?? {}), ...Object.keys(to ?? {})])], columns, (field) => field).flatMap(
    (field) => {
      const before = valueOf(from, field)
      const after = valueOf(to, field)
      return before !== undefined && after !== undefined && same(before, after) ? [] : [fieldDiff(field, before, after)]
    }
  )

/** The row by the names that its columns have now. */
const imageAt = (answer: AsOf): RowImage | null =>
  answer._tag === "Present" ? presentImage(answer.row, answer.recordedAs?.columns) : null

const recordedColumnsOf = (answer: AsOf): { readonly [column: string]: string } =>
  (answer._tag === "Present" ? answer.recordedAs?.columns : undefined) ?? {}

export const diffBetween = Effect.fnUntraced(function* (
  storage: Storage,
  table: string,
  key: KeyInput,
  from: InstantInput,
  to: InstantInput
): Effect.fn.Return<RowDiff, InvalidRequest | NotFound | ThreadlineError> {
  const [fromInstant, toInstant] = [yield* instantOf(from, "from"), yield* instantOf(to, "to")]
  if (toInstant < fromInstant) {
    return yield* InvalidRequest.of("to", "must not be before ", { field: "from" })
  }
  const row = yield* resolveRow(storage, table, key)
  const before = yield* rowAsOf(storage, row, fromInstant)
  const after = yield* rowAsOf(storage, row, toInstant)
  const formerly = recordedColumnsOf(before)
  const columns = [...(yield* columnOrder(storage, [row.table])).values()].flat()
  const fields = imageDiffs(imageAt(before), imageAt(after), columns).map((diff) =>
    Object.hasOwn(formerly, diff.field) ? marked({ ...diff, formerly: formerly[diff.field] ?? diff.field }) : diff
  )
  return { from: before, to: after, fields }
})
