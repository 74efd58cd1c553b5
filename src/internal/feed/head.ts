/**
 * The state of the database that a feed reads from: its epochs, and what is visible now.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { ThreadlineError } from "../../ThreadlineError.js"
import { clusterOf } from "./checkpoint.js"
import { parse, type Snapshot, without } from "./snapshot.js"
import { rows, type Storage } from "../record/storage.js"

export interface Epoch {
  readonly epoch: number
  readonly cluster: string
}

/** A transaction of an epoch before `epoch`. It was prepared and has not ended. */
export interface Prepared {
  readonly epoch: number
  readonly xid: bigint
}

export interface Head {
  /** Ascending; the last one is that of this cluster, whether or not something was captured in it. */
  readonly epochs: readonly [Epoch, ...ReadonlyArray<Epoch>]
  readonly current: Epoch
  readonly isReplica: boolean
  /** Undefined on a replica that cannot tell, because it is too far behind a long transaction. */
  readonly visible: Snapshot | undefined
  /** What past epochs may still add. */
  readonly prepared: ReadonlyArray<Prepared>
}

/** On a replica: how many transactions, between the oldest running one and the newest, are looked at one by one. */
const maxReplicaSpan = 10_000

const Install = Schema.Struct({ epoch: Schema.Number, system: Schema.String, timeline: Schema.String })

const Unended = Schema.Struct({ epoch: Schema.Number, xid: Schema.BigInt })

const Row = Schema.Struct({
  replica: Schema.Literal("true", "false"),
  snapshot: Schema.NullOr(Schema.String),
  own: Schema.NullOr(Schema.String),
  known: Schema.Literal("true", "false"),
  system: Schema.NullOr(Schema.String),
  timeline: Schema.NullOr(Schema.String),
  installs: Schema.parseJson(Schema.Array(Install)),
  prepared: Schema.parseJson(Schema.Array(Unended))
})

/**
 * The epoch as `current_epoch()` finds it, without its write. A replica runs under the epoch of its primary. It cannot know when
 * that began, and for a while its control file may name an older timeline.
 *
 * A replica knows which transactions run, but `pg_current_snapshot()` leaves them out. They are the transactions between its
 * bounds of which nothing is visible. Transactions that captured nothing then count as running, too. That does no harm.
 *
 * A promotion ends every transaction except prepared ones. Those belong to the epoch before and commit in this one. The first
 * write in an epoch notes them. Until then, every prepared transaction may be one of them.
 */
const statement = ({ name, sql }: Storage) => sql`
  select
    pg_catalog.pg_is_in_recovery()::text as replica,
    case
      when not pg_catalog.pg_is_in_recovery() then now.snapshot::text
      when now.following - now.oldest <= ${maxReplicaSpan} then pg_catalog.concat_ws(
        ':', now.oldest, now.following,
        (
          select coalesce(pg_catalog.string_agg(x.xid::text, ',' order by x.xid), '')
          from pg_catalog.generate_series(now.oldest, now.following - 1) x (xid)
          where not exists (
            select
            from ${name("audit_transactions")} t
            where t.xid = x.xid::text::xid8
              and t.epoch = case
                when latest.system_identifier = (select system_identifier from pg_control_system()) then latest.epoch
                else coalesce(latest.epoch, 0) + 1
              end
          )
        )
      )
    end as snapshot,
    case when not pg_catalog.pg_is_in_recovery() then pg_current_xact_id_if_assigned()::text end as own,
    coalesce(latest.postmaster_started_at = pg_postmaster_start_time(), false)::text as known,
    here.system_identifier::text as system,
    here.timeline::text as timeline,
    (
      select coalesce(
        pg_catalog.json_agg(
          pg_catalog.json_build_object('epoch', i.epoch, 'system', i.system_identifier::text, 'timeline', i.timeline::text)
          order by i.epoch
        ),
        '[]'
      )::text
      from ${name("installs")} i
    ) as installs,
    (
      select coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('epoch', p.epoch, 'xid', p.xid::text)), '[]')::text
      from (
        select i.epoch, x.xid
        from ${name("installs")} i
        cross join lateral pg_catalog.unnest(i.prepared) x (xid)
        where i.system_identifier = (select system_identifier from pg_control_system())
          and case
            when not pg_catalog.pg_is_in_recovery() then not pg_catalog.pg_visible_in_snapshot(x.xid, now.snapshot)
            else x.xid::text::bigint >= now.oldest and not exists (
              select
              from ${name("audit_transactions")} t
              where t.xid = x.xid
                and t.epoch < i.epoch
            )
          end
        union all
        select latest.epoch + 1, x.xid
        from ${name("prepared_transactions")}() x (xid)
        where latest.system_identifier = here.system_identifier
          and latest.timeline <> here.timeline
      ) p
    ) as prepared
  from (
    select
      s.snapshot,
      pg_catalog.pg_snapshot_xmin(s.snapshot)::text::bigint as oldest,
      pg_catalog.pg_snapshot_xmax(s.snapshot)::text::bigint as following
    from pg_current_snapshot() s (snapshot)
  ) now
  left join lateral (
    select *
    from ${name("installs")} i
    order by i.epoch desc
    limit 1
  ) latest on true
  left join lateral (
    select *
    from ${name("current_cluster")}() c
    where latest.postmaster_started_at is distinct from pg_postmaster_start_time()
  ) here on true`

const unreadable = () =>
  new ThreadlineError({ reason: "Failed", detail: "the server does not say which transactions are visible" })

/** Reads the head under the snapshot of the transaction. */
export const readHead = Effect.fnUntraced(function* (storage: Storage): Effect.fn.Return<Head, ThreadlineError> {
  const [row] = yield* rows(Row, statement(storage))
  if (row === undefined) {
    return yield* unreadable()
  }
  const isReplica = row.replica === "true"
  const installedEpochs = row.installs.map(({ epoch, system, timeline }) => ({
    epoch,
    cluster: clusterOf(system, timeline)
  }))
  const latest = row.installs.at(-1)
  const isOfLatest =
    latest !== undefined &&
    (row.known === "true" || (latest.system === row.system && (isReplica || latest.timeline === row.timeline)))
  const current = (isOfLatest ? installedEpochs.at(-1) : undefined) ?? {
    epoch: (latest?.epoch ?? 0) + 1,
    cluster: clusterOf(row.system ?? "", row.timeline ?? "")
  }
  const before = installedEpochs.filter(({ epoch }) => epoch < current.epoch)
  const [first, ...others] = [...before, current]
  const snapshot = row.snapshot === null ? undefined : parse(row.snapshot)
  if (row.snapshot !== null && snapshot === undefined) {
    return yield* unreadable()
  }
  return {
    epochs: [first, ...others],
    current,
    isReplica,
    prepared: row.prepared.filter(({ epoch }) => epoch <= current.epoch),
    // A transaction counts itself as visible, although its writes may still be rolled back.
    visible: snapshot === undefined || row.own === null ? snapshot : without(snapshot, [BigInt(row.own)])
  }
})
