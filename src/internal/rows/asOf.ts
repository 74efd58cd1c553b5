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
import type { JsonObject } from "../core/json.js"
import { stringify } from "../core/json.js"
import { JsonObjectFromText } from "../core/jsonSchema.js"
import { Operation, type RowPk, rowPkOf } from "../record/change.js"
import { fulfils, hostCondition, onConditionError } from "../record/condition.js"
import type { InstantInput } from "../core/instant.js"
import { instant, instantRule } from "../core/instant.js"
import { type KeyInput, KeySchema, rowKeyAndLapses, TableSchema, tableOf } from "../record/key.js"
import { type Captured, capturedAround, type Lapses } from "../record/lapses.js"
import { request } from "../core/request.js"
import {
  type Event,
  nearest,
  type Row,
  type RowChange,
  type Sharing,
  stateBefore,
  states,
  truncatesOf
} from "./life.js"
import type { HostCondition } from "../record/scope.js"
import { rows, type Storage } from "../record/storage.js"
import { beforeImage, visibleChange } from "../record/visible.js"
import { positionOf } from "../sql/sqlState.js"
import type { TableName } from "../core/tableName.js"

/** A condition over the image of a row, `jsonb`. */
export type ImageCondition = (image: Fragment, sql: SqlClient) => Fragment

/** The one row that such a condition judges, under a name that no host has. */
const judgedRow = "threadline_row"

/** What the caller's condition answers, over the columns of `judgedRow`. */
export const imageCondition = ({ sql }: Storage, where: ImageCondition): Effect.Effect<HostCondition, InvalidRequest> =>
  hostCondition("where", () => where(sql.literal(`${judgedRow}.image`), sql))

export interface Asked {
  readonly table: TableName
  /** As `rowKey` resolves them. */
  readonly keys: ReadonlyArray<string>
  /** As `Instant` writes it. */
  readonly at: string
  /** The time around it whose changes tell of it; undefined where none do. */
  readonly captured: Captured | undefined
  /** What the image contains. */
  readonly contains: JsonObject | undefined
  readonly where: HostCondition | undefined
  /** Only keys at which a row was present that is visible and as `where` says. */
  readonly presentOnly: boolean
}

/** Nothing is asked of a row but how it stood. */
export const anyRow = { contains: undefined, where: undefined, presentOnly: false } as const

export interface Standing {
  readonly answer: AsOf
  /** Of the change that says so; the key by column, where that change has it. */
  readonly rowPk: RowPk | null
}

const StandingRow = Schema.Struct({
  id: Schema.String,
  transaction_id: Schema.String,
  captured_at: Schema.String,
  op: Operation,
  row_pk: Schema.NullOr(JsonObjectFromText),
  row_key: Schema.NullOr(Schema.String),
  previous_row_key: Schema.NullOr(Schema.String),
  changed_fields: Schema.NullOr(Schema.parseJson(Schema.Array(Schema.String))),
  changed_from: Schema.NullOr(JsonObjectFromText),
  data_after: Schema.NullOr(JsonObjectFromText),
  own_key: Schema.String,
  /** False of the one change that stands for a key which is not wanted; it comes without its images. */
  kept: Schema.String,
  /** The change of the row that this TRUNCATE follows; null for a change of the row itself. */
  follows: Schema.NullOr(Schema.String),
  visible: Schema.String,
  visible_before: Schema.String,
  matches: Schema.String,
  matches_before: Schema.String,
  cut: Schema.String
})

type Found = typeof StandingRow.Type

type Side = "before" | "after"

/**
 * How many changes are looked at on each side. The nearest one mostly decides; where rows share a key for a while, those of the transaction
 * do, and the one before it.
 */
const counts = { before: 9, after: 4 }

/** The same where several rows may share a key from one transaction to another. */
const countsOfShared = { before: 60, after: 30 }

const images = ["row_pk", "changed_from", "data_after"]

const told = [
  ...["id", "transaction_id", "captured_at", "op", "row_key", "previous_row_key", "changed_fields"],
  ...images
]

/** That of the caller stands before this in a statement, conditions of scopes behind it. */
const asksForScope = "/* what the reader may see */"

/** What the caller asks of an image; undefined where it is nothing. */
const conditionOf = ({ sql }: Storage, { contains, where }: Asked, image: Fragment): Fragment | undefined => {
  const conditions = [
    ...(contains === undefined ? [] : [sql`coalesce(${image} @> ${stringify(contains)}::jsonb, false)`]),
    ...(where === undefined ? [] : [fulfils(sql, [where], judgedRow, { image })])
  ]
  return conditions.length === 0 ? undefined : sql.and(conditions)
}

/** Every part of it that reads the log is planned for each partition: one side at a time is half the planning. */
const statement = (storage: Storage, side: Side, asked: Asked, count: number) => {
  const { at, captured, keys, presentOnly, table } = asked
  const { sql } = storage
  const when = sql`${at}::timestamptz`
  const [only, ...others] = keys
  // With one key as a constant the planner knows how many changes it has.
  const one = only !== undefined && others.length === 0
  const keyed = one ? sql`(select 1) k` : sql`jsonb_array_elements_text(${JSON.stringify(keys)}::jsonb) k (key)`
  const key = one ? sql`${only}` : sql`k.key`
  const ownKey = one ? sql`${only}::text` : sql`k.key`
  const visible = (side?: "before"): Fragment => visibleChange(storage, "c", side) ?? sql`true`
  // What a reader asks is not tried on what he may not see: a condition that fails says of what.
  const matching = (seen: Fragment, image: Fragment): Fragment => {
    const condition = conditionOf(storage, asked, image)
    return condition === undefined ? sql`true` : sql`case when ${seen} then ${condition} else false end`
  }
  const bounds = [
    side === "before" ? sql`c.captured_at <= ${when}` : sql`c.captured_at > ${when}`,
    ...(side === "before"
      ? captured?.since === undefined
        ? []
        : [sql`c.captured_at >= ${captured.since}::timestamptz`]
      : captured?.until === undefined
        ? []
        : [sql`c.captured_at < ${captured.until}::timestamptz`])
  ]
  const shown = side === "before" ? "k.visible and k.matches" : "k.visible_before and k.matches_before"
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
      select ${sql.literal(told.map((column) => (images.includes(column) ? `case when o.kept then o.${column} end as ${column}` : `o.${column}`)).join(", "))},
        o.own_key, o.kept, o.visible, o.visible_before, o.matches, o.matches_before,
        lead(o.captured_at, 1, ${when}) over life as next_at,
        lead(o.id, 1, 9223372036854775807) over life as next_id
      from (
        select k.*,
          ${presentOnly ? sql`bool_or(${sql.literal(shown)}) over (partition by k.own_key)` : sql`true`} as kept,
          row_number() over (partition by k.own_key order by k.captured_at, k.id) as place
        from threadline_judged k
      ) o
      where o.kept
        or o.place = 1
      window life as (partition by o.own_key order by o.captured_at, o.id)
    )${
      side === "after"
        ? sql``
        : sql`,
    threadline_truncates as materialized (
      select r.*, o.own_key, o.id as follows
      from threadline_own o
      cross join lateral (
        select r.*${truncatesOf(storage, table)}
          and r.captured_at >= o.captured_at
          and r.captured_at <= o.next_at
          and (r.captured_at, r.id) > (o.captured_at, o.id)
          and (r.captured_at, r.id) < (o.next_at, o.next_id)
        order by r.captured_at, r.id
        limit 1
      ) r
      where o.kept
    )`
    }
    select
      c.id::text as id,
      c.transaction_id::text as transaction_id,
      c.captured_at::text as captured_at,
      c.op::text as op,
      c.row_pk::text as row_pk,
      c.row_key::text as row_key,
      c.previous_row_key::text as previous_row_key,
      to_json(c.changed_fields)::text as changed_fields,
      c.changed_from::text as changed_from,
      c.data_after::text as data_after,
      c.own_key as own_key,
      c.kept::text as kept,
      c.follows::text as follows,
      c.visible::text as visible,
      c.visible_before::text as visible_before,
      c.matches::text as matches,
      c.matches_before::text as matches_before,
      ${
        side === "before"
          ? sql`false`
          : sql`exists (
        select ${truncatesOf(storage, table)}
          and r.captured_at > ${when}
          and r.captured_at <= c.captured_at
          and (r.captured_at, r.id) < (c.captured_at, c.id)
      )`
      }::text as cut
    from (
      select ${sql.literal(told.join(", "))}, own_key, kept, null::bigint as follows,
        visible, visible_before, matches, matches_before
      from threadline_own
      ${
        side === "after"
          ? sql``
          : sql`union all
      select ${sql.literal(told.join(", "))}, own_key, true, follows, ${noTruncates}, true, true, true
      from threadline_truncates`
      }
    ) c
    order by c.captured_at, c.id`
}

const changeOf = (one: Found): RowChange => ({
  id: one.id,
  transactionId: one.transaction_id,
  capturedAt: one.captured_at,
  op: one.op,
  rowPk: rowPkOf(one.row_pk),
  rowKey: one.row_key,
  previousRowKey: one.previous_row_key,
  changedFields: one.changed_fields,
  changedFrom: one.changed_from,
  dataAfter: one.data_after
})

const eventsOf = (found: ReadonlyArray<Found>): ReadonlyArray<Event> => {
  const truncates = new Map(
    found.flatMap((one) =>
      one.follows === null ? [] : [[one.follows, { change: changeOf(one), visible: one.visible === "true" }] as const]
    )
  )
  return found
    .filter((one) => one.follows === null)
    .map((one) => ({
      change: changeOf(one),
      key: one.own_key,
      truncate: truncates.get(one.id),
      visible: one.visible === "true",
      visibleBefore: one.visible_before === "true",
      matches: one.matches === "true",
      matchesBefore: one.matches_before === "true"
    }))
}

interface Verdict extends Standing {
  readonly matches: boolean
  /** The change that says so. */
  readonly saidBy: string | undefined
}

const nothing = (at: string): Verdict => ({
  answer: { _tag: "BeforeCapture", at },
  rowPk: null,
  matches: false,
  saidBy: undefined
})

const verdict = (at: string, side: Side, found: ReadonlyArray<Found>, sharing: Sharing): Verdict => {
  const unknown = nothing(at)
  const events = eventsOf(found)
  if (side === "before") {
    const last = events.at(-1)
    const state = states(events, sharing).at(-1)
    if (last === undefined || state === undefined) {
      return unknown
    }
    const { change, matches, visible, visibleBefore } = state.event
    if (state._tag === "Alive" && last.truncate === undefined) {
      return visible
        ? { answer: { _tag: "Present", row: state.row, at }, rowPk: change.rowPk, matches, saidBy: change.id }
        : unknown
    }
    if (state._tag === "Gone" ? !visible : last.truncate?.visible !== true) {
      return unknown
    }
    if (state._tag === "Gone" && change.op === "update" && change.rowKey !== null) {
      // Where it went is told to those who may see that it was here.
      return visibleBefore
        ? {
            answer: { _tag: "MovedTo", key: change.rowKey, rowPk: change.rowPk, at },
            rowPk: null,
            matches: false,
            saidBy: change.id
          }
        : unknown
    }
    return { answer: { _tag: "Deleted", at }, rowPk: change.rowPk, matches: false, saidBy: change.id }
  }
  const earlier = stateBefore(events, sharing)
  if (earlier === undefined) {
    return unknown
  }
  // What happened after a TRUNCATE says nothing of the time before it.
  if (found[0]?.cut !== "false") {
    return unknown
  }
  const { change, key, matchesBefore, visible, visibleBefore } = earlier.event
  const rowPk = change.rowKey === key ? change.rowPk : null
  if (earlier._tag === "NotYet") {
    return visible ? { answer: { _tag: "NotYetCreated", at }, rowPk, matches: false, saidBy: change.id } : unknown
  }
  return visibleBefore
    ? {
        answer: { _tag: "Present", row: earlier.row, rebuilt: true, at },
        rowPk,
        matches: matchesBefore,
        saidBy: change.id
      }
    : unknown
}

/** Where a condition stands that is not understood, the server says. On a value either may fail: then it is the caller's. */
const onStandingError =
  (storage: Storage, { where }: Asked, asking: Statement<unknown>) =>
  (error: SqlError): InvalidRequest | ThreadlineError => {
    const position = positionOf(error)
    const isOfScope = position !== undefined && position > asking.compile()[0].indexOf(asksForScope)
    return onConditionError(storage, where === undefined || isOfScope ? "scope" : "where")(error)
  }

/** Whether the table's key is checked when transactions end, so that several rows may share it until then. */
const sharingOf = ({ name, sql }: Storage, table: TableName): Effect.Effect<Sharing, ThreadlineError> =>
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
              where n.nspname = ${table.schema}
                and c.relname = ${table.name}
              union all
              select p.relation
              from ${name("capture_policies")} p
              where p.table_schema = ${table.schema}
                and p.table_name = ${table.name}
            )
        )::text as deferrable`
    ),
    ([found]) => (found?.deferrable === "true" ? "several" : "one")
  )

const isSame = (a: Verdict, b: Verdict): boolean => a.answer._tag === b.answer._tag && a.saidBy === b.saidBy

/** The answers that one side of the instant tells, by key: a key with changes before it is told by them alone. */
const answersOf = Effect.fnUntraced(function* (
  storage: Storage,
  side: Side,
  asked: Asked
): Effect.fn.Return<ReadonlyMap<string, Verdict>, InvalidRequest | ThreadlineError> {
  const foundOf = (keys: ReadonlyArray<string>, count: number) => {
    const asking = statement(storage, side, { ...asked, keys }, count)
    return Effect.map(rows(StandingRow, asking, onStandingError(storage, asked, asking)), (found) => {
      const byKey = new Map<string, Array<Found>>()
      for (const one of found) {
        const same = byKey.get(one.own_key)
        if (same === undefined) {
          byKey.set(one.own_key, [one])
        } else {
          same.push(one)
        }
      }
      return byKey
    })
  }
  const verdictOf = (found: ReadonlyArray<Found>, sharing: Sharing): Verdict =>
    found[0]?.kept === "true" ? verdict(asked.at, side, found, sharing) : nothing(asked.at)

  const byKey = yield* foundOf(asked.keys, counts[side])
  const answers = new Map([...byKey].map(([key, found]) => [key, verdictOf(found, "one")]))
  // Only where it makes a difference is it worth asking whether rows may share a key.
  const unclear = [...byKey].flatMap(([key, found]) => {
    const answer = answers.get(key)
    return answer === undefined || isSame(answer, verdictOf(found, "several")) ? [] : [key]
  })
  if (unclear.length > 0 && (yield* sharingOf(storage, asked.table)) === "several") {
    const more = yield* foundOf(unclear, countsOfShared[side])
    more.forEach((found, key) => answers.set(key, verdictOf(found, "several")))
  }
  return answers
})

/** The answer for each of the keys that have one, by key. */
export const standing = Effect.fnUntraced(function* (
  storage: Storage,
  asked: Asked
): Effect.fn.Return<ReadonlyMap<string, Standing>, InvalidRequest | ThreadlineError> {
  if (asked.captured === undefined) {
    return new Map()
  }
  const before = asked.keys.length === 0 ? new Map<string, Verdict>() : yield* answersOf(storage, "before", asked)
  const keys = asked.keys.filter((key) => !before.has(key))
  const after =
    keys.length === 0 || !asked.captured.rebuilds
      ? new Map<string, Verdict>()
      : yield* answersOf(storage, "after", { ...asked, keys })
  return new Map(
    [...before, ...after].filter(
      ([, { answer, matches }]) => !asked.presentOnly || (answer._tag === "Present" && matches)
    )
  )
})

const AsOfRequest = Schema.Struct({ table: TableSchema, key: KeySchema })

/** An instant in the one text it has; `field` is the input that an `InvalidRequest` names. */
export const instantOf = (when: InstantInput, field: string = "instant"): Effect.Effect<string, InvalidRequest> => {
  const at = instant(when)
  return at === undefined ? Effect.fail(new InvalidRequest({ field, rule: instantRule })) : Effect.succeed(at)
}

/** A row, and when its table was not captured. */
interface CapturedRow extends Row {
  readonly lapses: Lapses
}

export const resolveRow = Effect.fnUntraced(function* (
  storage: Storage,
  table: string,
  key: KeyInput
): Effect.fn.Return<CapturedRow, InvalidRequest | NotFound | ThreadlineError> {
  const asked = yield* request(AsOfRequest)({ table, key })
  const name = tableOf(asked.table)
  return { table: name, ...(yield* rowKeyAndLapses(storage, name, asked.key)) }
})

/** How a row stood at an instant that is decoded. */
export const rowAsOf = (
  storage: Storage,
  { key, lapses, table }: CapturedRow,
  at: string
): Effect.Effect<AsOf, InvalidRequest | ThreadlineError> =>
  Effect.map(standing(storage, { ...anyRow, table, keys: [key], at, captured: capturedAround(lapses, at) }), (found) =>
    makeAsOf(found.get(key)?.answer ?? { _tag: "BeforeCapture", at })
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
