/**
 * The keys that a table ever had, in their order, a bounded number at a time.
 *
 * The index of row histories begins with the key and holds the changes of all tables. It is read in stretches, and each key is
 * read once. If a stretch ends within a busy row, the next one begins behind that row. A table with few changes in a large log is
 * read by its own index instead. Otherwise most keys of a stretch would be those of other tables.
 */
import type { Fragment, Statement } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ThreadlineError } from "../../ThreadlineError.js"
import { type Around, begin, end, leavesNoRow } from "./near.js"
import { format } from "../core/tableName.js"
import { all, rows, type Storage, unionAll } from "../record/storage.js"
import { ofTable, type Table, type TableSpan } from "../record/tables.js"

/** A change in the index of row histories. */
export interface Entry {
  /** The key under which the index has the change. It is not the candidate's key if the change moved the row away from that. */
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
  /**
   * For keys of which all changes were seen. Undefined if none is in the captured time around the instant, or if it certainly left
   * no row.
   */
  readonly nearestByKey: ReadonlyMap<string, Nearest | undefined>
}

/** Keys behind `after` and before `before`. */
export interface Range {
  readonly after: string | undefined
  readonly before: string | undefined
}

/** The condition that a column of keys is in a range; `upTo` is the last key of it. */
const within = (
  { sql }: Storage,
  column: string,
  { after, before, upTo }: Range & { readonly upTo?: string | undefined }
): Fragment =>
  all([
    sql`${sql.literal(column)} ${after === undefined ? sql`is not null` : sql`> ${after}`}`,
    before === undefined ? undefined : sql`${sql.literal(column)} < ${before}`,
    upTo === undefined ? undefined : sql`${sql.literal(column)} <= ${upTo}`
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
  const nearestByKey = new Map<string, Nearest | undefined>()
  for (const row of keyRows) {
    if (row.key !== null && row.complete === "true") {
      const entry = entryOf(row.entry_key, row.entry_at, row.entry_id)
      const second = entryOf(row.second_key, row.second_at, row.second_id)
      if (row.side === null) {
        nearestByKey.set(row.key, undefined)
      } else if (entry !== undefined) {
        nearestByKey.set(row.key, { side: row.side, entry, second })
      }
    }
  }
  const keys = keyRows.flatMap(({ key }) => (key === null ? [] : [key]))
  return { keys, upTo: upToOf(keys), nearestByKey }
}

/**
 * Of each key of `entries` (`key, row_key, captured_at, id`, without repetitions), its two changes that are nearest to the instant.
 * A change that moved its row away without giving it a key is not found through the index of row histories, so a key that has one
 * is not `complete`.
 */
const nearestTwo = ({ sql }: Storage, entries: Fragment, { at, since, until }: Around): Fragment => {
  const entry = (offset: number, column: string): Fragment =>
    sql`pg_catalog.max(${sql.literal(`e.${column}`)}) filter (where e.place = ${sql.literal(String(offset))})`
  const captured = all([
    since === undefined ? undefined : sql`e.captured_at >= ${since}::timestamptz`,
    until === undefined
      ? undefined
      : sql`(e.captured_at <= ${at}::timestamptz or e.captured_at < ${until}::timestamptz)`
  ])
  return sql`
        select e.key, pg_catalog.bool_and(e.row_key is not null) as complete,
          pg_catalog.max(e.side) as side,
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
        where e.place in (0, 1)
          or e.place is null
          or e.row_key is null
        group by e.key`
}

const keyColumns = ["row_key", "previous_row_key"] as const

const keyRowColumns = ({ sql }: Storage, side: Fragment = sql`k.side`): Fragment => sql`
      ${side} as side,
      k.entry_key as entry_key,
      pg_catalog.to_json(k.entry_at) #>> '{}'::text[] as entry_at,
      k.entry_id::text as entry_id,
      k.second_key as second_key,
      pg_catalog.to_json(k.second_at) #>> '{}'::text[] as second_at,
      k.second_id::text as second_id`

const EndRow = Schema.Struct({ key: Schema.NullOr(Schema.String), seen: Schema.NullOr(Schema.String) })

const FoundRow = Schema.Struct({ found: Schema.Literal("true", "false") })

/** Whether the table has changes under a key. */
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
 * Where a stretch of so many entries of the index ends: the key of its last entry, and the last key before that one. A key that
 * fills a quarter of the stretch has no key before it: it is looked at alone. Undefined if there are fewer entries.
 */
const endStatement = (storage: Storage, range: Range, entries: number): Statement<unknown> => {
  const { name, sql } = storage
  const quarter = Math.ceil(entries / 4)
  // Only the end of the stretch is kept. To keep all of it would take longer than to read it.
  const last = (column: string): Fragment => sql`
      select c.${sql.literal(column)} as key
      from ${name("audit_changes")} c
      where ${within(storage, `c.${column}`, range)}
      order by c.${sql.literal(column)}
      offset ${entries - quarter}
      limit ${quarter}`
  const key = (from: string, offset: number): Fragment =>
    sql`(select f.key from ${sql.literal(from)} f offset ${offset} limit 1)`
  return sql`
    with own as materialized (${last(keyColumns[0])}
    ),
    moved as materialized (${last(keyColumns[1])}
    )
    select e.key as key,
      case
        when e.key is distinct from ${key("own", 0)} and e.key is distinct from ${key("moved", 0)}
        then (
          select pg_catalog.max(f.key)
          from (
            select o.key from own o
            union all
            select m.key from moved m
          ) f
          where f.key < e.key
        )
      end as seen
    from (
      select least(${key("own", quarter - 1)}, ${key("moved", quarter - 1)}) as key
    ) e`
}

/** The same by a function of the database, which keeps its plan: for a table that always had one name. */
const stretchByFunction = (
  storage: Storage,
  span: TableSpan,
  range: Range,
  entries: number,
  { at, since, until }: Around
): Effect.Effect<Candidates, ThreadlineError> => {
  const { name, sql } = storage
  const keyRows = rows(
    Schema.Struct({ ...KeyRow.fields, up_to: Schema.NullOr(Schema.String) }),
    sql`
    select k.key as key,
      k.complete::text as complete,${keyRowColumns(storage)},
      k.up_to as up_to
    from ${name("keys_near")}(
      ${span.schema}, ${span.name}, ${begin(storage, span.since)}, ${end(storage, span.until)},
      ${range.after ?? null}::text, ${range.before ?? null}::text, ${entries}::int,
      ${at}::timestamptz, ${begin(storage, since)}, ${end(storage, until)}
    ) k
    order by k.key collate "C"`
  )
  return Effect.map(keyRows, (found) => candidatesOf(found, () => found.at(-1)?.up_to ?? undefined))
}

/**
 * Keys behind one and before another, as far as `entries` entries of the index reach. The last key may continue behind them, and the
 * next stretch begins with it. If it fills a quarter of them, it is a candidate of which only the key is known.
 */
export const stretchOf = Effect.fnUntraced(function* (
  storage: Storage,
  table: Table,
  range: Range,
  entries: number,
  around: Around
): Effect.fn.Return<Candidates, ThreadlineError> {
  const { name, sql } = storage
  const [span, ...otherSpans] = table.spans
  if (span !== undefined && otherSpans.length === 0) {
    return yield* stretchByFunction(storage, span, range, entries, around)
  }
  const [ending] = yield* rows(EndRow, endStatement(storage, range, entries))
  const seen = ending?.seen ?? undefined
  const busy = seen === undefined ? (ending?.key ?? undefined) : undefined
  const stretch = { after: range.after, before: busy ?? range.before, upTo: seen }
  const branch = (column: string): Fragment => sql`
          select c.${sql.literal(column)} as key, c.row_key, c.captured_at, c.id
          from ${name("audit_changes")} c
          where ${all([ofTable(storage, table, "c"), within(storage, `c.${column}`, stretch)])}`
  const keyRows = yield* rows(
    KeyRow,
    sql`
    select k.key as key,
      k.complete::text as complete,${keyRowColumns(storage)}
    from (${nearestTwo(
      storage,
      sql`${branch(keyColumns[0])}
          union all${branch(keyColumns[1])}
            and c.row_key is distinct from c.previous_row_key`,
      around
    )}
    ) k
    order by k.key`
  )
  const found = candidatesOf(keyRows, () => seen ?? busy)
  return busy !== undefined && (yield* isOfTable(storage, table, busy))
    ? { ...found, keys: [...found.keys, busy] }
    : found
})

const SizeRow = Schema.Struct({ changes: Schema.NumberFromString })

/**
 * Whether there are at most so many changes under the names of a table. Those of other tables that had such a name at another time
 * count too: they would be looked at as well. Without the order, which is that of an index, the planner may read the log itself.
 */
export const hasFew = ({ name, sql }: Storage, table: Table, few: number): Effect.Effect<boolean, ThreadlineError> => {
  const names = new Map(table.spans.map((span) => [format(span), span]))
  const branches = [...names.values()].map(
    (each) => sql`(
      select
      from ${name("audit_changes")} c
      where c.table_schema = ${each.schema}
        and c.table_name = ${each.name}
      order by c.transaction_id, c.id
      limit ${few + 1}
      )`
  )
  return Effect.map(
    rows(
      SizeRow,
      sql`
    select count(*)::text as changes
    from (
      ${unionAll(branches)}
    ) c`
    ),
    ([size]) => size !== undefined && size.changes <= few
  )
}

/**
 * Keys of a table of few changes in a range, at most `limit`. Its changes are read, so keys that certainly have no row are
 * recognized: they have no nearest change.
 */
export const keysOfFew = (
  storage: Storage,
  table: Table,
  range: Range,
  limit: number,
  around: Around
): Effect.Effect<Candidates, ThreadlineError> => {
  const { name, sql } = storage
  const keyStatement = sql`
    with changes as materialized (
      select c.row_key, c.previous_row_key, c.captured_at, c.id, c.op, c.transaction_id
      from ${name("audit_changes")} c
      where ${ofTable(storage, table, "c")}
    )
    select k.key as key,
      k.complete::text as complete,${keyRowColumns(
        storage,
        sql`case
        when (${leavesNoRow(sql, "k.side", "f", "k.key")}) and f.transaction_id is distinct from s.transaction_id
        then null
        else k.side
      end`
      )}
    from (${nearestTwo(
      storage,
      sql`
          select c.row_key as key, c.row_key, c.captured_at, c.id
          from changes c
          where ${within(storage, "c.row_key", range)}
          union all
          select c.previous_row_key, c.row_key, c.captured_at, c.id
          from changes c
          where ${within(storage, "c.previous_row_key", range)}
            and c.row_key is distinct from c.previous_row_key`,
      around
    )}
        order by e.key
        limit ${limit}
    ) k
    left join changes f on f.id = k.entry_id
    left join changes s on s.id = k.second_id
    order by k.key`
  return Effect.map(rows(KeyRow, keyStatement), (keyRows) =>
    candidatesOf(keyRows, (keys) => (keys.length < limit ? undefined : keys.at(-1)))
  )
}
