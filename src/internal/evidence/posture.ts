/** Which roles of the database can read, add to and change the record. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { ThreadlineError } from "../../ThreadlineError.js"
import { rows, type Storage } from "../record/storage.js"
import { ownerMakers, withGrants } from "../sql/standing.js"
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

/**
 * Roles that can log in, without superusers: these can do everything. What a role can do is what it may do itself, and what a role may do
 * that it can become.
 */
export const posture = (storage: Storage): Effect.Effect<Posture | undefined, ThreadlineError> => {
  const { schema, sql } = storage
  const set = `${qualified(schema, "set_context")}(jsonb)`
  return Effect.map(
    rows(
      Row,
      sql`
      with ${sql.literal(withGrants(schema))},
      ${sql.literal(ownerMakers)},
      able as (
        select r.oid,
          u.uses and exists (
            select from tables t where t.relname like 'audit~_%' escape '~' and pg_catalog.has_any_column_privilege(r.oid, t.oid, 'select')
          ) as reads,
          u.uses and pg_catalog.has_function_privilege(r.oid, ${set}, 'execute') as writes,
          r.rolsuper or r.oid = s.nspowner or r.rolname = 'pg_write_all_data'
            or exists (select from granted g where g.grantee in (0, r.oid))
            or exists (select from not_owned n where n.owner = r.oid)
            or r.oid in (select m.oid from owner_makers m) as changes
        from storage s
        cross join pg_catalog.pg_roles r
        cross join lateral (select pg_catalog.has_schema_privilege(r.oid, s.oid, 'usage') as uses) u
      )
      select
        coalesce(pg_catalog.json_agg(r.rolname order by r.rolname) filter (where r.reads), '[]')::text as readers,
        coalesce(pg_catalog.json_agg(r.rolname order by r.rolname) filter (where r.writes), '[]')::text as writers,
        coalesce(pg_catalog.json_agg(r.rolname order by r.rolname) filter (where r.changes), '[]')::text as changers,
        exists (select from tables t where t.relrowsecurity)::text as security
      from (
        select r.rolname, pg_catalog.bool_or(a.reads) as reads, pg_catalog.bool_or(a.writes) as writes, pg_catalog.bool_or(a.changes) as changes
        from pg_catalog.pg_roles r
        join able a on pg_catalog.pg_has_role(r.oid, a.oid, 'member')
        where r.rolcanlogin and not r.rolsuper
        group by r.rolname
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
