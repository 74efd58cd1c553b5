/**
 * The manifest of an export: what was requested, when and by whom, what the record does not know, and what was written.
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Actor from "../../Actor.js"
import type { ThreadlineError } from "../../ThreadlineError.js"
import { InstantText } from "../core/instant.js"
import { JsonObject } from "../core/jsonValue.js"
import { unsafeParse } from "../core/json.js"
import { format as formatTable } from "../core/tableName.js"
import { instantColumn } from "../record/change.js"
import type { Since } from "../feed/since.js"
import { tableOf } from "../record/key.js"
import { Lapses, lapsesOf } from "../record/lapses.js"
import { rows, type Storage } from "../record/storage.js"
import { canonicalFilter } from "../search/everything.js"
import { compressions, formats, shapes } from "./formats.js"
import { formatVersions, hasColumns, type Request } from "./request.js"
import { shapeVersions } from "./shapes.js"

const MaybeInstant = Schema.NullOr(InstantText)

const Knowledge = Schema.Struct({
  /** As in SQL: `public.posts`. */
  table: Schema.String,
  /** Since when every change of the table is kept; null if nothing was removed. */
  keptSince: MaybeInstant,
  /** The lapses of the table, each from one instant up to another; null on an open side. */
  unknown: Schema.Array(Schema.Tuple(MaybeInstant, MaybeInstant))
})

export interface Knowledge extends Schema.Schema.Type<typeof Knowledge> {}

/**
 * The description of an export. It is in `FILE.manifest.json`, and at the end of a JSON document.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Manifest = Schema.Struct({
  format: Schema.Literal(...formats),
  formatVersion: Schema.Int,
  /** For NDJSON in the form of another system: which one. Null if each line is the JSON of a change. */
  shape: Schema.NullOr(Schema.Literal(...shapes)),
  /** The version of the standard that the shape follows. Null if there is no shape. */
  shapeVersion: Schema.NullOr(Schema.String),
  /** For a Parquet file: what compresses its pages, if it is not Snappy. */
  compression: Schema.NullOr(Schema.Literal(...compressions)),
  /** The columns of a CSV or of Parquet. Null for formats that have every field. */
  columns: Schema.NullOr(Schema.Array(Schema.String)),
  /** For a CSV: true if no cell is marked that a spreadsheet takes for a formula. */
  raw: Schema.NullOr(Schema.Boolean),
  /** The filter as a document, which `Query.timeline` reads. */
  filter: JsonObject,
  order: Schema.Literal("newest", "oldest"),
  /** The most changes; null if there was no limit. */
  limit: Schema.NullOr(Schema.Number),
  /** The host's name of the scope. Null if there was no scope, `unnamed` if the scope has no name. */
  scope: Schema.NullOr(Schema.String),
  requestedBy: Schema.NullOr(Actor.Actor),
  /** By the clock of the database. */
  createdAt: InstantText,
  /** The time that the filter covers; null on an open side. */
  from: MaybeInstant,
  to: MaybeInstant,
  /**
   * The snapshot (`pg_snapshot`): the export has all changes of the transactions that it shows as committed, and no others. On
   * a replica, the snapshot of PostgreSQL does not list running transactions: it shows them as committed, and the file has none
   * of their changes. Only an export of a schedule with `since-last` lists them there too.
   */
  snapshot: Schema.String,
  /**
   * For a file that continues another one: the snapshot of that one, whose transactions are not in this file. Null for others.
   */
  after: Schema.NullOr(Schema.String),
  /** What is not known of this time: tables with lapses, and tables of which changes were removed. */
  knowledge: Schema.Array(Knowledge),
  /** The number of records: changes, or lines if a CSV has one line for each field. */
  count: Schema.NonNegativeInt,
  bytes: Schema.NonNegativeInt,
  /** The SHA-256 of the bytes, as 64 hexadecimal digits. */
  sha256: Schema.String.pipe(Schema.pattern(/^[0-9a-f]{64}$/))
}).annotations({ identifier: "threadline.ExportManifest" })

/**
 * @since 0.1.0
 * @category models
 */
export interface Manifest extends Schema.Schema.Type<typeof Manifest> {}

/** What is known before the first byte. */
export interface Facts {
  readonly createdAt: string
  readonly snapshot: string
  readonly after: string | undefined
  readonly knowledge: ReadonlyArray<Knowledge>
  readonly requestedBy: Actor.Actor | undefined
  readonly restricted: boolean
}

const SnapshotRow = Schema.Struct({ snapshot: Schema.String, created_at: Schema.String })

const TableRow = Schema.Struct({ table_schema: Schema.String, table_name: Schema.String, knowledge: Lapses })

/**
 * What is not known of the tables of the filter. If it names none: of all captured tables, or of none under a scope.
 */
const knowledgeOf = Effect.fnUntraced(function* (
  storage: Storage,
  { filter: { from, table, to } }: Request
): Effect.fn.Return<ReadonlyArray<Knowledge>, ThreadlineError> {
  const { name, sql } = storage
  if (table === undefined && storage.restriction !== undefined) {
    return []
  }
  const tables =
    table === undefined
      ? sql`select p.table_schema, p.table_name from ${name("capture_policies")} p`
      : sql`select p.value ->> 'schema'::text as table_schema, p.value ->> 'name'::text as table_name
        from pg_catalog.jsonb_array_elements(${JSON.stringify(table.map(tableOf))}::jsonb) p`
  const knowledgeRows = yield* rows(
    TableRow,
    sql`
      select p.table_schema, p.table_name, ${lapsesOf(storage, {
        schema: sql`p.table_schema`,
        name: sql`p.table_name`
      })} as knowledge
      from (${tables}) p
      order by p.table_schema, p.table_name`
  )
  return knowledgeRows.flatMap(({ knowledge: { keptSince, times }, table_name, table_schema }) => {
    const unknown = times.filter(
      ([since, until]) =>
        (to === undefined || since === null || since <= to) && (from === undefined || until === null || until > from)
    )
    const removed = keptSince !== null && (from === undefined || from < keptSince) ? keptSince : null
    return unknown.length === 0 && removed === null
      ? []
      : [{ table: formatTable({ schema: table_schema, name: table_name }), keptSince: removed, unknown }]
  })
})

export const factsOf = Effect.fnUntraced(function* (
  storage: Storage,
  request: Request,
  requestedBy: Actor.Actor | undefined,
  news: Since | undefined
): Effect.fn.Return<Facts, ThreadlineError> {
  const { sql } = storage
  const [row] = yield* rows(
    SnapshotRow,
    sql`select pg_current_snapshot()::text as snapshot, ${instantColumn(sql, "transaction_timestamp()")} as created_at`
  )
  return {
    createdAt: row?.created_at ?? "",
    // That of the feed knows what runs also on a replica, and the next file goes on from it.
    snapshot: news?.reached.snapshot ?? row?.snapshot ?? "",
    after: news?.before,
    knowledge: yield* knowledgeOf(storage, request),
    requestedBy,
    restricted: storage.restriction !== undefined
  }
})

/** What was written. */
export interface Totals {
  readonly count: number
  readonly bytes: number
  readonly sha256: string
}

export const manifestOf = (request: Request, facts: Facts, { bytes, count, sha256 }: Totals): Manifest => ({
  format: request.format,
  formatVersion: formatVersions[request.format],
  shape: request.shape ?? null,
  shapeVersion: request.shape === undefined ? null : shapeVersions[request.shape],
  compression: request.compression ?? null,
  columns: hasColumns(request.format) ? request.columns : null,
  raw: request.format === "csv" ? request.raw : null,
  filter: unsafeParse(canonicalFilter(request.filter)) as JsonObject,
  order: request.order,
  limit: request.limit ?? null,
  scope: facts.restricted ? (request.scopeName ?? "unnamed") : null,
  requestedBy: facts.requestedBy ?? null,
  createdAt: facts.createdAt,
  from: request.filter.from ?? null,
  to: request.filter.to ?? null,
  snapshot: facts.snapshot,
  after: facts.after ?? null,
  knowledge: facts.knowledge,
  count,
  bytes,
  sha256
})
