/**
 * What a change did, field by field.
 */
import * as Effect from "effect/Effect"
import type { InvalidRequest } from "../ThreadlineError.js"
import { NotFound, type ThreadlineError } from "../ThreadlineError.js"
import type { JsonObject, JsonValue } from "./json.js"
import { stringify } from "./json.js"
import type { Change, RowImage } from "./queryChange.js"
import { actionColumns, changeColumns, changeOf, ChangeRow, changeToValue, transactionColumns } from "./queryChange.js"
import { id } from "./queryRequest.js"
import { rows, type Storage } from "./queryStorage.js"

/** One field of a row: `before` is missing where there was no row before, `after` where there is none after. */
export interface FieldDiff {
  readonly field: string
  readonly before?: JsonValue
  readonly after?: JsonValue
}

export interface ChangeDiff {
  readonly change: Change
  /** Sorted by name. */
  readonly fields: ReadonlyArray<FieldDiff>
}

const valueOf = (image: RowImage | null, field: string): JsonValue | undefined =>
  image !== null && Object.hasOwn(image, field) ? image[field] : undefined

export const fieldDiffs = (change: Change): ReadonlyArray<FieldDiff> => {
  // The image after an update is whole; only what changed is in its diff.
  const names =
    change.op === "update"
      ? [...(change.changedFields ?? []), ...Object.keys(change.changedFrom ?? {})]
      : [...Object.keys(change.changedFrom ?? {}), ...Object.keys(change.dataAfter ?? {})]
  return [...new Set(names)].sort().map((field) => {
    const before = valueOf(change.changedFrom, field)
    const after = valueOf(change.dataAfter, field)
    return { field, ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) }
  })
}

export const changeDiff = (change: Change): ChangeDiff => ({ change, fields: fieldDiffs(change) })

/** Change ids rise with time, but no btree is led by them: the BRIN index on (id + 0) narrows the search to a few pages. */
const statement = ({ name, sql }: Storage, changeId: string) => sql`
  select ${changeColumns(sql)}, ${transactionColumns(sql)}, ${actionColumns(sql)}
  from ${name("audit_changes")} c
  join ${name("audit_transactions")} t on t.id = c.transaction_id
  left join ${name("audit_actions")} a on a.id = t.action_id
  where c.id + 0 = ${changeId}::bigint`

export const diff = Effect.fnUntraced(function* (
  storage: Storage,
  changeId: string
): Effect.fn.Return<ChangeDiff, InvalidRequest | NotFound | ThreadlineError> {
  const asked = yield* id("changeId", changeId)
  const [found] = yield* rows(ChangeRow, statement(storage, asked))
  return found === undefined ? yield* new NotFound({ subject: "change", id: asked }) : changeDiff(changeOf(found))
})

const fieldToValue = ({ after, before, field }: FieldDiff): JsonObject => ({
  field,
  ...(before === undefined ? {} : { before }),
  ...(after === undefined ? {} : { after })
})

const diffToValue = ({ change, fields }: ChangeDiff): JsonObject => ({
  change: changeToValue(change),
  fields: fields.map(fieldToValue)
})

export const diffToJson = (diff: ChangeDiff): string => stringify(diffToValue(diff))
