/** The record in a database that does things to it: publications, row-level security, privileges, isolation, settings. */
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Capture from "../../src/Capture.js"
import * as Grants from "../../src/Grants.js"
import * as Migrations from "../../src/Migrations.js"
import * as Query from "../../src/Query.js"
import * as SavedViews from "../../src/SavedViews.js"
import { stringify } from "../../src/internal/core/json.js"
import { concernsOf as concernsIn } from "../../src/internal/schema/concern.js"
import { Standing, standingOf } from "../../src/internal/sql/standing.js"
import { clientOf } from "../harness/client.js"
import * as TestDatabase from "../harness/TestDatabase.js"
import { asOf, attacks, brief, changes, type Host, migrate, sessionOf, who } from "../support/adversarial.js"

const decodeStanding = Schema.decodeUnknownSync(Schema.parseJson(Standing))

attacks("transactions that are serializable", (attack) => {
  const begin = "begin isolation level serializable"
  const programs: ReadonlyArray<readonly [string, ReadonlyArray<(table: string, n: number) => string>]> = [
    ["one write", [(table, n) => `insert into ${table} values (${n})`]],
    [
      "several writes",
      [
        (table, n) => `insert into ${table} values (${n})`,
        (table, n) => `update ${table} set v = 'x' where id = ${n}`,
        (table, n) => `delete from ${table} where id = ${n}`
      ]
    ],
    [
      "a context, then one that replaces it",
      [
        () => who("first"),
        (table, n) => `insert into ${table} values (${n})`,
        () => who("second"),
        (table, n) => `update ${table} set v = 'x' where id = ${n}`
      ]
    ],
    [
      "a context that comes after the first write",
      [
        (table, n) => `insert into ${table} values (${n})`,
        () => who("late"),
        (table, n) => `update ${table} set v = 'x' where id = ${n}`
      ]
    ],
    [
      "actions before and after the first write, and a part",
      [
        () => who("actor"),
        () => `select threadline.record_action('{"name": "before"}')`,
        () => `select threadline.record_action('{"name": "before too"}')`,
        (table, n) => `insert into ${table} values (${n})`,
        () => `select threadline.record_action('{"name": "after"}')`,
        () => `select threadline.begin_part('{"actor": {"type": "job", "id": "part"}}')`,
        (table, n) => `update ${table} set v = 'x' where id = ${n}`,
        () => `select threadline.finish('{"action": {"name": "part"}, "part": true}')`,
        (table, n) => `update ${table} set v = 'y' where id = ${n}`,
        () => `select threadline.finish('{"action": {"name": "done"}}')`
      ]
    ],
    [
      "a trigger that writes another table",
      [
        (table, n) => `insert into ${table}_noted values (${n})`,
        (table, n) => `update ${table}_noted set v = 'x' where id = ${n}`
      ]
    ]
  ]
  for (const [name, program] of programs) {
    attack(`never fail because of capture if two of them write unrelated tables: ${name}`, ({ apply, db, session }) =>
      Effect.gen(function* () {
        for (const table of ["a", "b"]) {
          yield* db.run(
            `create table ${table} (id int primary key, v text)`,
            `create table ${table}_noted (id int primary key, v text)`,
            `create table ${table}_log (id bigint generated always as identity primary key, what text)`,
            `create function ${table}_note() returns trigger language plpgsql as $$ begin insert into ${table}_log (what) values (tg_op); return null; end $$`,
            `create trigger note after insert or update on ${table}_noted for each row execute function ${table}_note()`
          )
        }
        yield* apply("a", "b", "a_noted", "b_noted", "a_log", "b_log")
        yield* db.run("insert into a values (0); insert into b values (0)")
        const [one, two] = [yield* session(), yield* session()]
        const outcomes: Array<string> = []
        for (let n = 1; n <= 12; n++) {
          // What the planner knows of a small table makes it read all of it.
          yield* db.run("analyze threadline.audit_transactions, threadline.audit_actions, threadline.installs")
          yield* one.run(begin)
          yield* two.run(begin)
          for (const statement of program) {
            outcomes.push(yield* one.outcome(statement("a", n)), yield* two.outcome(statement("b", n)))
          }
          outcomes.push(yield* one.outcome("commit"), yield* two.outcome("commit"))
        }
        expect(outcomes.filter((outcome) => outcome !== "ok")).toEqual([])
        expect(
          yield* db.value("select count(*) from threadline.audit_transactions where context_error is not null")
        ).toBe("0")
        expect(yield* db.value("select count(*) from threadline.audit_actions where transaction_id is null")).toBe("0")
      })
    )
  }

  attack(
    "never fail each other if they are the first ones after the server was started anew",
    ({ apply, db, session }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table a (id int primary key)",
          "create table b (id int primary key)",
          "create table c (id int primary key)"
        )
        yield* apply("a", "b", "c")
        const stored =
          "select postmaster_started_at = pg_postmaster_start_time() from threadline.installs order by epoch desc limit 1"
        const outcomes: Array<string> = []
        for (let n = 1; n <= 6; n++) {
          // As if what is stored were an earlier start.
          yield* db.run(
            "update threadline.installs set postmaster_started_at = postmaster_started_at - interval '1 day'"
          )
          const sessions = [yield* session(), yield* session(), yield* session()] as const
          for (const one of sessions) {
            yield* one.run(begin, "select 1 from pg_class limit 1")
          }
          const [one, two, three] = sessions
          outcomes.push(yield* one.outcome(`insert into a values (${n})`))
          outcomes.push(yield* one.outcome("commit"))
          outcomes.push(yield* two.outcome("select from c"), yield* two.outcome(`insert into b values (${n})`))
          outcomes.push(yield* three.outcome(`insert into c values (${n})`), yield* three.outcome("commit"))
          outcomes.push(yield* two.outcome("commit"))
        }
        expect(outcomes.filter((outcome) => outcome !== "ok")).toEqual([])
        expect(yield* db.value(stored)).toBe("f")
        expect(
          yield* db.value("select count(*) || ' ' || count(distinct epoch) from threadline.audit_transactions")
        ).toBe("18 1")
        // What the sequence knows is known without a query. A transaction at another level that asks stores the start.
        yield* db.run("select threadline.current_epoch()", "insert into a values (0)")
        expect(yield* db.value(stored)).toBe("t")
        expect(yield* db.value("select count(distinct epoch) from threadline.audit_transactions")).toBe("1")
      })
  )
})

const statusOf = (database: TestDatabase.Service) =>
  Effect.orDie(Migrations.status().pipe(Effect.provide(clientOf(database.url))))

const concernsOf = (database: TestDatabase.Service) =>
  Effect.map(statusOf(database), ({ concerns }) => concerns.map(({ _tag }) => _tag))

/** The kinds of findings about the record itself. */
const findings = ({ capture }: Host) =>
  Effect.map(capture.status(), (statuses) => [
    ...new Set(
      statuses.flatMap((status) =>
        status.findings.map(({ kind }) => kind).filter((kind) => kind.startsWith("Record") || kind.startsWith("Owner"))
      )
    )
  ])

const partitionOf = "select threadline.ensure_partitions(now() + interval '5 years', now() + interval '5 years')"

attacks("publications", (attack) => {
  for (const publication of ["for all tables", "for tables in schema threadline"]) {
    attack(`let every update and delete inside the record work, if they are ${publication}`, (host) =>
      Effect.gen(function* () {
        const { apply, database, db } = host
        yield* db.run(
          "create table t (id int primary key, n int not null)",
          `create function more() returns trigger language plpgsql as $$ begin
             if new.n < 3 then update t set n = n + 1 where id = new.id; end if; return null; end $$`,
          "create trigger more after insert or update on t for each row execute function more()",
          `create publication everything ${publication}`
        )
        yield* apply("t")
        // Order is restored by updates; the second time in a partition that was made since.
        yield* db.run("insert into t values (1, 0)", partitionOf)
        expect(brief(yield* changes(db))).toEqual(["insert 1", "update 1", "update 1", "update 1"])
        // Rows in the default partition move out when theirs is made.
        yield* db.run(
          "update threadline.audit_changes set captured_at = captured_at + interval '7 years'",
          "select threadline.ensure_partitions(now() + interval '7 years' - interval '1 month', now() + interval '7 years' + interval '1 month')"
        )
        expect(yield* db.value("select count(*) from threadline.audit_changes_default")).toBe("0")
        expect(yield* db.value("select count(*) from threadline.audit_changes")).toBe("4")
        // As it was, or as a table of the host's own making would be.
        yield* db.run(
          "update threadline.audit_changes set captured_at = captured_at - interval '9 years'",
          "alter table threadline.audit_changes_default replica identity default"
        )
        expect(yield* concernsOf(database)).toContain("Unidentified")
        expect(yield* findings(host)).toContain("RecordUnidentified")
        yield* migrate({ database })
        expect(yield* concernsOf(database)).not.toContain("Unidentified")
        yield* db.run("update threadline.audit_changes set details = '{}'", "drop publication everything")
      })
    )
  }
})

attacks("row-level security", (attack) => {
  attack("on the record lets no reader be told that there is nothing", (host) =>
    Effect.gen(function* () {
      const { apply, database, db, role } = host
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      yield* db.run("insert into t values (1)")
      const reader = yield* role("reader")
      yield* Effect.orDie(Grants.apply({ readers: [reader] }).pipe(Effect.provide(clientOf(database.url))))
      const { url } = yield* database.role("reader")
      const views = SavedViews.list().pipe(
        Effect.map(({ items }) => items.length),
        Effect.provide(SavedViews.layer.pipe(Layer.provide(clientOf(url)))),
        Effect.catchAll((error) => Effect.succeed("reason" in error ? error.reason : error._tag))
      )
      expect(yield* views).toBe(0)
      yield* db.run("alter table threadline.saved_views enable row level security")
      expect(yield* views).toBe("RecordHidden")
      yield* db.run("alter table threadline.saved_views disable row level security")
      const read = Query.timeline().pipe(
        Effect.map(({ items }) => items.length),
        Effect.provide(Query.layer.pipe(Layer.provide(clientOf(url)))),
        Effect.catchAll((error) => Effect.succeed("reason" in error ? error.reason : error._tag))
      )
      expect(yield* read).toBe(1)
      for (const table of ["audit_changes", "audit_transactions", "audit_actions", "capture_policies"]) {
        yield* db.run(`alter table threadline.${table} enable row level security`)
        expect([table, yield* read]).toEqual([table, "RecordHidden"])
        expect(yield* concernsOf(database)).toContain("RowSecurity")
        expect(yield* findings(host)).toContain("RecordRowSecurity")
        yield* db.run(`alter table threadline.${table} disable row level security`)
      }
      expect(yield* read).toBe(1)
      // Where it would hide the policies, status must not say that nothing is captured.
      yield* db.run("alter table threadline.capture_policies enable row level security")
      const status = yield* Capture.Capture.pipe(
        Effect.flatMap((capture) => capture.status()),
        Effect.provide(Capture.layer.pipe(Layer.provide(clientOf(url)))),
        Effect.flip
      )
      expect(status).toMatchObject({ reason: "RecordHidden" })
      yield* db.run("alter table threadline.capture_policies disable row level security")
    }).pipe(Effect.orDie)
  )

  attack(
    "that is forced on the host's tables keeps rows that may be hidden from being marked as if they were all",
    ({ apply, database, db }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table t (id int primary key)",
          "insert into t values (1), (2)",
          `grant all on t to ${database.ownerRole}`
        )
        yield* apply("t")
        const mark = "select threadline.mark_rows('t', 'public', 't', 'baseline')"
        yield* db.run("alter table t enable row level security", "alter table t force row level security")
        yield* db.run(`set role ${database.ownerRole}`)
        expect(yield* db.outcome(mark)).toBe("42501")
        yield* db.run("reset role", "alter table t disable row level security", `set role ${database.ownerRole}`)
        expect(yield* db.value(mark)).toBe("2")
        yield* db.run("reset role")
      })
  )
})

attacks("the owner of the record", (attack) => {
  attack("gets back by migrate up what its default privileges give to others, which status reports", (host) =>
    Effect.gen(function* () {
      const { apply, database, db, role } = host
      const [app, other] = [yield* role("app"), yield* role("other")]
      const owner = database.ownerRole
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      expect(yield* findings(host)).not.toContain("RecordWritable")
      yield* db.run(
        `alter default privileges for role ${owner} grant all on tables to ${app}`,
        `alter default privileges for role ${owner} in schema threadline grant insert on tables to ${other}`,
        `set role ${owner}`,
        partitionOf,
        "reset role"
      )
      expect(yield* concernsOf(database)).not.toContain("Writable")
      yield* db.run(
        `grant insert on threadline.audit_changes to ${app}`,
        `grant update (actor_id) on threadline.audit_transactions to ${other}`,
        `grant select, delete on threadline.audit_actions to public`,
        `grant create on schema threadline to ${app}`
      )
      const { concerns } = yield* statusOf(database)
      expect(concerns).toContainEqual({ _tag: "Writable", roles: [app, other, "public"].sort() })
      expect(yield* findings(host)).toContain("RecordWritable")
      const { notices } = yield* migrate({ database })
      expect(notices.filter((notice) => notice.includes("may write"))).toEqual([])
      expect(yield* concernsOf(database)).not.toContain("Writable")
      for (const writer of [app, other]) {
        expect(
          yield* db.value(`select has_any_column_privilege('${writer}', 'threadline.audit_transactions', 'update')`)
        ).toBe("f")
      }
      expect(yield* db.value(`select has_table_privilege('${app}', 'threadline.audit_actions', 'select')`)).toBe("t")
      // Only this session sees it: the role is one of the whole server, and would be a finding in every other test.
      yield* db.run(`begin; grant pg_write_all_data to ${app}`)
      const standing = decodeStanding(yield* db.value(standingOf("threadline")))
      yield* db.run("rollback")
      expect(concernsIn(standing, { problems: [] })).toContainEqual({ _tag: "WritableByRole", roles: [app] })
      yield* db.run(
        `alter default privileges for role ${owner} revoke all on tables from ${app}`,
        `alter default privileges for role ${owner} in schema threadline revoke all on tables from ${other}`,
        "revoke select on threadline.audit_actions from public"
      )
    })
  )

  attack("gets back by migrate up grants on sequences and REFERENCES, which status names", (host) =>
    Effect.gen(function* () {
      const { apply, database, db, role } = host
      const [app, other, third] = [yield* role("app"), yield* role("other"), yield* role("third")]
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      for (const [grantee, grant] of [
        [app, `grant all on all sequences in schema threadline to ${app}`],
        [other, `grant references on threadline.audit_transactions to ${other}`],
        [third, `grant references (id) on threadline.audit_transactions to ${third}`]
      ] as const) {
        yield* db.run(grant)
        expect((yield* statusOf(database)).concerns).toContainEqual({ _tag: "Writable", roles: [grantee] })
        expect(yield* findings(host)).toContain("RecordWritable")
        yield* migrate({ database })
        expect(yield* concernsOf(database)).not.toContain("Writable")
        expect(yield* findings(host)).not.toContain("RecordWritable")
      }
      expect(
        yield* db.value(`select count(*) from pg_class where relnamespace = 'threadline'::regnamespace and case relkind
            when 'S' then has_sequence_privilege('${app}', oid, 'usage, update')
          end`)
      ).toBe("0")
      // What a reader is given of them changes nothing.
      yield* db.run(`grant select on all sequences in schema threadline to ${app}`)
      expect(yield* concernsOf(database)).not.toContain("Writable")
    })
  )

  attack("is told what belongs to another role, and what gives it back", (host) =>
    Effect.gen(function* () {
      const { apply, database, db, role } = host
      const app = yield* role("app")
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      expect(yield* concernsOf(database)).not.toContain("NotOwned")
      expect(yield* findings(host)).not.toContain("RecordNotOwned")
      yield* db.run(
        "create sequence threadline.numbers",
        `alter sequence threadline.numbers owner to ${database.ownerRole}`
      )
      const partition = yield* db.value(
        `select 'table ' || min(inhrelid::regclass::text) from pg_inherits
          where inhparent = 'threadline.audit_changes'::regclass and inhrelid <> 'threadline.audit_changes_default'::regclass`
      )
      for (const object of [
        partition ?? "",
        "table threadline.audit_changes_default",
        "table threadline.migrations",
        "routine threadline.set_context(context jsonb)",
        "sequence threadline.numbers"
      ]) {
        yield* db.run(`alter ${object} owner to ${app}`)
        const expected = { _tag: "NotOwned", owner: database.ownerRole, objects: [{ object, owner: app }] } as const
        expect((yield* statusOf(database)).concerns).toContainEqual(expected)
        expect(yield* findings(host)).toContain("RecordNotOwned")
        const give = `alter ${object} owner to ${database.ownerRole}`
        const said = yield* Migrations.run().pipe(
          Effect.provide(clientOf(database.url)),
          Effect.match({ onFailure: ({ message }) => message, onSuccess: ({ notices }) => notices.join() })
        )
        expect(said).toContain(give)
        yield* db.run(give)
        expect(yield* concernsOf(database)).not.toContain("NotOwned")
      }
      yield* db.run("drop sequence threadline.numbers")
    })
  )

  attack("lets nobody make a trigger of the record's, whatever its default privileges give on functions", (host) =>
    Effect.gen(function* () {
      const { apply, database, db, role } = host
      const app = yield* role("app")
      const owner = database.ownerRole
      yield* db.run(
        "create table t (id int primary key)",
        `alter default privileges for role ${owner} grant execute on functions to ${app}, public`
      )
      yield* apply("t")
      const executable = `
        select count(*) from pg_proc
        where pronamespace = 'threadline'::regnamespace and prorettype = 'trigger'::regtype
          and has_function_privilege('${app}', oid, 'execute')`
      expect(yield* db.value(executable)).toBe("0")
      // A table that was renamed writes on: only the owner can have made its triggers.
      yield* db.run("alter table t rename to t2", "insert into t2 values (1)")
      expect(brief(yield* changes(db))).toEqual(["insert 1"])
      expect(yield* concernsOf(database)).not.toContain("Writable")
      yield* db.run(`grant execute on all functions in schema threadline to ${app}`)
      expect((yield* statusOf(database)).concerns).toContainEqual({ _tag: "Writable", roles: [app] })
      expect(yield* findings(host)).toContain("RecordWritable")
      yield* migrate({ database })
      expect(yield* db.value(executable)).toBe("0")
      expect(yield* concernsOf(database)).not.toContain("Writable")
      yield* db.run(`alter default privileges for role ${owner} revoke execute on functions from ${app}, public`)
    })
  )

  attack("is named by migrate status, capture status and every run if it can log in", (host) =>
    Effect.gen(function* () {
      const { apply, database, db } = host
      const owner = yield* database.ownOwner
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      expect(yield* findings(host)).not.toContain("OwnerCanLogin")
      yield* db.run(`alter role ${owner} login`)
      expect(yield* concernsOf(database)).toContain("OwnerCanLogin")
      expect(yield* findings(host)).toContain("OwnerCanLogin")
      expect((yield* migrate({ database })).concerns.map(({ _tag }) => _tag)).toContain("OwnerCanLogin")
    })
  )

  attack("is named by capture status with the roles that may act as it", (host) =>
    Effect.gen(function* () {
      const { apply, capture, database, db, role } = host
      const owner = yield* database.ownOwner
      const deployer = yield* role("deployer")
      yield* db.run("create table t (id int primary key)")
      yield* apply("t")
      expect(yield* findings(host)).not.toContain("OwnerHasMembers")
      yield* db.run(`grant ${owner} to ${deployer}`)
      const allFindings = (yield* Effect.orDie(capture.status())).flatMap((status) => status.findings)
      expect(allFindings.filter(({ kind }) => kind === "OwnerHasMembers")).toEqual([
        { kind: "OwnerHasMembers", severity: "info", table: "public.t", owner, subjects: [deployer], mend: null }
      ])
      expect(allFindings.map(Capture.describeFinding)).toContain(
        `roles that may act as ${owner}, which owns the record, can change it: ${deployer}`
      )
    })
  )
})

attacks("a database", (attack) => {
  attack("records the same with standard_conforming_strings = off", ({ apply, database, db, session }) =>
    Effect.gen(function* () {
      yield* db.run(
        `alter database ${database.name} set standard_conforming_strings = off`,
        `alter database ${database.name} set escape_string_warning = off`
      )
      const writer = yield* session()
      yield* migrate({ database })
      yield* writer.run(
        "create table t (id int primary key, v text)",
        partitionOf,
        "select threadline.ensure_partitions(now(), now() + interval '1 month', 'day')",
        "select threadline.ensure_partitions(now(), now() + interval '1 month', 'month')"
      )
      yield* apply("t")
      yield* writer.run(
        "begin",
        who("off"),
        `select threadline.record_action('{"name": "waiting"}')`,
        "insert into t values (1, E'back\\\\slash')",
        who("other"),
        "update t set v = 'x'",
        "commit"
      )
      expect(brief(yield* changes(db))).toEqual(["insert 1", "update 1"])
      expect(yield* db.column("select actor_id from threadline.audit_transactions order by id")).toEqual([
        "off",
        "other"
      ])
      expect(yield* db.value("select count(*) from threadline.audit_actions where transaction_id is not null")).toBe(
        "1"
      )
      yield* db.run(`alter database ${database.name} reset all`)
    })
  )

  attack(
    "with an event trigger that may not do its work as the owner of the record names it in the error",
    ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table t (id int primary key)",
          "create table ddl_log (tag text)",
          "create function log_ddl() returns event_trigger language plpgsql as $$ begin insert into public.ddl_log values (tg_tag); end $$",
          "create event trigger log_ddl on ddl_command_end execute function log_ddl()"
        )
        const error = yield* Effect.orDie(Effect.flip(apply("t")))
        expect(error.message).toMatch(
          /permission denied for table ddl_log.*log_ddl\(\).*event triggers.*security definer/
        )
        yield* db.run("alter function log_ddl() security definer")
        yield* apply("t")
        yield* db.run("insert into t values (1)")
        expect(brief(yield* changes(db))).toEqual(["insert 1"])
        yield* db.run("drop event trigger log_ddl")
      })
  )

  for (const mode of ["statement", "row"] as const) {
    attack(
      `with an event trigger that writes the very table which is applied, in ${mode} mode`,
      ({ apply, db, now, readers }) =>
        Effect.gen(function* () {
          yield* db.run(
            "create table ddl_log (id bigint generated always as identity primary key, tag text, n int not null default 0)",
            `create function log_ddl() returns event_trigger language plpgsql security definer set search_path = public as $$
           begin
             insert into ddl_log (tag) values (tg_tag);
             update ddl_log set n = n + 1 where tag = tg_tag;
           end $$`,
            "create event trigger log_ddl on ddl_command_end execute function log_ddl()"
          )
          yield* apply({ table: "ddl_log", mode })
          yield* apply({ table: "ddl_log", mode, truncate: "rows" })
          yield* db.run("create table t (id int primary key)")
          const known = yield* Effect.orDie(readers.query.asOfRows("ddl_log", yield* now, { limit: 1000 }))
          const rows = yield* db.column(
            `select format('%s %s', id, n) from ddl_log where id in (${known.items.map(({ rowKey }) => rowKey).join()})`
          )
          expect(known.items.map(({ row, rowKey }) => `${rowKey} ${stringify(row["n"] ?? null)}`).sort()).toEqual(
            [...rows].sort()
          )
          expect(
            yield* asOf({ now, readers }, "ddl_log", String(yield* db.value("select max(id) from ddl_log")))
          ).toMatch(/^Present/)
          yield* db.run("drop event trigger log_ddl")
        })
    )
  }
})

it.scopedLive("migrate up goes on from a restore of the structure alone", () =>
  Effect.gen(function* () {
    const database = yield* TestDatabase.make()
    const db = sessionOf(yield* database.rawClient())
    // What is left of a dump without data.
    yield* db.run(
      "truncate threadline.migrations, threadline.cursor_keys, threadline.installs, threadline.capture_policies",
      "alter sequence threadline.audit_changes_id_seq restart"
    )
    const result = yield* migrate({ database })
    expect(result.applied).toEqual([])
    expect((yield* statusOf(database)).state).toBe("current")
    expect(yield* db.value("select count(*) from threadline.cursor_keys")).toBe("1")
    yield* db.run("create table t (id int primary key)")
    yield* Capture.Capture.pipe(
      Effect.flatMap((capture) => capture.apply([{ table: "t" }])),
      Effect.provide(Capture.layer.pipe(Layer.provide(clientOf(database.url))))
    )
    yield* db.run("insert into t values (1)")
    expect(brief(yield* changes(db))).toEqual(["insert 1"])
  })
)
