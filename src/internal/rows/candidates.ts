/**
 * The keys that a table ever had, in their order, a bounded number at a time.
 *
 * The index of row histories begins with the key and holds the changes of all tables. It is read in stretches, and each key is
 * read once. If a stretch ends within a busy row, the next one begins behind that row. A table with few changes in a large log is
 * read by its own index instead. Otherwise most keys of a stretch would be those of other tables.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ThreadlineError } from "../../ThreadlineError.js"
import { all, rows, type Storage, unionAll } from "../record/storage.js"
import { byName, ofTable, type Table } from "../record/tables.js"

/** A change in the index of row histories. */
export interface Entry {
  /** The key under which the index has it: another one for a change that moved the row away. */
  readonly rowKey: string
  readonly capturedAt: string
  readonly id: string
}

/** Where the changes of a key are that are nearest to the instant: before it or, if none is, after it. */
export interface Nearest {
  readonly side: "before" | "after"
  readonly entry: Entry
  /** The next nearest change on this side. */
  readonly second: Entry | undefined
}

export interface Candidates {
  readonly keys: ReadonlyArray<string>
  /** All keys up to this one were looked at. Undefined if there are no further keys. */
  readonly upTo: string | undefined
  /** For keys of which all changes were seen; undefined if none is in the captured time around the instant. */
  readonly nearest: ReadonlyMap<string, Nearest | undefined>
}

/** An instant, and the captured time around it. */
export interface Around {
  readonly at: string
  readonly since: string | undefined
  readonly until: string | undefined
}

export interface Range {
  readonly after: string | undefined
  readonly before: string | undefined
}

const within = ({ sql }: Storage, column: string, { after, before }: Range): Fragment =>
  all([
    sql`${sql.literal(column)} ${after === undefined ? sql`is not null` : sql`> ${after}`}`,
    before === undefined ? undefined : sql`${sql.literal(column)} < ${before}`
  ])

const KeyRow = Schema.Struct({
  key: Schema.NullOr(Schema.String),
  complete: Schema.Literal("true", "false"),
  /** Null if no change of the key is in the captured time. */
  side: Schema.NullOr(Schema.Literal("before", "after")),
  entry_key: Schema.NullOr(Schema.String),
  entry_at: Schema.NullOr(Schema.String),
  entry_id: Schema.NullOr(Schema.String),
  second_key: Schema.NullOr(Schema.String),
  second_at: Schema.NullOr(Schema.String),
  second_id: Schema.NullOr(Schema.String)
})

type KeyRow = typeof KeyRow.Type

const entryOf = (rowKey: string | null, capturedAt: string | null, id: string | null): Entry | undefined =>
  rowKey === null || capturedAt === null || id === null ? undefined : { rowKey, capturedAt, id }

const candidatesOf = (
  keyRows: ReadonlyArray<KeyRow>,
  upToOf: (keys: ReadonlyArray<string>) => string | undefined
): Candidates => {
  const nearest = new Map<string, Nearest | undefined>()
  for (const row of keyRows) {
    if (row.key !== null && row.complete === "true") {
      const entry = entryOf(row.entry_key, row.entry_at, row.entry_id)
      const second = entryOf(row.second_key, row.second_at, row.second_id)
      if (row.side === null) {
        nearest.set(row.key, undefined)
      } else if (entry !== undefined) {
        nearest.set(row.key, { side: row.side, entry, second })
      }
    }
  }
  const keys = keyRows.flatMap(({ key }) => (key === null ? [] : [key]))
  return { keys, upTo: upToOf(keys), nearest }
}

/**
 * Of each key of `entries` (`key, row_key, captured_at, id`, without repetitions), its two changes that are nearest to the instant.
 * A change that moved its row away without giving it a key is not found through the index of row histories, so a key that has one
 * is not `complete`.
 */
const nearestOf = ({ sql }: Storage, entries: Fragment, { at, since, until }: Around): Fragment => {
  const entry = (offset: number, column: string): Fragment =>
    sql`max(${sql.literal(`e.${column}`)}) filter (where e.place = ${sql.literal(String(offset))})`
  const captured = all([
    since === undefined ? undefined : sql`e.captured_at >= ${since}::timestamptz`,
    until === undefined
      ? undefined
      : sql`(e.captured_at <= ${at}::timestamptz or e.captured_at < ${until}::timestamptz)`
  ])
  return sql`
        select e.key, bool_and(e.row_key is not null) as complete,
          max(e.side) as side,
          ${entry(0, "row_key")} as entry_key,
          ${entry(0, "captured_at")} as entry_at,
          ${entry(0, "id")} as entry_id,
          ${entry(1, "row_key")} as second_key,
          ${entry(1, "captured_at")} as second_at,
          ${entry(1, "id")} as second_id
        from (
          select e.key, e.row_key, e.captured_at, e.id,
            case when not e.is_captured then null when e.earlier > 0 then 'before' else 'after' end as side,
            case when not e.is_captured then null when e.earlier > 0 then e.earlier - e.position else e.position - 1 end as place
          from (
            select e.*,
              count(*) filter (where e.is_captured and e.captured_at <= ${at}::timestamptz) over (partition by e.key) as earlier,
              row_number() over (partition by e.key, e.is_captured order by e.captured_at, e.id) as position
            from (
              select e.key, e.row_key, e.captured_at, e.id, ${captured} as is_captured
              from (${entries}) e
            ) e
          ) e
        ) e
        group by e.key`
}

const keyColumns = ["row_key", "previous_row_key"] as const

const keyRowColumns = ({ sql }: Storage): Fragment => sql`
      k.side as side,
      k.entry_key as entry_key,
      to_json(k.entry_at) #>> '{}' as entry_at,
      k.entry_id::text as entry_id,
      k.second_key as second_key,
      to_json(k.second_at) #>> '{}' as second_at,
      k.second_id::text as second_id`

const StretchRow = Schema.Struct({ ...KeyRow.fields, up_to: Schema.NullOr(Schema.String) })

const FoundRow = Schema.Struct({ found: Schema.Literal("true", "false") })

/** Whether a key is one of the table. */
const isOfTable = (storage: Storage, table: Table, key: string): Effect.Effect<boolean, ThreadlineError> => {
  const { name, sql } = storage
  const under = (column: string): Fragment => sql`exists (
          select from ${name("audit_changes")} c
          where ${all([ofTable(storage, table, "c"), sql`c.${sql.literal(column)} = ${key}`])}
        )`
  return Effect.map(
    rows(FoundRow, sql`select (${under(keyColumns[0])} or ${under(keyColumns[1])})::text as found`),
    ([row]) => row?.found === "true"
  )
}

/**
 * Keys behind one and before another, as far as `entries` entries of the index reach. The last key may continue behind them, and the
 * next stretch begins with it. If it fills a quarter of them, it is a candidate of which only the key is known.
 */
export const stretchOf = Effect.fnUntraced(function* (
  storage: Storage,
  table: Table,
  { after, before }: Range,
  entries: number,
  around: Around
): Effect.fn.Return<Candidates, ThreadlineError> {
  const { name, sql } = storage
  const source = (column: string, reach?: Fragment): Fragment => sql`
      select c.${sql.literal(column)} as key, c.table_schema, c.table_name, c.row_key, c.captured_at, c.id
      from ${name("audit_changes")} c
      where ${all([within(storage, `c.${column}`, { after, before }), reach])}
      order by c.${sql.literal(column)}
      limit ${entries}`
  const ends = (from: string): Fragment => sql`
        select case when count(*) = ${entries} then max(key) end as key from ${sql.literal(from)}`
  const ofStretch = (from: string): Fragment => sql`
          select c.key, c.row_key, c.captured_at, c.id
          from ${sql.literal(from)} c
          where ${all([ofTable(storage, table, "c"), sql`(u.key is null or c.key < u.key)`])}`
  const stretchRows = yield* rows(
    StretchRow,
    sql`
    with own as materialized (${source(keyColumns[0])}
    ),
    reach as materialized (${ends("own")}
    ),
    moved as materialized (${source(
      keyColumns[1],
      sql`((select r.key from reach r) is null or c.previous_row_key <= (select r.key from reach r))`
    )}
    ),
    up_to as materialized (
      select e.key, case when count(*) filter (where f.key = e.key) < ${Math.ceil(entries / 4)} then max(f.key) filter (where f.key < e.key) end as seen
      from (
        select min(r.key) as key
        from (
          select r.key from reach r
          union all${ends("moved")}
        ) r
      ) e
      cross join (
        select o.key from own o
        union all
        select m.key from moved m
      ) f
      group by e.key
    )
    select k.key as key,
      coalesce(k.complete, false)::text as complete,${keyRowColumns(storage)},
      coalesce(u.seen, u.key) as up_to
    from up_to u
    left join lateral (${nearestOf(
      storage,
      sql`${ofStretch("own")}
          union all${ofStretch("moved")}
            and c.row_key is distinct from c.key`,
      around
    )}
        union all
        select u.key, false, null, null, null, null, null, null, null
        where u.seen is null
          and u.key is not null
    ) k on true
    order by k.key`
  )
  const upTo = stretchRows[0]?.up_to ?? undefined
  const last = stretchRows.at(-1)
  const isBusy = last?.complete === "false" && last.key !== null && last.key === upTo
  const isOfAnother = isBusy && !(yield* isOfTable(storage, table, last.key))
  return candidatesOf(isOfAnother ? stretchRows.slice(0, -1) : stretchRows, () => upTo)
})

const SizeRow = Schema.Struct({ changes: Schema.NumberFromString })

/** Keys of a table in a range, at most `limit`; undefined if the table has more than `few` changes. */
export const keysOfFew = Effect.fnUntraced(function* (
  storage: Storage,
  table: Table,
  range: Range,
  limit: number,
  few: number,
  around: Around
): Effect.fn.Return<Candidates | undefined, ThreadlineError> {
  const { name, sql } = storage
  const [size] = yield* rows(
    SizeRow,
    sql`
    select count(*)::text as changes
    from (
      ${unionAll(
        byName(storage, table, "c").map(
          (ofName) => sql`(
      select from ${name("audit_changes")} c
      where ${ofName}
      limit ${few + 1}
      )`
        )
      )}
    ) c`
  )
  if (size === undefined || size.changes > few) {
    return undefined
  }
  const keyRows = yield* rows(
    KeyRow,
    sql`
    select k.key as key,
      k.complete::text as complete,${keyRowColumns(storage)}
    from (${nearestOf(
      storage,
      sql`
          select v.key, c.row_key, c.captured_at, c.id
          from ${name("audit_changes")} c
          cross join lateral (
            select c.row_key as key
            union
            select c.previous_row_key
          ) v
          where ${all([ofTable(storage, table, "c"), within(storage, "v.key", range)])}`,
      around
    )}
        order by e.key
        limit ${limit}
    ) k
    order by k.key`
  )
  return candidatesOf(keyRows, (keys) => (keys.length < limit ? undefined : keys.at(-1)))
})
