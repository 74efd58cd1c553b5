/** Programs that hosts write: what the record tells of them is what became of their tables. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { attacks, reset } from "../support/adversarial.js"
import { disagreements } from "../support/replay.js"

interface Program {
  readonly tables: ReadonlyArray<string>
  readonly setup: ReadonlyArray<string>
  readonly run: ReadonlyArray<string>
}

const flat = "create table t (id int primary key, v text, n int not null default 0)"

/** Partitions below partitions, and one whose columns stand in another order. */
const partitioned = [
  "create table t (id int primary key, v text, n int not null default 0) partition by range (id)",
  "create table t_lo partition of t for values from (0) to (10)",
  "create table t_mid (n int not null default 0, junk int, id int not null, v text)",
  "alter table t_mid drop column junk",
  "alter table t attach partition t_mid for values from (10) to (20)",
  "create table t_sub partition of t for values from (20) to (100) partition by hash (id)",
  "create table t_sub0 partition of t_sub for values with (modulus 2, remainder 0)",
  "create table t_sub1 partition of t_sub for values with (modulus 2, remainder 1)"
]
const log = "create table log (id bigserial primary key, v text)"

const programs: Readonly<Record<string, Program>> = {
  "a procedure that commits and rolls back": {
    setup: [
      flat,
      `create procedure p() language plpgsql as $$ begin
      for i in 1..5 loop insert into t values (i, 'a'); update t set v = 'b' where id = i; if i % 2 = 0 then rollback; else commit; end if; end loop;
      update t set n = n + 1; commit; delete from t where id = 1; end $$`
    ],
    tables: ["t"],
    run: ["call p()"]
  },
  "constraint triggers that are deferred": {
    setup: [
      flat,
      log,
      `create function later() returns trigger language plpgsql as $$ begin update t set n = n + 10 where id = new.id and n < 10; insert into log (v) values (new.v); return null; end $$`,
      "create constraint trigger later after insert or update on t deferrable initially deferred for each row execute function later()"
    ],
    tables: ["t", "log"],
    run: [
      "begin; insert into t values (1, 'a'), (2, 'b'); update t set v = 'c' where id = 1; delete from t where id = 2; commit",
      "begin; update t set id = 3; set constraints all immediate; update t set v = 'late'; savepoint s; delete from t; rollback to s; commit"
    ]
  },
  "transactions that are prepared": {
    setup: [flat],
    tables: ["t"],
    run: [
      "begin; insert into t values (1, 'a'), (2, 'b'); update t set id = 3 where id = 1; prepare transaction 'threadline_x'",
      "insert into t values (4, 'd')",
      "commit prepared 'threadline_x'",
      "begin; delete from t; prepare transaction 'threadline_y'",
      "rollback prepared 'threadline_y'",
      "update t set n = 1"
    ]
  },
  "functions with a body of SQL": {
    setup: [
      flat,
      "create function b(i int) returns void begin atomic insert into t values (i, 'a'); update t set n = n + 1; delete from t where id = i - 1; end"
    ],
    tables: ["t"],
    run: ["select b(g) from generate_series(1, 5) g", "begin; select b(7); select b(8); commit"]
  },
  "triggers that skip rows, and write others instead": {
    setup: partitioned.concat([
      `create function bf() returns trigger language plpgsql as $$ begin
       if tg_op = 'DELETE' then if old.id % 4 = 0 then return null; end if; return old; end if;
       if new.v = 'skip' then return null; end if;
       if tg_op = 'UPDATE' and new.v = 'del' then delete from t where id = old.id; return null; end if;
       if tg_op = 'INSERT' and new.v = 'up' then update t set n = n + 1 where id = new.id - 1; end if;
       return new; end $$`,
      "create trigger bf before insert or update or delete on t for each row execute function bf()"
    ]),
    tables: ["t"],
    run: [
      "insert into t select g, case when g % 7 = 0 then 'skip' when g % 5 = 0 then 'up' else 'a' end from generate_series(0, 30) g",
      "update t set v = case when id % 3 = 0 then 'del' else v end, id = id + 40 where id < 9 or id > 27",
      "update t set v = case id % 3 when 0 then 'skip' else 'b' end",
      "delete from t where id > 20"
    ]
  },
  "triggers that move their row through all partitions": {
    setup: partitioned.concat([
      `create function mv() returns trigger language plpgsql as $$ begin if new.id < 60 and new.v = 'hop' then update t set id = id + 17 where id = new.id; end if; return null; end $$`,
      "create trigger mv after insert or update on t for each row execute function mv()"
    ]),
    tables: ["t"],
    run: [
      "insert into t values (1, 'hop'), (2, 'stay'), (3, 'hop')",
      "update t set v = 'hop'",
      "delete from t",
      "do $$ begin insert into t values (5, 'hop'); delete from t; end $$"
    ]
  },
  "cursors over partitions": {
    setup: partitioned,
    tables: ["t"],
    run: [
      "insert into t select g, 'x' from generate_series(0, 30) g",
      "begin; declare c cursor for select * from t where id between 5 and 25 for update; move 3 in c; fetch c; update t set n = 7 where current of c; fetch 4 in c; delete from t where current of c; commit",
      "do $$ declare c cursor for select * from t for update; r record; begin open c; loop fetch c into r; exit when not found; if r.id % 3 = 0 then delete from t where current of c; else update t set id = r.id + 30 where current of c; end if; end loop; end $$"
    ]
  },
  "TRUNCATE in blocks and savepoints": {
    setup: partitioned,
    tables: ["t"],
    run: [
      "insert into t select g, 'x' from generate_series(0, 25) g",
      "begin; truncate t; insert into t values (1, 'a'); savepoint s; truncate t; rollback to s; update t set n = 2; commit",
      "do $$ begin insert into t values (22, 'b'); delete from t where id = 22; insert into t values (22, 'c'); end $$"
    ]
  },
  "rules, and views whose triggers write": {
    setup: [
      flat,
      log,
      "create view w as select id, v from t where n >= 0",
      "create rule ins as on insert to w do instead (insert into t values (new.id, new.v); insert into log (v) values (new.v); update t set n = n + 1 where id = new.id)",
      "create rule del as on delete to w do instead update t set n = -1 where id = old.id",
      "create view x as select * from t",
      "create function io() returns trigger language plpgsql as $$ begin if tg_op = 'DELETE' then delete from t where id = old.id; return old; elsif tg_op = 'INSERT' then insert into t values (new.id, new.v, coalesce(new.n, 0)); return new; else delete from t where id = old.id; insert into t values (new.id, new.v, new.n); return new; end if; end $$",
      "create trigger io instead of insert or update or delete on x for each row execute function io()"
    ],
    tables: ["t", "log"],
    run: [
      "insert into w values (1, 'a'), (2, 'b')",
      "delete from w where id = 1",
      "insert into x select g, 'x' from generate_series(5, 9) g",
      "update x set id = id + 1 where id = 9",
      "update x set v = v || 'u'",
      "delete from x where id in (5, 10)",
      "copy x from program 'printf \"20\\tc\\t1\\n21\\td\\t2\\n\"'"
    ]
  },
  "functions called for each row of a query": {
    setup: [
      flat,
      "create function s(i int) returns int language sql as $$ insert into t values (i, 'a'); update t set v = 'b' where id = i; update t set id = i + 100 where id = i; select i $$"
    ],
    tables: ["t"],
    run: [
      "select s(g) from generate_series(1, 5) g",
      "update t set n = (select s(200))",
      "insert into t select s(50) + 1, 'outer'"
    ]
  }
}

attacks("programs of hosts (A12, A28)", (attack) => {
  for (const mode of ["statement", "row"] as const) {
    attack(`are told as they happened, in ${mode} mode`, ({ apply, db, readers }) =>
      Effect.gen(function* () {
        for (const [name, { run, setup, tables }] of Object.entries(programs)) {
          yield* db.run(...setup)
          yield* apply(...tables.map((table) => ({ table, mode, truncate: "rows" as const })))
          yield* db.run(...run)
          for (const table of tables) {
            expect([name, table, yield* disagreements(db, readers, table)]).toEqual([name, table, []])
          }
          yield* db.run(reset)
        }
      })
    )
  }
})
