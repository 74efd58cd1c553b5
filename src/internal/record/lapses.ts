/**
 * The times of which nothing is known of a table: before its capture began, before the oldest change that is kept, and when it
 * was not captured. Nothing that was recorded on one side of such a time tells of the other.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Schema from "effect/Schema"
import { instantColumn } from "./change.js"
import type { Storage } from "./storage.js"
import type { TableName } from "../core/tableName.js"

/** Instants as `Instant` writes them, each pair in order and the later ones last; null where it has no end. */
export const Lapses = Schema.parseJson(
  Schema.Array(Schema.Tuple(Schema.NullOr(Schema.String), Schema.NullOr(Schema.String)))
)

export type Lapses = typeof Lapses.Type

/** These times of a table as an expression that `Lapses` decodes. */
export const lapsesOf = ({ name, sql }: Storage, table: TableName): Fragment => sql`(
            select coalesce(json_agg(json_build_array(${instantColumn(sql, "lower(l.lapse)")}, ${instantColumn(sql, "upper(l.lapse)")}) order by l.lapse), '[]')
            from unnest(${name("unknown_times")}(${table.schema}, ${table.name})) l (lapse)
          )::text`

/** A time in which everything was captured, from one instant up to another, which is not part of it. */
export interface Captured {
  readonly since: string | undefined
  readonly until: string | undefined
}

/** The captured time that an instant lies in; undefined where it lies in a lapse. */
export const capturedAround = (lapses: Lapses, at: string): Captured | undefined => {
  let since: string | undefined
  for (const [from, to] of lapses) {
    if (from !== null && at < from) {
      return { since, until: from }
    }
    if (to === null || at < to) {
      return undefined
    }
    since = to
  }
  return { since, until: undefined }
}
