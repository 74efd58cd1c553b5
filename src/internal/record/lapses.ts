/**
 * The times in which nothing is known of a table: before its capture began, and while it was not captured. A change on one side
 * of such a time says nothing about the other side. If changes were removed, nothing is rebuilt from a later change.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Schema from "effect/Schema"
import { instantColumn } from "./change.js"
import type { Storage } from "./storage.js"
import type { TableName } from "../core/tableName.js"

/** Instants as `Instant` writes them. */
export const Lapses = Schema.parseJson(
  Schema.Struct({
    /** Pairs of instants, the earlier pairs first. The second instant is null if the time has no end. */
    times: Schema.Array(Schema.Tuple(Schema.NullOr(Schema.String), Schema.NullOr(Schema.String))),
    /** Since when every change is kept; null for all. */
    keptSince: Schema.NullOr(Schema.String)
  })
)

export type Lapses = typeof Lapses.Type

export const noLapses: Lapses = { times: [], keptSince: null }

/** These times of a table, or of the table that expressions name, as an expression that `Lapses` decodes. */
export const lapsesOf = (
  { name, sql }: Storage,
  table: TableName | { readonly schema: Fragment; readonly name: Fragment }
): Fragment => sql`(
            select pg_catalog.json_build_object(
              'times', coalesce(pg_catalog.json_agg(pg_catalog.json_build_array(${instantColumn(sql, "pg_catalog.lower(l.lapse)")}, ${instantColumn(sql, "pg_catalog.upper(l.lapse)")}) order by l.lapse), '[]'),
              'keptSince', (select ${instantColumn(sql, "k.since")} from ${name("kept_since")}(${table.schema}, ${table.name}) k (since))
            )
            from pg_catalog.unnest(${name("unknown_times")}(${table.schema}, ${table.name})) l (lapse)
          )::text`

/** A time in which everything was captured and is kept: from one instant up to another. The second instant is not part of it. */
export interface Captured {
  readonly since: string | undefined
  readonly until: string | undefined
}

/**
 * The time that an instant lies in and of which everything is known; undefined if there is none. Changes before it prove nothing: a hold
 * keeps some of a row's changes, and those between them and the instant may be gone.
 */
export const capturedAround = ({ keptSince, times }: Lapses, at: string): Captured | undefined => {
  if (keptSince !== null && at < keptSince) {
    return undefined
  }
  let since = keptSince ?? undefined
  for (const [from, to] of times) {
    if (from !== null && at < from) {
      return { since, until: from }
    }
    if (to === null || at < to) {
      return undefined
    }
    since = since === undefined || to > since ? to : since
  }
  return { since, until: undefined }
}
