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
import { byName, hasOneName, ofTable, type Table } from "../record/tables.js"

export interface Candidates {
  readonly keys: ReadonlyArray<string>
  /** All keys up to this one were looked at. Undefined if there are no further keys. */
  readonly upTo: string | undefined
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

const Texts = Schema.parseJson(Schema.Array(Schema.String))

const StretchRow = Schema.Struct({ keys: Schema.NullOr(Texts), up_to: Schema.NullOr(Schema.String) })

const keyColumns = ["row_key", "previous_row_key"] as const

/** Keys behind one and before another, as far as `entries` entries of the index reach. */
export const stretchOf = (
  storage: Storage,
  table: Table,
  { after, before }: Range,
  entries: number
): Effect.Effect<Candidates, ThreadlineError> => {
  const { name, sql } = storage
  // For each key, only columns of the index are read.
  const further = hasOneName(table) ? sql`` : sql`, c.captured_at`
  const source = (column: string): Fragment => sql`
      select c.${sql.literal(column)} as key, c.table_schema, c.table_name${further}
      from ${name("audit_changes")} c
      where ${within(storage, `c.${column}`, { after, before })}
      order by c.${sql.literal(column)}
      limit ${entries}`
  const ends = (from: string): Fragment => sql`
        select case when count(*) = ${entries} then max(key) end as key from ${sql.literal(from)}`
  const keysOfTable = (from: string): Fragment => sql`
        select c.key
        from ${sql.literal(from)} c
        where ${all([ofTable(storage, table, "c"), sql`(u.key is null or c.key <= u.key)`])}`
  // The last key of a stretch may continue behind it, and so may its changes in this table.
  const last = (column: string): Fragment => sql`exists (
            select from ${name("audit_changes")} c
            where ${all([ofTable(storage, table, "c"), sql`c.${sql.literal(column)} = u.key`])}
          )`
  return Effect.map(
    rows(
      StretchRow,
      sql`
    with own as materialized (${source(keyColumns[0])}
    ),
    moved as materialized (${source(keyColumns[1])}
    ),
    up_to as materialized (
      select min(e.key) as key
      from (${ends("own")}
        union all${ends("moved")}
      ) e
    )
    select
      (
        select json_agg(f.key order by f.key)
        from (${keysOfTable("own")}
          union${keysOfTable("moved")}
          union
          select u.key
          where u.key is not null
            and (
          ${last(keyColumns[0])}
          or ${last(keyColumns[1])}
            )
        ) f
      )::text as keys,
      u.key as up_to
    from up_to u`
    ),
    ([row]) => ({ keys: row?.keys ?? [], upTo: row?.up_to ?? undefined })
  )
}

const SizeRow = Schema.Struct({ changes: Schema.NumberFromString })

const FewRow = Schema.Struct({ keys: Schema.NullOr(Texts) })

/** Keys of a table in a range, at most `limit`; undefined if the table has more than `few` changes. */
export const keysOfFew = Effect.fnUntraced(function* (
  storage: Storage,
  table: Table,
  range: Range,
  limit: number,
  few: number
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
  const [row] = yield* rows(
    FewRow,
    sql`
    select json_agg(k.key order by k.key)::text as keys
    from (
      select distinct v.key
      from ${name("audit_changes")} c
      cross join lateral (values (c.row_key), (c.previous_row_key)) v (key)
      where ${all([ofTable(storage, table, "c"), within(storage, "v.key", range)])}
      order by v.key
      limit ${limit}
    ) k`
  )
  const keys = row?.keys ?? []
  return { keys, upTo: keys.length < limit ? undefined : keys.at(-1) }
})
