/** What was not committed when a plan was made. */
import type { Fragment } from "@effect/sql/Statement"
import type { Storage } from "../record/storage.js"

/** What a plan saw. Only that goes. */
export interface Seen {
  readonly snapshot: string
  readonly epoch: number
  /** The smallest id that a consumer of the feed waited for; null if none did. */
  readonly horizon: string | null
}

type Sight = Pick<Seen, "epoch" | "snapshot">

const later = ({ snapshot }: Sight, { sql }: Storage, alias: string): Fragment => {
  const as = sql.literal(alias)
  return sql`
    ${as}.xid >= pg_catalog.pg_snapshot_xmin(${snapshot}::pg_snapshot)
    and not pg_catalog.pg_visible_in_snapshot(${as}.xid, ${snapshot}::pg_snapshot)`
}

/** The transaction was not committed then. */
export const unseenTransaction = (seen: Sight, storage: Storage, alias: string): Fragment => {
  const { sql } = storage
  const as = sql.literal(alias)
  return sql`(
    ${as}.epoch > ${seen.epoch}::int
    or (${as}.epoch = ${seen.epoch}::int and ${later(seen, storage, alias)})
  )`
}

/**
 * The ids of such transactions, found by the index of their numbers. Those of a later epoch can only be there if there is one: without it
 * nothing is looked for.
 */
export const unseenIds = (seen: Sight, storage: Storage): Fragment => {
  const { name, sql } = storage
  return sql`
    select ut.id
    from ${name("audit_transactions")} ut
    where ut.epoch = ${seen.epoch}::int and ${later(seen, storage, "ut")}
    union all
    select ut.id
    from ${name("audit_transactions")} ut
    where (select max(i.epoch) from ${name("installs")} i) > ${seen.epoch}::int
      and ut.epoch > ${seen.epoch}::int`
}
