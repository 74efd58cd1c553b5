/** Which roles of the database can read, add to and change the record. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ThreadlineError } from "../../ThreadlineError.js"
import { rows, type Storage } from "../record/storage.js"
import { qualified } from "../sql/sqlText.js"

const Roles = Schema.parseJson(Schema.Array(Schema.String))
const Row = Schema.Struct({
  readers: Roles,
  writers: Roles,
  changers: Roles,
  security: Schema.Literal("true", "false")
})

export interface Posture {
  readonly readers: ReadonlyArray<string>
  readonly writers: ReadonlyArray<string>
  readonly changers: ReadonlyArray<string>
  readonly rowSecurity: boolean
}

/** Roles that can log in, without superusers: these can do everything. */
export const posture = (storage: Storage): Effect.Effect<Posture | undefined, ThreadlineError> => {
  const { schema, sql } = storage
  const changes = qualified(schema, "audit_changes")
  const set = `${qualified(schema, "set_context")}(jsonb)`
  return Effect.map(
    rows(
      Row,
      sql`
      select
        coalesce(json_agg(r.rolname order by r.rolname) filter (where r.reads), '[]')::text as readers,
        coalesce(json_agg(r.rolname order by r.rolname) filter (where r.writes), '[]')::text as writers,
        coalesce(json_agg(r.rolname order by r.rolname) filter (where r.changes), '[]')::text as changers,
        coalesce(bool_or(r.security), false)::text as security
      from (
        select r.rolname,
          has_schema_privilege(r.oid, ${schema}, 'usage') and has_table_privilege(r.oid, ${changes}, 'select') as reads,
          has_schema_privilege(r.oid, ${schema}, 'usage') and has_function_privilege(r.oid, ${set}, 'execute') as writes,
          has_schema_privilege(r.oid, ${schema}, 'usage')
            and has_table_privilege(r.oid, ${changes}, 'insert, update, delete, truncate') as changes,
          exists (
            select from pg_catalog.pg_class c
              join pg_catalog.pg_namespace n on n.oid = c.relnamespace
            where n.nspname = ${schema} and c.relrowsecurity
          ) as security
        from pg_catalog.pg_roles r
        where r.rolcanlogin and not r.rolsuper
      ) r`
    ),
    ([row]) =>
      row === undefined
        ? undefined
        : {
            readers: row.readers,
            writers: row.writers,
            changers: row.changers,
            rowSecurity: row.security === "true"
          }
  )
}
