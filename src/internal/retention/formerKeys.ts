/**
 * The keys that a held row had before and after the one that is named, and from when or until when. They are found before anything is
 * removed. A change that is recorded later may link further keys; but what a plan has not seen stays in any case.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { InvalidRequest, type ThreadlineError } from "../../ThreadlineError.js"
import { instantColumn } from "../record/change.js"
import { rows, type Storage } from "../record/storage.js"
import { ofTable, type Table } from "../record/tables.js"

/** A key, and the time in which it may have been that of the row. An end is null if the time has no such end. */
interface HeldKey {
  readonly key: string
  readonly from: string | null
  readonly until: string | null
}

/** More keys than this do not belong to one row: such a key is a place in a list, and rows move through it. */
const mostKeys = 200

const Side = Schema.Literal("later", "earlier")
type Side = typeof Side.Type

const Link = Schema.Struct({ side: Side, key: Schema.String, at: Schema.String })
type Link = typeof Link.Type

/**
 * The next keys of each key: those that a change after its instant led to, or those that a change before it came from. Rows that one
 * statement moves past each other have one instant, so that none of them is taken for another one.
 */
const linked = (storage: Storage, table: Table, known: ReadonlyArray<Link>) => {
  const { name, sql } = storage
  return rows(
    Link,
    sql`
      select f.side, n.key, ${instantColumn(sql, "n.at")} as at
      from jsonb_to_recordset(${JSON.stringify(known)}::jsonb) f (side text, key text, at timestamptz)
      cross join lateral (
        select c.row_key as key, min(c.captured_at) as at
        from ${name("audit_changes")} c
        where f.side = 'later' and c.previous_row_key = f.key and c.captured_at > f.at and ${ofTable(storage, table, "c")}
        group by c.row_key
        union all
        select c.previous_row_key, max(c.captured_at)
        from ${name("audit_changes")} c
        where f.side = 'earlier' and c.row_key = f.key and c.captured_at < f.at and ${ofTable(storage, table, "c")}
        group by c.previous_row_key
      ) n
      where n.key <> f.key`
  )
}

/** Every key of the row that is named by one of them, that one first. */
const keysOf = Effect.fnUntraced(function* (
  storage: Storage,
  table: Table,
  key: string,
  field: string
): Effect.fn.Return<ReadonlyArray<HeldKey>, InvalidRequest | ThreadlineError> {
  const found = { later: new Map<string, string>(), earlier: new Map<string, string>() }
  let next: ReadonlyArray<Link> = [
    { side: "later", key, at: "-infinity" },
    { side: "earlier", key, at: "infinity" }
  ]
  while (next.length > 0) {
    next = (yield* linked(storage, table, next)).filter(({ at, key: other, side }) => {
      const known = found[side].get(other)
      const isWider = known === undefined || (side === "later" ? at < known : at > known)
      if (other === key || !isWider) {
        return false
      }
      found[side].set(other, at)
      return true
    })
    if (found.later.size + found.earlier.size > mostKeys) {
      return yield* new InvalidRequest({
        field,
        rule: `names a row that had more than ${mostKeys} keys, as if they were places in a list: hold the table`
      })
    }
  }
  return [
    { key, from: null, until: null },
    ...[...found.later].map(([key, from]) => ({ key, from, until: null })),
    ...[...found.earlier].map(([key, until]) => ({ key, from: null, until }))
  ]
})

/** Conditions on a change of a held row, under an alias: one for each index. */
export const ofHeldRow = (
  storage: Storage,
  table: Table,
  key: string,
  field: string
): Effect.Effect<(alias: string) => ReadonlyArray<Fragment>, InvalidRequest | ThreadlineError> => {
  const { sql } = storage
  return Effect.map(keysOf(storage, table, key, field), (keys) => {
    const [, ...others] = keys
    const texts = JSON.stringify(keys.map(({ key }) => key))
    const among = (column: string, alias: string): Fragment => {
      const as = sql.literal(alias)
      const place = sql.literal(`${alias}.${column}`)
      return others.length === 0
        ? sql`(${place} = ${key} and (${ofTable(storage, table, alias)}))`
        : sql`(
            ${place} = any (array(select jsonb_array_elements_text(${texts}::jsonb)))
            and (${ofTable(storage, table, alias)})
            and exists (
              select
              from jsonb_to_recordset(${JSON.stringify(keys)}::jsonb) hk (key text, "from" timestamptz, until timestamptz)
              where hk.key = ${place}
                and (hk."from" is null or ${as}.captured_at >= hk."from")
                and (hk.until is null or ${as}.captured_at <= hk.until)
            )
          )`
    }
    return (alias) => [among("row_key", alias), among("previous_row_key", alias)]
  })
}
