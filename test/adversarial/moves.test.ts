/** Rows that move between partitions: skipped by a trigger of the partition they move to, or moved by MERGE. */
import { expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestDatabase from "../harness/TestDatabase.js"
import { asOf, attacks, brief, chain, changes, clear, type Session } from "../support/adversarial.js"

const jobs = (columns: string, key: string): ReadonlyArray<string> => [
  `create table jobs (id int not null, state text not null, payload text${columns}${key}) partition by list (state)`,
  "create table jobs_active partition of jobs for values in ('active')",
  "create table jobs_queued partition of jobs for values in ('queued')",
  "create table jobs_archived partition of jobs for values in ('archived', 'lost') partition by list (state)",
  "create table jobs_archived_leaf partition of jobs_archived for values in ('archived')",
  "create table jobs_lost_leaf partition of jobs_archived for values in ('lost')"
]

const withKey = jobs("", ", primary key (id, state)")

const skipNoise = [
  `create function skip_noise() returns trigger language plpgsql as $$
     begin if new.payload like 'noise%' then return null; end if; return new; end $$`,
  "create trigger skip before insert on jobs_archived_leaf for each row execute function skip_noise()",
  "create trigger skip before insert on jobs_lost_leaf for each row execute function skip_noise()"
]

/** Changes that turn one id into another; none of the statements here does so. */
const crossed = (db: Session) =>
  db.column(`
    select format('%s: %s to %s', op, data_after || changed_from, data_after)
    from threadline.audit_changes
    where op = 'update' and changed_from ? 'id'
  `)

/** Keys whose last change says that there is a row, against the rows of the table. */
const standing = (db: Session) =>
  db.rows(`
    select
      (select coalesce(jsonb_agg(x.image order by x.image), '[]')
       from (
         select distinct on (k.key) case when k.key = c.row_key and c.op <> 'delete' then c.data_after end as image
         from threadline.audit_changes c
         cross join lateral unnest(array[c.row_key, c.previous_row_key]) k (key)
         where k.key is not null
         order by k.key, c.captured_at desc, c.id desc
       ) x
       where x.image is not null) as recorded,
      (select coalesce(jsonb_agg(to_jsonb(j.*) order by to_jsonb(j.*)), '[]') from jobs j) as held
  `)

const agrees = (db: Session, what: string) =>
  Effect.gen(function* () {
    expect([what, yield* chain(db, "jobs")]).toEqual([what, []])
    expect([what, yield* crossed(db)]).toEqual([what, []])
    const [row] = yield* standing(db)
    expect([what, row?.["recorded"]]).toEqual([what, row?.["held"]])
  })

attacks("rows that a trigger of their new partition skips", (attack) => {
  for (const [what, columns] of [
    ["", ""],
    [" with a json column", ", doc json default '{}'"]
  ] as const) {
    attack(`are deleted, and rows never change into one another, in a table${what}`, (host) =>
      Effect.gen(function* () {
        const { apply, db } = host
        yield* db.run(...jobs(columns, ", primary key (id, state)"), ...skipNoise)
        yield* apply("jobs")
        const fill = (...payloads: ReadonlyArray<string>) =>
          db.run(
            "delete from jobs",
            "truncate threadline.audit_changes",
            `insert into jobs (id, state, payload) values ${payloads.map((payload, at) => `(${at + 1}, 'active', '${payload}')`).join(", ")}`
          )
        for (const payloads of [
          ["noise", "bob", "eve"],
          ["bob", "noise", "eve"],
          ["bob", "eve", "noise"],
          ["noise"],
          ["noise", "bob"],
          ["noise", "noise again"]
        ]) {
          for (const statement of [
            "update jobs set state = 'archived'",
            "update jobs_active set payload = payload; update jobs set state = 'lost', payload = payload || '!'",
            "do $$ begin update jobs set state = 'archived'; end $$",
            "update jobs set state = case when id = 2 then 'queued' else 'archived' end"
          ]) {
            yield* fill(...payloads)
            yield* db.run(statement)
            yield* agrees(db, `${payloads.join()} ${statement}`)
          }
        }
        yield* fill("noise", "bob", "eve")
        yield* db.run("update jobs set state = 'archived'")
        const recordedChanges = yield* changes(db, "jobs")
        expect(brief(recordedChanges.filter(({ key }) => key === '["1","active"]'))).toEqual([
          'insert ["1","active"]',
          'delete ["1","active"]'
        ])
        // From a branch to a leaf of it.
        yield* fill("bob", "eve")
        yield* db.run(
          "update jobs set state = 'archived'",
          "update jobs_archived_leaf set payload = 'noise' where id = 1",
          "update jobs_archived set state = 'lost'"
        )
        yield* agrees(db, "within a branch")
      })
    )
  }

  attack("are deleted and inserted, not turned into one another, if they have no key", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run(...jobs("", ""), ...skipNoise)
      yield* apply({ table: "jobs", mode: "statement" })
      yield* db.run(
        "insert into jobs values (1, 'active', 'noise'), (2, 'active', 'bob'), (2, 'active', 'bob'), (3, 'queued', 'eve')",
        "update jobs set state = 'archived'"
      )
      expect(yield* chain(db, "jobs")).toEqual([])
      expect(yield* crossed(db)).toEqual([])
    })
  )
})

attacks("MERGE that moves rows to other partitions", (attack) => {
  const fill = [
    "insert into jobs values (1, 'active', 'a'), (2, 'active', 'b'), (3, 'queued', 'c'), (4, 'archived', 'd'), (5, 'active', 'e')"
  ]
  const merges: ReadonlyArray<readonly [what: string, sql: string]> = [
    [
      "one row moves",
      "merge into jobs j using (values (1)) s (id) on j.id = s.id when matched then update set state = 'archived'"
    ],
    [
      "all rows move",
      "merge into jobs j using (values (1)) s (id) on true when matched then update set state = 'lost'"
    ],
    [
      "some move, some stay",
      "merge into jobs j using (values (1)) s (id) on true when matched then update set state = case when j.id in (1, 4) then 'queued' else j.state end, payload = payload || '!'"
    ],
    [
      "some move, some are inserted",
      "merge into jobs j using (values (1, 'x'), (2, 'y'), (7, 'z'), (8, 'z')) s (id, p) on j.id = s.id when matched then update set state = 'lost', payload = s.p when not matched then insert values (s.id, 'active', s.p)"
    ],
    [
      "some move, some are deleted",
      "merge into jobs j using (values (1), (2), (3)) s (id) on j.id = s.id when matched and j.id = 2 then delete when matched then update set state = 'archived'"
    ],
    [
      "everything at once",
      "merge into jobs j using (values (1), (2), (3), (4), (9)) s (id) on j.id = s.id when matched and j.id = 2 then delete when matched and j.id = 3 then update set payload = 'stays' when matched then update set state = 'lost' when not matched then insert values (s.id, 'active', 'new')"
    ],
    [
      "a row takes the key that another one leaves",
      "merge into jobs j using (values (1), (2)) s (id) on j.id = s.id when matched and j.id = 1 then update set id = 6 when matched then update set state = 'queued', id = 2"
    ],
    [
      "within a branch",
      "merge into jobs_archived j using (values (4)) s (id) on j.id = s.id when matched then update set state = 'lost'"
    ],
    [
      "nothing moves",
      "merge into jobs j using (values (1), (11)) s (id) on j.id = s.id when matched then update set payload = 'm' when not matched then insert values (s.id, 'queued', 'n')"
    ]
  ]
  const ways: ReadonlyArray<readonly [way: string, wrap: (sql: string) => ReadonlyArray<string>]> = [
    ["sent by the client", (sql) => [sql]],
    ["in a block", (sql) => [`do $$ begin ${sql}; end $$`]],
    [
      "in a function in SQL",
      (sql) => [`create or replace function act() returns void language sql as $f$ ${sql} $f$`, "select act()"]
    ],
    ["prepared", (sql) => [`prepare p as ${sql}`, "execute p", "deallocate p"]],
    [
      "in a trigger of an other table",
      (sql) => [
        `create table if not exists bell (n int); create or replace function ring() returns trigger language plpgsql as $f$ begin ${sql}; return null; end $f$;
         create or replace trigger ring after insert on bell for each row execute function ring()`,
        "insert into bell values (1)"
      ]
    ],
    [
      "with a skipping trigger",
      (sql) => [...skipNoise.slice(0, 2), "update jobs set payload = 'noise' where id in (1, 4)", sql]
    ]
  ]
  for (const [way, wrap] of ways) {
    attack(`is recorded whole, ${way}`, ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run(...withKey)
        yield* apply("jobs")
        for (const [what, sql] of merges) {
          yield* db.run("drop trigger if exists skip on jobs_archived_leaf; drop function if exists skip_noise")
          yield* db.run("delete from jobs", "truncate threadline.audit_changes", ...fill)
          const before = yield* db.value("select max(id) from threadline.audit_changes")
          yield* db.run(...wrap(sql))
          expect([what, yield* chain(db, "jobs")]).toEqual([what, []])
          const [row] = yield* standing(db)
          expect([what, row?.["recorded"]]).toEqual([what, row?.["held"]])
          expect([what, Number(yield* db.value("select max(id) from threadline.audit_changes"))]).not.toEqual([
            what,
            Number(before)
          ])
        }
      })
    )
  }

  attack(
    "is recorded row by row if it inserts before it updates, whatever partition the rows are of",
    ({ apply, db }) =>
      Effect.gen(function* () {
        yield* db.run(
          "create table m (id int, k int, v text, primary key (id, k)) partition by list (k)",
          "create table m_1 partition of m for values in (1)",
          // The columns of this partition have another order.
          "create table m_2 (v text, k int not null, id int not null)",
          "alter table m attach partition m_2 for values in (2)",
          "create table m_rest partition of m default"
        )
        yield* apply("m")
        yield* db.run("insert into m select i, 1 + i % 3, 'a' from generate_series(1, 6) i")
        // Rows come in the order of the source.
        yield* db.run("set enable_hashjoin = off", "set enable_mergejoin = off", "set enable_sort = off")
        for (const [place, source] of [
          "(91), (1), (2)",
          "(1), (92), (2), (3)",
          "(93), (94), (4), (5), (95), (6)"
        ].entries()) {
          yield* clear(db)
          yield* db.run(
            `merge into m using (values ${source}) s (id) on m.id = s.id
           when matched then update set v = 'u${place}'
           when not matched then insert values (s.id, 1 + s.id % 3, 'i')`
          )
          const recorded = yield* db.column(
            "select op || ' ' || row_key || ' ' || coalesce(previous_row_key, '') || (coalesce(data_after, '{}') ->> 'v') from threadline.audit_changes order by row_key"
          )
          const there = yield* db.column(
            `select case v when 'i' then 'insert' else 'update' end || ' ' || jsonb_build_array(id::text, k::text)::text || ' ' || v
           from m where id = any (array[${source.replaceAll(/[()]/g, "")}]) order by jsonb_build_array(id::text, k::text)::text collate "C"`
          )
          expect(recorded.map((each) => String(each).replaceAll(", ", ","))).toEqual(
            there.map((each) => String(each).replaceAll(", ", ","))
          )
        }
        yield* db.run("reset all")
      })
  )

  for (const mode of ["statement", "row"] as const) {
    attack(`takes from the record only what it deletes and updates side by side, in ${mode} mode`, (host) =>
      Effect.gen(function* () {
        const { apply, db } = host
        yield* db.run(
          "create table p (id int primary key, v text) partition by range (id)",
          "create table p_a partition of p for values from (0) to (20)",
          "create table p_b partition of p for values from (20) to (40)"
        )
        yield* apply({ table: "p", mode })
        yield* db.run("insert into p values (1, 'a'), (2, 'b'), (3, 'b')")
        const before = yield* host.now
        yield* db.run(
          `merge into p using (values (1), (3), (25)) z(i) on p.id = z.i
           when matched and v = 'a' then delete
           when matched then update set v = 'x'
           when not matched then insert values (z.i, 'n')`
        )
        expect(yield* chain(db, "p")).toEqual([])
        expect(yield* db.value("select kept_since from threadline.capture_policies")).toBeNull()
        for (const [key, then, now] of [
          ["1", 'Present "a"', "Deleted"],
          ["2", 'Present "b"', 'Present "b"'],
          ["3", 'Present "b"', 'Present "x"'],
          ["25", "NotYetCreated", 'Present "n"']
        ] as const) {
          expect([yield* asOf(host, "p", key, before), yield* asOf(host, "p", key)]).toEqual([then, now])
        }
        // What somebody removes is noted as ever.
        yield* db.run("delete from threadline.audit_changes where row_key = '25'")
        expect(yield* db.value("select kept_since from threadline.capture_policies")).not.toBeNull()
      })
    )
  }

  attack("is recorded with a mark on what moves, and nothing twice", ({ apply, db }) =>
    Effect.gen(function* () {
      yield* db.run(...withKey, ...fill)
      yield* apply("jobs")
      yield* db.run(
        "merge into jobs j using (values (1)) s (id) on j.id = s.id when matched then update set state = 'archived'"
      )
      expect((yield* changes(db)).map(({ details, key, op }) => `${op} ${key} ${details}`)).toEqual([
        'delete ["1","active"] {"moved": true}',
        'insert ["1","archived"] {"moved": true}'
      ])
      yield* clear(db)
      // UPDATE is one change a row, wherever it stands.
      for (const update of [
        "update jobs set state = 'lost' where id = 1",
        "do $$ begin update jobs set state = 'queued' where id in (1, 2); end $$",
        "do $$ begin update jobs set state = 'lost' where id = 2; insert into jobs values (12, 'active', 'k'); delete from jobs where id = 12; end $$",
        "with u as (update jobs set state = 'queued' where id = 2 returning id), d as (delete from jobs where id = 3 returning id) insert into jobs select 13, 'active', 'l' from u, d",
        "insert into jobs values (5, 'active', 'up') on conflict (id, state) do update set payload = excluded.payload; select 'merge'"
      ]) {
        yield* db.run(update)
      }
      expect(brief(yield* changes(db))).toEqual([
        'update ["1","lost"]<-["1","archived"]',
        'update ["2","queued"]<-["2","active"]',
        'update ["1","queued"]<-["1","lost"]',
        'update ["2","lost"]<-["2","queued"]',
        'insert ["12","active"]',
        'delete ["12","active"]',
        expect.stringMatching(/./),
        expect.stringMatching(/./),
        expect.stringMatching(/./),
        'update ["5","active"]'
      ])
      expect([...brief(yield* changes(db)).slice(6, 9)].sort()).toEqual([
        'delete ["3","queued"]',
        'insert ["13","active"]',
        'update ["2","queued"]<-["2","lost"]'
      ])
      expect((yield* changes(db)).filter(({ details }) => details !== null)).toEqual([])
      if (TestDatabase.serverVersion >= 17) {
        yield* clear(db)
        yield* db.run(
          "with m as (merge into jobs j using (values (1)) s (id) on j.id = s.id when matched then update set state = 'active' returning j.id) delete from jobs where id = 13 and exists (select from m)"
        )
        expect([...brief(yield* changes(db))].sort()).toEqual([
          'delete ["1","queued"]',
          'delete ["13","active"]',
          'insert ["1","active"]'
        ])
      }
    })
  )

  attack("is noticed as unseen if a trigger that sees moves is dropped or disabled", ({ apply, db, findings }) =>
    Effect.gen(function* () {
      yield* db.run(...withKey)
      yield* apply("jobs")
      expect(yield* findings()).toEqual([])
      expect(yield* apply("jobs")).toEqual([])
      yield* db.run(
        "do $$ begin execute format('drop trigger %I on jobs', '0_threadline_leave' || threadline.function_suffix('public', 'jobs')); end $$"
      )
      // A MERGE may have moved rows meanwhile.
      expect(yield* findings()).toEqual(["AlteredMeanwhile", "TriggerMissing"])
      yield* apply("jobs")
      expect(yield* findings()).toEqual([])
      yield* db.run('alter table jobs disable trigger "0_threadline_begin"')
      expect(yield* findings()).toEqual(["AlteredMeanwhile", "TriggerDisabled"])
      yield* apply("jobs")
      // A partition that was attached afterwards has them from the table.
      yield* db.run(
        "create table jobs_late (like jobs including all)",
        "alter table jobs attach partition jobs_late for values in ('late')",
        "insert into jobs values (1, 'active', 'a')",
        "merge into jobs j using (values (1)) s (id) on j.id = s.id when matched then update set state = 'late'"
      )
      yield* agrees(db, "an attached partition")
    })
  )
})
