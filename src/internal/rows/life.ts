/**
 * The life of one row: its changes, and what each change leaves at its key.
 *
 * One statement may move a row away from a key and another row to it (a swap, `set id = id + 1`). The order of change ids is then
 * right for each row, but not for each key: at some keys the arrival stands before the departure. If constraints are deferred,
 * several statements may do this one after another.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { Fragment } from "@effect/sql/Statement"
import * as BigDecimal from "effect/BigDecimal"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ThreadlineError } from "../../ThreadlineError.js"
import type { Position } from "../record/cursor.js"
import { same } from "../core/json.js"
import type { Change, RowImage } from "../record/change.js"
import { actionColumns, changeColumns, changeOf, ChangeRow, transactionColumns } from "../record/change.js"
import { formatMicros } from "../core/instant.js"
import type { Row } from "../record/key.js"
import { all, rows, type Storage, unionAll } from "../record/storage.js"
import { byName, ofTable, type Table } from "../record/tables.js"
import type { JsonObject, JsonValue } from "../core/jsonValue.js"
import { joinedAction } from "../record/visible.js"

/**
 * Which changes to read: the nearest to a position, a number on each side. If there is no position and only changes before it are
 * asked for, it lies behind everything. If only changes after it are asked for, it lies in front of everything.
 */
export interface Span {
  readonly position: Position | undefined
  /** A change at the position itself counts as before it. */
  readonly inclusive: boolean
  readonly before: number
  readonly after: number
}

/** Whether the row after a change, and the row before it, fulfil the conditions. Without conditions both always do. */
interface Selection {
  /** The reader may see it. */
  readonly visible: boolean
  readonly visibleBefore: boolean
  /** It fulfils the caller's condition. */
  readonly matches: boolean
  readonly matchesBefore: boolean
}

const selected: Selection = { visible: true, visibleBefore: true, matches: true, matchesBefore: true }

/** The fields of a change that the life of a row needs. */
export type RowChange = Pick<
  Change,
  | "id"
  | "transactionId"
  | "capturedAt"
  | "tableSchema"
  | "tableName"
  | "op"
  | "rowPk"
  | "rowKey"
  | "previousRowKey"
  | "changedFields"
  | "changedFrom"
  | "dataAfter"
>

/** A change of the row, and the first TRUNCATE of its table that came between it and the next one. */
export interface Event<out C extends RowChange = RowChange> extends Selection {
  readonly change: C
  /** The key of the row under consideration. */
  readonly key: string
  readonly truncate: { readonly change: C; readonly visible: boolean } | undefined
}

interface Life {
  readonly before: ReadonlyArray<Event<Change>>
  readonly after: ReadonlyArray<Event<Change>>
}

export const isBefore = (a: Position, b: Position): boolean => a.major < b.major || (a.major === b.major && a.id < b.id)

const LifeRow = Schema.Struct({
  ...ChangeRow.fields,
  side: Schema.Literal("before", "after"),
  /** The change of the row that this TRUNCATE follows; null for a change of the row itself. */
  follows: Schema.NullOr(Schema.String)
})

const changeNames = [
  "id",
  "transaction_id",
  "captured_at",
  "table_schema",
  "table_name",
  "partition_name",
  "op",
  "row_pk",
  "row_key",
  "previous_row_key",
  "changed_fields",
  "changed_from",
  "data_after",
  "details"
]

/** The columns of a change, of a row with this alias. */
const columnsOf = (alias: string): string => changeNames.map((name) => `${alias}.${name}`).join(", ")

/** TRUNCATEs of a whole table. It is the SQL after a select list, with the alias `r`. */
const truncatesOf = (storage: Storage, table: Table): Fragment => storage.sql`
        from ${storage.name("audit_changes")} r
        where ${ofTable(storage, table, "r")}
          and r.op = 'truncate'
          and r.row_key is null
          and r.partition_name is null`

/** The ends of a time as arguments of a function. */
export const begin = ({ sql }: Storage, since: string | null | undefined): Fragment =>
  since === null || since === undefined ? sql`'-infinity'::timestamptz` : sql`${since}::timestamptz`

export const end = ({ sql }: Storage, until: string | null | undefined): Fragment =>
  until === null || until === undefined ? sql`'infinity'::timestamptz` : sql`${until}::timestamptz`

/**
 * The first TRUNCATE behind each of some changes and before the next one: of the whole table, or else of a partition alone if it
 * may have removed the row without a trace. `changes` is a select of `own_key, id, transaction_id, captured_at, next_at,
 * next_id`: one change may be of two keys. `follows` is the id of the change.
 */
export const truncatesBehind = (storage: Storage, table: Table, changes: Fragment): Fragment => {
  const { name, sql } = storage
  const branches = table.spans.map(
    (span) => sql`(
        select r.*
        from ${name("truncates_behind")}(
          (select pg_catalog.jsonb_agg(pg_catalog.to_jsonb(o)) from (${changes}) o),
          ${span.schema}, ${span.name}, ${begin(storage, span.since)}, ${end(storage, span.until)}
        ) r
      )`
  )
  return sql`
      select distinct on (r.own_key, r.follows) r.*
      from (${unionAll(branches)}) r
      order by r.own_key, r.follows, r.partition_name nulls first, r.captured_at, r.id`
}

/**
 * The changes at a key that are nearest to an instant, a number of them on one side: changes under the key, and changes that
 * moved a row away from it. `bounds` are conditions on `c`. The key may be an expression.
 */
export const nearest = (
  storage: Storage,
  table: Table,
  key: Fragment,
  side: "before" | "after",
  count: number,
  bounds: ReadonlyArray<Fragment>
): Fragment => {
  const { name, sql } = storage
  const before = side === "before"
  const order = sql.literal(before ? "c.captured_at desc, c.id desc" : "c.captured_at, c.id")
  const branches = (ofRow: Fragment): ReadonlyArray<Fragment> =>
    byName(storage, table, "c").map(
      (ofName) => sql`
        (
        select c.*
        from ${name("audit_changes")} c
        where ${all([ofName, ofRow, ...bounds])}
        order by ${order}
        limit ${count})`
    )
  return sql`(${unionAll([
    ...branches(sql`c.row_key = ${key}`),
    ...branches(sql`c.previous_row_key = ${key} and c.row_key is distinct from ${key}`)
  ])}
        order by ${sql.literal(before ? "captured_at desc, id desc" : "captured_at, id")}
        limit ${count}
      )`
}

/** An instant, and the captured time around it, as `Instant` writes them. */
export interface Around {
  readonly at: string
  readonly since: string | undefined
  readonly until: string | undefined
}

/**
 * The nearest changes of each of some keys: `own_key` and the columns of a change. A function of the database has the plan for a
 * table that always had one name.
 */
export const nearestOfKeys = (
  storage: Storage,
  table: Table,
  keys: ReadonlyArray<string>,
  side: "before" | "after",
  count: number,
  { at, since, until }: Around
): Fragment => {
  const { name, sql } = storage
  const [span, ...otherSpans] = table.spans
  const instant = (text: string): Fragment => sql`${text}::timestamptz`
  if (span === undefined || otherSpans.length > 0) {
    const [firstKey, ...otherKeys] = keys
    // If the one key is a constant, the planner knows how many changes it has.
    const isSingle = firstKey !== undefined && otherKeys.length === 0
    const key = isSingle ? sql`${firstKey}` : sql`k.key`
    const bounds = [
      sql`c.captured_at ${sql.literal(side === "before" ? "<=" : ">")} ${instant(at)}`,
      ...(since === undefined ? [] : [sql`c.captured_at >= ${instant(since)}`]),
      ...(until === undefined ? [] : [sql`c.captured_at < ${instant(until)}`])
    ]
    return sql`
          select ${isSingle ? sql`${firstKey}::text` : key} as own_key, o.*
          from ${isSingle ? sql`(select 1) k` : sql`pg_catalog.jsonb_array_elements_text(${JSON.stringify(keys)}::jsonb) k (key)`}
          cross join lateral ${nearest(storage, table, key, side, count, bounds)} o`
  }
  const bound = (times: ReadonlyArray<string | null | undefined>, of: "greatest" | "least", none: string): Fragment => {
    const known = times.filter((time) => time !== undefined && time !== null)
    return known.length === 0
      ? sql`${sql.literal(`'${none}'`)}::timestamptz`
      : sql`${sql.literal(of)}(${sql.csv(known.map(instant))})`
  }
  return sql`
          select o.*
          from ${name("changes_near")}(
            array(select k.key from pg_catalog.jsonb_array_elements_text(${JSON.stringify(keys)}::jsonb) k (key)),
            ${span.schema}, ${span.name}, ${side}, ${instant(at)},
            ${bound([since, span.since], "greatest", "-infinity")}, ${bound([until, span.until], "least", "infinity")},
            ${count}
          ) o`
}

/** A change that is known to be one of the nearest of its key: `nth` 0 for the nearest, 1 for the next one. */
export interface Known {
  readonly key: string
  readonly nth: 0 | 1
  readonly row_key: string
  readonly at: string
  readonly id: string
}

/**
 * Whether a change leaves no row at a key on one side of an instant: it is the nearest one before it and took the row away, or the
 * nearest one after it and brought the row. `side` is an expression, `change` an alias of `audit_changes`. The key has certainly no
 * row if the next change is of another transaction, unless rows may share the key from one transaction to another.
 */
export const leavesNoRow = (sql: SqlClient, side: string, change: string, key: string): Fragment => {
  const conditions: ReadonlyArray<readonly [side: string, condition: string]> = [
    ["before", `${change}.op in ('delete', 'truncate') or ${change}.row_key is distinct from ${key}`],
    [
      "after",
      `${change}.op in ('insert', 'baseline') or (${change}.row_key = ${key} and coalesce(${change}.previous_row_key, ${key}) <> ${key})`
    ]
  ]
  return sql.literal(
    `case ${side} ${conditions.map(([name, condition]) => `when '${name}' then ${condition}`).join(" ")} end`
  )
}

/**
 * Changes that are known already, each read where it is: `key` and the columns of a change. Left out are keys that certainly have
 * no row (`leavesNoRow`).
 */
export const known = (
  storage: Storage,
  table: Table,
  changes: ReadonlyArray<Known>,
  side: "before" | "after"
): Fragment => {
  const { name, sql } = storage
  const [span, ...otherSpans] = table.spans
  const document = sql`${JSON.stringify(changes)}::jsonb`
  const branch = (ofName: Fragment): Fragment => sql`(
            select c.*
            from ${name("audit_changes")} c
            where c.row_key = k.row_key
              and ${ofName}
              and c.captured_at = k.at
              and c.id = k.id
          )`
  // A function of the database has the plan for a table that always had one name.
  const found =
    span !== undefined && otherSpans.length === 0
      ? sql`
          select k.own_key as key, k.*
          from ${name("changes_known")}(${document}, ${span.schema}, ${span.name}, ${begin(storage, span.since)}, ${end(storage, span.until)}) k`
      : sql`
          select k.key, k.nth, c.*
          from pg_catalog.jsonb_to_recordset(${document}) k (key text, nth int, row_key text, at timestamptz, id bigint)
          cross join lateral (
          ${unionAll(byName(storage, table, "c").map(branch))}
          offset 0
          ) c`
  return sql`(
        select ${sql.literal(`o.key, o.nth, ${columnsOf("o")}`)}
        from (
          select k.*, pg_catalog.lead(k.transaction_id) over (partition by k.key order by k.nth) as next_transaction
          from (${found}) k
        ) o
        where o.nth = 0
          and (not (${leavesNoRow(sql, `'${side}'`, "o", "o.key")}) or o.transaction_id = o.next_transaction)
      )`
}

/** The condition that a change `c` lies on one side of a position. The row comparison alone prunes no partition. */
export const beyond = (
  { sql }: Storage,
  side: "before" | "after",
  position: Position,
  inclusive: boolean
): ReadonlyArray<Fragment> => {
  const at = sql`${formatMicros(position.major)}::timestamptz`
  const comparison = sql.literal(`${side === "before" ? "<" : ">"}${inclusive ? "=" : ""}`)
  return [
    sql`c.captured_at ${sql.literal(side === "before" ? "<=" : ">=")} ${at}`,
    sql`(c.captured_at, c.id) ${comparison} (${at}, ${position.id.toString()}::bigint)`
  ]
}

const statement = (storage: Storage, row: Row, span: Span) => {
  const { name, sql } = storage
  const { position } = span

  const side = (which: "before" | "after", count: number): ReadonlyArray<Fragment> =>
    count === 0
      ? []
      : [
          sql`
      select c.*, ${which}::text as side
      from ${nearest(
        storage,
        row.table,
        sql`${row.key}`,
        which,
        count,
        position === undefined ? [] : beyond(storage, which, position, (which === "before") === span.inclusive)
      )} c`
        ]

  // The TRUNCATE of a change comes before the next change. After the last change, it comes before the end of what is read.
  const ends = span.after === 0 && position !== undefined
  const [endAt, endId] = ends
    ? [sql`${formatMicros(position.major)}::timestamptz`, sql`${position.id.toString()}::bigint`]
    : [sql`'infinity'`, sql`0`]
  // Partitions that lie outside of what is read are left out when the statement is planned.
  const outside =
    position === undefined
      ? []
      : [
          span.after === 0 ? sql`r.captured_at <= ${endAt}` : undefined,
          span.before === 0 ? sql`r.captured_at >= ${formatMicros(position.major)}::timestamptz` : undefined
        ]
  return sql`
    with own as materialized (
      select o.*,
        pg_catalog.lead(o.captured_at, 1, ${endAt}) over life as next_at,
        pg_catalog.lead(o.id, 1, ${endId}) over life as next_id
      from (${unionAll([...side("before", span.before), ...side("after", span.after)])}) o
      window life as (order by o.captured_at, o.id)
    ),
    truncates as materialized (
      select r.*, o.side, o.id as follows
      from own o
      cross join lateral (
        select r.*${truncatesOf(storage, row.table)}
          and ${all(outside)}
          and r.captured_at >= o.captured_at
          and r.captured_at <= o.next_at
          and (r.captured_at, r.id) > (o.captured_at, o.id)
          and (r.captured_at, r.id) < (o.next_at, o.next_id)
        order by r.captured_at, r.id
        limit 1
      ) r
    )
    select ${changeColumns(sql)}, ${transactionColumns(sql)}, ${actionColumns(sql)},
      c.side as side,
      c.follows::text as follows
    from (
      select ${sql.literal(columnsOf("own"))}, side, null::bigint as follows
      from own
      union all
      select ${sql.literal(columnsOf("truncates"))}, side, follows
      from truncates
    ) c
    join ${name("audit_transactions")} t on t.id = c.transaction_id
    ${joinedAction(storage)}
    order by c.captured_at, c.id`
}

/** The changes of a row around a position of its life, in their order, visible or not. */
export const life = (storage: Storage, row: Row, span: Span): Effect.Effect<Life, ThreadlineError> =>
  Effect.map(rows(LifeRow, statement(storage, row, span)), (lifeRows) => {
    const truncates = new Map(
      lifeRows.flatMap((lifeRow) =>
        lifeRow.follows === null ? [] : [[lifeRow.follows, { change: changeOf(lifeRow), visible: true }]]
      )
    )
    const events = (side: "before" | "after"): ReadonlyArray<Event<Change>> =>
      lifeRows.flatMap((lifeRow) =>
        lifeRow.follows === null && lifeRow.side === side
          ? [{ ...selected, change: changeOf(lifeRow), key: row.key, truncate: truncates.get(lifeRow.id) }]
          : []
      )
    return { before: events("before"), after: events("after") }
  })

/** What is at the key after a change. */
export type State =
  | { readonly _tag: "Alive"; readonly row: RowImage; readonly event: Event }
  | { readonly _tag: "Gone"; readonly event: Event }

/** Whether a change takes a row away from the key. */
export const departs = (change: RowChange, key: string): boolean =>
  change.op === "delete" || change.op === "truncate" || (change.previousRowKey === key && change.rowKey !== key)

/** Whether a change brings a row to the key. */
export const arrives = (change: RowChange, key: string): boolean =>
  change.rowKey === key && (change.op === "insert" || (change.previousRowKey !== null && change.previousRowKey !== key))

/** The row before an update, before a delete, or before a truncate that recorded it. */
export const imageBefore = (change: RowChange): RowImage | undefined => {
  if (change.op === "delete" || change.op === "truncate") {
    return change.changedFrom ?? undefined
  }
  if (change.op !== "update" || change.dataAfter === null) {
    return undefined
  }
  const before = new Map(Object.entries(change.dataAfter))
  for (const field of change.changedFields ?? []) {
    before.delete(field)
  }
  for (const [field, value] of Object.entries(change.changedFrom ?? {})) {
    before.set(field, value)
  }
  return Object.fromEntries(before)
}

/** Whether two images agree in the fields that both have. A column may have been added or dropped between them. */
const agree = (a: JsonObject, b: JsonObject): boolean =>
  Object.entries(a).every(([field, value]) => {
    const otherValue = Object.hasOwn(b, field) ? b[field] : undefined
    return otherValue === undefined || same(value, otherValue)
  })

/** A row at the key, and the change that left it there. */
interface Occupant {
  readonly row: RowImage
  readonly event: Event
}

const isOfTransaction = ({ event }: Occupant, change: RowChange): boolean =>
  event.change.transactionId === change.transactionId

/** The rows at the key, without the one that the change found. Undefined if there is no such row. */
const withoutFound = (
  present: ReadonlyArray<Occupant>,
  { change, key }: Event
): ReadonlyArray<Occupant> | undefined => {
  const image = imageBefore(change)
  // If one statement brings a row to the key and takes one away, these are two rows, because it touches each row once.
  const passes = (occupant: Occupant) =>
    departs(change, key) && isOfTransaction(occupant, change) && occupant.event.change.capturedAt === change.capturedAt
  const occupantFound = present.find(
    (occupant) => image !== undefined && !passes(occupant) && agree(occupant.row, image)
  )
  return occupantFound === undefined ? undefined : present.filter((occupant) => occupant !== occupantFound)
}

/**
 * How many rows a key may have when a part of a transaction ends: one, or several if the constraint is deferred. In that case one
 * audited part, context or session may leave two rows, and another one puts that right. Only their images tell the rows apart.
 */
export type Sharing = "one" | "several"

const isNumber = (value: unknown): boolean =>
  typeof value === "number" || typeof value === "bigint" || BigDecimal.isBigDecimal(value)

/** Whether two values may be of one type. If so, they differ because the rows differ, and not because the type of the column changed. */
const areAlike = (a: JsonValue | undefined, b: JsonValue | undefined): boolean =>
  a === null || b === null || (isNumber(a) ? isNumber(b) : typeof a === typeof b && !isNumber(b))

/**
 * Whether a change found a row that is not one of those at the key: a row with the same fields and types that differs from each
 * of them.
 */
const isOfAnother = (present: ReadonlyArray<Occupant>, { change }: Event): boolean => {
  const image = imageBefore(change)
  return (
    image !== undefined &&
    present.every(
      ({ row }) =>
        Object.keys(row).length === Object.keys(image).length &&
        Object.entries(image).every(([field, value]) => Object.hasOwn(row, field) && areAlike(row[field], value))
    )
  )
}

/** The rows at the key after an event. If a change is of a row that is not among them, that row has another form by now. */
const next = (present: ReadonlyArray<Occupant>, event: Event, sharing: Sharing): ReadonlyArray<Occupant> => {
  const { change, key } = event
  const isStrange = () => sharing === "several" && isOfAnother(present, event)
  if (departs(change, key)) {
    // A row that this transaction brought still has the form in which it came.
    const stale = present.find(
      (occupant) => !isOfTransaction(occupant, change) || !arrives(occupant.event.change, occupant.event.key)
    )
    return withoutFound(present, event) ?? (isStrange() ? present : present.filter((occupant) => occupant !== stale))
  }
  const otherOccupants =
    change.op === "baseline"
      ? []
      : arrives(change, key)
        ? present
        : (withoutFound(present, event) ?? (isStrange() ? present : present.slice(0, -1)))
  return [...otherOccupants, { row: change.dataAfter ?? {}, event }]
}

/**
 * What is at the key after each of the events. Inside a statement, and inside a transaction with deferred constraints, several
 * rows may be at one key. At the end there is one. The first states may be wrong if there were events before them.
 */
export const states = (life: ReadonlyArray<Event>, sharing: Sharing = "one"): ReadonlyArray<State> => {
  let present: ReadonlyArray<Occupant> = []
  return life.map((event, index): State => {
    const before = life[index - 1]
    if (before?.truncate !== undefined) {
      present = []
    } else if (
      sharing === "one" &&
      before !== undefined &&
      before.change.transactionId !== event.change.transactionId
    ) {
      present = present.slice(-1)
    }
    present = next(present, event, sharing)
    const last = present.at(-1)
    return last === undefined ? { _tag: "Gone", event } : { _tag: "Alive", ...last }
  })
}

/**
 * What was at the key before the first of the events, and the event that tells it. That is the first event in its transaction
 * that found a row which none of the events had brought. Undefined if no event tells.
 */
export const stateBefore = (
  life: ReadonlyArray<Event>,
  sharing: Sharing = "one"
):
  | { readonly _tag: "Alive"; readonly row: RowImage; readonly event: Event }
  | { readonly _tag: "NotYet"; readonly event: Event }
  | undefined => {
  const [first] = life
  if (first === undefined || first.change.op === "baseline") {
    return undefined
  }
  let present: ReadonlyArray<Occupant> = []
  for (const event of life) {
    const { change, key } = event
    const isOfFirst = change.transactionId === first.change.transactionId
    if (!isOfFirst && (sharing === "one" || present.length === 0)) {
      break
    }
    const isKnown = arrives(change, key) || withoutFound(present, event) !== undefined
    const isOther = () => sharing === "several" && isOfAnother(present, event)
    if (!isKnown && (present.length === 0 || (isOfFirst && departs(change, key)) || isOther())) {
      const row = imageBefore(change)
      return row === undefined ? undefined : { _tag: "Alive", row, event }
    }
    present = next(present, event, sharing)
    if (event.truncate !== undefined) {
      break
    }
  }
  return { _tag: "NotYet", event: first }
}

/** The life of a row in its order: its changes, and each TRUNCATE of the table that ended it. */
export const lifeOf = (life: ReadonlyArray<Event<Change>>): ReadonlyArray<Change> => {
  const statesAfter = (["one", "several"] as const).map((sharing) => states(life, sharing))
  return life.flatMap(({ change, truncate }, index) =>
    truncate !== undefined && statesAfter.some((after) => after[index]?._tag === "Alive")
      ? [change, truncate.change]
      : [change]
  )
}
