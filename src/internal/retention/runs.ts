/** Runs in the database: their lease, what they count, how they end. */
import { SqlError } from "@effect/sql/SqlError"
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as AuditContext from "../../AuditContext.js"
import type * as Actor from "../../Actor.js"
import type { Page } from "../../Page.js"
import { fromSqlError, InvalidRequest, type ThreadlineError } from "../../ThreadlineError.js"
import { Instant, type InstantInput } from "../core/instant.js"
import { stringify } from "../core/json.js"
import { JsonFromText } from "../core/jsonSchema.js"
import { isObject, type JsonObject, type JsonValue } from "../core/jsonValue.js"
import {
  canonicalRequest,
  Id,
  choice,
  mustBeObject,
  type OrderedPaging,
  order,
  paging,
  request
} from "../core/request.js"
import { actorOf, instantColumn } from "../record/change.js"
import * as cursors from "../record/cursor.js"
import { pageOf } from "../record/page.js"
import { all, rows, type Storage } from "../record/storage.js"
import { mustBeWhole } from "../record/whole.js"
import { beginWriting, transaction } from "../sql/owned.js"
import { literal } from "../sql/sqlText.js"
import { type Run, State } from "./model.js"
import { settings } from "./plan.js"
import { RetentionError } from "./retentionError.js"
import { block } from "./settled.js"

/**
 * A run that does not renew its lease for this time may be taken over, in seconds. A run renews it three times in that time.
 */
const leaseSeconds = 60

export interface Lease {
  readonly id: string
  readonly token: string
}

/** A short transaction as the owner of the record: only the owner may remove anything. */
export const asOwner = <A, E, R>(
  storage: Storage,
  body: Effect.Effect<A, E, R>,
  extra: { readonly [name: string]: string } = {}
): Effect.Effect<A, E | ThreadlineError, R> =>
  transaction(
    storage.sql,
    `${beginWriting({ ...settings, ...extra })};
      select set_config('role', pg_get_userbyid(n.nspowner), true)
      from pg_namespace n
      where n.nspname = ${literal(storage.schema)}`,
    body
  ).pipe(Effect.mapError((error): E | ThreadlineError => (error instanceof SqlError ? fromSqlError(error) : error)))

const IdRow = Schema.Struct({ id: Schema.String })
const RunningRow = Schema.Struct({ id: Schema.String, until: Schema.String, db_user: Schema.String })

const currentActor: Effect.Effect<Actor.Actor | undefined> = Effect.map(
  AuditContext.current,
  (context) => context.actor
)

type Kind = "purge" | "maintain"

/** What a run was asked to do. */
interface Order {
  readonly policy: JsonObject | null
  readonly plan: JsonObject | null
  readonly cutoff: string | null
}

/** Finishes a run whose process died. */
const finishDead = ({ name, sql }: Storage, kind: Kind) =>
  rows(
    IdRow,
    sql`
      update ${name("retention_runs")} r
      set state = 'failed', finished_at = clock_timestamp(), problem = 'its process ended without saying so'
      where r.kind = ${kind}
        and r.state = 'running'
        and r.lease_until < clock_timestamp()
      returning r.id::text as id`
  )

/** Why no run of this kind can begin: another one has the lease. */
const busy = ({ name, sql }: Storage, kind: Kind): Effect.Effect<never, RetentionError | ThreadlineError> =>
  Effect.flatMap(
    rows(
      RunningRow,
      sql`
        select r.id::text as id, ${instantColumn(sql, "r.lease_until")} as until, r.db_user::text as db_user
        from ${name("retention_runs")} r
        where r.kind = ${kind} and r.state = 'running'`
    ),
    ([running]) =>
      new RetentionError({
        reason: "Busy",
        detail:
          running === undefined
            ? "another runner has just ended: try again"
            : `run ${running.id} of ${running.db_user} is under way; if its process has died, another one may begin after ${running.until}`
      })
  )

/** Refuses a run whose plan was made before another run began. `lastRun` is the last one that the plan knew; null if there was none. */
const refuseOutdated = (
  { name, sql }: Storage,
  kind: Kind,
  own: string,
  lastRun: string | null
): Effect.Effect<void, RetentionError | ThreadlineError> =>
  Effect.flatMap(
    rows(
      IdRow,
      sql`
        select r.id::text as id
        from ${name("retention_runs")} r
        where r.kind = ${kind} and r.id > coalesce(${lastRun}::bigint, 0) and r.id <> ${own}::bigint
        limit 1`
    ),
    ([newer]) =>
      newer === undefined
        ? Effect.void
        : new RetentionError({
            reason: "OutdatedPlan",
            detail: `run ${newer.id} began after this plan was made: make a new one`
          })
  )

/** Takes the lease of a kind, after it has finished a run whose process died. `lastRun` is undefined for a run without a plan. */
export const begin = Effect.fnUntraced(function* (
  storage: Storage,
  kind: Kind,
  token: string,
  { cutoff, plan, policy }: Order,
  given: Actor.Actor | undefined,
  lastRun: string | null | undefined
): Effect.fn.Return<Lease, RetentionError | ThreadlineError> {
  yield* mustBeWhole(storage)
  const { name, sql } = storage
  const actor = given ?? (yield* currentActor)
  return yield* asOwner(
    storage,
    Effect.gen(function* () {
      yield* finishDead(storage, kind)
      const [begun] = yield* rows(
        IdRow,
        sql`
          insert into ${name("retention_runs")} (kind, policy, plan, cutoff, actor, lease_token, lease_until)
          values (
            ${kind}, ${policy === null ? null : stringify(policy)}::jsonb,
            ${plan === null ? null : stringify(plan)}::jsonb, ${cutoff}::timestamptz,
            ${actor === undefined ? null : stringify(actor as never as JsonValue)}::jsonb, ${token},
            clock_timestamp() + make_interval(secs => ${leaseSeconds})
          )
          on conflict do nothing
          returning id::text as id`
      )
      if (begun === undefined) {
        return yield* busy(storage, kind)
      }
      if (lastRun !== undefined) {
        yield* refuseOutdated(storage, kind, begun.id, lastRun)
      }
      return { id: begun.id, token }
    })
  )
})

export const leaseLost = () =>
  new RetentionError({
    reason: "LeaseLost",
    detail: "the run was cut off for longer than its lease: what it has removed is complete, and another run may go on"
  })

type Count = number | Fragment

export interface Counted {
  readonly changes?: Count
  readonly transactions?: Count
  readonly actions?: Count
  readonly batches?: number
  readonly partitions?: ReadonlyArray<string>
  readonly details?: JsonObject
  /** A query of two columns: the first and the last id of the transactions that were worked on. */
  readonly touched?: Fragment | undefined
}

/** Adds to what a run has done, as a statement that gives no row if the lease is lost, or if `where` is not true. */
export const adding = (
  { name, sql }: Storage,
  { id, token }: Lease,
  counted: Counted,
  where = sql`true`
): Fragment => sql`
  update ${name("retention_runs")} r
  set changes = r.changes + ${counted.changes ?? 0}::bigint,
    transactions = r.transactions + ${counted.transactions ?? 0}::bigint,
    actions = r.actions + ${counted.actions ?? 0}::bigint,
    batches = r.batches + ${counted.batches ?? 0}::bigint,
    partitions = r.partitions || array(select jsonb_array_elements_text(${JSON.stringify(counted.partitions ?? [])}::jsonb)),
    details = r.details || ${stringify(counted.details ?? {})}::jsonb,
    touched = r.touched + coalesce((
      select int8range(t.first / ${block} * ${block}, (t.last / ${block} + 1) * ${block})::int8multirange
      from (${counted.touched ?? sql`select null::bigint, null::bigint`}) t (first, last)
      -- Without its ends a range would be everything.
      where t.first is not null and t.last is not null
    ), '{}'),
    lease_until = clock_timestamp() + make_interval(secs => ${leaseSeconds})
  where r.id = ${id}::bigint and r.lease_token = ${token} and r.state = 'running' and ${where}
  returning r.id::text as id`

/**
 * Adds to what a run has done, in the transaction that did it. Fails if the lease is lost, so that the transaction is rolled
 * back.
 */
export const count = (
  storage: Storage,
  lease: Lease,
  counted: Counted
): Effect.Effect<void, RetentionError | ThreadlineError> =>
  Effect.flatMap(rows(IdRow, storage.sql`${adding(storage, lease, counted)}`, fromSqlError), ([row]) =>
    row === undefined ? leaseLost() : Effect.void
  )

/** Renews the lease of a run until it is lost. */
export const heartbeat = (storage: Storage, lease: Lease): Effect.Effect<never, RetentionError | ThreadlineError> =>
  Effect.forever(Effect.zipRight(Effect.sleep((leaseSeconds * 1000) / 3), asOwner(storage, count(storage, lease, {}))))

/** Ends a run; one that another runner has ended already stays as it is. */
export const finish = (
  storage: Storage,
  { id, token }: Lease,
  state: Exclude<Run["state"], "running">,
  problem: string | null,
  settled: JsonObject | null
): Effect.Effect<void, ThreadlineError> =>
  Effect.asVoid(
    asOwner(
      storage,
      rows(
        IdRow,
        storage.sql`
          update ${storage.name("retention_runs")} r
          set state = ${state}, finished_at = clock_timestamp(), problem = ${problem},
            settled = ${settled === null ? null : stringify(settled)}::jsonb
          where r.id = ${id}::bigint and r.lease_token = ${token} and r.state = 'running'
          returning r.id::text as id`
      )
    )
  )

const MaybeText = Schema.NullOr(Schema.String)

const RunRow = Schema.Struct({
  id: Schema.String,
  kind: Schema.Literal("purge", "maintain"),
  state: State,
  started_at: Schema.String,
  finished_at: MaybeText,
  duration: MaybeText,
  policy: Schema.NullOr(JsonFromText),
  cutoff: MaybeText,
  planned: Schema.NullOr(JsonFromText),
  changes: Schema.NumberFromString,
  transactions: Schema.NumberFromString,
  actions: Schema.NumberFromString,
  batches: Schema.NumberFromString,
  partitions: Schema.parseJson(Schema.Array(Schema.String)),
  details: JsonFromText,
  problem: MaybeText,
  actor: Schema.NullOr(JsonFromText),
  db_user: Schema.String,
  application_name: MaybeText,
  client_addr: MaybeText
})

const objectOf = (value: JsonValue | null): JsonObject | null =>
  isObject(value ?? undefined) ? (value as JsonObject) : null

const actorIn = (document: JsonValue | null): Actor.Actor | null => {
  const actor = objectOf(document)
  const text = (value: JsonValue | undefined): string | null => (typeof value === "string" ? value : null)
  return actor === null ? null : actorOf(actor, text(actor["type"]), text(actor["id"]))
}

const runOf = (row: typeof RunRow.Type): Run => ({
  id: row.id,
  kind: row.kind,
  state: row.state,
  startedAt: row.started_at,
  finishedAt: row.finished_at,
  durationMillis: row.duration === null ? null : Number(row.duration),
  policy: objectOf(row.policy),
  cutoff: row.cutoff,
  planned: objectOf(row.planned),
  changes: row.changes,
  transactions: row.transactions,
  actions: row.actions,
  batches: row.batches,
  partitions: row.partitions,
  details: objectOf(row.details) ?? {},
  problem: row.problem,
  actor: actorIn(row.actor),
  dbUser: row.db_user,
  applicationName: row.application_name,
  clientAddr: row.client_addr
})

/**
 * Which runs a read shows.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunFilter extends OrderedPaging {
  /** The run with this id: decimal digits. */
  readonly id?: string | undefined
  /** Purges, or maintenance. */
  readonly kind?: Run["kind"] | undefined
  /** How the run stands. */
  readonly state?: Run["state"] | undefined
  /** Runs that began at this instant or later. */
  readonly from?: InstantInput | undefined
  /** Runs that began at this instant or earlier. */
  readonly to?: InstantInput | undefined
}

const Request = Schema.Struct({
  id: Schema.optional(Id),
  kind: Schema.optional(choice("purge", "maintain")),
  state: Schema.optional(choice("running", "completed", "stopped", "cancelled", "failed")),
  from: Schema.optional(Instant),
  to: Schema.optional(Instant),
  order,
  ...paging
})

const selectRun = ({ name, sql }: Storage) => sql`
  select r.id::text as id, r.kind::text as kind, r.state::text as state,
    ${instantColumn(sql, "r.started_at")} as started_at, ${instantColumn(sql, "r.finished_at")} as finished_at,
    round(1000 * extract(epoch from r.finished_at - r.started_at))::text as duration, r.policy::text as policy,
    ${instantColumn(sql, "r.cutoff")} as cutoff,
    case when r.plan is not null then jsonb_build_object(
      'changes', r.plan -> 'changes', 'transactions', r.plan -> 'transactions', 'actions', r.plan -> 'actions'
    )::text end as planned,
    r.changes::text as changes, r.transactions::text as transactions, r.actions::text as actions, r.batches::text as batches,
    to_json(r.partitions)::text as partitions, r.details::text as details, r.problem, r.actor::text as actor,
    r.db_user::text as db_user, r.application_name, host(r.client_addr) as client_addr
  from ${name("retention_runs")} r`

export const runs = Effect.fnUntraced(function* (
  storage: Storage,
  filter: RunFilter
): Effect.fn.Return<Page<Run>, InvalidRequest | ThreadlineError> {
  yield* mustBeObject(filter, "filter")
  const decoded = yield* request(Request)(filter)
  if (decoded.from !== undefined && decoded.to !== undefined && decoded.to < decoded.from) {
    return yield* InvalidRequest.of("to", "must not be before ", { field: "from" })
  }
  const { sql } = storage
  const query: cursors.Query = { kind: "retentionRuns", order: "ids", text: canonicalRequest(decoded) }
  const after = decoded.cursor === undefined ? undefined : yield* cursors.decode(storage, query, decoded.cursor)
  yield* mustBeWhole(storage)
  const newest = decoded.order === "newest"
  const runRows = yield* rows(
    RunRow,
    sql`
      ${selectRun(storage)}
      where ${all([
        decoded.id === undefined ? undefined : sql`r.id = ${decoded.id}::bigint`,
        decoded.kind === undefined ? undefined : sql`r.kind = ${decoded.kind}`,
        decoded.state === undefined ? undefined : sql`r.state = ${decoded.state}`,
        decoded.from === undefined ? undefined : sql`r.started_at >= ${decoded.from}::timestamptz`,
        decoded.to === undefined ? undefined : sql`r.started_at <= ${decoded.to}::timestamptz`,
        after === undefined ? undefined : sql`r.id ${sql.literal(newest ? "<" : ">")} ${after.id.toString()}::bigint`
      ])}
      order by r.id ${sql.literal(newest ? "desc" : "asc")}
      limit ${decoded.limit + 1}`
  )
  return yield* pageOf(storage, runRows.map(runOf), decoded.limit, query, ({ id }) => ({
    major: BigInt(id),
    id: BigInt(id)
  }))
})

/** One run by its id. */
export const runById = (storage: Storage, id: string): Effect.Effect<Option.Option<Run>, ThreadlineError> =>
  Effect.map(rows(RunRow, storage.sql`${selectRun(storage)} where r.id = ${id}::bigint`), ([row]) =>
    Option.fromNullable(row === undefined ? undefined : runOf(row))
  )
