/** The instant up to which a table is known whose capture ended unseen, by the function `known_until`. */
import * as SqlClient from "@effect/sql/SqlClient"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { layer, reset } from "../../support/query.js"

/** An empty log, and policies that were applied before it began. */
const begin = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* reset
  yield* sql`update threadline.capture_policies set applied_at = '2026-01-01', former_names = '[]'`
})

/**
 * Transactions of five changes each, a change every minute, the tables in turns. Of two transactions that begin together, the one that
 * is recorded first writes last.
 */
const log = (changes: number, table: string) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    yield* sql`
      insert into threadline.audit_transactions (id, xid, epoch, occurred_at, db_user, backend_pid)
      select i + 1, (i + 1000)::text::xid8, 1, '2026-01-02'::timestamptz + ((i / 2) * 10) * interval '1 minute', 'someone', 1
      from generate_series(0, ${Math.ceil(changes / 5)}::int) i`
    yield* sql`
      insert into threadline.audit_changes
        (id, transaction_id, captured_at, table_schema, table_name, op, row_key, data_after, details)
      select i + 1, 1 + (i / 10) * 2 + (1 - i % 10 / 5), '2026-01-02'::timestamptz + i * interval '1 minute', 'public',
        ${sql.literal(table)}, case when i % 3 = 0 then 'insert' else 'update' end, (i % 99)::text,
        '{"v": "something that takes as much room as rows do"}', case when i % 17 = 0 then '{"marked": true}'::jsonb end
      from generate_series(0, ${changes - 1}::int) i`
  })

it.layer(layer)("The instant up to which a table is known", (it) => {
  it.effect("is right after its last change before something else may have written under its name", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* begin
      yield* log(6000, "case when i % 100 = 0 then 'posts' else 'notes' end")
      const wrong = yield* sql`
        select t.name, b.broken, s.since, k.at, p.at as plain
        from (values ('posts'), ('notes'), ('things')) t (name)
        cross join (values (null::text[]), ('{insert}'), ('{insert,update}'), ('{delete}')) b (broken)
        cross join (
          select null::timestamptz as since
          union all
          select 'infinity'
          union all
          select '2026-01-01 23:00'::timestamptz + i * interval '257 minutes' from generate_series(0, 24) i
        ) s
        cross join lateral threadline.known_until('public', t.name, b.broken, s.since) k (at)
        cross join lateral (
          select coalesce(min(l.at) filter (where l.all_there), '2026-01-01') as at
          from (
            select min(m.at) as at, count(m.at) = count(*) as all_there
            from (
              select max(c.captured_at) + interval '1 microsecond' as at
              from unnest(coalesce(b.broken, '{any}')) o (op)
              left join threadline.audit_changes c
                on c.table_name = t.name
                and c.details is null
                and (b.broken is null or c.op = o.op)
                and (s.since is null or c.captured_at < s.since)
              group by o.op
            ) m
          ) l
        ) p
        where k.at is distinct from p.at`
      expect(wrong).toEqual([])
    })
  )

  it.effect("counts only what was captured while the table had its name", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* begin
      yield* log(3000, "case when i % 2 = 0 then 'posts' else 'notes' end")
      yield* sql`
        update threadline.capture_policies
        set former_names = '[{"schema": "public", "name": "notes", "since": "2026-01-02T05:00:00Z", "until": "2026-01-02T07:00:00Z"}]'
        where table_name = 'posts'`
      const known = yield* sql<{ readonly at: string }>`
        select threadline.known_until('public', t.name, null, t.since::timestamptz)::text as at
        from (values ('posts', '2026-01-02 06:30:00Z'), ('posts', '2026-01-02 04:30:00Z'), ('notes', '2026-01-02 06:30:00Z')) t (name, since)`
      expect(known.map(({ at }) => at)).toEqual([
        "2026-01-02 06:29:00.000001+00",
        "2026-01-02 04:28:00.000001+00",
        "2026-01-02 04:59:00.000001+00"
      ])
    })
  )

  it.effect(
    "is found by the index of tables, however much the table has in the log, and whatever a session has planned before",
    () =>
      Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        yield* begin
        const pages = (table: string, since: string | null) =>
          Effect.map(
            sql<{ readonly "QUERY PLAN": ReadonlyArray<{ readonly Plan: { readonly "Shared Hit Blocks": number } }> }>`
            explain (analyze, buffers, format json)
            select threadline.known_until('public', ${table}, null, ${since})`,
            ([plan]) => plan?.["QUERY PLAN"][0]?.Plan["Shared Hit Blocks"]
          )
        yield* pages("posts", null)
        yield* log(
          60_000,
          "case when i % 997 = 0 then 'notes' when i % 5 = 0 and i < 20000 then 'things' else 'posts' end"
        )
        const [size] = yield* sql`
        select sum(pg_relation_size(i.inhrelid) / 8192)::int as pages
        from pg_inherits i
        where i.inhparent = 'threadline.audit_changes'::regclass`
        expect(size?.["pages"]).toBeGreaterThan(1000)
        for (const analyzed of [false, true]) {
          if (analyzed) yield* sql`analyze threadline.audit_changes`
          for (const table of ["posts", "notes", "things"]) {
            for (const since of [null, "infinity", "2026-02-10", "2026-01-20"]) {
              // The first call makes the plan, and reads the catalog for it.
              yield* pages(table, since)
              expect(yield* pages(table, since), `${table} ${since} ${analyzed}`).toBeLessThan(350)
            }
          }
        }
      })
  )
})
