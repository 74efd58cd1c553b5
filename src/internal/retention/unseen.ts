/**
 * Transactions that were not committed when a plan was made. They stay: each statement that removes something looks for them
 * itself. What one statement has found, the next one need not look for again, so a run beside busy writers is no slower at its
 * end than at its beginning.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Schema from "effect/Schema"
import type { Storage } from "../record/storage.js"

/** The state of the database in which something was read. */
export interface Sight {
  readonly snapshot: string
  readonly epoch: number
}

/** What a plan saw. Only that goes. */
export interface Seen extends Sight {
  /** The smallest id that a consumer of the feed waited for; null if none did. */
  readonly horizon: string | null
}

/** Transactions that must stay: those that were found, and those that are not visible from where they were last looked for. */
export interface Unseen {
  readonly ids: ReadonlyArray<string>
  readonly since: Sight
}

/** At most so many ids are remembered. If there are more, they are looked for each time. */
const mostIds = 1000

/** Whether a transaction was not committed in that state. */
export const unseenTransaction = ({ epoch, snapshot }: Sight, { sql }: Storage, alias: string): Fragment => {
  const as = sql.literal(alias)
  return sql`(
    ${as}.epoch > ${epoch}::int
    or (
      ${as}.epoch = ${epoch}::int
      and ${as}.xid >= pg_catalog.pg_snapshot_xmin(${snapshot}::pg_snapshot)
      and not pg_catalog.pg_visible_in_snapshot(${as}.xid, ${snapshot}::pg_snapshot)
    )
  )`
}

/**
 * The ids of such transactions that a condition on `ut` is true of, found by the index of their numbers: those that ran then, one by one,
 * and those that began later. Those of a later epoch can only be there if there is one; without it nothing is looked for.
 */
export const unseenIds = ({ epoch, snapshot }: Sight, { name, sql }: Storage, condition: Fragment): Fragment => sql`
  select ut.id
  from ${name("audit_transactions")} ut
  where ut.epoch = ${epoch}::int and ut.xid >= pg_catalog.pg_snapshot_xmax(${snapshot}::pg_snapshot) and ${condition}
  union all
  select ut.id
  from pg_catalog.pg_snapshot_xip(${snapshot}::pg_snapshot) ran (xid)
  join ${name("audit_transactions")} ut on ut.xid = ran.xid and ut.epoch = ${epoch}::int
  where ${condition}
  union all
  select ut.id
  from ${name("audit_transactions")} ut
  where (select max(i.epoch) from ${name("installs")} i) > ${epoch}::int
    and ut.epoch > ${epoch}::int
    and ${condition}`

/** A query `unseen` of the ids, to begin a statement with. `isOld` is a condition on `ut`. */
export const unseenQuery = (unseen: Unseen, storage: Storage, isOld: Fragment): Fragment => storage.sql`
  unseen as materialized (
    select known.id::bigint as id
    from jsonb_array_elements_text(${JSON.stringify(unseen.ids)}::jsonb) known (id)
    union all
    ${unseenIds(unseen.since, storage, isOld)}
  )`

/** Columns of a statement that has that query: what it found, and from where. */
export const unseenColumns = ({ sql }: Storage): Fragment => sql`
  pg_current_snapshot()::text as snapshot,
  (
    select case when count(*) <= ${mostIds} then coalesce(json_agg(u.id::text), '[]') end
    from unseen u
  )::text as unseen`

export const unseenFields = {
  snapshot: Schema.String,
  unseen: Schema.NullOr(Schema.parseJson(Schema.Array(Schema.String)))
}

/** The transactions that are known to stay after a statement. */
export const looked = (
  before: Unseen,
  epoch: number,
  { snapshot, unseen }: { readonly snapshot: string; readonly unseen: ReadonlyArray<string> | null }
): Unseen => (unseen === null ? before : { ids: unseen, since: { epoch, snapshot } })
