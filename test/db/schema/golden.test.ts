/**
 * The installed schema as the catalog describes it, the same on every major version: `npm run golden` writes the file anew.
 * The text of functions is in the migrations; here is what calls and grants depend on.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestDatabase from "../../harness/TestDatabase.js"

const description = `
  with relations as (
    select c.oid, c.relname, c.relkind, c.relpersistence, c.relacl, c.relreplident, c.relowner,
      pg_get_partkeydef(c.oid) as key, pg_get_expr(c.relpartbound, c.oid) as bound
    from pg_class c
    where c.relnamespace = 'threadline'::regnamespace
      and c.relkind in ('r', 'p', 'v', 'S')
      -- Which months there are depends on the day.
      and c.relname !~ '^audit_changes_[0-9]+$'
  ),
  lines (section, object, place, line) as (
    select 1, r.relname::text, 0, concat_ws(' ',
      case r.relkind when 'v' then 'view' when 'S' then 'sequence' else 'table' end, r.relname,
      case r.relpersistence when 'u' then 'unlogged' end,
      'partition by ' || r.key, 'partition ' || r.bound,
      case when r.relkind <> 'S' and r.relreplident <> 'd' then 'replica identity ' || r.relreplident::text end)
    from relations r
    union all
    select 1, r.relname, a.attnum, '  ' || concat_ws(' ',
      a.attname, format_type(a.atttypid, a.atttypmod),
      case when l.collname <> 'default' then 'collate ' || l.collname end,
      case when a.attnotnull then 'not null' end,
      case a.attidentity when 'a' then 'identity always' when 'd' then 'identity by default' end,
      'default ' || pg_get_expr(d.adbin, d.adrelid))
    from relations r
    join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    left join pg_collation l on l.oid = a.attcollation
    where r.relkind <> 'S'
    union all
    select 1, r.relname, 10000, '  ' || pg_get_constraintdef(c.oid)
    from relations r
    join pg_constraint c on c.conrelid = r.oid
    -- PostgreSQL 18 has constraints for not null.
    where c.contype <> 'n'
    union all
    select 1, r.relname, 20000, '  ' || pg_get_indexdef(i.indexrelid)
    from relations r
    join pg_index i on i.indrelid = r.oid
    union all
    select 1, r.relname, 30000, '  ' || regexp_replace(pg_get_triggerdef(t.oid), '^CREATE ', '')
    from relations r
    join pg_trigger t on t.tgrelid = r.oid and not t.tgisinternal
    union all
    select 2, p.oid::regprocedure::text, 0, concat_ws(' ',
      'function', p.proname || '(' || pg_get_function_arguments(p.oid) || ')',
      'returns ' || pg_get_function_result(p.oid),
      l.lanname,
      case p.provolatile when 'i' then 'immutable' when 's' then 'stable' else 'volatile' end,
      case when p.proisstrict then 'strict' end,
      case when p.prosecdef then 'security definer' end,
      case when has_function_privilege('public', p.oid, 'execute') then 'execute by public' end)
    from pg_proc p
    join pg_language l on l.oid = p.prolang
    where p.pronamespace = 'threadline'::regnamespace
    union all
    select 2, p.oid::regprocedure::text, 1 + c.place, '  set ' || c.setting
    from pg_proc p
    cross join lateral unnest(p.proconfig) with ordinality c (setting, place)
    where p.pronamespace = 'threadline'::regnamespace
  )
  select string_agg(line, chr(10) order by section, object collate "C", place, line collate "C") as text
  from lines
`

layer(TestDatabase.layer, { excludeTestServices: true })("The installed schema", (it) => {
  it.effect("is that of test/golden", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const [row] = yield* sql.unsafe<{ text: string }>(description)
      yield* Effect.promise(() => expect(`${row?.text ?? ""}\n`).toMatchFileSnapshot("../../golden/schema.txt"))
    })
  )
})
