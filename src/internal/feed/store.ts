/**
 * Named checkpoints, kept in the database. Every statement stands alone: it needs no session, and no transaction around it.
 */
import type { Statement } from "@effect/sql/Statement"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { InvalidRequest, ThreadlineError } from "../../ThreadlineError.js"
import { Checkpoint, type Position } from "./checkpoint.js"
import { type Consumer, makeConsumer } from "./model.js"
import { format } from "./snapshot.js"
import { instantColumn } from "../record/change.js"
import { request, ShortText } from "../core/request.js"
import { rows, type Storage, writtenRows } from "../record/storage.js"
import { mustBeWhole } from "../record/whole.js"
import { withoutConnection } from "../sql/owned.js"

/** The hold of one runner on a name. */
export interface Lease {
  readonly name: string
  readonly token: string
  readonly seconds: number
}

const Claimed = Schema.Struct({ checkpoint: Schema.NullOr(Schema.String) })

/** Takes the lease of a name. Gives its checkpoint (null before the first one), or none while another runner holds the name. */
export const claim = (storage: Storage, lease: Lease) => {
  const { name, sql } = storage
  return Effect.map(
    withoutConnection(
      Effect.zipRight(
        mustBeWhole(storage),
        writtenRows(
          storage,
          Claimed,
          sql`
          select claimed_checkpoint as checkpoint
          from ${name("feed_claim")}(${lease.name}, ${lease.token}, ${lease.seconds})`
        )
      )
    ),
    ([stored]) => Option.fromNullable(stored)
  )
}

const YesRow = Schema.Struct({ yes: Schema.Literal("true", "false") })

const isYes = ([row]: ReadonlyArray<typeof YesRow.Type>): boolean => row?.yes === "true"

const done = (storage: Storage, statement: Statement<unknown>): Effect.Effect<boolean, ThreadlineError> =>
  Effect.map(withoutConnection(writtenRows(storage, YesRow, statement)), isYes)

/** Whether a checkpoint was stored under the name. The feed then continues from it. */
export const hasBegun = ({ name: object, sql }: Storage, name: string): Effect.Effect<boolean, ThreadlineError> =>
  Effect.map(
    withoutConnection(
      rows(
        YesRow,
        sql`
        select exists (
          select from ${object("feed_checkpoints")} p
          where p.name = ${name}
            and p.checkpoint is not null
        )::text as yes`
      )
    ),
    isYes
  )

export const renew = (storage: Storage, lease: Lease) =>
  done(
    storage,
    storage.sql`select ${storage.name("feed_renew")}(${lease.name}, ${lease.token}, ${lease.seconds})::text as yes`
  )

export const release = (storage: Storage, lease: Lease) =>
  done(storage, storage.sql`select ${storage.name("feed_release")}(${lease.name}, ${lease.token})::text as yes`)

/** Moves the checkpoint from where it was found. False if it stands elsewhere by now, or if the lease is lost. */
export const store = (
  storage: Storage,
  lease: Lease,
  expected: string | null,
  reached: Checkpoint,
  position: Position,
  capturedAt: string | null
) => {
  const { window } = position
  return done(
    storage,
    storage.sql`
    select ${storage.name("feed_store")}(
      ${lease.name}, ${lease.token}, ${expected}, ${reached}, ${position.epoch},
      ${format(window === undefined ? position.delivered : window.to)}::pg_snapshot,
      ${window === undefined ? null : window.last.toString()}::bigint, ${capturedAt}::timestamptz, ${lease.seconds}
    )::text as yes`
  )
}

const decodeName = request(Schema.Struct({ name: ShortText }))

export const checkName = (name: string): Effect.Effect<string, InvalidRequest> =>
  Effect.map(decodeName({ name }), (checked) => checked.name)

export const forget = (storage: Storage, name: string): Effect.Effect<boolean, InvalidRequest | ThreadlineError> =>
  Effect.flatMap(checkName(name), (checked) =>
    Effect.zipRight(
      withoutConnection(mustBeWhole(storage)),
      done(storage, storage.sql`select ${storage.name("feed_forget")}(${checked})::text as yes`)
    )
  )

const ConsumerRow = Schema.Struct({
  name: Schema.String,
  checkpoint: Schema.NullOr(Checkpoint),
  updated_at: Schema.String,
  lag: Schema.NullOr(Schema.NumberFromString),
  leased_until: Schema.NullOr(Schema.String)
})

export const list = (storage: Storage): Effect.Effect<ReadonlyArray<Consumer>, ThreadlineError> => {
  const { name, sql } = storage
  return Effect.map(
    Effect.zipRight(
      mustBeWhole(storage),
      rows(
        ConsumerRow,
        sql`
        select
          p.name::text as name,
          p.checkpoint,
          ${instantColumn(sql, "p.updated_at")} as updated_at,
          (extract(epoch from clock_timestamp() - coalesce(w.captured_at, case when w.change_id is not null then (
            -- It has stored no checkpoint, and so it has handled nothing yet.
            select t.occurred_at from ${name("audit_transactions")} t order by t.occurred_at, t.id limit 1
          ) end)) * 1000)::text as lag,
          case when p.lease_until > clock_timestamp() then ${instantColumn(sql, "p.lease_until")} end as leased_until
        from ${name("feed_checkpoints")} p
        left join ${name("feed_pending")}() w on w.name = p.name
        order by p.name`
      )
    ),
    (consumers) =>
      consumers.map((row) =>
        makeConsumer({
          name: row.name,
          checkpoint: Option.fromNullable(row.checkpoint),
          updatedAt: row.updated_at,
          lag: Option.map(Option.fromNullable(row.lag), (millis) => Duration.millis(Math.max(0, millis))),
          leasedUntil: Option.fromNullable(row.leased_until)
        })
      )
  )
}
