/**
 * What roles of the host need on Threadline's schema, as SQL to print or to run.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { fromSqlError, InvalidRequest, type ThreadlineError } from "../../ThreadlineError.js"
import { mustHaveOnly } from "../core/request.js"
import { checkVersion } from "./check.js"
import { beginWriting, transactionOrSavepoint } from "../sql/owned.js"
import { identifier, literal, qualified } from "../sql/sqlText.js"
import { StorageSchema } from "../sql/storageSchema.js"

export interface Grants {
  /** Roles that set context and record actions. */
  readonly writers?: ReadonlyArray<string> | undefined
  /** Roles that read everything that is recorded, queue exports of it, and save views. */
  readonly readers?: ReadonlyArray<string> | undefined
  /** Roles that read, store the checkpoints of the feed's consumers, run jobs of exports, and schedule them. */
  readonly operators?: ReadonlyArray<string> | undefined
}

const writing = [
  "set_context(jsonb)",
  "begin_part(jsonb)",
  "record_action(jsonb, jsonb)",
  "finish(jsonb)",
  "record_export(jsonb, jsonb)"
]
// row_key casts to types of the host. So it, and what it calls, runs with the reader's rights.
const reading = [
  "row_key(text, text, jsonb)",
  "key_shown(text, text)",
  "key_in_columns(text, text, jsonb, jsonb)",
  "key_text(text, text)",
  "key_of_texts(text[])",
  "bounded_key(text)",
  "lapses_with(text, text, timestamptz)",
  "capture_lapses(text, text)",
  "known_until(text, text, text[], timestamptz)",
  "last_changes(text, text, timestamptz)",
  "oldest_kept()",
  "first_change(text, text)",
  "unknown_times(text, text)",
  "kept_since(text, text)",
  "own_names(text, text)",
  "policy_of(text, text)",
  "named_since(text, text)",
  "declared_names(text, text, text[])",
  "table_names(text, text)",
  "column_names(text, text)",
  "strayed_names()",
  "changes_near(text[], text, text, text, timestamptz, timestamptz, timestamptz, int)",
  "truncates_behind(jsonb, text, text, timestamptz, timestamptz)",
  "changes_known(jsonb, text, text, timestamptz, timestamptz)",
  "keys_near(text, text, timestamptz, timestamptz, text, text, int, timestamptz, timestamptz, timestamptz)",
  "changes_of(bigint[], timestamptz[], boolean, int, text, text, timestamptz, timestamptz, bigint, bigint)",
  "contents_of(bigint[], timestamptz[], boolean, int, int, boolean, timestamptz, timestamptz)",
  "capture_gap(text, text)",
  "capture_gaps(text, text)",
  "row_holders(oid)",
  "columns_rewritten(oid, jsonb, jsonb)",
  "values_touched(jsonb)",
  "text_form(oid)",
  "type_version(text[])",
  "type_uses(oid, int2, boolean)",
  "column_state(oid, int2)",
  "types_within(oid, int2[])",
  "value_marks(oid, int2[])",
  "label_marks(oid)",
  "labels_touched(oid, jsonb, jsonb)",
  "rows_rewritten(oid, jsonb)",
  "last_recovery()",
  "watch_failed_since(text, text)",
  "this_database()",
  "baseline_known_from(text, text)",
  "written_since(xid)",
  "broken_triggers(text, text)",
  "trigger_marks(oid)",
  "triggers_touched(oid, jsonb)",
  "disinherited_by(oid, jsonb)",
  "partitions_below(oid)",
  "has_empty_file(oid)",
  "partition_marks(oid)",
  "partitions_moved(oid, jsonb)",
  "function_suffix(text, text)",
  "key_values(oid, jsonb)",
  "key_values_renamed(oid, jsonb, jsonb)",
  "plain_type(text)",
  "former_key(jsonb, jsonb, jsonb)",
  "key_changed(oid, jsonb, jsonb)",
  "current_cluster()",
  "prepared_transactions()",
  "feed_pending()",
  "feed_horizon()",
  "record_export(jsonb, jsonb)",
  "export_queue(jsonb, jsonb, jsonb, jsonb, integer, integer, jsonb)",
  "export_cancel(bigint, jsonb, jsonb)",
  "export_retry(bigint, jsonb, jsonb)",
  "save_view(text, text, text, text, text, boolean, integer)",
  "delete_view(text, text, text)"
]
const operating = [
  "feed_claim(text, text, double precision)",
  "feed_renew(text, text, double precision)",
  "feed_store(text, text, text, text, integer, pg_snapshot, bigint, timestamptz, double precision)",
  "feed_release(text, text)",
  "feed_forget(text)",
  "export_claim(text, double precision, bigint)",
  "export_renew(bigint, text, double precision, bigint, bigint, bigint)",
  "export_complete(bigint, text, jsonb, double precision, text, text, integer, pg_snapshot, jsonb)",
  "export_fail(bigint, text, jsonb, double precision, jsonb)",
  "export_release(bigint, text)",
  "export_removed(bigint, text, jsonb, jsonb)",
  "export_forget(double precision)",
  "export_place(bigint, text)",
  "export_schedule_add(text, text, text, text, text, jsonb, jsonb, jsonb, jsonb, timestamptz)",
  "export_schedule_remove(text, jsonb)",
  "export_tick(text, timestamptz, timestamptz, jsonb, integer, jsonb)",
  "record_evidence(jsonb)"
]
const everybody = ["schema_version()"]

const usage = (schema: string, role: string): string =>
  `grant usage on schema ${identifier(schema)} to ${identifier(role)};`

const execute = (schema: string, role: string, functions: ReadonlyArray<string>): string => {
  const names = functions.map((signature) => {
    const [name = "", args = ""] = signature.split("(")
    return `${qualified(schema, name)}(${args}`
  })
  return `grant execute on function\n  ${names.join(",\n  ")}\nto ${identifier(role)};`
}

const writer = (schema: string, role: string): ReadonlyArray<string> => [
  `-- Writer ${comment(role)}`,
  usage(schema, role),
  execute(schema, role, [...writing, ...everybody])
]

const reader = (schema: string, role: string, label: string): ReadonlyArray<string> => [
  `-- ${label} ${comment(role)}`,
  usage(schema, role),
  `grant select on all tables in schema ${identifier(schema)} to ${identifier(role)};`,
  // The keys of masks are the owner's alone.
  `revoke all on table ${qualified(schema, "mask_keys")} from ${identifier(role)};`,
  // Partitions are made month by month, tables by later migrations.
  `alter default privileges in schema ${identifier(schema)} grant select on tables to ${identifier(role)};`,
  execute(schema, role, [...reading, ...everybody])
]

const comment = (role: string): string => role.replaceAll(/[\r\n]+/g, " ")

/** Acts as the owner of the schema until the transaction ends. */
const asOwner = (
  schema: string
): string => `select pg_catalog.set_config('role', pg_catalog.pg_get_userbyid(nspowner), true)
from pg_catalog.pg_namespace
where nspname = ${literal(schema)};`

/** The statements, to be run as the owner of the schema. */
const statements = (schema: string, { operators = [], readers = [], writers = [] }: Grants): ReadonlyArray<string> => [
  ...writers.flatMap((role) => writer(schema, role)),
  ...readers.flatMap((role) => reader(schema, role, "Reader")),
  ...operators.flatMap((role) => [...reader(schema, role, "Operator"), execute(schema, role, operating)])
]

/** PostgreSQL reads these names as everybody, even in quotes. */
const everyone: ReadonlySet<string> = new Set(["public", "none"])

const roleRule = (role: string): string | undefined => {
  if (everyone.has(role)) {
    return `${role} is not a role but everybody: name the roles that need it`
  }
  const bytes = Buffer.byteLength(role, "utf8")
  return bytes < 1 || bytes > 63 || role.includes("\0") ? "a role has a name of 1 to 63 bytes" : undefined
}

const checked = Effect.fnUntraced(function* (grants: Grants) {
  // A misspelt field would be a grant that nobody gets.
  yield* mustHaveOnly(grants, { writers: true, readers: true, operators: true }, "grants")
  const { operators = [], readers = [], writers = [] } = grants
  for (const [field, roles] of [
    ["writer", writers],
    ["reader", readers],
    ["operator", operators]
  ] as const) {
    if (!Array.isArray(roles)) {
      return yield* new InvalidRequest({ field, rule: "must be a list of roles" })
    }
    for (const role of roles as ReadonlyArray<unknown>) {
      const rule = typeof role === "string" ? roleRule(role) : "must be a string"
      if (rule !== undefined) {
        return yield* new InvalidRequest({ field, rule })
      }
    }
  }
  if (writers.length + readers.length + operators.length === 0) {
    return yield* new InvalidRequest({ field: "grants", rule: "must name at least one writer, reader or operator" })
  }
  return yield* StorageSchema
})

/** The grants as plain SQL, for `psql` or for a migration tool. */
export const render = (grants: Grants): Effect.Effect<string, InvalidRequest> =>
  Effect.map(
    checked(grants),
    (schema) => `begin;\n\n${[asOwner(schema), ...statements(schema, grants)].join("\n")}\n\ncommit;\n`
  )

/** Gives the grants; giving them again changes nothing. */
export const apply = (grants: Grants): Effect.Effect<void, InvalidRequest | ThreadlineError, SqlClient.SqlClient> =>
  Effect.gen(function* () {
    const schema = yield* checked(grants)
    const sql = (yield* SqlClient.SqlClient).withoutTransforms()
    // A newer schema may have functions that these grants leave out.
    const body = Effect.all([
      sql.unsafe(asOwner(schema)),
      checkVersion,
      sql.unsafe(statements(schema, grants).join("\n"))
    ])
    yield* transactionOrSavepoint(sql, beginWriting(), body).pipe(
      Effect.catchTag("SqlError", (error) => fromSqlError(error))
    )
  })
