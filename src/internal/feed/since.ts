/**
 * What is new since a checkpoint, as a condition on transactions: for a reader that takes everything at once, in one snapshot, instead of
 * batch after batch.
 */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { InvalidRequest, type ThreadlineError } from "../../ThreadlineError.js"
import { earliestCapture, instantColumn } from "../record/change.js"
import { rows, type Storage } from "../record/storage.js"
import * as checkpoints from "./checkpoint.js"
import { readHead } from "./head.js"
import { check, firstPosition } from "./read.js"
import { format, union } from "./snapshot.js"

/** What a snapshot has that a checkpoint did not. */
export interface Since {
  /** Whether the transaction `t` is new; undefined if there was no checkpoint, and everything is. */
  readonly isNew: Fragment | undefined
  /** Before this instant no change of a new transaction was captured; undefined if nothing is new, or everything. */
  readonly earliest: string | undefined
  /** What the checkpoint had, as PostgreSQL writes a snapshot. */
  readonly before: string | undefined
  readonly reached: Reached
}

/** Where a reader stands that has everything of a snapshot. */
export interface Reached {
  readonly checkpoint: checkpoints.Checkpoint
  readonly epoch: number
  readonly snapshot: string
}

const reachedAt = (position: checkpoints.Position): Reached => ({
  checkpoint: checkpoints.encode([], position),
  epoch: position.epoch,
  snapshot: format(position.delivered)
})

const EarliestRow = Schema.Struct({ earliest: Schema.NullOr(Schema.String) })

const newTransactions = ({ sql }: Storage, { delivered, epoch }: checkpoints.Position): Fragment => sql`(
    t.epoch > ${epoch}
    or (
      t.epoch = ${epoch}
      and (t.xid >= ${delivered.end.toString()}::xid8 or t.xid = any (${`{${delivered.running.join(",")}}`}::xid8[]))
    )
  )`

/** The oldest of the new transactions. Each of the branches goes by the index of transaction ids. */
const earliestOf = (
  { name, sql }: Storage,
  { delivered, epoch }: checkpoints.Position
): Effect.Effect<ReadonlyArray<typeof EarliestRow.Type>, ThreadlineError> =>
  rows(
    EarliestRow,
    sql`
      select ${instantColumn(sql, "n.earliest")} as earliest
      from (
        select ${earliestCapture(sql, sql`pg_catalog.min(t.occurred_at)`)} as earliest
        from (
          select pg_catalog.min(t.occurred_at) as occurred_at
          from ${name("audit_transactions")} t
          where t.xid >= ${delivered.end.toString()}::xid8
            and t.epoch = ${epoch}
          union all
          select pg_catalog.min(t.occurred_at)
          from ${name("audit_transactions")} t
          where t.xid = any (${`{${delivered.running.join(",")}}`}::xid8[])
            and t.epoch = ${epoch}
          union all
          select pg_catalog.min(t.occurred_at)
          from ${name("audit_transactions")} t
          where t.epoch > ${epoch}
            and exists (select from ${name("installs")} i where i.epoch > ${epoch})
        ) t
      ) n`
  )

/**
 * What is new since a stored checkpoint. Run it inside the snapshot that is read. `ThreadlineError` if it cannot be known yet
 * what is visible; `InvalidRequest` of the field `checkpoint` if the checkpoint is not of this database, or is ahead of it.
 */
export const since = Effect.fnUntraced(function* (
  storage: Storage,
  stored: string | null
): Effect.fn.Return<Since, InvalidRequest | ThreadlineError> {
  const head = yield* readHead(storage)
  const now = yield* firstPosition(head, "now")
  if (stored === null) {
    return { isNew: undefined, earliest: undefined, before: undefined, reached: reachedAt(now) }
  }
  const before = yield* checkpoints.decode([], stored)
  yield* check(head, before)
  if (before.window !== undefined) {
    return yield* new InvalidRequest({
      field: "checkpoint",
      rule: "is in the middle of a window: a consumer of the feed stored it"
    })
  }
  const [row] = yield* earliestOf(storage, before)
  return {
    isNew: newTransactions(storage, before),
    earliest: row?.earliest ?? undefined,
    before: format(before.delivered),
    // A replica may be behind the server that was read before it: what that one had does not become new again.
    reached: reachedAt(before.epoch === now.epoch ? { ...now, delivered: union(before.delivered, now.delivered) } : now)
  }
})
