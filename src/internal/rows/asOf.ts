/**
 * How rows stood at an instant: one statement for any number of keys of a table, and the answer for each.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import type { Fragment, Statement } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { InvalidRequest, type NotFound, type ThreadlineError } from "../../ThreadlineError.js"
import { type AsOf, makeAsOf } from "./answer.js"
import { JsonObjectFromText } from "../core/jsonSchema.js"
import { instantColumn, Operation, type RowImage, type RowPk, rowPkOf } from "../record/change.js"
import { contains, namings, type RecordedAs, recordedColumns, withPresentNames } from "../record/columns.js"
import { fulfils, hostCondition, onConditionError } from "../record/condition.js"
import type { InstantInput } from "../core/instant.js"
import { instant, instantRule } from "../core/instant.js"
import { type CapturedRow, capturedRowOf, type KeyInput, KeySchema, TableSchema, tableOf } from "../record/key.js"
import { type Captured, capturedAround } from "../record/lapses.js"
import { request } from "../core/request.js"
import {
  type Event,
  mayHaveRemoved,
  nearest,
  type RowChange,
  type Sharing,
  stateBefore,
  states,
  truncatesOf
} from "./life.js"
import type { HostCondition } from "../record/scope.js"
import { all, rows, type Storage } from "../record/storage.js"
import { beforeImage, visibleChange } from "../record/visible.js"
import { positionOf } from "../sql/sqlState.js"
import { type Table, withinSpan } from "../record/tables.js"
import { format } from "../core/tableName.js"
import type { JsonObject } from "../core/jsonValue.js"

/**
 * A condition over the image of a row, `jsonb`, built with the client of the read: `(image, sql) => sql\`${image} ->> 'state' =
 * 'open'\``. It must answer the same each time it is called, because a cursor belongs to its text and values. The host writes it,
 * never a reader. It judges one row: a window function or an aggregate sees only that row.
 *
 * @since 0.1.0
 * @category models
 */
export type ImageCondition = (image: Fragment, sql: SqlClient) => Fragment

/** The one row that such a condition judges. No host uses this name. */
const judgedRow = "threadline_row"

/** The answer of the caller's condition, over the columns of `judgedRow`. */
export const imageCondition = ({ sql }: Storage, where: ImageCondition): Effect.Effect<HostCondition, InvalidRequest> =>
  hostCondition("where", () => where(sql.literal(`${judgedRow}.image`), sql))

export interface StandingRequest {
  readonly table: Table
  /** As `rowKey` resolves them. */
  readonly keys: ReadonlyArray<string>
  /** As `Instant` writes it. */
  readonly at: string
  /** The captured time around the instant. Undefined if the instant is not in one. */
  readonly captured: Captured | undefined
  /** What the image contains. */
  readonly contains: JsonObject | undefined
  readonly where: HostCondition | undefined
  /** Only keys with a row that was present, is visible, and fulfils `where`. */
  readonly presentOnly: boolean
}

/** No condition on the row: only how it stood. */
export const anyRow = { contains: undefined, where: undefined, presentOnly: false } as const

export interface Standing {
  readonly answer: AsOf
  /** The key by column, from the change that gives the answer, if that change has it. */
  readonly rowPk: RowPk | null
}

const StandingRow = Schema.Struct({
  id: Schema.String,
  transaction_id: Schema.String,
  captured_at: Schema.String,
  table_schema: Schema.String,
  table_name: Schema.String,
  op: Operation,
  row_pk: Schema.NullOr(JsonObjectFromText),
  row_key: Schema.NullOr(Schema.String),
  previous_row_key: Schema.NullOr(Schema.String),
  changed_fields: Schema.NullOr(Schema.parseJson(Schema.Array(Schema.String))),
  changed_from: Schema.NullOr(JsonObjectFromText),
  data_after: Schema.NullOr(JsonObjectFromText),
  own_key: Schema.String,
  /** False for the one change of a key that is not asked for. It comes without its images. */
  selected: Schema.String,
  /** The change of the row that this TRUNCATE follows; null for a change of the row itself. */
  follows: Schema.NullOr(Schema.String),
  visible: Schema.String,
  visible_before: Schema.String,
  matches: Schema.String,
  matches_before: Schema.String,
  cut: Schema.String
})

type StandingRow = typeof StandingRow.Type

type Side = "before" | "after"

/**
 * How many changes are looked at on each side. Mostly the nearest one decides. If rows share a key for a while, the changes of
 * the transaction decide, and the change before it.
 */
const counts = { before: 9, after: 4 }

/** The same if several rows may share a key from one transaction to another. */
const countsOfShared = { before: 60, after: 30 }

const images = ["row_pk", "changed_from", "data_after"]

const standingColumns = [
  ...[
    "id",
    "transaction_id",
    "captured_at",
    "table_schema",
    "table_name",
    "op",
    "row_key",
    "previous_row_key",
    "changed_fields"
  ],
  ...images
]

/** In a statement, the caller's condition stands before this mark, and conditions of scopes stand behind it. */
const asksForScope = "/* what the reader may see */"

/** The caller's condition on an image. Undefined if there is none. */
const conditionOf = (
  storage: Storage,
  { contains: document, table, where }: StandingRequest,
  image: Fragment
): Fragment | undefined => {
  const { sql } = storage
  const times = document === undefined ? [] : namings(table, Object.keys(document))
  const conditions = [
    ...(document === undefined
      ? []
      : [
          sql`coalesce(${sql.or(
            times.map((naming) => all([contains(sql, image, document, naming), ...withinSpan(storage, naming, "c")]))
          )}, false)`
        ]),
    ...(where === undefined ? [] : [fulfils(sql, [where], judgedRow, { image: withPresentNames(sql, image, table) })])
  ]
  return conditions.length === 0 ? undefined : sql.and(conditions)
}

/** Every part that reads the log is planned for each partition. One side at a time needs half the planning. */
const statement = (storage: Storage, side: Side, standingRequest: StandingRequest, count: number) => {
  const { at, captured, keys, presentOnly, table } = standingRequest
  const { sql } = storage
  const instantSql = sql`${at}::timestamptz`
  const [firstKey, ...otherKeys] = keys
  // If the one key is a constant, the planner knows how many changes it has.
  const isSingleKey = firstKey !== undefined && otherKeys.length === 0
  const keyed = isSingleKey ? sql`(select 1) k` : sql`jsonb_array_elements_text(${JSON.stringify(keys)}::jsonb) k (key)`
  const key = isSingleKey ? sql`${firstKey}` : sql`k.key`
  const ownKey = isSingleKey ? sql`${firstKey}::text` : sql`k.key`
  const visible = (side?: "before"): Fragment => visibleChange(storage, "c", side) ?? sql`true`
  // The caller's condition is not tried on rows that the reader may not see. A condition that fails would reveal something of
  // them.
  const matching = (isVisible: Fragment, image: Fragment): Fragment => {
    const condition = conditionOf(storage, standingRequest, image)
    return condition === undefined ? sql`true` : sql`case when ${isVisible} then ${condition} else false end`
  }
  const bounds = [
    side === "before" ? sql`c.captured_at <= ${instantSql}` : sql`c.captured_at > ${instantSql}`,
    ...(side === "before"
      ? captured?.since === undefined
        ? []
        : [sql`c.captured_at >= ${captured.since}::timestamptz`]
      : captured?.until === undefined
        ? []
        : [sql`c.captured_at < ${captured.until}::timestamptz`])
  ]
  const isShown = side === "before" ? "k.visible and k.matches" : "k.visible_before and k.matches_before"
  const noTruncates = storage.restriction === undefined ? sql`true` : sql`false`
  return sql`
    with threadline_judged as materialized (
      select c.*,
        ${matching(sql`c.visible`, sql`c.data_after`)} as matches,
        ${side === "before" ? sql`true` : matching(sql`c.visible_before`, beforeImage(sql, "c"))} as matches_before
      from (
        select c.*, ${sql.literal(asksForScope)}
          ${visible()} as visible,
          ${
            side === "before"
              ? sql`case when c.previous_row_key is null then true else ${visible("before")} end`
              : visible("before")
          } as visible_before
        from (
          select ${ownKey} as own_key, o.*
          from ${keyed}
          cross join lateral ${nearest(storage, table, key, side, count, bounds)} o
        ) c
        offset 0
      ) c
    ),
    threadline_own as materialized (
      select ${sql.literal(standingColumns.map((column) => (images.includes(column) ? `case when o.selected then o.${column} end as ${column}` : `o.${column}`)).join(", "))},
        o.own_key, o.selected, o.visible, o.visible_before, o.matches, o.matches_before,
        lead(o.captured_at, 1, ${instantSql}) over life as next_at,
        lead(o.id, 1, 9223372036854775807) over life as next_id
      from (
        select k.*,
          ${presentOnly ? sql`bool_or(${sql.literal(isShown)}) over (partition by k.own_key)` : sql`true`} as selected,
          row_number() over (partition by k.own_key order by k.captured_at, k.id) as place
        from threadline_judged k
      ) o
      where o.selected
        or o.place = 1
      window life as (partition by o.own_key order by o.captured_at, o.id)
    )${
      side === "after"
        ? sql`,
    threadline_cut as materialized (
      select r.captured_at, r.id${truncatesOf(storage, table)}
        and r.captured_at > ${instantSql}
      order by r.captured_at, r.id
      limit 1
    )`
        : sql`,
    threadline_truncates as materialized (
      select r.*, o.own_key, o.id as follows
      from threadline_own o
      cross join lateral (
        select r.*${truncatesOf(storage, table, mayHaveRemoved(storage, sql`o.transaction_id`))}
          and r.captured_at >= o.captured_at
          and r.captured_at <= o.next_at
          and (r.captured_at, r.id) > (o.captured_at, o.id)
          and (r.captured_at, r.id) < (o.next_at, o.next_id)
        order by r.partition_name nulls first, r.captured_at, r.id
        limit 1
      ) r
      where o.selected
    )`
    }
    select
      c.id::text as id,
      c.transaction_id::text as transaction_id,
      ${instantColumn(sql, "c.captured_at")} as captured_at,
      c.table_schema::text as table_schema,
      c.table_name::text as table_name,
      c.op::text as op,
      c.row_pk::text as row_pk,
      c.row_key::text as row_key,
      c.previous_row_key::text as previous_row_key,
      to_json(c.changed_fields)::text as changed_fields,
      c.changed_from::text as changed_from,
      c.data_after::text as data_after,
      c.own_key as own_key,
      c.selected::text as selected,
      c.follows::text as follows,
      c.visible::text as visible,
      c.visible_before::text as visible_before,
      c.matches::text as matches,
      c.matches_before::text as matches_before,
      ${
        side === "before"
          ? sql`false`
          : sql`exists (
        select from threadline_cut r
        where (r.captured_at, r.id) < (c.captured_at, c.id)
      )`
      }::text as cut
    from (
      select ${sql.literal(standingColumns.join(", "))}, own_key, selected, null::bigint as follows,
        visible, visible_before, matches, matches_before
      from threadline_own
      ${
        side === "after"
          ? sql``
          : sql`union all
      select ${sql.literal(standingColumns.join(", "))}, own_key, true, follows,
        -- What one of a partition has done to the row is known to nobody.
        ${noTruncates} and partition_name is null, true, true, true
      from threadline_truncates`
      }
    ) c
    order by c.captured_at, c.id`
}

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
  readonly saidBy: string | undefined
}

const nothing = (at: string): Verdict => ({
  answer: { _tag: "BeforeCapture", at },
  rowPk: null,
  matches: false,
  saidBy: undefined
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
            saidBy: change.id
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
            saidBy: change.id
          }
        : beforeCapture
    }
    return { answer: { _tag: "Deleted", at }, rowPk: change.rowPk, matches: false, saidBy: change.id }
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
    return visible ? { answer: { _tag: "NotYetCreated", at }, rowPk, matches: false, saidBy: change.id } : beforeCapture
  }
  return visibleBefore
    ? {
        answer: { _tag: "Present", row: earlier.row, rebuilt: true, ...recordedAs(table, earlier.row, change), at },
        rowPk,
        matches: matchesBefore,
        saidBy: change.id
      }
    : beforeCapture
}

/**
 * If a condition is not understood, the server gives its place. If it fails on a value, it may be either condition. The caller's
 * is then taken.
 */
const onStandingError =
  (storage: Storage, { where }: StandingRequest, statement: Statement<unknown>) =>
  (error: SqlError): InvalidRequest | ThreadlineError => {
    const position = positionOf(error)
    const isOfScope = position !== undefined && position > statement.compile()[0].indexOf(asksForScope)
    return onConditionError(storage, where === undefined || isOfScope ? "scope" : "where")(error)
  }

/** Whether the table's key is checked only when transactions end. Until then several rows may share it. */
const sharingOf = ({ name, sql }: Storage, { policy }: Table): Effect.Effect<Sharing, ThreadlineError> =>
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
  left.answer._tag === right.answer._tag && left.saidBy === right.saidBy

/** The answers from one side of the instant, by key. If a key has changes before the instant, they alone decide. */
const answersOf = Effect.fnUntraced(function* (
  storage: Storage,
  side: Side,
  standingRequest: StandingRequest
): Effect.fn.Return<ReadonlyMap<string, Verdict>, InvalidRequest | ThreadlineError> {
  const rowsByKey = (keys: ReadonlyArray<string>, count: number) => {
    const sideStatement = statement(storage, side, { ...standingRequest, keys }, count)
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
    keys.length === 0 || !standingRequest.captured.rebuilds
      ? new Map<string, Verdict>()
      : yield* answersOf(storage, "after", { ...standingRequest, keys })
  return new Map(
    [...before, ...after].filter(
      ([, { answer, matches }]) => !standingRequest.presentOnly || (answer._tag === "Present" && matches)
    )
  )
})

const AsOfRequest = Schema.Struct({ table: TableSchema, key: KeySchema })

/** An instant in the one text it has; `field` is the input that an `InvalidRequest` names. */
export const instantOf = (when: InstantInput, field: string = "instant"): Effect.Effect<string, InvalidRequest> => {
  const at = instant(when)
  return at === undefined ? Effect.fail(new InvalidRequest({ field, rule: instantRule })) : Effect.succeed(at)
}

export const resolveRow = Effect.fnUntraced(function* (
  storage: Storage,
  table: string,
  key: KeyInput
): Effect.fn.Return<CapturedRow, InvalidRequest | NotFound | ThreadlineError> {
  const decoded = yield* request(AsOfRequest)({ table, key })
  return yield* capturedRowOf(storage, tableOf(decoded.table), decoded.key)
})

/** How a row stood at a decoded instant. */
export const rowAsOf = (
  storage: Storage,
  { key, lapses, table }: CapturedRow,
  at: string
): Effect.Effect<AsOf, InvalidRequest | ThreadlineError> =>
  Effect.map(
    standing(storage, { ...anyRow, table, keys: [key], at, captured: capturedAround(lapses, at) }),
    (answersByKey) => makeAsOf(answersByKey.get(key)?.answer ?? { _tag: "BeforeCapture", at })
  )

export const asOf = Effect.fnUntraced(function* (
  storage: Storage,
  table: string,
  key: KeyInput,
  when: InstantInput
): Effect.fn.Return<AsOf, InvalidRequest | NotFound | ThreadlineError> {
  const at = yield* instantOf(when)
  return yield* rowAsOf(storage, yield* resolveRow(storage, table, key), at)
})
