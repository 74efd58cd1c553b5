/** Triggers that were off for a while and are on again when somebody looks, with no captured write between. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Capture from "../../src/Capture.js"
import { asOf, attacks, type Host, migrate } from "../support/adversarial.js"

const create = "create table t (id int primary key, v text)"

const partitioned = `create table t (id int primary key, v text) partition by range (id);
  create table t_1 partition of t for values from (0) to (100);
  create table t_2 partition of t for values from (100) to (200)`

const unseen = "update t set v = 'unseen' where id = 1"

/** Makes triggers anew as a dump does: by their definitions, each with what it takes to drop it. */
const remake = (which: string) => `do $$
  declare
    t record;
  begin
    for t in
      select tgname, pg_get_triggerdef(oid) as definition from pg_trigger where tgrelid = 't'::regclass and ${which}
    loop
      execute format('drop trigger %I on t', t.tgname);
      perform set_config('remade.it', concat_ws(';', nullif(current_setting('remade.it', true), ''), t.definition), false);
    end loop;
    update t set v = 'unseen' where id = 1;
    execute current_setting('remade.it');
    perform set_config('remade.it', '', false);
  end $$`

const apart = (...statements: ReadonlyArray<string>) => statements

const ways: ReadonlyArray<readonly [what: string, statements: ReadonlyArray<string>]> = [
  ["all disabled", apart("alter table t disable trigger all", unseen, "alter table t enable trigger all")],
  ["those of users disabled", apart("alter table t disable trigger user", unseen, "alter table t enable trigger user")],
  [
    "one disabled, by a transaction that also writes",
    [`begin; alter table t disable trigger "%update"; ${unseen}; alter table t enable trigger "%update"; commit`]
  ],
  [
    "one disabled, by a savepoint",
    [
      `begin; savepoint s; alter table t disable trigger "%update"; ${unseen}; alter table t enable trigger "%update"; release s; commit`
    ]
  ],
  [
    "one for replication alone",
    apart(`alter table t enable replica trigger "%update"`, unseen, `alter table t enable trigger "%update"`)
  ],
  ["all dropped and made again", [remake("not tgisinternal")]],
  ["one dropped and made again", [remake("tgname = '%update'")]]
]

/** What everybody says once something was missed, up to the next apply and after it. */
const missed = (host: Host, table: string | Capture.TableConfig, before: string) =>
  Effect.gen(function* () {
    const { apply, capture, db } = host
    const ask = (id: string, at?: string) => asOf(host, "t", id, at)
    const config = typeof table === "string" ? { table } : table
    expect([yield* ask("1"), yield* ask("2"), yield* ask("1", before)]).toEqual([
      "BeforeCapture",
      "BeforeCapture",
      'Present "a"'
    ])
    expect(yield* host.findings(config)).toEqual(["AlteredMeanwhile"])
    expect(yield* capture.plan([config])).toMatchObject([{ kind: "refresh", lapse: true }])
    yield* db.run("update t set v = 'b' where id = 2")
    expect([yield* ask("1"), yield* ask("2"), yield* ask("1", before)]).toEqual([
      "BeforeCapture",
      "BeforeCapture",
      'Present "a"'
    ])
    yield* apply(table)
    expect(yield* host.findings(config)).toEqual([])
    expect(yield* capture.plan([config])).toEqual([])
    expect([yield* ask("1"), yield* ask("1", before)]).toEqual(["BeforeCapture", 'Present "a"'])
    yield* db.run("update t set v = 'seen'")
    expect([yield* ask("1"), yield* ask("2")]).toEqual(['Present "seen"', 'Present "seen"'])
    expect(yield* db.value("select count(*)::text from threadline.capture_alterations")).toBe("0")
  })

attacks("triggers that were off for a while", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    for (const [kind, made] of [
      ["a table", create],
      ["a partitioned table", partitioned]
    ] as const) {
      attack(`are a lapse since the last change before, however they were, of ${kind} in ${mode} mode`, (host) =>
        Effect.gen(function* () {
          const { apply, db } = host
          for (const [what, statements] of ways) {
            yield* db.run("drop table if exists t", made)
            yield* apply({ table: "t", mode })
            yield* db.run("insert into t values (1, 'a'), (2, 'a')", "update t set v = 'b'", "update t set v = 'a'")
            const before = yield* host.now
            // Triggers that a partition has from its table have names of their own.
            const name = yield* db.value(
              "select tgname from pg_trigger where tgrelid = 't'::regclass and tgtype & 18 = 16"
            )
            yield* db.run(
              "insert into t values (50, 'x')",
              ...statements.map((each) => each.replaceAll("%update", String(name)))
            )
            yield* Effect.catchAllCause(missed(host, { table: "t", mode }, before), (cause) =>
              Effect.die(new Error(`${what}: ${String(cause)}`))
            )
            yield* host.capture.remove(["t"])
            yield* db.run("truncate threadline.capture_policies, threadline.audit_changes")
          }
        })
      )
    }

    attack(`are a lapse since the last apply, if they are those of a partition, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { apply, capture, db } = host
        yield* db.run(partitioned)
        yield* apply({ table: "t", mode })
        yield* db.run("insert into t values (1, 'a'), (2, 'a')")
        yield* apply({ table: "t", mode, truncate: "rows" })
        const since = yield* host.now
        yield* db.run("alter table t_1 disable trigger all", "update t_1 set v = 'unseen' where id = 1")
        // What comes through the table says nothing of what named the partition.
        yield* db.run("update t set v = 'b' where id = 2", "insert into t values (101, 'x')")
        expect(yield* asOf(host, "t", "1")).toBe("BeforeCapture")
        yield* db.run("alter table t_1 enable trigger all")
        expect(yield* asOf(host, "t", "1")).toBe("BeforeCapture")
        expect(yield* asOf(host, "t", "1", since)).toBe("BeforeCapture")
        const config = { table: "t", mode, truncate: "rows" } as const
        expect(yield* host.findings(config)).toEqual(["AlteredMeanwhile"])
        expect(yield* capture.plan([config])).toMatchObject([{ kind: "refresh", lapse: true }])
        yield* apply(config)
        expect(yield* capture.plan([config])).toEqual([])
        expect(yield* host.findings(config)).toEqual([])
        expect(yield* asOf(host, "t", "1")).toBe("BeforeCapture")
      })
    )

    attack(
      `prove nothing by what was written between if they were off again, by whatever snapshot, in ${mode} mode`,
      (host) =>
        Effect.gen(function* () {
          const { apply, db } = host
          const late = yield* host.session()
          yield* db.run(create, "create table u ()")
          for (const again of [
            apart("alter table t disable trigger all", "alter table t enable trigger all"),
            [remake("not tgisinternal")]
          ]) {
            for (const isolation of ["read committed", "repeatable read", "serializable"]) {
              yield* db.run("truncate t, threadline.audit_changes")
              yield* apply({ table: "t", mode })
              yield* db.run("insert into t values (1, 'a'), (2, 'a')")
              yield* late.run("insert into t values (3, 'x')", "update t set v = 'x' where id = 3")
              const before = yield* host.now
              yield* db.run("update t set v = 'a' where id = 3")
              yield* late.run(
                `begin isolation level ${isolation}`,
                "select count(*) from u",
                "insert into u default values"
              )
              yield* db.run("alter table t disable trigger all", unseen, "alter table t enable trigger all")
              yield* late.run("update t set v = 'y' where id = 3", "commit")
              const since = yield* host.now
              yield* db.run(...again)
              yield* late.run("update t set v = 'z' where id = 3")
              expect([isolation, yield* asOf(host, "t", "1", before), yield* asOf(host, "t", "1", since)]).toEqual([
                isolation,
                'Present "a"',
                "BeforeCapture"
              ])
              yield* apply({ table: "t", mode })
              expect([isolation, yield* asOf(host, "t", "1", before), yield* asOf(host, "t", "1", since)]).toEqual([
                isolation,
                'Present "a"',
                "BeforeCapture"
              ])
            }
          }
        })
    )
  }

  attack("are no false alarm: nothing else touches them", (host) =>
    Effect.gen(function* () {
      const { apply, capture, db } = host
      for (const mode of ["statement", "row"] as const) {
        for (const made of [create, partitioned]) {
          yield* db.run("drop table if exists t, other, o, was", made, "create table other (id int primary key)")
          yield* apply({ table: "t", mode })
          yield* db.run("insert into t values (1, 'a')")
          const harmless = [
            "alter table t enable trigger all",
            "alter table t add column more int, add constraint checked check (id > 0)",
            "alter table t alter more set default 2, alter id set not null",
            "alter table t alter more drop default",
            "alter table t add constraint refers foreign key (more) references other deferrable",
            "alter table other add column t int references t",
            "create function own() returns trigger language plpgsql as 'begin return new; end'",
            "create trigger own before insert or update on t for each row execute function own()",
            "alter table t disable trigger own",
            "alter trigger own on t rename to owned",
            "drop function own cascade",
            "alter table t drop constraint refers",
            "create index on t (v)",
            "alter table t replica identity full",
            "alter table t enable row level security",
            "alter table t disable row level security",
            "create policy p on t",
            "alter table t rename v to w",
            "alter table t rename w to v",
            "alter table t rename to was",
            "alter table was rename to t",
            "grant select on t to public",
            "revoke select on t from public",
            "create view o as select * from t",
            "create rule r as on update to t where false do instead nothing",
            "drop rule r on t",
            "vacuum (full, freeze) pg_trigger",
            "vacuum (full, freeze) pg_attribute",
            "vacuum (full, freeze, analyze) t",
            ...(made === partitioned ? ["create table t_3 partition of t for values from (300) to (400)"] : [])
          ]
          for (const statement of harmless) {
            yield* db.run(statement)
            expect([statement, yield* db.value("select gap from threadline.capture_gap('public', 't')")]).toEqual([
              statement,
              statement.endsWith("rename to was") ? "gone" : undefined
            ])
          }
          yield* apply({ table: "t", mode })
          yield* db.run("drop view o", "begin; alter table t disable trigger all; rollback")
          expect([mode, yield* asOf(host, "t", "1")]).toEqual([mode, 'Present "a"'])
          // The policy knows all triggers that there are.
          expect(
            yield* db.value(
              "select (row_marks -> 'triggers' = threadline.trigger_marks(relation))::text from threadline.capture_policies"
            )
          ).toBe("true")
          expect(yield* db.value("select lapses::text from threadline.capture_policies")).toBe("{}")
          expect(yield* capture.plan([{ table: "t", mode }])).toEqual([])
          // Its own work is none either.
          yield* apply({ table: "t", mode, exclude: ["more"] })
          yield* apply({ table: "t", mode: mode === "row" ? "statement" : "row" }).pipe(
            Effect.catchTag("CaptureError", () => Effect.void)
          )
          expect([mode, yield* asOf(host, "t", "1")]).toEqual([mode, 'Present "a"'])
          expect(yield* db.value("select lapses::text from threadline.capture_policies")).toBe("{}")
          yield* db.run("truncate threadline.capture_policies, threadline.audit_changes")
          yield* db.run("drop table t, other")
        }
      }
    })
  )

  for (const [what, made, inherit, through, undo] of [
    [
      "a child of another table",
      "create table base (id int, v text)",
      "alter table t inherit base",
      "update base set v = 'unseen' where id = 1",
      "alter table t no inherit base"
    ],
    [
      "a partition of another table",
      "create table base (id int not null, v text) partition by range (id)",
      "alter table base attach partition t for values from (0) to (100)",
      "update base set v = 'unseen' where id = 1",
      "alter table base detach partition t"
    ]
  ] as const) {
    attack(`are no condition of a lapse: a write to ${what} is missed with all of them on`, (host) =>
      Effect.gen(function* () {
        const { apply, db } = host
        yield* db.run("create table t (id int primary key, v text, w text)", made.replace("v text", "v text, w text"))
        yield* apply("t")
        yield* db.run("insert into t values (1, 'a'), (2, 'a')")
        const before = yield* host.now
        yield* db.run("insert into t values (50, 'x')", inherit, through, undo, "alter table t alter w set default 'd'")
        yield* missed(host, "t", before)
      })
    )
  }

  attack("are a lapse under the schema watch too, if it could not see it", (host) =>
    Effect.gen(function* () {
      const { apply, capture, db } = host
      yield* migrate(host, { watchSchema: true })
      yield* db.run(create)
      yield* apply("t")
      yield* db.run("insert into t values (1, 'a')")
      const before = yield* host.now
      yield* db.run("insert into t values (50, 'x')")
      // What the watch sees has its true instants, and is over.
      yield* db.run("alter table t disable trigger all", "alter table t enable trigger all")
      expect(yield* capture.plan([{ table: "t" }])).toEqual([])
      expect(yield* asOf(host, "t", "1")).toBe("BeforeCapture")
      yield* db.run("update t set v = 'a' where id = 1", "update t set v = 'b' where id = 1")
      expect(yield* asOf(host, "t", "1")).toBe('Present "b"')
      const blind = (to: string) => `do $$
        declare
          name text;
        begin
          for name in select evtname from pg_event_trigger where evtname like 'threadline%' loop
            execute format('alter event trigger %I ${to}', name);
          end loop;
        end $$`
      yield* db.run(blind("disable"), "alter table t disable trigger all", unseen)
      yield* db.run("alter table t enable trigger all", blind("enable always"))
      expect(yield* asOf(host, "t", "1")).toBe("BeforeCapture")
      yield* db.run("alter table t add column more int")
      expect(yield* asOf(host, "t", "1")).toBe("BeforeCapture")
      expect(yield* asOf(host, "t", "1", before)).toBe('Present "a"')
      expect(yield* host.findings({ table: "t" })).not.toContain("AlteredMeanwhile")
      yield* db.run("update t set v = 'seen' where id = 1")
      expect(yield* asOf(host, "t", "1")).toBe('Present "seen"')
    })
  )
})
