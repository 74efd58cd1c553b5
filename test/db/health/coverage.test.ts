import { describe, expect, it } from "@effect/vitest"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Capture from "../../../src/Capture.js"
import * as Continuity from "../../../src/Continuity.js"
import * as Grants from "../../../src/Grants.js"
import * as Health from "../../../src/Health.js"
import * as Migrations from "../../../src/Migrations.js"
import * as TestDatabase from "../../harness/TestDatabase.js"
import { migrationFiles } from "../../../src/internal/schema/files.js"
import { recordIndexes } from "../../../src/internal/health/indexes.js"
import { apply, fresh, plan, refusal, remove, rows, run, schemaOwner } from "../../support/capture.js"

const coverage = (options?: Health.CoverageOptions) => Effect.provide(Health.coverage(options), Health.layer)

const report = (options?: Health.Options) => Effect.provide(Health.report(options), Health.layer)

const brief = (tables: ReadonlyArray<Health.Coverage>) =>
  Object.fromEntries(
    tables.map(({ refused, status, table }) => [table, refused === null ? status : `${status}: ${refused}`])
  )

const of = (findings: ReadonlyArray<Health.Finding>, code: Health.Code) =>
  findings.filter((finding) => finding.code === code)

/** Codes of the findings about an object. */
const codes = (findings: ReadonlyArray<Health.Finding>, object: string) =>
  findings.filter((finding) => finding.object === object).map(({ code }) => code)

const hostTables = [
  "create table posts (id bigint primary key, title text)",
  "create table users (id bigint primary key, email text)",
  "create table sessions (id bigint primary key, token text)",
  "create table drafts (id bigint primary key)",
  "create table events (id bigint, day date, primary key (id, day)) partition by range (day)",
  "create table events_1 partition of events for values from ('2026-01-01') to ('2026-02-01')"
]

describe("Health.coverage", () => {
  it.effect("tells covered, uncovered and declared tables, and what does not pass", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(...hostTables)
        yield* apply([{ table: "posts" }, { table: "events" }])
        const options = {
          tables: [{ table: "posts" }, { table: "events" }],
          expected: ["posts", "users", "events"],
          expectedGaps: { sessions: "no data of persons", "public.drafts": "rebuilt each night" }
        }
        expect(brief(yield* coverage(options))).toEqual({
          "public.drafts": "gap",
          "public.events": "covered",
          "public.posts": "covered",
          "public.sessions": "gap",
          "public.users": "uncovered: uncovered"
        })
        yield* apply([{ table: "users" }, { table: "sessions" }])
        yield* run("create table events_2 partition of events for values from ('2026-02-01') to ('2026-03-01')")
        yield* run("alter table posts disable trigger all", "create table other (id int)")
        const later = yield* coverage({ ...options, all: true })
        expect(brief(later)).toEqual({
          "public.drafts": "gap",
          "public.events": "uncovered: uncovered",
          "public.other": "uncovered: unconfigured",
          "public.posts": "uncovered: uncovered",
          "public.sessions": "covered: gap covered",
          "public.users": "covered"
        })
        expect(later.find(({ table }) => table === "public.events")?.relations).toEqual([
          { relation: "public.events", partition: false, status: "covered", triggers: "enabled" },
          { relation: "public.events_1", partition: true, status: "covered", triggers: "enabled" },
          { relation: "public.events_2", partition: true, status: "uncovered", triggers: "missing" }
        ])
        const posts = later.find(({ table }) => table === "public.posts")
        expect(posts).toMatchObject({
          exists: true,
          since: expect.stringMatching(/^\d{4}-.*Z$/),
          lapses: [{ since: expect.any(String), until: null }],
          relations: [{ triggers: "disabled" }]
        })
        const found = (yield* report(options)).findings
        expect(codes(found, "public.events")).toContain("PartitionAttached")
        expect(codes(found, "public.posts")).toContain("TriggerDisabled")
        expect(of(found, "GapCovered")[0]).toMatchObject({
          severity: "error",
          object: "public.sessions",
          message: expect.stringContaining("no data of persons"),
          mend: { _tag: "host", action: "removeGap" }
        })
      })
    )
  )

  for (const mode of ["statement", "row"] as const) {
    it.effect(`counts no table as covered that is a partition of one that is not captured, in ${mode} mode`, () =>
      fresh(
        Effect.gen(function* () {
          yield* run("create table t (id int primary key)")
          yield* apply([{ table: "t", mode }])
          yield* run(
            "create table root (like t including all) partition by range (id)",
            "create table middle (like t including all) partition by range (id)",
            "alter table root attach partition middle for values from (minvalue) to (maxvalue)",
            "alter table middle attach partition t for values from (minvalue) to (maxvalue)"
          )
          expect(yield* coverage({ expected: ["public.t"] })).toMatchObject([
            { table: "public.t", status: "uncovered", refused: "uncovered", relations: [{ status: "uncovered" }] }
          ])
          expect(of((yield* report()).findings, "RootNotCaptured")).toMatchObject([
            {
              severity: "error",
              object: "public.t",
              message: expect.stringContaining("it is a partition of public.root, which is not captured"),
              mend: { _tag: "host", action: "nameRoot", names: ["public.root"] },
              fix: expect.stringContaining("name public.root: its partitions are captured with it")
            }
          ])
          yield* apply([{ table: "root", mode }])
          expect(of((yield* report()).findings, "RootNotCaptured")).toEqual([])
          expect(brief(yield* coverage({ expected: ["public.t"] }))).toEqual({
            "public.root": "covered",
            "public.t": "covered"
          })
        })
      )
    )
  }

  it.effect("expects what is configured unless it is told otherwise, and names what is wrong with its options", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(...hostTables)
        expect(yield* coverage()).toEqual([])
        expect(brief(yield* coverage({ tables: [{ table: "posts" }] }))).toEqual({
          "public.posts": "uncovered: uncovered"
        })
        const missing = yield* coverage({ expected: ["nowhere.at_all"] })
        expect(missing).toMatchObject([{ exists: false, refused: "uncovered", relations: [] }])
        const wrong = (options: unknown) =>
          Effect.map(Effect.flip(coverage(options as Health.CoverageOptions)), (error) =>
            error._tag === "threadline/InvalidRequest" ? `${error.field}: ${error.rule}` : String(error)
          )
        expect(yield* wrong({ expected: [] })).toBe("expected: must name at least one table")
        expect(yield* wrong({ expected: ["a..b"] })).toMatch(/^expected\[0\]: must be a table name/)
        expect(yield* wrong({ expected: ["posts", "public.posts"] })).toBe("expected: names public.posts twice")
        expect(yield* wrong({ expectedGaps: { posts: " " } })).toMatch(/^expectedGaps\.posts: must say in a sentence/)
        expect(yield* wrong({ expectedGaps: [{ table: "posts" }] })).toMatch(/^expectedGaps/)
        expect(yield* wrong({ expectedGaps: null })).toMatch(/^expectedGaps: must be/)
        expect(yield* wrong({ sensitive: null })).toMatch(/^sensitive: must be/)
        expect(yield* wrong({ expected: ["posts"], expectedGaps: { posts: "x" } })).toMatch(
          /is expected to be captured/
        )
        expect(yield* wrong({ sensitive: { acknowledged: ["phone"] } })).toMatch(
          /^sensitive.acknowledged: must be a column/
        )
        expect(yield* wrong({ expectd: ["posts"] })).toBe("expectd: is not known here")
        expect(yield* wrong({ tables: [{ table: "posts", maks: [] }] })).toMatch(/maks: is not known here/)
      })
    )
  )

  it.effect("covers a partition that is expected by its own name", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(...hostTables)
        yield* apply([{ table: "events" }])
        const options = { expected: ["events_1"] }
        expect(brief(yield* coverage(options))).toEqual({ "public.events": "covered", "public.events_1": "covered" })
        yield* run("alter table events_1 disable trigger all")
        expect(brief(yield* coverage(options))).toEqual({
          "public.events": "uncovered",
          "public.events_1": "uncovered: uncovered"
        })
        yield* remove("events")
        expect(brief(yield* coverage(options))).toEqual({ "public.events_1": "uncovered: uncovered" })
      })
    )
  )
})

describe("Health.report", () => {
  it.effect("finds nothing in a fresh database, and tells what capture tells from the same source", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(...hostTables, "create table bare (v text)")
        expect((yield* report()).findings).toEqual([])
        yield* apply([{ table: "posts" }, { table: "bare" }])
        const { findings, tables, watch } = yield* report({ tables: [{ table: "posts", exclude: ["title"] }] })
        expect(watch).toBe("off")
        expect(tables.map(({ table }) => table)).toEqual(["public.bare", "public.posts"])
        expect(findings.map(({ code, object, severity }) => `${severity} ${object} ${code}`)).toEqual([
          "error public.posts ConfigurationDiffers",
          "warning public.bare NoKey",
          "info public.bare NotConfigured"
        ])
        expect(findings[0]).toMatchObject({
          message: expect.stringContaining("title"),
          fix: "threadline capture apply",
          mend: { _tag: "command" },
          details: { kind: "ConfigurationDiffers" }
        })
      })
    )
  )

  it.effect("finds nothing new after redactions were applied, in whichever order they were written", () =>
    fresh(
      Effect.gen(function* () {
        yield* run("create table people (id int primary key, j json, document jsonb, phone text, nm text)")
        const redactions = [
          { column: "phone", as: "hash" },
          { column: "nm", as: "null" },
          { column: "j", path: ["b"], as: "last4" },
          { column: "document", path: ["a.b", "c"] },
          { column: "j", path: ["a"], as: "hash" }
        ] as const
        for (const mask of [redactions, [...redactions].reverse()]) {
          const tables = [{ table: "people", mask }]
          yield* apply(tables)
          expect((yield* report({ tables })).findings).toEqual([])
        }
      })
    )
  )

  it.effect("finds sensitive names in the clear, unless they are redacted or acknowledged", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(
          `create table people (id int primary key, "apiKey" text, password_hash text, iban text, nickname text, pinned boolean)`
        )
        yield* apply([{ table: "people", exclude: ["password_hash"] }])
        const columns = (options: Health.Options) =>
          Effect.map(report(options), ({ findings }) =>
            of(findings, "SensitiveInClear").map(({ details, fix }) => [
              details.kind === "SensitiveInClear" ? details.columns : [],
              fix
            ])
          )
        expect(yield* columns({})).toEqual([
          [["apiKey", "iban"], expect.stringContaining(`public.people."apiKey", public.people.iban`)]
        ])
        expect(yield* columns({ sensitive: { names: ["nickname"], acknowledged: ["people.iban"] } })).toEqual([
          [["apiKey", "nickname"], expect.any(String)]
        ])
        expect(
          yield* columns({
            sensitive: { acknowledged: { "people.iban": "public", [`public.people."apiKey"`]: "a name" } }
          })
        ).toEqual([])
      })
    )
  )

  it.effect("finds what is wrong with the record", () =>
    fresh(
      Effect.gen(function* () {
        const database = yield* TestDatabase.TestDatabase
        const owner = yield* schemaOwner
        const { findings: none } = yield* report()
        expect(none).toEqual([])
        yield* run(
          "drop index threadline.audit_actions_name_idx",
          "alter table threadline.audit_actions set unlogged",
          "update pg_index set indisvalid = false where indexrelid = 'threadline.audit_actions_occurred_idx'::regclass",
          `alter database ${database.name} set session_replication_role = 'replica'`,
          "insert into threadline.feed_checkpoints (name, updated_at) values ('slow', now() - interval '3 days')",
          `insert into threadline.audit_transactions (xid, epoch, occurred_at, db_user, application_name, context_error, backend_pid)
             values (pg_current_xact_id(), 1, now(), '${owner}', 'old job', 'actor.id: missing; context: has an unknown field "secret value"', 1)`,
          `insert into threadline.audit_changes (transaction_id, captured_at, table_schema, table_name, op)
             values (currval('threadline.audit_transactions_id_seq'), '1999-01-01', 'public', 'posts', 'insert')`,
          "alter table threadline.audit_transactions enable row level security",
          "create table writable (id int)",
          `grant insert on threadline.audit_changes to public`
        )
        const { findings } = yield* report()
        const fixes = Object.fromEntries(findings.map((finding) => [`${finding.code} ${finding.object}`, finding.fix]))
        expect(fixes).toMatchObject({
          "IndexMissing threadline": expect.stringMatching(
            /^create index "audit_actions_name_idx" on "threadline"."audit_actions" using btree/
          ),
          "IndexInvalid threadline": expect.stringContaining("reindex index threadline.audit_actions_occurred_idx"),
          "RecordUnlogged threadline": "alter table threadline.audit_actions set logged",
          "ReplicaSessions threadline": expect.stringContaining(database.name),
          "ConsumerBehind slow": expect.stringContaining("threadline consumers forget slow"),
          "OwnerIsApplication threadline": expect.stringContaining(owner),
          "UnattributedWrites old job": expect.stringContaining("old job"),
          "ContextRefused actor.id: missing": expect.any(String),
          "ContextRefused context: has an unknown field": expect.any(String),
          "DefaultPartitionUsed threadline": expect.stringContaining("ensure_partitions"),
          "RecordRowSecurity threadline": expect.stringContaining("disable row level security"),
          "RecordWritable threadline": "threadline migrate up"
        })
        // What a context held is in no finding.
        expect(JSON.stringify(findings)).not.toContain("secret value")
      })
    )
  )

  it.effect("finds a schema that is behind or ahead of it", () =>
    fresh(
      Effect.gen(function* () {
        const version = Effect.map(report(), ({ findings }) => of(findings, "SchemaVersion"))
        const last = migrationFiles.length
        yield* run(`insert into threadline.migrations (id, name, checksum) values (${last + 1}, 'later', 'x')`)
        expect(yield* version).toMatchObject([
          { severity: "error", details: { installed: last + 1, known: last }, mend: { action: "useNewerVersion" } }
        ])
        yield* run(
          "drop table threadline.saved_views",
          "drop function threadline.save_view, threadline.delete_view",
          `delete from threadline.migrations where id >= ${last}`
        )
        const [behind] = yield* version
        expect(behind).toMatchObject({ details: { installed: last - 1 }, fix: "threadline migrate up" })
        yield* Migrations.run()
        expect(yield* version).toEqual([])
      })
    )
  )

  it.effect("says what its role may not look at, and does not fail", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(...hostTables)
        yield* apply([{ table: "posts" }])
        const database = yield* TestDatabase.TestDatabase
        const nobody = yield* database.connect("nobody")
        const as = (client: SqlClient.SqlClient) =>
          Layer.provide(Health.layer, Layer.succeed(SqlClient.SqlClient, client))
        const { findings, tables } = yield* Effect.provide(Health.report({ expected: ["posts"] }), as(nobody))
        expect(tables).toEqual([])
        expect(
          of(findings, "Unknown").map(({ details, fix }) => [details.kind === "Unknown" ? details.part : "", fix])
        ).toEqual(
          ["capture", "version", "default partition", "consumers", "transactions"].map((part) => [
            part,
            expect.stringMatching(/^threadline grant --reader .*nobody/)
          ])
        )
        const refused = yield* Effect.flip(Effect.provide(Health.coverage(), as(nobody)))
        expect(refused).toMatchObject({ reason: "InsufficientPrivilege" })

        const reader = yield* database.connect("reader")
        const [row] = yield* reader<{ role: string }>`select current_user::text as role`
        yield* Grants.apply({ readers: [row?.role ?? ""] })
        const reportOfReader = yield* Effect.provide(Health.report({ expected: ["posts"] }), as(reader))
        expect(of(reportOfReader.findings, "Unknown")).toEqual([])
        expect(brief(reportOfReader.tables)).toEqual({ "public.posts": "covered" })

        // Without any single one of its rights, it still gets the rest.
        const grants = yield* rows(
          `select format('select on %s', c.oid::regclass) as "grant"
          from pg_class c cross join aclexplode(c.relacl) a
          where a.grantee = '${row?.role ?? ""}'::regrole and c.relkind in ('r', 'p') and not c.relispartition
          union all
          select format('execute on function %s', p.oid::regprocedure)
          from pg_proc p cross join aclexplode(p.proacl) a
          where a.grantee = '${row?.role ?? ""}'::regrole
          order by 1`
        )
        expect(grants.length).toBeGreaterThan(20)
        const partsOf: Record<string, ReadonlyArray<string>> = {}
        for (const { grant } of grants) {
          yield* run(`revoke ${String(grant)} from ${row?.role ?? ""}`)
          const report = yield* Effect.provide(Health.report({ expected: ["posts"] }), as(reader))
          partsOf[String(grant)] = of(report.findings, "Unknown").map(({ details }) =>
            details.kind === "Unknown" ? details.part : ""
          )
          yield* run(`grant ${String(grant)} to ${row?.role ?? ""}`)
        }
        expect(partsOf).toMatchObject({
          "select on threadline.audit_transactions": ["consumers", "transactions"],
          "select on threadline.capture_sightings": ["capture"],
          "select on threadline.capture_policies": ["capture"],
          "execute on function threadline.kept_since(text,text)": ["capture"]
        })
      })
    )
  )

  it.effect("knows the indexes of a fresh install", () =>
    fresh(
      Effect.gen(function* () {
        const defined = yield* rows(
          `select i.indexname as name, i.tablename as "table", regexp_replace(i.indexdef, '^.* USING ', '') as using
           from pg_indexes i
           where i.schemaname = 'threadline' and i.tablename in ('audit_actions', 'audit_changes', 'audit_transactions')
             and i.indexname !~ '_pkey$'
           order by 2, 1`
        )
        const byTable = [...recordIndexes].sort((a, b) => (`${a.table} ${a.name}` < `${b.table} ${b.name}` ? -1 : 1))
        expect(byTable).toEqual(defined)
        yield* run("drop index threadline.audit_changes_removed_idx")
        const [finding] = of((yield* report()).findings, "IndexMissing")
        expect(finding).toMatchObject({ mend: { _tag: "sql" } })
        if (finding?.mend?._tag === "sql") {
          yield* run(...finding.mend.statements)
        }
        expect((yield* report()).findings).toEqual([])
      })
    )
  )

  it.effect("waits for no lock of the host", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(...hostTables)
        yield* apply([{ table: "posts" }, { table: "events" }])
        const database = yield* TestDatabase.TestDatabase
        const raw = yield* database.rawClient()
        yield* Effect.promise(() => raw.query("begin; lock table posts, users, events in access exclusive mode"))
        const { tables } = yield* report({ expected: ["posts", "users", "events"] })
        expect(brief(tables)).toEqual({
          "public.events": "covered",
          "public.posts": "covered",
          "public.users": "uncovered: uncovered"
        })
        yield* Effect.promise(() => raw.query("rollback"))
      })
    )
  )
})

describe("Health.canary", () => {
  it.effect("proves that writes are recorded, and leaves nothing", () =>
    fresh(
      Effect.gen(function* () {
        yield* run(
          ...hostTables,
          "create table keys (id int primary key)",
          "create table checked (id int primary key, v int check (v = 3), note varchar(1) unique)",
          "create table silent (id int primary key, v text)",
          "insert into posts values (1, 'a')",
          "insert into users values (1, 'a@example.com')",
          "insert into events values (1, '2026-01-02')",
          "insert into keys values (1)",
          "insert into checked values (1, 3, 'x')",
          "insert into silent values (1, 'a')"
        )
        yield* apply(["posts", "users", "sessions", "events", "keys", "checked", "silent"].map((table) => ({ table })))
        yield* run("alter table silent disable trigger all")
        const before = yield* rows("select * from posts, users, silent")
        const results = yield* Effect.provide(Health.canary, Health.layer)
        expect(results.map(({ outcome, relation, why }) => [relation, why ?? outcome])).toEqual([
          ["public.checked", "column"],
          ["public.events_1", "column"],
          ["public.keys", "column"],
          ["public.posts", "recorded"],
          ["public.sessions", "empty"],
          ["public.silent", "not recorded"],
          ["public.users", "recorded"]
        ])
        expect(yield* rows("select * from posts, users, silent")).toEqual(before)
        expect(yield* rows("select from threadline.audit_changes")).toEqual([])
        expect(Health.canaryFindings(results).filter(({ severity }) => severity === "error")).toMatchObject([
          { code: "CanaryFailed", object: "public.silent", mend: { _tag: "command" } }
        ])
        expect(of(Health.canaryFindings(results), "CanaryUnknown").map(({ message }) => message)).toContain(
          "a write of public.sessions could not be tried: it has no row"
        )
      })
    )
  )

  it.effect("runs triggers of the host as the host's own writes do, and blames capture for none of them", () =>
    fresh(
      Effect.gen(function* () {
        const trigger = (table: string, body: string) => [
          `create table ${table} (id int primary key, v text)`,
          `insert into ${table} values (1, 'a')`,
          `create function on_${table}() returns trigger language plpgsql as $$ begin ${body} end $$`,
          `create trigger on_${table} before update on ${table} for each row execute function on_${table}()`
        ]
        yield* run(
          "create table side (v text)",
          ...trigger("fails", "raise exception 'no';"),
          ...trigger("restores", "new.v = old.v; return new;"),
          ...trigger("skips", "return null;"),
          ...trigger("writes", "insert into side values (new.v); return new;")
        )
        yield* apply(["fails", "restores", "skips", "writes"].map((table) => ({ table })))
        const results = yield* Effect.provide(Health.canary, Health.layer)
        expect(results.map(({ outcome, relation, why }) => [relation, why ?? outcome])).toEqual([
          ["public.fails", "refused"],
          ["public.restores", "refused"],
          ["public.skips", "refused"],
          ["public.writes", "recorded"]
        ])
        expect(yield* rows("select * from side")).toEqual([])
      })
    )
  )
})

it.effect("what reads the catalog answers if a table or a partition was dropped since its snapshot", () =>
  fresh(
    Effect.gen(function* () {
      yield* run(...hostTables)
      yield* apply([{ table: "posts" }, { table: "events" }, { table: "users" }])
      const database = yield* TestDatabase.TestDatabase
      const other = yield* database.rawClient()
      const sql = yield* SqlClient.SqlClient
      const tables = [{ table: "posts" }, { table: "events" }]
      const answers = Effect.gen(function* () {
        yield* sql`set transaction isolation level repeatable read`
        yield* sql`select 1`
        yield* Effect.promise(() => other.query("drop table events_1, users"))
        yield* coverage({ tables })
        yield* report({ tables })
        yield* Effect.provide(Continuity.check(), Continuity.layer)
        yield* plan(tables)
        yield* Capture.print(tables)
        yield* Effect.provide(Continuity.report(), Continuity.layer)
        expect((yield* refusal(plan([{ table: "users" }]))).hint).toMatch(/^name it as in SQL/)
        const statuses = yield* Capture.status(tables)
        expect(
          Object.fromEntries(statuses.map(({ findings, table }) => [table, findings.map(({ kind }) => kind)]))
        ).toEqual({
          "public.events": ["PartitionDetached"],
          "public.posts": [],
          "public.users": ["NotConfigured", "TableGone"]
        })
      })
      yield* sql.withTransaction(answers)
    })
  )
)
