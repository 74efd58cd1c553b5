/**
 * The statements about jobs. Each stands alone: it needs no session, and no transaction around it.
 */
import type { Fragment, Statement } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Actor } from "../../../Actor.js"
import * as AuditContext from "../../../AuditContext.js"
import { NotFound, type ThreadlineError } from "../../../ThreadlineError.js"
import { canonical, stringify } from "../../core/json.js"
import { JsonFromText } from "../../core/jsonSchema.js"
import type { JsonValue } from "../../core/jsonValue.js"
import type { Reached } from "../../feed/since.js"
import { instantColumn } from "../../record/change.js"
import { all, rows, type Storage, unreadable, writtenRows } from "../../record/storage.js"
import { mustBeWhole } from "../../record/whole.js"
import { withoutConnection } from "../../sql/owned.js"
import type { Manifest } from "../manifest.js"
import { Job, type JobError, type NamedScope, type State, type StoredRequest } from "./model.js"

/** An action to be recorded in the same transaction; null if exports are not recorded. */
export type Action = { readonly [field: string]: JsonValue } | null

const json = (document: unknown): string | null =>
  document === null || document === undefined ? null : stringify(document)

const JobRow = Schema.Struct({ job: JsonFromText })

const decodeJob = Schema.decodeUnknown(Job)

const instant = ({ sql }: Storage, column: string): Fragment => instantColumn(sql, `j.${column}`)

/** A job as its JSON, so that its numbers keep their digits. */
const jobColumn = (storage: Storage): Fragment => storage.sql`
  pg_catalog.jsonb_build_object(
    'id', j.id::text,
    'state', j.state,
    'request', j.request,
    'scope', j.scope,
    'requestedBy', j.requested_by,
    'schedule', j.schedule,
    'tick', ${instant(storage, "tick")},
    'requestedAt', ${instant(storage, "requested_at")},
    'availableAt', ${instant(storage, "available_at")},
    'startedAt', ${instant(storage, "started_at")},
    'finishedAt', ${instant(storage, "finished_at")},
    'expiresAt', ${instant(storage, "expires_at")},
    'attempt', j.attempt,
    'attempts', j.attempts,
    'records', j.records,
    'bytes', j.bytes,
    'estimate', j.estimate,
    'rate', case
      when j.records > 0 and j.progress_at > j.started_at
      then pg_catalog.floor(j.records / extract(epoch from j.progress_at - j.started_at))::bigint
    end,
    'error', j.error,
    'file', j.location,
    'manifest', j.manifest
  )::text as job`

const jobs = (
  storage: Storage,
  conditions: ReadonlyArray<Fragment | undefined>,
  rest: Fragment
): Effect.Effect<ReadonlyArray<Job>, ThreadlineError> =>
  withoutConnection(
    Effect.flatMap(
      Effect.zipRight(
        mustBeWhole(storage),
        rows(
          JobRow,
          storage.sql`
        select ${jobColumn(storage)}
        from ${storage.name("export_jobs")} j
        where ${all(conditions)}
        ${rest}`
        )
      ),
      (found) =>
        Effect.mapError(
          Effect.forEach(found, ({ job }) => decodeJob(job)),
          unreadable
        )
    )
  )

/** Which jobs a listing shows. With a scope: those that its callers may see. */
export interface Which {
  readonly state?: ReadonlyArray<State> | undefined
  readonly schedule?: string | undefined
  readonly requestedBy?: { readonly type: string; readonly id: string | undefined } | undefined
  readonly scope?: NamedScope | undefined
  /** Only jobs before this one. */
  readonly before?: bigint | undefined
}

const conditionsOf = (
  { sql }: Storage,
  { before, requestedBy, schedule, scope, state }: Which
): ReadonlyArray<Fragment | undefined> => [
  state === undefined ? undefined : sql`j.state = any (${`{${state.join(",")}}`}::text[])`,
  schedule === undefined ? undefined : sql`j.schedule = ${schedule}`,
  requestedBy === undefined ? undefined : sql`j.requested_by ->> 'type'::text = ${requestedBy.type}`,
  requestedBy?.id === undefined ? undefined : sql`j.requested_by ->> 'id'::text = ${requestedBy.id}`,
  scope === undefined ? undefined : sql`j.scope = ${scopeDocument(scope)}::jsonb`,
  before === undefined ? undefined : sql`j.id < ${before.toString()}::bigint`
]

export const list = (storage: Storage, which: Which, limit: number) =>
  jobs(storage, conditionsOf(storage, which), storage.sql`order by j.id desc limit ${limit}`)

const unknownJob = (id: string) => new NotFound({ subject: "export", id })

export const find = (
  storage: Storage,
  id: string,
  scope?: NamedScope
): Effect.Effect<Job, NotFound | ThreadlineError> =>
  Effect.flatMap(
    jobs(storage, [storage.sql`j.id = ${id}::bigint`, ...conditionsOf(storage, { scope })], storage.sql``),
    ([job]): Effect.Effect<Job, NotFound> => (job === undefined ? unknownJob(id) : Effect.succeed(job))
  )

export const mostRemovable = 1000

/** Jobs after this id whose files must be removed: expired ones, and failed and cancelled ones, which may have left a part. */
export const removable = (storage: Storage, after: string) =>
  jobs(
    storage,
    [
      storage.sql`j.id > ${after}::bigint`,
      storage.sql`j.location is not null`,
      storage.sql`(j.state in ('failed', 'cancelled') or (j.state = 'completed' and j.expires_at <= clock_timestamp()))`
    ],
    storage.sql`order by j.id limit ${mostRemovable}`
  )

const mostReady = 1000

/** Jobs that a worker could take, the oldest first: they wait, or their worker is dead. */
export const ready = (storage: Storage) =>
  jobs(
    storage,
    [
      storage.sql`(
        (j.state = 'queued' and j.available_at <= clock_timestamp())
        or (j.state = 'running' and j.lease_until < clock_timestamp())
      )`
    ],
    storage.sql`order by j.available_at, j.id limit ${mostReady}`
  )

const scopeDocument = ({ name, parameters = {} }: NamedScope): string => canonical({ name, parameters })

const TextRow = Schema.Struct({ outcome: Schema.NullOr(Schema.String) })

const outcomeOf = (
  storage: Storage,
  statement: Statement<unknown>
): Effect.Effect<Option.Option<string>, ThreadlineError> =>
  Effect.map(withoutConnection(writtenRows(storage, TextRow, statement)), ([row]) => Option.fromNullable(row?.outcome))

/** The same for a function that looks through jobs or schedules. One that is given a job finds that it is hidden by itself. */
const lookingThrough = (storage: Storage, statement: Statement<unknown>) =>
  Effect.zipRight(withoutConnection(mustBeWhole(storage)), outcomeOf(storage, statement))

/** What is requested, and who requests it. */
export interface Asked {
  readonly request: StoredRequest
  readonly scope: NamedScope | undefined
  readonly requestedBy: Actor | undefined
  readonly context: AuditContext.Fields
}

/** Queues a job. Gives its id; none if the actor has too many waiting jobs. */
export const queue = (
  storage: Storage,
  { context, request, requestedBy, scope }: Asked,
  attempts: number,
  mostWaiting: number | undefined,
  action: Action
) =>
  lookingThrough(
    storage,
    storage.sql`
    select ${storage.name("export_queue")}(
      ${stringify(request)}::jsonb, ${scope === undefined ? null : scopeDocument(scope)}::jsonb, ${json(requestedBy)}::jsonb,
      ${AuditContext.encode(context)}::jsonb, ${attempts}, ${mostWaiting ?? null}::int, ${json(action)}::jsonb
    )::text as outcome`
  )

/** Cancels a job. Gives its state before the call; none if there is no such job. */
export const cancel = (storage: Storage, id: string, action: Action, context: AuditContext.Fields) =>
  outcomeOf(
    storage,
    storage.sql`
    select ${storage.name("export_cancel")}(${id}::bigint, ${json(action)}::jsonb, ${AuditContext.encode(context)}::jsonb) as outcome`
  )

/** What `retry` answers of a job that began where the last one of a schedule ended that was removed since. */
export const unscheduled = "unscheduled"

/** Queues a job again. Gives its state before the call, or `unscheduled`; none if there is no such job. */
export const retry = (storage: Storage, id: string, action: Action, context: AuditContext.Fields) =>
  outcomeOf(
    storage,
    storage.sql`
    select ${storage.name("export_retry")}(${id}::bigint, ${json(action)}::jsonb, ${AuditContext.encode(context)}::jsonb) as outcome`
  )

/** The hold of one worker on a job. */
export interface Lease {
  readonly token: string
  readonly seconds: number
}

const ClaimRow = Schema.Struct({
  job: Schema.String,
  former_location: Schema.NullOr(Schema.String),
  goes_on: Schema.Literal("true", "false"),
  checkpoint: Schema.NullOr(Schema.String)
})

export interface Claimed {
  readonly job: Job
  /** The file that an earlier attempt may have left in the store. */
  readonly formerFile: string | undefined
  /** Whether the job begins where the last one of its schedule ended, and where that is. Null for the first job. */
  readonly sinceLast: boolean
  readonly checkpoint: string | null
}

/** The next job, or the one that is named, now under the lease. None if it cannot be taken. */
export const claim = (
  storage: Storage,
  { seconds, token }: Lease,
  wanted: string | undefined
): Effect.Effect<Option.Option<Claimed>, ThreadlineError | NotFound> => {
  const { name, sql } = storage
  return Effect.flatMap(
    withoutConnection(
      Effect.zipRight(
        mustBeWhole(storage),
        writtenRows(
          storage,
          ClaimRow,
          sql`
        select k.job::text as job, k.former_location, k.goes_on::text as goes_on, k.checkpoint
        from ${name("export_claim")}(${token}, ${seconds}, ${wanted ?? null}::bigint) k`
        )
      )
    ),
    ([row]) =>
      row === undefined
        ? Effect.succeedNone
        : Effect.map(find(storage, row.job), (job) =>
            Option.some({
              job,
              formerFile: row.former_location ?? undefined,
              checkpoint: row.checkpoint,
              sinceLast: row.goes_on === "true"
            })
          )
  )
}

const isYes = (outcome: Effect.Effect<Option.Option<string>, ThreadlineError>) =>
  Effect.map(outcome, Option.contains("true"))

/** What a worker has written so far. */
export interface SoFar {
  readonly records: number
  readonly bytes: number
  readonly estimate: number | undefined
}

/** Chooses a new name for the file, after the file of an earlier attempt was removed. None if the lease is lost. */
export const place = (storage: Storage, id: string, { token }: Lease) =>
  outcomeOf(storage, storage.sql`select ${storage.name("export_place")}(${id}::bigint, ${token}) as outcome`)

/** Removes the rows of at most a thousand jobs that ended so long ago, and says how many. */
export const forget = (storage: Storage, seconds: number) =>
  Effect.map(
    lookingThrough(storage, storage.sql`select ${storage.name("export_forget")}(${seconds})::text as outcome`),
    Option.match({ onNone: () => 0, onSome: Number })
  )

/** Renews the lease and stores the progress. False if the job was cancelled, or if another worker has it. */
export const renew = (storage: Storage, id: string, { seconds, token }: Lease, soFar: SoFar) =>
  isYes(
    outcomeOf(
      storage,
      storage.sql`
    select ${storage.name("export_renew")}(
      ${id}::bigint, ${token}, ${seconds}, ${soFar.records}::bigint, ${soFar.bytes}::bigint, ${soFar.estimate ?? null}::bigint
    )::text as outcome`
    )
  )

/** What is stored when the file of a job is complete. */
export interface Completion {
  readonly manifest: Manifest
  readonly keepSeconds: number
  /** Where the job began, and where the next job of its schedule begins. */
  readonly checkpoint: string | null
  readonly reached: Reached | undefined
  readonly action: Action
}

/** Completes a job. Gives `completed`, or `lost` if the lease is lost, or `moved` if another job has moved the checkpoint. */
export const complete = (
  storage: Storage,
  id: string,
  { token }: Lease,
  { action, checkpoint, keepSeconds, manifest, reached }: Completion
) =>
  outcomeOf(
    storage,
    storage.sql`
    select ${storage.name("export_complete")}(
      ${id}::bigint, ${token}, ${stringify(manifest)}::jsonb, ${keepSeconds}, ${checkpoint}, ${reached?.checkpoint ?? null},
      ${reached?.epoch ?? null}::int, ${reached?.snapshot ?? null}::pg_snapshot, ${json(action)}::jsonb
    ) as outcome`
  )

/** Ends an attempt that failed. Gives the state of the job after the call; none if the lease is lost. */
export const fail = (
  storage: Storage,
  id: string,
  { token }: Lease,
  why: JobError,
  delaySeconds: number | undefined,
  action: Action
) =>
  outcomeOf(
    storage,
    storage.sql`
    select ${storage.name("export_fail")}(
      ${id}::bigint, ${token}, ${stringify(why)}::jsonb, ${delaySeconds ?? null}::float8, ${json(action)}::jsonb
    ) as outcome`
  )

export const release = (storage: Storage, id: string, { token }: Lease) =>
  isYes(
    outcomeOf(storage, storage.sql`select ${storage.name("export_release")}(${id}::bigint, ${token})::text as outcome`)
  )

/** Notes that the file of a job was removed. True if that made a completed job expired. */
export const removed = (storage: Storage, id: string, file: string, action: Action, context: AuditContext.Fields) =>
  isYes(
    outcomeOf(
      storage,
      storage.sql`
    select ${storage.name("export_removed")}(
      ${id}::bigint, ${file}, ${json(action)}::jsonb, ${AuditContext.encode(context)}::jsonb
    )::text as outcome`
    )
  )

/** Records an action that changes no job. */
export const record = (storage: Storage, action: Action, context: AuditContext.Fields) =>
  action === null
    ? Effect.void
    : Effect.asVoid(
        outcomeOf(
          storage,
          storage.sql`
          select ${storage.name("record_export")}(${stringify(action)}::jsonb, ${AuditContext.encode(context)}::jsonb)::text as outcome`
        )
      )

export interface NewSchedule {
  readonly name: string
  readonly cron: string
  readonly timeZone: string
  readonly window: string
  readonly missed: string
  readonly asked: Asked
  readonly first: string
}

/** Adds a schedule. False if the name is taken. */
export const addSchedule = (storage: Storage, schedule: NewSchedule) => {
  const { name, sql } = storage
  const { asked, cron, first, missed, timeZone, window } = schedule
  return isYes(
    lookingThrough(
      storage,
      sql`
      select ${name("export_schedule_add")}(
        ${schedule.name}, ${cron}, ${timeZone}, ${window}, ${missed}, ${stringify(asked.request)}::jsonb,
        ${asked.scope === undefined ? null : scopeDocument(asked.scope)}::jsonb, ${json(asked.requestedBy)}::jsonb,
        ${AuditContext.encode(asked.context)}::jsonb, ${first}::timestamptz
      )::text as outcome`
    )
  )
}

/** Removes a schedule. False if there is none of that name, or if it is of another scope than the one that is given. */
export const removeSchedule = (storage: Storage, name: string, scope: NamedScope | undefined) =>
  isYes(
    lookingThrough(
      storage,
      storage.sql`
        select ${storage.name("export_schedule_remove")}(
          ${name}, ${scope === undefined ? null : scopeDocument(scope)}::jsonb
        )::text as outcome`
    )
  )

export interface Tick {
  readonly name: string
  readonly due: string
  readonly next: string
  /** Null if no job is to be made. */
  readonly request: string | null
  readonly attempts: number
  readonly action: Action
}

/** Makes the job of a tick, unless another worker has made it. */
export const tick = (storage: Storage, { action, attempts, due, name: schedule, next, request }: Tick) =>
  outcomeOf(
    storage,
    storage.sql`
    select ${storage.name("export_tick")}(
      ${schedule}, ${due}::timestamptz, ${next}::timestamptz, ${request}::jsonb, ${attempts}, ${json(action)}::jsonb
    )::text as outcome`
  )
