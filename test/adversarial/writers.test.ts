/** Ways to write that a trigger may miss. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { serverVersion } from "../harness/TestDatabase.js"
import { attacks, brief, chain, changes, clear } from "../support/adversarial.js"

attacks("ways to write", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(
      `are captured: COPY, upserts, MERGE, writable CTEs, rules, views and cursors, in ${mode} mode`,
      ({ apply, db }) =>
        Effect.gen(function* () {
          yield* db.run(
            "create table t (id int primary key, v text, n int not null default 0)",
            "create table u (id int primary key, v text)",
            "create view tv as select id, v from t where id < 100 with check option",
            "create view joined as select t.id, t.v, u.v as uv from t join u using (id)",
            "create function joined_update() returns trigger language plpgsql as $$ begin update t set v = new.v where id = old.id; update u set v = new.uv where id = old.id; return new; end $$",
            "create trigger joined_update instead of update on joined for each row execute function joined_update()",
            "create table inbox (id int, v text)",
            "create rule inbox_insert as on insert to inbox do instead insert into t values (new.id, new.v)",
            "create rule u_delete as on delete to u do also update t set v = 'rule' where id = old.id"
          )
          yield* apply({ table: "t", mode }, { table: "u", mode })
          const expectation: Array<string> = []
          const step = (statement: string, ...briefs: ReadonlyArray<string>) => {
            expectation.push(...briefs)
            return db.run(statement)
          }
          yield* step("copy t (id, v) from program 'printf \"1\\ta\\n2\\tb\\n\"'", "insert 1", "insert 2")
          yield* step(
            "insert into t values (1, 'x'), (3, 'c') on conflict (id) do update set v = excluded.v",
            ...(mode === "row" ? ["update 1", "insert 3"] : ["insert 3", "update 1"])
          )
          yield* step("insert into t values (1, 'y') on conflict do nothing")
          yield* step("insert into t values (1, 'z') on conflict (id) do update set v = excluded.v where false")
          yield* step("insert into t values (1, 'z') on conflict (id) do update set v = t.v")
          yield* step("insert into tv values (4, 'view')", "insert 4")
          yield* step("update tv set v = 'view2' where id = 4", "update 4")
          yield* step("delete from tv where id = 4", "delete 4")
          yield* step("insert into inbox values (5, 'ruled')", "insert 5")
          yield* step("insert into u values (5, 'u')", "insert 5")
          yield* step("update joined set v = 'j', uv = 'k' where id = 5", "update 5", "update 5")
          yield* step("delete from u where id = 5", ...["update 5", "delete 5"])
          yield* step(
            "begin; declare c cursor for select * from t where id = 5 for update; fetch c; update t set v = 'cursor' where current of c; commit",
            "update 5"
          )
          yield* step(
            "prepare p (int, text) as update t set v = $2 where id = $1; execute p (5, 'prepared'); execute p (5, 'prepared'); deallocate p",
            "update 5"
          )
          yield* step(
            "create temp table fresh on commit drop as select 1; insert into t select 6, 'from select'",
            "insert 6"
          )
          yield* step(
            "update t set v = s.v from (values (6, 'joined'), (6, 'twice')) s (id, v) where t.id = s.id",
            "update 6"
          )
          yield* step("delete from t using (values (6)) s (id) where t.id = s.id returning *", "delete 6")
          const merged = yield* db.outcome(
            "merge into t using (values (1, 'm'), (2, ''), (7, 'new')) s (id, v) on t.id = s.id when matched and s.v = '' then delete when matched then update set v = s.v when not matched then insert values (s.id, s.v)"
          )
          expect(merged).toBe("ok")
          const seen = brief(yield* changes(db))
          // One statement's operations are captured operation by operation, in an order that is PostgreSQL's own.
          const sort = (list: ReadonlyArray<string>) => [...list].sort()
          expect(sort(seen)).toEqual(sort([...expectation, "update 1", "delete 2", "insert 7"]))
          yield* clear(db)
          yield* db.run(
            "with gone as (delete from t where id = 7 returning *), back as (insert into u select id, v from gone returning *), up as (update t set n = n + 1 where id in (1, 5) returning *) select from gone, back, up"
          )
          expect(sort(brief(yield* changes(db)))).toEqual(["delete 7", "insert 7", "update 1", "update 5"])
        })
    )
  }

  attack("pair images with their rows in a MERGE that does everything it can", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run("create table t (id int primary key, v text)")
      yield* apply("t")
      yield* db.run(
        "insert into t select i, 'v' || i from generate_series(1, 30) i",
        `merge into t using generate_series(1, 40) s (id) on t.id = s.id
         when matched and s.id % 3 = 0 then delete
         when matched and s.id % 3 = 1 then update set v = t.v || '!'
         when matched then do nothing
         when not matched then insert values (s.id, 'new')`,
        ...(serverVersion >= 17
          ? [
              "merge into t using generate_series(1, 10) s (id) on t.id = s.id when not matched by source and t.id > 35 then delete when matched then update set v = 'x' returning merge_action()"
            ]
          : [])
      )
      expect(yield* chain(db, "t")).toEqual([])
      expect((yield* changes(db)).filter(({ op }) => op === "update").every(({ fields }) => fields === "{v}")).toBe(
        true
      )
    })
  )

  attack("are captured as foreign keys do them: cascade, set null, set default, deferred", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run(
        "create table parent (id int primary key)",
        "create table c1 (id int primary key, p int references parent on delete cascade on update cascade)",
        "create table c2 (id int primary key, p int references parent on delete set null on update cascade)",
        "create table c3 (id int primary key, p int default 0 references parent on delete set default on update cascade deferrable initially deferred)"
      )
      yield* apply("parent", "c1", "c2", "c3")
      yield* db.run(
        "insert into parent values (0), (1), (2)",
        "insert into c1 values (1, 1), (2, 1), (3, 2)",
        "insert into c2 values (1, 1), (2, 2)",
        "insert into c3 values (1, 1)",
        "update parent set id = 10 where id = 1",
        "delete from parent where id = 10"
      )
      for (const table of ["parent", "c1", "c2", "c3"]) {
        expect([table, yield* chain(db, table)]).toEqual([table, []])
      }
      expect(brief(yield* changes(db, "c1"))).toEqual([
        "insert 1",
        "insert 2",
        "insert 3",
        "update 1",
        "update 2",
        "delete 1",
        "delete 2"
      ])
      expect((yield* changes(db, "c3")).map(({ after }) => after)).toEqual([
        '{"p": 1, "id": 1}',
        '{"p": 10, "id": 1}',
        '{"p": 0, "id": 1}'
      ])
      expect(new Set((yield* changes(db)).slice(-5).map(({ tx }) => tx)).size).toBe(1)
    })
  )

  attack(
    "are captured as TRUNCATE does them: cascade, several tables, restart identity, empty, undone, refused, with its rows",
    ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table parent (id int primary key)",
          "create table child (id int primary key, p int references parent)",
          "create table kept (id int primary key, secret text, hidden text)",
          "create table firm (id int primary key)",
          "create table nokey (v json)"
        )
        yield* apply(
          "parent",
          "child",
          { table: "kept", truncate: "rows", mask: ["secret"], exclude: ["hidden"] },
          { table: "firm", truncate: "refuse" },
          { table: "nokey", truncate: "rows" }
        )
        yield* db.run(
          "insert into parent values (1), (2); insert into child values (1, 1)",
          "insert into kept values (1, 'topsecret', 'topsecret'), (2, 'topsecret', 'topsecret')",
          "insert into firm values (1)",
          `insert into nokey values ('"\\u0000"')`
        )
        yield* clear(db)
        expect(yield* db.outcome("truncate parent")).toBe("0A000")
        expect(yield* db.outcome("truncate firm")).toBe("42501")
        expect(yield* db.outcome("truncate parent, child, firm")).toBe("42501")
        yield* db.run("begin; truncate child; rollback")
        expect(yield* changes(db)).toEqual([])
        yield* db.run(
          "truncate parent restart identity cascade",
          "truncate parent, child",
          "truncate kept, nokey",
          "truncate kept"
        )
        const recordedChanges = yield* changes(db)
        expect(recordedChanges.map(({ details, from, key, table }) => [table, key, from, details])).toEqual([
          ["parent", null, null, '{"rowCount": 2, "estimated": false}'],
          ["child", null, null, '{"rowCount": 1, "estimated": false}'],
          ["parent", null, null, '{"rowCount": 0, "estimated": false}'],
          ["child", null, null, '{"rowCount": 0, "estimated": false}'],
          ["kept", "1", '{"id": 1, "secret": "[masked]"}', null],
          ["kept", "2", '{"id": 2, "secret": "[masked]"}', null],
          ["nokey", null, `{"v": "\\"\\\\u0000\\""}`, null],
          ["kept", null, null, '{"rowCount": 0, "estimated": false}']
        ])
        expect(yield* db.value("select count(*) from firm")).toBe("1")
      })
  )

  attack(
    "of replication roles are captured with always, and otherwise the switch is on record",
    ({ apply, db, findings }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table plain (id int primary key)",
          "create table kept (id int primary key)",
          "create table parts (id int primary key) partition by range (id)",
          "create table part1 partition of parts for values from (1) to (100)"
        )
        yield* apply("plain", { table: "kept", always: true }, { table: "parts", always: true })
        yield* db.run(
          "set session_replication_role = 'replica'",
          "insert into plain values (1)",
          "insert into kept values (1), (2)",
          "update kept set id = id + 10",
          "delete from kept where id = 11",
          "insert into parts values (1)",
          "insert into part1 values (2)",
          "truncate kept",
          "truncate part1",
          "reset session_replication_role"
        )
        expect(brief(yield* changes(db, "plain"))).toEqual([])
        expect(brief(yield* changes(db, "kept"))).toEqual([
          "insert 1",
          "insert 2",
          "update 11<-1",
          "update 12<-2",
          "delete 11",
          "truncate -"
        ])
        expect(brief(yield* changes(db, "parts"))).toEqual(["insert 1", "insert 2", "truncate 1", "truncate 2"])
        expect(yield* findings()).toEqual([])
        for (const [how, finding] of [
          ["alter table plain disable trigger user", "TriggerDisabled"],
          ["alter table kept disable trigger all", "TriggerDisabled"],
          [`alter table plain enable replica trigger "0_threadline_insert"`, "TriggerDisabled"],
          [`drop trigger "0_threadline_update" on plain`, "TriggerMissing"],
          [`alter trigger "0_threadline_update" on plain rename to harmless`, "TriggerMissing"],
          ["alter table part1 disable trigger all", "TriggerDisabled"]
        ] as const) {
          yield* db.run(how)
          expect([how, yield* findings()]).toEqual([how, expect.arrayContaining([finding])])
          yield* apply("plain", { table: "kept", always: true }, { table: "parts", always: true })
          expect([how, yield* findings()]).toEqual([how, []])
        }
        yield* clear(db)
        yield* db.run("insert into plain values (5)", "update plain set id = 6 where id = 5")
        expect(brief(yield* changes(db))).toEqual(["insert 5", "update 6<-5"])
      })
  )

  attack(
    "without a trigger, as ALTER TYPE USING does, are reported, and the next images tell the truth",
    ({ apply, db, findings }) =>
      Effect.gen(function* () {
        yield* db.run("create table t (id int primary key, v text)", "insert into t values (1, '5'), (2, '6')")
        yield* apply("t")
        yield* db.run(
          "update t set v = '7' where id = 1",
          "alter table t alter v type int using v::int * 100",
          "alter table t add column d int default 42"
        )
        expect(yield* findings()).toEqual(["ColumnsChanged", "RowsRewritten"])
        yield* db.run("update t set v = v + 1")
        const recordedChanges = yield* changes(db)
        expect(recordedChanges.map(({ after }) => after).sort()).toEqual([
          '{"d": 42, "v": 601, "id": 2}',
          '{"d": 42, "v": 701, "id": 1}',
          '{"v": "7", "id": 1}'
        ])
        yield* apply("t")
        expect(yield* findings()).toEqual([])
      })
  )
})
