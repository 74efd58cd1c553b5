/**
 * How rows stood at an instant: the answer for each key.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { InvalidRequest, ThreadlineError } from "../../ThreadlineError.js"
import type { AsOf } from "./answer.js"
import type { Nearest } from "./candidates.js"
import { arrives, departs, type Event, type RowChange, type Sharing, stateBefore, states } from "./life.js"
import type { KnownChange } from "./near.js"
import {
  type Looked,
  onStandingError,
  type Side,
  type StandingRequest,
  StandingRow,
  standingStatement
} from "./standingStatement.js"
import { format } from "../core/tableName.js"
import { type RowImage, type RowPk, rowPkOf } from "../record/change.js"
import { type RecordedAs, recordedColumns } from "../record/columns.js"
import { rows, type Storage } from "../record/storage.js"
import type { Table } from "../record/tables.js"

export interface Standing {
  readonly answer: AsOf
  /** The key by column, from the change that gives the answer, if that change has it. */
  readonly rowPk: RowPk | null
}

/**
 * How many changes are looked at on each side. Mostly the nearest one decides. If rows share a key for a while, the changes of
 * the transaction decide, and the change before it.
 */
const counts = { before: 9, after: 4 }

/** The same if several rows may share a key from one transaction to another. */
const countsOfShared = { before: 60, after: 30 }

const changeOf = (row: StandingRow): RowChange => ({
  id: row.id,
  transactionId: row.transaction_id,
  capturedAt: row.captured_at,
  tableSchema: row.table_schema,
  tableName: row.table_name,
  op: row.op,
  rowPk: rowPkOf(row.row_pk),
  rowKey: row.row_key,
  previousRowKey: row.previous_row_key,
  changedFields: row.changed_fields,
  changedFrom: row.changed_from,
  dataAfter: row.data_after
})

const eventsOf = (standingRows: ReadonlyArray<StandingRow>): ReadonlyArray<Event> => {
  const truncates = new Map(
    standingRows.flatMap((row) =>
      row.follows === null ? [] : [[row.follows, { change: changeOf(row), visible: row.visible === "true" }] as const]
    )
  )
  return standingRows
    .filter((row) => row.follows === null)
    .map((row) => ({
      change: changeOf(row),
      key: row.own_key,
      truncate: truncates.get(row.id),
      visible: row.visible === "true",
      visibleBefore: row.visible_before === "true",
      matches: row.matches === "true",
      matchesBefore: row.matches_before === "true"
    }))
}

/** The names that a row was recorded under, if they are not the present ones. */
const recordedAs = (
  table: Table,
  row: RowImage,
  { capturedAt, tableName, tableSchema }: RowChange
): { readonly recordedAs?: RecordedAs } => {
  const columns = recordedColumns(row, table.columns, capturedAt)
  const isFormer = tableName !== table.policy.name || tableSchema !== table.policy.schema
  return columns === undefined && !isFormer
    ? {}
    : {
        recordedAs: {
          ...(isFormer ? { table: format({ schema: tableSchema, name: tableName }) } : {}),
          ...(columns === undefined ? {} : { columns })
        }
      }
}

interface Verdict extends Standing {
  readonly matches: boolean
  /** The change that gives this answer. */
  readonly decidedBy: string | undefined
}

const nothing = (at: string): Verdict => ({
  answer: { _tag: "BeforeCapture", at },
  rowPk: null,
  matches: false,
  decidedBy: undefined
})

const verdict = (
  { at, table }: StandingRequest,
  side: Side,
  standingRows: ReadonlyArray<StandingRow>,
  sharing: Sharing
): Verdict => {
  const beforeCapture = nothing(at)
  const events = eventsOf(standingRows)
  if (side === "before") {
    const last = events.at(-1)
    const state = states(events, sharing).at(-1)
    if (last === undefined || state === undefined) {
      return beforeCapture
    }
    const { change, matches, visible, visibleBefore } = state.event
    if (state._tag === "Alive" && last.truncate === undefined) {
      return visible
        ? {
            answer: { _tag: "Present", row: state.row, ...recordedAs(table, state.row, change), at },
            rowPk: change.rowPk,
            matches,
            decidedBy: change.id
          }
        : beforeCapture
    }
    if (state._tag === "Gone" ? !visible : last.truncate?.visible !== true) {
      return beforeCapture
    }
    if (state._tag === "Gone" && change.op === "update" && change.rowKey !== null) {
      // The new key is shown only to readers who may see that the row was here.
      return visibleBefore
        ? {
            answer: { _tag: "MovedTo", key: change.rowKey, rowPk: change.rowPk, at },
            rowPk: null,
            matches: false,
            decidedBy: change.id
          }
        : beforeCapture
    }
    return { answer: { _tag: "Deleted", at }, rowPk: change.rowPk, matches: false, decidedBy: change.id }
  }
  const earlier = stateBefore(events, sharing)
  if (earlier === undefined) {
    return beforeCapture
  }
  // Changes after a TRUNCATE say nothing of the time before it.
  if (standingRows[0]?.cut !== "false") {
    return beforeCapture
  }
  const { change, key, matchesBefore, visible, visibleBefore } = earlier.event
  const rowPk = change.rowKey === key ? change.rowPk : null
  if (earlier._tag === "NotYet") {
    return visible
      ? { answer: { _tag: "NotYetCreated", at }, rowPk, matches: false, decidedBy: change.id }
      : beforeCapture
  }
  return visibleBefore
    ? {
        answer: { _tag: "Present", row: earlier.row, rebuilt: true, ...recordedAs(table, earlier.row, change), at },
        rowPk,
        matches: matchesBefore,
        decidedBy: change.id
      }
    : beforeCapture
}

/** Whether the table's key is checked only when transactions end. Until then several rows may share it. */
export const sharingOf = ({ name, sql }: Storage, { policy }: Table): Effect.Effect<Sharing, ThreadlineError> =>
  Effect.map(
    rows(
      Schema.Struct({ deferrable: Schema.String }),
      sql`
        select exists (
          select
          from pg_constraint k
          where k.contype in ('p', 'u')
            and k.condeferrable
            and k.conrelid in (
              select c.oid
              from pg_class c
              join pg_namespace n on n.oid = c.relnamespace
              where n.nspname = ${policy.schema}
                and c.relname = ${policy.name}
              union all
              select p.relation
              from ${name("capture_policies")} p
              where p.table_schema = ${policy.schema}
                and p.table_name = ${policy.name}
            )
        )::text as deferrable`
    ),
    ([row]) => (row?.deferrable === "true" ? "several" : "one")
  )

const isSame = (left: Verdict, right: Verdict): boolean =>
  left.answer._tag === right.answer._tag && left.decidedBy === right.decidedBy

const standingRowsOf = (storage: Storage, side: Side, standingRequest: StandingRequest, looked: Looked) => {
  const sideStatement = standingStatement(storage, side, standingRequest, looked)
  return Effect.map(
    rows(StandingRow, sideStatement, onStandingError(storage, standingRequest, sideStatement)),
    (standingRows) => {
      const byKey = new Map<string, Array<StandingRow>>()
      for (const row of standingRows) {
        const rowsOfKey = byKey.get(row.own_key)
        if (rowsOfKey === undefined) {
          byKey.set(row.own_key, [row])
        } else {
          rowsOfKey.push(row)
        }
      }
      return byKey
    }
  )
}

/** The answers from one side of the instant, by key. If a key has changes before the instant, they alone decide. */
const answersOf = Effect.fnUntraced(function* (
  storage: Storage,
  side: Side,
  standingRequest: StandingRequest
): Effect.fn.Return<ReadonlyMap<string, Verdict>, InvalidRequest | ThreadlineError> {
  const rowsByKey = (keys: ReadonlyArray<string>, looked: Looked) =>
    standingRowsOf(storage, side, { ...standingRequest, keys }, looked)
  const verdictOf = (standingRows: ReadonlyArray<StandingRow>, sharing: Sharing): Verdict =>
    standingRows[0]?.selected === "true"
      ? verdict(standingRequest, side, standingRows, sharing)
      : nothing(standingRequest.at)

  const byKey = yield* rowsByKey(standingRequest.keys, counts[side])
  const answers = new Map([...byKey].map(([key, standingRows]) => [key, verdictOf(standingRows, "one")]))
  // Whether rows may share a key is asked only if it makes a difference.
  const unclear = [...byKey].flatMap(([key, standingRows]) => {
    const answer = answers.get(key)
    return answer === undefined || isSame(answer, verdictOf(standingRows, "several")) ? [] : [key]
  })
  if (unclear.length > 0 && (yield* sharingOf(storage, standingRequest.table)) === "several") {
    const moreRows = yield* rowsByKey(unclear, countsOfShared[side])
    moreRows.forEach((standingRows, key) => answers.set(key, verdictOf(standingRows, "several")))
  }
  return answers
})

const isPresent = ({ answer, matches }: Verdict): boolean => answer._tag === "Present" && matches

/** The answer for each of the keys that have one, by key. */
export const standing = Effect.fnUntraced(function* (
  storage: Storage,
  standingRequest: StandingRequest
): Effect.fn.Return<ReadonlyMap<string, Standing>, InvalidRequest | ThreadlineError> {
  if (standingRequest.captured === undefined) {
    return new Map()
  }
  const before =
    standingRequest.keys.length === 0
      ? new Map<string, Verdict>()
      : yield* answersOf(storage, "before", standingRequest)
  const keys = standingRequest.keys.filter((key) => !before.has(key))
  const after =
    keys.length === 0 ? new Map<string, Verdict>() : yield* answersOf(storage, "after", { ...standingRequest, keys })
  return new Map(
    [...before, ...after].filter(([, verdictOfKey]) => !standingRequest.presentOnly || isPresent(verdictOfKey))
  )
})

const knownOf = (key: string, { entry, second }: Nearest): ReadonlyArray<KnownChange> =>
  [entry, second].flatMap((each, place): ReadonlyArray<KnownChange> =>
    each === undefined
      ? []
      : [{ key, nth: place === 0 ? 0 : 1, row_key: each.rowKey, at: each.capturedAt, id: each.id }]
  )

/**
 * The keys that had a row, where it is known which changes are nearest to the instant. These are read where they are, and mostly the
 * nearest one alone decides: a change that left a row or, after the instant, found one. If it took its row away or brought it, other
 * changes of its transaction may tell of another row at the key, and the key is looked at as `standing` does. Rows must not share a
 * key from one transaction to another.
 */
export const standingNear = Effect.fnUntraced(function* (
  storage: Storage,
  standingRequest: StandingRequest,
  nearestByKey: ReadonlyMap<string, Nearest | undefined>
): Effect.fn.Return<ReadonlyMap<string, Standing>, InvalidRequest | ThreadlineError> {
  const unclear = standingRequest.keys.filter((key) => !nearestByKey.has(key))
  const found = new Map<string, Standing>()
  for (const side of ["before", "after"] as const) {
    const looked = standingRequest.keys.flatMap((key) => {
      const near = nearestByKey.get(key)
      return near?.side === side ? knownOf(key, near) : []
    })
    const byKey = looked.length === 0 ? [] : yield* standingRowsOf(storage, side, standingRequest, looked)
    for (const [key, standingRows] of byKey) {
      const [change] = standingRows.flatMap((row) => (row.follows === null ? [changeOf(row)] : []))
      if (change === undefined || (side === "before" ? departs(change, key) : arrives(change, key))) {
        unclear.push(key)
      } else if (standingRows[0]?.selected === "true") {
        const verdictOfKey = verdict(standingRequest, side, standingRows, "one")
        if (isPresent(verdictOfKey)) found.set(key, verdictOfKey)
      }
    }
  }
  const others = yield* standing(storage, { ...standingRequest, keys: unclear })
  return new Map([...found, ...others])
})
