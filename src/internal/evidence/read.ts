/** Reads of evidence: bounded, paged, newest first. */
import type { Fragment } from "@effect/sql/Statement"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Page } from "../../Page.js"
import { InvalidRequest, type ThreadlineError } from "../../ThreadlineError.js"
import { Instant, type InstantInput } from "../core/instant.js"
import { JsonFromText } from "../core/jsonSchema.js"
import { isObject, type JsonObject, type JsonValue } from "../core/jsonValue.js"
import {
  canonicalRequest,
  choice,
  mustBeObject,
  type OrderedPaging,
  order,
  paging,
  request,
  ShortText
} from "../core/request.js"
import { actorOf, instantColumn } from "../record/change.js"
import * as cursors from "../record/cursor.js"
import { pageOf } from "../record/page.js"
import { format } from "../core/tableName.js"
import { all, rows, type Storage, unreadable } from "../record/storage.js"
import { mustBeWhole } from "../record/whole.js"
import { type EvidenceRecord, Origin, type Standing, Status, Subject, subjects } from "./model.js"
import { literal } from "../sql/sqlText.js"
import { checkReference, checkSubject } from "./check.js"

const MaybeText = Schema.NullOr(Schema.String)

const Row = Schema.Struct({
  id: Schema.String,
  subject: Subject,
  reference: Schema.String,
  status: Status,
  detail: JsonFromText,
  version: Schema.NumberFromString,
  origin: Origin,
  actor: Schema.NullOr(JsonFromText),
  actor_type: MaybeText,
  actor_id: MaybeText,
  recorded_at: Schema.String,
  db_user: Schema.String,
  role_name: Schema.String,
  application_name: MaybeText,
  client_addr: MaybeText
})

const objectOf = (value: JsonValue): JsonObject => (isObject(value) ? value : {})

const recordOf = (row: typeof Row.Type): EvidenceRecord => ({
  id: row.id,
  subject: row.subject,
  reference: row.reference,
  status: row.status,
  detail: objectOf(row.detail),
  detailVersion: row.version,
  origin: row.origin,
  actor: row.actor === null ? null : actorOf(row.actor, row.actor_type, row.actor_id),
  recordedAt: row.recorded_at,
  dbUser: row.db_user,
  role: row.role_name,
  applicationName: row.application_name,
  clientAddr: row.client_addr
})

const select = ({ name, sql }: Storage): Fragment => sql`
  select e.id::text as id, e.subject::text as subject, e.reference::text as reference, e.status::text as status,
    e.detail::text as detail, e.detail_version::text as version, e.origin::text as origin, e.actor::text as actor,
    e.actor_type::text as actor_type, e.actor_id::text as actor_id, ${instantColumn(sql, "e.recorded_at")} as recorded_at,
    e.db_user::text as db_user, e.role_name::text as role_name, e.application_name::text as application_name,
    pg_catalog.host(e.client_addr) as client_addr
  from ${name("evidence_records")} e`

export const byId = (storage: Storage, id: string): Effect.Effect<EvidenceRecord | undefined, ThreadlineError> =>
  Effect.map(rows(Row, storage.sql`${select(storage)} where e.id = ${id}::bigint`), ([row]) =>
    row === undefined ? undefined : recordOf(row)
  )

/**
 * Which records a read shows. Instants are inclusive.
 *
 * @since 0.1.0
 * @category models
 */
export interface EvidenceFilter extends OrderedPaging {
  /** What the record is about. */
  readonly subject?: Subject | undefined
  /** What the record refers to, as `Given` has it. */
  readonly reference?: string | undefined
  /** The outcome that was recorded. */
  readonly status?: Status | undefined
  /** `derived` by Threadline itself, or given by the `host`. */
  readonly origin?: Origin | undefined
  /** Records at this instant or later. */
  readonly from?: InstantInput | undefined
  /** Records at this instant or earlier. */
  readonly to?: InstantInput | undefined
}

const Request = Schema.Struct({
  subject: Schema.optional(choice(...subjects)),
  reference: Schema.optional(ShortText),
  status: Schema.optional(choice("ok", "attention", "failed")),
  origin: Schema.optional(choice("derived", "host")),
  from: Schema.optional(Instant),
  to: Schema.optional(Instant),
  order,
  ...paging
})

export const list = Effect.fnUntraced(function* (
  storage: Storage,
  filter: EvidenceFilter
): Effect.fn.Return<Page<EvidenceRecord>, InvalidRequest | ThreadlineError> {
  yield* mustBeObject(filter, "filter")
  if (filter.subject !== undefined) {
    yield* checkSubject(filter.subject)
  }
  const decoded = yield* request(Request)(filter)
  if (decoded.from !== undefined && decoded.to !== undefined && decoded.to < decoded.from) {
    return yield* InvalidRequest.of("to", "must not be before ", { field: "from" })
  }
  const { sql } = storage
  const query: cursors.Query = { kind: "evidence", order: "ids", text: canonicalRequest(decoded) }
  const after = decoded.cursor === undefined ? undefined : yield* cursors.decode(storage, query, decoded.cursor)
  yield* mustBeWhole(storage)
  const newest = decoded.order === "newest"
  const recordRows = yield* rows(
    Row,
    sql`
      ${select(storage)}
      where ${all([
        decoded.subject === undefined ? undefined : sql`e.subject = ${decoded.subject}`,
        decoded.reference === undefined ? undefined : sql`e.reference = ${decoded.reference}`,
        decoded.status === undefined ? undefined : sql`e.status = ${decoded.status}`,
        decoded.origin === undefined ? undefined : sql`e.origin = ${decoded.origin}`,
        decoded.from === undefined ? undefined : sql`e.recorded_at >= ${decoded.from}::timestamptz`,
        decoded.to === undefined ? undefined : sql`e.recorded_at <= ${decoded.to}::timestamptz`,
        after === undefined ? undefined : sql`e.id ${sql.literal(newest ? "<" : ">")} ${after.id.toString()}::bigint`
      ])}
      order by e.id ${sql.literal(newest ? "desc" : "asc")}
      limit ${decoded.limit + 1}`
  )
  return yield* pageOf(storage, recordRows.map(recordOf), decoded.limit, query, ({ id }) => ({
    major: BigInt(id),
    id: BigInt(id)
  }))
})

export const latest = Effect.fnUntraced(function* (
  storage: Storage,
  subject: unknown,
  reference: unknown
): Effect.fn.Return<Option.Option<EvidenceRecord>, InvalidRequest | ThreadlineError> {
  const page = yield* list(storage, {
    subject: yield* checkSubject(subject),
    reference: yield* checkReference(reference),
    limit: 1
  })
  return Option.fromNullable(page.items[0])
})

const NowRow = Schema.Struct({ now: Schema.String })

/** The clock of the database. */
export const now = ({ sql }: Storage): Effect.Effect<string, ThreadlineError> =>
  Effect.flatMap(rows(NowRow, sql`select ${instantColumn(sql, "clock_timestamp()")} as now`), ([row]) =>
    row === undefined ? unreadable() : Effect.succeed(row.now)
  )

const FormerRow = Schema.Struct({ schema: Schema.String, name: Schema.String })

/** Tables whose capture was ended, by name. */
export const former = (storage: Storage): Effect.Effect<ReadonlyArray<string>, ThreadlineError> =>
  Effect.zipRight(
    mustBeWhole(storage),
    Effect.map(
      rows(
        FormerRow,
        storage.sql`
          select p.table_schema::text as schema, p.table_name::text as name
          from ${storage.name("capture_policies")} p
          where p.removed_at is not null
          order by p.table_schema, p.table_name`
      ),
      (tables) => tables.map(format)
    )
  )

const CountRow = Schema.Struct({ subject: Subject, records: Schema.NumberFromString })

/** How the six subjects stand. */
export const overview = Effect.fnUntraced(function* (
  storage: Storage
): Effect.fn.Return<ReadonlyArray<Standing>, ThreadlineError> {
  yield* mustBeWhole(storage)
  const { name, sql } = storage
  const counts = yield* rows(
    CountRow,
    sql`
      select e.subject::text as subject, count(*)::text as records
      from ${name("evidence_records")} e
      group by e.subject`
  )
  const newest = yield* rows(
    Row,
    sql`
      ${select(storage)}
      where e.id in (
        select l.id
        from pg_catalog.unnest(array[${sql.literal(subjects.map((subject) => literal(subject)).join(", "))}]::text[]) s (subject)
        cross join (values ('derived'), ('host')) o (origin)
        cross join lateral (
          select r.id
          from ${name("evidence_records")} r
          where r.subject = s.subject and r.origin = o.origin
          order by r.id desc
          limit 1
        ) l
      )`
  )
  const newestRecords = newest.map(recordOf)
  return subjects.map((subject): Standing => {
    const latestDerived = newestRecords.find((one) => one.subject === subject && one.origin === "derived") ?? null
    return {
      subject,
      verdict: latestDerived?.status ?? "unproven",
      records: counts.find((one) => one.subject === subject)?.records ?? 0,
      latestDerived,
      latestByHost: newestRecords.find((one) => one.subject === subject && one.origin === "host") ?? null
    }
  })
})
