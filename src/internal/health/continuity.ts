/**
 * Which questions about the rows of each captured table can be answered, and since when.
 */
import type { SqlClient } from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Effect from "effect/Effect"
import type { ParseError } from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { literal, qualified } from "../sql/sqlText.js"
import type { Catalog, Deployed, Name } from "../capture/catalogModel.js"
import { label } from "../capture/resolve.js"
import type { Coverage } from "./model.js"
import { instant, type Times } from "./record.js"
import { Lapse } from "./model.js"

const MaybeText = Schema.NullOr(Schema.String)

/**
 * A question about a table, and the instant since which it can be answered. `from` is null if it cannot be answered now; `why`
 * says why.
 *
 * - `changes`: what was done to its rows
 * - `changed rows`: how a row stood that has changed since then
 * - `unchanged rows`: how a row stood that has not
 *
 * @since 0.1.0
 * @category models
 */
export const Answer = Schema.Struct({
  question: Schema.Literal("changes", "changed rows", "unchanged rows"),
  from: MaybeText,
  why: Schema.NullOr(Schema.Literal("not captured", "lapse", "no key", "no baseline", "baseline running"))
}).annotations({ identifier: "threadline.Continuity.Answer" })

/**
 * @since 0.1.0
 * @category models
 */
export type Answer = typeof Answer.Type

/**
 * The latest baseline of a table. `from` is when it was done: from then on, rows that never changed are known.
 *
 * @since 0.1.0
 * @category models
 */
export const Baseline = Schema.Struct({
  state: Schema.Literal("running", "done", "abandoned"),
  startedAt: Schema.String,
  finishedAt: MaybeText,
  /** Rows that it recorded. Rows that had changed since capture began were known already. */
  recorded: Schema.Int,
  blocks: Schema.Int,
  blocksDone: Schema.Int,
  /** Whether it still counts: nothing has become unknown since. */
  valid: Schema.Boolean
}).annotations({ identifier: "threadline.Continuity.Baseline" })

/**
 * @since 0.1.0
 * @category models
 */
export type Baseline = typeof Baseline.Type

/**
 * Which questions about one table can be answered. Instants have microseconds and are UTC.
 *
 * @since 0.1.0
 * @category models
 */
export const Readiness = Schema.Struct({
  table: Schema.String,
  captured: Schema.Boolean,
  keyed: Schema.Boolean,
  since: MaybeText,
  lapses: Schema.Array(Lapse),
  /** The horizon: older changes may be gone. */
  keptSince: MaybeText,
  baseline: Schema.NullOr(Baseline),
  answers: Schema.Array(Answer)
}).annotations({ identifier: "threadline.Continuity.Readiness" })

/**
 * @since 0.1.0
 * @category models
 */
export type Readiness = typeof Readiness.Type

const Row = Schema.Struct({
  schema: Schema.String,
  name: Schema.String,
  baseline: Schema.parseJson(Baseline)
})

type BaselineRow = typeof Row.Type

/** The latest baseline of each table that has one. `times` say since when a changed row of a table is known. */
const readBaselines = (
  sql: SqlClient,
  storage: string,
  times: ReadonlyArray<Times>
): Effect.Effect<ReadonlyArray<BaselineRow>, SqlError | ParseError> =>
  Effect.flatMap(
    sql.unsafe(
      `
select distinct on (b.table_schema, b.table_name) b.table_schema as schema, b.table_name as name,
  jsonb_build_object(
    'state', b.state,
    'startedAt', ${instant("b.started_at")},
    'finishedAt', ${instant("b.finished_at")},
    'recorded', b.recorded,
    'blocks', s.blocks,
    'blocksDone', s.done,
    'valid', coalesce(b.known_from >= k.known_from, false)
  )::text as baseline
from ${qualified(storage, "capture_baselines")} b
join jsonb_to_recordset($1::jsonb) as k (schema text, name text, known_from timestamptz)
  on k.schema = b.table_schema and k.name = b.table_name
cross join lateral (
  select coalesce(sum((e.value ->> 'blocks')::bigint), 0) as blocks, coalesce(sum((e.value ->> 'next')::bigint), 0) as done
  from jsonb_array_elements(b.relations) e
) s
order by b.table_schema, b.table_name, b.id desc`,
      [JSON.stringify(times.map(({ knownFrom, name, schema }) => ({ schema, name, known_from: knownFrom })))]
    ),
    Schema.decodeUnknown(Schema.Array(Row))
  )

/** What is known of a table beside its coverage. */
interface Known {
  readonly deployed: Deployed | undefined
  readonly baseline: Baseline | null
  readonly knownFrom: string | null
}

const readinessOf = (
  { keptSince, lapses, since, status, table }: Coverage,
  { baseline, deployed, knownFrom }: Known
): Readiness => {
  const keyed = (deployed?.policy.key.length ?? 0) > 0
  const isOpen = lapses.some(({ until }) => until === null)
  const captured = status === "covered"
  const latest = (instants: ReadonlyArray<string | null>): string | null =>
    instants.reduce((a, b) => (a === null ? b : b === null || b < a ? a : b), null)
  const unanswered = since === null || deployed?.policy.removedAt !== null ? "not captured" : isOpen ? "lapse" : null
  const done = baseline !== null && baseline.valid && baseline.state === "done"
  const changedRows = unanswered ?? (keyed ? null : "no key")
  const unchangedRows =
    changedRows ??
    (done ? null : baseline?.state === "running" && baseline.valid ? "baseline running" : ("no baseline" as const))
  return {
    table,
    captured,
    keyed,
    since,
    lapses,
    keptSince,
    baseline,
    answers: [
      { question: "changes", from: unanswered === null ? latest([since, keptSince]) : null, why: unanswered },
      { question: "changed rows", from: changedRows === null ? knownFrom : null, why: changedRows },
      {
        question: "unchanged rows",
        from: unchangedRows === null ? (baseline?.finishedAt ?? null) : null,
        why: unchangedRows
      }
    ]
  }
}

const byLabel = <A extends Name>(all: ReadonlyArray<A>): ReadonlyMap<string, A> =>
  new Map(all.map((one) => [label(one), one]))

/** The readiness of every table of a coverage, read in the same snapshot. */
export const readReadiness = Effect.fnUntraced(function* (
  sql: SqlClient,
  storage: string,
  {
    catalog,
    coverage,
    times
  }: { readonly catalog: Catalog; readonly coverage: ReadonlyArray<Coverage>; readonly times: ReadonlyArray<Times> }
) {
  const baselines = byLabel(yield* readBaselines(sql, storage, times))
  const known = byLabel(times)
  const deployed = byLabel(
    catalog.deployed.map((each) => ({ ...each, schema: each.policy.tableSchema, name: each.policy.tableName }))
  )
  return coverage.map((each) =>
    readinessOf(each, {
      deployed: deployed.get(each.table),
      baseline: baselines.get(each.table)?.baseline ?? null,
      knownFrom: known.get(each.table)?.knownFrom ?? null
    })
  )
})

/**
 * What a baseline has to know of a table before it begins. Privileges are those of the connected role, and of the record's
 * owner.
 */
export const baselineTarget = (storage: string, schema: string, name: string): string => `
select
  current_user::text as role,
  pg_get_userbyid(s.nspowner)::text as owner,
  p.key_columns <> '[]' as keyed,
  coalesce((
    select jsonb_agg(jsonb_build_object(
      'relation', c.oid::regclass::text,
      'foreign', c.relkind = 'f',
      'locks', has_any_column_privilege(c.oid, 'update') and has_any_column_privilege(c.oid, 'select'),
      'reads', has_table_privilege(s.nspowner, c.oid, 'select'),
      'hidden', row_security_active(c.oid)
    ) order by c.oid)
    from ${qualified(storage, "row_holders")}(r.oid) h (oid)
    join pg_class c on c.oid = h.oid
  ), '[]')::text as relations
from ${qualified(storage, "capture_policies")} p
join pg_namespace s on s.nspname = ${literal(storage)}
join pg_namespace n on n.nspname = p.table_schema
join pg_class r on r.relnamespace = n.oid and r.relname = p.table_name
where p.table_schema = ${literal(schema)}
  and p.table_name = ${literal(name)}
  and p.removed_at is null`

/** Whether row-level security hides rows of the relations from the role that asks. */
export const hiddenRows = (relations: ReadonlyArray<string>): string => `
select coalesce(json_agg(c.oid::regclass::text), '[]')::text as hidden
from unnest(array[${relations.map(literal).join(", ")}]::text[]) n (name)
join pg_class c on c.oid = n.name::regclass
where row_security_active(c.oid)`
